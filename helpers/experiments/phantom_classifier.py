"""A small classifier of phantoms that the course brings along, and what it can tell.

The bundled backbone with a linear head, fitted to virtual patients of another seed than
the course's own set. So every patient of that set is new to it, in every profile, and a
chapter may load it and evaluate it without training anything.
"""

import hashlib
import time

import numpy as np

from helpers import config, evaluation
from helpers.config import SEED
from helpers.files import whole_file

from .phantoms import PIXELS, phantoms
from .records import Experiment, describe_phantoms, info, write

FITTED_SEED = SEED + 1  # the virtual patients that it learns from
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1)  # candidates for C
NUM_FOLDS = 5
NUM_THIRDS = 3  # small, middling and large lesions


def fit(
    features: np.ndarray, labels: np.ndarray, patients: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[float, float]]:
    """Return kernel [d, k] and bias [k] of a linear head, and what chose its C.

    `features` float32 [n, d]. Logistic regression on standardised features; C by the
    lowest log loss over folds of whole patients; the standardising is folded into the
    head, so that it takes the features as they are.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    scaled, folds = scaler.transform(features), GroupKFold(NUM_FOLDS)
    losses = {}
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=5000)
        said = cross_val_predict(
            model, scaled, labels, groups=patients, cv=folds, method="predict_proba"
        )
        losses[strength] = float(evaluation.log_loss(labels, said))
    best = min(losses, key=losses.get)
    model = LogisticRegression(C=best, max_iter=5000).fit(scaled, labels)
    kernel = (model.coef_ / scaler.scale_).T
    bias = model.intercept_ - scaler.mean_ @ kernel
    return kernel.astype(np.float32), bias.astype(np.float32), losses


def features_of(images: np.ndarray, name: str) -> np.ndarray:
    """Return the bundled backbone's pooled features, float32 [n, 1024]."""
    import keras

    from helpers import densenet

    model = densenet.backbone("bundled", PIXELS)
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(model.output)
    return densenet.activations(keras.Model(model.input, pooled), images, name)


def forest_probabilities(data: dict) -> np.ndarray:
    """Return what chapter 8's forest, fitted to the same set's Training, says."""
    from sklearn.ensemble import ExtraTreesClassifier

    step = PIXELS // 32
    small = data["images"][:, ::step, ::step].reshape(len(data["images"]), -1)
    forest = ExtraTreesClassifier(300, min_samples_leaf=2, random_state=SEED)
    forest.fit(small[data["train"]], data["labels"][data["train"]])
    return forest.predict_proba(small[data["test"]])


def results(arrays: dict[str, np.ndarray]) -> dict:
    """Return accuracy and macro-F1 of both, their difference, and by size of lesion.

    Intervals: bootstrap over virtual patients. by_lesion: for each third of the slices
    that show a lesion, smallest first, its largest lesion (share of the picture), the
    number of slices and the share that each classifier got right.
    """
    labels, patients = arrays["labels"].astype(int), arrays["patients"]
    said = {k: arrays[f"{k}_probabilities"] for k in ("network", "forest")}
    found = {"num_scored": len(labels), "num_patients": len(set(patients))}
    for name, probabilities in said.items():
        answers = probabilities.argmax(axis=1)
        found[name] = {
            "accuracy": float((answers == labels).mean()),
            "macro_f1": evaluation.macro_f1(labels, answers),
            "ci95": {
                metric: evaluation.bootstrap_interval(
                    metric, labels, probabilities, patients, seed=SEED
                ).tolist()
                for metric in ("accuracy", "macro_f1")
            },
        }
    difference, low, high = evaluation.paired_bootstrap(
        "accuracy", labels, said["forest"], said["network"], patients, seed=SEED
    )
    found["network_over_forest"] = [float(n) for n in (difference, low, high)]
    shows = np.flatnonzero(arrays["lesion"] > 0)
    order = shows[arrays["lesion"][shows].argsort(kind="stable")]
    found["by_lesion"] = [
        {
            "largest": float(arrays["lesion"][rows].max()),
            "slices": len(rows),
            **{
                name: float((probabilities[rows].argmax(1) == labels[rows]).mean())
                for name, probabilities in said.items()
            },
        }
        for rows in np.array_split(order, NUM_THIRDS)
    ]
    return found


def make(experiment: Experiment, look_again: bool) -> None:
    """Fit the head, write it into data/weights with its hash, and record its score."""
    from helpers import densenet

    started = time.perf_counter()
    known, new = phantoms(FITTED_SEED, False), phantoms(SEED, False)
    features = features_of(known["images"], "phantom-classifier-known")
    kernel, bias, losses = fit(features, known["labels"], known["patients"])
    names = known["class_names"]
    path = config.ROOT / "data" / "weights" / densenet.CLASSIFIER_FILE
    with whole_file(path) as file:
        np.savez(file, kernel=kernel, bias=bias, class_names=names, pixels=PIXELS)
    densenet.write_hash(path)
    test = new["test"]
    network = densenet.phantom_classifier()
    arrays = {
        "filenames": new["files"][test],
        "labels": new["labels"][test].astype(np.int8),
        "class_names": new["class_names"],
        "patients": new["patients"][test],
        "lesion": new["lesion"][test].astype(np.float32),
        "network_probabilities": network.predict(new["images"][test], verbose=0),
        "forest_probabilities": forest_probabilities(new).astype(np.float32),
    }
    digest = hashlib.sha256(known["images"].tobytes() + new["images"].tobytes())
    about = info(
        experiment,
        describe_phantoms(
            f"{len(known['labels'])} synthetic slices of {PIXELS} px to fit, "
            f"{len(test)} of other virtual patients to score, planted twins left out",
            digest.hexdigest(),
        ),
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
        weights="bundled",
    )
    about["log_loss_by_c"] = {str(c): loss for c, loss in losses.items()}
    write(about | {"results": results(arrays)}, **arrays)


EXPERIMENTS = (
    Experiment(
        "phantom-classifier",
        "Logistic regression on the bundled backbone's features (96 px), fitted to a "
        f"set of virtual patients of seed {FITTED_SEED}, C by folds of whole patients; "
        "scored on the Testing part of the course's own set, whose patients are all "
        "new to it, beside chapter 8's forest, which is fitted to that set's Training.",
        run=make,
    ),
)
