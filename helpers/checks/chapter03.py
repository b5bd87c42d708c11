"""Checks for chapter 3, Numbers you can defend."""

from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import recorded
from helpers.audit import manifest
from helpers.config import SEED

from .common import Hint, dictionary, exercise, positions

__all__ = ["ch3_break", "ch3_missing", "ch3_rung", "ch3_sensitivity"]

CLASSES = ("glioma", "meningioma", "pituitary")
# An interval's ends may be off by this: a thousand draws move them less.
CLOSE = (0.015, 0.01)
# From the 95 % interval (0) to the 90 % one (1): so far it counts as the first.
NEARER = 0.6
DRAWS = 10_000
NUM_TRAIN = 300
SCORED_FOLD = 3  # of exercise 3.3
GAIN = 0.04  # by how much a broken training set has to score better
MET = 0.5  # the share of it that shows scored patients: chance does not get there

PREDICTED = {"copying": "copying-mirrored", "linear probe": "linear-probe"}
RUNGS = ("official", "random", "no-copies", "no-twins", "series", "manifest")
RUNG_HINTS = {
    "random": "nothing was cleaned there yet; the files were only dealt anew.",
    "no-copies": "how many of the scored images had an exact copy in training at all?",
    "no-twins": "twins are the best thing to copy from, but what is still there when "
    "they are gone?",
    "series": "a fair guess, but the share of which relative falls further, at one go?",
    "manifest": "patients matter, yes. But where does most of what it was trained on "
    "leave with the relatives?",
}

MISSING = {1: "A", 2: "B", 3: "C", 4: "D"}
MISSING_HINTS = {
    1: "two numbers from two models. What tells whether other patients would agree?",
    2: "a seed changes the training. What did all ten seeds have in common?",
    3: "which kinds of leak does a duplicate file have no part in?",
    4: "one number for four classes. Could one of them be lost without your noticing?",
}


class Test(NamedTuple):
    """The kept slices of known patients, in the order of the recorded linear probe.

    `labels` [n] 0 to 2, `patient` [n], `fold` [n], `probabilities` [n, 3] of the probe,
    `features` [n, 256], `files` str [n].
    """

    labels: np.ndarray
    patient: np.ndarray
    fold: np.ndarray
    probabilities: np.ndarray
    features: np.ndarray
    files: np.ndarray


@cache
def _test() -> Test:
    run = recorded.load("linear-probe-twin-free")
    rows = manifest.load().set_index("filename").loc[run.filenames]
    known = rows["patient"].notna().to_numpy(bool)
    files = run.filenames[known]
    three = run.probabilities[0][known][:, [0, 1, 3]]
    real = recorded.features()
    return Test(
        np.searchsorted(CLASSES, rows["class"][known].to_numpy(str)),
        rows["patient"][known].to_numpy(int),
        run.fold[known],
        three / three.sum(axis=1, keepdims=True),
        real.features[pd.Index(real.filenames).get_indexer(files)],
        files,
    )


@cache
def _drawn() -> dict[str, np.ndarray]:
    """Return what draws of patients give, [draws], by metric; and of images, "images".

    Metrics are meningioma's "sensitivity", "precision" and "F1", the sensitivity of the
    two other classes by their names, and "macro-F1".
    """
    test = _test()
    said = test.probabilities.argmax(axis=1)
    people, row = np.unique(test.patient, return_inverse=True)
    counts = np.zeros((len(people), 3, 3))
    np.add.at(counts, (row, test.labels, said), 1)
    rng = np.random.default_rng(SEED)
    times = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), DRAWS)
    table = np.tensordot(times, counts, 1)  # [draws, true class, answer]
    hit = np.diagonal(table, axis1=1, axis2=2)
    true, named = table.sum(axis=2), table.sum(axis=1)
    sensitivity, f1 = hit / true, 2 * hit / (true + named)
    found = dict(zip(CLASSES, sensitivity.T, strict=True))
    found["sensitivity"] = found.pop("meningioma")
    found["precision"] = (hit / named)[:, 1]
    found["F1"], found["macro-F1"] = f1[:, 1], f1.mean(axis=1)
    mine = test.labels == 1
    share = (said[mine] == 1).mean()
    found["images"] = rng.binomial(mine.sum(), share, DRAWS) / mine.sum()
    return found


