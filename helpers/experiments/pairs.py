"""The benchmark's manifest, and every similar pair of real images, by file name.

Both follow from the audit of Kaggle's version 1 and from figshare's slices, whose
patients are known. No label takes part in finding a pair.
"""

import time

import numpy as np
import pandas as pd

from helpers.audit import (
    SAME_SERIES,
    SAME_SLICE,
    Audit,
    audit,
    in_training_too,
    manifest,
    purity_and_completeness,
    signatures,
    similar_pairs,
)
from helpers.audit.twins import MIRRORS, VIEWS
from helpers.datasets import figshare

from .build_manifest import build
from .patients import match
from .real import PIXELS, real_images
from .records import Experiment, info, sha256, write

AT_LEAST = 0.5  # similarity from which a pair is recorded
VIEW_NAMES = (*VIEWS, "aligned")


def record(experiment: Experiment, look_again: bool) -> None:
    """Audit the images of `BRAIN_MRI_DATA`, write the manifest, and record the pairs.

    `BRAIN_MRI_FIGSHARE` names figshare's folder. The arrays of the record: `filenames`
    [n]; of each pair `first` and `second` (positions in it), `similarity`, `mirror` and
    `view` (positions in `mirror_names` and `view_names`).
    """
    started = time.perf_counter()
    slices = figshare.load(figshare.root(), PIXELS)
    found = audit(real_images())
    matches = match(found.signatures, signatures(slices.images), slices)
    rows = build(found, matches)
    rows.to_csv(manifest.PATH, index=False, lineterminator="\n")
    pairs = similar_pairs(found.signatures, AT_LEAST)
    aligned = found.pairs[found.pairs["view"] == "aligned"]
    pairs = pd.concat([pairs, aligned[pairs.columns]], ignore_index=True)
    about = info(
        experiment,
        {
            "name": "masoudnickparvar/brain-tumor-mri-dataset, version 1",
            "copy": f"{len(found.files)} of its 7023 files, read at {PIXELS} px",
            "fingerprint": found.data.fingerprint,
        },
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
        weights=None,
    )
    about |= {
        "manifest_sha256": sha256(manifest.PATH.read_text()),
        "profile": None,
        "backend": "numpy",
        "thresholds": {"slice": SAME_SLICE, "series": SAME_SERIES},
        "found": numbers(found, manifest.load(), pairs),
    }
    write(
        about,
        filenames=found.files["file"].to_numpy(str),
        first=pairs["first"].to_numpy(np.int32),
        second=pairs["second"].to_numpy(np.int32),
        similarity=pairs["similarity"].to_numpy(np.float32),
        mirror=pd.Categorical(pairs["mirror"], MIRRORS).codes,
        view=pd.Categorical(pairs["view"], VIEW_NAMES).codes,
        mirror_names=np.array(MIRRORS),
        view_names=np.array(VIEW_NAMES),
    )


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
        "least_similar_same_slice": _end(np.min, similarity[same_slice]),
        "most_similar_neighbours": _end(np.max, similarity[same_patient]),
        "most_similar_strangers": _end(np.max, similarity[strangers]),
        "links_within_patient": int((linked & same_patient).sum()),
        "links_between_patients": int((linked & strangers).sum()),
        "aligned_pairs": int((pairs["view"] == "aligned").sum()),
        "series_for_patients": purity_and_completeness(
            files["series"].to_numpy(), patient, files["group"].to_numpy()
        ),
        "kept": int(rows["keep"].sum()),
    }


def _end(smallest_or_largest, similarity: np.ndarray) -> float | None:
    """Return the end of some similarities; None if there is no pair of the kind."""
    return float(smallest_or_largest(similarity)) if len(similarity) else None


EXPERIMENTS = (
    Experiment(
        "twin-pairs",
        f"Every pair of files at least {AT_LEAST} similar, over four mirror states, "
        "and re-framed copies that only alignment shows. No label was used. What is "
        "known of patients comes from figshare, through the manifest.",
        run=record,
        seeds=(),
    ),
)
