"""Read any folder of images, whatever its classes and splits are called."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from helpers.config import CourseError
from helpers.datasets import Dataset, folder

PIXELS = 224
SMALL = 64  # side at which colours are looked at
COLOUR = 40  # grey values between two channels; JPEG alone stays well below


def read(root: Path, pixels: int = PIXELS) -> Dataset:
    """Return every image below `root`, grey, square, in the order of its path.

    A file's class is the folder it lies in, its split the uppermost folder if that is
    called train, training, test or testing. The table has one more column, `coloured`:
    the share of pixels whose colour is not grey. Files that cannot be read are in
    `set_aside`. Raises `CourseError` if nothing there can be read.
    """
    if not root.is_dir():
        raise CourseError(f"{root} is not a folder; expected one that holds images.")
    known = set(Image.registered_extensions())
    files = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.suffix.lower() in known and not path.name.startswith(".")
    )

    def look(file: str):
        try:
            image, facts = folder.read_image(root / file, pixels)
            coloured = _coloured(root / file) if facts["mode"] != "L" else 0.0
            return image, facts | {"coloured": coloured}
        except (folder.Unusable, OSError) as reason:
            return str(reason)

    rows, aside = [], []
    # Filled in place: a list stacked at the end would need the memory twice.
    images = np.empty((len(files), pixels, pixels), np.uint8)
    with ThreadPoolExecutor() as pool:
        looks = tqdm(pool.map(look, files), "reading", len(files), leave=False)
        for file, found in zip(files, looks, strict=True):
            if isinstance(found, str):
                aside.append((file, found))
                continue
            images[len(rows)] = found[0]
            split = folder.split_of(file.split("/")[0])
            parent = (root / file).parent.name
            rows.append({"file": file, "split": split, "class": parent, **found[1]})
    if not rows:
        reasons = "; ".join(f"{file}: {why}" for file, why in aside[:3])
        raise CourseError(f"{root}: no image in it can be read. {reasons}".strip())
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


def _coloured(path: Path) -> float:
    """Return the share of pixels that are not grey."""
    with Image.open(path) as image:
        small = np.asarray(image.convert("RGB").resize((SMALL, SMALL)), int)
    return float((np.ptp(small, axis=2) > COLOUR).mean())
