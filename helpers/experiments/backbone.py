"""What the bundled backbone is worth, beside random weights and ImageNet's.

On the real images by a linear probe; on phantoms by fine-tuning its last block.
"""

import hashlib
import time

import numpy as np

from helpers import config, evaluation
from helpers.audit import manifest
from helpers.config import SEED, CourseError
from helpers.datasets import Dataset, load_dataset

from .real import BOUNDARY, manifest_rows
from .records import (
    Experiment,
    committed_plan,
    describe_phantoms,
    info,
    next_look,
    sha256,
    write,
)

PROBE_PIXELS = 96
BATCH = 64
PROBE_C = (0.001, 0.01, 0.1)
INNER_FOLDS = (0, 1)  # what recipes are compared on; the final score takes all five
ALL_FOLDS = (0, 1, 2, 3, 4)
COMPARED = ("bundled", "none", "auto")  # auto: ImageNet's, by BRAIN_MRI_WEIGHTS


# --- a linear probe -------------------------------------------------------------------


def pooled_features(model, data: Dataset, rows: np.ndarray) -> np.ndarray:
    """Return globally pooled features, float32 [rows, 1024], of a dataset's images.

    What is computed once stays in the cache, so a run that was cut off goes on.
    """
    import keras

    from helpers import batches

    digest = hashlib.sha256(data.fingerprint.encode())
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array))
    path = config.cache_dir() / "probe" / f"{digest.hexdigest()[:16]}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        shape = (len(data), model.output_shape[-1])
        known = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        known[:] = np.nan
    known = np.load(path, mmap_mode="r+")
    missing = rows[np.isnan(known[rows, 0])]
    if len(missing):
        grey = keras.Input(model.input_shape[1:3], dtype="uint8")
        maps = model(batches.preprocess(grey), training=False)
        pool = keras.Model(grey, keras.layers.GlobalAveragePooling2D()(maps))
        for first in range(0, len(missing), BATCH):
            part = missing[first : first + BATCH]
            filled = part[np.arange(BATCH).clip(max=len(part) - 1)]  # one shape
            known[part] = pool.predict_on_batch(data.images[filled])[: len(part)]
        known.flush()
    return np.array(known[rows])


def fitted_probe(features: np.ndarray, labels: np.ndarray, groups: np.ndarray):
    """Fit logistic regression; C by the log loss of three folds that keep groups."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)),
        {"logisticregression__C": PROBE_C},
        scoring="neg_log_loss",
        cv=StratifiedGroupKFold(3),
    )
    return search.fit(features, labels, groups=groups)


def twin_free(
    features: np.ndarray, labels: np.ndarray, rows, folds
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scored images and their probabilities: each fold by the others.

    Only images of `folds` take part, one a group, in fitting and in scoring.
    """
    fold = np.where(rows["keep"].to_numpy(int) == 1, rows["fold"].to_numpy(float), -1)
    series = rows["series"].to_numpy(int)
    used = np.isin(fold, folds)
    probabilities = np.zeros((len(labels), labels.max() + 1), np.float32)
    for number in folds:
        train, test = used & (fold != number), used & (fold == number)
        probe = fitted_probe(features[train], labels[train], series[train])
        probabilities[test] = probe.predict_proba(features[test])
    scored = np.flatnonzero(used)
    return scored, probabilities[scored]


def inner_score(model, real: Dataset) -> dict[str, float]:
    """Score a backbone on folds 0 and 1 of the manifest alone, each by the other."""
    rows = manifest_rows(real)
    fold = np.where(rows["keep"].to_numpy(int) == 1, rows["fold"].to_numpy(float), -1)
    part = np.flatnonzero(np.isin(fold, INNER_FOLDS))
    features = pooled_features(model, real, part)
    labels = real.labels[part]
    _, probabilities = twin_free(features, labels, rows.iloc[part], INNER_FOLDS)
    return {
        "macro_f1": evaluation.macro_f1(labels, probabilities.argmax(axis=1)),
        "log_loss": evaluation.log_loss(labels, probabilities),
    }


def phantom_score(model) -> float:
    """Return a backbone's macro-F1 on phantoms: three folds that keep patients."""
    from sklearn.model_selection import StratifiedGroupKFold

    data = load_dataset("phantom", pixels=PROBE_PIXELS)
    patients = data.table["patient"].to_numpy(str)
    features = pooled_features(model, data, np.arange(len(data)))
    predicted = data.labels.copy()
    folds = StratifiedGroupKFold(3).split(features, data.labels, patients)
    for train, test in folds:
        probe = fitted_probe(features[train], data.labels[train], patients[train])
        predicted[test] = probe.predict(features[test])
    return evaluation.macro_f1(data.labels, predicted)


