"""Carry out one plan on this backend, in three ways, and print what came of it.

On one device, on two, and with the memory full in between. Run as a program by
test_fit_plan.py, once a backend, since Keras has one backend a process:
`KERAS_BACKEND=jax python tests/plan_runner.py FOLDER one two resumed`.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"  # for JAX

import keras
import numpy as np
from small_network import SIDE, images_and_labels, small_backbone

from helpers import checkpoint, training
from helpers.config import CourseError
from helpers.plan import Plan, Stage

# Without Dropout, whose random numbers are each backend's own.
PLAN = Plan(
    (
        Stage("head", "backbone", 2, 1e-2),
        Stage("tail", "first_pool", 2, 1e-2),
        Stage("all", "input", 2, 1e-3, augmentation="pose and exposure", patience=2),
    ),
    pixels=SIDE,
    batch_size=8,
    dropout=0.0,
    label_smoothing=0.05,
    mixup=0.2,
    ema=0.9,
    weighting="group",
)
FIT, VAL = np.arange(48), np.arange(48, 60)


def carry_out(plan: Plan, folder: Path, **settings) -> training.Trained:
    """Carry out a plan on the small network."""
    images, labels = images_and_labels()
    settings = {"groups": np.arange(60) // 3, "weights": "none"} | settings
    settings |= {"build": small_backbone}
    return training.fit_plan(plan, images, labels, FIT, VAL, folder, **settings)


def memory_error() -> Exception:
    """Return what this backend raises when the device's memory is full."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory allocating 2147483648 bytes."
        )
    import tensorflow as tf

    text = "OOM when allocating tensor with shape[32,56,56,128] and type float on GPU:0"
    return tf.errors.ResourceExhaustedError(None, None, text)


def interrupted(folder: Path) -> tuple[str, training.Trained]:
    """Let memory run full, do as the message says; return (message, result)."""
    after_batch = checkpoint.Checkpoint.on_train_batch_end

    def fill_memory(self, batch, logs=None):
        after_batch(self, batch, logs)
        if self.path.name == "3-all.npz" and self.item == 3:
            raise memory_error()

    checkpoint.Checkpoint.on_train_batch_end = fill_memory
    message = ""
    try:
        carry_out(PLAN, folder, every=2)
    except CourseError as error:
        message = str(error)
    checkpoint.Checkpoint.on_train_batch_end = after_batch
    smaller = dataclasses.replace(PLAN, batch_size=4, gradient_accumulation_steps=2)
    return message, carry_out(smaller, folder, every=2)


def described(trained: training.Trained) -> dict:
    """Return the history and what both ways to predict agree on."""
    images = images_and_labels()[0][VAL]
    joined = trained.model.predict(images, verbose=0)
    np.testing.assert_allclose(trained.predict(VAL), joined, atol=1e-5)
    return trained.history | {"probabilities": joined.tolist()}


def main(folder: Path, ways: list[str]) -> None:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        devices = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, devices)
    result = {}
    if "one" in ways:
        result["one"] = described(carry_out(PLAN, folder / "one"))
    if "two" in ways:
        two = carry_out(PLAN, folder / "two", devices=["cpu:0", "cpu:1"])
        result["two"] = described(two)
    if "resumed" in ways:
        result["message"], resumed = interrupted(folder / "full")
        result["resumed"] = described(resumed)
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
