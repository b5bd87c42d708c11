"""Chapter 11's checks accept what is right and name what is wrong."""

import numpy as np
from told import right_and_wrong

from helpers import explanation
from helpers.checks import chapter11 as checks


def points(maps, masks):
    return [
        mask.flat[m.argmax()] == 1 and m.max() > m.min()
        for m, mask in zip(maps, masks, strict=True)
    ]


def as_numbers(maps, masks):
    return np.array(points(maps, masks)).astype(int)


def forgets_flat(maps, masks):
    places = maps.reshape(len(maps), -1).argmax(axis=1)
    return masks.reshape(len(masks), -1)[np.arange(len(masks)), places] > 0


def any_highest(maps, masks):
    return np.array(
        [(m * k).max() == m.max() for m, k in zip(maps, masks, strict=True)]
    )


def lowest(maps, masks):
    return [k.flat[m.argmin()] == 1 for m, k in zip(maps, masks, strict=True)]


def one_place(maps, masks):
    return np.full(len(maps), masks.flat[maps.argmax()] > 0)


def most_mass(maps, masks):
    total = np.maximum(maps.sum(axis=(1, 2)), 1e-9)
    return (maps * masks).sum(axis=(1, 2)) / total > 0.5


def places(maps, masks):
    return maps.reshape(len(maps), -1).argmax(axis=1)


def controls(**changes):
    return {
        "a": "mean of all lesions",
        "b": "edge filter",
        "c": "shuffled weights",
    } | changes


RIGHT = [
    (checks.ch11_pointing, points),
    (checks.ch11_pointing, as_numbers),
    (checks.ch11_pointing, explanation.pointing_game),
    (checks.ch11_follows, {"a", "c", "e"}),
    (checks.ch11_controls, controls()),
    (checks.ch11_controls, controls(b="Edge  filter")),
]

WRONG = [
    (checks.ch11_pointing, True, "pass `points`"),
    (checks.ch11_pointing, forgets_flat, "argmax names the first"),
    (checks.ch11_pointing, any_highest, "every place for its highest"),
    (checks.ch11_pointing, lowest, "argmin"),
    (checks.ch11_pointing, one_place, "flatten each map by itself"),
    (checks.ch11_pointing, most_mass, "most of the mass"),
    (checks.ch11_pointing, places, "not places or values"),
    (checks.ch11_pointing, lambda a, b: 0.4, "not their mean"),
    (checks.ch11_pointing, lambda a, b: a, "float64 [400, 12, 10]"),
    (checks.ch11_pointing, lambda a, b: a @ b, "raised ValueError"),
    (checks.ch11_follows, {"a", "b", "c", "e"}, "(b) does not follow"),
    (checks.ch11_follows, {"a", "c"}, "1 more to find"),
    (checks.ch11_controls, ["edge filter"], "dictionary"),
    (checks.ch11_controls, controls(a="blob"), "'blob' is none of"),
    (checks.ch11_controls, controls(a="edge filter"), "usually are"),
    (checks.ch11_controls, controls(b="shuffled weights"), "without a network"),
    (checks.ch11_controls, controls(c="edge filter"), "taken away"),
]

(
    test_a_right_answer_is_told_why,
    test_a_wrong_answer_is_told_its_mistake,
) = right_and_wrong(RIGHT, WRONG)


def test_no_mistake_passes_by_luck_and_what_is_right_always_passes(monkeypatch, capsys):
    many = [checks._maps(seed) for seed in range(200)]
    for made in many:
        monkeypatch.setattr(checks, "_maps", lambda made=made: made)
        assert checks.ch11_pointing(points) is True
        for mistake in (forgets_flat, any_highest, lowest, one_place, most_mass):
            assert checks.ch11_pointing(mistake) is False
    capsys.readouterr()


def test_a_stub_is_no_answer_yet(capsys):
    assert checks.ch11_pointing(lambda *_: ...) is None
    assert capsys.readouterr().out.startswith("Not yet: ")
