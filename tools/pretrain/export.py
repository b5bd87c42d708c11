"""Write a backbone as the bundled file: float16, with its hash beside it."""

import keras
import numpy as np

from helpers import config, densenet


def export(backbone: keras.Model) -> None:
    """Write data/weights: Keras' own format, each weight as the nearest float16.

    Raises `CourseError` if a weight does not fit into float16.
    """
    small = [weight.astype(np.float16) for weight in backbone.get_weights()]
    if not all(np.isfinite(weight).all() for weight in small):
        raise config.CourseError("a weight is too large for float16.")
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float16")
    try:
        half = keras.applications.DenseNet121(
            include_top=False, weights=None, input_shape=(64, 64, 3)
        )
    finally:
        keras.config.set_dtype_policy(policy)
    half.set_weights(small)
    folder = config.ROOT / "data" / "weights"
    folder.mkdir(exist_ok=True)
    path = folder / densenet.BUNDLED_FILE
    half.save_weights(path)
    densenet.write_hash(path)
    print(f"{path}: {path.stat().st_size:,} bytes")
