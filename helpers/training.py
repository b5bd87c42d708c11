"""Training that goes on where it was cut off, to the same result.

Three things make it so: batch order and augmentation are functions of (seed, epoch,
index); one file holds everything else that changes while a model trains; and that file
is replaced as a whole (`helpers.checkpoint`). `fit` trains one compiled model so;
`fit_plan` carries out a `helpers.plan.Plan`, from the backbone to what predicts.
"""

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
from sklearn.utils.class_weight import compute_sample_weight
from tqdm import tqdm

from helpers import densenet
from helpers.batches import ImageBatches
from helpers.checkpoint import Checkpoint, FiniteLoss, create_variables
from helpers.config import CourseError, whole_path
from helpers.devices import (
    DeviceFull,
    check_parts,
    is_out_of_memory,
    precision,
    several,
    spread,
)
from helpers.network import Network
from helpers.plan import Plan, Stage
from helpers.training_data import checked

__all__ = [
    "Checkpoint",
    "Trained",
    "fit",
    "fit_plan",
    "learning_rate",
    "step_seconds",
]


def fit(
    model: keras.Model,
    batches: ImageBatches,
    num_epochs: int,
    path: Path | str,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    patience: int | None = None,
    every: int | None = None,
    about: dict | None = None,
    tensorboard: Path | str | None = None,
    title: str = "training",
) -> dict[str, list[float]]:
    """Train a compiled model, or go on with training that was cut off.

    `path`: the checkpoint. If it is there, training starts behind the last batch it
    holds; if training had ended, its result is loaded and nothing is trained.
    `validation` (images, labels) is scored after each epoch; with `patience`, training
    ends after so many epochs without a lower validation loss, and the best epoch's
    weights are put back. If the optimizer averages weights (`use_ema`), the average is
    what is scored and kept. `every`, `about`: see `Checkpoint`. `tensorboard`: a folder
    for its log. `title` stands before the progress bar.

    Returns the history by name ("loss", "val_loss", ...), one number an epoch, epochs
    before the cut included. Raises `CourseError` for a loss that is not finite, for a
    checkpoint that is damaged or of another run, for a full disk, and for full memory.
    """
    average = keras.callbacks.SwapEMAWeights() if _averages(model) else None
    stopper = BestEpoch(patience, average) if patience is not None else None
    keeper = Checkpoint(path, batches, num_epochs, stopper, every, about)
    epoch, batch = keeper.position
    log = [] if tensorboard is None else [_tensorboard(tensorboard)]
    with Progress(batches, num_epochs, keeper, title) as progress:
        callbacks = [
            progress,
            FiniteLoss(batches, path),
            average,
            stopper,
            *log,
            keeper,
        ]
        while not keeper.finished:
            # Keras' epochs begin at their first batch. So the rest of a cut epoch is a
            # call of its own, and the checkpoint carries the state to the next one.
            batches.first = epoch * batches.per_epoch + batch
            try:
                model.fit(
                    batches,
                    initial_epoch=epoch,
                    epochs=epoch + 1 if batch else num_epochs,
                    steps_per_epoch=batches.per_epoch - batch,
                    validation_data=validation,
                    callbacks=[c for c in callbacks if c is not None],
                    shuffle=False,  # the order is the batches' own
                    verbose=0,
                )
            except Exception as error:  # each backend has its own class
                if is_out_of_memory(error):
                    raise DeviceFull(
                        "the device ran out of memory with batch_size="
                        f"{batches.batch_size}. {_way_out(batches, keeper.path)}",
                        _half(batches.batch_size),
                    ) from None
                raise
            epoch, batch = epoch + 1, 0
    keeper.load_weights(model)
    return keeper.history


@dataclass(frozen=True)
class Trained:
    """What `fit_plan` returns.

    `model`: grey uint8 [n, pixels, pixels] to probabilities float32 [n, k].
    `history`: by name, one entry an epoch, all stages in a row: "stage" (its name),
    "loss", "accuracy" and, with a validation part, "val_loss", "val_accuracy".
    `predict`: probabilities float32 [m, k] of some rows of the images that were given;
    from cached activations where there are any, which is many times faster on a CPU. If
    the plan mirrors in prediction, this averages both answers, and `model` does not.
    `portable` builds the model for a file: see `Network.portable`.
    """

    plan: Plan
    model: keras.Model
    history: dict[str, list]
    predict: Callable[[np.ndarray], np.ndarray]
    portable: Callable[[], keras.Model]


