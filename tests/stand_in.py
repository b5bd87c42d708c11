"""Small data in the place of the real images, so that the runners can be run.

Two hundred slices of four classes, each in one to three files, of forty-eight patients
(or series, where the patient is not known) that lie in five folds. Files of one slice
lie in Training and Testing alike, as in the real images.
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from helpers import audit, recorded
from helpers.audit import manifest
from helpers.datasets import Dataset
from helpers.experiments import records, registry
from helpers.experiments.real import RealData

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
SIDE = 32
NUM_SLICES, NUM_PATIENTS = 240, 48


def rows_of_files() -> pd.DataFrame:
    """Return a manifest of the stand-in files, a row a file."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(NUM_SLICES):
        person = number % NUM_PATIENTS
        name = CLASSES[person % 4]
        known = name != "notumor"
        for copy in range(int(rng.integers(1, 4))):
            split = ("Training", "Training", "Testing")[int(rng.integers(3))]
            rows.append(
                {
                    "filename": f"{split}/{name}/{number:03}-{copy}.jpg",
                    "class": name,
                    "split": split,
                    "fingerprint": "0" * 16,
                    "group": number,
                    "series": 2 * person + number // NUM_PATIENTS % 2,
                    "patient": person if known else pd.NA,
                    "figshare_index": number if known else pd.NA,
                    "source": "figshare" if copy == 0 else "other",
                    "conflict": "",
                    "fold": person // 4 % manifest.NUM_FOLDS,
                }
            )
    table = pd.DataFrame(rows).sort_values("filename", ignore_index=True)
    # A patient of notumor is not known: only the series hold these slices together.
    unknown = table["class"] == "notumor"
    table.loc[unknown, "series"] = table.loc[unknown, "series"] // 2 * 2
    table["keep"] = (~table["group"].duplicated()).astype(int)
    whole = dict.fromkeys(("patient", "figshare_index", "fold", "keep"), "Int64")
    return table.astype(whole)


def real_data() -> RealData:
    """Return the stand-in images as experiments see the real ones."""
    rows = rows_of_files()
    labels = rows["class"].map(CLASSES.index).to_numpy(int)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 120, (len(rows), SIDE, SIDE)) + 40 * labels[:, None, None]
    table = rows[["filename", "split", "class", "source", "series", "patient"]]
    table = table.rename(columns={"filename": "file"}).assign(mode="L")
    data = Dataset(
        "stand-in",
        images.astype(np.uint8),
        labels,
        CLASSES,
        table,
        pd.DataFrame(columns=["file", "reason"]),
        False,
        fingerprint="stand-in",
    )
    group = np.arange(len(rows))  # no two files have the same pixels
    train, test = data.official_split()
    fit, val = audit.inner_split(labels[train], group[train], 0.1)
    return RealData(data, group, train[fit], train[val], test)


def install(monkeypatch, folder) -> SimpleNamespace:
    """Put the stand-in where every runner looks; records go to a folder of the test.

    Returns `real` and `units` [n]: files with one number share a slice, a series or a
    patient.
    """
    real = real_data()
    rows = rows_of_files()
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(folder / "cache"))
    monkeypatch.setenv("BRAIN_MRI_WEIGHTS", "none")
    monkeypatch.setattr(recorded, "FOLDER", folder / "recorded")
    monkeypatch.setattr(recorded, "withdrawn", frozenset)
    monkeypatch.setattr(manifest, "load", lambda path=None: rows)
    # Plans are read from where they lie, and count as committed.
    monkeypatch.setattr(records, "git", committed)
    modules = [records, *vars(registry).values()]
    for module in modules:
        for name, value in (
            ("load_real", lambda: real),
            ("real_images", lambda: real.data),
            ("imagenet_name", lambda: "stand-in"),
        ):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    numbers = (real.rows[n].fillna(-1).to_numpy(int) for n in ("group", "series"))
    patient = real.rows["patient"].fillna(-1).to_numpy(int)
    return SimpleNamespace(real=real, units=audit.joined(*numbers, patient))


def committed(*arguments: str) -> str:
    """Answer as git does when every plan is committed as it lies there."""
    if arguments[0] == "show":
        path = records.ROOT / arguments[1].removeprefix("HEAD:")
        return path.read_text() if path.exists() else ""
    return ""
