"""Training survives kill -9, damaged files, full disks and losses that are no numbers.

Run as a program, this file is the training that the tests kill:
`python tests/test_training.py FOLDER [POINT]` stops and waits at POINT.
"""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from tqdm import tqdm

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from small_network import SIDE, images_and_labels, small_backbone

from helpers import batches, checkpoint, training
from helpers.checkpoint import Checkpoint
from helpers.config import CourseError
from helpers.plan import Plan, Stage

# A DenseNet's parts, Dropout, BatchNorm that follows the batches, augmentation,
# early stopping, averaged weights: all that has a state.
PLAN = Plan(
    (
        Stage("head", "backbone", 4, 1e-2, augmentation="pose"),
        Stage("all", "input", 4, 3e-2, patience=2),
    ),
    pixels=SIDE,
    batch_norm="training",
    dropout=0.3,
    batch_size=8,
    ema=0.9,
    seed=5,
)


def carry_out(folder: Path) -> None:
    """Carry out the plan on the small network, and save the result."""
    images, labels = images_and_labels()
    rows = (np.arange(48), np.arange(48, 60))
    options = {"weights": "none", "every": 2, "build": small_backbone}
    trained = training.fit_plan(PLAN, images, labels, *rows, folder, **options)
    np.savez_compressed(folder / "result.npz", *trained.model.get_weights())
    (folder / "history.json").write_text(json.dumps(trained.history))


