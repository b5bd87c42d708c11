"""Metrics of a classifier, with intervals over groups and several training seeds.

Metrics follow scikit-learn's definitions. Added here: a bootstrap that resamples
groups of images (Efron & Tibshirani 1993, percentile interval) and averages seeds.
It resamples per-group counts, not images, so 2,000 resamples take about a second.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, f1_score

from helpers.config import SEED, CourseError

NUM_BINS = 15  # of the calibration error: equal widths, as in Guo et al. 2017


class Difference(NamedTuple):
    """Second model minus first: the difference and its bootstrap interval."""

    difference: float
    low: float
    high: float


def _checked(labels, probabilities) -> tuple[np.ndarray, np.ndarray]:
    """Return labels int64 [n] and probabilities float64 [seeds, n, k], or raise.

    Rows are divided by their sum, which removes float16 and float32 rounding.
    """
    labels = np.asarray(labels)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim == 2:
        probabilities = probabilities[None]
    if probabilities.ndim != 3 or probabilities.shape[1] != len(labels):
        raise CourseError(
            f"probabilities have shape {probabilities.shape}; expected "
            f"[{len(labels)}, classes] or [seeds, {len(labels)}, classes], one row for "
            "each label."
        )
    if len(labels) == 0:
        raise CourseError("There are no labels; expected at least one image.")
    if not np.isfinite(probabilities).all():
        seed, row, column = np.argwhere(~np.isfinite(probabilities))[0]
        raise CourseError(
            f"probabilities hold {probabilities[seed, row, column]} in row {row}, "
            f"column {column}; expected numbers from 0 to 1. Did training diverge?"
        )
    sums = probabilities.sum(axis=2)
    wrong = (np.abs(sums - 1) > 1e-3) | (probabilities < 0).any(axis=2)
    if wrong.any():
        seed, row = np.argwhere(wrong)[0]
        raise CourseError(
            f"Row {row} of the probabilities is {probabilities[seed, row].round(3)} "
            f"with sum {sums[seed, row]:.3f}; expected no negative number and sum 1. "
            "Are these logits? Apply softmax first."
        )
    num_classes = probabilities.shape[2]
    outside = ~np.isin(labels, np.arange(num_classes))
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise CourseError(
            f"labels[{row}] is {labels[row]}; expected a class index from 0 to "
            f"{num_classes - 1}, as many as probability columns."
        )
    return labels.astype(np.int64), probabilities / sums[..., None]


def macro_f1(labels, predictions) -> float:
    """Return the mean of the classes' F1 scores, 0 to 1; every class counts the same.

    `labels`, `predictions`: class indices [n]. A class found in neither is left out.
    """
    return float(f1_score(labels, predictions, average="macro"))


def sensitivity_specificity(labels, predictions, class_names) -> pd.DataFrame:
    """Return each class' one-vs-rest sensitivity and specificity, 0 to 1.

    `labels`, `predictions`: class indices [n]. One row a class, columns sensitivity,
    specificity, images, found (true positives), false_alarms (false positives);
    NaN where a class has no image. "Rest" means this dataset's other classes.
    """
    counts = confusion_matrix(labels, predictions, labels=np.arange(len(class_names)))
    true_positive = np.diag(counts)
    positive = counts.sum(axis=1)
    false_positive = counts.sum(axis=0) - true_positive
    negative = counts.sum() - positive
    with np.errstate(invalid="ignore"):
        return pd.DataFrame(
            {
                "sensitivity": true_positive / positive,
                "specificity": 1 - false_positive / negative,
                "images": positive,
                "found": true_positive,
                "false_alarms": false_positive,
            },
            index=pd.Index(class_names, name="class"),
        )


def brier(labels, probabilities) -> float:
    """Return the multi-class Brier score, 0 (best) to 2: squared error, summed.

    `labels` [n], `probabilities` [n, k]; the sum runs over classes, the mean over
    images (Brier 1950). Raises `CourseError` for labels or probabilities out of range.
    """
    labels, probabilities = _checked(labels, probabilities)
    return float(_image_brier(labels, probabilities[0]).mean())


def log_loss(labels, probabilities) -> float:
    """Return the mean of -ln(probability of the true class), 0 (best) to about 36.

    `labels` [n], `probabilities` [n, k]. Raises `CourseError` as `brier` does.
    """
    labels, probabilities = _checked(labels, probabilities)
    return float(_image_log_loss(labels, probabilities[0]).mean())


def calibration_bins(labels, probabilities) -> pd.DataFrame:
    """Return how often the top class is right at each confidence, in 15 equal bins.

    `labels` [n], `probabilities` [n, k]. One row for each of the 15 bins (low, high],
    columns images, confidence (mean), accuracy; NaN in empty bins.
    """
    labels, probabilities = _checked(labels, probabilities)
    confidence = probabilities[0].max(axis=1)
    right = probabilities[0].argmax(axis=1) == labels
    edges = np.linspace(0, 1, NUM_BINS + 1)
    bins = pd.cut(confidence, edges)
    table = pd.DataFrame({"confidence": confidence, "accuracy": right})
    table = table.groupby(bins, observed=False).agg(
        images=("accuracy", "size"),
        confidence=("confidence", "mean"),
        accuracy=("accuracy", "mean"),
    )
    return table.rename_axis("bin")


def expected_calibration_error(labels, probabilities) -> float:
    """Return the mean gap between confidence and accuracy, 0 (best) to 1.

    `labels` [n], `probabilities` [n, k]. Confidence is the top class' probability, in
    15 bins of equal width weighted by their images (Guo et al. 2017).
    """
    bins = calibration_bins(labels, probabilities)
    gaps = (bins.accuracy - bins.confidence).abs()
    return float((gaps * bins.images).sum() / bins.images.sum())


def _image_brier(labels, probabilities) -> np.ndarray:
    return ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1)


def _image_log_loss(labels, probabilities) -> np.ndarray:
    chosen = probabilities[np.arange(len(labels)), labels]
    return -np.log(np.clip(chosen, np.finfo(np.float64).eps, 1))


def _accuracy(counts) -> np.ndarray:
    return np.trace(counts, axis1=1, axis2=2) / counts.sum(axis=(1, 2))


def _recall(counts) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.diagonal(counts, axis1=1, axis2=2) / counts.sum(axis=2)


def _macro_f1(counts) -> np.ndarray:
    hits = np.diagonal(counts, axis1=1, axis2=2)
    with np.errstate(invalid="ignore"):
        return np.nanmean(2 * hits / (counts.sum(axis=1) + counts.sum(axis=2)), axis=1)


COUNTED = {"accuracy": _accuracy, "macro_f1": _macro_f1, "recall": _recall}
AVERAGED = {"brier": _image_brier, "log_loss": _image_log_loss}


def _draws(num_images, groups, num_resamples, seed) -> tuple[np.ndarray, np.ndarray]:
    """Return each image's group index [n] and how often each group is drawn [r, g]."""
    groups = np.arange(num_images) if groups is None else np.asarray(groups)
    if groups.shape != (num_images,) or pd.isna(groups).any():
        raise CourseError(
            f"groups have shape {groups.shape}"
            f"{' and missing values' if pd.isna(groups).any() else ''}; expected one "
            f"group for each of the {num_images} images."
        )
    members = np.unique(groups, return_inverse=True)[1]
    return members, _drawn(int(members.max()) + 1, num_resamples, seed)


