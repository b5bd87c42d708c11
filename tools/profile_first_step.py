"""Where the first training step of DenseNet121 spends its time, and what shortens it.

    python tools/profile_first_step.py [--pixels 64] [--part tail]

On a CPU, the first step takes many times as long as the next. Each row below is
measured in a process of its own: the first step, how much of it was Python tracing the
step into a graph and how often that happened, a later step, and a prediction. Seconds
are wall clock and, as other programs disturb these, seconds of CPU time.

What it shows (TensorFlow 2.21, Keras 3.15, two cores): Keras creates the optimizer's
and the metrics' variables while the step is traced, so TensorFlow traces everything
twice. `helpers.checkpoint.create_variables` creates them before. What remains is mostly
Python building the graph, an operation at a time. BatchNormalization in training mode
about doubles the graph. XLA multiplies the wait. Grappler, TensorFlow's graph
optimizer, is about a fifth of what remains. It stays on: its switch is experimental and
works on everything in the process, also where fused operations and layouts pay off.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

BATCH_SIZE = 32
ROWS = {
    "Keras alone": {},
    "variables created before": {"before": True},
    "the same, without Grappler": {"before": True, "grappler": False},
    "the same, BatchNorm training": {"before": True, "norms": True},
    "the same, with XLA": {"before": True, "xla": True},
}


def clocks() -> np.ndarray:
    """Return the time now: seconds on the wall, and of CPU time of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def measure(
    part: str, pixels: int, before=False, grappler=True, norms=False, xla=False
) -> dict:
    """Time the steps of one variant; seconds as [wall, CPU]."""
    import keras
    import tensorflow as tf

    from helpers import batches, checkpoint, densenet

    if not grappler:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    backbone = keras.applications.DenseNet121(
        include_top=False, weights=None, input_shape=(pixels, pixels, 3)
    )
    if not norms:
        densenet.set_frozen(backbone, backbone.layers[0].name)
    body = densenet.split_at(backbone, "pool4_pool")[1] if part == "tail" else backbone
    pooled = keras.layers.GlobalAveragePooling2D()(body.output)
    model = keras.Model(body.input, keras.layers.Dense(4, activation="softmax")(pooled))
    loss = "sparse_categorical_crossentropy"
    model.compile("adam", loss, metrics=["accuracy"], jit_compile=xla)

    rng = np.random.default_rng(0)
    inputs = rng.random((BATCH_SIZE, *body.input_shape[1:]), dtype=np.float32)
    labels = rng.integers(0, 4, BATCH_SIZE)
    traces, step = [], model.train_step

    def traced(data):
        start = clocks()
        result = step(data)
        traces.append(clocks() - start)
        return result

    model.train_step = traced
    steps = []
    for _ in range(4):
        start = clocks()
        if before and not steps:
            stream = batches.ImageBatches(
                inputs, labels, range(BATCH_SIZE), BATCH_SIZE, 0
            )
            checkpoint.create_variables(model, stream)
        model.train_on_batch(inputs, labels)
        steps.append(clocks() - start)
    predictions = []
    for _ in range(4):
        start = clocks()
        model.predict_on_batch(inputs)
        predictions.append(clocks() - start)
    return {
        "first": steps[0].tolist(),
        "tracing": sum(traces).tolist(),
        "traces": len(traces),
        "later": np.min(steps[1:], axis=0).tolist(),
        "prediction": np.min(predictions[1:], axis=0).tolist(),
    }


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--part", choices=["tail", "full"], default="tail")
    parser.add_argument("--row", choices=list(ROWS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.row:
        print(json.dumps(measure(asked.part, asked.pixels, **ROWS[asked.row])))
        return 0
    print(
        f"First training step of DenseNet121 ({asked.part}) on {BATCH_SIZE} images of "
        f"{asked.pixels} px, {os.cpu_count()} cores. Seconds: wall (CPU).\n"
    )
    columns = ("first", "tracing", "later", "prediction")
    heads = ("first step", "of it tracing", "later step", "prediction", "traces")
    print(f"{'':30}" + "".join(f"{head:>16}" for head in heads))
    size = ["--part", asked.part, "--pixels", str(asked.pixels)]
    for row in ROWS:
        done = subprocess.run(
            [sys.executable, __file__, "--row", row, *size],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        times = ["{:.2f} ({:.2f})".format(*found[column]) for column in columns]
        cells = [*times, str(found["traces"])]
        print(f"{row:30}" + "".join(f"{cell:>16}" for cell in cells), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
