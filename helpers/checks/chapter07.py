"""Checks for chapter 7, Fine-tune on a GPU."""

from dataclasses import fields

from helpers.plan import Plan, Stage

from .common import Hint, NotYet, dictionary, exercise, number

__all__ = ["ch7_boundary", "ch7_curves", "ch7_freeze", "ch7_plan"]

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
def ch7_boundary(answer: int) -> str:
    """Exercise 7.1: the backbone's trainable parameters behind pool3_pool."""
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
    answer = number(answer)
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
    """Exercise 7.2: a function that freezes up to a boundary, and BatchNormalization.

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
                "boundary. Who sets it to trainable again? (`model.trainable = "
                "True` does not, if the model itself is trainable already: Keras then "
                "leaves the layers as they are.)"
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
def ch7_plan(answer: Plan) -> str:
    """Exercise 7.3: a plan of two stages for a GPU and a budget of parameters."""
    if not isinstance(answer, Plan):
        raise Hint(
            "the answer is a plan: answer = Plan((Stage(...), Stage(...)), ...)."
        )
    if len(answer.stages) != 2:
        raise Hint(f"the plan has {len(answer.stages)} stage(s); two are asked for.")
    head, block = answer.stages
    if head.boundary != "backbone":
        raise Hint(
            f"the first stage is frozen up to {head.boundary!r}. Up to where, if only "
            "the head trains?"
        )
    if problem := _boundary_problem(block.boundary) or _stage_problem(head, block):
        raise Hint(problem)
    if answer.pixels != 224:
        raise Hint(f"the plan is for images of {answer.pixels} pixels.")
    if answer.precision != "mixed_float16":
        raise Hint(f"the plan computes in {answer.precision!r}.")
    if answer.batch_size != 16:
        raise Hint(
            f"{answer.batch_size} images are on the GPU at a time; it holds 16, and "
            "fewer would leave it idle."
        )
    if answer.gradient_accumulation_steps != 4:
        averaged = 16 * answer.gradient_accumulation_steps
        raise Hint(f"a step averages over {averaged} images; 64 are asked for.")
    if problem := _changed(answer, FREE_OF_PLAN) or _changed(block, FREE_OF_BLOCK):
        raise Hint(problem)
    if problem := _changed(head, FREE_OF_HEAD):
        raise Hint(f"in the head's stage, {problem}")
    if head.patience not in (None, 3):
        raise Hint(f"the head's stage waits {head.patience} epochs, not three.")
    return (
        f"behind pool3_pool, {BEHIND_POOL3:,} of the backbone's parameters train. The "
        "plan can be committed now, before anybody has seen a test image."
    )


# What the exercise asks for, or leaves open; everything else is as `Plan` has it.
FREE_OF_PLAN = {
    *("stages", "pixels", "precision", "batch_size"),
    "gradient_accumulation_steps",
}
FREE_OF_BLOCK = {
    *("name", "boundary", "num_epochs", "learning_rate", "augmentation", "patience")
}
FREE_OF_HEAD = {"name", "boundary", "num_epochs", "learning_rate", "patience"}


def _changed(made: Plan | Stage, free: set[str]) -> str | None:
    """Say which field that nobody asked to change is not at its default, if any is."""
    for one in fields(made):
        value = getattr(made, one.name)
        if one.name not in free and value != one.default:
            return (
                f"{one.name} is {value!r}. Nothing was asked of it: leave it at "
                f"{one.default!r}, and change one thing at a time."
            )
    return None


def _boundary_problem(boundary: str) -> str | None:
    """Say what is wrong with where the second stage is frozen up to, if anything."""
    if boundary == "pool3_pool":
        return None
    if boundary == "pool4_pool":
        return "behind pool4_pool train about two million: the budget allows more."
    if boundary == "backbone":
        return "in the second stage, a part of the backbone should train too."
    if boundary in ("input", "pool2_pool"):
        return f"behind {boundary!r} lie more than six million parameters."
    return (
        f"the second stage is frozen up to {boundary!r}; take the end of a transition."
    )


def _stage_problem(head: Stage, block: Stage) -> str | None:
    """Say what else is wrong with the second stage, if anything."""
    if block.augmentation is None or "exposure" not in block.augmentation:
        return f"the second stage's augmentation is {block.augmentation!r}."
    if "mirror" in block.augmentation:
        return "a mirrored training image can be a test image: leave the mirror out."
    if "pose" not in block.augmentation:
        return "the second stage changes the exposure; the pose should vary too."
    if block.learning_rate > head.learning_rate / 3:
        return "the second stage's learning rate is more than a third of the head's."
    if block.schedule != "cosine" or block.warmup != 0.1:
        return (
            "the second stage's rate should rise over a tenth of the steps, and fall."
        )
    if block.patience is None:
        return "without patience the last epoch counts, and not the best one."
    if block.patience != 3:
        return f"training waits {block.patience} epoch(s) for a better one, not three."
    if block.num_epochs <= block.patience:
        return (
            f"with {block.num_epochs} epoch(s), three in a row that are no better "
            "never end the training. Give it more."
        )
    return None


@exercise
def ch7_curves(answer: dict) -> str:
    """Exercise 7.4: what to do next about each of four learning curves."""
    answer = dictionary(answer, CURVES, '"..."')
    for name, advice in CURVES.items():
        given = str(answer[name]).strip().lower()
        if given not in CURVES.values():
            choices = ", ".join(f'"{choice}"' for choice in sorted(CURVES.values()))
            raise Hint(f"{name} is {given!r}; choose among {choices}.")
        if given != advice:
            raise Hint(f"look at {name} again: {CURVE_HINTS[name]}")
    return (
        "read both curves together, and the validation loss before the training loss."
    )
