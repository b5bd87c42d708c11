"""Batches: order and augmentation as functions of (seed, epoch, index).

Nothing here keeps a random state. Batch `b` of epoch `e` is the same whether training
came there straight, was resumed there, or asks for it alone; an image's augmentation is
the same whatever else is in its batch.
"""

from dataclasses import dataclass
from functools import lru_cache

import keras
import numpy as np
from keras import ops
from keras.applications import densenet

from helpers.config import BACKENDS, CourseError

if keras.backend.backend() not in BACKENDS:
    raise CourseError(
        f"Keras runs on {keras.backend.backend()!r}; expected {' or '.join(BACKENDS)}. "
        "Unset KERAS_BACKEND, and restart the kernel."
    )
# An old keras.json may ask for 16 bits, or for the channels first, and nobody knows.
if keras.config.floatx() != "float32":
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
keras.config.set_image_data_format("channels_last")

# A SeedSequence pads its entropy with zeros, so (seed, epoch) and (seed, epoch, 0) are
# one stream: each use of randomness puts its own number in front.
_ORDER, _AUGMENTATION, _NOISE, _MIXUP, _COPY = 1, 2, 3, 4, 5

PARAMETERS = (
    "rotation",  # degrees, counter-clockwise as seen
    "shift_x",  # to the right, as a fraction of the width
    "shift_y",  # down, as a fraction of the height
    "zoom",  # factor, above 1 enlarges
    "mirror",  # 1: left and right swapped
    "gain",  # factor of the intensities
    "gamma",  # exponent of the intensities in 0..1
    "noise",  # standard deviation, as a fraction of white
    "noise_x",  # where the noise pattern starts, fractions of its width
    "noise_y",  # and of its height
)


@dataclass(frozen=True)
class Recipe:
    """The largest changes an augmentation may make, all symmetric around none.

    `rotation` in degrees; `shift` as a fraction of the side; `zoom`, `gain`, `gamma` as
    factors (1.1: from 1/1.1 to 1.1); `noise` as a fraction of white; `mirror` as the
    share of images whose left and right are swapped.
    """

    rotation: float = 0.0
    shift: float = 0.0
    zoom: float = 1.0
    gain: float = 1.0
    gamma: float = 1.0
    noise: float = 0.0
    mirror: float = 0.0


_POSE = {"rotation": 10.0, "shift": 0.05, "zoom": 1.1}
_EXPOSURE = {"gain": 1.1, "gamma": 1.25, "noise": 0.02}

# The mirror is never part of another recipe: on a split that ignores mirrored twins it
# recreates test images, and on a sagittal slice it swaps front and back.
RECIPES = {
    "pose": Recipe(**_POSE),
    "exposure": Recipe(**_EXPOSURE),
    "pose and exposure": Recipe(**_POSE, **_EXPOSURE),
    "pose, exposure and mirror": Recipe(**_POSE, **_EXPOSURE, mirror=0.5),
}


