"""One immutable type for every set of images, and the cache that decodes them once."""

import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from helpers.config import SEED, cache_dir, data_setting, profile, whole_path

CLASS_NAMES = ("glioma", "meningioma", "notumor", "pituitary")
COUNT_COLUMNS = ("width", "height", "bytes")
# Raise this when decoding or the cache's files change: old caches are then not used.
CACHE_VERSION = 1
DAY = 24 * 3600


@dataclass(frozen=True)
class Dataset:
    """Grey, square slices with their labels and one table row each.

    `images`: uint8 [n, height, width], read-only; `labels`: int64 [n], an index into
    `class_names`; `table`: n rows in the same order with the columns file (unique),
    split ("Training" or "Testing"), class, patient, series, plane, source and, of the
    original file, mode, width and height in pixels, and bytes; what is not known is
    `pd.NA`. Phantoms add site, twin_of and twin_kind. `set_aside`: file and reason of
    what could not be used. `fingerprint`: sha256 of images, labels, file names and
    masks. `masks`: uint8 [n, height, width], 1 on the lesion, or None.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    table: pd.DataFrame
    set_aside: pd.DataFrame
    synthetic: bool
    fingerprint: str
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        _, height, width = self.images.shape
        return f"<{self.name}: {len(self)} {self.badge} slices of {height} x {width}>"

    @property
    def badge(self) -> str:
        """What to write beside every result: "synthetic" or "real"."""
        return "synthetic" if self.synthetic else "real"

    def official_split(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices (int64) of the Training and of the Testing folder."""
        testing = (self.table["split"] == "Testing").to_numpy(bool)
        return np.flatnonzero(~testing), np.flatnonzero(testing)

    def subset(self, indices) -> "Dataset":
        """Return the slices at `indices` (int [m]), in that order, as a new dataset."""
        indices = np.asarray(indices)
        masks = None if self.masks is None else _read_only(self.masks[indices])
        table = self.table.iloc[indices].reset_index(drop=True)
        images, labels = _read_only(self.images[indices]), self.labels[indices]
        return replace(
            self,
            images=images,
            labels=_read_only(labels),
            table=table,
            fingerprint=_fingerprint(images, labels, table["file"], masks),
            masks=masks,
        )

    def sample(self, num_slices: int, seed: int = SEED) -> "Dataset":
        """Return at most `num_slices` slices, spread over splits and classes as in all.

        The same seed gives the same slices, and a smaller sample is part of a larger
        one. Each split and class keeps at least one slice if `num_slices` allows it.
        """
        if num_slices >= len(self):
            return self
        shuffled = self.table.sample(frac=1, random_state=seed)
        stratum = shuffled.groupby(["split", "class"])["file"]
        # A slice's rank within its stratum, as a share of the stratum: taking the
        # lowest shares first fills all strata at the same rate.
        share = stratum.cumcount() / stratum.transform("size")
        chosen = share.sort_values(kind="stable").index[:num_slices]
        return self.subset(np.sort(chosen.to_numpy()))


@dataclass(frozen=True)
class Decoded:
    """What a source delivers: images uint8 [n, p, p], masks or None, and the tables.

    `passing`: the system could not read all of it this time, so it must not be kept.
    """

    images: np.ndarray
    masks: np.ndarray | None
    table: pd.DataFrame
    set_aside: pd.DataFrame
    passing: bool = False


def load_dataset(
    source: str | Path | None = None, pixels: int | None = None
) -> Dataset:
    """Return the images of `source`, `pixels` x `pixels` each, decoded only once.

    `source`: "phantom", "kaggle" or a folder with Training/Testing/<class> (default:
    `BRAIN_MRI_DATA`, else phantom). `pixels`: default is the profile's. Raises
    `CourseError` when there is nothing to load there.
    """
    from . import folder, kaggle

    source = str(source or data_setting())
    pixels = pixels or profile().pixels
    if source == "phantom":
        data = _load_phantom(profile().num_phantoms, pixels)
    elif source == "kaggle":
        data = kaggle.load(pixels)
    else:
        data = folder.load(whole_path(source), pixels)
    if len(data.set_aside):
        first = data.set_aside.iloc[0]
        print(
            f"{data.name}: {len(data.set_aside)} file(s) were set aside, the first is "
            f"{first['file']} ({first['reason']}). See the table `set_aside`.",
            file=sys.stderr,
        )
    return data


def thumbnails(images: np.ndarray, side: int) -> np.ndarray:
    """Shrink images uint8 [n, h, w] to float32 [n, side, side], by averaging boxes."""
    small = [
        Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
        for image in images
    ]
    return np.stack(small).astype(np.float32)


