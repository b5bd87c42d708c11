"""What chapter 4 asks of architectures: plain against dense, feature reuse, memory.

The first run trains small networks on synthetic slices. The second reads ImageNet's
weights and no image; the third measures what training DenseNet121 keeps.
"""

import hashlib
import itertools
import multiprocessing
import time
from functools import partial

import numpy as np

from helpers import evaluation
from helpers.config import SEED

from .pieces import files_sha256, piece
from .records import (
    Experiment,
    committed_plan,
    describe_phantoms,
    info,
    next_look,
    write,
)

FAMILIES = ("plain", "residual", "dense")
STAGES = 3  # maps of a quarter, an eighth and a sixteenth of the image's side
LAYERS = 4  # 3x3 convolutions in a stage, of every family


# --- three ways to wire the same number of 3x3 convolutions ---------------------------


def build(family: str, width: int, pixels: int, num_classes: int = 4):
    """Return a network of 1 + 12 convolutions of 3x3, in three stages.

    `family`: "plain" stacks BatchNorm, ReLU and convolution; "residual" adds the input
    to every second one's output (He et al. 2016, identity mappings); "dense"
    concatenates, with 1x1 bottlenecks and halving transitions (Huang et al. 2017).
    `width`: channels of the first stage, doubled in each next one; for "dense" the
    growth rate. Input: float32 [n, pixels, pixels, 1]; output: probabilities.
    """
    import keras
    from keras import layers

    def convolve(maps, channels, size):
        maps = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(maps))
        return layers.Conv2D(channels, size, padding="same", use_bias=False)(maps)

    inputs = keras.Input((pixels, pixels, 1))
    channels = 2 * width if family == "dense" else width
    maps = layers.Conv2D(channels, 3, 2, padding="same", use_bias=False)(inputs)
    maps = layers.MaxPooling2D(2)(maps)
    for stage in range(STAGES):
        if stage:
            maps = layers.AveragePooling2D(2)(
                convolve(maps, maps.shape[-1] // 2, 1) if family == "dense" else maps
            )
        if family == "dense":
            for _ in range(LAYERS):
                new = convolve(convolve(maps, 4 * width, 1), width, 3)
                maps = layers.Concatenate()([maps, new])
            continue
        channels = width * 2**stage
        for _ in range(LAYERS // 2):
            new = convolve(convolve(maps, channels, 3), channels, 3)
            if family == "residual":
                if maps.shape[-1] != channels:
                    maps = layers.Conv2D(channels, 1, use_bias=False)(maps)
                new = layers.Add()([maps, new])
            maps = new
    maps = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(maps))
    maps = layers.GlobalAveragePooling2D()(maps)
    return keras.Model(inputs, layers.Dense(num_classes, activation="softmax")(maps))


def multiply_adds(model) -> int:
    """Count the multiplications of one image's convolutions and dense layers."""
    import keras

    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            places = np.prod(layer.output.shape[1:-1], dtype=int)
            total += int(places) * int(np.prod(layer.kernel.shape))
    return total


# --- training on phantoms -------------------------------------------------------------


def phantoms_by_patient(plan: dict) -> dict[str, np.ndarray]:
    """Return fresh phantoms without their twins, split by virtual patient.

    `images` float32 [n, p, p, 1] in 0..1, `labels` [n], `patients` [n] and `files` [n];
    `part` [n] is 0 for fit, 1 for validation, 2 for test.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    from helpers import phantoms

    made = phantoms.generate(plan["num_slices"], plan["pixels"], plan["phantom_seed"])
    alone = made.table["twin_of"].isna().to_numpy(bool)
    table = made.table[alone]
    names = sorted(set(table["class"]))
    labels = table["class"].map(names.index).to_numpy(int)
    patients = np.unique(table["patient"], return_inverse=True)[1]
    folds = StratifiedGroupKFold(10, shuffle=True, random_state=SEED)
    part = np.zeros(len(labels), int)
    for fold, (_, rows) in enumerate(folds.split(labels, labels, patients)):
        part[rows] = (2, 2, 1)[fold] if fold < 3 else 0
    images = made.images[alone]
    return {
        "images": images[..., None].astype(np.float32) / 255,
        "fingerprint": hashlib.sha256(images.tobytes()).hexdigest(),
        "labels": labels,
        "patients": patients,
        "files": table["file"].to_numpy(str),
        "part": part,
        "class_names": np.array(names),
    }


def trained(
    data: dict,
    plan: dict,
    look: int,
    family: str,
    width: int,
    runs: list[tuple],
    part: int,
) -> list[np.ndarray]:
    """Return probabilities [m, k] for one part, of a network trained for each run.

    `runs`: (learning rate, seed) each. All share one compiled network, since compiling
    takes longer than an epoch; each starts from its own seed's weights and an empty
    optimizer. What is done is kept as a piece: a run that was cut off goes on.
    """
    import keras

    decided = {"name": "architectures", "images": data["fingerprint"], "plan": plan}
    decided |= {"look": look, "family": family, "width": width, "part": part}
    decided["fitted_sha256"] = files_sha256(data["files"][data["part"] == 0])
    fit, scored = data["part"] == 0, data["part"] == part
    steps = plan["num_epochs"] * int(np.ceil(fit.sum() / plan["batch_size"]))
    keras.backend.clear_session()
    model = build(family, width, plan["pixels"])
    model.compile(keras.optimizers.Adam(), loss="sparse_categorical_crossentropy")

    def probabilities(rate: float, seed: int) -> dict[str, np.ndarray]:
        started = time.perf_counter()
        keras.utils.set_random_seed(seed)  # the first weights, the order of the batches
        model.set_weights(build(family, width, plan["pixels"]).get_weights())
        for variable in model.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        rises_and_falls = keras.optimizers.schedules.CosineDecay(
            0.0, steps, warmup_target=rate, warmup_steps=steps // 20
        )
        step = itertools.count()

        def set_rate(batch, logs, schedule=rises_and_falls, step=step):
            model.optimizer.learning_rate.assign(schedule(next(step)))

        model.fit(
            data["images"][fit],
            data["labels"][fit],
            batch_size=plan["batch_size"],
            epochs=plan["num_epochs"],
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_begin=set_rate)],
            verbose=0,
        )
        found = model.predict(data["images"][scored], 256, verbose=0)
        right = (found.argmax(axis=1) == data["labels"][scored]).mean()
        print(
            f"{family} {width}, rate {rate}, seed {seed}, part {part}: {right:.3f}, "
            f"{time.perf_counter() - started:.0f} s",
            flush=True,
        )
        return {"probabilities": found}

    found = []
    for rate, seed in runs:
        key = decided | {"rate": rate, "seed": seed}
        found.append(piece(key, partial(probabilities, rate, seed)))
    return [p.arrays["probabilities"] for p in found]


def run_architectures(experiment: Experiment, look_again: bool) -> None:
    """Choose each family's learning rate on validation patients, then score the test.

    The rate is chosen at the smallest width by log loss, with the first seed. Then
    every family is trained at every width with every seed, and scored once.
    """

    plan, plan_sha256 = committed_plan(experiment.name)
    chosen, seeds = plan["chosen"], plan["seeds"]
    looks = next_look(experiment.name, look_again)
    started = time.perf_counter()
    data = phantoms_by_patient(chosen)
    val, test = data["part"] == 1, data["part"] == 2
    rates, tried = {}, {}
    for family in FAMILIES:
        runs = [(rate, seeds[0]) for rate in chosen["learning_rates"]]
        width = chosen["widths"][0]
        found = trained(data, chosen, looks, family, width, runs, part=1)
        losses = [evaluation.log_loss(data["labels"][val], one) for one in found]
        rates[family] = chosen["learning_rates"][int(np.argmin(losses))]
        tried[family] = dict(
            zip(map(str, chosen["learning_rates"]), losses, strict=True)
        )
    configurations, probabilities = [], []
    for width, family in itertools.product(chosen["widths"], FAMILIES):
        runs = [(rates[family], seed) for seed in seeds]
        probabilities.append(trained(data, chosen, looks, family, width, runs, part=2))
        model = build(family, width, chosen["pixels"])
        configurations.append(
            {
                "family": family,
                "width": width,
                "parameters": model.count_params(),
                "multiply_adds": multiply_adds(model),
            }
        )
    about = info(
        experiment,
        describe_phantoms(
            f"{len(test)} synthetic slices of {chosen['pixels']} px, "
            f"{data['patients'].max() + 1} virtual patients, twins left out",
            data["fingerprint"],
        ),
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
        weights="none",
    )
    arrays = {
        "filenames": data["files"][test],
        "labels": data["labels"][test].astype(np.int8),
        "groups": data["patients"][test].astype(np.int32),
        "class_names": data["class_names"],
        "network_probabilities": np.array(probabilities, np.float32),
    }
    about |= {
        "plan_sha256": plan_sha256,
        "plan": chosen,
        "looks": looks,
        "seeds": seeds,
        "num_fit": int((data["part"] == 0).sum()),
        "num_val": int(val.sum()),
        "num_scored": int(test.sum()),
        "num_patients": len(set(data["patients"][test])),
        "majority": float(np.bincount(data["labels"][test]).max() / test.sum()),
        "learning_rates": rates,
        "validation_log_loss": tried,
        "networks": networks(configurations, arrays),
    }
    write(about, **arrays)


def networks(configurations: list[dict], arrays: dict) -> dict[str, dict]:
    """Return what each network is and what it scored, by name as `dense-8`.

    accuracy: mean over seeds; per_seed; ci95: 95 % bootstrap over virtual patients, of
    the accuracy averaged over seeds.
    """
    labels, groups = arrays["labels"].astype(int), arrays["groups"]
    found = {}
    for row, probabilities in zip(
        configurations, arrays["network_probabilities"], strict=True
    ):
        right = probabilities.argmax(axis=2) == labels
        found[f"{row['family']}-{row['width']}"] = row | {
            "accuracy": float(right.mean()),
            "per_seed": right.mean(axis=1).round(6).tolist(),
            "ci95": list(
                evaluation.bootstrap_interval(
                    "accuracy", labels, probabilities, groups, seed=SEED
                )
            ),
        }
    return found


# --- how much each dense layer uses the layers before it ------------------------------

BLOCKS = (6, 12, 24, 16)
GROWTH = 32


def feature_reuse(model) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return how large a DenseNet121's weights are, by block, source and target.

    Two arrays [sources, targets] a block, NaN where a target comes before its source:
    the mean absolute weight of the 1x1 convolution of target l on the maps of source s,
    and the same after multiplying each map's weights by its BatchNorm's scale gamma.
    Source 0 is the block's input; the last target is the transition behind the block,
    if there is one. Method: Huang et al. 2017, section 5, figure 5.
    """
    import keras

    layers = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization | keras.layers.Conv2D)
    ]
    to_numpy = keras.ops.convert_to_numpy
    # A BatchNorm stands before each 1x1 convolution, and works on the same maps.
    pairs = [
        (to_numpy(norm.gamma), to_numpy(conv.kernel)[0, 0])
        for norm, conv in itertools.pairwise(layers)
        if isinstance(conv, keras.layers.Conv2D) and conv.kernel.shape[0] == 1
    ]
    found, at = [], 0
    for number, num_layers in enumerate(BLOCKS):
        targets = num_layers + (number < len(BLOCKS) - 1)
        kernels, scaled = np.full((2, num_layers + 1, targets), np.nan, np.float32)
        for target in range(targets):
            gamma, kernel = pairs[at + target]
            first = len(gamma) - GROWTH * target
            edges = first + GROWTH * np.arange(target)
            for table, scale in ((kernels, 1.0), (scaled, np.abs(gamma)[:, None])):
                parts = np.split(np.abs(kernel) * scale, edges)
                table[: target + 1, target] = [part.mean() for part in parts]
        found.append((kernels, scaled))
        at += targets
    return found


