"""Any folder with Training/Testing/<class>: decoded, or set aside with a reason."""

import itertools
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from helpers.config import CourseError

from .dataset import CLASS_NAMES, Dataset, Decoded, cached

SPLITS = {"training": "Training", "train": "Training"}
SPLITS |= {"testing": "Testing", "test": "Testing"}
LAYOUT = (
    f"Training/<class> and Testing/<class> with the classes {', '.join(CLASS_NAMES)}"
)
STRAY = "not in a folder Training/<class> or Testing/<class>"
DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
# The names in Kaggle's dataset, such as Te-gl_0010.jpg or Tr-meTr_0003.jpg.
KAGGLE_FILE = re.compile(r"(Te|Tr)-(gl|me|no|pi)(Tr)?_\d{4}\.jpg")


class Unusable(Exception):
    """An image file that cannot be used; the message is the reason."""


def load(root: Path, pixels: int, name: str | None = None) -> Dataset:
    """Return the images under `root`, grey, uint8, resized to `pixels` x `pixels`.

    Files that cannot be used are listed in `set_aside`. Raises `CourseError` if a
    split or a class is missing or holds no usable image.
    """
    files, strays = find_files(root)
    key = ["folder", pixels, [(file, *_stamp(root / file)) for file in files], strays]

    def build() -> Decoded:
        return decode(root, files, strays, pixels)

    return cached(name or root.resolve().name, key, build, synthetic=False)


def find_files(root: Path) -> tuple[list[str], list[str]]:
    """Return the files in class folders, and images elsewhere, relative and sorted.

    Hidden files and what systems leave behind (.DS_Store, ._x, Thumbs.db) are ignored.
    Raises `CourseError` that lists what was found if a split or class is missing.
    """
    if not root.is_dir():
        raise CourseError(
            f"{root} is not a folder. Expected one that holds {LAYOUT}. "
            "Check the path in BRAIN_MRI_DATA, or unset it for the phantoms."
        )
    if not any(split_of(entry.name) for entry in os.scandir(root)):
        raise CourseError(_what_is_there(root, "no Training or Testing folder"))
    files, strays = [], []
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [each for each in folders if not _is_clutter(each)]
        for path in [Path(folder, each) for each in names if not _is_clutter(each)]:
            file = path.relative_to(root).as_posix()
            if all(place_of(file)):
                files.append(file)
            elif path.suffix.lower() in Image.registered_extensions():
                strays.append(file)
    if missing := _missing(map(place_of, files)):
        raise CourseError(_what_is_there(root, f"no files in {', '.join(missing)}"))
    return sorted(files), sorted(strays)


def decode(root: Path, files: list[str], strays: list[str], pixels: int) -> Decoded:
    """Decode `files` with a thread pool, setting aside what cannot be used."""

    def read(file: str):
        try:
            return read_image(root / file, pixels)
        except Unusable as reason:
            return str(reason)

    images = np.empty((len(files), pixels, pixels), np.uint8)
    rows, aside = [], [(file, STRAY) for file in strays]
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
    if missing := _missing((row["split"], row["class"]) for row in rows):
        reasons = "; ".join(f"{file}: {why}" for file, why in aside[:3])
        raise CourseError(
            f"{root}: no image in {', '.join(missing)} can be used ({reasons}). For "
            f"the full list, run python -m helpers.datasets check {root}"
        )
    set_aside = pd.DataFrame(aside, columns=["file", "reason"])
    return Decoded(images[: len(rows)], None, pd.DataFrame(rows), set_aside)


def read_image(path: Path, pixels: int) -> tuple[np.ndarray, dict]:
    """Return one image as uint8 [pixels, pixels] and its mode, width, height, bytes.

    A frame that is not square is squeezed to a square, as the tutorials on this
    dataset do: padding would write the frame's shape, which tells the source, into the
    picture as black bars. Transparent parts become black, like air. Images deeper than
    8 bits are scaled from their own darkest to their own brightest value, because MRI
    intensities have no unit. Of an animation the first frame is used, and a rotation
    noted in EXIF is applied. Raises `Unusable` with a reason.
    """
    if not path.is_file():
        raise Unusable("not a file that can be read (a broken link?)")
    size = path.stat().st_size
    if size == 0:
        raise Unusable("empty file")
    try:
        with Image.open(path) as image:
            properties = {"mode": image.mode, "width": image.width,
                          "height": image.height, "bytes": size}  # fmt: skip
            # For a JPEG: decode the grey channel only, at the least sufficient scale.
            image.draft("L", (pixels, pixels))
            ImageOps.exif_transpose(image, in_place=True)
            grey = _to_grey(image).resize((pixels, pixels), Image.Resampling.BILINEAR)
    except UnidentifiedImageError:
        with path.open("rb") as file:
            start = file.read(12)
        raise Unusable(
            f"not an image that Pillow can read: it begins with {start!r}"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unusable(
            f"too large: over {Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels"
        ) from None
    except Unusable:
        raise
    except Exception as error:  # on broken bytes Pillow's readers raise almost anything
        raise Unusable(f"damaged: {error}") from error
    return np.asarray(grey), properties


def split_of(folder: str) -> str | None:
    """Return "Training" or "Testing" for a folder's name, or None."""
    return SPLITS.get(folder.lower())


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
    wanted = itertools.product(("Training", "Testing"), CLASS_NAMES)
    found = set(found)
    return ["/".join(place) for place in wanted if place not in found]


def _stamp(path: Path) -> tuple[int, int]:
    """Return what tells cheaply whether a file changed: its size and time of change."""
    if not path.exists():  # a broken link
        return 0, 0
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def _what_is_there(root: Path, problem: str) -> str:
    """Say what is wrong with a folder, what it holds, and which one may be meant."""
    names = sorted(entry.name for entry in os.scandir(root))
    holds = ", ".join(names[:8]) + (" and more" if len(names) > 8 else "")
    nearby = [root.parent, *(root / name for name in names if (root / name).is_dir())]
    meant = [
        folder
        for folder in nearby
        if all((folder / split).is_dir() for split in ("Training", "Testing"))
    ]
    hint = f" Did you mean {meant[0]}?" if meant and meant[0] != root else ""
    if "cvind.mat" in names or any(re.fullmatch(r"\d+\.mat", name) for name in names):
        hint += (
            " These look like figshare's slices, which have no split and no notumor: "
            "no chapter runs on them. For the audit's record, name the folder in "
            "BRAIN_MRI_FIGSHARE, and Kaggle's in BRAIN_MRI_DATA."
        )
    return f"{root}: {problem}. Expected {LAYOUT}; found {holds or 'nothing'}.{hint}"