def fit_plan(
    plan: Plan,
    images: np.ndarray,
    labels: np.ndarray,
    fit_rows: np.ndarray,
    val_rows: np.ndarray,
    folder: Path | str,
    groups: np.ndarray | None = None,
    weights: str = "auto",
    devices: Sequence[str] | None = None,
    every: int | None = None,
    tensorboard: Path | str | None = None,
    build: Callable[[str, int], keras.Model] = densenet.backbone,
) -> Trained:
    """Carry out a plan, or go on with one that was cut off, at whatever moment.

    `images`: uint8 [n, pixels, pixels]; `labels`: 0..k-1, int [n]; `fit_rows`,
    `val_rows`: which to learn from and which to decide by (may be empty if no stage has
    patience); `folder`: one checkpoint a stage. `groups` [n]: for the plan's weighting.
    `weights`: see `densenet.backbone`. `devices`: several devices to share each
    batch out to, by the names of `keras.distribution.list_devices()`; None: all GPUs.
    `every`: save after so many steps too, not only after each epoch. `tensorboard`: a
    folder for its logs. `build(weights, pixels)` returns the backbone.

    A stage without augmentation trains on cached activations if its boundary cuts the
    network in two, any other on pixels. Raises `CourseError` for data that do not fit
    the plan, and all that `fit` raises.
    """
    data = checked(plan, images, labels, fit_rows, val_rows, groups)
    images, labels, groups = data.images, data.labels, data.groups
    fit_rows, val_rows, folder = data.fit_rows, data.val_rows, whole_path(folder)
    num_images, draws = len(images), plan.weighting == "draw"
    if plan.mirror:
        images = np.concatenate([images, images[:, :, ::-1]])
        labels = np.tile(labels, 2)
    if plan.trains_mirrored:
        groups = np.tile(groups if draws else np.arange(num_images), 2)
        fit_rows, draws = np.concatenate([fit_rows, fit_rows + num_images]), True
    shared = several(devices)
    check_parts(plan.batch_size, shared)
    one_hot = np.eye(labels.max() + 1, dtype=np.float32)[labels]
    about = {"weights": densenet.weights_name(weights)}
    about |= {"labels": zlib.crc32(one_hot), "pixel_values": zlib.crc32(images)}
    history = {"stage": []}
    with precision(plan.precision):
        keras.utils.set_random_seed(plan.seed)
        backbone, given = build(weights, plan.pixels), (one_hot.shape[1], fit_rows)
        about["weights_sha256"] = densenet.content(backbone)
        network = Network(plan, images, backbone, *given)
        with spread(shared):
            trained = network
            if shared:  # a network of its own; caches and results are on one device
                backbone = build(weights, plan.pixels)
                trained = Network(plan, images, backbone, *given, like=network)
            for number, stage in enumerate(plan.stages):
                about |= _about(plan, stage)
                stream = ImageBatches(
                    network.inputs(stage),
                    one_hot,
                    fit_rows,
                    plan.batch_size,
                    plan.seed * len(plan.stages) + number,
                    recipe=stage.augmentation,
                    mixup=plan.mixup,
                    weights=_sample_weights(plan, fit_rows, groups),
                    gradient_accumulation_steps=plan.gradient_accumulation_steps,
                    groups=groups if draws else None,
                )
                model = trained.trainable(stage)
                _compile(model, plan, stage, stage.num_epochs * stream.per_epoch)
                part = fit(
                    model,
                    stream,
                    stage.num_epochs,
                    folder / f"{number + 1}-{stage.name}.npz",
                    network.validation(stage, one_hot, val_rows),
                    stage.patience,
                    every,
                    dict(about),
                    None
                    if tensorboard is None
                    else whole_path(tensorboard) / stage.name,
                    stage.name,
                )
                if shared:
                    network.whole.set_weights(trained.whole.get_weights())
                history["stage"] += [stage.name] * len(part["loss"])
                for name, values in part.items():
                    history.setdefault(name, []).extend(values)
        predict = network.predictor(plan.stages[-1])
        if plan.predicts_mirrored:
            predict = _both_ways(predict, num_images)
        joined = network.joined()

    def portable() -> keras.Model:
        with precision("float32"):
            return network.portable(build("none", plan.pixels))

    return Trained(plan, joined, history, predict, portable)


