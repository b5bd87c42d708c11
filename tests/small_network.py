"""A network of a DenseNet's parts that trains in a blink, and images for it."""

import keras
import numpy as np

SIDE = 32


def images_and_labels(num_images: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images of three classes, hard enough to overfit on."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, num_images)
    images = rng.integers(0, 150, (num_images, SIDE, SIDE))
    return (images + 30 * labels[:, None, None]).astype(np.uint8), labels


def small_backbone(weights: str = "none", pixels: int = SIDE) -> keras.Model:
    """Build it as `densenet.backbone` does, with weights from NumPy.

    Its boundaries: `first_pool`, `second_pool`; `inside` is none, since another path
    goes around it.
    """
    layers = keras.layers
    x = inputs = keras.Input((pixels, pixels, 3))
    for name in ("first", "second"):
        new = layers.BatchNormalization(name=f"{name}_bn")(x)
        new = layers.Activation("relu", name="inside" if name == "first" else None)(new)
        new = layers.Conv2D(4, 3, padding="same", name=f"{name}_conv")(new)
        x = layers.Concatenate()([x, new])
        x = layers.AveragePooling2D(2, name=f"{name}_pool")(x)
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            shape = layer.kernel.shape
            layer.kernel.assign(0.2 * rng.standard_normal(shape))
    return model
