"""Record the audit of the real images: every similar pair, by file name, no image."""

import hashlib
import json
import os
import platform
import subprocess
from datetime import date
from importlib.metadata import version

import numpy as np
import pandas as pd

from helpers.config import ROOT

from . import manifest
from .patients import purity_and_completeness
from .report import Audit, in_training_too
from .twins import MIRRORS, SAME_SERIES, SAME_SLICE, VIEWS, similar_pairs

NAME = "twin-pairs"
AT_LEAST = 0.5  # similarity from which a pair is recorded
VIEW_NAMES = (*VIEWS, "aligned")
RECORDED = ROOT / "data" / "recorded"


def write(found: Audit, rows: pd.DataFrame, seconds: float) -> None:
    """Write data/recorded/twin-pairs.npz and .json; `rows`: the manifest, as loaded.

    The arrays: `filenames` [n]; of each pair `first` and `second` (positions in it),
    `similarity`, `mirror` and `view` (positions in `mirror_names` and `view_names`).
    """
    pairs = similar_pairs(found.signatures, AT_LEAST)
    aligned = found.pairs[found.pairs["view"] == "aligned"]
    pairs = pd.concat([pairs, aligned[pairs.columns]], ignore_index=True)
    np.savez_compressed(
        RECORDED / f"{NAME}.npz",
        filenames=found.files["file"].to_numpy(str),
        first=pairs["first"].to_numpy(np.int32),
        second=pairs["second"].to_numpy(np.int32),
        similarity=pairs["similarity"].to_numpy(np.float32),
        mirror=pd.Categorical(pairs["mirror"], MIRRORS).codes,
        view=pd.Categorical(pairs["view"], VIEW_NAMES).codes,
        mirror_names=np.array(MIRRORS),
        view_names=np.array(VIEW_NAMES),
    )
    info = {
        "name": NAME,
        "dataset": {
            "name": "masoudnickparvar/brain-tumor-mri-dataset, version 1",
            "copy": f"{len(found.files)} of its 7023 files, read at 224 px",
            "fingerprint": found.data.fingerprint,
        },
        "manifest_sha256": hashlib.sha256(manifest.PATH.read_bytes()).hexdigest(),
        "plan_sha256": None,
        "looks": 0,
        "protocol": f"Every pair of files at least {AT_LEAST} similar, over four "
        "mirror states, and re-framed copies that only alignment shows. No label was "
        "used. What is known of patients comes from figshare, through the manifest.",
        "weights": None,
        "profile": None,
        "seeds": [],
        "backend": "numpy",
        "device": f"{os.cpu_count()} CPU cores, other work too",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy", "pillow")},
        },
        "commit": _commit(),
        "recorded_on": date.today().isoformat(),
        "wall_seconds": round(seconds, 1),
        "thresholds": {"slice": SAME_SLICE, "series": SAME_SERIES},
        "found": numbers(found, rows, pairs),
    }
    (RECORDED / f"{NAME}.json").write_text(json.dumps(info, indent=1) + "\n")


def numbers(found: Audit, rows: pd.DataFrame, pairs: pd.DataFrame) -> dict:
    """Return what the audit counted, for prose to quote."""
    files = found.files
    rows = rows.set_index("filename").loc[files["file"]].reset_index()
    testing = files["split"] == "Testing"
    shared = {
        name: in_training_too(files, column)
        for name, column in (
            ("exact", "exact"),
            ("slice", "group"),
            ("series", "series"),
        )
    }
    overlap = {
        name: {key: int((hits & where).sum()) for key, hits in shared.items()}
        | {"images": int(where.sum())}
        for name, where in (
            ("all", testing),
            *((c, testing & (files["class"] == c)) for c in found.data.class_names),
        )
    }
    patient = rows["patient"].fillna(-1).to_numpy(int)
    slices = rows["figshare_index"].fillna(-1).to_numpy(int)
    first, second = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    known = (patient[first] > 0) & (patient[second] > 0)
    same_slice = known & (slices[first] == slices[second])
    same_patient = known & ~same_slice & (patient[first] == patient[second])
    strangers = known & (patient[first] != patient[second])
    similarity = pairs["similarity"].to_numpy()
    linked = similarity >= SAME_SERIES
    tumor = known & (similarity >= SAME_SLICE)
    known_test = testing & (patient > 0)
    in_training = set(patient[(files["split"] == "Training").to_numpy()])
    return {
        "images": len(files),
        "distinct_pixels": int(files["exact"].nunique()),
        "distinct_slices": int(files["group"].nunique()),
        "series": int(files["series"].nunique()),
        "distinct_notumor_slices": int(
            files.loc[files["class"] == "notumor", "group"].nunique()
        ),
        "conflicting_slices": int(files.loc[files["conflict"], "group"].nunique()),
        "redundant": {
            split: int(part["exact"].duplicated().sum())
            for split, part in files.groupby("split")
        },
        "test_in_training": overlap,
        "figshare_files": int((patient > 0).sum()),
        "patients": len(set(patient) - {-1}),
        "test_images_of_known_patients": int(known_test.sum()),
        "of_them_patient_in_training": int(
            pd.Series(patient)[known_test.to_numpy()].isin(in_training).sum()
        ),
        "known_twin_pairs": int(tumor.sum()),
        "known_twin_pairs_mirrored": int((tumor & (pairs["mirror"] != "none")).sum()),
        "least_similar_same_slice": float(similarity[same_slice].min()),
        "most_similar_neighbours": float(similarity[same_patient].max()),
        "most_similar_strangers": float(similarity[strangers].max()),
        "links_within_patient": int((linked & same_patient).sum()),
        "links_between_patients": int((linked & strangers).sum()),
        "aligned_pairs": int((pairs["view"] == "aligned").sum()),
        "series_for_patients": purity_and_completeness(
            files["series"].to_numpy(), patient, files["group"].to_numpy()
        ),
        "kept": int(rows["keep"].sum()),
    }


def _commit() -> str:
    """Return the commit, with `+changes` when helpers differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.check_output(["git", *arguments], cwd=ROOT, text=True).strip()

    changed = git("status", "--porcelain", "--", "helpers")
    return git("rev-parse", "HEAD")[:12] + ("+changes" if changed else "")
