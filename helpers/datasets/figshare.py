"""Cheng's 3,064 slices of 233 patients from figshare, with patients and lesion masks.

Source: Cheng, "brain tumor dataset" (2017), CC BY 4.0, doi 10.6084/m9.figshare.1512427:
contrast-enhanced T1 slices with meningioma, glioma or pituitary tumor, as .mat files of
version 7.3, which are HDF5 files. Unpack its four archives into one folder.
"""

import csv
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from tqdm import tqdm

from helpers.config import CourseError, figshare_dir

from .cache import Decoded, cached
from .dataset import Dataset

LABELS = {1: "meningioma", 2: "glioma", 3: "pituitary"}


def root() -> Path:
    """Return the folder that `BRAIN_MRI_FIGSHARE` names, or raise `CourseError`."""
    place = figshare_dir()
    if place is None:
        raise CourseError(
            "BRAIN_MRI_FIGSHARE is not set; expected the folder with figshare's .mat "
            "files (https://doi.org/10.6084/m9.figshare.1512427, unpacked)."
        )
    return place


def load(folder: Path, pixels: int) -> Dataset:
    """Return figshare's slices with masks, grey uint8 [n, pixels, pixels].

    `folder` holds the .mat files, anywhere below it; or, as some mirrors keep them,
    images/N.jpg with slices.csv (figshare_index, class, patient) and borders.json (N to
    the lesion's outline, x and y as fractions of width and height). The table's
    `patient` is figshare's id, `series` its family: ids that differ only by a trailing
    letter, which may be one person. There is no split. Raises `CourseError` if the
    folder holds neither layout, or a file is not as described.
    """
    mat_files = sorted(
        (path for path in folder.rglob("*.mat") if path.stem.isdigit()),
        key=lambda path: int(path.stem),
    )
    table = folder / "slices.csv"
    if not mat_files and not table.is_file():
        raise CourseError(
            f"{folder} holds no figshare slices: expected 1.mat to 3064.mat, or "
            "slices.csv with images/ and borders.json."
        )
    if mat_files:
        stamp = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in mat_files]
    else:
        stamp = [str(folder.resolve()), table.stat().st_mtime_ns]

    def build() -> Decoded:
        if mat_files:
            rows = (_read_mat(path, pixels) for path in mat_files)
            count = len(mat_files)
        else:
            with table.open(newline="") as file:
                listed = list(csv.DictReader(file))
            outlines = json.loads((folder / "borders.json").read_text())
            rows = (_read_mirror(folder, row, outlines, pixels) for row in listed)
            count = len(listed)
        images, masks, facts = zip(*tqdm(rows, "figshare", count), strict=True)
        columns = ["file", "split", "class", "patient", "series", "plane", "source"]
        columns += ["mode", "width", "height", "bytes"]
        return Decoded(
            np.stack(images),
            np.stack(masks),
            pd.DataFrame(facts, columns=columns, dtype=object),
            pd.DataFrame({"file": [], "reason": []}, dtype="string"),
        )

    return cached("figshare", ["figshare", pixels, stamp], build, synthetic=False)


def family(patient: str) -> str:
    """Return a patient's id without a trailing letter: MR040240B becomes MR040240."""
    return re.sub(r"(?<=\d)[A-Za-z]$", "", patient)


def _read_mat(path: Path, pixels: int) -> tuple[np.ndarray, np.ndarray, dict]:
    """Read one .mat file: a struct cjdata with label, PID, image and tumorMask."""
    try:
        with h5py.File(path) as file:
            data = file["cjdata"]
            label = int(np.ravel(data["label"])[0])
            patient = "".join(chr(code) for code in np.ravel(data["PID"]))
            # MATLAB stores columns first, so HDF5 shows every array transposed.
            image = np.asarray(data["image"], float).T
            mask = np.asarray(data["tumorMask"], np.uint8).T
        class_name = LABELS[label]
    except (OSError, KeyError, ValueError) as error:
        raise CourseError(
            f"{path} is not a figshare slice ({error}); expected a struct cjdata with "
            "label 1 to 3, PID, image and tumorMask. Download it again."
        ) from None
    low, high = image.min(), image.max()
    grey = np.uint8((image - low) / max(high - low, 1) * 255)
    facts = _facts(path.name, class_name, patient, "I;16", grey.shape, path)
    return *_resized(Image.fromarray(grey), Image.fromarray(mask), pixels), facts


def _read_mirror(folder: Path, row: dict, outlines: dict, pixels: int):
    """Read one slice of the layout with images, a table and outlines."""
    path = folder / "images" / f"{row['figshare_index']}.jpg"
    try:
        image = Image.open(path).convert("L")
        outline = outlines[row["figshare_index"]]
    except (OSError, KeyError) as error:
        raise CourseError(
            f"{path}: listed in slices.csv, but its image or outline cannot be read "
            f"({error})."
        ) from None
    mask = Image.new("L", image.size)
    corners = [(x * image.width, y * image.height) for x, y in outline]
    ImageDraw.Draw(mask).polygon(corners, fill=1)
    facts = _facts(path.name, row["class"], row["patient"], "L", image.size[::-1], path)
    return *_resized(image, mask, pixels), facts


def _facts(file, class_name, patient, mode, shape, path) -> dict:
    return {
        "file": file,
        "split": pd.NA,
        "class": class_name,
        "patient": patient,
        "series": family(patient),
        "plane": pd.NA,
        "source": "figshare",
        "mode": mode,
        "width": shape[1],
        "height": shape[0],
        "bytes": path.stat().st_size,
    }


def _resized(image: Image.Image, mask: Image.Image, pixels: int):
    size = (pixels, pixels)
    return (
        np.asarray(image.resize(size, Image.Resampling.BILINEAR)),
        np.asarray(mask.resize(size, Image.Resampling.NEAREST)),
    )
