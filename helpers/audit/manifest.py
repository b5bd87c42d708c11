"""The benchmark's manifest: a row a file of Kaggle's version 1, and how to match."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.fft import dctn

from helpers.config import ROOT
from helpers.datasets import Dataset

from .patients import BOX
from .report import Audit
from .splits import folds, joined

PATH = ROOT / "data" / "manifests" / "brain-tumor-mri-v1.csv"
COLUMNS = (
    *("filename", "class", "split", "fingerprint", "group", "series", "patient"),
    *("figshare_index", "mirrored", *BOX, "source", "conflict", "fold", "keep"),
)
NUM_FOLDS = 5
# Files of version 1 that were not among the images audited: nothing is known of them.
NOT_AUDITED = tuple(f"Training/notumor/Tr-no_{n}.jpg" for n in (1011, 1012, 1019, 1020))
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


def build(found: Audit, matches: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest's rows, by filename; `matches` from `patients.match`.

    A slice is in conflict when its group holds several classes ("files"), or figshare
    gives it another class than its folder ("figshare"). `keep` is 1 for the first file
    of each group without conflict. Folds keep series and patients whole, and are
    balanced on one file a group.
    """
    files = found.files
    table = pd.concat([files, matches.reset_index(drop=True)], axis=1)
    patient = table["patient"].fillna(-1).to_numpy(int)
    together = joined(files["group"], files["series"], patient)
    first = files["first"].to_numpy(bool)
    fold_of = pd.Series(
        folds(
            found.data.labels[first],
            together[first],
            files.loc[first, "digest"],
            NUM_FOLDS,
        ),
        index=together[first],
    )
    fold_of = fold_of[~fold_of.index.duplicated()]
    disagrees = table["patient"].notna() & (table["figshare_class"] != table["class"])
    disagrees = disagrees.groupby(table["group"]).transform("any")
    conflict = np.where(disagrees, "figshare", "")
    conflict = np.where(files["conflict"], "files", conflict)
    rows = pd.DataFrame(
        {
            "filename": table["file"],
            "class": table["class"],
            "split": table["split"],
            "fingerprint": [fingerprint(image) for image in found.data.images],
            "group": table["group"],
            "series": table["series"],
            "patient": table["patient"],
            "figshare_index": table["figshare_index"],
            "mirrored": pd.array(
                table["mirror"].map({"left-right": 1, "none": 0}), "Int64"
            ),
            **{name: table[name].astype("Float64").round(4) for name in BOX},
            "source": found.data.table["source"].to_numpy(),
            "conflict": conflict,
            "fold": fold_of.loc[together].to_numpy(),
            "keep": (first & (conflict == "")).astype(int),
        }
    )
    missing = pd.DataFrame({"filename": NOT_AUDITED})
    missing = missing[~missing["filename"].isin(rows["filename"])]
    missing["split"] = missing["filename"].str.split("/").str[0]
    missing["class"] = missing["filename"].str.split("/").str[1]
    missing["source"], missing["keep"] = "not audited", 0
    rows = pd.concat([rows, missing]).sort_values("filename", ignore_index=True)
    whole = ["group", "series", "patient", "figshare_index", "mirrored", "fold", "keep"]
    return rows.astype(dict.fromkeys(whole, "Int64"))[list(COLUMNS)]


def load() -> pd.DataFrame:
    """Return the committed manifest, unknown values as NA."""
    whole = ["group", "series", "patient", "figshare_index", "mirrored", "fold", "keep"]
    types = dict.fromkeys(whole, "Int64") | dict.fromkeys(BOX, "Float64")
    rows = pd.read_csv(PATH, dtype=types | {"fingerprint": "string", "conflict": "str"})
    return rows.fillna({"conflict": ""})


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


def write(rows: pd.DataFrame, path: Path) -> None:
    """Write the manifest as CSV, unknown values empty."""
    rows.to_csv(path, index=False, lineterminator="\n")