def epoch_order(num_images: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order in which an epoch visits the images, int64 [num_images].

    A permutation of 0..num_images-1 that depends on the three arguments alone.
    """
    return np.random.default_rng((_ORDER, seed, epoch)).permutation(num_images)


def augmentation_parameters(indices, seed: int, epoch: int, recipe: str) -> np.ndarray:
    """Return how each image is changed in this epoch, float32 [n, len(PARAMETERS)].

    Row k is a function of (seed, epoch, indices[k], recipe) alone. All recipes draw the
    same numbers, so an image is turned by the same angle with and without the mirror.
    Raises `CourseError` for a recipe that is not in `RECIPES`.
    """
    if recipe not in RECIPES:
        raise CourseError(
            f"augmentation recipe {recipe!r}; expected one of {', '.join(RECIPES)}."
        )
    limit = RECIPES[recipe]
    uniform = np.array(
        [
            np.random.default_rng((_AUGMENTATION, seed, epoch, int(index))).random(10)
            for index in indices
        ]
    ).reshape(-1, 10)
    turn, right, down, near, flip, bright, dark, noise, *start = uniform.T
    columns = (
        limit.rotation * (2 * turn - 1),
        limit.shift * (2 * right - 1),
        limit.shift * (2 * down - 1),
        limit.zoom ** (2 * near - 1),
        flip < limit.mirror,
        limit.gain ** (2 * bright - 1),
        limit.gamma ** (2 * dark - 1),
        limit.noise * noise,
        *start,
    )
    return np.stack(columns, axis=1).astype(np.float32)


def unchanged(num_images: int) -> np.ndarray:
    """Return parameters that change nothing, float32 [num_images, len(PARAMETERS)]."""
    neutral = [1.0 if name in ("zoom", "gain", "gamma") else 0.0 for name in PARAMETERS]
    return np.tile(np.array(neutral, np.float32), (num_images, 1))


def augment(images, parameters):
    """Change grey images as `parameters` say; uint8 [n, h, w] in and out.

    `parameters` is [n, len(PARAMETERS)]. One affine transformation about the centre
    (bilinear, black outside), then `gain * x ** gamma`, then Rician noise: the
    magnitude of a signal with Gaussian noise in both channels (Gudbjartsson & Patz
    1995, doi 10.1002/mrm.1910340618). Made of `keras.ops` only, so it runs on the
    device and inside a model, on any backend.
    """
    height, width = images.shape[1:3]
    columns = ops.split(ops.cast(parameters, "float32"), len(PARAMETERS), axis=1)
    values = dict(zip(PARAMETERS, columns, strict=True))
    pixels = ops.cast(images, "float32")[..., None]
    pixels = ops.image.affine_transform(
        pixels, _output_to_input(values, height, width), data_format="channels_last"
    )
    values = {name: value[:, :, None] for name, value in values.items()}
    signal = ops.clip(pixels[..., 0] / 255, 0, 1)
    signal = values["gain"] * ops.power(signal, values["gamma"])
    noise = _noise(values, height, width) * values["noise"][..., None]
    magnitude = ops.sqrt((signal + noise[..., 0]) ** 2 + noise[..., 1] ** 2)
    return ops.cast(ops.round(255 * ops.clip(magnitude, 0, 1)), "uint8")


def _output_to_input(values: dict, height: int, width: int):
    """Return [n, 8] coefficients that send an output pixel to its input pixel."""
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    moved_x = centre_x + values["shift_x"] * width
    moved_y = centre_y + values["shift_y"] * height
    angle = values["rotation"] * (np.pi / 180)
    cosine, sine = ops.cos(angle) / values["zoom"], ops.sin(angle) / values["zoom"]
    sign = 1 - 2 * values["mirror"]
    input_x = (sign * cosine, -sign * sine)
    input_x += (centre_x - input_x[0] * moved_x - input_x[1] * moved_y,)
    input_y = (sine, cosine, centre_y - sine * moved_x - cosine * moved_y)
    flat = (ops.zeros_like(angle), ops.zeros_like(angle))  # no perspective
    return ops.concatenate((*input_x, *input_y, *flat), axis=1)


@lru_cache(maxsize=4)
def _noise_pattern(height: int, width: int) -> np.ndarray:
    """Return two channels of standard normal noise, float32 [height * width, 2]."""
    pattern = np.random.default_rng((_NOISE, height, width))
    return pattern.standard_normal((height * width, 2), dtype=np.float32)


def _noise(values: dict, height: int, width: int):
    """Return noise [n, h, w, 2]: one fixed pattern, started elsewhere for each image.

    Backends draw different random numbers from one seed; a shifted NumPy pattern is the
    same on all of them.
    """
    start_x = ops.cast(ops.floor(values["noise_x"] * width), "int32")
    start_y = ops.cast(ops.floor(values["noise_y"] * height), "int32")
    columns = (start_x + np.arange(width, dtype=np.int32)[None, None, :]) % width
    rows = (start_y + np.arange(height, dtype=np.int32)[None, :, None]) % height
    return ops.take(_noise_pattern(height, width), rows * width + columns, axis=0)


def preprocess(images, scale: str = "imagenet"):
    """Turn grey images into DenseNet's input, float32 [n, h, w, 3].

    `images`: grey [n, h, w] or [n, h, w, 1], 0..255, arrays or a model's tensors.
    Repeats the grey channel three times and applies `keras.applications.densenet`'s own
    `preprocess_input` (ImageNet's mean and standard deviation per channel): about -2.1
    (black) to 2.6 (white). `scale` "0 to 1" divides by 255 instead, as many tutorials
    do. Part of the model, so that only uint8 travels to the device.
    """
    if len(images.shape) == 3:
        images = ops.expand_dims(images, -1)
    colour = ops.repeat(ops.cast(images, "float32"), 3, axis=-1)
    if scale == "0 to 1":
        return colour / 255
    return densenet.preprocess_input(colour, data_format="channels_last")


class ImageBatches(keras.utils.PyDataset):
    """An endless stream of shuffled batches that can start at any batch of any epoch.

    `images` [n, ...] is a memory map or array (grey uint8 slices, or cached
    activations), `labels` [n]; `indices` are the rows to train on. Item k is
    (images[rows], labels[rows]) for the k-th batch after (`epoch`, `batch`); with a
    `recipe` it is ((images[rows], parameters), labels[rows]) for a model that calls
    `augment`; with `weights` [n] it ends in weights[rows].

    With `mixup`, each image, its label [n, k] and its weight are mixed with those of
    the next image in the epoch's order, in shares from Beta(mixup, mixup) (Zhang et al.
    2018, https://arxiv.org/abs/1710.09412); images stay uint8, rounded.

    With `groups` [n], an epoch shows each group once, through one of its images, drawn
    anew: in the long run each of a group's k images weighs 1 / k.

    All batches have `batch_size` images, since another shape would be compiled again;
    the few images left over at the end of an epoch's order wait for another epoch. With
    `gradient_accumulation_steps` an epoch is a whole number of that many batches. The
    stream has no end, so that no state decides which epoch it is: call
    `fit(batches, steps_per_epoch=batches.per_epoch, shuffle=False)`. It keeps Keras'
    default of one worker: a batch is one gather from memory, too little to share out.
    Raises `CourseError` if `indices` cannot fill one batch.
    """

    def __init__(
        self,
        images,
        labels,
        indices,
        batch_size,
        seed,
        epoch=0,
        batch=0,
        recipe=None,
        mixup=0.0,
        weights=None,
        gradient_accumulation_steps=1,
        groups=None,
    ):
        super().__init__()
        self.images, self.labels, self.weights = images, labels, weights
        self.indices = np.asarray(indices)
        self.batch_size, self.seed, self.recipe = batch_size, seed, recipe
        self.mixup, self.accumulation = mixup, gradient_accumulation_steps
        # What an epoch goes through: images or, drawn from, groups of them.
        self.units, self.sizes = self.indices, None
        if groups is not None:
            own = np.asarray(groups)[self.indices]
            self.members = self.indices[np.argsort(own, kind="stable")]
            _, starts, self.sizes = np.unique(
                np.sort(own), return_index=True, return_counts=True
            )
            self.units = starts
        whole = batch_size * self.accumulation
        self.per_epoch = len(self.units) // whole * self.accumulation
        if self.per_epoch == 0:
            raise CourseError(
                f"{len(self.units)} images cannot fill one batch of {whole}. "
                "Take more images or a smaller batch_size."
            )
        self.first = epoch * self.per_epoch + batch

    @property
    def num_batches(self) -> None:
        """Tell Keras that the stream has no end."""
        return None

    def position(self, item: int) -> tuple[int, int]:
        """Return the (epoch, batch) of the item-th batch of this stream."""
        return divmod(self.first + item, self.per_epoch)

    def rows(self, item: int) -> np.ndarray:
        """Return which images are in the item-th batch, int64 [batch_size]."""
        epoch, batch = self.position(item)
        order = self._order(epoch)
        return order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def __getitem__(self, item: int):
        rows, (epoch, batch) = self.rows(item), self.position(item)
        parts = [self.images, self.labels]
        if self.weights is not None:
            parts.append(self.weights)
        if self.mixup:
            start = batch * self.batch_size + 1
            others = np.roll(self._order(epoch), -start)[: self.batch_size]
            share = self._shares(rows, epoch)
            parts = [_mix(part[rows], part[others], share) for part in parts]
        else:
            parts = [part[rows] for part in parts]
        if self.recipe is not None:
            changes = augmentation_parameters(rows, self.seed, epoch, self.recipe)
            parts[0] = (parts[0], changes)
        return tuple(parts)

    def _shares(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        """Return how much of each image stays when it is mixed, float32 [n]."""
        seeds = [(_MIXUP, self.seed, epoch, int(row)) for row in rows]
        drawn = [np.random.default_rng(s).beta(self.mixup, self.mixup) for s in seeds]
        return np.array(drawn, np.float32)

    def _order(self, epoch: int) -> np.ndarray:
        order = epoch_order(len(self.units), self.seed, epoch)
        if self.sizes is None:
            return self.units[order]
        drawn = np.random.default_rng((_COPY, self.seed, epoch)).random(len(order))
        copies = self.units + (drawn * self.sizes).astype(int)
        return self.members[copies[order]]


def _mix(one: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share.reshape(-1, *[1] * (one.ndim - 1))
    mixed = share * one + (1 - share) * other
    return (np.rint(mixed) if one.dtype.kind in "iu" else mixed).astype(one.dtype)