def real_images() -> Dataset:
    """Return the real images at the probe's size."""
    if config.data_setting() == "phantom":
        raise CourseError(
            "the backbone is scored on the real images: set BRAIN_MRI_DATA to their "
            "folder (the one that holds Training and Testing), or to kaggle."
        )
    return load_dataset(pixels=PROBE_PIXELS)


def score_backbones(experiment: Experiment, look_again: bool) -> None:
    """Score the bundled file, random weights and ImageNet's in the same way; record."""
    from helpers import densenet

    plan, plan_sha256 = committed_plan(experiment.name)
    looks = next_look(experiment.name, look_again)
    started = time.perf_counter()
    real = real_images()
    rows = manifest_rows(real)
    series = rows["series"].to_numpy(int)
    train, test = real.official_split()
    arrays, official, scores = {}, {}, {}
    for setting in COMPARED:
        name = {"none": "random"}.get(setting, setting.replace("auto", "imagenet"))
        model = densenet.backbone(setting, PROBE_PIXELS)
        features = pooled_features(model, real, np.arange(len(real)))
        scored, arrays[name] = twin_free(features, real.labels, rows, ALL_FOLDS)
        probe = fitted_probe(features[train], real.labels[train], series[train])
        official[name] = probe.predict_proba(features[test]).astype(np.float32)
        scores[name] = {
            "weights": densenet.weights_name(setting),
            "twin_free_macro_f1": evaluation.macro_f1(
                real.labels[scored], arrays[name].argmax(axis=1)
            ),
            "official_accuracy": float(
                (official[name].argmax(axis=1) == real.labels[test]).mean()
            ),
        }
        print(scores[name], flush=True)
    files = real.table["file"].to_numpy(dtype=str)
    labels = real.labels[scored]
    gains = {
        f"over_{name}": evaluation.paired_bootstrap(
            "macro_f1", labels, arrays[name], arrays["bundled"], series[scored]
        )
        for name in ("random", "imagenet")
    }
    about = info(
        experiment,
        {
            "name": "masoudnickparvar/brain-tumor-mri-dataset, version 1",
            "copy": f"{len(files)} of its 7023 files, read at {PROBE_PIXELS} px",
            "fingerprint": real.fingerprint,
        },
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
        weights="bundled",
    )
    about |= {
        "manifest_sha256": sha256(manifest.PATH.read_text()),
        "plan_sha256": plan_sha256,
        "plan": plan["chosen"],
        "looks": looks,
        "looks_are": "scorings of the five folds and the official test images",
        "seeds": plan["seeds"],
        "num_fit": len(scored),
        "num_val": 0,
        "num_scored": len(scored),
        "tried": plan["candidates"],
        "scores": scores,
        "gain_in_macro_f1": {k: dict(v._asdict()) for k, v in gains.items()},
    }
    nothing = np.zeros((1, 0, len(real.class_names)), np.float32)
    write(
        about,
        filenames=files[scored],
        labels=labels.astype(np.int8),
        class_names=np.array(real.class_names),
        fold=rows["fold"].to_numpy()[scored].astype(np.int8),
        groups=series[scored].astype(np.int32),
        probabilities=arrays["bundled"][None],
        probabilities_random=arrays["random"][None],
        probabilities_imagenet=arrays["imagenet"][None],
        official_filenames=files[test],
        official_labels=real.labels[test].astype(np.int8),
        **{f"official_{name}": values for name, values in official.items()},
        val_filenames=files[:0],
        val_labels=real.labels[:0].astype(np.int8),
        val_probabilities=nothing,
    )


# --- fine-tuning on phantoms ----------------------------------------------------------

CURVES = {"head": 4, "tail": 8}  # epochs
TAIL_RATES = (3e-5, 3e-4, 1e-3)


