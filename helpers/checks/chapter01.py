"""Checks for chapter 1, Meet the data."""

from functools import cache

import numpy as np

from helpers import recorded

from .common import Hint, check_choice, dictionary, exercise, number, positions

__all__ = ["ch1_abstract", "ch1_majority", "ch1_repair", "ch1_sequence"]

SEQUENCES = {1: "T2", 2: "FLAIR", 3: "T1 with contrast"}
SEQUENCE_HINTS = {
    1: "in which sequence is free fluid bright?",
    2: "swelling is bright, as in T2, but free fluid was made dark on purpose.",
    3: "an agent was injected. In which sequence does it brighten the tissue?",
}

TWO_DECIMALS = 0.005001  # how far a number rounded to two decimals may be off

ABSTRACT_HINTS = {
    "a": "count what the test folder holds. Is an image a patient?",
    "b": "think of the images whose group is in both folders.",
    "c": "where do the images called `notumor` come from?",
    "d": "which model was used is a choice, not a claim that could be wrong.",
    "e": "a high score can be measured correctly. Ask what was measured instead.",
}


@exercise
def ch1_sequence(answer: dict) -> str:
    """Exercise 1.1: each description's sequence, as {1: ..., 2: ..., 3: ...}."""
    answer = dictionary(answer, SEQUENCES, '"..."')
    names = {name.lower(): name for name in SEQUENCES.values()}
    for row, sequence in SEQUENCES.items():
        given = " ".join(str(answer[row]).lower().split())
        if given not in names:
            choices = ", ".join(f'"{name}"' for name in names.values())
            raise Hint(f"{row} is {answer[row]!r}; choose among {choices}.")
        if names[given] != sequence:
            raise Hint(f"look at {row} again: {SEQUENCE_HINTS[row]}")
    return (
        "the same head, three pictures. A grey value means nothing unless you know "
        "how the scanner was set."
    )


@cache
def _real():
    return recorded.features()


@exercise
def ch1_majority(answer: float) -> str:
    """Exercise 1.2: the test accuracy of always naming Training's largest class."""
    real = _real()
    train, test = real.official_split()
    answer = number(answer)
    largest = np.bincount(real.labels[train]).argmax()
    share = (real.labels[test] == largest).mean()
    if answer > 1:
        raise Hint("give a share between 0 and 1, not percent or a count.")
    values = {
        share: None,
        1 / len(real.class_names): "this is guessing with a fair die. Name always the "
        "largest class instead.",
        (real.labels[train] == largest).mean(): "this is the largest class' share of "
        "the training images. A score is measured on the test images.",
        (real.labels == largest).mean(): "this is the share among all images. A score "
        "is measured on the test images only.",
    }
    nearest = min(values, key=lambda value: abs(value - answer))
    if abs(answer - nearest) > TWO_DECIMALS:
        raise Hint(
            "find the class with the most training images, then its share of the test "
            "images."
        )
    if nearest != share:
        raise Hint(values[nearest])
    return (
        f"{share:.3f}, by always answering {real.class_names[largest]}. Whatever a "
        "model scores, this much came for free."
    )


@exercise
def ch1_repair(answer) -> str:
    """Exercise 1.3: the training indices that share no group with a test image."""
    real = recorded.features()
    train, test = real.official_split()
    copied = np.isin(real.group, real.group[test])

    def from_mask(length: int) -> str:
        if length == len(real.labels):
            return "np.flatnonzero(mask), and of those the ones in `train`."
        return "train[mask]."

    answer = positions(answer, from_mask=from_mask)
    if np.array_equal(np.sort(answer), np.flatnonzero(~copied[train])):
        raise Hint(
            "these are positions within `train`, and `train[positions]` are the "
            "indices asked for."
        )
    if np.isin(answer, test).any():
        raise Hint(
            "your answer holds test images. Leave the test as it is, so that the score "
            "can be compared, and take the copies out of the training images."
        )
    if not np.isin(answer, train).all():
        raise Hint("some of these numbers are no index in `train`.")
    kept = np.zeros(len(real.labels), bool)
    kept[answer] = True
    left = (kept & copied).sum()
    if left:
        raise Hint(f"{left} of the images you keep still have a copy in the test.")
    lost = (~kept & ~copied)[train].sum()
    if lost:
        raise Hint(
            f"you gave up {lost} training images that have no copy in the test. Keep "
            "all you can."
        )
    return (
        f"{len(train) - len(answer)} training images go, {len(answer)} stay, and no "
        "test image has an exact copy among them."
    )


@exercise
def ch1_abstract(answer) -> str:
    """Exercise 1.4: the letters of the objections that hold, as a set."""
    check_choice(answer, ABSTRACT_HINTS, {"a", "b", "c"}, "does not hold")
    return (
        "three words, three claims that nobody measured. The number itself may well be "
        "correct."
    )
