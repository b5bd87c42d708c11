"""The one gate that images, labels and rows pass before a plan is carried out."""

from dataclasses import dataclass

import numpy as np

from helpers.config import CourseError
from helpers.plan import Plan


@dataclass(frozen=True)
class TrainingData:
    """Arrays that fit a plan and one another.

    `images` uint8 [n, pixels, pixels]; `labels` int64 [n], 0..k-1; `fit_rows` and
    `val_rows` int64, positions of images that share none; `groups` [n] or None.
    """

    images: np.ndarray
    labels: np.ndarray
    fit_rows: np.ndarray
    val_rows: np.ndarray
    groups: np.ndarray | None


def checked(
    plan: Plan, images, labels, fit_rows, val_rows=(), groups=None
) -> TrainingData:
    """Return the arrays that a plan is carried out on.

    `images` as the plan wants them; `labels`, `fit_rows`, `val_rows`: whole numbers, as
    arrays or lists; `groups`: one number or word an image. Raises `CourseError` naming
    the array and its first wrong value: what NumPy would wrap, broadcast or guess
    (negative rows, masks, one-hot labels) is refused, since training would go on.
    """
    images = np.asanyarray(images)  # a memory map stays one
    side = (plan.pixels, plan.pixels)
    if images.ndim != 3 or images.shape[1:] != side or images.dtype != np.uint8:
        raise CourseError(
            f"the images are {images.dtype} of shape {images.shape[1:]}; the plan "
            f"expects uint8 of shape {side}. Load them so, or change the plan's pixels."
        )
    labels = _labels(labels, len(images))
    fit_rows = _rows("fit_rows", fit_rows, len(images))
    val_rows = _rows("val_rows", val_rows, len(images))
    shared = np.intersect1d(fit_rows, val_rows)
    if len(shared):
        raise CourseError(
            f"{len(shared)} rows are in fit_rows and in val_rows, such as {shared[0]}: "
            "what is learned from cannot decide. Split them first, by patient: "
            "audit.inner_split."
        )
    if len(np.unique(labels[fit_rows])) < 2:
        raise CourseError(
            f"fit_rows holds {len(fit_rows)} images of "
            f"{len(np.unique(labels[fit_rows]))} class; expected two classes or more."
        )
    patient = [stage.name for stage in plan.stages if stage.patience is not None]
    if patient and not len(val_rows):
        raise CourseError(
            f"stage {patient[0]!r} has patience, but there is no validation part to "
            "decide by. Set val_rows, or patience to None."
        )
    if plan.weighting != "none" and groups is None:
        raise CourseError(
            f'the plan\'s weighting is "{plan.weighting}": set groups, one an image.'
        )
    groups = None if groups is None else _groups(groups, len(images))
    return TrainingData(images, labels, fit_rows, val_rows, groups)


def _labels(labels, num_images: int) -> np.ndarray:
    labels = _array(labels)
    if labels.ndim != 1:
        raise CourseError(
            f"the labels have shape {labels.shape}; expected one number an image. Are "
            "they one-hot? Then take labels.argmax(axis=1)."
        )
    if len(labels) != num_images:
        raise CourseError(f"{num_images} images, but {len(labels)} labels.")
    if not np.issubdtype(labels.dtype, np.integer):
        raise CourseError(
            f"the labels are {labels.dtype}; expected whole numbers from 0, an index "
            "into the class names. From names: pandas.factorize(labels, sort=True)[0]."
        )
    if len(labels) and labels.min() < 0:
        raise CourseError(
            f"label {labels.min()} of image {labels.argmin()} is below 0; expected 0 "
            "or more. Leave out images without a label."
        )
    return labels.astype(np.int64)


def _rows(name: str, rows, num_images: int) -> np.ndarray:
    rows = _array(rows)
    if rows.dtype == bool:
        raise CourseError(
            f"{name} is a mask of true and false; expected positions of images. Take "
            f"np.flatnonzero({name})."
        )
    if rows.ndim != 1 or (rows.size and not np.issubdtype(rows.dtype, np.integer)):
        raise CourseError(
            f"{name} is {rows.dtype} of shape {rows.shape}; expected a list of whole "
            "numbers, the positions of images."
        )
    outside = rows[(rows < 0) | (rows >= num_images)]
    if len(outside):
        raise CourseError(
            f"{name} holds {outside[0]}; expected positions of images, 0 to "
            f"{num_images - 1}."
        )
    return rows.astype(np.int64)


def _groups(groups, num_images: int) -> np.ndarray:
    groups = _array(groups)
    missing = groups.dtype.kind == "f" and not np.isfinite(groups).all()
    if groups.shape != (num_images,) or groups.dtype.kind not in "iufUST" or missing:
        raise CourseError(
            f"groups is {groups.dtype} of shape {groups.shape}; expected one number or "
            f"word for each of {num_images} images, and none missing."
        )
    return groups


def _array(values) -> np.ndarray:
    """Return values as an array; what has several lengths becomes one of objects."""
    try:
        return np.asarray(values)
    except ValueError:
        return np.array([None, *values], object)[1:]
