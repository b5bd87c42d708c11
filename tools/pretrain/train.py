"""Train one recipe, resumably: `python -m tools.pretrain train RECIPE`."""

import time
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from helpers import batches, config
from helpers.files import whole_file
from tools.pretrain import images as slices
from tools.pretrain import start, tasks

FOLDER = config.cache_dir() / "pretrain"
BATCH = 32
EVERY = 25


@dataclass(frozen=True)
class Recipe:
    """One way to pretrain; phases are (pixels, steps, highest learning rate)."""

    name: str
    init: str = "he"
    num_shards: int = 4
    phases: tuple[tuple[int, int, float], ...] = ((64, 1800, 1e-3), (96, 120, 1e-4))
    weight_decay: float = 0.02
    seed: int = 0


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("anatomy"),
        Recipe("trial", phases=((64, 3, 1e-3), (96, 2, 1e-4)), num_shards=1),
    )
}


class Views(batches.ImageBatches):
    """Batches of random views: functions of (seed, epoch, index), as in the course."""

    def __init__(self, images, masks, targets, pixels, seed):
        super().__init__(images, targets, np.arange(len(images)), BATCH, seed)
        self.masks, self.pixels = masks, pixels

    def __getitem__(self, item: int):
        epoch, _ = self.position(item)
        rows = self.rows(item)
        seen, answered, small, large = [], [], [], []
        for row in rows:
            rng = np.random.default_rng([self.seed, self.pixels, epoch, int(row)])
            view, inside, how = tasks.view(
                self.images[row], self.masks[row], self.pixels, rng
            )
            seen.append(view)
            answered.append(tasks.answers(self.labels[row], how))
            large.append(_cells(inside, self.pixels // 8))
            small.append(_cells(inside, self.pixels // 16))
        return np.stack(seen), {
            "answers": np.stack(answered),
            "outline8": np.stack(large),
            "outline16": np.stack(small),
        }


def _cells(inside: np.ndarray, count: int) -> np.ndarray:
    size = len(inside) // count
    return inside.reshape(count, size, count, size).mean((1, 3)).astype(np.float32)


def answer_loss(expected, logits):
    """Return the cross-entropies summed over all questions, [n]."""
    total, first = 0.0, 0
    for question in tasks.QUESTIONS:
        part = slice(first, first + question.bins)
        log_share = ops.log_softmax(logits[:, part], axis=-1)
        total -= ops.sum(expected[:, part] * log_share, axis=-1)
        first += question.bins
    return total


def outline_loss(expected, logits):
    """Return the mean cross-entropy of the cells, blob cells counting four times."""
    each = ops.maximum(logits, 0) - logits * expected + ops.softplus(-ops.abs(logits))
    return ops.mean(each * (1 + 3 * expected), axis=(1, 2))


def with_tasks(backbone: keras.Model) -> keras.Model:
    """Return the model that is trained: grey uint8 in, answers and two outlines out."""
    inner = keras.Model(
        backbone.input,
        [
            backbone.output,
            backbone.get_layer("pool3_relu").output,
            backbone.get_layer("pool4_relu").output,
        ],
    )
    grey = keras.Input(backbone.input_shape[1:3], dtype="uint8")
    last, eighth, sixteenth = inner(batches.preprocess(grey))
    pooled = keras.layers.GlobalAveragePooling2D()(last)
    flat = {}
    for name, maps in (("outline8", eighth), ("outline16", sixteenth)):
        maps = keras.layers.Conv2D(1, 1, name=f"{name}_conv")(maps)
        flat[name] = keras.layers.Reshape(maps.shape[1:3], name=name)(maps)
    answer = answers_from(pooled)
    return keras.Model(grey, {"answers": answer, **flat})


def answers_from(pooled):
    """Return the answers' logits, linear in pooled features of mean 0, variance 1."""
    scaled = keras.layers.BatchNormalization(
        center=False, scale=False, momentum=0.95, name="scaled"
    )(pooled)
    return keras.layers.Dense(
        tasks.NUM_ANSWERS, kernel_initializer="zeros", name="answers"
    )(scaled)


def data(num_shards: int):
    """Return images, masks, targets of the first shards, waiting for those to come."""
    shards = [slices.shard(number) for number in range(num_shards)]
    return [
        np.concatenate([shard[name] for shard in shards])
        for name in ("images", "masks", "targets")
    ]


def train(recipe: Recipe, log=print) -> keras.Model:
    """Carry out a recipe, or go on with it; return the backbone."""
    images, masks, targets = data(recipe.num_shards)
    previous = None
    for number, (pixels, steps, rate) in enumerate(recipe.phases):
        started = time.perf_counter()
        keras.utils.set_random_seed(recipe.seed)
        backbone = start.untrained(recipe.init, pixels, recipe.seed)
        if previous is None:
            start.measure_norms(backbone, slices_at(images[:1024], pixels))
        model = with_tasks(backbone)
        if previous is not None:
            model.set_weights(previous.get_weights())
        for layer in start.norms_of(backbone):
            layer.momentum = 0.95
        views = Views(images, masks, targets, pixels, recipe.seed + number)
        compile_with(model, steps, rate, recipe.weight_decay)
        path = FOLDER / f"{recipe.name}-{number}.npz"
        fit(model, views, steps, path, log, started)
        previous = model
    return backbone


def compile_with(model, steps: int, rate: float, weight_decay: float) -> None:
    """Compile for AdamW, a rate that rises for a tenth of the steps, then a cosine."""
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 20, int(0.9 * steps), warmup_target=rate, warmup_steps=steps // 10
    )
    losses = {"answers": answer_loss, "outline8": outline_loss}
    losses["outline16"] = outline_loss
    weight = {"answers": 1.0, "outline8": 3.0, "outline16": 3.0}
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=weight_decay),
        loss={name: losses[name] for name in model.output},
        loss_weights={name: weight[name] for name in model.output},
    )


def clean(pixels: int) -> np.ndarray:
    """Return the slices on which BatchNorm statistics are measured, as rendered."""
    images = slices.shard(0)["images"][: start.NUM_MEASURED]
    return slices_at(images, pixels)


def fit(model, views, steps: int, path, log, started: float) -> None:
    """Train for `steps` batches; the state goes to `path` every EVERY batches."""
    step = 0
    model.optimizer.build(model.trainable_variables)
    if path.exists():
        step = load_state(model, path)
        log(f"{path.stem}: goes on at step {step}")
    losses = []
    while step < steps:
        x, y = views[step]
        losses.append(model.train_on_batch(x, y, return_dict=True)["loss"])
        model.reset_metrics()
        step += 1
        if step % EVERY == 0 or step == steps:
            save_state(model, path, step)
            log(
                f"{path.stem}: step {step} of {steps}, {step * BATCH} images, "
                f"loss {np.mean(losses):.3f}, {time.perf_counter() - started:.0f} s"
            )
            losses = []


def save_state(model, path, step: int) -> None:
    variables = [*model.weights, *model.optimizer.variables]
    with whole_file(path) as file:
        np.savez(file, *[np.asarray(v) for v in variables], step=step)


def load_state(model, path) -> int:
    variables = [*model.weights, *model.optimizer.variables]
    with np.load(path) as file:
        for number, variable in enumerate(variables):
            variable.assign(file[f"arr_{number}"])
        return int(file["step"])


def slices_at(images: np.ndarray, pixels: int) -> np.ndarray:
    """Return images shrunk to `pixels`, for measuring BatchNorm statistics."""
    from PIL import Image

    return np.stack(
        [
            np.asarray(Image.fromarray(i).resize((pixels, pixels), Image.BILINEAR))
            for i in images
        ]
    )
