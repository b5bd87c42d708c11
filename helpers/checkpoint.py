"""One file that holds all that changes while a model trains, and is always whole.

Keras' own `BackupAndRestore` writes in place, forgets the batch, and leaves out the
state of Dropout's random numbers.
"""

import json
import sys
import zlib
from pathlib import Path

import keras
import numpy as np

from helpers.batches import ImageBatches
from helpers.config import CourseError
from helpers.files import whole_file

_SINCE = "weights_sha256"  # what older checkpoints do not have
_STOPPER_STATE = ("wait", "best", "best_epoch", "stopped_epoch")


def create_variables(model: keras.Model, batches: ImageBatches) -> None:
    """Create the optimizer's and the metrics' variables of a compiled model.

    Left alone, Keras creates them while TensorFlow traces the first training step, and
    TensorFlow then traces the whole step a second time, as a function may create
    variables only once. That was close to half of the first step's time: see
    tools/profile_first_step.py.
    """
    images, labels = batches[0][:2]
    predictions = np.zeros((len(labels), *model.output_shape[1:]), np.float32)
    model.compute_loss(images, labels, predictions)
    model.compute_metrics(images, labels, predictions)
    if not model.optimizer.built:  # with loss scaling, a second build adds variables
        model.optimizer.build(model.trainable_variables)


class FiniteLoss(keras.callbacks.Callback):
    """Stop at the first batch whose loss is not a finite number, and name it."""

    def __init__(self, batches: ImageBatches, path: Path | str):
        super().__init__()
        self.batches, self.path = batches, path

    def on_train_begin(self, logs=None):
        self.item = 0

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            epoch, batch = self.batches.position(self.item)
            raise CourseError(
                f"the loss is {float(logs['loss'])} at epoch {epoch}, batch {batch} "
                "(counted from 0). Usual causes: too high a learning rate, labels out "
                "of range, float16 without loss scaling. "
                f"{self.path}, if it is there, is older."
            )
        self.item += 1


