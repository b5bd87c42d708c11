"""A training as data: what `helpers.training.fit_plan` carries out, and nothing else.

Needs no network library, so a plan can be read, compared and committed anywhere.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from helpers.config import SEED, CourseError

_CHOICES = {
    "schedule": ("cosine", "constant"),
    "augmentation": (
        None,
        "pose",
        "exposure",
        "pose and exposure",
        "pose, exposure and mirror",
    ),
    "preprocessing": ("imagenet", "0 to 1"),
    "batch_norm": ("frozen", "training"),
    "weighting": ("none", "group", "draw"),
    "mirror": (None, "in training", "in prediction", "in both"),
    "precision": ("float32", "mixed_float16", "mixed_bfloat16"),
}


@dataclass(frozen=True)
class Stage:
    """One part of a training: what may change in it, for how long, and how fast.

    `name`: for people and file names. `boundary`: everything up to this layer is
    frozen; "backbone" (only the head trains), "input" (everything trains), or a layer
    of DenseNet121 such as "pool4_pool" (the last dense block and the head train).

    `learning_rate`: the highest one. `schedule`: "cosine" (a straight rise over the
    share `warmup` of all steps, then half a cosine wave down to zero) or "constant".

    `augmentation`: a recipe of `helpers.batches.RECIPES`, or None; without one the
    frozen part's output is computed once and cached. `patience`: end after so many
    epochs without a lower validation loss, and go back to the best epoch; with
    `num_epochs` or more it only picks the best epoch, with None the last epoch counts.
    """

    name: str
    boundary: str
    num_epochs: int
    learning_rate: float
    schedule: str = "cosine"
    warmup: float = 0.1
    augmentation: str | None = None
    patience: int | None = None

    def __post_init__(self):
        _check(
            self, "name", isinstance(self.name, str) and _plain(self.name), "a-z0-9-"
        )
        _check(self, "boundary", bool(self.boundary), "the name of a layer")
        _check(self, "num_epochs", _whole(self.num_epochs), "1 or more")
        _check(self, "learning_rate", self.learning_rate > 0, "above 0")
        _check(self, "warmup", 0 <= self.warmup < 1, "0 or more and below 1")
        patient = self.patience is None or _whole(self.patience)
        _check(self, "patience", patient, "1 or more, or null")
        _check_choices(self)


@dataclass(frozen=True)
class Plan:
    """A whole training, apart from the images and the weights it starts from.

    `stages` in order; each goes on from the weights that the one before has left.
    `pixels`: side of the images. `preprocessing`: "imagenet" (DenseNet's own) or "0 to
    1" (a 255th). `batch_norm`: "frozen" (inference mode everywhere) or "training" (what
    lies behind the boundary trains, and follows the batches).

    The head: features less their mean and divided by one common scale if `centring`,
    Dropout, one dense layer.

    `batch_size`: images on the device at a time; `gradient_accumulation_steps`: so many
    batches make one step of AdamW, so half the batch size with twice the accumulation
    is the same training in less memory (but for BatchNorm in training mode, which sees
    the smaller batches). `weight_decay`: AdamW's. `label_smoothing`:
    share of the label that is spread over all classes. `mixup`: alpha of the Beta
    distribution that two images are mixed with, 0 for none (Zhang et al. 2018).
    `weighting`: "none", "group" (an image counts 1 / size of its group) or "draw" (an
    epoch shows each group once, through one of its images, drawn anew). `mirror`: every
    image is there a second time, left and right swapped; in training an epoch shows one
    of the two, drawn anew; in prediction the two answers are averaged. Unlike the
    mirror of an augmentation it leaves cached activations possible. `ema`:
    momentum of a running average of the weights, which is then validated and kept in
    place of the last weights; None for none. `precision`: "float32", "mixed_float16",
    "mixed_bfloat16". `seed` decides the head's first weights, the order of the images,
    their augmentation and Dropout.
    """

    stages: tuple[Stage, ...]
    pixels: int = 224
    preprocessing: str = "imagenet"
    batch_norm: str = "frozen"
    centring: bool = True
    dropout: float = 0.2
    batch_size: int = 32
    gradient_accumulation_steps: int = 1
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    mixup: float = 0.0
    weighting: str = "none"
    mirror: str | None = None
    ema: float | None = None
    precision: str = "float32"
    seed: int = field(default=SEED)

    def __post_init__(self):
        stages = tuple(self.stages)
        object.__setattr__(self, "stages", stages)
        names = [stage.name for stage in stages if isinstance(stage, Stage)]
        distinct = len(set(names)) == len(stages) > 0
        _check(self, "stages", distinct, "one Stage or more, no name twice")
        _check(self, "pixels", _whole(self.pixels, 32), "32 or more")
        _check(self, "centring", isinstance(self.centring, bool), "true or false")
        _check(self, "batch_size", _whole(self.batch_size), "1 or more")
        accumulated = _whole(self.gradient_accumulation_steps)
        _check(self, "gradient_accumulation_steps", accumulated, "1 or more")
        for name in ("dropout", "label_smoothing"):
            _check(self, name, 0 <= getattr(self, name) < 1, "0 or more and below 1")
        for name in ("weight_decay", "mixup"):
            _check(self, name, getattr(self, name) >= 0, "0 or more")
        averaged = self.ema is None or 0 < self.ema < 1
        _check(self, "ema", averaged, "between 0 and 1, or null")
        drawn = self.weighting != "group" or not self.trains_mirrored
        _check(self, "weighting", drawn, "none or draw, as mirror is in training")
        _check(self, "seed", _whole(self.seed, 0), "0 or more")
        _check_choices(self)

    @property
    def trains_mirrored(self) -> bool:
        """Whether an epoch may show an image mirrored."""
        return self.mirror in ("in training", "in both")

    @property
    def predicts_mirrored(self) -> bool:
        """Whether a prediction is the mean over an image and its mirror image."""
        return self.mirror in ("in prediction", "in both")

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; `Plan.from_dict` makes an equal plan of it."""
        return asdict(self) | {"stages": [asdict(stage) for stage in self.stages]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Plan":
        """Make a plan of what `as_dict` returned or JSON held; left out is default.

        Raises `CourseError` for an unknown or missing name, or a value out of range.
        """
        stages = tuple(_make(Stage, stage) for stage in values.get("stages", ()))
        return _make(cls, values | {"stages": stages})

    def to_json(self) -> str:
        """Return the plan as text for people, files and hashes, one value a line."""
        return json.dumps(self.as_dict(), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Make a plan of the text that `to_json` returned."""
        return cls.from_dict(json.loads(text))


def _make(kind: type, values: dict[str, Any]):
    known = [f.name for f in fields(kind)]
    if unknown := sorted(set(values) - set(known)):
        raise CourseError(
            f"{kind.__name__}: {unknown[0]!r} is not part of it; expected "
            f"{', '.join(known)}."
        )
    try:
        return kind(**values)
    except TypeError as error:  # a missing name, or a value that cannot be compared
        raise CourseError(f"{kind.__name__} cannot be made: {error}.") from None


def _check(thing, name: str, right: bool, expected: str) -> None:
    if not right:
        raise CourseError(
            f"{type(thing).__name__}: {name} is {getattr(thing, name)!r}; expected "
            f"{expected}."
        )


def _check_choices(thing) -> None:
    for name in [f.name for f in fields(thing) if f.name in _CHOICES]:
        choices = _CHOICES[name]
        expected = f"one of {', '.join(map(json.dumps, choices))}"
        _check(thing, name, getattr(thing, name) in choices, expected)


def _whole(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _plain(name: str) -> bool:
    return bool(name) and not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789-")
