"""One change at a time to our recipe, on the inner part: what matters, and what not.

At 96 pixels, so that a training costs seconds; on the same slices, judged on the same
slices, with several seeds. Nothing that any run scores is looked at.
"""

import json
import signal
import time
from functools import lru_cache
from pathlib import Path

import numpy as np

from helpers import config, evaluation
from helpers.config import SEED

from .real import RealData, imagenet_backbone, imagenet_name, load_real
from .recipe import candidate, inner_part
from .records import Experiment, committed_plan, describe, info, write
from .shown import Part, Shown, together

BOUNDARIES = ("pool3_pool", "pool4_pool", "conv5_block8_concat", "conv5_block12_concat")


def small_part(real: RealData) -> tuple[RealData, Part]:
    """Return the inner part's files as a dataset of their own, and the part in it."""
    part = inner_part(real)
    rows = np.union1d(part.files, part.val)
    small = RealData(real.data.subset(rows), real.group[rows], *[rows[:0]] * 3)
    fit, files, val = (
        np.searchsorted(rows, r) for r in (part.fit, part.files, part.val)
    )
    return small, Part(fit, files, val, part.score)


def compute_shown(
    real: RealData, pixels: int, preprocessing: str, boundary: str
) -> Shown:
    """Compute, or load, activations and features at other pixels or preprocessing."""
    name = f"ablations-{real.data.fingerprint[:12]}-{pixels}-{preprocessing[:2]}"
    folder = config.cache_dir() / "activations"
    paths = {b: folder / f"{name}-{b}.npy" for b in (*BOUNDARIES, "features")}
    if not all(path.exists() for path in paths.values()):
        _compute(real.data.images, pixels, preprocessing, paths)
    return Shown(np.load(paths[boundary], mmap_mode="r"), np.load(paths["features"]))


def _compute(images, pixels, preprocessing, paths) -> None:
    import keras

    from helpers import batches, densenet, probes

    if pixels != images.shape[1]:
        images = probes.thumbnails(images, pixels).astype(np.uint8)
    backbone = imagenet_backbone(pixels)
    pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)
    outputs = [backbone.get_layer(name).output for name in BOUNDARIES]
    inner = keras.Model(backbone.input, [*outputs, pooled])
    grey = keras.Input((pixels, pixels), dtype="uint8")
    inputs = batches.preprocess(grey)
    if preprocessing == "0 to 1":
        colour = keras.ops.repeat(grey[..., None], 3, axis=-1)
        inputs = keras.ops.cast(colour, "float32") / 255
    model, found = keras.Model(grey, inner(inputs, training=False)), []
    for start in range(0, len(images), 256):
        block = images[start : start + 256]
        found.append(model.predict(block, batch_size=32, verbose=0))
    for path, parts in zip(paths.values(), zip(*found, strict=True), strict=True):
        with densenet.whole_file(path) as file:
            np.save(file, np.concatenate(parts))


@lru_cache(maxsize=1)
def _data() -> tuple[RealData, Part]:
    return small_part(load_real())


def _piece(plan: dict, seed: int, path: Path) -> None:
    """Train one variant with one seed; write what it says of the validation part."""
    from helpers import densenet

    from .tuning import fine_tuned

    real, part = _data()
    shown = compute_shown(real, plan["pixels"], plan["preprocessing"], plan["boundary"])
    started = time.perf_counter()
    predict, history = fine_tuned(real, shown, part, plan, seed, "ablation")
    arrays = {
        "probabilities": predict(part.val).astype(np.float32),
        "history": json.dumps(history),
        "seconds": time.perf_counter() - started,
    }
    with densenet.whole_file(path) as file:
        np.savez(file, **arrays)


