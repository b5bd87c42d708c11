"""Where training starts: drawn filters, and BatchNorm statistics of real activations.

A network with random filters usually keeps BatchNorm's mean 0 and variance 1, which
are nobody's. Measuring them on some images is nearly free.
"""

import keras
import numpy as np

from helpers import batches, densenet

NUM_MEASURED = 1024
SOFT = 0.1  # of the mean variance, added before whitening


def untrained(init: str, pixels: int, seed: int) -> keras.Model:
    """Return DenseNet121 with drawn filters: he, orthogonal, or gabor (+ orthogonal).

    BatchNorm statistics are still 0 and 1: see `measure_norms`.
    """
    model = densenet.backbone("none", pixels)
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Conv2D) or (init == "he" and not seed):
            continue
        shape = layer.kernel.shape
        if init == "he":
            kernel = np.sqrt(2 / np.prod(shape[:-1])) * rng.standard_normal(shape)
        elif init == "gabor" and shape[0] == 7:
            kernel = _gabors(shape, rng)
        else:
            kernel = _orthogonal(shape, rng)
        layer.kernel.assign(kernel.astype(np.float32))
    return model


def _orthogonal(shape, rng) -> np.ndarray:
    """Return orthogonal filters of He's scale (Saxe et al. 2014, arXiv:1312.6120)."""
    fan_in, count = int(np.prod(shape[:-1])), shape[-1]
    drawn = rng.standard_normal((max(fan_in, count), min(fan_in, count)))
    basis = np.linalg.qr(drawn).Q
    basis = basis if fan_in >= count else basis.T
    return (
        np.sqrt(2 / min(fan_in, count))
        * basis.reshape(shape)
        * np.sqrt(count / max(fan_in, count) if fan_in < count else 1)
    )


def _gabors(shape, rng) -> np.ndarray:
    """Return grey Gabor filters and blobs for the first layer, [7, 7, 3, 64]."""
    y, x = np.mgrid[-3:4, -3:4]
    kernel = np.empty(shape)
    for k in range(shape[-1]):
        angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
        length, spread = rng.uniform(2.5, 12), rng.uniform(1.0, 2.6)
        along = x * np.cos(angle) + y * np.sin(angle)
        wave = np.cos(2 * np.pi * along / length + phase)
        one = wave * np.exp(-(x**2 + y**2) / (2 * spread**2))
        if k % 8:
            one -= one.mean()
        kernel[..., k] = (one / np.linalg.norm(one))[..., None]
    return kernel / np.sqrt(shape[2])


def norms_of(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]


def measure_norms(model: keras.Model, images: np.ndarray, batch_size: int = 64) -> None:
    """Set every BatchNorm's mean and variance to what `images` uint8 give, in place.

    In training mode each layer sees the activations that the batch's own statistics
    give; the statistics of all batches are then averaged.
    """
    layers = norms_of(model)
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0  # the moving statistics become the batch's

    function = keras.Model(model.input, model.output)
    sums = [0.0] * (2 * len(layers))
    starts = range(0, len(images) - batch_size + 1, batch_size)
    import tensorflow as tf

    step = tf.function(lambda x: function(x, training=True))
    for start in starts:
        step(batches.preprocess(images[start : start + batch_size]))
        now = [np.array(v) for x in layers for v in (x.moving_mean, x.moving_variance)]
        sums = [a + b / len(starts) for a, b in zip(sums, now, strict=True)]
    for number, layer in enumerate(layers):
        layer.moving_mean.assign(sums[2 * number])
        layer.moving_variance.assign(sums[2 * number + 1])
        layer.momentum = before[number]


def settle(
    model: keras.Model,
    images: np.ndarray,
    exemplars: np.random.Generator | None = None,
) -> None:
    """Go through the layers once, in order, and measure on `images` what each gets.

    Every BatchNorm gets the mean and variance of its input. With `exemplars`, every
    convolution also gets filters that answer to patches drawn from its input (see
    `exemplar_filters`) before the next layer is looked at. In place; no gradient, no
    target, one forward pass. `images`: uint8 [n, pixels, pixels].
    """
    waiting = {}
    for layer in model.layers:
        for source in _sources(layer):
            waiting[source] = waiting.get(source, 0) + 1
    values = {}
    for layer in model.layers:
        inputs = [values[source] for source in _sources(layer)]
        if not inputs:
            values[layer.name] = np.asarray(batches.preprocess(images))
            continue
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(inputs[0].mean((0, 1, 2), dtype=np.float64))
            layer.moving_variance.assign(inputs[0].var((0, 1, 2), dtype=np.float64))
        if exemplars is not None and isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(exemplar_filters(inputs[0], layer, exemplars))
        parts = []
        for first in range(0, len(images), 64):
            part = [i[first : first + 64] for i in inputs]
            parts.append(np.asarray(layer(part if len(part) > 1 else part[0])))
        values[layer.name] = np.concatenate(parts)
        for source in _sources(layer):
            waiting[source] -= 1
            if not waiting[source]:
                del values[source]


def _sources(layer) -> list[str]:
    """Return the names of the layers whose outputs a layer takes."""
    return [
        tensor._keras_history.operation.name
        for node in layer._inbound_nodes[:1]
        for tensor in node.input_tensors
    ]


def exemplar_filters(inputs: np.ndarray, layer, rng) -> np.ndarray:
    """Return a convolution's filters: whitened patches of its own input.

    Random patches do nearly as well as learned ones where training is not at hand
    (Coates and Ng 2011, ICML); as a start for training see Krahenbuehl et al. 2016
    (arXiv:1511.06856). A filter is the patch seen through the inverse covariance, of
    length one in the whitened space.
    """
    height, width, channels, count = layer.kernel.shape
    rows = rng.integers(0, len(inputs), 4096)
    top = rng.integers(0, inputs.shape[1] - min(height, inputs.shape[1]) + 1, 4096)
    left = rng.integers(0, inputs.shape[2] - min(width, inputs.shape[2]) + 1, 4096)
    patches = np.zeros((4096, height, width, channels), np.float32)
    for k, (row, y, x) in enumerate(zip(rows, top, left, strict=True)):
        patch = inputs[row, y : y + height, x : x + width]
        patches[k, : patch.shape[0], : patch.shape[1]] = patch
    flat = patches.reshape(4096, -1)
    flat = flat - flat.mean(0)
    spread, basis = np.linalg.eigh(flat.T @ flat / len(flat))
    spread = np.maximum(spread, 0)
    scale = 1 / np.sqrt(spread + SOFT * spread.mean())
    white = (flat @ basis) * scale
    length = np.linalg.norm(white, axis=1)
    # Empty background is everywhere: patches with something in them come first.
    chance = length / length.sum()
    chosen = white[rng.choice(len(white), count, replace=False, p=chance)]
    chosen /= np.linalg.norm(chosen, axis=1, keepdims=True)
    return (basis @ (scale * chosen).T).reshape(height, width, channels, count)