def relative_use(table: np.ndarray) -> dict[str, float]:
    """Summarise a table of `feature_reuse`: mean weight relative to a target's largest.

    Over the targets with at least three sources: on the block's input, on the layer
    just before, and on the layers between.
    """
    relative = table / np.nanmax(table, axis=0)
    targets = range(2, table.shape[1])
    return {
        "input": float(np.mean([relative[0, t] for t in targets])),
        "previous": float(np.mean([relative[t, t] for t in targets])),
        "between": float(np.mean([relative[1:t, t].mean() for t in targets])),
    }


def record_reuse(experiment: Experiment, look_again: bool) -> None:
    """Record the sizes of ImageNet DenseNet121's weights by source; no image needed."""
    from helpers import densenet

    from .real import imagenet_name

    started = time.perf_counter()
    tables = feature_reuse(densenet.backbone(pixels=32))
    about = info(
        experiment,
        {"name": "none", "copy": "no images: the weights alone", "fingerprint": None},
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
        weights=imagenet_name(),
    )
    arrays = {}
    about["relative_use"] = {}
    for number, (kernels, scaled) in enumerate(tables, start=1):
        arrays[f"block_{number}"] = kernels
        arrays[f"block_{number}_scaled"] = scaled
        about["relative_use"][f"block_{number}"] = relative_use(kernels)
        about["relative_use"][f"block_{number}_scaled"] = relative_use(scaled)
    write(about, **arrays)


