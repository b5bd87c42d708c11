"""Head first, then the last dense block, on cached activations."""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
from keras import ops

from helpers import config, densenet, training
from helpers.batches import ImageBatches
from helpers.checkpoint import create_variables

from .real import RealData, imagenet_backbone
from .records import sha256
from .shown import Part, Shown, ways_to_show

WARM_UP = 0.05  # of the steps, in which the learning rate rises
# What a plan may change without another compiled step.
SET_LATER = ("num_epochs", "learning_rate", "copies", "first_seed", "preprocessing")
_COPY = 5  # this use of randomness among those of helpers.batches


class DrawnBatches(ImageBatches):
    """Batches that show each slice through one of its copies, drawn anew each epoch.

    `ways` int [n, most]: the rows that show what index i shows, -1 behind the last.
    In the long run, each of a slice's k copies weighs 1 / k. A draw is a function of
    (seed, epoch, index), as everything in `ImageBatches`.
    """

    def __init__(self, ways, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.ways, self.num_ways = ways, (ways >= 0).sum(axis=1)

    def rows(self, item: int) -> np.ndarray:
        """Return which activations are in the item-th batch, int64 [batch_size]."""
        slices = super().rows(item)
        epoch, _ = self.position(item)
        rng = np.random.default_rng((_COPY, self.seed, epoch))
        drawn = rng.random(len(self.ways))[slices]
        return self.ways[slices, (drawn * self.num_ways[slices]).astype(int)]


class WarmCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises in a line and falls along half a cosine to zero.

    `peak` and `num_steps` are variables, so one compiled step serves all folds, seeds
    and learning rates. Source: Loshchilov & Hutter 2017, arXiv 1608.03983.
    """

    def __init__(self):
        self.peak = keras.Variable(0.0, trainable=False)
        self.num_steps = keras.Variable(1.0, trainable=False)

    def __call__(self, step):
        done = ops.cast(step, "float32") / self.num_steps
        falls = 0.5 * (1 + ops.cos(np.pi * (done - WARM_UP) / (1 - WARM_UP)))
        return self.peak * ops.where(done < WARM_UP, done / WARM_UP, falls)

    def get_config(self) -> dict:
        return {}


class Network:
    """A head on features and a tail on activations, each compiled once, used often."""

    def __init__(self, plan: dict, num_classes: int):
        layers = keras.layers
        whole = imagenet_backbone(plan["pixels"])
        _, tail = densenet.split_at(whole, plan["boundary"])
        densenet.set_frozen(tail, tail.layers[0].name)
        if plan.get("train_norms"):
            tail.trainable = True  # BatchNorm too, and in training mode
        head = keras.Sequential(
            [
                keras.Input((tail.output_shape[-1],)),
                layers.Dropout(plan["dropout"]),
                layers.Dense(num_classes, activation="softmax"),
            ]
        )
        pooled = layers.GlobalAveragePooling2D()(tail.output)
        model = keras.Model(tail.input, head(pooled))
        self.models = {"head": _compiled(head, plan), "tail": _compiled(model, plan)}
        self.untrained = model.get_weights()

    def restart(self, seed: int) -> None:
        """Put the untrained tail back, and draw a new head."""
        keras.utils.set_random_seed(seed)
        self.models["tail"].set_weights(self.untrained)
        kernel, bias = self.models["head"].trainable_weights
        kernel.assign(keras.initializers.GlorotUniform(seed)(kernel.shape))
        bias.assign(ops.zeros_like(bias))

    def fit(
        self, stage: str, plan: dict, batches: ImageBatches, path: Path, validation=None
    ) -> dict[str, list[float]]:
        """Train "head" or "tail" with the plan's epochs and learning rate for it."""
        model, num_epochs = self.models[stage], plan["num_epochs"][stage]
        schedule = model.optimizer._learning_rate  # the property gives its value now
        schedule.peak.assign(plan["learning_rate"][stage])
        schedule.num_steps.assign(num_epochs * batches.per_epoch)
        create_variables(model, batches)
        for variable in model.optimizer.variables:
            variable.assign(ops.zeros_like(variable))
        return training.fit(model, batches, num_epochs, path, validation)


def _compiled(model: keras.Model, plan: dict) -> keras.Model:
    average = plan.get("average_weights")
    options = {"use_ema": True, "ema_momentum": average} if average else {}
    model.compile(
        keras.optimizers.AdamW(
            WarmCosine(), weight_decay=plan["weight_decay"], **options
        ),
        loss=keras.losses.CategoricalCrossentropy(
            label_smoothing=plan["label_smoothing"]
        ),
        metrics=["accuracy"],
    )
    return model


@lru_cache(maxsize=1)
def _network(fixed: str, num_classes: int) -> Network:
    return Network(json.loads(fixed), num_classes)


def fine_tuned(
    real: RealData, shown: Shown, part: Part, plan: dict, seed: int, purpose: str
) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, list[float]]]:
    """Train head, then tail, on `part.fit`; return (predict, history of the tail).

    An epoch shows each slice once: with `plan["copies"]` through any of its files. The
    last epoch counts: `part.val` is only watched. `predict(rows)` returns probabilities
    [rows, k]. Checkpoints are in the cache: a run that was cut off goes on.
    """
    num_classes = len(real.data.class_names)
    fixed = {key: value for key, value in plan.items() if key not in SET_LATER}
    network = _network(json.dumps(fixed, sort_keys=True), num_classes)
    seed += plan.get("first_seed", 0)
    network.restart(seed)
    targets = np.eye(num_classes, dtype=np.float32)[real.labels]
    files = part.files if plan["copies"] else part.fit
    ways = ways_to_show(real.rows["group"].to_numpy(int), part.fit, files)
    digest = sha256(json.dumps(plan, sort_keys=True) + str(part.fit.tolist()))
    label = f"{purpose}-seed{seed}-{digest[:12]}"
    history = {}
    for stage, inputs in (("head", shown.features), ("tail", shown.activations)):
        if plan["num_epochs"][stage] == 0:
            continue
        batches = DrawnBatches(
            ways, inputs, targets, part.fit, plan["batch_size"], seed
        )
        path = config.cache_dir() / "checkpoints" / f"{label}-{stage}.npz"
        watched = (inputs[part.val], targets[part.val]) if stage == "tail" else None
        history = network.fit(stage, plan, batches, path, watched)
    model = network.models["tail"]

    def predict(rows: np.ndarray) -> np.ndarray:
        return model.predict(shown.activations[rows], batch_size=64, verbose=0)

    return predict, history
