"""Parts of the real images that share no slice, no series and no known patient."""

from dataclasses import dataclass

import numpy as np

from helpers import audit

from .real import RealData


@dataclass(frozen=True)
class Part:
    """What is learned from, watched and scored: rows of the images.

    `fit` and `val`: one file of each slice; `files`: all that may show a slice of
    `fit`. No slice, series or known patient is in both `fit` and `val`.
    """

    fit: np.ndarray
    files: np.ndarray
    val: np.ndarray
    score: np.ndarray


def together(real: RealData) -> np.ndarray:
    """Number the files so that one slice, one series and one known patient share."""
    names = ("group", "series", "patient")
    return audit.joined(*(real.rows[n].fillna(-1).to_numpy(int) for n in names))


def first_of_each(group: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return those of `rows` that are the first of their group among `rows`."""
    return np.sort(rows[np.unique(group[rows], return_index=True)[1]])
