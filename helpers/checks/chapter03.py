"""Checks for chapter 3, Numbers you can defend."""

from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import evaluation, recorded
from helpers.audit import manifest
from helpers.config import SEED

from .common import Hint, NotYet, exercise

__all__ = ["ch3_break", "ch3_missing", "ch3_rung", "ch3_sensitivity"]

CLASSES = ("glioma", "meningioma", "pituitary")
CLOSE = (
    0.01  # two bootstraps of 1,000 draws differ by less, images and patients by more
)
NUM_TRAIN = 300
SCORED_FOLD = 3  # of exercise 3.3
GAIN = 0.04  # by how much a broken training set has to score better

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


@exercise
def ch3_sensitivity(answer) -> str:
    """Exercise 3.1: (low, high) of meningioma's sensitivity, drawing patients."""
    answer = np.asarray(answer, dtype=float)
    if answer.shape != (2,):
        raise Hint(f"expected two numbers, (low, high); your answer is {answer}.")
    low, high = answer
    if high > 1:
        raise Hint("give shares between 0 and 1, such as (0.5, 0.6).")
    if low >= high:
        raise Hint(f"the lower end comes first, and {low} is not below {high}.")
    test = _test()
    scored = (test.labels, test.probabilities)
    by_patient = evaluation.bootstrap_interval("recall", *scored, test.patient)

    def near(interval) -> bool:
        return bool(np.allclose(answer, interval, atol=CLOSE))

    if near(by_patient[1]):
        width = np.ptp(evaluation.bootstrap_interval("recall", *scored)[1])
        return (
            f"more than one meningioma in ten lies between its ends, and it is "
            f"{(high - low) / width:.1f} times as wide as one over images."
        )
    if near(evaluation.bootstrap_interval("recall", *scored)[1]):
        raise Hint("this is the interval over images. Draw patients, slices and all.")
    if near(evaluation.bootstrap_interval("macro_f1", *scored, test.patient)):
        raise Hint("this is macro-F1's interval; the question is about one class.")
    for name, interval in zip(CLASSES, by_patient, strict=True):
        if near(interval):
            raise Hint(f"this is the interval of {name}.")
    said = test.probabilities.argmax(axis=1)
    found = (said[test.labels == 1] == 1).mean()
    if not low < found < high:
        raise Hint(
            f"the sensitivity itself, {found:.3f}, does not lie inside. Of the images "
            "that *are* meningiomas, which share was called so?"
        )
    raise Hint(
        f"{low:.3f} to {high:.3f} is not what we get, though the sensitivity lies "
        "inside. Draw as many patients as there are, at least 1,000 times, and take "
        "the percentiles 2.5 and 97.5."
    )


def _falls(method: str) -> dict[str, float]:
    """Return how much macro-F1 falls at each rung of the recorded ladder."""
    scores = recorded.info("leakage-ladder")["scores"]
    values = [scores[rung][method]["macro_f1"] for rung in RUNGS]
    return dict(zip(RUNGS[1:], -np.diff(values), strict=True))


@exercise
def ch3_rung(answer) -> str:
    """Exercise 3.2: {method: rung at which its macro-F1 falls most}."""
    if not isinstance(answer, dict) or set(answer) != set(PREDICTED):
        raise Hint("give a rung for each: {'copying': '...', 'linear probe': '...'}.")
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
    if isinstance(answer, str) or answer is None:
        raise NotYet("give the numbers of 300 slices.")
    train = np.asarray(answer)
    test = _test()
    scored, strangers = _halves()
    if train.shape != (NUM_TRAIN,) or train.dtype.kind not in "iu":
        raise Hint(
            f"expected {NUM_TRAIN} whole numbers, each the position of a slice; your "
            f"answer has shape {train.shape} and type {train.dtype}."
        )
    if train.min() < 0 or train.max() >= len(test.labels):
        raise Hint(f"positions go from 0 to {len(test.labels) - 1}.")
    if len(np.unique(train)) < NUM_TRAIN:
        raise Hint("some slices come twice. Equal size means as many different ones.")
    if both := np.isin(train, scored).sum():
        raise Hint(
            f"{both} of them are scored slices. That is leakage too, but nobody would "
            "call it a test any more: leave the scored ones out."
        )
    if set(np.unique(test.labels[train])) != {0, 1, 2}:
        raise Hint("one class is missing from your training set.")
    rng = np.random.default_rng(SEED)
    fair = np.mean(
        [_score(rng.permutation(strangers)[:NUM_TRAIN], scored) for _ in range(5)]
    )
    met = np.isin(test.patient[train], test.patient[scored]).mean()
    broken = _score(train, scored)
    if broken < fair + GAIN:
        raise Hint(
            f"{broken:.3f}, against {fair:.3f} with strangers: not four points more "
            f"yet. Of your slices, {met:.0%} show a patient who is scored, too."
        )
    if met == 0:
        raise Hint(
            "a good training set, without any leak. Break the split: who could be in "
            "training, and should not?"
        )
    return (
        f"{fair:.3f} with strangers became {broken:.3f}, on the same images, with as "
        f"many to learn from. {met:.0%} of yours show a patient who is scored, too."
    )


@exercise
def ch3_missing(answer) -> str:
    """Exercise 3.4: {sentence: letter of what is missing}, sentences 1 to 4."""
    if not isinstance(answer, dict) or set(answer) != set(MISSING):
        raise Hint("give a letter for each sentence, such as {1: 'E', 2: 'E', ...}.")
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
