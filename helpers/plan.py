"""A training as data: what `helpers.training.fit_plan` carries out, and nothing else.

Needs no network library, so a plan can be read, compared and committed anywhere.
"""

import json
import math
from dataclasses import asdict, dataclass, field, fields
from numbers import Real
from typing import Any

from helpers.config import SEED, CourseError

_SEEDS = 2**32  # NumPy and Keras take no larger one
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
        named = isinstance(self.name, str) and _plain(self.name)
        _check(self, "name", named, "a-z0-9-")
        layer = isinstance(self.boundary, str) and bool(self.boundary)
        _check(self, "boundary", layer, "the name of a layer")
        _check(self, "num_epochs", _whole(self.num_epochs), "1 or more")
        rate = _real(self.learning_rate) and self.learning_rate > 0
        _check(self, "learning_rate", rate, "above 0")
        share = _real(self.warmup) and 0 <= self.warmup < 1
        _check(self, "warmup", share, "0 or more and below 1")
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
        in_order = isinstance(self.stages, list | tuple)
        stages = tuple(self.stages) if in_order else self.stages
        object.__setattr__(self, "stages", stages)
        names = in_order and [s.name for s in stages if isinstance(s, Stage)]
        distinct = in_order and len(set(names)) == len(stages) > 0
        _check(self, "stages", distinct, "one Stage or more, no name twice")
        _check(self, "pixels", _whole(self.pixels, 32), "32 or more")
        _check(self, "centring", isinstance(self.centring, bool), "true or false")
        _check(self, "batch_size", _whole(self.batch_size), "1 or more")
        accumulated = _whole(self.gradient_accumulation_steps)
        _check(self, "gradient_accumulation_steps", accumulated, "1 or more")
        for name in ("dropout", "label_smoothing"):
            value = getattr(self, name)
            share = _real(value) and 0 <= value < 1
            _check(self, name, share, "0 or more and below 1")
        for name in ("weight_decay", "mixup"):
            value = getattr(self, name)
            _check(self, name, _real(value) and value >= 0, "0 or more")
        averaged = self.ema is None or (_real(self.ema) and 0 < self.ema < 1)
        _check(self, "ema", averaged, "between 0 and 1, or null")
        _check_choices(self)
        drawn = self.weighting != "group" or not self.trains_mirrored
        _check(self, "weighting", drawn, "none or draw, as mirror is in training")
        seed = _whole(self.seed, 0) and self.seed < _SEEDS
        _check(self, "seed", seed, f"0 or more and below {_SEEDS}")

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

        Raises `CourseError` for an unknown or missing name, or for a value of another
        type or out of range.
        """
        stages = values.get("stages", ()) if isinstance(values, dict) else ()
        if isinstance(stages, list | tuple):
            stages = tuple(_make(Stage, stage) for stage in stages)
        return _make(cls, values, stages=stages)

    def to_json(self) -> str:
        """Return the plan as text for people, files and hashes, one value a line."""
        return json.dumps(self.as_dict(), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Make a plan of the text that `to_json` returned.

        Raises `CourseError` as `from_dict`, for text that is not JSON, and for a name
        that stands there twice: JSON's readers keep the last one without a word.
        """
        try:
            values = json.loads(text, object_pairs_hook=_once)
        except (ValueError, TypeError, RecursionError) as error:
            raise CourseError(f"a plan cannot be read as JSON: {error}") from None
        return cls.from_dict(values)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise CourseError(f"a plan holds {twice[0]!r} twice; keep one of the two.")
    return dict(pairs)


def _make(kind: type, values: dict[str, Any], **changed):
    known = [f.name for f in fields(kind)]
    if not isinstance(values, dict):
        raise CourseError(
            f"{kind.__name__} is {values!r}; expected names with values, such as "
            f"{', '.join(known[:3])}."
        )
    if unknown := [name for name in values if name not in known]:
        raise CourseError(
            f"{kind.__name__}: {unknown[0]!r} is not part of it; expected "
            f"{', '.join(known)}."
        )
    try:
        return kind(**values | changed)
    except TypeError as error:  # a missing name
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


def _real(value: Any) -> bool:
    try:
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        return is_number and math.isfinite(value)
    except OverflowError:  # a whole number of more than 300 digits
        return False


def _plain(name: str) -> bool:
    return bool(name) and not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789-")