# --- what training keeps in memory ----------------------------------------------------

SIZES = ((64, 1), (128, 1), (224, 1), (224, 4))  # pixels, images


def measure_memory(pixels: int, num_images: int) -> tuple[int, int]:
    """Return bytes by which this process grows: after forward, at most by backward.

    In TensorFlow's eager mode, by the resident set size; meant for a fresh process on a
    CPU, since memory that was freed before would be used again and not be seen.
    """
    import resource

    import keras
    import psutil
    import tensorflow as tf

    model = keras.applications.DenseNet121(
        include_top=False, weights=None, input_shape=(None, None, 3)
    )
    model(tf.zeros((1, 32, 32, 3)))  # what is set up only once
    images = tf.zeros((num_images, pixels, pixels, 3))
    before = psutil.Process().memory_info().rss
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(images, training=True))
        kept = psutil.Process().memory_info().rss - before
    gradients = tape.gradient(loss, model.trainable_variables)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    assert len(gradients) == len(model.trainable_variables)
    return kept, peak


def record_memory(experiment: Experiment, look_again: bool) -> None:
    """Measure each size in a process of its own, and record it; no image is used."""
    started = time.perf_counter()
    rows = []
    for size in SIZES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(measure_memory, size))
        print(size, rows[-1], flush=True)
    about = info(
        experiment,
        {"name": "none", "copy": "no images: zeros", "fingerprint": None},
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
        weights="none",
    )
    about["megabytes"] = {
        f"{pixels}px-{count}": {"kept": kept / 1e6, "peak": peak / 1e6}
        for (pixels, count), (kept, peak) in zip(SIZES, rows, strict=True)
    }
    write(about, sizes=np.array(SIZES), kept_and_peak=np.array(rows))


EXPERIMENTS = (
    Experiment(
        "architectures",
        "Synthetic slices (phantoms without their planted twins), split by virtual "
        "patient. Plain, residual and dense networks with the same number of 3x3 "
        "convolutions, at three widths, trained from scratch for "
        "the same number of epochs. Each family's learning rate was chosen on "
        "validation patients at the smallest width; the test patients were scored "
        "once. Intervals resample virtual patients.",
        run=run_architectures,
    ),
    Experiment(
        "feature-reuse-imagenet",
        "Mean absolute weight of each 1x1 convolution of DenseNet121 (ImageNet) on "
        "the maps of each earlier layer in its block, as in the heatmap of Huang et "
        "al. 2017; once plain and once multiplied by the BatchNorm's scale. Sizes of "
        "filters only; no image was used.",
        run=record_reuse,
    ),
    Experiment(
        "training-memory",
        "By how much a process grows that calls DenseNet121 (no classifier) in "
        "training mode under TensorFlow's gradient tape, and at most until the "
        "gradients are there: resident set size, eager mode, float32, on a CPU, each "
        "size in a fresh process. Random weights, images of zeros.",
        run=record_memory,
    ),
)
