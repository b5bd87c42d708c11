"""Any folder with Training/Testing/<class>: decoded, or set aside with a reason."""

import itertools
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from helpers.config import CourseError

from .cache import Decoded, cached
from .dataset import CLASS_NAMES, Dataset
from .walk import FORMATS, Walk, instead, kind_of, split_of, walk

SCORED = ("Training", "Testing")
READING = 2  # raise it when what is read, or how, changes: old caches are not used

LAYOUT = (
    f"Training/<class> and Testing/<class> with the classes {', '.join(CLASS_NAMES)}"
)
VALIDATION = (
    "in a validation folder, which no chapter uses; move it into Training to learn "
    "from it, or rename the folder to Testing"
)
STRAY = "not in a folder Training/<class> or Testing/<class>"
DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
# The names in Kaggle's dataset, such as Te-gl_0010.jpg or Tr-meTr_0003.jpg.
KAGGLE_FILE = re.compile(r"(Te|Tr)-(gl|me|no|pi)(Tr)?_\d{4}\.jpg")


MIN_SIDE = 8  # pixels; smaller is no picture of a head


class Unusable(Exception):
    """An image file that cannot be used; the message is the reason."""


class Unreadable(Unusable):
    """A file that the system could not read this time; the next time it may."""


@dataclass(frozen=True)
class Found:
    """What a folder holds before anything is decoded.

    `files`: images in class folders, relative and sorted; `aside`: (path, reason) of
    what cannot be used; `notes`: what a person should know, in sentences; `passing`:
    the system could not read all of it.
    """

    files: list[str]
    aside: list[tuple[str, str]]
    notes: list[str]
    passing: bool


def load(root: Path, pixels: int, name: str | None = None) -> Dataset:
    """Return the images under `root`, grey, uint8, resized to `pixels` x `pixels`.

    Files that cannot be used are listed in `set_aside`. Raises `CourseError` if a
    split or a class is missing or holds no usable image.
    """
    found = find_files(root)
    stamps = [(file, *_stamp(root / file)) for file in found.files]
    key = ["folder", READING, pixels, stamps, found.aside]
    for note in found.notes:
        print(f"{root}: {note}", file=sys.stderr)

    def build() -> Decoded:
        decoded = decode(root, found, pixels)
        if missing := lacking(decoded):
            rows = decoded.set_aside.head(3).itertuples()
            reasons = "; ".join(f"{row.file}: {row.reason}" for row in rows)
            raise CourseError(
                f"{root}: no image in {', '.join(missing)} can be used ({reasons}). "
                f"For the full list, run python -m helpers.datasets check {root}"
            )
        return decoded

    return cached(name or root.resolve().name, key, build, synthetic=False)


def find_files(root: Path) -> Found:
    """Return the images in class folders, and what else was met on the way.

    Raises `CourseError` that lists what was found if a split or class is missing.
    """
    if not root.is_dir():
        raise CourseError(
            f"{root} is not a folder{instead(root)}. Expected one that holds {LAYOUT}. "
            "Check the path in BRAIN_MRI_DATA, or unset it for the phantoms."
        )
    seen = walk(root)
    if not any(split_of(name) in SCORED for name in os.listdir(root)):
        raise CourseError(_what_is_there(root, "no Training or Testing folder", seen))
    files, aside = [], list(seen.problems)
    for file in seen.images:
        if reason := misplaced(file):
            aside.append((file, reason))
        else:
            files.append(file)
    if missing := _missing(map(place_of, files)):
        raise CourseError(
            _what_is_there(root, f"no files in {', '.join(missing)}", seen)
        )
    notes = [*_merged(files), *filter(None, [seen.about_ignored()])]
    return Found(files, sorted(aside), notes, seen.passing)


def misplaced(file: str) -> str | None:
    """Return why an image does not lie where its class can be told, or None."""
    split, class_name = place_of(file)
    if split == "Validation":
        return VALIDATION
    if not split or not class_name:
        return STRAY
    classes = {class_of(each) for each in file.split("/")[1:-1]} - {None}
    if len(classes) > 1:
        return f"in folders of two classes, {' and '.join(sorted(classes))}"
    return None