@cache
def _ends(name: str, percent: float = 95) -> np.ndarray:
    tail = (100 - percent) / 2
    return np.percentile(_drawn()[name], [tail, 100 - tail])


def _near(answer: np.ndarray, interval: np.ndarray) -> bool:
    return bool((np.abs(answer - interval) <= CLOSE).all())


_NARROW = (
    "this is about as narrow as the mean plus and minus *one* standard deviation, or "
    "as an interval over images. Draw patients, slices and all, and take the "
    "percentiles 2.5 and 97.5."
)
INTERVALS = {
    "images": _NARROW,
    "deviation": _NARROW,
    "percentiles": "these are about the percentiles 0.5 and 99.5; take 2.5 and 97.5.",
} | {
    name: f"this is the interval of {name}. The question is about meningioma's "
    "sensitivity: of the images that *are* meningiomas, which share was called so?"
    for name in ("macro-F1", "precision", "F1")
}


def _towards_90(answer: np.ndarray) -> float:
    """Return where an interval lies between the 95 % one (0) and the 90 % one (1).

    The ends count by how little chance moves them: the upper one more than the lower.
    """
    whole, less = _ends("sensitivity"), _ends("sensitivity", 90)
    way = (less - whole) / np.square(CLOSE)
    return float((answer - whole) @ way / ((less - whole) @ way))


