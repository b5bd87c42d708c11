"""Looks inside networks: probes by layer, ImageNet's own opinion, first filters."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import config, recorded
from helpers.config import SEED, CourseError
from helpers.datasets import Dataset, load_dataset, thumbnails

from .pieces import commits
from .real import PIXELS, load_real
from .records import Experiment, committed_plan, describe, info, next_look, write
from .slices import (
    BACKBONES,
    FITTED,
    LAYERS,
    SCORED,
    VALIDATED,
    Slices,
    load_slices,
    pooled_at,
    views,
    weights_of,
)
from .transfer import answered, decided_by, record, write_plan

THUMBNAIL = "8 x 8 thumbnail"
SAMPLES = {"real": 60, "synthetic": 40}  # images a class that ImageNet is asked about
# What enters the last transition, whose convolution makes half as many maps of it.
BEFORE_TRANSITION, TRANSITION = "pool4_relu", "pool4_pool"
HALVINGS = tuple(f"halved at random, {number}" for number in range(1, 5))
TOP_WEIGHTS = "densenet121_imagenet_top.weights.h5"
TOP_NAMES = "imagenet_class_names.json"

# --- probes by layer ------------------------------------------------------------------


def choose_layers(experiment: Experiment) -> None:
    """Write down the grid; C is chosen inside the fitted part for each layer."""
    write_plan(
        experiment,
        {"C": [1e-4, 1e-3, 1e-2, 1e-1]},
        "for each layer, inside folds 0 to 2: lowest log loss on three inner folds "
        "that keep patients whole",
        [],
    )


def run_layers(experiment: Experiment, look_again: bool) -> None:
    """Fit a linear probe on the pooled output of every layer; score and record."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    plan, plan_sha256 = committed_plan(experiment.name)
    looks = next_look(experiment.name, look_again)
    started = time.perf_counter()
    slices = load_slices()
    if experiment.name == "transition-control":
        backbone, seen = "imagenet", halvings(slices)
    else:
        backbone = experiment.name.rpartition("-")[2]
        seen = by_layer(slices, backbone)
    fitted, scored = slices.of_folds((*FITTED, *VALIDATED)), slices.of_folds(SCORED)

    def probabilities(layer: str) -> np.ndarray:
        search = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
            {"logisticregression__C": plan["chosen"]["C"]},
            scoring="neg_log_loss",
            cv=StratifiedGroupKFold(3),
        )
        search.fit(
            seen[layer][fitted], slices.labels[fitted], groups=slices.patient[fitted]
        )
        seconds = time.perf_counter() - started
        print(f"{layer}: {search.best_params_}, {seconds:.0f} s", flush=True)
        return search.predict_proba(seen[layer][scored])

    layers, found = tuple(seen), []
    for layer in layers:
        decided = {"plan_sha256": plan_sha256, "look": looks, "layer": layer}
        key = decided_by(experiment, slices, fitted, backbone, **decided)
        found.append(answered(key, lambda layer=layer: probabilities(layer)))
    record(
        experiment,
        slices,
        plan=plan,
        plan_sha256=plan_sha256,
        looks=looks,
        weights=weights_of(backbone)[1],
        seconds=time.perf_counter() - started,
        extra={
            "num_fit": len(fitted),
            "num_patients_fit": len(np.unique(slices.patient[fitted])),
            "num_channels": {name: int(seen[name].shape[1]) for name in layers},
            "piece_commits": commits(found),
        },
        arms=("probe",),
        conditions=layers,
        probabilities=np.array([p.arrays["answers"] for p in found])[None, :, None],
    )


def by_layer(slices: Slices, backbone: str) -> dict[str, np.ndarray]:
    """Return a thumbnail and the pooled output of every layer, each [n, channels]."""
    small, seen = thumbnails(slices.images, 8), views(slices, backbone)
    return {
        THUMBNAIL: small.reshape(len(small), -1),
        **{layer: seen[layer] for layer in LAYERS},
    }