def phantom_curve(data: Dataset, weights: str, rate: float, seed: int, fit, val):
    """Return validation macro-F1 after each epoch: the head, then the last block."""
    import keras

    from helpers import densenet
    from helpers.batches import ImageBatches

    keras.utils.set_random_seed(seed)
    frozen, tail = densenet.split_at(densenet.backbone(weights, PROBE_PIXELS), BOUNDARY)
    acts = densenet.activations(frozen, data.images, f"phantom-{weights}")
    pooled = keras.layers.GlobalAveragePooling2D()(tail.output)
    features = keras.Model(tail.input, pooled).predict(acts, verbose=0)
    centre, spread = features[fit].mean(0), features[fit].std(0) + 1e-6
    scaled = keras.layers.Normalization(mean=centre, variance=spread**2)
    head = keras.layers.Dense(len(data.class_names), activation="softmax")
    curve = []

    def train(model, arrays, epochs, rate):
        loss = "sparse_categorical_crossentropy"
        model.compile(keras.optimizers.Adam(rate), loss)
        stream = ImageBatches(arrays, data.labels, fit, 32, seed)
        for epoch in range(epochs):
            stream.first = epoch * stream.per_epoch
            model.fit(
                stream, steps_per_epoch=stream.per_epoch, shuffle=False, verbose=0
            )
            guess = model.predict(arrays[val], verbose=0).argmax(axis=1)
            curve.append(evaluation.macro_f1(data.labels[val], guess))

    inputs = keras.Input((features.shape[1],))
    train(keras.Model(inputs, head(scaled(inputs))), features, CURVES["head"], 1e-3)
    densenet.set_frozen(tail, tail.layers[0].name)
    whole = keras.Model(tail.input, head(scaled(pooled)))
    train(whole, acts, CURVES["tail"], rate)
    return curve


def record_curves(experiment: Experiment, look_again: bool) -> None:
    """Fine-tune from random and from bundled weights on phantoms, and record both.

    The tail's learning rate is chosen for each on seed 0 of an inner part of the fit
    patients; the validation patients are then scored with every seed.
    """
    from helpers import audit

    started = time.perf_counter()
    data = load_dataset("phantom", pixels=PROBE_PIXELS)
    train, test = data.official_split()
    patients = data.table["patient"].to_numpy(str)
    train = train[~np.isin(patients[train], patients[test])]  # no twin's patient
    groups = np.unique(patients, return_inverse=True)[1]
    fit, val = (
        train[part]
        for part in audit.inner_split(data.labels[train], groups[train], 0.25)
    )
    inner_fit, inner_val = (
        fit[part] for part in audit.inner_split(data.labels[fit], groups[fit], 0.25)
    )
    chosen, curves = {}, {}
    for weights in ("none", "bundled"):
        tried = {
            rate: phantom_curve(data, weights, rate, SEED, inner_fit, inner_val)
            for rate in TAIL_RATES
        }
        chosen[weights] = max(tried, key=lambda rate: tried[rate][-1])
        curves[weights] = [
            phantom_curve(data, weights, chosen[weights], seed, fit, val)
            for seed in experiment.seeds
        ]
        print(weights, chosen[weights], curves[weights], flush=True)
    names = {"none": "random", "bundled": "bundled"}
    about = info(
        experiment,
        describe_phantoms(
            f"{len(data)} synthetic slices of {PROBE_PIXELS} px", data.fingerprint
        ),
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
        weights="bundled and random",
    )
    about |= {
        "epochs": CURVES,
        "tail_rate": {names[w]: rate for w, rate in chosen.items()},
        "num_fit": len(fit),
        "num_scored": len(val),
        "macro_f1_by_epoch": {
            names[w]: np.mean(c, axis=0).tolist() for w, c in curves.items()
        },
        "final_macro_f1": {
            names[w]: [float(one[-1]) for one in c] for w, c in curves.items()
        },
    }
    write(
        about,
        **{f"curve_{names[w]}": np.array(c, np.float32) for w, c in curves.items()},
        filenames=data.table["file"].to_numpy(dtype=str)[val],
    )


EXPERIMENTS = (
    Experiment(
        "backbone-bundled",
        "Logistic regression on globally pooled, frozen features (96 px) of "
        "DenseNet121 with the bundled weights, with random ones and with ImageNet's. "
        "Five folds of the manifest, one image a slice, series and known patients "
        "whole, conflicts left out; beside it the official split. C is chosen inside "
        "each training part, on inner folds that keep series whole. Intervals resample "
        "series. The recipe of the bundled weights was chosen on folds 0 and 1 alone.",
        run=score_backbones,
    ),
    Experiment(
        "backbone-curves",
        "Phantoms (synthetic), 96 px, patients disjoint. From random and from bundled "
        "weights: the head, then the last dense block (BatchNorm in inference mode), "
        "on cached activations; macro-F1 on validation patients after each epoch.",
        run=record_curves,
        seeds=(0, 1, 2),
    ),
)
