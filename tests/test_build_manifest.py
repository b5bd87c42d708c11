"""No fold of the manifest tears apart what belongs together; conflicts are left out."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import audit
from helpers.audit.manifest import BOX
from helpers.config import CourseError
from helpers.datasets import Dataset
from helpers.experiments import build_manifest
from helpers.phantoms import generate


@st.composite
def dealt(draw):
    """Return labels, groups, series, patients (-1 unknown) and keys, all arbitrary."""
    count = draw(st.integers(40, 90))

    def numbers(lowest, highest):
        return np.array(
            draw(st.lists(st.integers(lowest, highest), min_size=count, max_size=count))
        )

    digests = draw(
        st.lists(st.integers(0, 10**9), min_size=count, max_size=count, unique=True)
    )
    keys = np.array([f"{d:010d}" for d in digests])
    return numbers(0, 2), numbers(0, 60), numbers(-1, 50), numbers(-1, 40), keys


@settings(deadline=None)
@given(dealt(), st.integers(2, 5))
def test_no_group_series_or_patient_crosses_a_fold(arrays, num_folds):
    labels, group, series, patient, keys = arrays
    together = audit.joined(group, series, patient)
    if len(set(together)) < num_folds:
        with pytest.raises(CourseError, match="cannot fill"):
            build_manifest.folds(labels, together, keys, num_folds)
        return
    fold = build_manifest.folds(labels, together, keys, num_folds)
    assert set(fold) <= set(range(num_folds))
    for numbers in (group, series, patient):
        table = pd.DataFrame({"number": numbers, "fold": fold})[numbers >= 0]
        assert (table.groupby("number")["fold"].nunique() == 1).all()


@settings(deadline=None)
@given(dealt(), st.randoms(use_true_random=False))
def test_any_file_order_gives_each_image_the_same_fold(arrays, random):
    labels, group, series, _, keys = arrays
    together = audit.joined(group, series)
    if len(set(together)) < 2:
        return
    fold = build_manifest.folds(labels, together, keys, 2)
    order = list(range(len(labels)))
    random.shuffle(order)
    again = build_manifest.folds(
        labels[order], audit.joined(group[order], series[order]), keys[order], 2
    )
    assert again.tolist() == fold[order].tolist()


def test_folds_keep_the_class_shares():
    labels = np.repeat([0, 1, 2, 3], [400, 300, 200, 100])
    keys = [f"{i * 7919 % 1000:04d}" for i in range(1000)]
    fold = build_manifest.folds(labels, np.arange(1000) // 2, keys)
    for number in range(5):
        assert np.bincount(labels[fold == number]).tolist() == [80, 60, 40, 20]


def test_conflicts_within_a_group_are_excluded_from_the_scored():
    large = generate(40, 352, progress=False).images
    images = np.stack([*large[:20:2], large[0][:, ::-1]])
    files = [f"Training/x/{i:02d}" for i in range(10)] + ["Training/y/10"]
    table = pd.DataFrame(
        {"file": files, "split": "Training", "class": ["x"] * 10 + ["y"], "mode": "L"}
    )
    table[["width", "height", "source"]] = [224, 224, "test"]
    data = Dataset(
        "t",
        images,
        np.array([0] * 10 + [1]),
        ("x", "y"),
        table,
        pd.DataFrame(columns=["file", "reason"]),
        True,
        fingerprint="",
    )
    unknown = pd.DataFrame(
        pd.NA,
        index=range(11),
        columns=["similarity", "figshare_index", "patient", "figshare_class", "mirror"],
    )
    unknown[list(BOX)] = np.nan
    rows = build_manifest.build(audit.audit(data), unknown).set_index("filename")
    assert rows.loc[["Training/x/00", "Training/y/10"], "conflict"].eq("files").all()
    assert rows.loc[["Training/x/00", "Training/y/10"], "keep"].eq(0).all()
    assert rows["keep"].sum() >= 5
