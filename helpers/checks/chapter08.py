"""Checks for chapter 8, Evaluate."""

import re

import numpy as np

from .common import Hint, check_choice, dictionary, exercise, number, whole_numbers

__all__ = ["ch8_abstract", "ch8_counts", "ch8_draw_groups", "ch8_order"]


NUM_SEEDS = 400  # a group's mean count varies by 0.05 then


def _near(value: float, target: float) -> bool:
    return abs(value - target) < 0.006


@exercise
def ch8_counts(answer) -> str:
    """Check the sensitivity and the specificity of meningioma in the small table."""
    answer = dictionary(answer, ("sensitivity", "specificity"), "...")
    sensitivity, specificity = (number(answer[key], key) for key in sorted(answer))
    if max(sensitivity, specificity) > 1:
        raise Hint("give both as a share from 0 to 1, not in percent.")
    if _near(sensitivity, 152 / 160) and _near(specificity, 30 / 40):
        raise Hint("the two are swapped: sensitivity looks at the meningiomas' row.")
    if _near(sensitivity, 30 / 38):
        raise Hint(
            "your sensitivity divides by the column, the images *called* meningioma. "
            "That is precision. Divide by the row, the images that *are* meningioma."
        )
    if _near(sensitivity, 179 / 200):
        raise Hint("your sensitivity is the accuracy: it counts all four classes.")
    if not _near(sensitivity, 30 / 40):
        raise Hint("sensitivity is 30 over all images in the meningioma row.")
    if _near(specificity, 149 / 160):
        raise Hint(
            "your specificity counts a glioma called pituitary as an error. One class "
            "against the rest: only the column of meningioma holds false alarms."
        )
    if _near(specificity, 152 / 162):
        raise Hint(
            "your specificity divides by the images *not called* meningioma. Divide by "
            "the images that *are* not meningioma."
        )
    if not _near(specificity, 152 / 160):
        raise Hint(
            "of the 160 images of other classes, how many were not called meningioma? "
            "The column of meningioma says how many were."
        )
    return "sensitivity 30 / 40 = 0.75 and specificity 152 / 160 = 0.95."


@exercise
def ch8_draw_groups(answer) -> str:
    """Check a function (groups, rng) -> indices that draws groups with replacement."""
    if not callable(answer):
        raise Hint("assign the function itself: answer = draw_groups, no parentheses.")
    groups = np.array([7, 7, 7, 2, 5, 5, 9, 9, 9, 9, 4, 4, 1, 8])
    num_groups = len(np.unique(groups))
    draws = []
    for seed in range(20):
        if answer(groups, np.random.default_rng(seed)) is None:
            raise Hint("the function returns nothing: end it with return.")
        drawn, again = (
            whole_numbers(
                answer(groups, np.random.default_rng(seed)), "what it returns"
            )
            for _ in range(2)
        )
        if not np.array_equal(drawn, again):
            raise Hint("two calls with equal rng differ: draw with the rng passed in.")
        if drawn.min() < 0 or drawn.max() >= len(groups):
            raise Hint(
                f"there are images 0 to {len(groups) - 1}; {drawn.max()} is not."
            )
        draws.append(np.bincount(drawn, minlength=len(groups)))
    for times in draws:
        for group in np.unique(groups):
            if len(np.unique(times[groups == group])) > 1:
                raise Hint(
                    f"images of one group were drawn {times[groups == group]} times: "
                    "a group must come whole or not at all. Draw groups, then collect "
                    "their images."
                )
    totals = [sum(t[groups == g][0] for g in np.unique(groups)) for t in draws]
    if set(totals) != {num_groups}:
        raise Hint(
            f"a resample holds {totals[0]} groups; draw as many as there are, "
            f"{num_groups}."
        )
    if all(times.max() == 1 for times in draws):
        raise Hint("every group comes exactly once: draw with replacement.")
    if all(np.array_equal(times, draws[0]) for times in draws):
        raise Hint("every seed draws the same groups: use the rng.")
    first = np.unique(groups, return_index=True)[1]
    often = np.zeros(len(groups))
    for seed in range(NUM_SEEDS):
        drawn = np.asarray(answer(groups, np.random.default_rng(seed)))
        often += np.bincount(drawn, minlength=len(groups))
    often = often[first] / NUM_SEEDS
    if np.abs(often - 1).max() > 0.3:
        raise Hint(
            f"over {NUM_SEEDS} seeds, one group comes {often.max():.1f} times a draw "
            f"on average, another {often.min():.1f} times: a group of many images is "
            "drawn more often. Draw from the groups' *names*, each there once."
        )
    return "whole groups, with replacement, as many as there are."


ABSTRACT = {
    "b": "look at what was shuffled: slices of one patient can land on both sides.",
    "c": "look at what picked the epoch: the test set did.",
    "d": "look at what stands beside the result: no interval, seeds or classes.",
    "e": "look for who was counted: slices are not patients, notumor another source.",
    "a": "it says what was trained, on how many slices. One needs that.",
    "f": "open code, weights and file lists are what let others check.",
    "g": "scaling the input as the pretrained weights expect is right.",
}


@exercise
def ch8_abstract(answer) -> str:
    """Check which sentences of the invented abstract are reasons to doubt."""
    check_choice(answer, ABSTRACT, {"b", "c", "d", "e"}, "is no fault")
    return (
        "(b) leaks patients, (c) chooses on the test, (d) hides the spread, and (e) "
        "claims about patients what was counted on slices of different sources."
    )


@exercise
def ch8_order(answer) -> str:
    """Check the order of four reports, most telling about new patients first."""
    parts = answer if isinstance(answer, str | list | tuple) else ()
    order = re.sub(r"[\s,>]", "", "".join(map(str, parts))).upper()
    if sorted(order) != list("ABCD"):
        raise Hint('name each of A, B, C, D once, such as "ABCD".')
    place = {letter: order.index(letter) for letter in order}
    if place["A"] != 3:
        raise Hint(
            "A is the highest number and the least evidence: the best of ten runs was "
            "picked on the test it reports."
        )
    if place["B"] < place["C"]:
        raise Hint(
            "B's interval says how the number varies over *such* images. Copies of "
            "training images are among them; C keeps patients apart."
        )
    if place["C"] < place["D"]:
        raise Hint(
            "C tests on new patients of the same hospitals. A new patient comes with a "
            "new scanner too: which report saw that?"
        )
    return (
        "the lower the number here, the harder and more useful the question it answers."
    )
