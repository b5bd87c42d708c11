"""The benchmark's manifest: a row a file of Kaggle's version 1, and how to match."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.fft import dctn

from helpers.config import ROOT
from helpers.datasets import Dataset

from .splits import joined

PATH = ROOT / "data" / "manifests" / "brain-tumor-mri-v1.1.csv"
FIRST = PATH.with_name("brain-tumor-mri-v1.csv")  # what older runs were trained with
WHOLE = ("group", "series", "patient", "figshare_index", "mirrored", "fold", "keep")
BOX = ("box_x", "box_y", "box_width", "box_height")
NUM_FOLDS = 5
TOLERANCE = 10  # of a fingerprint's 63 bits; see tests/test_audit_manifest.py


def fingerprint(image: np.ndarray) -> str:
    """Return a perceptual hash of a grey image [height, width], 16 hexadecimal digits.

    Which of the 63 lowest frequencies of its 32 x 32 version lie above their median
    (pHash, Zauner 2010). Copies in another size or JPEG quality differ in a few bits,
    at most `TOLERANCE`; the frame is squeezed to a square first.
    """
    small = Image.fromarray(image).resize((32, 32), Image.Resampling.BOX)
    low = dctn(np.asarray(small, float), norm="ortho")[:8, :8].ravel()[1:]
    bits = np.concatenate([[False], low > np.median(low)])
    return np.packbits(bits).tobytes().hex()


def distance(one: str, other: str) -> int:
    """Return the number of bits in which two fingerprints differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def load(path: Path | None = None) -> pd.DataFrame:
    """Return the committed manifest, unknown values as NA; `FIRST` is version 1.0."""
    types = dict.fromkeys(WHOLE, "Int64") | dict.fromkeys(BOX, "Float64")
    rows = pd.read_csv(
        path or PATH, dtype=types | {"fingerprint": "string", "conflict": "str"}
    )
    return rows.fillna({"conflict": ""})


def rows_of(data: Dataset) -> pd.DataFrame | None:
    """Return the manifest's row of every image, if they are Kaggle's version 1.

    In the images' order, with `file` for `filename`; None unless each has the name and
    the picture of a file in the manifest, and nine files in ten are there.
    """
    rows = load()
    audited = rows["fingerprint"].notna().sum()
    found = rows.set_index("filename").reindex(data.table["file"])
    if found["class"].isna().any() or len(data) < 0.9 * audited:
        return None
    for image, known in zip(data.images, found["fingerprint"], strict=True):
        if pd.notna(known) and distance(fingerprint(image), known) > TOLERANCE:
            return None
    return found.reset_index(names="file")


def split_units(rows: pd.DataFrame) -> set[str]:
    """Return the files whose slice, series or patient lies in several folds.

    There are some because version 1.1 merged what version 1.0 took for two, and kept
    the folds. They are neither learned from nor scored.
    """
    known = rows.dropna(subset="group")
    names = ("group", "series", "patient")
    unit = joined(*(known[name].fillna(-1).to_numpy(int) for name in names))
    folds = known["fold"].groupby(unit).transform("nunique")
    return set(known.loc[folds > 1, "filename"])


def compare(data: Dataset, rows: pd.DataFrame) -> str:
    """Say how many of `data`'s files are the manifest's, by name and fingerprint."""
    known = rows.set_index("filename")["fingerprint"].dropna()
    prints = dict(zip(data.table["file"], data.images, strict=True))
    named = [file for file in prints if file in known.index]
    differing = [
        file
        for file in named
        if distance(fingerprint(prints[file]), known[file]) > TOLERANCE
    ]
    matching = len(named) - len(differing)
    text = (
        f"Manifest {PATH.stem}: {matching} of its {len(known)} audited files are here "
        f"by name and fingerprint; {len(differing)} have the name but another picture; "
        f"{len(known) - len(named)} are missing here; "
        f"{len(prints) - len(named)} files here are not in it."
    )
    if matching < 0.9 * len(known):
        text += " This is not Kaggle's version 1: the benchmark does not apply to it."
    return text + "".join(f"\n  another picture: {file}" for file in differing[:20])
