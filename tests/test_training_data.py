"""What does not fit a plan is refused by name before anything is trained."""

import numpy as np
import pytest
from small_network import SIDE, images_and_labels

from helpers.config import CourseError
from helpers.plan import Plan, Stage
from helpers.training_data import checked

IMAGES, LABELS = images_and_labels(20)
HEAD = Stage("head", "backbone", 2, 1e-2)
PLAN = Plan((HEAD,), pixels=SIDE)
GOOD = {"images": IMAGES, "labels": LABELS, "groups": None}
GOOD |= {"fit_rows": np.arange(15), "val_rows": np.arange(15, 20)}
ONE_HOT = np.eye(3)[LABELS]
MASK = np.arange(20) < 15


def minus_one() -> np.ndarray:
    labels = LABELS.copy()
    labels[7] = -1
    return labels


REFUSED = {
    "rows of fit in val": ({"val_rows": [3, 16]}, "1 rows are in fit_rows and in val"),
    "negative row": ({"fit_rows": [0, 1, -1]}, "fit_rows holds -1; .* 0 to 19"),
    "negative row of val": ({"val_rows": [-5]}, "val_rows holds -5; .* 0 to 19"),
    "row out of range": ({"fit_rows": [0, 1, 20]}, "fit_rows holds 20; .* 0 to 19"),
    "row out of range of val": ({"val_rows": [99]}, "val_rows holds 99"),
    "mask": ({"fit_rows": MASK}, r"fit_rows is a mask.*np.flatnonzero\(fit_rows\)"),
    "mask of val": ({"val_rows": ~MASK}, r"val_rows is a mask"),
    "rows as floats": ({"fit_rows": [0.0, 1.0]}, "fit_rows is float64 of shape"),
    "rows as words": ({"fit_rows": ["0", "1"]}, "fit_rows is <U1 of shape"),
    "rows as a table": ({"fit_rows": [[0], [1]]}, r"fit_rows is int64 of shape \(2, 1"),
    "one row": ({"fit_rows": 3}, r"fit_rows is int64 of shape \(\)"),
    "no rows": ({"fit_rows": []}, "fit_rows holds 0 images of 0 class"),
    "nothing": ({"fit_rows": None}, "fit_rows is object of shape"),
    "one class": ({"fit_rows": np.flatnonzero(LABELS == 1)[:3], "val_rows": []},
                  "3 images of 1 class; expected two"),
    "label -1": ({"labels": minus_one()}, "label -1 of image 7 is below 0"),
    "one-hot": ({"labels": ONE_HOT}, r"shape \(20, 3\).*argmax\(axis=1\)"),
    "labels as floats": ({"labels": LABELS.astype(float)}, "labels are float64"),
    "labels as words": ({"labels": LABELS.astype(str)}, "labels are <U.*factorize"),
    "labels as truth": ({"labels": LABELS > 0}, "labels are bool; expected whole"),
    "labels of two lengths": ({"labels": [[0], [1, 2]]}, "20 images, but 2 labels"),
    "too few labels": ({"labels": LABELS[:9]}, "20 images, but 9 labels"),
    "float images": ({"images": IMAGES / 255}, "float64 .* the plan expects uint8"),
    "colour": ({"images": IMAGES[..., None]}, r"of shape \(32, 32, 1\); the plan"),
    "one image": ({"images": IMAGES[0]}, r"uint8 of shape \(32,\); the plan"),
    "no array": ({"images": None}, r"the images are object of shape \(\)"),
    "few groups": ({"groups": [1, 2]}, r"groups is int64 of shape \(2,\)"),
    "groups missing": ({"groups": [np.nan] * 20}, "groups is float64 .*none missing"),
    "groups of None": ({"groups": [None] * 20}, "groups is object .*none missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_numpy_would_wrap_or_guess_is_refused_by_name(case):
    change, message = REFUSED[case]
    with pytest.raises(CourseError, match=message):
        checked(PLAN, **GOOD | change)


def test_lists_and_small_types_are_taken_as_what_they_mean():
    given = GOOD | {"labels": LABELS.astype(np.int8).tolist(), "fit_rows": range(15)}
    data = checked(PLAN, **given | {"groups": [f"p{i // 2}" for i in range(20)]})
    assert data.images is IMAGES
    assert data.labels.dtype == data.fit_rows.dtype == data.val_rows.dtype == np.int64
    np.testing.assert_array_equal(data.labels, LABELS)
    np.testing.assert_array_equal(data.fit_rows, np.arange(15))
    assert data.groups[3] == "p1"


def test_no_validation_rows_are_fine_where_nothing_is_decided():
    assert len(checked(PLAN, **GOOD | {"val_rows": []}).val_rows) == 0