def cached(
    name: str, key: list, build: Callable[[], Decoded], synthetic: bool
) -> Dataset:
    """Return the dataset stored under `key`, calling `build` only if there is none.

    `key`: plain values that change whenever the content does. The cache is a folder
    that appears whole or not at all, so two processes may build it at once: the first
    to finish wins. A damaged one is built again. If the disk is full, a message says
    so and the images stay in memory.
    """
    text = json.dumps([CACHE_VERSION, synthetic, key])
    place = cache_dir() / "datasets" / hashlib.sha256(text.encode()).hexdigest()[:20]
    if place.exists():
        data = _open(place, name, synthetic)
        if data is not None:
            return data
        print(f"The cache {place} was damaged; it is built again.", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
    decoded = build()
    data = _assemble(name, decoded, synthetic)
    if decoded.passing:
        return data
    try:
        _store(place, decoded, data.fingerprint)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, None)
        free = f"free {data.images.nbytes / 1e6:.1f} MB there"
        print(
            f"The images could not be kept in {place.parent} "
            f"({error.strerror or error}). Nothing is lost: they stay in memory, and "
            "will be decoded again next time. To keep them, "
            f"{free if full else 'make it writable'}, or name a folder on another "
            "disk in BRAIN_MRI_CACHE.",
            file=sys.stderr,
        )
        return data
    return _open(place, name, synthetic) or data


def _load_phantom(num_slices: int, pixels: int) -> Dataset:
    from . import phantom

    # Its code and the template's version make the images, so they make the key.
    sources = sorted(Path(phantom.__file__).parent.glob("phantom*.py"))
    code = hashlib.sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()
    key = ["phantom", code, metadata.version("nilearn"), num_slices, pixels, SEED]

    def build() -> Decoded:
        made = phantom.generate(num_slices, pixels)
        nothing = pd.DataFrame({"file": [], "reason": []}, dtype="string")
        return Decoded(made.images, made.masks, made.table, nothing)

    return cached(f"phantom {phantom.VERSION}", key, build, synthetic=True)


def _assemble(name: str, decoded: Decoded, synthetic: bool) -> Dataset:
    """Make the dataset, with one dtype a column whatever the source delivered."""
    table = decoded.table.reset_index(drop=True)
    table = table.astype(
        {column: "Int64" if column in COUNT_COLUMNS else "string" for column in table}
    )
    labels = pd.Categorical(table["class"], CLASS_NAMES).codes.astype(np.int64)
    masks = decoded.masks
    return Dataset(
        name=name,
        images=_read_only(decoded.images),
        labels=_read_only(labels),
        class_names=CLASS_NAMES,
        table=table,
        set_aside=decoded.set_aside.astype("string"),
        synthetic=synthetic,
        fingerprint=_fingerprint(decoded.images, labels, table["file"], masks),
        masks=None if masks is None else _read_only(masks),
    )


def _store(place: Path, decoded: Decoded, fingerprint: str) -> None:
    """Write the cache beside its place and move it there; leave nothing on failure."""
    place.parent.mkdir(parents=True, exist_ok=True)
    for abandoned in place.parent.glob(".building-*"):  # by a process that was killed
        if time.time() - abandoned.stat().st_mtime > DAY:
            shutil.rmtree(abandoned, ignore_errors=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=place.parent))
    try:
        _save_array(building / "images.npy", decoded.images)
        if decoded.masks is not None:
            _save_array(building / "masks.npy", decoded.masks)
        about = {
            "fingerprint": fingerprint,
            "table": _to_lists(decoded.table),
            "set_aside": _to_lists(decoded.set_aside),
        }
        (building / "about.json").write_text(json.dumps(about))
        os.rename(building, place)
    except OSError:
        if _open(place, "", False) is None:
            raise
        # Another process finished first, and its cache is as good as ours.
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _open(place: Path, name: str, synthetic: bool) -> Dataset | None:
    """Return the dataset stored in `place`, or None if any of it is not as written."""
    try:
        about = json.loads((place / "about.json").read_text())
        masks = place / "masks.npy"
        decoded = Decoded(
            np.load(place / "images.npy", mmap_mode="r"),
            np.load(masks, mmap_mode="r") if masks.exists() else None,
            pd.DataFrame(about["table"], dtype=object),
            pd.DataFrame(about["set_aside"], dtype=object),
        )
        data = _assemble(name, decoded, synthetic)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    return data if data.fingerprint == about["fingerprint"] else None


def _save_array(path: Path, array: np.ndarray) -> None:
    """Write an .npy file; unlike numpy's `tofile`, say why when it fails."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(array.data)


def _to_lists(table: pd.DataFrame) -> dict[str, list]:
    """Return the columns as lists that JSON can hold, with None for what is NA."""
    table = table.astype(object)
    return table.where(table.notna(), None).to_dict("list")


def _fingerprint(images, labels, files, masks) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels).data)
    digest.update(json.dumps(list(files)).encode())
    if masks is not None:
        digest.update(np.ascontiguousarray(masks).data)
    return digest.hexdigest()


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
