"""Probes without an inner validation part, on the official split and on folds."""

import time

import numpy as np

from helpers import probes
from helpers.audit import manifest
from helpers.datasets import thumbnails

from .real import RealData, features_of, imagenet_name, load_real
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


def predict_copy(
    real: RealData, plan: dict, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Return one-hot probabilities: the label of the nearest training thumbnail."""
    small = thumbnails(real.data.images, plan["side"])
    twin = probes.copied_from(small, train, test, plan["mirrored"])
    return np.eye(len(real.data.class_names))[real.labels[twin]]


def predict_from_mode(
    real: RealData, plan: dict, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Return the class shares of each file's colour mode."""
    modes = real.data.table["mode"].to_numpy(str)
    return probes.mode_probabilities(modes, real.labels, train, test)


def predict_from_border(
    real: RealData, plan: dict, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Return what a random forest makes of the edge of each image."""
    numbers = probes.border_numbers(real.data.images)
    return probes.forest_probabilities(numbers, real.labels, train, test, plan["trees"])


def predict_linear_probe(
    real: RealData, plan: dict, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Return a linear probe's probabilities; C is chosen inside `train` each time.

    By the log loss of three inner folds that keep series whole.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, rows = features_of(real), real.rows
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)),
        {"logisticregression__C": plan["C"]},
        scoring="neg_log_loss",
        cv=StratifiedGroupKFold(3),
    )
    series = rows["series"].to_numpy(int)[train]
    search.fit(features[train], real.labels[train], groups=series)
    print(f"chosen inside the fold: {search.best_params_}", flush=True)
    return search.predict_proba(features[test])


def run_probe(experiment: Experiment, look_again: bool) -> None:
    """Carry out a committed plan without an inner validation part, and record it.

    On the official split it fits on all of Training and scores Testing. Twin-free, it
    takes the manifest's folds in turn, one image a group: whatever lies in the other
    folds is fitted, so that no slice, series or known patient is on both sides.
    """
    plan, plan_sha256 = committed_plan(experiment.name)
    looks = next_look(experiment.name, look_again)
    started = time.perf_counter()
    real = load_real()
    num_images, groups, manifest_sha256 = len(real.labels), {}, None
    if plan["split"] == "official":
        used, fold = np.ones(num_images, bool), np.full(num_images, -1)
        fold[real.test] = 0
    else:
        rows = real.rows
        used = rows["keep"].to_numpy(int) == 1
        fold = np.where(used, rows["fold"].to_numpy(int), -1)
        groups = {"groups": rows["series"].to_numpy(np.int32)[fold >= 0]}
        manifest_sha256 = sha256(manifest.PATH.read_text())
    probabilities = np.zeros((num_images, len(real.data.class_names)), np.float32)
    for number in range(fold.max() + 1):
        train, test = np.flatnonzero(used & (fold != number)), fold == number
        scored = np.flatnonzero(test)
        probabilities[test] = experiment.predict(real, plan["chosen"], train, scored)
        print(f"fold {number}: {len(train)} fitted, {len(scored)} scored", flush=True)
    scored = np.flatnonzero(fold >= 0)
    learned = experiment.predict is predict_linear_probe
    about = info(
        experiment,
        describe(real),
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
        weights=imagenet_name() if learned else "none",
    )
    about |= {
        "manifest_sha256": manifest_sha256,
        "plan_sha256": plan_sha256,
        "plan": plan["chosen"],
        "looks": looks,
        "seeds": plan["seeds"],
        "num_fit": int(used.sum() if groups else (fold < 0).sum()),
        "num_val": 0,
        "num_scored": len(scored),
    }
    said = [probabilities[scored]]
    write(about, **scored_arrays(real, scored, fold[scored], said), **groups)


EXPERIMENTS = (
    Experiment(
        "copying-official",
        "Official split. Each test image gets the label of the most similar "
        "training image, compared as 32 x 32 thumbnails. All of Training is "
        "there to copy from; nothing is learned or chosen. Probabilities are 0 or "
        "1, so log loss and calibration error mean nothing.",
        run=run_probe,
        predict=predict_copy,
    ),
    Experiment(
        "copying-mirrored-official",
        "As copying-official, with the left-right mirror image of every training "
        "image to copy from too.",
        run=run_probe,
        predict=predict_copy,
    ),
    Experiment(
        "copying-twin-free",
        "Five folds of the manifest, one image a slice, series and known patients "
        "whole, conflicts left out. Each image gets the label of the most similar "
        "image in the other folds (32 x 32 thumbnails, mirror images too). "
        "Intervals resample series. Log loss means nothing here.",
        run=run_probe,
        predict=predict_copy,
    ),
    Experiment(
        "linear-probe-twin-free",
        "Five folds of the manifest, one image a slice, series and known patients "
        "whole, conflicts left out. Logistic regression on frozen ImageNet "
        "DenseNet121 features (224 px); C chosen inside each fold's training part, "
        "on inner folds that keep series whole. Intervals resample series.",
        run=run_probe,
        predict=predict_linear_probe,
    ),
    Experiment(
        "colour-mode-official",
        "Official split. Each test file gets the class shares that training files "
        "of the same JPEG colour mode have. No pixel is looked at.",
        run=run_probe,
        predict=predict_from_mode,
    ),
    Experiment(
        "border-official",
        "Official split. A random forest on 22 numbers from the edge and the "
        "corners of each image, fitted on all of Training.",
        run=run_probe,
        predict=predict_from_border,
    ),
    Experiment(
        "border-twin-free",
        "As border-official, on the five folds of copying-twin-free. Intervals "
        "resample series.",
        run=run_probe,
        predict=predict_from_border,
    ),
)
