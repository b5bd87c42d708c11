"""The cache that decodes images once, whatever they come from."""

import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.config import cache_dir

from .dataset import CLASS_NAMES, Dataset, fingerprint_of, read_only

COUNT_COLUMNS = ("width", "height", "bytes")
# Raise this when decoding or the cache's files change: old caches are then not used.
CACHE_VERSION = 1
DAY = 24 * 3600


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
        images=read_only(decoded.images),
        labels=read_only(labels),
        class_names=CLASS_NAMES,
        table=table,
        set_aside=decoded.set_aside.astype("string"),
        synthetic=synthetic,
        fingerprint=fingerprint_of(decoded.images, labels, table["file"], masks),
        masks=None if masks is None else read_only(masks),
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
