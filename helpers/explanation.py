"""Maps of what a network's answer hangs on, and scores for them: chapter 11's tools.

A map is float32 [height, width], 0 or more, larger where the answer hangs on the image
more. A map alone proves nothing: each score belongs beside the same score of maps that
know nothing of the network (`centre_blob`, `edges`) or of the image.
"""

from collections.abc import Callable

import keras
import numpy as np
from scipy import ndimage

from helpers.config import CourseError


def logits_of(model: keras.Model) -> keras.Model:
    """Return a model that shares all weights and ends before the softmax.

    `model`: functional, its last layer a dense one. Gradients of probabilities vanish
    where the network is sure; those of logits do not.
    """
    last = model.layers[-1]
    if not isinstance(last, keras.layers.Dense):
        raise CourseError(
            f"the model ends with {type(last).__name__}; expected a Dense layer, whose "
            "input gives the logits."
        )
    dense = keras.layers.Dense(last.units, dtype="float32", name="logits")
    ended = keras.Model(model.input, dense(last.input))
    dense.set_weights(last.get_weights())
    return ended


def grad_cam(
    model: keras.Model, images: np.ndarray, classes: np.ndarray, layer: str
) -> np.ndarray:
    """Return Grad-CAM maps, float32 [n, height, width], as large as the images.

    `images`: what the model takes, [n, height, width, ...]; `classes`: int [n], whose
    logit is explained; `layer`: of `model`, which is functional and not nested, with
    output [n, h, w, channels]. Method: Selvaraju et al. 2017: the channels' mean
    gradients weigh the channels, what is negative is cut, and the rest is enlarged.
    """
    ended = logits_of(model)
    try:
        maps = ended.get_layer(layer).output
    except ValueError:
        known = [x.name for x in ended.layers if len(x.output.shape) == 4]
        raise CourseError(
            f"no layer {layer!r} whose output is a map; there are {', '.join(known)}."
        ) from None
    both = keras.Model(ended.input, [maps, ended.output])
    values, gradients = _gradients(both, images, np.asarray(classes))
    weights = gradients.mean(axis=(1, 2), keepdims=True)
    return enlarged(np.maximum((weights * values).sum(axis=-1), 0), images.shape[1:3])


def _gradients(both: keras.Model, images, classes) -> tuple[np.ndarray, np.ndarray]:
    """Return a layer's output and the gradient of each image's logit, as float32."""
    if keras.backend.backend() != "tensorflow":
        raise CourseError(
            f"gradients are taken with TensorFlow; the backend is "
            f"{keras.backend.backend()}. Set KERAS_BACKEND=tensorflow."
        )
    import tensorflow as tf

    found = []
    for start in range(0, len(images), 16):
        rows = slice(start, start + 16)
        with tf.GradientTape() as tape:
            values, logits = both(tf.convert_to_tensor(images[rows]), training=False)
            chosen = tf.gather(logits, classes[rows], axis=1, batch_dims=1)
        gradients = tape.gradient(chosen, values)
        found.append([np.asarray(x, np.float32) for x in (values, gradients)])
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def enlarged(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return maps [n, h, w] resized to `size`, bilinear, float32 [n, height, width]."""
    wide = keras.ops.image.resize(
        maps[..., None].astype(np.float32), size, interpolation="bilinear"
    )
    return keras.ops.convert_to_numpy(wide)[..., 0]


def occlusion(
    predict: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    classes: np.ndarray,
    patch: int,
    fill: int = 0,
) -> np.ndarray:
    """Return how much each image's class loses where a patch covers it, [n, h, w].

    `predict`: images [m, height, width] to probabilities [m, k]; `patch`: side of the
    square in pixels, moved by half its side; `fill`: the grey that covers. What a
    pixel gets is the mean over all patches that cover it; gains are cut at 0. Needs no
    gradient (Zeiler & Fergus 2014).
    """
    height, width = images.shape[1:3]
    rows = np.arange(len(images))
    before = predict(images)[rows, classes]
    lost, times = np.zeros(images.shape[:3], np.float32), np.zeros((height, width))
    step = max(patch // 2, 1)
    for top in range(0, height, step):
        for left in range(0, width, step):
            covered = images.copy()
            place = slice(top, top + patch), slice(left, left + patch)
            covered[:, *place] = fill
            drop = before - predict(covered)[rows, classes]
            lost[:, *place] += drop[:, None, None]
            times[place] += 1
    return np.maximum(lost / times, 0).astype(np.float32)


# --- maps that know nothing -----------------------------------------------------------


def centre_blob(size: tuple[int, int], width: float = 0.25) -> np.ndarray:
    """Return a Gaussian at the middle, float32 [height, width].

    `width`: its standard deviation as a share of each side.
    """
    y, x = (np.linspace(-0.5, 0.5, side) for side in size)
    return np.exp(-(y[:, None] ** 2 + x**2) / (2 * width**2)).astype(np.float32)


def edges(images: np.ndarray) -> np.ndarray:
    """Return how strongly the grey changes, float32 [n, height, width]."""
    smooth = ndimage.gaussian_filter(images.astype(np.float32), (0, 1.5, 1.5))
    return np.hypot(ndimage.sobel(smooth, axis=1), ndimage.sobel(smooth, axis=2))


# --- scores ---------------------------------------------------------------------------


def head_masks(images: np.ndarray) -> np.ndarray:
    """Return where the head is, without the ground, Boolean [n, height, width].

    Pixels above a tenth of the image's 99th percentile, with what they enclose.
    """
    bright = images > 0.1 * np.percentile(images, 99, axis=(1, 2), keepdims=True)
    return np.stack([ndimage.binary_fill_holes(one) for one in bright])


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Tell for each map whether its highest point lies on the lesion, Boolean [n].

    `maps`, `masks` (0/1): [n, height, width]. A map that is flat points nowhere: False.
    Zhang et al. 2016.
    """
    flat = maps.reshape(len(maps), -1)
    on = np.take_along_axis(
        masks.reshape(len(masks), -1) > 0, flat.argmax(axis=1)[:, None], axis=1
    )[:, 0]
    return on & (np.ptp(flat, axis=1) > 0)


def times_chance(maps: np.ndarray, masks: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Return how many times chance a map's mass lies in the lesion, float64 [n].

    The share of the map's mass within the head that lies on the lesion, over the share
    of the head that the lesion covers. 1: no more than anywhere; NaN without mass or
    lesion. `maps`, `masks` (0/1), `heads` (Boolean): [n, height, width].
    """
    inside = heads | (masks > 0)
    lesion = (masks > 0).sum(axis=(1, 2)) / inside.sum(axis=(1, 2))
    mass = (maps * inside).sum(axis=(1, 2), dtype=float)
    on = (maps * (masks > 0)).sum(axis=(1, 2), dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = on / mass / lesion
    return np.where((mass > 0) & (lesion > 0), found, np.nan)
