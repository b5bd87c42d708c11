"""Read any folder of images, whatever its classes and splits are called."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from helpers.config import CourseError
from helpers.datasets import Dataset, folder
from helpers.datasets.walk import FORMATS, Walk, split_of, walk

PIXELS = 224
SMALL = 64  # side at which colours are looked at
COLOUR = 40  # grey values between two channels; JPEG alone stays well below


def read(root: Path, pixels: int = PIXELS, seen: Walk | None = None) -> Dataset:
    """Return every image below `root`, grey, square, in the order of its path.

    A file's split is the uppermost folder that is called as one (train, val, Testing);
    its class the folder below that has a name of the course's, else the folder it lies
    in. The table has one more column, `coloured`: the share of pixels whose colour is
    not grey. What cannot be read, or lies in folders of two classes, is in `set_aside`.
    `seen`: the walk through `root`, if it was made. Raises `CourseError` if nothing
    there can be read.
    """
    seen = seen or walk(root)
    aside, places = list(seen.problems), {}
    for file in seen.images:
        place = place_of(file, root.resolve().name)
        if isinstance(place, str):
            aside.append((file, place))
        else:
            places[file] = place
    files = list(places)

    def look(file: str):
        try:
            image, facts = folder.read_image(root / file, pixels)
            coloured = coloured_share(root / file) if facts["mode"] != "L" else 0.0
            return image, facts | {"coloured": coloured}
        except (folder.Unusable, OSError) as reason:
            return str(reason)

    rows = []
    # Filled in place: a list stacked at the end would need the memory twice.
    images = np.empty((len(files), pixels, pixels), np.uint8)
    with ThreadPoolExecutor() as pool:
        looks = tqdm(pool.map(look, files), "reading", len(files), leave=False)
        for file, found in zip(files, looks, strict=True):
            if isinstance(found, str):
                aside.append((file, found))
                continue
            images[len(rows)] = found[0]
            split, class_name = places[file]
            row = {"file": file, "split": split, "class": class_name}
            rows.append(row | found[1])
    if not rows:
        reasons = "; ".join(f"{file}: {why}" for file, why in aside[:3])
        told = f"{root}: no image in it can be read. {reasons} {seen.about_ignored()}"
        raise CourseError(told.strip())
    table = pd.DataFrame(rows)
    labels, names = pd.factorize(table["class"], sort=True)
    images = images[: len(rows)]
    return Dataset(
        name=root.resolve().name,
        images=images,
        labels=labels.astype(np.int64),
        class_names=tuple(names),
        table=table,
        set_aside=pd.DataFrame(aside, columns=["file", "reason"]),
        synthetic=False,
        fingerprint=hashlib.sha256(images.data).hexdigest(),
    )


def place_of(file: str, root: str) -> tuple[str | None, str] | str:
    """Return a file's split (None: not known) and class, or why it has two classes."""
    folders = file.split("/")[:-1]
    at = next((i for i, name in enumerate(folders) if split_of(name)), None)
    below = folders if at is None else folders[at + 1 :]
    classes = [name for name in below if folder.class_of(name)]
    if len({folder.class_of(name) for name in classes}) > 1:
        return f"in folders of two classes, {' and '.join(classes)}"
    class_name = [root, *folders, *classes][-1]
    return None if at is None else split_of(folders[at]), class_name


def read_as_one(files: Iterable[str]) -> list[str]:
    """Say which folders are read as one split: Training beside train, for one."""
    places: dict[str, set[str]] = {}
    for file in files:
        folders = file.split("/")[:-1]
        at = next((i for i, name in enumerate(folders) if split_of(name)), None)
        if at is not None:
            place = "/".join(folders[: at + 1])
            places.setdefault(split_of(folders[at]), set()).add(place)
    return [
        f"{' and '.join(sorted(names))} are read as one, {split}."
        for split, names in places.items()
        if len(names) > 1
    ]


def coloured_share(path: Path) -> float:
    """Return the share of an image file's pixels that are not grey, 0 to 1."""
    with Image.open(path, formats=FORMATS) as image:
        small = np.asarray(image.convert("RGB").resize((SMALL, SMALL)), int)
    return float((np.ptp(small, axis=2) > COLOUR).mean())
