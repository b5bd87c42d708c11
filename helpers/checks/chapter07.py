"""Checks for chapter 7, Fine-tune on a GPU."""

from .common import Hint, NotYet, exercise

__all__ = ["ch7_boundary", "ch7_curves", "ch7_freeze", "ch7_order"]

# Each pair: the first step comes before the second, or the hint says why.
ORDER = (
    ("e", "f", "a validation part that is set aside late has been trained on."),
    ("c", "f", "without a frozen backbone, the new head's gradients go through it."),
    ("f", "d", "an untrained head would spoil the block as soon as it may change."),
    ("d", "a", "what is frozen does not train: unfreeze first."),
    ("a", "b", "what is scored on the test images first is then chosen on them."),
)

# DenseNet121 behind a boundary: a 1x1 and a 3x3 convolution per layer, growth rate 32,
# and a 1x1 convolution in the transition (Huang et al. 2017, table 1).
BEHIND_POOL4 = 2_129_920
BEHIND_POOL3 = 5_455_872
NORMS_BEHIND_POOL3 = 68_352
ALL = 7_037_504

CURVES = {
    "A": "train longer",
    "B": "keep an earlier epoch",
    "C": "look for a bug",
    "D": "lower the learning rate",
}
CURVE_HINTS = {
    "A": "do the curves still fall at the end? Do they part?",
    "B": "the training loss falls all the way. Where is the validation loss lowest?",
    "C": "with four classes, guessing costs ln 4 = 1.39 at every image. What moves?",
    "D": "each step overshoots, and the next one too. What decides how far one goes?",
}


@exercise
def ch7_order(answer: str) -> str:
    """Exercise 7.1: the steps of a fine-tuning as a string of six letters."""
    steps = [letter for letter in str(answer).lower() if letter.isalpha()]
    if sorted(steps) != sorted("abcdef"):
        raise Hint('use each of the letters a to f once, as in "abcdef".')
    for first, second, why in ORDER:
        if steps.index(first) > steps.index(second):
            raise Hint(f"{first} must come before {second}: {why}")
    return (
        "set aside, freeze, train the head, unfreeze, train gently, and look at the "
        "test images when nothing is left to decide."
    )


@exercise
def ch7_boundary(answer: int) -> str:
    """Exercise 7.2: the backbone's trainable parameters behind pool3_pool."""
    mistakes = {
        BEHIND_POOL4: "this is behind pool4_pool, the boundary of the chapter.",
        BEHIND_POOL4 + 4100: "this is behind pool4_pool, the head included.",
        BEHIND_POOL3 + 4100: "this counts a head. The question is about the backbone.",
        BEHIND_POOL3 + NORMS_BEHIND_POOL3: "this includes the scales and shifts of "
        "BatchNormalization, which should be frozen.",
        ALL: "these are all parameters of the backbone, frozen ones included.",
        ALL - BEHIND_POOL3: "this counts what is frozen.",
        0: "nothing is trainable: was the backbone frozen as a whole before?",
    }
    if answer in mistakes:
        raise Hint(mistakes[answer])
    if answer != BEHIND_POOL3:
        raise Hint(
            'call densenet.set_frozen(fresh, "pool3_pool") on a fresh backbone, then '
            "num_trainable(fresh)."
        )
    return (
        f"{BEHIND_POOL3:,}, more than two and a half times as many. The third block is "
        "the longest: 24 of the 58 dense layers."
    )


@exercise
def ch7_freeze(answer) -> str:
    """Exercise 7.3: a function that freezes up to a boundary, and BatchNormalization.

    The function is tried on a small model, twice, the second time with an earlier
    boundary.
    """
    if not callable(answer):
        raise Hint("the answer is the function itself: answer = freeze, without ().")
    import keras  # eight seconds, and only this check needs it

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(2, 3, name="conv_1"),
            layers.BatchNormalization(name="norm_1"),
            layers.Conv2D(2, 3, name="conv_2"),
            layers.BatchNormalization(name="norm_2"),
            layers.Conv2D(2, 3, name="conv_3"),
        ]
    )
    for boundary, behind in (("conv_2", {"conv_3"}), ("conv_1", {"conv_2", "conv_3"})):
        call = "second call" if boundary == "conv_1" else "first call"
        call = f"{call}, up to {boundary!r}"
        answer(model, boundary)
        trainable = {layer.name for layer in model.layers if layer.trainable}
        if not model.trainable:
            raise Hint("the model as a whole is frozen; freeze its layers one by one.")
        if trainable == {layer.name for layer in model.layers}:
            raise NotYet("the function freezes nothing.")
        if norms := sorted(name for name in trainable if name.startswith("norm")):
            raise Hint(
                f"in the {call}, {norms[0]!r} stays trainable: a BatchNormalization "
                "behind the boundary would run in training mode."
            )
        if missing := sorted(behind - trainable):
            raise Hint(
                f"after the {call}, {missing[0]!r} is frozen, but lies behind the "
                "boundary. Who sets it to trainable again?"
            )
        if left := sorted(trainable - behind):
            raise Hint(
                f"after the {call}, {left[0]!r} is trainable, but lies before the "
                "boundary or is the boundary itself."
            )
    return (
        "each layer is set in each call, one way or the other, so what an earlier call "
        "did no longer matters; and BatchNormalization is frozen everywhere."
    )


@exercise
def ch7_curves(answer: dict) -> str:
    """Exercise 7.4: what to do next about each of four learning curves."""
    for name, advice in CURVES.items():
        given = str(answer.get(name, "nothing"))
        if given not in CURVES.values():
            choices = ", ".join(f'"{choice}"' for choice in sorted(CURVES.values()))
            raise Hint(f"{name} is {given!r}; choose among {choices}.")
        if given != advice:
            raise Hint(f"look at {name} again: {CURVE_HINTS[name]}")
    return (
        "read both curves together, and the validation loss before the training loss."
    )