def halvings(slices: Slices) -> dict[str, np.ndarray]:
    """Return what the last transition gets, what it makes of it, and what chance makes.

    The transition's convolution is linear, and so is the mean over the image: to mix
    the means at random into half as many is to replace the learned weights by drawn
    ones. Each [n, channels].
    """
    before = pooled_at(slices, "imagenet", BEFORE_TRANSITION)
    shape = before.shape[1], before.shape[1] // 2
    seen = {BEFORE_TRANSITION: before}
    seen[TRANSITION] = views(slices, "imagenet")[TRANSITION]
    for number, name in enumerate(HALVINGS):
        drawn = np.random.default_rng((SEED, number)).standard_normal(shape)
        seen[name] = (before @ drawn / np.sqrt(shape[0])).astype(np.float32)
    return seen


# --- ImageNet's opinion ---------------------------------------------------------------


def sample_of(data: Dataset) -> np.ndarray:
    """Return `SAMPLES` images of each class, drawn at random, as sorted indices."""
    rng = np.random.default_rng(SEED)
    chosen = [
        rng.permutation(np.flatnonzero(data.labels == label))[: SAMPLES[data.badge]]
        for label in range(len(data.class_names))
    ]
    return np.sort(np.concatenate(chosen))


def record_opinion(experiment: Experiment, look_again: bool) -> None:
    """Ask ImageNet's whole network what it sees in slices, and record its answers."""
    import keras

    from helpers import batches

    started = time.perf_counter()
    folder = Path(config.weights_setting()).parent
    for name in (TOP_WEIGHTS, TOP_NAMES):
        if not (folder / name).exists():
            raise CourseError(
                f"{folder / name} is missing: the network with its classifier, and its "
                "1,000 names, have to lie beside BRAIN_MRI_WEIGHTS."
            )
    index = json.loads((folder / TOP_NAMES).read_text())
    names = np.array([index[str(number)].split(",")[0] for number in range(1000)])
    model = keras.applications.DenseNet121(weights=None)
    model.load_weights(folder / TOP_WEIGHTS)
    real = load_real()
    sets = {"real": real.data, "synthetic": load_dataset("phantom", pixels=PIXELS)}
    tables = []
    for badge, data in sets.items():
        rows = sample_of(data)
        images = np.asarray(batches.preprocess(data.images[rows]))
        answers = model.predict(images, batch_size=24, verbose=0)
        best = np.argsort(-answers, axis=1)[:, :5]
        tables.append(
            pd.DataFrame(
                {
                    "filenames": data.table["file"].to_numpy(str)[rows],
                    "labels": data.labels[rows].astype(np.int8),
                    "badges": badge,
                    "top5": list(best.astype(np.int16)),
                    "top5_probabilities": list(np.take_along_axis(answers, best, 1)),
                    "entropies": -(answers * np.log(answers + 1e-30)).sum(axis=1),
                }
            )
        )
    table = pd.concat(tables, ignore_index=True)
    arrays = {name: np.stack(table[name].tolist()) for name in table}
    arrays["top5_probabilities"] = arrays["top5_probabilities"].astype(np.float32)
    arrays["entropies"] = arrays["entropies"].astype(np.float32)
    arrays |= {"names": names, "class_names": np.array(real.data.class_names)}
    about = info(
        experiment,
        describe(real),
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
        weights=TOP_WEIGHTS,
    )
    about["phantoms"] = sets["synthetic"].name
    about["opinions"] = opinions_of(recorded.Run({}, arrays))
    write(about, **arrays)