def decode(root: Path, found: Found, pixels: int) -> Decoded:
    """Decode the files with a thread pool, setting aside what cannot be used."""
    passing = [found.passing]

    def read(file: str):
        try:
            return read_image(root / file, pixels)
        except Unusable as reason:
            passing.append(isinstance(reason, Unreadable))
            return str(reason)

    files = found.files
    images = np.empty((len(files), pixels, pixels), np.uint8)
    rows, aside = [], list(found.aside)
    # One thread a core: with Python's default of four more, they wait for one another.
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        # Pillow only warns of images up to twice its limit; we set them aside.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        results = tqdm(pool.map(read, files), "Decoding", len(files), delay=5)
        for file, result in zip(files, results, strict=True):
            if isinstance(result, str):
                aside.append((file, result))
                continue
            images[len(rows)], properties = result
            rows.append(_row(file, properties))
    columns = ["file", "split", "class", "mode", "width", "height"]
    table = pd.DataFrame(rows, columns=None if rows else columns)
    set_aside = pd.DataFrame(aside, columns=["file", "reason"])
    return Decoded(images[: len(rows)], None, table, set_aside, any(passing))


def lacking(decoded: Decoded) -> list[str]:
    """Return the classes of which split have no image left, as Training/glioma."""
    places = zip(decoded.table["split"], decoded.table["class"], strict=True)
    return _missing(places)


def told(set_aside: pd.DataFrame, most: int = 3) -> str:
    """Return what was set aside, a line each, or one for a folder if there are many."""
    place = set_aside["file"].str.rpartition("/")[0]
    lines = []
    for (folder, reason), rows in set_aside.groupby([place, "reason"], sort=False):
        if len(rows) > most:
            lines.append(f"  {folder or '.'}/ ({len(rows)} files): {reason}")
        else:
            lines += [f"  {file}: {reason}" for file in rows["file"]]
    return "\n".join(lines)


def read_image(path: Path, pixels: int) -> tuple[np.ndarray, dict]:
    """Return one image as uint8 [pixels, pixels] and its mode, width, height, bytes.

    A frame that is not square is squeezed to a square, as the tutorials on this
    dataset do: padding would write the frame's shape, which tells the source, into the
    picture as black bars. Transparent parts become black, like air. Images deeper than
    8 bits are scaled from their own darkest to their own brightest value, because MRI
    intensities have no unit. Of an animation the first frame is used, and a rotation
    noted in EXIF is applied. Raises `Unusable` with a reason.
    """
    try:
        if not path.is_file():
            raise Unusable("not a file that can be read (a broken link?)")
        size = path.stat().st_size
        if size == 0:
            raise Unusable("empty file")
        with Image.open(path, formats=FORMATS) as image:
            if min(image.size) < MIN_SIDE:
                raise Unusable(f"only {image.width} x {image.height} pixels")
            if image.format == "TIFF" and image.n_frames > 1:
                raise Unusable(
                    f"a stack of {image.n_frames} pages; save each as a file of its own"
                )
            properties = {"mode": image.mode, "width": image.width,
                          "height": image.height, "bytes": size}  # fmt: skip
            # For a JPEG: decode the grey channel only, at the least sufficient scale.
            image.draft("L", (pixels, pixels))
            ImageOps.exif_transpose(image, in_place=True)
            grey = square(image, pixels)
    except UnidentifiedImageError:
        with path.open("rb") as file:
            start = file.read(160)
        raise Unusable(
            kind_of(start)
            or f"not an image that Pillow can read: it begins with {start[:12]!r}"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unusable(
            f"too large: over {Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels"
        ) from None
    except Unusable:
        raise
    except Exception as error:  # on broken bytes Pillow's readers raise almost anything
        if isinstance(error, OSError) and error.errno is not None:
            raise Unreadable(f"could not be read: {error.strerror}") from error
        raise Unusable(f"damaged: {error}") from error
    return grey, properties


def square(image: Image.Image, pixels: int) -> np.ndarray:
    """Return a decoded picture, grey, squeezed to uint8 [pixels, pixels].

    Deep values are scaled as `read_image` says. Raises `Unusable` for an empty picture.
    """
    grey = _to_grey(image)
    if grey.getextrema()[1] == 0:
        raise Unusable("all its pixels are black, or transparent")
    return np.asarray(grey.resize((pixels, pixels), Image.Resampling.BILINEAR))


def class_of(folder: str) -> str | None:
    """Return the class that a folder's name means, such as no_tumor = notumor."""
    word = re.sub(r"[^a-z]", "", folder.lower().replace("tumour", "tumor"))
    if word not in CLASS_NAMES:
        word = word.removesuffix("s").removesuffix("tumor")
    word = "notumor" if word == "no" else word
    return word if word in CLASS_NAMES else None


def place_of(file: str) -> tuple[str | None, str | None]:
    """Return split and class of a file's path, "Training/<class>/…", or None each."""
    folders = file.split("/")[:-1]
    if len(folders) < 2:
        return None, None
    return split_of(folders[0]), class_of(folders[1])


def count(files: Iterable[str]) -> Counter:
    """Return the number of files per (split, class)."""
    return Counter(place_of(file) for file in files)


def source_of(file: str, class_name: str, mode: str):
    """Return the collection a file of Kaggle's dataset came from, or NA for others.

    Its tumor files of mode L are exactly figshare's slices, class by class; no file in
    `notumor` is one. The file alone cannot tell the other two collections apart.
    """
    if not KAGGLE_FILE.fullmatch(file.split("/")[-1]):
        return pd.NA
    from_figshare = mode == "L" and class_name != "notumor"
    return "figshare" if from_figshare else "SARTAJ or Br35H"


def _to_grey(image: Image.Image) -> Image.Image:
    if image.mode in DEEP_MODES:
        values = np.asarray(image, dtype=np.float64)
        low, high = values.min(), values.max()
        if not np.isfinite([low, high]).all() or low == high:
            raise Unusable("its values are not finite, or all the same")
        return Image.fromarray(np.uint8((values - low) / (high - low) * 255))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, "black")
        image = Image.alpha_composite(black, image).convert("RGB")
    return image.convert("L")


