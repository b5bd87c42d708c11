"""The seed tutorial's recipe, as it was published, for our recipe to stand beside.

It trains the whole network on pixels: hours on two quiet cores, so training is saved
every few batches and goes on where it was cut off. Call the same command again.
"""

import json
import time
from pathlib import Path

import numpy as np

from helpers import recorded
from helpers.audit import manifest
from helpers.config import SEED
from helpers.datasets import thumbnails

from .pieces import checkpoints, decided_by, piece
from .real import RealData, imagenet_backbone, imagenet_name, load_real
from .records import (
    Experiment,
    committed_plan,
    describe,
    info,
    next_look,
    scored_arrays,
    sha256,
    write,
)

SAVE_EVERY = 20  # batches: some three minutes on two cores
REHEARSAL = {"pixels": 64, "num_epochs": 1, "images": 96, "scored": 48}


def build(backbone, plan: dict, num_classes: int):
    """Return the seed tutorial's compiled model for grey images uint8 [n, h, w].

    `backbone`: any network for [n, h, w, 3]. Its first layers are frozen, all others
    train, BatchNormalization in training mode too. Preprocessing is a 255th, and not
    what the backbone was trained with.
    """
    import keras

    layers = keras.layers
    for layer in backbone.layers[: plan["frozen_layers"]]:
        layer.trainable = False
    grey = keras.Input(backbone.input_shape[1:3], dtype="uint8")
    colour = keras.ops.repeat(keras.ops.cast(grey, "float32")[..., None], 3, axis=-1)
    hidden = layers.Flatten()(backbone(colour / plan["divide_by"]))
    hidden = layers.Dense(plan["hidden_units"], activation="relu")(hidden)
    outputs = layers.Dense(num_classes, activation="softmax", dtype="float32")(hidden)
    model = keras.Model(grey, outputs)
    model.compile(
        keras.optimizers.Adam(plan["learning_rate"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def train(
    model, images, labels, fit: np.ndarray, score: np.ndarray, plan: dict, seed, path
) -> dict[str, list[float]]:
    """Train, and go back to the epoch that did best on what is scored: its own way.

    `path`: the checkpoint; training that was cut off goes on. Where a plan had to be
    stopped for time, it says after how many epochs (`stopped_after`). Returns the
    history.
    """
    from helpers import training
    from helpers.batches import ImageBatches

    batches = ImageBatches(images, labels, fit, plan["batch_size"], seed)
    patience = plan["num_epochs"]  # so that no epoch is left out
    num_epochs = plan.get("stopped_after", patience)
    scored = (images[score], labels[score])
    return training.fit(
        model, batches, num_epochs, path, scored, patience=patience, every=SAVE_EVERY
    )


def _precision(plan: dict) -> str:
    """Set and return the precision: 16 bits on a GPU, what the plan says elsewhere."""
    import keras

    gpus = keras.distribution.list_devices("gpu")
    policy = "mixed_float16" if gpus else plan["precision_without_gpu"]
    keras.mixed_precision.set_global_policy(policy)
    return policy


def _splits(real: RealData, plan: dict) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return what is trained on and scored: by fold, or as 0 the official split."""
    if plan["split"] == "official":
        return {0: (np.sort(np.concatenate([real.fit, real.val])), real.test)}
    kept = (real.rows["keep"] == 1).to_numpy(bool)
    fold = real.rows["fold"].fillna(-1).to_numpy(int)
    return {
        k: (np.flatnonzero(kept & (fold != k)), np.flatnonzero(kept & (fold == k)))
        for k in plan["folds"]
    }


def run_seed_recipe(experiment: Experiment, look_again: bool) -> None:
    """Carry out the committed plan, and record it fold by fold.

    What the record holds already is kept if it was made with the same plan from the
    same images; so folds and seeds can be added to a plan. With `look_again` all is
    trained and scored once more.
    """
    plan, plan_sha256 = committed_plan(experiment.name)
    real, chosen = load_real(), plan["chosen"] | plan["carried_out"]
    precision = _precision(chosen)
    splits = _splits(real, plan)
    about = _about(experiment, real, plan) | {
        "plan_sha256": plan_sha256,
        "precision": precision,
    }
    kept = {} if look_again else recorded_pieces(about, splits)
    missing = [
        (fold, seed)
        for fold in splits
        for seed in plan["seeds"]
        if (fold, seed) not in kept
    ]
    if kept and missing:  # what is missing was never looked at
        about["looks"] = recorded.info(experiment.name)["looks"]
    else:
        about["looks"] = next_look(experiment.name, look_again)
    pieces = dict(kept)
    for fold, seed in missing:
        pieces[fold, seed] = _piece(about, real, chosen, fold, seed, *splits[fold])
        whole = {k for k in splits if all((k, s) in pieces for s in plan["seeds"])}
        if fold in whole and whole >= {k for k, _ in kept}:
            found = [pieces[k, s] for k in splits if k in whole for s in plan["seeds"]]
            _record(about, real, {k: splits[k] for k in splits if k in whole}, found)


def _about(experiment: Experiment, real: RealData, plan: dict) -> dict:
    about = info(
        experiment,
        describe(real),
        protocol=experiment.summary,
        wall_seconds=0,
        weights=imagenet_name(),
    )
    official = plan["split"] == "official"
    return about | {
        "manifest_sha256": None if official else sha256(manifest.PATH.read_text()),
        "plan": plan["chosen"],
        "carried_out": plan["carried_out"],
        "seeds": plan["seeds"],
    }


# A recorded piece is kept if these are what they were.
SAME = ("dataset", "manifest_sha256", "weights", "plan", "carried_out", "precision")


def recorded_pieces(about: dict, splits: dict) -> dict[tuple[int, int], dict]:
    """Return what is recorded already, by (fold, seed); nothing of another plan's.

    `about`: what would be recorded now; `splits`: by fold, (fitted, scored) rows.
    """
    path = recorded.FOLDER / f"{about['name']}.json"
    if not path.exists():
        return {}
    run = recorded.load(about["name"])
    if any(run.info[name] != about[name] for name in SAME):
        return {}
    found = {}
    for made, history in zip(run.info["pieces"], run.info["history"], strict=True):
        fold, seed = made["fold"], made["seed"]
        if fold in splits and seed in about["seeds"]:
            said = run.arrays["probabilities"][run.info["seeds"].index(seed)]
            found[fold, seed] = made | {
                "probabilities": said[run.arrays["fold"] == fold],
                "history": history,
            }
    return found


def _piece(about, real: RealData, chosen: dict, fold, seed, fit, score) -> dict:
    """Train and score one fold with one seed, or go on where that was cut off."""
    import keras

    # A further look trains anew: what an earlier one left in the cache is not it.
    decided = {name: about[name] for name in ("name", "plan_sha256", "precision")}
    decided |= {"look": about["looks"], "seed": seed, "scored_on": [fold]}
    key = decided_by(real, fit, **decided)

    def compute() -> dict[str, np.ndarray]:
        print(f"{about['name']}: fold {fold}, seed {seed}", flush=True)
        keras.utils.set_random_seed(seed)
        model = build(imagenet_backbone(), chosen, len(real.data.class_names))
        images, labels = real.data.images, real.labels
        path = checkpoints(key) / "whole.npz"
        history = train(model, images, labels, fit, score, chosen, seed, path)
        return {
            "probabilities": model.predict(images[score], verbose=0),
            "history": np.array(json.dumps(history)),
        }

    found = piece(key, compute)
    made = {name: found.about[name] for name in ("commit", "recorded_on", "seconds")}
    return (
        {"fold": fold, "seed": seed}
        | made
        | {
            "probabilities": found.arrays["probabilities"],
            "history": json.loads(str(found.arrays["history"])),
        }
    )


def _record(about: dict, real: RealData, splits: dict, found: list[dict]) -> None:
    """Write the record of some folds: all that were scored so far."""
    scored = np.concatenate([score for _, score in splits.values()])
    fold = np.repeat(list(splits), [len(score) for _, score in splits.values()])
    probabilities = [
        np.concatenate([p["probabilities"] for p in found if p["seed"] == seed])
        for seed in about["seeds"]
    ]
    seconds = [piece["seconds"] for piece in found]
    names = ("fold", "seed", "commit", "recorded_on", "seconds")
    about = about | {
        "wall_seconds": None if None in seconds else round(sum(seconds), 1),
        "pieces": [{name: piece[name] for name in names} for piece in found],
        "num_fit": int(np.mean([len(fit) for fit, _ in splits.values()]).round()),
        "num_val": 0,
        "num_scored": len(scored),
        "history": [piece["history"] for piece in found],
    }
    arrays = scored_arrays(real, scored, fold, probabilities)
    if about["manifest_sha256"]:
        arrays["groups"] = real.rows["series"].to_numpy(np.int32)[scored]
        arrays["patient"] = real.rows["patient"].fillna(-1).to_numpy(np.int32)[scored]
    write(about, **arrays)


def rehearse(experiment: Experiment) -> None:
    """Go through the motions on a few small images of Training; record nothing."""
    import tempfile

    import keras

    plan, _ = committed_plan(experiment.name)
    real, precision = load_real(), _precision(plan["carried_out"])
    some = np.random.default_rng(SEED).permutation(real.fit)
    few, pixels = REHEARSAL["images"], REHEARSAL["pixels"]
    rows = some[: few + REHEARSAL["scored"]]
    images = thumbnails(real.data.images[rows], pixels).astype(np.uint8)
    chosen = plan["chosen"] | {"num_epochs": REHEARSAL["num_epochs"]}
    keras.utils.set_random_seed(SEED)
    model = build(imagenet_backbone(pixels), chosen, len(real.data.class_names))
    parts = np.arange(few), np.arange(few, len(rows))
    with tempfile.TemporaryDirectory() as folder:
        for what in ("with the first step", "loaded, as after a cut"):
            started = time.perf_counter()
            history = train(
                model,
                images,
                real.labels[rows],
                *parts,
                chosen,
                SEED,
                Path(folder) / "rehearsal.npz",
            )
            seconds = time.perf_counter() - started
            print(f"{what}: {seconds:.1f} s, {history}", flush=True)
    print(
        f"Rehearsed {experiment.name}: {few} images at {pixels} px, {precision}, "
        f"{keras.backend.backend()}. Nothing was recorded, no test image was seen."
    )


_SUMMARY = (
    "The seed tutorial's recipe: DenseNet121 (ImageNet, 224 px), pixels divided by "
    "255, the first 10 layers frozen and all others trained, Flatten, 128 units, Adam "
    "at 1e-4, batches of 32, 7 epochs, no augmentation named. Its own way of choosing "
    "the epoch: the one that does best on the scored images (lowest loss), so the "
    "scored images are looked at after every epoch. "
)

EXPERIMENTS = (
    Experiment(
        "seed-recipe",
        _SUMMARY + "Official split: leaky.",
        run=run_seed_recipe,
        rehearse=rehearse,
    ),
    Experiment(
        "seed-recipe-leak-free",
        _SUMMARY + "Folds of the manifest (the plan says which), one image a slice, "
        "series and known patients whole, conflicts left out.",
        run=run_seed_recipe,
        rehearse=rehearse,
    ),
)
