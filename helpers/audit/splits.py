"""Splits that respect what belongs together."""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from helpers.config import SEED, CourseError

from .twins import groups as linked


def inner_split(
    labels: np.ndarray, groups: np.ndarray, share: float = 0.1, seed: int = SEED
) -> tuple[np.ndarray, np.ndarray]:
    """Split a training part into a part to fit and a part to validate on.

    `labels` int [n], `groups` int [n] (images of one group stay together), `share`:
    the validation part's share, at most one half. Returns sorted indices (fit, val),
    class-balanced as far as the groups allow, the same for the same seed. Raises
    `CourseError` when there are fewer groups than parts. Method: scikit-learn's
    `StratifiedGroupKFold`, of which one fold is taken.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    if not 0 < share <= 0.5:
        raise CourseError(f"share is {share}; expected more than 0, at most 0.5.")
    parts = round(1 / share)
    if len(np.unique(groups)) < parts:
        raise CourseError(
            f"{len(np.unique(groups))} groups cannot fill {parts} parts; "
            "use more images or a larger share."
        )
    folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    return next(iter(folds.split(np.zeros(len(labels)), labels, groups)))


def folds(
    labels: np.ndarray, together: np.ndarray, keys: Sequence[str], num_folds: int = 5
) -> np.ndarray:
    """Deal the images to folds, 0 to `num_folds` - 1; returns int64 [n].

    `labels` int [n]; `together` int [n]: images that share a number share a fold;
    `keys` str [n]: a digest of each image's content, which alone decides the order of
    dealing, so that the same images in any order get the same folds. Class-balanced as
    far as `together` allows. Raises `CourseError` when there are fewer units than
    folds, or fewer images in every class. Method: scikit-learn's
    `StratifiedGroupKFold`, not shuffled.
    """
    labels, keys = np.asarray(labels), np.asarray(keys)
    units, names = pd.factorize(np.asarray(together))
    largest_class = np.unique(labels, return_counts=True)[1].max(initial=0)
    if min(len(names), largest_class) < num_folds:
        raise CourseError(
            f"{len(names)} units and at most {largest_class} images a class cannot "
            f"fill {num_folds} folds; use more images or fewer folds."
        )
    first_key = pd.Series(keys).groupby(units).min()
    rank = first_key.rank(method="first").to_numpy()[units]
    fold = np.empty(len(labels), np.int64)
    with warnings.catch_warnings():
        # A class in fewer images than folds is missing from some of them: no surprise.
        warnings.filterwarnings("ignore", message="The least populated class")
        parts = StratifiedGroupKFold(num_folds).split(labels, labels, rank)
        for number, (_, part) in enumerate(parts):
            fold[part] = number
    return fold


def joined(*groupings: np.ndarray) -> np.ndarray:
    """Number the images so that those together in any grouping share a number.

    Each grouping is int [n], negative where it is not known. Returns int64 [n],
    numbered in order of first appearance from 0.
    """
    links = []
    for grouping in map(np.asarray, groupings):
        known = np.flatnonzero(grouping >= 0)
        _, first, which = np.unique(
            grouping[known], return_index=True, return_inverse=True
        )
        links.append(np.stack([known, known[first][which]], axis=1))
    ends = np.concatenate(links)
    return linked(len(groupings[0]), pd.DataFrame(ends, columns=["first", "second"]))