def step_seconds(
    plan: Plan,
    images: np.ndarray,
    labels: np.ndarray,
    fit_rows: np.ndarray,
    build: Callable[[str, int], keras.Model] = densenet.backbone,
    num_steps: int = 3,
) -> tuple[float, float] | None:
    """Time a step of the last stage that trains on pixels, which is the slowest.

    Arguments as in `fit_plan`. Returns the seconds of the first batch, which compiles,
    and of a later one (mean of `num_steps`), on a network that is thrown away; None if
    every stage trains on cached activations. Raises `DeviceFull` when a batch does not
    fit in memory: better now than after an hour.
    """
    ends = [time.perf_counter()]
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )
    with precision(plan.precision):
        bare, backbone = replace(plan, centring=False), build("none", plan.pixels)
        num_classes = int(labels.max()) + 1
        network = Network(bare, images, backbone, num_classes, fit_rows)
        on_pixels = [s for s in plan.stages if not network.is_cached(s)]
        if not on_pixels:
            return None
        stage = on_pixels[-1]
        stream = ImageBatches(
            images,
            np.eye(num_classes, dtype=np.float32)[labels],
            fit_rows,
            plan.batch_size,
            plan.seed,
            recipe=stage.augmentation,
            gradient_accumulation_steps=plan.gradient_accumulation_steps,
        )
        model = network.trainable(stage)
        _compile(model, plan, stage, num_steps + 1)
        try:
            ends[0] = time.perf_counter()
            create_variables(model, stream)
            model.fit(
                stream,
                steps_per_epoch=num_steps + 1,
                callbacks=[note],
                shuffle=False,
                verbose=0,
            )
        except Exception as error:  # each backend has its own class
            if not is_out_of_memory(error):
                raise
            raise DeviceFull(
                f"the device ran out of memory with batch_size={plan.batch_size}.",
                _half(plan.batch_size),
            ) from None
    seconds = np.diff(ends)
    return float(seconds[0]), float(seconds[1:].mean())


def _both_ways(predict: Callable, num_images: int) -> Callable:
    """Average over an image and its mirror image, which lies `num_images` behind it."""
    return lambda rows: (predict(rows) + predict(rows + num_images)) / 2


class Progress(keras.callbacks.Callback):
    """A bar over all epochs: images, images a second, time left, and how it goes."""

    def __init__(
        self, batches: ImageBatches, num_epochs: int, keeper: Checkpoint, title: str
    ):
        super().__init__()
        self.batches, self.title, self.validated = batches, title, {}
        epoch, batch = keeper.position
        done, total = epoch * batches.per_epoch + batch, num_epochs * batches.per_epoch
        self.initial, self.total = done * batches.batch_size, total * batches.batch_size

    def __enter__(self):
        # A training of less than two seconds shows no bar.
        self.bar = tqdm(
            total=self.total,
            initial=self.initial,
            desc=self.title,
            unit="image",
            delay=2,
        )
        return self

    def __exit__(self, *error):
        self.bar.close()

    def on_train_batch_end(self, batch, logs=None):
        self._show(logs)
        self.bar.update(self.batches.batch_size)

    def on_epoch_end(self, epoch, logs=None):
        self.validated = {k: v for k, v in logs.items() if k.startswith("val_")}
        self._show({k: v for k, v in logs.items() if k not in self.validated})

    def _show(self, logs: dict) -> None:
        shown = {name: f"{float(v):.3f}" for name, v in (logs | self.validated).items()}
        self.bar.set_postfix(shown, refresh=False)


class BestEpoch(keras.callbacks.EarlyStopping):
    """Stop after `patience` epochs without a lower validation loss; keep the best.

    `average`: Keras' callback that validates averaged weights, if they are averaged;
    then the average of the best epoch is kept.
    """

    def __init__(
        self, patience: int, average: keras.callbacks.SwapEMAWeights | None = None
    ):
        super().__init__("val_loss", patience=patience, restore_best_weights=True)
        self.average = average

    def on_epoch_end(self, epoch, logs=None):
        if self.average is None:
            super().on_epoch_end(epoch, logs)
            return
        self.average.on_test_begin()  # Keras has put the last weights back by now
        super().on_epoch_end(epoch, logs)
        self.average.on_test_end()


