"""Chapter 8's checks accept what is right and name what is wrong."""

import numpy as np
from told import right_and_wrong

from helpers.checks import chapter08 as checks


def counts(sensitivity, specificity):
    return {"sensitivity": sensitivity, "specificity": specificity}


def whole_groups(groups, rng):
    names = np.unique(groups)
    drawn = rng.choice(names, len(names))
    return np.concatenate([np.flatnonzero(groups == name) for name in drawn])


def images_instead(groups, rng):
    return rng.integers(0, len(groups), len(groups))


def once_each(groups, rng):
    return rng.permutation(len(groups))


def too_few(groups, rng):
    name = rng.choice(groups)
    return np.flatnonzero(groups == name)


def by_size(groups, rng):
    drawn = rng.choice(groups, len(np.unique(groups)))
    return np.concatenate([np.flatnonzero(groups == name) for name in drawn])


def own_randomness(groups, rng):
    return whole_groups(groups, np.random.default_rng())


def no_randomness(groups, rng):
    return whole_groups(groups, np.random.default_rng(0))


def names_instead(groups, rng):
    return np.array([f"group {name}" for name in groups])


def nothing(groups, rng):
    whole_groups(groups, rng)


RIGHT = [
    (checks.ch8_counts, counts(0.75, 0.95)),
    (checks.ch8_counts, counts(30 / 40, 152 / 160)),
    (checks.ch8_draw_groups, whole_groups),
    (checks.ch8_abstract, {"b", "c", "d", "e"}),
    (checks.ch8_abstract, "BCDE"),
    (checks.ch8_draw_groups, lambda groups, rng: whole_groups(groups, rng).tolist()),
    (checks.ch8_order, "DCBA"),
    (checks.ch8_order, "d > c > b > a"),
    (checks.ch8_order, ["d", "c", "b", "a"]),
]

WRONG = [
    (checks.ch8_counts, counts(0.95, 0.75), "swapped"),
    (checks.ch8_counts, counts(75, 95), "percent"),
    (checks.ch8_counts, counts(30 / 38, 0.95), "precision"),
    (checks.ch8_counts, counts(179 / 200, 0.95), "accuracy"),
    (checks.ch8_counts, counts(0.5, 0.95), "row"),
    (checks.ch8_counts, counts(0.75, 149 / 160), "glioma called pituitary"),
    (checks.ch8_counts, counts(0.75, 152 / 162), "*not called*"),
    (checks.ch8_counts, counts(0.75, 0.5), "160"),
    (checks.ch8_counts, 0.75, "dictionary"),
    (checks.ch8_draw_groups, [1, 2], "function itself"),
    (checks.ch8_draw_groups, images_instead, "whole or not at all"),
    (checks.ch8_draw_groups, once_each, "with replacement"),
    (checks.ch8_draw_groups, too_few, "as many as there are"),
    (checks.ch8_draw_groups, by_size, "from the groups' *names*"),
    (checks.ch8_draw_groups, own_randomness, "rng passed in"),
    (checks.ch8_draw_groups, no_randomness, "use the rng"),
    (checks.ch8_draw_groups, names_instead, "whole numbers"),
    (checks.ch8_draw_groups, nothing, "returns nothing"),
    (checks.ch8_abstract, {"a", "b"}, "(a) is no fault"),
    (checks.ch8_abstract, {"b", "c", "d", "e", "g"}, "(g) is no fault"),
    (checks.ch8_abstract, {"b", "d", "e"}, "what picked the epoch"),
    (checks.ch8_abstract, {"x"}, "choose among a, b, c, d, e, f, g"),
    (checks.ch8_order, "ABCD", "best of ten"),
    (checks.ch8_order, "DBCA", "C keeps patients apart"),
    (checks.ch8_order, "CDBA", "new scanner"),
    (checks.ch8_order, "DCB", "each of A, B, C, D"),
]


(
    test_a_right_answer_is_told_why,
    test_a_wrong_answer_gets_a_hint_that_names_the_mistake,
) = right_and_wrong(RIGHT, WRONG)
