"""Checks for chapter 11, Explain."""

import numpy as np

from .common import Hint, NotYet, check_choice, dictionary, exercise

__all__ = ["ch11_controls", "ch11_follows", "ch11_pointing"]


def _maps(seed: int = 0, num: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Return random maps and lesions, [n, 12, 10]; the first three maps are flat."""
    rng = np.random.default_rng(seed)
    maps, masks = rng.random((num, 12, 10)), np.zeros((num, 12, 10), np.uint8)
    for mask in masks:
        top, left = rng.integers(0, 8), rng.integers(0, 6)
        mask[top : top + 4, left : left + 4] = 1
    maps[:3] = np.array([0, 0.5, 1])[:, None, None]
    masks[:2, 0, 0], masks[2, 0, 0] = 1, 0  # where argmax looks first
    maps[3::2] += 9 * masks[3::2] * rng.random((len(maps[3::2]), 1, 1))
    return maps, masks


def _pointing(maps, masks) -> np.ndarray:
    flat, on = maps.reshape(len(maps), -1), masks.reshape(len(masks), -1) > 0
    hit = on[np.arange(len(on)), flat.argmax(axis=1)]
    return hit & (np.ptp(flat, axis=1) > 0)


def _likely(maps, masks) -> dict[str, np.ndarray]:
    """Return what the likeliest mistakes compute, by the hint that names them."""
    flat, on = maps.reshape(len(maps), -1), masks.reshape(len(masks), -1) > 0
    lowest = on[np.arange(len(on)), flat.argmin(axis=1)]
    within = (flat * on).sum(axis=1) / on.sum(axis=1)
    around = (flat * ~on).sum(axis=1) / (~on).sum(axis=1)
    inside = within > around
    share = (flat * on).sum(axis=1) / np.maximum(flat.sum(axis=1), 1e-9) > 0.5
    top = np.array([m.max() for m in maps * masks]) == flat.max(axis=1)
    whole = np.full(len(maps), on.ravel()[flat.ravel().argmax()])
    hit = on[np.arange(len(on)), flat.argmax(axis=1)]
    return {
        "a map that is the same everywhere has no highest place, and argmax names the "
        "first. Such maps count as False.": hit,
        "this takes a flat map's every place for its highest. Such maps count as "
        "False.": top,
        "this looks at the lowest value: argmin where argmax is meant.": lowest,
        "this compares means inside and outside. Only the highest place "
        "counts.": inside,
        "this asks whether most of the mass lies on the lesion. Only the highest place "
        "counts.": share,
        "this takes one highest place for all maps together: flatten each map by "
        "itself, maps.reshape(len(maps), -1), and argmax along axis 1.": whole,
    }


@exercise
def ch11_pointing(points) -> str:
    """Check `points(maps, masks)`, the pointing game."""
    if not callable(points):
        raise Hint("this is no function: pass `points`, without calling it.")
    maps, masks = _maps()
    try:
        found = points(maps.copy(), masks.copy())
    except Exception as error:
        raise Hint(
            f"calling it with maps and masks [400, 12, 10] raised "
            f"{type(error).__name__}: {error}"
        ) from None
    if found is ...:
        raise NotYet("replace the ... in the function with one Boolean for each map.")
    try:
        found = np.asarray(found)
    except ValueError:
        raise Hint(
            "the result is no array; expected one Boolean for each map."
        ) from None
    if found.shape == ():
        raise Hint(
            "this is one value; expected one Boolean for each map, not their mean."
        )
    if found.shape != (len(maps),) or found.dtype.kind not in "biuf":
        raise Hint(
            f"the result is {found.dtype} {list(found.shape)}; expected Boolean "
            f"[{len(maps)}], one for each map."
        )
    if found.dtype != bool and not np.isin(found, (0, 1)).all():
        raise Hint("expected True or False for each map, not places or values.")
    wanted, found = _pointing(maps, masks), found.astype(bool)
    if not np.array_equal(found, wanted):
        for hint, likely in _likely(maps, masks).items():
            if np.array_equal(found, likely):
                raise Hint(hint)
        raise Hint(
            "for each map: where is its highest value, and is the mask 1 there? It "
            f"differs for {(found != wanted).sum()} of {len(maps)} maps."
        )
    return "it points, and a map without a highest place does not."


FOLLOWS = {
    "a": "look at the row of block 2 and that of the mean of all lesions, both with "
    "their intervals.",
    "c": "look at the rows *right* and *wrong*.",
    "e": "look at the three maps of slices without a lesion.",
    "b": "a map says where an answer hangs, not how.",
    "d": "which layer is shown was a choice, and it moved both scores.",
    "f": "nobody compared the map with what a radiologist looks at; the outlines say "
    "where the lesion is.",
}


@exercise
def ch11_follows(answer) -> str:
    """Check which sentences follow from what the chapter measured."""
    check_choice(answer, FOLLOWS, {"a", "c", "e"}, "does not follow")
    return "a, c and e were measured; the others are what such a picture suggests."


CONTROLS = {"a": "mean of all lesions", "b": "edge filter", "c": "shuffled weights"}
CONTROL_HINTS = {
    "a": "tumors lie in some places more often than in others. What would a fixed map "
    "get that only knows where they usually are?",
    "b": "fine outlines are in the slice already. What finds them without a network?",
    "c": "'trained' is claimed. What does the map look like when the training is taken "
    "away?",
}


@exercise
def ch11_controls(answer) -> str:
    """Check which control each of three claims needs most."""
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
    return "each control gets what the claim could have come from without being true."
