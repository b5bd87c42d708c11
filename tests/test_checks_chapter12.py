"""Chapter 12's checks accept what is right and name what is wrong."""

import numpy as np
from told import right_and_wrong

from helpers.checks import chapter12 as checks


def under(image, field, amplitude):
    return np.clip(image * (1 + amplitude * field), 0, 255).astype(np.uint8)


def rounded(image, field, amplitude):
    return np.clip(np.rint(image + amplitude * field * image), 0, 255).astype("uint8")


def wraps(image, field, amplitude):
    return (image * (1 + amplitude * field)).astype(np.int64).astype(np.uint8)


def adds(image, field, amplitude):
    return np.clip(image + 255 * amplitude * field, 0, 255).astype(np.uint8)


def brightens(image, field, amplitude):
    return np.clip(image * (1 + amplitude * (field + 1) / 2), 0, 255).astype(np.uint8)


def upside_down(image, field, amplitude):
    return under(image, -field, amplitude)


def fades(image, field, amplitude):
    return np.clip(image * (amplitude * field), 0, 255).astype(np.uint8)


def floats(image, field, amplitude):
    return np.clip(image * (1 + amplitude * field), 0, 255)


def in_place(image, field, amplitude):
    image[:] = under(image, field, amplitude)
    return image


def always(image, field, amplitude):
    return under(image, field, 0.5)


def breaks(image, field, amplitude):
    return image @ field


def curves(**changes):
    return {"a": "C", "b": "C", "c": "A", "d": "C"} | changes


def controls(**changes):
    return {
        "a": "same patch elsewhere",
        "b": "frame of its own class",
        "c": "same plan without it",
        "d": "severity 0",
    } | changes


RIGHT = [
    (checks.ch12_bias_field, under),
    (checks.ch12_bias_field, rounded),
    (checks.ch12_curves, curves()),
    (checks.ch12_curves, curves(a=" c")),
    (checks.ch12_controls, controls()),
    (checks.ch12_controls, controls(d="Severity  0")),
    (checks.ch12_follows, {"a", "d", "f"}),
]

WRONG = [
    (checks.ch12_bias_field, np.zeros((3, 3)), "pass `under`"),
    (checks.ch12_bias_field, wraps, "start again at 0"),
    (checks.ch12_bias_field, adds, "this adds"),
    (checks.ch12_bias_field, brightens, "only brightens"),
    (checks.ch12_bias_field, upside_down, "other way round"),
    (checks.ch12_bias_field, fades, "by the field itself"),
    (checks.ch12_bias_field, floats, "expected uint8"),
    (checks.ch12_bias_field, in_place, "Return a new one"),
    (checks.ch12_bias_field, always, "amplitude of 0"),
    (checks.ch12_bias_field, breaks, "raised ValueError"),
    (checks.ch12_bias_field, lambda i, f, a: None, "the result is ()"),
    (checks.ch12_curves, "C", "dictionary"),
    (checks.ch12_curves, curves(b="D"), "'D' is none of"),
    (checks.ch12_curves, curves(a="B"), "from as it is to strong"),
    (checks.ch12_curves, curves(b="A"), "last column"),
    (checks.ch12_curves, curves(c="B"), "second column"),
    (checks.ch12_curves, curves(d="B"), "loses 0.04"),
    (checks.ch12_controls, ["severity 0"], "dictionary"),
    (checks.ch12_controls, controls(a="none"), "'none' is none of"),
    (checks.ch12_controls, controls(a="frame of its own class"), "covers something"),
    (checks.ch12_controls, controls(b="severity 0"), "scaling"),
    (checks.ch12_controls, controls(c="severity 0"), "claim about a cause"),
    (checks.ch12_controls, controls(d="same patch elsewhere"), "adds no noise"),
    (checks.ch12_follows, {"a", "d", "f", "c"}, "(c) does not follow"),
    (checks.ch12_follows, {"a", "d"}, "1 more to find"),
]

(
    test_a_right_answer_is_told_why,
    test_a_wrong_answer_is_told_its_mistake,
) = right_and_wrong(RIGHT, WRONG)


def test_a_stub_is_no_answer_yet(capsys):
    assert checks.ch12_bias_field(lambda *_: ...) is None
    assert capsys.readouterr().out.startswith("Not yet: ")
