"""Checks for chapter 2, Audit the data."""

from functools import cache

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from helpers import recorded
from helpers.audit import manifest

from .common import Hint, NotYet, check_choice, exercise, number, whole_numbers

__all__ = ["ch2_break", "ch2_follows", "ch2_mirror", "ch2_threshold"]

SIDE = 24
FLIPS = {
    "the same way round": lambda view: view,
    "flipped left-right": lambda view: view[:, ::-1],
    "flipped up-down": lambda view: view[::-1],
    "flipped both ways": lambda view: view[::-1, ::-1],
}
NUM_FOLDS = 5
GAIN = 0.05  # by how much the broken folds have to score better

FOLLOWS = {"b", "d", "f"}
FOLLOWS_HINTS = {
    "a": "a test that copying passes is passed by what learned, too.",
    "b": "what did the copier score there, beside the networks?",
    "c": "which split were they given, and what about it could have warned them?",
    "d": "compare the two rows, and their intervals.",
    "e": "is there another hospital, or another scanner, anywhere in these folds?",
    "f": "compare the last two columns of the table of test images.",
}


def _views() -> tuple[np.ndarray, np.ndarray]:
    """Return two views with mean 0 and length 1, [2, side, side].

    The second is like the first one rotated, and a little like its negative: so no
    mirror state fits, and a rotation or an absolute value shows.
    """
    one = np.random.default_rng(2).normal(size=(SIDE, SIDE))
    one -= one.mean()
    stranger = np.rot90(one, -1) - 0.5 * one
    return one / np.linalg.norm(one), stranger / np.linalg.norm(stranger)


@exercise
def ch2_mirror(answer) -> str:
    """Exercise 2.1: a function (one, other) -> the best correlation of four states."""
    if not callable(answer):
        raise Hint("give the function itself, without calling it.")
    one, stranger = _views()
    for name, flip in FLIPS.items():
        value = answer(one.copy(), flip(one).copy())
        if value is None or value is ...:
            raise NotYet("the function returns nothing.")
        if np.ndim(value):
            raise Hint(
                f"it returns an array of shape {np.shape(value)}; expected one number. "
                "Sum the products, and take the largest of the four sums."
            )
        value = number(value, "what it returns")
        states = [(one * turn(flip(one))).sum() for turn in FLIPS.values()]
        if abs(value - np.mean(states)) < 1e-6:
            raise Hint(
                f"a view and itself, {name}, get {value:.2f}, the mean of the four "
                "states. One state that fits is enough: take the best of them."
            )
        if value > 1.01:
            raise Hint(
                f"a view and itself, {name}, get {value:.2f}; a correlation is at most "
                "1. Take the largest of the four, not their sum."
            )
        if value < 0.99:
            raise Hint(
                f"a view and itself, {name}, get {value:.2f}; expected 1. Is that one "
                "of the states you try?"
            )
    expected = max((one * flip(stranger)).sum() for flip in FLIPS.values())
    value = number(answer(one.copy(), stranger.copy()), "what it returns")
    absolute = max(abs((one * flip(stranger)).sum()) for flip in FLIPS.values())
    if abs(value - absolute) < 1e-6 < abs(value - expected):
        raise Hint("a negative correlation is no likeness: leave out the abs().")
    if abs(value - expected) > 1e-6:
        raise Hint(
            f"two other views get {value:.3f}; expected {expected:.3f}, the largest "
            "of four sums of products. Did you add a state, such as a rotation?"
        )
    return "four states, and the best of them counts. A mirror hides nothing from it."


@cache
def _known_pairs() -> tuple[np.ndarray, np.ndarray]:
    """Return the similarities of recorded pairs of one slice, and of two slices."""
    arrays = recorded.load("twin-pairs").arrays
    rows = manifest.load().set_index("filename").loc[arrays["filenames"]]
    slices = rows["figshare_index"].fillna(-1).to_numpy(int)
    first, second = slices[arrays["first"]], slices[arrays["second"]]
    known, same = (first >= 0) & (second >= 0), first == second
    similarity = arrays["similarity"]
    return similarity[known & same], similarity[known & ~same]


@exercise
def ch2_threshold(answer: float) -> str:
    """Exercise 2.2: a similarity on the plateau of the recorded pairs."""
    answer = number(answer)
    if not 0 <= answer <= 1:
        raise Hint("a similarity lies between 0 and 1.")
    same, different = _known_pairs()
    if joined := (different >= answer).sum():
        raise Hint(
            f"{joined} pairs that figshare knows as two different slices are at least "
            "so similar. Go higher."
        )
    if lost := (same < answer).sum():
        raise Hint(f"{lost} pairs of one slice are less similar. Go lower.")
    return (
        "it lies on the plateau. Anywhere else there, you would get the same pairs of "
        "figshare's slices, and the audit's own threshold is one of these places."
    )


def _score(features, labels, fold: np.ndarray) -> float:
    """Return the accuracy of the nearest neighbor from the other folds."""
    right = 0
    for scored in range(NUM_FOLDS):
        train, test = fold != scored, fold == scored
        model = KNeighborsClassifier(1).fit(features[train], labels[train])
        right += (model.predict(features[test]) == labels[test]).sum()
    return right / len(labels)


@exercise
def ch2_break(answer) -> str:
    """Exercise 2.3: folds of the kept images that let a series cross, int [n]."""
    rows = manifest.load().dropna(subset="group").set_index("filename")
    real = recorded.features()
    rows = rows.loc[real.filenames]
    keep = (rows["keep"] == 1).to_numpy(bool)
    honest = rows["fold"].to_numpy(int)[keep]
    fold = whole_numbers(answer)
    if fold.shape != honest.shape:
        raise Hint(
            f"your answer has shape {fold.shape}; expected {honest.shape}, one fold "
            "number for each kept image."
        )
    if not np.isin(fold, range(NUM_FOLDS)).all():
        raise Hint("a fold number is 0, 1, 2, 3 or 4.")
    share = np.bincount(fold.astype(int), minlength=NUM_FOLDS) / len(fold)
    if share.min() < 0.15 or share.max() > 0.25:
        raise Hint(
            f"the folds hold {share.round(2).tolist()} of the images; make them about "
            "equally large."
        )
    series = rows["series"][keep].groupby(fold).unique()
    if sum(map(len, series)) == rows["series"][keep].nunique():
        raise Hint("no series crosses your folds yet. Who could be tempted to copy?")
    features, labels = real.features[keep], real.labels[keep]
    before, after = (_score(features, labels, f) for f in (honest, fold))
    if after < before + GAIN:
        raise Hint(
            f"your folds score {after:.3f}, the manifest's {before:.3f}: not five "
            "points more yet. Let more slices of one patient lie in different folds."
        )
    return (
        f"{before:.3f} became {after:.3f}, on the same images and with the same "
        "classifier. Only the neighbors moved into the other folds."
    )


@exercise
def ch2_follows(answer) -> str:
    """Exercise 2.4: the letters of the sentences that follow, as a set."""
    check_choice(answer, FOLLOWS_HINTS, FOLLOWS, "does not follow")
    return "they speak about the test. What the networks know is another question."