def stop_at(point: str) -> None:
    """Have the training announce that it is at a point, and wait there to be killed."""

    def reached(name: str) -> None:
        if name == point:
            print("REACHED", flush=True)
            time.sleep(600)

    before, after_batch = Checkpoint.on_train_begin, Checkpoint.on_train_batch_end
    write, count = np.savez, [0]

    def on_train_begin(self, logs=None):
        reached(f"before {self.path.stem}")
        before(self, logs)

    def on_train_batch_end(self, batch, logs=None):
        after_batch(self, batch, logs)
        epoch, batch = self.batches.position(self.item)
        reached(f"{self.path.stem}, epoch {epoch}, batch {batch}")

    def savez(file, **arrays):
        count[0] += 1
        if point != f"half of write {count[0]}":
            return write(file, **arrays)
        whole = io.BytesIO()
        write(whole, **arrays)
        file.write(whole.getvalue()[: whole.tell() // 2])
        file.flush()
        reached(point)

    Checkpoint.on_train_begin = on_train_begin
    Checkpoint.on_train_batch_end = on_train_batch_end
    checkpoint.np.savez = savez


def run(folder: Path, point: str = "the end") -> None:
    """Run the training in a process of its own and kill -9 it at the point."""
    command = [sys.executable, __file__, str(folder), point]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "REACHED" in line:
                process.kill()
    assert process.returncode == (0 if point == "the end" else -9), point


@pytest.mark.slow
def test_training_killed_at_five_points_ends_bit_equal_to_an_undisturbed_one(tmp_path):
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
    run(tmp_path / "undisturbed")
    for point in (
        "1-head, epoch 0, batch 1",  # before the first checkpoint
        "1-head, epoch 1, batch 5",  # a batch behind one
        "before 2-all",  # between the stages
        "half of write 2",  # of stage 2: while its second checkpoint is written
        "2-all, epoch 2, batch 3",  # early stopping has something to remember
    ):
        run(tmp_path / "killed", point)
        assert not (tmp_path / "killed" / "result.npz").exists()
    run(tmp_path / "killed")

    # The last checkpoint holds the optimizer, the averages and Dropout's state too.
    for name in ("result.npz", "2-all.npz"):
        one, other = (np.load(tmp_path / n / name) for n in ("undisturbed", "killed"))
        assert one.files == other.files and len(one.files) > 10
        for array in one.files:
            np.testing.assert_array_equal(one[array], other[array])
    histories = [
        json.loads((tmp_path / n / "history.json").read_text())
        for n in ("undisturbed", "killed")
    ]
    assert histories[0] == histories[1]
    assert histories[0]["stage"][:5] == ["head"] * 4 + ["all"]


@pytest.fixture
def stream():
    images, labels = images_and_labels()
    return batches.ImageBatches(images, labels, range(48), 8, 5)


@pytest.fixture
def model():
    """A model that trains in a blink."""
    layers = keras.layers
    return dense_model([layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3)])


def dense_model(layers, optimizer="adam"):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((SIDE, SIDE)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    return model


def test_a_finished_training_is_loaded_and_not_repeated(tmp_path, model, stream):
    path = tmp_path / "run.npz"
    history = training.fit(model, stream, 2, path)
    trained = model.get_weights()
    written = path.stat().st_mtime_ns
    model.set_weights([0 * w for w in trained])
    assert training.fit(model, stream, 2, path) == history
    assert path.stat().st_mtime_ns == written
    for one, other in zip(trained, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("damage", ["truncated", "a changed byte", "empty", "text"])
def test_a_damaged_checkpoint_is_named_with_the_way_on(tmp_path, model, stream, damage):
    path = tmp_path / "run.npz"
    training.fit(model, stream, 1, path)
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[half] ^= 255
    damaged = {
        "truncated": content[:half],
        "a changed byte": content,
        "empty": b"",
        "text": b"not a checkpoint",
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(CourseError, match=r"run\.npz is damaged .*Delete it"):
        training.fit(model, stream, 1, path)


def test_a_checkpoint_of_another_run_is_named_with_what_differs(
    tmp_path, model, stream
):
    path = tmp_path / "run.npz"
    training.fit(model, stream, 1, path)
    with pytest.raises(
        CourseError, match="has num_epochs 1; asked for is num_epochs 2"
    ):
        training.fit(model, stream, 2, path)
    other = dense_model([keras.layers.Flatten(), keras.layers.Dense(5)])
    with pytest.raises(CourseError, match="of another model: its model has 2 arrays"):
        training.fit(other, stream, 1, path)


def test_a_checkpoint_in_a_plain_fit_refuses_to_start_over_on_a_saved_run(
    tmp_path, model, stream
):
    training.fit(model, stream, 1, tmp_path / "run.npz")
    keeper = Checkpoint(tmp_path / "run.npz", stream, 1)
    with pytest.raises(CourseError, match="up to epoch 1, batch 0"):
        model.fit(stream, steps_per_epoch=6, callbacks=[keeper], verbose=0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full (Linux)")
def test_a_full_disk_is_one_message_and_the_old_checkpoint_stays(
    tmp_path, model, stream
):
    path = tmp_path / "run.npz"
    keeper = Checkpoint(path, stream, 1, every=2)
    with pytest.raises(KeyboardInterrupt):
        model.fit(stream, steps_per_epoch=6, callbacks=[keeper, Stop(at=3)], verbose=0)
    saved = path.read_bytes()
    (tmp_path / f"run.npz.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(CourseError, match=r"cannot be written: No space left.* kept"):
        training.fit(model, stream, 1, path, every=2)
    assert path.read_bytes() == saved
    training.fit(model, stream, 1, path, every=2)  # with space again, it goes on
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.npz"]


def test_training_in_mixed_precision_resumes_in_the_middle_of_an_epoch(
    tmp_path, stream
):
    def scaled():
        layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
        layers += [keras.layers.Dropout(0.5), keras.layers.Dense(3)]
        adam = keras.optimizers.Adam(0.01)
        return dense_model(layers, keras.optimizers.LossScaleOptimizer(adam))

    undisturbed, resumed = scaled(), scaled()
    training.fit(undisturbed, stream, 3, tmp_path / "undisturbed.npz")
    keeper = Checkpoint(tmp_path / "cut.npz", stream, 3, every=2)
    with pytest.raises(KeyboardInterrupt):
        scaled().fit(
            stream, steps_per_epoch=6, callbacks=[keeper, Stop(at=4)], verbose=0
        )
    assert keeper.position == (0, 4)
    training.fit(resumed, stream, 3, tmp_path / "cut.npz", every=2)
    for one, other in zip(
        undisturbed.get_weights(), resumed.get_weights(), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_gradients_that_overflow_in_mixed_precision_do_not_stop_training(
    tmp_path, stream
):
    half = keras.layers.Dense(3, dtype="mixed_float16")  # up to 65504, and then inf
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), half]
    adam = keras.optimizers.Adam(0.01)
    scaled = keras.optimizers.LossScaleOptimizer(adam, initial_scale=2.0**30)
    model = dense_model(layers, scaled)
    start = model.get_weights()
    history = training.fit(model, stream, 3, tmp_path / "run.npz")
    left_out = 3 * stream.per_epoch - int(adam.iterations)
    assert left_out > 0 and float(scaled.dynamic_scale) == 2.0 ** (30 - left_out)
    assert np.isfinite(history["loss"]).all()
    assert not np.array_equal(start[0], model.get_weights()[0])


def test_the_progress_bar_counts_images_and_shows_what_was_validated(
    tmp_path, model, stream, monkeypatch
):
    bars, shown = [], []

    class Bar(tqdm):
        def __init__(self, **options):
            super().__init__(**options | {"file": io.StringIO()})
            bars.append(self)

        def set_postfix(self, values, refresh):
            shown.append(values)

    monkeypatch.setattr(training, "tqdm", Bar)
    images, labels = images_and_labels()
    training.fit(model, stream, 2, tmp_path / "run.npz", (images[48:], labels[48:]))
    assert (bars[0].n, bars[0].total, bars[0].unit) == (96, 96, "image")
    assert set(shown[0]) == {"loss"} and set(shown[-1]) == {"loss", "val_loss"}


class Stop(keras.callbacks.Callback):
    def __init__(self, at: int):
        super().__init__()
        self.at = at

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.at:
            raise KeyboardInterrupt


def test_a_loss_that_is_no_number_stops_training_and_names_the_step(tmp_path, model):
    images, labels = images_and_labels()
    images = images.astype(np.float32)
    stream = batches.ImageBatches(images, labels, range(48), 8, 5)
    images[stream.rows(4)[0]] = np.nan  # seen first in epoch 0, batch 4
    says = r"the loss is nan at epoch 0, batch 4 .*run\.npz, if it is there, is older"
    with pytest.raises(CourseError, match=says):
        training.fit(model, stream, 2, tmp_path / "run.npz", every=1)
    assert Checkpoint(tmp_path / "run.npz", stream, 2, every=1).position == (
        0,
        4,
    )


def test_weights_that_are_no_numbers_are_not_saved(tmp_path, stream):
    layers = [keras.layers.Flatten(), keras.layers.Dense(3)]
    model = dense_model(layers, keras.optimizers.SGD(1e38))
    with pytest.raises(CourseError, match=r"before epoch 0, batch 1 .*not saved"):
        training.fit(model, stream, 1, tmp_path / "run.npz", every=1)
    assert not (tmp_path / "run.npz").exists()


def test_the_first_step_is_traced_once(tmp_path, model, stream):
    traces, step = [], model.train_step
    model.train_step = lambda data: traces.append(1) or step(data)
    training.fit(model, stream, 2, tmp_path / "run.npz")
    assert len(traces) == 1


if __name__ == "__main__":
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    stop_at(sys.argv[2])
    carry_out(Path(sys.argv[1]))