@lru_cache(maxsize=2)  # drawing takes longer than scoring, and many runs share groups
def _drawn(num_groups, num_resamples, seed) -> np.ndarray:
    share = np.full(num_groups, 1 / num_groups)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(num_groups, share, size=num_resamples).astype(np.float64)
    drawn.flags.writeable = False
    return drawn


def _resampled(metric, labels, probabilities, members, drawn) -> np.ndarray:
    """Return the seed-mean `metric` of every resample: [r], or [r, k] for recall."""
    num_seeds, _, num_classes = probabilities.shape
    total = 0.0
    for one in probabilities:
        if metric in COUNTED:
            cell = labels * num_classes + one.argmax(axis=1)
            counts = np.zeros((drawn.shape[1], num_classes**2))
            np.add.at(counts, (members, cell), 1)
            counts = (drawn @ counts).reshape(-1, num_classes, num_classes)
            total = total + COUNTED[metric](counts)
        elif metric in AVERAGED:
            loss = np.bincount(members, AVERAGED[metric](labels, one))
            total = total + drawn @ loss / (drawn @ np.bincount(members))
        elif metric == "ece":
            confidence = one.max(axis=1)
            bins = np.searchsorted(np.linspace(0, 1, NUM_BINS + 1), confidence) - 1
            gaps = np.zeros((drawn.shape[1], NUM_BINS))
            surplus = (one.argmax(axis=1) == labels) - confidence
            np.add.at(gaps, (members, bins), surplus)
            gaps = np.abs(drawn @ gaps).sum(axis=1)
            total = total + gaps / (drawn @ np.bincount(members))
        else:
            known = ", ".join([*COUNTED, *AVERAGED, "ece"])
            raise CourseError(f"metric is {metric!r}; expected one of {known}.")
    return total / num_seeds


