"""Checks for chapter 5, Transfer learning."""

from helpers import recorded

from .common import Hint, NotYet, dictionary, exercise, number

__all__ = ["ch5_augment", "ch5_curve", "ch5_freeze_norms"]

CURVE_KEYS = ("random needs", "tuning first helps", "more patients")

AUGMENT = {
    "a": "fine",
    "b": "leaks",
    "c": "fine",
    "d": "false anatomy",
    "e": "does nothing",
    "f": "fine",
}
AUGMENT_HINTS = {
    "a": "its mirror twin lies in the same fold. What is left to object to?",
    "b": "count again how many test images have a mirror twin in Training.",
    "c": "who lies perfectly straight in a scanner? And is the label still true?",
    "d": "imagine the patient: where is the neck now?",
    "e": "what are hue and saturation of a grey pixel?",
    "f": "scanners differ in brightness all the time. Is the label still true?",
}


@exercise
def ch5_freeze_norms(answer) -> str:
    """Exercise 5.1: freeze every BatchNormalization, however deep it is nested.

    The function is tried on a plain model, on one nested once, and on one nested twice.
    """
    if not callable(answer):
        raise Hint("the answer is the function itself: answer = freeze_norms.")
    import keras  # eight seconds, and only this check needs it

    layers = keras.layers
    names = []

    def block(inner=None):
        """Build a model of a convolution, a normalisation and maybe another model."""
        inputs = keras.Input((8, 8, 1))
        count = len(names)
        names.append(count)
        x = layers.Conv2D(1, 1, name=f"conv_{count}")(inputs)
        x = layers.BatchNormalization(name=f"norm_{count}")(x)
        x = layers.Conv2D(1, 1, name=f"kept_{count}", trainable=False)(x)
        return keras.Model(inputs, inner(x) if inner else x, name=f"model_{count}")

    def every_layer(model):
        for layer in model.layers:
            yield layer
            if isinstance(layer, keras.Model):
                yield from every_layer(layer)

    depths = {"a plain model": block(), "a model inside a model": block(block())}
    depths["a model inside a model inside a model"] = block(block(block()))
    for name, model in depths.items():
        answer(model)
        if not model.trainable:
            raise Hint(f"{name} is frozen as a whole; freeze its norms one by one.")
        found = list(every_layer(model))
        norms = [x for x in found if isinstance(x, layers.BatchNormalization)]
        others = [x for x in found if isinstance(x, layers.Conv2D)]
        frozen = [norm for norm in norms if not norm.trainable]
        if not frozen and name == "a plain model":
            raise NotYet("the function freezes nothing.")
        if inner := [
            x for x in found if isinstance(x, keras.Model) and not x.trainable
        ]:
            raise Hint(
                f"in {name}, {inner[0].name!r} is frozen with all that is in it. Only "
                "its norms should be."
            )
        kept = [layer for layer in others if layer.name.startswith("kept")]
        if freed := [layer.name for layer in kept if layer.trainable]:
            raise Hint(
                f"in {name}, the convolution {freed[0]!r} was frozen before, and "
                "trains now. Leave all other layers as they are."
            )
        if wrong := [x.name for x in others if x not in kept and not x.trainable]:
            raise Hint(f"in {name}, the convolution {wrong[0]!r} is frozen too.")
        if len(frozen) < len(norms):
            raise Hint(
                f"in {name}, {len(frozen)} of {len(norms)} norms are frozen. A model "
                "is a layer too: what do you do when you meet one?"
            )
    return (
        "a model is a layer with layers inside, so the function calls itself, and no "
        "depth can hide a norm from it."
    )


def curve_answer() -> dict:
    """Return what the recorded table says, as the answer of exercise 5.2."""

    def scores(name: str) -> dict[int, float]:
        (found,) = recorded.info(f"transfer-{name}")["results"].values()
        return {int(size): round(row["macro_f1"], 2) for size, row in found.items()}

    frozen, random = scores("frozen-imagenet"), scores("frozen-random")
    middle, tuned = scores("middle-imagenet"), scores("tuned-imagenet")
    return {
        "random needs": first(n for n in random if random[n] >= middle[6]),
        "tuning first helps": first(n for n in tuned if tuned[n] > frozen[n]),
        "more patients": round(frozen[90] - frozen[36], 2),
    }


def first(sizes) -> int | None:
    """Return the smallest of some sizes, None without any."""
    return min(sizes, default=None)


@exercise
def ch5_curve(answer: dict) -> str:
    """Exercise 5.2: three readings of the recorded learning curves."""
    right = curve_answer()
    answer = dictionary(answer, CURVE_KEYS, "...")
    needs, helps, more = (answer[key] for key in CURVE_KEYS)
    if needs != right["random needs"]:
        raise Hint(
            "random needs: take the score of middle-imagenet at 6 patients, and walk "
            "along the row frozen-random until a number is at least as high."
        )
    if helps != right["tuning first helps"]:
        raise Hint(
            "tuning first helps: compare tuned-imagenet with frozen-imagenet, size by "
            "size, from the left. Is there such a size?"
        )
    more = number(more, "more patients")
    if more > 1:
        raise Hint("more patients: macro-F1 runs from 0 to 1, not to 100.")
    if abs(more + right["more patients"]) < 0.006 < abs(right["more patients"]):
        raise Hint("more patients: later minus earlier; yours has the other sign.")
    if abs(more - right["more patients"]) > 0.005001:
        raise Hint("more patients: the row frozen-imagenet, 90 minus 36 patients.")
    ahead = (
        f" (Ahead as printed, with {helps}: in pairs, over patients, the difference's "
        "interval holds zero.)"
        if helps
        else ""
    )
    return (
        "read along a row, a curve says what more patients buy; read across, what a "
        f"better start buys.{ahead}"
    )


@exercise
def ch5_augment(answer: dict) -> str:
    """Exercise 5.3: whether the promise of an augmentation holds."""
    answer = dictionary(answer, AUGMENT, '"..."')
    for name, verdict in AUGMENT.items():
        given = str(answer[name]).strip().lower()
        if given not in AUGMENT.values():
            choices = ", ".join(f'"{v}"' for v in sorted(set(AUGMENT.values())))
            raise Hint(f"{name} is {given!r}; choose among {choices}.")
        if given != verdict:
            raise Hint(f"look at {name} again: {AUGMENT_HINTS[name]}")
    return "ask two questions of each change: could it have happened, and to whom?"