def run_ablations(experiment: Experiment, look_again: bool) -> None:
    """Train every variant with every seed, and record those that are complete.

    Ctrl-C, or SIGTERM, ends the training; what is complete is recorded, the rest named.
    Called again, it goes on. `look_again` means nothing here: no test image is seen.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan, plan_sha256 = committed_plan(experiment.name)
    base, seeds, done, seconds = plan["chosen"], plan["seeds"], {}, {}
    try:
        for name, changes in plan["variants"].items():
            pieces = []
            for seed in seeds:
                label = f"{experiment.name}-{plan_sha256[:12]}-{name}-seed{seed}"
                path = config.cache_dir() / "pieces" / f"{label}.npz"
                if not path.exists():
                    _piece(base | changes, seed, path)
                with np.load(path) as file:
                    pieces.append(dict(file))
            done[name] = np.stack([p["probabilities"] for p in pieces])
            seconds[name] = [round(float(p["seconds"]), 1) for p in pieces]
            print(name, seconds[name], flush=True)
    except KeyboardInterrupt:
        print("cut off; what is complete is recorded", flush=True)
    real, part = _data()
    files = real.data.table["file"].to_numpy(dtype=str)
    arrays = {
        "variants": np.array(list(done)),
        "class_names": np.array(real.data.class_names),
        "val_filenames": files[part.val],
        "val_labels": real.labels[part.val].astype(np.int8),
        "val_groups": together(real)[part.val].astype(np.int32),
        "val_probabilities": np.stack(list(done.values())),
    }
    about = info(
        experiment,
        describe(load_real()),
        protocol=experiment.summary,
        wall_seconds=sum(map(sum, seconds.values())),
        weights=imagenet_name(),
    )
    about |= {
        "plan_sha256": plan_sha256,
        "plan": base,
        "seeds": seeds,
        "num_fit": len(part.fit),
        "num_val": len(part.val),
        "changes": {name: plan["variants"][name] for name in done},
        "not_run": [name for name in plan["variants"] if name not in done],
        "seconds": seconds,
        "table": table_of(arrays),
    }
    write(about, **arrays)


def table_of(arrays: dict[str, np.ndarray]) -> dict[str, dict]:
    """Return each variant's macro-F1 and log loss, and how far they are from the first.

    Means over seeds, the seeds' own values, and the paired difference from the first
    variant with its 95 % interval over groups (patients, series, slices).
    """
    labels, groups = arrays["val_labels"].astype(int), arrays["val_groups"]
    found = {}
    everything = arrays["val_probabilities"].astype(np.float64)
    everything /= everything.sum(axis=-1, keepdims=True)
    for name, probabilities in zip(arrays["variants"], everything, strict=True):
        row = {"seeds": {}}
        scores = {
            "macro_f1": lambda p: evaluation.macro_f1(labels, p.argmax(axis=1)),
            "log_loss": lambda p: evaluation.log_loss(labels, p),
        }
        for metric, score in scores.items():
            row["seeds"][metric] = [score(one) for one in probabilities]
            row[metric] = float(np.mean(row["seeds"][metric]))
            difference = evaluation.paired_bootstrap(
                metric, labels, everything[0], probabilities, groups, seed=SEED
            )
            row[f"{metric}_difference"] = list(difference)
        found[str(name)] = row
    return found


HALF_BLOCK = "conv5_block8_concat"
BASE = candidate(HALF_BLOCK, 3, pixels=96, preprocessing="imagenet")
VARIANTS = {
    "our recipe": {},
    "our recipe, other seeds": {"first_seed": 100},
    "head only": {"num_epochs": {"head": 10, "tail": 0}},
    "each slice through one file": {"copies": False},
    "head not first": {"num_epochs": {"head": 0, "tail": 3}},
    "BatchNorm in training mode": {"train_norms": True},
    "pixels divided by 255": {"preprocessing": "0 to 1"},
    "128 pixels": {"pixels": 128},
    "a quarter of the block": {"boundary": "conv5_block12_concat"},
    "the whole block": {"boundary": "pool4_pool"},
    "a third of the learning rate": {"learning_rate": {"head": 3e-3, "tail": 3e-4}},
    "three times the learning rate": {"learning_rate": {"head": 3e-3, "tail": 3e-3}},
    "twice the epochs": {"num_epochs": {"head": 10, "tail": 6}},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "averaged weights": {"average_weights": 0.99},
    "weight decay 0.05": {"weight_decay": 0.05},
    "no Dropout": {"dropout": 0.0},
    "224 pixels": {"pixels": 224},
    "the last two blocks": {"boundary": "pool3_pool"},
}


def choose_ablations(experiment: Experiment) -> None:
    """Write the plan: the base, the changes, the seeds. Nothing is compared yet."""
    from .records import PLANS

    plan = {
        "name": experiment.name,
        "chosen": BASE,
        "chosen_by": "fixed before any of it was trained: recipe-leak-free's plan at "
        "96 px, and one change at a time, in order of interest",
        "seeds": list(experiment.seeds),
        "variants": VARIANTS,
    }
    path = PLANS / f"{experiment.name}.json"
    path.write_text(json.dumps(plan, indent=1) + "\n")
    print(f"Plan written to {path}. Commit it, then run: {experiment.name}")


EXPERIMENTS = (
    Experiment(
        "ablations",
        "One change at a time to the recipe, at 96 px: trained on slices of the "
        "training part of the manifest's fold 0 that have no file in the official "
        "Testing, judged on an inner part of them, series and known patients whole. "
        "Differences from the recipe are paired, their intervals draw patients, series "
        "and slices whole. Nothing that a run scores was looked at.",
        run=run_ablations,
        choose=choose_ablations,
        candidates=(BASE,),
        seeds=(0, 1),
    ),
)
