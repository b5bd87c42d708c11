"""One of several processes that train one model on JAX, as several machines would.

`python tests/two_processes.py NUMBER COUNT PORT` prints the losses of three epochs. Run
by test_several_machines.py, with every NUMBER below COUNT at once.
"""

import json
import os
import sys

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np

BATCH_SIZE = 16


def main(number: int, count: int, port: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((64, 8)).astype(np.float32)
    labels = rng.integers(0, 3, 64)
    if count > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")  # CPUs only
        keras.distribution.initialize(f"127.0.0.1:{port}", count, number)
        # Keras would shard a tf.data.Dataset only, so each process brings its share.
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(auto_shard_dataset=False)
        )
        images, labels = (
            a.reshape(-1, count, BATCH_SIZE // count, *a.shape[1:])[:, number]
            for a in (images, labels)
        )
        images, labels = images.reshape(-1, 8), labels.ravel()
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(16, "relu"), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((8,)), *layers])
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(
        images,
        labels,
        batch_size=BATCH_SIZE // count,
        epochs=3,
        shuffle=False,
        verbose=0,
    ).history
    print(json.dumps({"devices": jax.device_count(), "loss": history["loss"]}))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