@exercise
def ch3_sensitivity(answer) -> str:
    """Exercise 3.1: (low, high) of meningioma's sensitivity, drawing patients."""
    try:
        answer = np.asarray(answer, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise Hint("give two numbers, (low, high).") from None
    if answer.shape != (2,):
        many = f"; these are {answer.size:,}" if answer.size > 2 else ""
        percentiles = " Take two percentiles of the draws." if answer.size > 2 else ""
        raise Hint(f"two numbers are expected, (low, high){many}.{percentiles}")
    low, high = answer
    if not np.isfinite(answer).all():
        raise Hint("an end is not a finite number. Was a mean taken of nothing?")
    if high > 1:
        raise Hint("give shares between 0 and 1, such as (0.5, 0.6).")
    if low >= high:
        raise Hint(f"the lower end comes first, and {low} is not below {high}.")
    if _near(answer, _ends("sensitivity")):
        if _towards_90(answer) > NEARER:
            raise Hint(
                f"it is {high - low:.3f} wide, as from the percentiles 5 to 95: that "
                "holds 90 % of the draws. Take 2.5 and 97.5. (If you did, draw 5,000 "
                "times: with fewer, luck moves the ends so far.)"
            )
        width = np.ptp(_ends("images"))
        return (
            f"more than one meningioma in ten lies between its ends, and it is "
            f"{(high - low) / width:.1f} times as wide as one over images."
        )
    spread = _drawn()["sensitivity"]
    others = {name: _ends(name) for name in _drawn() if name != "sensitivity"}
    others["deviation"] = spread.mean() + spread.std() * np.array([-1, 1])
    others["percentiles"] = _ends("sensitivity", 99)
    likest = min(others, key=lambda name: np.abs((answer - others[name]) / CLOSE).max())
    if _near(answer, others[likest]):
        raise Hint(INTERVALS.get(likest, f"this is the interval of {likest}."))
    test = _test()
    found = (test.probabilities.argmax(axis=1) == 1)[test.labels == 1].mean()
    if spread.min() - 0.03 < low and high < np.percentile(spread, 5):
        raise Hint(
            "both ends are among the lowest of all draws. np.percentile counts from 0 "
            "to 100: 2.5 and 97.5, not 0.025 and 0.975."
        )
    if not low < found < high:
        raise Hint(
            f"the sensitivity itself, {found:.3f}, does not lie inside. Of the images "
            "that *are* meningiomas, which share was called so?"
        )
    raise Hint(
        f"{low:.3f} to {high:.3f} is not what we get, though the sensitivity lies "
        "inside. Draw as many patients as there are, 5,000 times, and take the "
        "percentiles 2.5 and 97.5."
    )


def _falls(method: str) -> dict[str, float]:
    """Return how much macro-F1 falls at each rung of the recorded ladder."""
    scores = recorded.info("leakage-ladder")["scores"]
    values = [scores[rung][method]["macro_f1"] for rung in RUNGS]
    return dict(zip(RUNGS[1:], -np.diff(values), strict=True))


@exercise
def ch3_rung(answer) -> str:
    """Exercise 3.2: {method: rung at which its macro-F1 falls most}."""
    if isinstance(answer, dict):
        answer = {str(name).replace("-", " "): rung for name, rung in answer.items()}
    answer = dictionary(answer, PREDICTED, "'...'")
    right = []
    for name, method in PREDICTED.items():
        given, falls = str(answer[name]).strip(), _falls(method)
        if given not in falls:
            raise Hint(f"{given!r} is none of {', '.join(falls)}.")
        if given != max(falls, key=falls.get):
            raise Hint(f"{name}: {RUNG_HINTS[given]}")
        right.append(f"{name} loses {100 * falls[given]:.1f} points at {given}")
    return " and ".join(right) + ". Read on for what that means, and what not."


def _halves() -> tuple[np.ndarray, np.ndarray]:
    """Return the scored slices, every second one of a fold's patients, and strangers.

    Strangers are all slices of patients of the other folds.
    """
    test = _test()
    in_order = np.lexsort((test.files, test.patient))
    every_second = np.zeros(len(test.labels), bool)
    every_second[in_order[::2]] = True
    scored = np.flatnonzero((test.fold == SCORED_FOLD) & every_second)
    return scored, np.flatnonzero(test.fold != SCORED_FOLD)


def _score(train: np.ndarray, scored: np.ndarray) -> float:
    """Return the macro-F1 on `scored` of a logistic regression fitted on `train`."""
    test = _test()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    model.fit(test.features[train], test.labels[train])
    said = model.predict(test.features[scored])
    return float(f1_score(test.labels[scored], said, average="macro"))


@exercise
def ch3_break(answer) -> str:
    """Exercise 3.3: 300 slices to train on, as positions, none of them scored."""
    train = positions(answer)
    test = _test()
    scored, strangers = _halves()
    if len(train) != NUM_TRAIN:
        raise Hint(f"expected {NUM_TRAIN} slices; your answer holds {len(train):,}.")
    if train.min() < 0 or train.max() >= len(test.labels):
        raise Hint(f"positions go from 0 to {len(test.labels) - 1}.")
    if both := np.isin(train, scored).sum():
        raise Hint(
            f"{both} of them are scored slices. That is leakage too, but nobody would "
            "call it a test any more: leave the scored ones out."
        )
    met = np.isin(test.patient[train], test.patient[scored]).mean()
    if met == 0:
        raise Hint(
            "a good training set, without any leak. Break the split: who could be in "
            "training, and should not?"
        )
    if met < MET:
        inside = (test.fold[train] == SCORED_FOLD).sum()
        raise Hint(
            f"{inside} of your {NUM_TRAIN} slices are of fold {SCORED_FOLD}, the one "
            f"that is scored, and {met:.0%} show a patient who is. A better score "
            "would be luck: choose more of those that give it away."
        )
    if set(np.unique(test.labels[train])) != {0, 1, 2}:
        raise Hint("one class is missing from your training set.")
    rng = np.random.default_rng(SEED)
    fair = np.mean(
        [_score(rng.permutation(strangers)[:NUM_TRAIN], scored) for _ in range(5)]
    )
    broken = _score(train, scored)
    if broken < fair + GAIN:
        raise Hint(
            f"{broken:.3f}, against {fair:.3f} with strangers: not four points more "
            f"yet. Of your slices, {met:.0%} show a patient who is scored, too."
        )
    return (
        f"{fair:.3f} with strangers became {broken:.3f}, on the same images, with as "
        f"many to learn from. {met:.0%} of yours show a patient who is scored, too."
    )


@exercise
def ch3_missing(answer) -> str:
    """Exercise 3.4: {sentence: letter of what is missing}, sentences 1 to 4."""
    answer = dictionary(answer, MISSING, "'E'")
    given = {number: str(letter).strip().upper() for number, letter in answer.items()}
    if unknown := set(given.values()) - set("ABCDEF"):
        raise Hint(f"{sorted(unknown)} is none of A to F.")
    wrong = [number for number, letter in given.items() if letter != MISSING[number]]
    if wrong:
        raise Hint(
            f"{len(wrong)} of 4 not yet. About sentence {wrong[0]}: "
            f"{MISSING_HINTS[wrong[0]]}"
        )
    return "each claim needs its own comparison, and none of the four was made."