def bootstrap_interval(
    metric, labels, probabilities, groups=None, num_resamples=2000, seed=SEED, level=95
) -> np.ndarray:
    """Return the percentile interval of `metric` over resampled groups, 95 % by itself.

    `metric`: accuracy, macro_f1, recall, brier, log_loss or ece. `labels` [n];
    `probabilities` [n, k] or [seeds, n, k], then of the mean over seeds; `groups` [n]:
    images that must be drawn together, such as copies or one patient's (each image for
    itself if None); `level`: in percent. Returns [low, high], for recall [k, 2].
    Method: Efron & Tibshirani 1993. Raises `CourseError` for input out of shape or
    range.
    """
    labels, probabilities = _checked(labels, probabilities)
    members, drawn = _draws(len(labels), groups, num_resamples, seed)
    values = _resampled(metric, labels, probabilities, members, drawn)
    return np.nanpercentile(values, _ends(level), axis=0).T


def _ends(level: float) -> list[float]:
    return [(100 - level) / 2, (100 + level) / 2]


def mean_interval(
    values, groups=None, num_resamples=2000, seed=SEED, level=95
) -> tuple[float, float, float]:
    """Return the mean of `values` [n] and its percentile interval over groups.

    NaN is left out. `groups` [n] and `level` as in `bootstrap_interval`.
    """
    values = np.asarray(values, float)
    there = np.isfinite(values)
    groups = np.arange(len(values)) if groups is None else np.asarray(groups)
    if not there.any():
        raise CourseError("all values are NaN; expected at least one number.")
    members, drawn = _draws(int(there.sum()), groups[there], num_resamples, seed)
    sums = np.bincount(members, values[there])
    means = (drawn @ sums) / (drawn @ np.bincount(members))
    low, high = np.percentile(means, _ends(level))
    return float(values[there].mean()), float(low), float(high)


def paired_bootstrap(
    metric, labels, first, second, groups=None, num_resamples=2000, seed=SEED, level=95
) -> Difference:
    """Return how much `metric` rises from the first model to the second, with interval.

    `first`, `second`: probabilities [n, k] or [seeds, n, k] for the same images in the
    same order; each resample scores both on the same groups. `metric`, `level`: as in
    `bootstrap_interval`, but no recall. Raises `CourseError` as it does.
    """
    labels, first = _checked(labels, first)
    labels, second = _checked(labels, second)
    members, drawn = _draws(len(labels), groups, num_resamples, seed)
    once = np.ones((1, drawn.shape[1]))  # every group drawn once: the data as they are
    gain = [
        _resampled(metric, labels, second, members, draw)
        - _resampled(metric, labels, first, members, draw)
        for draw in (once, drawn)
    ]
    low, high = np.percentile(gain[1], _ends(level))
    return Difference(float(gain[0][0]), float(low), float(high))


def metrics(
    labels, probabilities, class_names, groups=None, num_resamples=2000, seed=SEED
) -> dict:
    """Return all metrics of a run as plain floats, in the form of the recorded runs.

    `labels` [n], `probabilities` [n, k] or [seeds, n, k], `class_names` [k], `groups`
    as in `bootstrap_interval`. Keys: accuracy, macro_f1, recall {class}, brier,
    log_loss, ece, ci95 {accuracy, macro_f1: [low, high]}. With a seed axis each metric
    is the mean over seeds and per_seed holds a list for each. Raises `CourseError` for
    input out of shape or range and for a class without images.
    """
    labels, checked = _checked(labels, probabilities)
    if checked.shape[2] != len(class_names):
        raise CourseError(
            f"There are {len(class_names)} class names and {checked.shape[2]} "
            "probability columns; expected the same number."
        )
    missing = [name for i, name in enumerate(class_names) if i not in labels]
    if missing:
        raise CourseError(
            f"No image is labelled {', '.join(missing)}, so its recall is undefined. "
            "Leave the class out of labels, probabilities and class names."
        )
    members, drawn = _draws(len(labels), groups, num_resamples, seed)
    predictions = checked.argmax(axis=2)
    scores = {
        "accuracy": [float((one == labels).mean()) for one in predictions],
        "macro_f1": [macro_f1(labels, one) for one in predictions],
        "brier": [brier(labels, one) for one in checked],
        "log_loss": [log_loss(labels, one) for one in checked],
        "ece": [expected_calibration_error(labels, one) for one in checked],
    }
    recalls = np.array(
        [(predictions[:, labels == i] == i).mean() for i in range(len(class_names))]
    )
    result = {name: float(np.mean(values)) for name, values in scores.items()}
    result["recall"] = {
        str(name): float(value)
        for name, value in zip(class_names, recalls, strict=True)
    }
    result["ci95"] = {
        metric: np.nanpercentile(
            _resampled(metric, labels, checked, members, drawn), [2.5, 97.5]
        ).tolist()
        for metric in ("accuracy", "macro_f1")
    }
    if np.ndim(probabilities) == 3:
        result["per_seed"] = scores
    return result
