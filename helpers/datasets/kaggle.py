"""Kaggle's brain-tumor-mri-dataset, pinned to version 1 and checked after download."""

from collections.abc import Mapping
from pathlib import Path

from helpers.config import CourseError

from . import folder
from .dataset import CLASS_NAMES, Dataset

HANDLE = "masoudnickparvar/brain-tumor-mri-dataset/versions/1"
COUNTS = {
    "Training": dict(zip(CLASS_NAMES, (1321, 1339, 1595, 1457), strict=True)),
    "Testing": dict(zip(CLASS_NAMES, (300, 306, 405, 300), strict=True)),
}
VERSION_2_TOTALS = {"Training": 5600, "Testing": 1600}


def load(pixels: int) -> Dataset:
    """Return Kaggle's version 1, downloading it unless kagglehub has it already.

    Raises `CourseError` if it cannot be had, if one of the eight folders does not hold
    version 1's number of files, or if a file does not decode.
    """
    root = _download()
    verdict = which_version(folder.count(folder.find_files(root).files))
    if verdict == "version 1":
        data = folder.load(root, pixels, name="kaggle version 1")
        if data.set_aside.empty:
            return data
        first = data.set_aside.iloc[0]
        verdict = (
            f"{len(data.set_aside)} file(s) do not decode, such as {first['file']}"
        )
    raise CourseError(
        f"{root} is not a whole copy of Kaggle's version 1: {verdict}. Delete that "
        "folder to download it again; to use it as it is, set BRAIN_MRI_DATA to its "
        "path."
    )


def which_version(counts: Mapping[tuple[str, str], int]) -> str:
    """Say which version the files per (split, class) fit: 1, 2 or neither."""
    differences = [
        f"{split}/{class_name} has {counts.get((split, class_name), 0)}, not {expected}"
        for split, classes in COUNTS.items()
        for class_name, expected in classes.items()
        if counts.get((split, class_name), 0) != expected
    ]
    totals = dict.fromkeys(COUNTS, 0)
    for (split, _), number in counts.items():
        totals[split] += number
    if not differences:
        return "version 1"
    if totals == VERSION_2_TOTALS:
        return "version 2 (February 2026, 5600 + 1600 files), which is another dataset"
    return "not version 1 (" + "; ".join(differences) + ")"


def _download() -> Path:
    import kagglehub  # a second, and the network: only for readers who ask for it

    try:
        return Path(kagglehub.dataset_download(HANDLE))
    except Exception as error:  # requests', kagglehub's own, and the system's
        raise CourseError(
            f"Kaggle's dataset could not be downloaded ({type(error).__name__}). "
            "Is there a network? Three ways out: try again later; download "
            f"https://www.kaggle.com/datasets/{HANDLE} with a browser, unpack it and "
            "set BRAIN_MRI_DATA to that folder; or unset BRAIN_MRI_DATA to use the "
            "phantoms."
        ) from error