def opinions_of(run: recorded.Run) -> dict:
    """Compute what the record states: {badge: {class: top names, mean probability}}."""
    stated = {}
    for badge in ("real", "synthetic"):
        stated[badge] = {}
        for label, name in enumerate(run.class_names):
            asked = (run.arrays["badges"] == badge) & (run.labels == label)
            first = run.arrays["names"][run.arrays["top5"][asked, 0]]
            counts = pd.Series(first).value_counts()
            order = sorted(counts.index, key=lambda n: (-counts[n], n))
            probability = run.arrays["top5_probabilities"][asked, 0]
            stated[badge][name] = {
                "images": int(asked.sum()),
                "different_names": len(order),
                "top_names": {str(n): int(counts[n]) for n in order[:5]},
                "mean_top_probability": float(probability.mean(dtype=float)),
                "share_above_half": float((probability > 0.5).mean()),
            }
    return stated


# --- first filters --------------------------------------------------------------------


def record_filters(experiment: Experiment, look_again: bool) -> None:
    """Describe the first layer's filters of every set of weights, and record that."""
    from helpers import costs, densenet

    started = time.perf_counter()
    arrays, names = {}, {}
    for backbone in BACKBONES:
        try:
            source, names[backbone] = weights_of(backbone)
        except CourseError as error:  # no bundled weights yet
            print(error)
            continue
        kernel = densenet.backbone(source, pixels=32).get_layer("conv1_conv").kernel
        table = costs.filter_table(np.asarray(kernel, dtype=np.float64))
        arrays |= {f"{backbone}_{name}": table[name].to_numpy() for name in table}
    about = info(
        experiment,
        {"name": "none", "copy": "weights only, no image"},
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
        weights=names["imagenet"],
    )
    about["weights_compared"] = names
    about["filters"] = filters_of(recorded.Run({}, arrays))
    write(about, **arrays)


def filters_of(run: recorded.Run) -> dict:
    """Compute what the record states of each set of weights."""
    stated = {}
    for backbone in BACKBONES:
        if f"{backbone}_grey" not in run.arrays:
            continue
        grey, norm, frequency, oriented = (
            run.arrays[f"{backbone}_{name}"]
            for name in ("grey", "norm", "frequency", "oriented")
        )
        stated[backbone] = {
            "num_filters": len(grey),
            "nearly_dead": int((norm < 0.1 * np.median(norm)).sum()),
            "mostly_colour": int((grey < 0.1).sum()),
            "mostly_grey": int((grey > 0.9).sum()),
            "median_grey": float(np.median(grey)),
            "median_oriented": float(np.median(oriented)),
            "clearly_oriented": int((oriented > 0.5).sum()),
            "median_frequency": float(np.median(frequency)),
            "largest_norm_ratio": float(norm.max() / np.median(norm)),
        }
    return stated


EXPERIMENTS = (
    *(
        Experiment(
            f"layer-probe-{backbone}",
            "Figshare's slices (three tumor classes, one file a slice, patients "
            "known), 96 px. Logistic regression on the output of one layer of a frozen "
            "DenseNet121, averaged over the image; fitted on folds 0 to 2 of the "
            "manifest, scored on folds 3 and 4, no patient of which it has seen. C "
            "chosen inside the fitted part. Intervals resample the scored patients. "
            f"Weights: {backbone}.",
            run=run_layers,
            choose=choose_layers,
        )
        for backbone in BACKBONES
    ),
    Experiment(
        "transition-control",
        "As layer-probe-imagenet, around the last transition: the 1,024 maps that "
        "enter it, the 512 that its learned convolution makes of them, and four times "
        "512 that a convolution with drawn weights makes of the same maps. Made after "
        "layer-probe-imagenet had scored the same patients, to control what it found.",
        run=run_layers,
        choose=choose_layers,
    ),
    Experiment(
        "imagenet-opinion",
        "What DenseNet121 with ImageNet's 1,000 classes answers to 60 real images and "
        "40 phantoms of each class, drawn at random, 224 px: its five first names with "
        "their probabilities. No training, no score.",
        run=record_opinion,
    ),
    Experiment(
        "first-filters",
        "The 64 filters of the first layer (7 x 7, three colours), described one by "
        "one: norm, share that a grey image can meet, frequency, orientation. ImageNet "
        "beside random weights and the course's own, if it is there.",
        run=record_filters,
    ),
)