class Checkpoint(keras.callbacks.Callback):
    """Save all that changes in training in one file, which is always whole.

    In the file: weights, Dropout's random state, the optimizer, running metrics, the
    `position` (epoch, batch) of the next batch, the `history`, whether training has
    `finished`, and what `stopper`, an `EarlyStopping` of the same `fit`, has seen. Put
    it last in the list of callbacks. It saves after each epoch and, with `every`, after
    each so many steps of the optimizer; when `fit` begins, it loads what the file
    holds, so `batches` must start at `position`. `about`: what else makes it this run
    and no other, by name.

    A step may be cut into more or fewer batches than before (`batch_size`,
    `gradient_accumulation_steps`), as long as it has as many images.

    A file that was begun before the weights' content was noted is gone on with, and
    that is said. Raises `CourseError` for a file that is damaged or of another run, for
    weights that are not finite, and for a full disk; the old file stays then.
    """

    def __init__(
        self,
        path: Path | str,
        batches: ImageBatches,
        num_epochs: int,
        stopper: keras.callbacks.EarlyStopping | None = None,
        every: int | None = None,
        about: dict | None = None,
    ):
        super().__init__()
        self.path, self.batches, self.num_epochs = Path(path), batches, num_epochs
        self.stopper, self.every = stopper, every
        self.run = {
            "num_epochs": num_epochs,
            "batch_size": batches.batch_size * batches.accumulation,
            "seed": batches.seed,
            "recipe": batches.recipe,
            "patience": stopper.patience if stopper else None,
            "num_images": len(batches.indices),
            "images": zlib.crc32(np.ascontiguousarray(batches.indices, np.int64)),
            **(about or {}),
        }
        self.position, self.history, self.finished = (0, 0), {}, False
        if self.path.exists():
            self._read()

    def load_weights(self, model: keras.Model) -> None:
        """Put the file's weights and random state into a model."""
        self._assign("model", model.variables, self._read())

    def on_train_begin(self, logs=None):
        self.item, self.metrics = 0, None
        create_variables(self.model, self.batches)
        if not self.path.exists():
            return
        arrays = self._read()
        if self.finished or self.batches.position(0) != self.position:
            raise CourseError(
                f"{self.path} holds training up to epoch {self.position[0]}, batch "
                f"{self.position[1]}, but the batches start elsewhere. To go on, call "
                "training.fit; to train from the start, delete the file."
            )
        self._assign("model", self.model.variables, arrays)
        self._assign_optimizer(arrays)
        if self.position[1]:
            self.metrics = arrays
        if self.stopper:
            for name in _STOPPER_STATE:
                setattr(self.stopper, name, self.stopper_state[name])
            best = [arrays[k] for k in sorted(arrays) if k.startswith("best/")]
            self.stopper.best_weights = best or None

    def on_epoch_begin(self, epoch, logs=None):
        if self.metrics:  # after Keras has set the running means to zero
            self._assign("metrics", self.model.metrics_variables, self.metrics)
            self.metrics = None

    def on_train_batch_end(self, batch, logs=None):
        self.item += 1
        position = self.batches.position(self.item)
        every = (self.every or 0) * self.batches.accumulation
        if every and position[1] and position[1] % every == 0:
            self._save(position)

    def on_epoch_end(self, epoch, logs=None):
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        self._save((epoch + 1, 0))

    def on_train_end(self, logs=None):
        # EarlyStopping has put the best weights back by now.
        if self.model.stop_training or self.position == (self.num_epochs, 0):
            self.finished = True
            self._save(self.position)

    def _save(self, position: tuple[int, int]) -> None:
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()  # in `fit`, JAX keeps the values elsewhere
        self.position, steps = position, self.batches.accumulation
        info = {"run": self.run, "position": (position[0], position[1] // steps)}
        info |= {"accumulation": steps, "history": self.history}
        info |= {"finished": self.finished}
        best = []
        if self.stopper:
            state = {name: getattr(self.stopper, name) for name in _STOPPER_STATE}
            info["stopper"] = state
            best = self.stopper.best_weights or []
        optimizer, accumulators = _optimizer_variables(self.model.optimizer)
        parts = {
            "model": self.model.variables,
            "optimizer": optimizer,
            "accumulators": accumulators,
            "metrics": self.model.metrics_variables,
            "best": best,
        }
        arrays = {
            f"{part}/{number:04}": keras.ops.convert_to_numpy(variable)
            for part, variables in parts.items()
            for number, variable in enumerate(variables)
        }
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise CourseError(
                f"before epoch {position[0]}, batch {position[1]} (counted from 0), a "
                "weight is no longer a finite number, and is not saved. The learning "
                f"rate is probably too high. {self.path}, if it is there, is older."
            )
        with whole_file(self.path) as file:
            np.savez(file, info=np.array(json.dumps(info)), **arrays)

    def _read(self) -> dict[str, np.ndarray]:
        """Take position and history from the file; return its arrays."""
        try:
            with np.load(self.path) as file:
                arrays = dict(file)  # each array is checked against its CRC-32
            info = json.loads(str(arrays.pop("info")))
        except Exception as error:  # zip, header and JSON errors share no base class
            raise CourseError(
                f"{self.path} is damaged ({error}). Delete it to train from the start, "
                "or put a copy of it back."
            ) from None
        if _SINCE not in info["run"] and self.run.pop(_SINCE, None):
            # Also when it is saved again, this file does not say what it began with.
            print(
                f"{self.path} is older than the noting of the weights' content, and "
                f"goes on with {self.run.get('weights')}: make sure that this is the "
                "file it began with, or delete the checkpoint.",
                file=sys.stderr,
            )
        if info["run"] != self.run:
            other = [k for k in self.run if self.run[k] != info["run"].get(k)]
            found = ", ".join(f"{k} {info['run'].get(k)}" for k in other)
            asked = ", ".join(f"{k} {self.run[k]}" for k in other)
            raise CourseError(
                f"{self.path} is of another run: it has {found}; asked for is {asked}. "
                "Ask for the same again, delete the file, or name another."
            )
        epoch, step = info["position"]
        self.position = (epoch, step * self.batches.accumulation)
        self.saved_accumulation = info.get("accumulation", 1)
        self.history = info["history"]
        self.finished, self.stopper_state = info["finished"], info.get("stopper")
        return arrays

    def _assign_optimizer(self, arrays: dict) -> None:
        optimizer, accumulators = _optimizer_variables(self.model.optimizer)
        self._assign("optimizer", optimizer, arrays)
        now, before = self.batches.accumulation, self.saved_accumulation
        if now == before:
            self._assign("accumulators", accumulators, arrays)
        else:  # a step is saved when it is complete, so nothing is left in them
            iterations = _inner(self.model.optimizer)._iterations  # counts batches
            count = int(keras.ops.convert_to_numpy(iterations))
            iterations.assign(count // before * now)

    def _assign(self, part: str, variables: list, arrays: dict) -> None:
        found = [arrays[k] for k in sorted(arrays) if k.startswith(f"{part}/")]
        if [a.shape for a in found] != [tuple(v.shape) for v in variables]:
            raise CourseError(
                f"{self.path} is of another model: its {part} has {len(found)} arrays "
                f"with {sum(a.size for a in found):,} values; expected "
                f"{len(variables)} with {sum(np.prod(v.shape) for v in variables):,.0f}"
                " or other shapes. Delete the file, or name another."
            )
        for variable, array in zip(variables, found, strict=True):
            variable.assign(array)


def _inner(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return the optimizer that a `LossScaleOptimizer` wraps, or the optimizer."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _optimizer_variables(optimizer: keras.optimizers.Optimizer) -> tuple[list, list]:
    """Return the optimizer's variables, and apart those that add up gradients."""
    accumulators = getattr(_inner(optimizer), "_accumulated_gradients", [])
    apart = {id(variable) for variable in accumulators}
    return [v for v in optimizer.variables if id(v) not in apart], list(accumulators)
