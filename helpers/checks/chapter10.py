"""Checks for chapter 10, Calibrate and abstain."""

import numpy as np

from helpers import evaluation

from .common import Hint, check_choice, described, dictionary, exercise, number

__all__ = ["ch10_bins", "ch10_follows", "ch10_slices", "ch10_useless"]

SMALL = 0.01  # the calibration error that "keeps its promises" means in exercise 10.2


def _near(value: float, target: float) -> bool:
    return abs(value - target) < 0.0006


@exercise
def ch10_bins(answer) -> str:
    """Check the expected calibration error of four bins, and which bin adds most."""
    answer = dictionary(answer, ("error", "bin"), "...")
    error = number(answer["error"], "error")
    most = str(answer["bin"]).strip().lower()
    if _near(error, 23.6 / 400 * 100):
        raise Hint("give the error as a share from 0 to 1, not in percent.")
    if _near(error, 0.0875):
        raise Hint(
            "this is the plain mean of the four gaps. Weigh each by its slices: bin d "
            "holds twelve times as many as bin a."
        )
    if _near(error, 19.6 / 400):
        raise Hint(
            "in bin a more is right than promised, so its gap goes the other way. The "
            "error adds up the sizes of the gaps; here they cancelled."
        )
    if _near(error, 0.06):
        raise Hint(
            "0.06 is the gap of bin c alone, or the right number rounded to two "
            "decimals. Give three."
        )
    if not _near(error, 23.6 / 400):
        raise Hint(
            "for each bin: the gap between mean confidence and the share right, "
            "without its sign, times the slices. Add them up and divide by 400."
        )
    if most == "b":
        raise Hint(
            "b has the largest gap, but only 40 slices. Compare gap times slices."
        )
    if most != "d":
        raise Hint("compare gap times slices: a has 2, and the others more.")
    return (
        "2 + 6 + 6 + 9.6 of 400 make 0.059, and the surest bin adds most, with the "
        "smallest gap."
    )


@exercise
def ch10_useless(answer, labels) -> str:
    """Check probabilities [n, k] that are calibrated and say the same of each slice."""
    labels = np.asarray(labels)
    try:
        said = np.asarray(answer, float)
    except (TypeError, ValueError, OverflowError):
        raise Hint(
            f"an array of probabilities is expected; this is {described(answer)}."
        ) from None
    shares = np.bincount(labels) / len(labels)
    if said.shape != (len(labels), len(shares)):
        raise Hint(
            f"the array has shape {said.shape}; expected {(len(labels), len(shares))}, "
            "a row for each slice. np.tile(row, (len(labels), 1)) makes one."
        )
    if not np.allclose(said.sum(axis=1), 1, atol=1e-6) or said.min() < 0:
        raise Hint("each row holds probabilities: none below 0, and the sum is 1.")
    if np.ptp(said, axis=0).max() > 1e-9:
        raise Hint("some rows differ, so they know something. Give all the same row.")
    error = evaluation.expected_calibration_error(labels, said)
    named = said[0].argmax()
    if error >= SMALL and said[0].max() > 0.999:
        raise Hint(
            f"this promises certainty and is right in {shares[named]:.2f}: the surest "
            "model there can be, and wrong most of the time."
        )
    if error >= SMALL:
        raise Hint(
            f"the error is {error:.3f}: the class it names gets {said[0].max():.2f}, "
            f"and makes up {shares[named]:.2f} of the slices. Which number would be "
            "right for each class?"
        )
    right = (labels == named).mean()
    return (
        f"its promise is kept, with an error of {error:.3f}. And it is right in "
        f"{right:.2f} of the slices, whatever they show."
    )


SLICES = {"a": "fine", "b": "misleads", "c": "leaks", "d": "leaks"}
WHY_NOT = {
    "a": "the validation part of fold 2's own networks was not learned from by them, "
    "and it is not scored. Fifty people are few, but they are honest.",
    "b": "no scored slice is among what the networks learned from. But how sure is a "
    "network on slices whose answers it has learned?",
    "c": "the other folds' validation parts come from outside of *their* folds. How "
    "many of them are in fold 2? np.isin(run.val_filenames[run.val_fold != 2], "
    "run.filenames[run.fold == 2]).sum() counts them.",
    "d": "half of the slices that are scored would have chosen the temperature.",
}


@exercise
def ch10_slices(answer) -> str:
    """Check which slices may set the temperature of fold 2's networks."""
    answer = dictionary(answer, SLICES, '"..."')
    words = {key: str(value).strip().lower() for key, value in answer.items()}
    unknown = sorted(set(words.values()) - set(SLICES.values()))
    if unknown:
        raise Hint(f'{unknown[0]!r} is none of "fine", "leaks" and "misleads".')
    for key, expected in SLICES.items():
        if words[key] != expected:
            raise Hint(f"({key}) {WHY_NOT[key]}")
    return (
        "(a) is few but honest, (b) is too sure of what it knows by heart, and (c) and "
        "(d) let scored slices choose."
    )


FOLLOWS = {
    "a": "does dividing all logits by one number change which is the largest?",
    "c": "look at the log loss under *Three are calmer than one*.",
    "g": "look at the row of meningioma.",
    "b": "a perfect model shows about as much on a hundred slices.",
    "d": "the large part that shared patients was wrong.",
    "e": "look at the sets by class. The promise is an average.",
    "f": "notumor, never taught, got confident names too.",
}


@exercise
def ch10_follows(answer) -> str:
    """Check which sentences follow from what the chapter measured."""
    check_choice(answer, FOLLOWS, {"a", "c", "g"}, "does not follow")
    return "a, c and g were measured here; the others are what one would like to hear."
