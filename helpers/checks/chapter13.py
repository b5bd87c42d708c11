"""Checks for chapter 13, Ship it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers import scans

from .common import Hint, check_choice, dictionary, exercise, number, whole

__all__ = ["ch13_card", "ch13_exports", "ch13_limit", "ch13_serving"]


@exercise
def ch13_serving(answer, files: Sequence[Path], pixels: int) -> str:
    """Check a function from a file to the bytes that training would have seen."""
    if not callable(answer):
        raise Hint("give the function itself, without calling it: answer = mended.")
    for file in files:
        expected = scans.read(Path(file), pixels).image
        given = np.asarray(answer(Path(file)))
        if given.shape != expected.shape:
            raise Hint(
                f"{Path(file).name} gives an array of shape {given.shape}; the network "
                f"was trained on {expected.shape}: one grey value a pixel."
            )
        _compare(given.astype(float), expected.astype(float), Path(file).name)
    return f"{len(files)} files, byte for byte what training would have seen."


def _compare(given: np.ndarray, expected: np.ndarray, name: str) -> None:
    if np.array_equal(given, expected):
        return
    if given.max() <= 1 < expected.max():
        raise Hint(
            f"{name}: the values end at {given.max():.2f}. The model divides by 255 "
            "itself; here it is done a second time."
        )
    if (given >= 255).mean() > 0.15 > (expected >= 255).mean():
        raise Hint(
            f"{name} comes out white where tissue is. It holds 16 bits, and a "
            "conversion to 8 cuts off what lies above 255. How does training read it?"
        )
    apart = np.abs(given - expected)
    if apart.max() > 100 and (apart > 60).mean() > 0.05:
        raise Hint(f"{name} looks another picture altogether. Draw both.")
    raise Hint(
        f"{name}: {(apart > 0).mean():.0%} of the pixels differ, by up to "
        f"{apart.max():.0f} grey values. Both pictures look alike. Which filter does "
        "resize take if nobody names one?"
    )


@exercise
def ch13_limit(answer, inside, outside, budget: float) -> str:
    """Check the smallest limit that keeps a budget of false alarms."""
    inside, outside = np.asarray(inside, float), np.asarray(outside, float)
    limit, allowed = number(answer), int(np.floor(budget * len(inside) + 1e-9))
    alarms = int((inside > limit).sum())
    if 0 < limit < 1 and inside.min() > 1:
        raise Hint("this is a share. Give a distance: the limit itself.")
    if abs(alarms - (len(inside) - allowed)) <= 1 and allowed < len(inside) / 3:
        raise Hint(
            "this limit lets the nearest pass and refuses nearly all. The other end of "
            "the sorted distances is meant."
        )
    both = np.concatenate([inside, outside])
    if alarms != allowed and abs((both > limit).mean() - budget) < 0.5 / len(both):
        raise Hint(
            "the share is right over both kinds together. A false alarm is a refusal "
            "of a slice that belongs here: use these alone."
        )
    if alarms > allowed:
        raise Hint(
            f"{alarms} of {len(inside)} held-out slices lie beyond it; the budget "
            f"allows {allowed}."
        )
    if alarms < allowed:
        raise Hint(
            f"only {alarms} of {len(inside)} are refused. The budget allows {allowed}: "
            "a smaller limit lets fewer strangers pass."
        )
    passing = (outside <= limit).mean()
    return f"{alarms} of {len(inside)} refused; of the strangers, {passing:.0%} pass."


GAPS = {
    "a": "a share of slices: of how many people? Nothing on the card says it.",
    "b": "it says whom the model is for, and for whom it is not.",
    "c": "the interval is there. What was drawn for it is said as well.",
    "d": "which class pays for the average? There is no row for each.",
    "e": "the file's hash is there, so the network can be told from another.",
    "f": "who chose the plan, and how often the scored slices were looked at?",
    "g": "it says when it keeps silent. On whom was that threshold set?",
    "h": "it names what was not tried.",
}


@exercise
def ch13_card(answer) -> str:
    """Check what is missing on a friend's card."""
    check_choice(answer, GAPS, {"a", "d", "f", "g"}, "is not missing")
    return "how many people, which class pays, who chose, and on whom it was set."


@exercise
def ch13_exports(answer, reference, one, other) -> str:
    """Check what two exports change, and which of them may be shipped."""
    answer = dictionary(answer, ("largest", "changed", "ship"), "...")
    for key in ("largest", "changed"):
        pair = answer[key]
        if isinstance(pair, str) or not np.iterable(pair) or len(pair) != 2:
            raise Hint(f"{key}: give two numbers, the one of A and that of B.")
    reference = np.asarray(reference, float)
    for name, said, largest, changed in zip(
        "AB", (one, other), answer["largest"], answer["changed"], strict=True
    ):
        largest = number(largest, f"({name}) largest")
        changed = whole(changed, f"({name}) changed")
        said = np.asarray(said, float)
        apart = np.abs(said - reference)
        labels = int((said.argmax(axis=1) != reference.argmax(axis=1)).sum())
        if abs(largest - apart.mean()) < 1e-9 < apart.max():
            raise Hint(f"({name}) this is the mean difference. One bad answer hides.")
        if not np.isclose(largest, apart.max(), rtol=0.02, atol=1e-9):
            raise Hint(
                f"({name}) largest: the largest difference of any probability from "
                "the reference, np.abs(a - b).max()."
            )
        if changed != labels:
            raise Hint(
                f"({name}) changed: how many files have another first label than with "
                "the reference? Compare argmax along the classes, file by file."
            )
    ship = str(answer["ship"]).strip().upper()
    if ship == "B":
        raise Hint(
            "B is exact for most files, and two of them get each other's answer. "
            "Which mistake would you rather explain?"
        )
    if ship != "A":
        raise Hint('ship is "A" or "B".')
    return (
        "A is a little off everywhere and changes no label. B is exact but for two "
        "files that got each other's answer, and a mean would not have shown it."
    )
