"""Checks for chapter 12, Stress test."""

import numpy as np

from .common import Hint, NotYet, check_choice, dictionary, exercise

__all__ = ["ch12_bias_field", "ch12_controls", "ch12_curves", "ch12_follows"]


def _wrong_field(image, field, amplitude) -> dict[str, np.ndarray]:
    """Return what the likeliest mistakes compute, by the hint that names them."""
    exact = image * (1 + amplitude * field)
    grown = image.astype(float) + 255 * amplitude * field
    halved = image * (1 + amplitude * (field + 1) / 2)
    return {
        "greys above 255 start again at 0: uint8 cannot hold them. Cut with "
        "np.clip(..., 0, 255) before you turn the result into uint8.": exact.astype(
            np.int64
        ).astype(np.uint8),
        "this adds the field. A bias field multiplies: black stays black under it.": (
            np.clip(grown, 0, 255)
        ),
        "this only brightens. Where the field is -1, the grey falls by the share "
        "`amplitude`.": np.clip(halved, 0, 255),
        "the signs are the other way round: where the field is 1, the grey rises.": (
            np.clip(image * (1 - amplitude * field), 0, 255)
        ),
        "this multiplies by the field itself. Where the field is 0, nothing changes: "
        "the factor is 1 there.": np.clip(image * (amplitude * field), 0, 255),
    }


@exercise
def ch12_bias_field(under) -> str:
    """Check `under(image, field, amplitude)`, which puts a slice under a bias field."""
    if not callable(under):
        raise Hint("this is the function itself: pass `under`, without calling it.")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (24, 20)).astype(np.uint8)
    image[:4] = 0
    field = np.linspace(-1, 1, 20)[None, :] * np.ones((24, 1))
    before = image.copy()
    try:
        strong, none = under(image, field, 0.5), under(image, field, 0.0)
    except Exception as error:
        raise Hint(
            f"calling it with an image, a field and 0.5 raised {type(error).__name__}: "
            f"{error}"
        ) from None
    if strong is ... or none is ...:
        raise NotYet("replace the ... in the function with the slice under the field.")
    if not np.array_equal(image, before):
        raise Hint("the image that was passed is changed. Return a new one.")
    strong, none = np.asarray(strong), np.asarray(none)
    if strong.shape != image.shape:
        raise Hint(
            f"the result is {strong.shape}; expected {image.shape}, as the image."
        )
    wanted = np.clip(image * (1 + 0.5 * field), 0, 255)
    off = np.abs(strong.astype(float) - wanted).max()
    if off > 1:
        for hint, likely in _wrong_field(image, field, 0.5).items():
            if np.abs(strong.astype(float) - likely).max() <= 1:
                raise Hint(hint)
        raise Hint(
            "each grey times (1 + amplitude * field), cut to 0 to 255. The largest "
            f"difference from that is {off:.0f}."
        )
    if strong.dtype != np.uint8:
        raise Hint(f"the greys are right, and {strong.dtype}; expected uint8.")
    if not np.array_equal(none, image):
        raise Hint("with an amplitude of 0 the slice is changed. Nothing may change.")
    return "it multiplies, cuts at 255, and with an amplitude of 0 it changes nothing."


CURVES = {"a": "c", "b": "c", "c": "a", "d": "c"}
CURVE_HINTS = {
    "a": "lost means from as it is to strong: A 0.25, B 0.04, C 0.01.",
    "b": "read the last column alone: 0.70, 0.88 and 0.89.",
    "c": "a mild noise is the second column. Robustness to noise that you do not have "
    "is worth nothing to you there.",
    "d": "compare each model's drops with 0.02: B loses 0.04 at the strong end.",
}


@exercise
def ch12_curves(answer) -> str:
    """Check which of three models each question is answered by."""
    answer = dictionary(answer, CURVES, '"..."')
    words = {key: str(value).strip().lower() for key, value in answer.items()}
    for key, word in words.items():
        if word not in ("a", "b", "c"):
            raise Hint(f'({key}) {answer[key]!r} is none of "A", "B" and "C".')
    for key, expected in CURVES.items():
        if words[key] != expected:
            raise Hint(f"({key}) {CURVE_HINTS[key]}")
    return (
        "C hardly moves and is still not the one to take where noise is mild. A curve "
        "answers a question about a place, not which model is best."
    )


CONTROLS = {
    "a": "same patch elsewhere",
    "b": "frame of its own class",
    "c": "same plan without it",
    "d": "severity 0",
}
CONTROL_HINTS = {
    "a": "a patch changes a slice, wherever it lies. How many answers change when the "
    "same patch covers something else?",
    "b": "cutting out a head and scaling it changes a slice too. How many answers "
    "change in a frame that says the same class?",
    "c": "'made' is a claim about a cause. What would the same network lose that "
    "learned without augmentation?",
    "d": "does the program change anything when it adds no noise, by saving or "
    "rounding?",
}


@exercise
def ch12_controls(answer) -> str:
    """Check which control each of four claims needs most."""
    answer = dictionary(answer, CONTROLS, '"..."')
    words = {
        key: " ".join(str(value).lower().split()).strip("\"'")
        for key, value in answer.items()
    }
    for key, word in words.items():
        if word not in CONTROLS.values():
            names = ", ".join(f'"{name}"' for name in CONTROLS.values())
            raise Hint(f"({key}) {answer[key]!r} is none of {names}.")
    for key, expected in CONTROLS.items():
        if words[key] != expected:
            raise Hint(f"({key}) {CONTROL_HINTS[key]}")
    return "each control does everything that the test does, but the one thing claimed."


FOLLOWS = {
    "a": "look at the mean of the air in the first table.",
    "d": "look at the rows under *What did augmentation buy?*: nothing but "
    "augmentation differs between the two.",
    "f": "look at the same patch put elsewhere, and at the intervals.",
    "b": "what the networks meet is a list that we wrote; nobody scanned anybody.",
    "c": "no network was trained without one collection and scored on it.",
    "e": "one seed, one fold: the difference may be one of two trainings.",
}


@exercise
def ch12_follows(answer) -> str:
    """Check which sentences follow from what the chapter measured."""
    check_choice(answer, FOLLOWS, {"a", "d", "f"}, "does not follow")
    return "a, d and f were measured; the others need another measurement."