def _row(file: str, properties: dict) -> dict:
    """Return a file's row of the table; what a JPEG does not say is NA."""
    split, class_name = place_of(file)
    return {
        "file": file,
        "split": split,
        "class": class_name,
        "patient": pd.NA,
        "series": pd.NA,
        "plane": pd.NA,
        "source": source_of(file, class_name, properties["mode"]),
        **properties,
    }


def _missing(found: Iterable[tuple[str, str]]) -> list[str]:
    wanted = itertools.product(SCORED, CLASS_NAMES)
    found = set(found)
    return ["/".join(place) for place in wanted if place not in found]


def _stamp(path: Path) -> tuple[int, int]:
    """Return what tells cheaply whether a file changed: its size and time of change."""
    try:
        stat = path.stat()
    except OSError:  # a broken link
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _merged(files: list[str]) -> list[str]:
    """Say which folders are read as one: Training beside train, for one."""
    places: dict[tuple, set[str]] = {}
    for file in files:
        top, below = file.split("/")[:2]
        split, class_name = place_of(file)
        places.setdefault((split, None), set()).add(top)
        places.setdefault((split, class_name), set()).add(below)
    return [
        f"{' and '.join(sorted(names))} are read as one, {class_name or split}."
        for (split, class_name), names in places.items()
        if len(names) > 1
    ]


def _what_is_there(root: Path, problem: str, seen: Walk) -> str:
    """Say what is wrong with a folder, what it holds, and which one may be meant."""
    names = sorted(entry.name for entry in os.scandir(root))
    holds = ", ".join(names[:8]) + (" and more" if len(names) > 8 else "")
    nearby = [root.parent, *(root / name for name in names if (root / name).is_dir())]
    meant = [
        folder
        for folder in nearby
        if all((folder / split).is_dir() for split in SCORED)
    ]
    hint = f" Did you mean {meant[0]}?" if meant and meant[0] != root else ""
    unknown = Counter(
        "/".join(file.split("/")[:2])
        for file in seen.images
        if file.count("/") > 1
        and split_of(file.split("/")[0])
        and not place_of(file)[1]
    )
    if unknown:
        listed = ", ".join(f"{name} ({n} files)" for name, n in unknown.most_common(5))
        hint += f" No class is called as {listed}: rename a folder to what it means."
    if any(split_of(name) == "Validation" for name in names):
        hint += " A validation folder counts as neither: rename it to Testing if you "
        hint += "test on it."
    kinds = Counter(reason for _, reason in seen.problems)
    if kinds:
        listed = "; ".join(f"{n} times {kind}" for kind, n in kinds.most_common(3))
        hint += f" Not used: {listed}."
    if "cvind.mat" in names or any(re.fullmatch(r"\d+\.mat", name) for name in names):
        hint += (
            " These look like figshare's slices, which have no split and no notumor: "
            "no chapter runs on them. For the audit's record, name the folder in "
            "BRAIN_MRI_FIGSHARE, and Kaggle's in BRAIN_MRI_DATA."
        )
    return f"{root}: {problem}. Expected {LAYOUT}; found {holds or 'nothing'}.{hint}"