def _averages(model: keras.Model) -> bool:
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return optimizer.use_ema


def _sample_weights(
    plan: Plan, fit_rows: np.ndarray, groups: np.ndarray | None
) -> np.ndarray | None:
    """Return 1 / size of its group among the rows to fit, on average 1; float32 [n]."""
    if plan.weighting != "group":
        return None
    weights = np.zeros(len(groups), np.float32)
    weights[fit_rows] = compute_sample_weight("balanced", groups[fit_rows])
    return weights


def _about(plan: Plan, stage: Stage) -> dict:
    """Return what makes a stage's training this one and no other, by name."""
    memory = ("stages", "batch_size", "gradient_accumulation_steps")
    values = {k: v for k, v in asdict(plan).items() if k not in memory}
    return values | {f"{stage.name}: {k}": v for k, v in asdict(stage).items()}


def _compile(model: keras.Model, plan: Plan, stage: Stage, num_batches: int) -> None:
    steps, average = plan.gradient_accumulation_steps, plan.ema or 0.99
    optimizer = keras.optimizers.AdamW(
        learning_rate(stage, num_batches // steps, steps),
        weight_decay=plan.weight_decay,
        use_ema=plan.ema is not None,
        ema_momentum=average ** (1 / steps),  # Keras averages after every batch
        gradient_accumulation_steps=steps if steps > 1 else None,
    )
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(label_smoothing=plan.label_smoothing),
        metrics=["accuracy"],
        jit_compile=_use_xla(stage),
    )


def learning_rate(stage: Stage, num_steps: int, batches_per_step: int = 1):
    """Return a stage's learning rate as Keras takes it: a schedule, or one number.

    `num_steps`: of the optimizer, in all epochs of the stage. A schedule is called with
    the number of batches so far.
    """
    if stage.schedule == "constant":
        return stage.learning_rate
    schedules, rising = keras.optimizers.schedules, round(stage.warmup * num_steps)
    rise = {"warmup_target": stage.learning_rate, "warmup_steps": rising}
    schedule = schedules.CosineDecay(
        0.0 if rising else stage.learning_rate,
        num_steps - rising,
        **(rise if rising else {}),
    )
    return PerStep(schedule, batches_per_step) if batches_per_step > 1 else schedule


class PerStep(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of steps, for an optimizer that adds up several batches to a step."""

    def __init__(self, schedule, batches_per_step: int):
        super().__init__()
        self.schedule, self.batches_per_step = schedule, batches_per_step

    def __call__(self, step):
        return self.schedule(keras.ops.floor_divide(step, self.batches_per_step))


def _use_xla(stage: Stage) -> bool:
    """Compile with XLA where it pays: always on JAX, on TensorFlow on a GPU only.

    TensorFlow has no compiled version of the operation that turns images.
    """
    if keras.backend.backend() == "jax":
        return True
    return bool(keras.distribution.list_devices("gpu")) and stage.augmentation is None


def _tensorboard(folder: Path | str) -> keras.callbacks.TensorBoard:
    if not (find_spec("tensorboard") and find_spec("tensorflow")):
        raise CourseError(
            "a TensorBoard log needs the packages tensorboard and tensorflow. Install "
            "them, or leave tensorboard out: the history is returned anyway."
        )
    return keras.callbacks.TensorBoard(folder, write_graph=False)


def _way_out(batches: ImageBatches, path: Path) -> str:
    """Say what to do when the device's memory is full, with the numbers to set."""
    size, steps = batches.batch_size, batches.accumulation
    half = _half(size)
    if half is None:
        return "Take smaller images, or a boundary nearer to the output."
    way = (
        f"Set batch_size={half} and gradient_accumulation_steps={steps * size // half}:"
        " the same training, in smaller pieces. Restart the kernel first, since what "
        "was on the device is not given back, or is lost. "
    )
    if path.exists():
        return way + f"Training then goes on from {path}."
    return way + "No checkpoint of this stage was written yet."


def _half(size: int) -> int | None:
    """Return the largest batch of at most half the size that divides it, if any."""
    return next((d for d in range(size // 2, 0, -1) if size % d == 0), None)
