"""Checks for chapter 9, Improve the recipe."""

import numpy as np

from .common import Hint, dictionary, exercise, named, number

__all__ = ["ch9_boundary", "ch9_curve", "ch9_leaks", "ch9_schedule"]

SENTENCES = {
    "a": "the validation loss rises. What would more epochs do to it?",
    "c": "the training loss falls to nearly zero. So something is learned.",
    "d": "a loss that jumps about goes up and down. These curves are smooth.",
}


@exercise
def ch9_curve(answer: dict, val_losses) -> str:
    """Exercise 9.1: the epoch of the lowest validation loss, and what follows it."""
    answer = dictionary(answer, ("epoch", "sentence"), "...")
    best = int(np.argmin(val_losses)) + 1
    epoch = number(answer["epoch"], "epoch")
    if epoch == len(val_losses):
        raise Hint("the last epoch has the lowest *training* loss. Look at the dashes.")
    if epoch == best - 1:
        raise Hint("close. The table counts epochs from 1, Python's lists from 0.")
    if epoch != best:
        raise Hint("look for the smallest val_loss: np.argmin finds its place.")
    sentence = str(answer["sentence"]).strip().lower()
    if sentence in SENTENCES:
        raise Hint(SENTENCES[sentence])
    if sentence != "b":
        raise Hint('the sentence is one of "a", "b", "c", "d".')
    return (
        f"epoch {best}. From there on, the network gains on slices it has seen and "
        "loses on those it has not."
    )


LEAKY = set("BCE")
LEAK_HINTS = {
    "A": "in A, a mirror image of a scored slice counts as that slice, so it is not "
    "in training, and a mirrored training image is no scored slice.",
    "D": "D is dishonest, but in another way: the test part chose the augmentation. "
    "No training image became a scored slice.",
    "B": "in B, the two versions of one slice are dealt apart.",
    "C": "the official split has mirrored twins on both sides: see chapter 2.",
    "E": "a mirrored copy has other pixels, so E may deal it to the other side. What "
    "does mirroring make of it?",
}


@exercise
def ch9_leaks(answer: str) -> str:
    """Exercise 9.2: the letters of the preparations in which augmentation leaks."""
    letters = named(answer, LEAK_HINTS)
    for letter in "ADBCE":
        if (letter in letters) != (letter in LEAKY):
            raise Hint(LEAK_HINTS[letter])
    return (
        "B saves the leak to disk, C and E make it while training. A knows mirrored "
        "copies, so there mirroring is ordinary augmentation."
    )


# Millions of multiplications an image, forwards, behind each boundary; the chapter
# counts them.
BEHIND = {
    "pool3_pool": 756.3,
    "pool4_pool": 104.4,
    "conv5_block8_concat": 58.6,
    "conv5_block12_concat": 30.9,
}
IMAGES, BUDGET, SPEED = 15 * 5 * 2500, 20.0, 40e9


def minutes(name: str) -> float:
    """Return what all trainings behind a boundary take, in minutes."""
    return 3 * IMAGES * BEHIND[name] * 1e6 / SPEED / 60


@exercise
def ch9_boundary(answer: str) -> str:
    """Exercise 9.3: the earliest boundary whose trainings fit into 20 minutes."""
    answer = str(answer).strip()
    if answer not in BEHIND:
        raise Hint(f"name one of the layers: {', '.join(BEHIND)}.")
    took = minutes(answer)
    if took > BUDGET:
        once = " Did you count the gradients?" if took / 3 <= BUDGET else ""
        raise Hint(f"this takes {took:.0f} minutes, over the budget.{once}")
    if answer != "conv5_block8_concat":
        raise Hint(
            f"this fits, with {took:.0f} minutes. Does an earlier boundary fit too?"
        )
    return (
        f"{took:.0f} minutes. One boundary earlier takes {minutes('pool4_pool'):.0f}."
    )


@exercise
def ch9_schedule(answer) -> str:
    """Exercise 9.4: a function (step, num_steps, peak) -> learning rate."""
    if not callable(answer):
        raise Hint("the answer is the function itself: answer = schedule, without ().")
    at = {
        step: number(answer(step, 200, 3.0), f"what it returns at step {step}")
        for step in (0, 5, 10, 58, 105, 200)
    }
    if at[0] != 0:
        raise Hint(f"at step 0 of 200 the rate is {at[0]:.3g}; it starts from 0.")
    if abs(at[5] - 1.5) > 1e-6:
        raise Hint(
            f"at step 5 of 200, half of the way up to 3.0, the rate is {at[5]:.3g}; "
            "expected 1.5. The rise takes a twentieth of the steps."
        )
    if abs(at[10] - 3) > 1e-6:
        raise Hint(f"at step 10 of 200 the rate is {at[10]:.3g}; the peak is 3.0.")
    if abs(at[200]) > 1e-6:
        raise Hint(f"at the last step the rate is {at[200]:.3g}; expected 0.")
    if abs(at[58] - 2.25) < 0.01 and abs(at[105] - 1.5) < 0.01:
        raise Hint("between peak and end your rate falls in a straight line.")
    fallen = 3 * 0.5 * (1 + np.cos(np.pi * 48 / 190))
    if abs(at[105] - 1.5) > 1e-6 or abs(at[58] - fallen) > 1e-6:
        raise Hint(
            f"halfway between peak and end the rate is {at[105]:.3g}; expected 1.5. "
            "t is 0 at the peak, not at the start."
        )
    if abs(number(answer(50, 1000, 0.5), "what it returns") - 0.5) > 1e-6:
        raise Hint("it fits 200 steps only: use num_steps and peak.")
    return "up in a line, down along a cosine, and zero at the end."
