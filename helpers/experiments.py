"""Run an experiment on the real images once, and record it for everybody.

    python -m helpers.experiments list
    python -m helpers.experiments features-imagenet-224
    python -m helpers.experiments linear-probe-official --choose
    python -m helpers.experiments linear-probe-official

`--choose` compares candidates on an inner validation part of Training and writes the
plan to data/recorded/plans/NAME.json. The run itself refuses to start before that plan
is committed, looks at the test images once, and counts its looks.

Needs the real images (BRAIN_MRI_DATA) and ImageNet weights (BRAIN_MRI_WEIGHTS).
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np

from helpers import audit, config, evaluation, probes, recorded
from helpers.audit import manifest
from helpers.config import ROOT, SEED, CourseError
from helpers.datasets import Dataset, load_dataset

PLANS = recorded.FOLDER / "plans"
PIXELS = 224
BOUNDARY = "pool4_pool"
VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Experiment:
    """What the command line can run: `choose` writes a plan, `run` carries it out."""

    name: str
    summary: str
    run: Callable[["Experiment", bool], None]
    candidates: tuple[dict, ...] = ()
    seeds: tuple[int, ...] = (SEED,)
    try_plan: Callable[["RealData", dict], np.ndarray] | None = None
    score: Callable[["RealData", dict, int], tuple[np.ndarray, np.ndarray]] | None = (
        None
    )
    predict: Callable[["RealData", dict, np.ndarray, np.ndarray], np.ndarray] | None = (
        None
    )


@dataclass(frozen=True)
class RealData:
    """The real images with the official split and its inner validation part.

    `fit` and `val` are disjoint parts of Training that share no exact duplicate.
    """

    data: Dataset
    group: np.ndarray
    fit: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        return self.data.labels


def load_real() -> RealData:
    """Load the real images at 224 px and split Training into fit and validation."""
    if config.data_setting() == "phantom":
        raise CourseError(
            "experiments run on the real images: set BRAIN_MRI_DATA to their folder "
            "(the one that holds Training and Testing), or to kaggle."
        )
    data = load_dataset(pixels=PIXELS)
    if data.class_names != ("glioma", "meningioma", "notumor", "pituitary"):
        raise CourseError(
            f"{data.name} has the classes {data.class_names}; expected 4."
        )
    group = audit.exact_duplicate_groups(data.images)
    train, test = data.official_split()
    fit, val = audit.inner_split(data.labels[train], group[train], VALIDATION_SHARE)
    return RealData(data, group, train[fit], train[val], test)


def _imagenet_backbone():
    from helpers import densenet

    weights = densenet.weights_name("auto")
    if "imagenet" not in weights:
        raise CourseError(
            f"the weights are {weights!r}; expected ImageNet's. Set BRAIN_MRI_WEIGHTS "
            "to imagenet or to the path of densenet121_imagenet_notop.weights.h5."
        )
    return densenet.backbone("auto", pixels=PIXELS)


def _frozen_activations(real: RealData):
    """Return what the frozen part makes of every image, and the untrained tail."""
    from helpers import densenet

    frozen, tail = densenet.split_at(_imagenet_backbone(), BOUNDARY)
    return densenet.activations(frozen, real.data.images, "imagenet-224"), tail


def _features(real: RealData) -> np.ndarray:
    """Return globally pooled ImageNet features, float32 [n, 1024], of every image."""
    path = config.cache_dir() / f"features-{real.data.fingerprint[:16]}.npy"
    if path.exists():
        return np.load(path)
    import keras

    from helpers import densenet

    activations, tail = _frozen_activations(real)
    pooled = keras.layers.GlobalAveragePooling2D()(tail.output)
    # In steps: predict would copy the whole memory map into memory first.
    model, steps = keras.Model(tail.input, pooled), range(0, len(activations), 512)
    features = np.concatenate(
        [model.predict(activations[i : i + 512], verbose=0) for i in steps]
    )
    with densenet.whole_file(path) as file:
        np.save(file, features)
    return features


# --- features of every image, for everybody -------------------------------------------


def record_features(experiment: Experiment, look_again: bool) -> None:
    """Project every image's ImageNet features to 256 dimensions and record them."""
    from sklearn.random_projection import GaussianRandomProjection

    started = time.perf_counter()
    real = load_real()
    features = _features(real)
    projection = GaussianRandomProjection(256, random_state=SEED)
    _write(
        _info(
            experiment,
            real,
            protocol=(
                "DenseNet121 features of every image (global average pooling, 1024 "
                "dimensions), multiplied by a fixed Gaussian matrix (256 dimensions). "
                "No label was used. group: files with identical pixels at 224 px."
            ),
            wall_seconds=time.perf_counter() - started,
        ),
        filenames=real.data.table["file"].to_numpy(dtype=str),
        labels=real.labels.astype(np.int8),
        class_names=np.array(real.data.class_names),
        group=real.group.astype(np.int32),
        features=projection.fit_transform(features).astype(np.float16),
    )


# --- linear probe ---------------------------------------------------------------------


def _probe(features: np.ndarray, labels: np.ndarray, plan: dict):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=plan["C"], max_iter=5000)
    )
    return probe.fit(features, labels)


def try_linear_probe(real: RealData, plan: dict) -> np.ndarray:
    """Return validation probabilities [m, k] of a probe trained on the fit part."""
    features = _features(real)
    probe = _probe(features[real.fit], real.labels[real.fit], plan)
    return probe.predict_proba(features[real.val])


def score_linear_probe(
    real: RealData, plan: dict, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return validation and test probabilities of a probe trained on the fit part."""
    features = _features(real)
    probe = _probe(features[real.fit], real.labels[real.fit], plan)
    return probe.predict_proba(features[real.val]), probe.predict_proba(
        features[real.test]
    )


# --- fine-tuning ----------------------------------------------------------------------


def _fine_tuned(real: RealData, plan: dict, seed: int, purpose: str):
    """Train head, then last dense block, on the fit part; return what predicts.

    On a CPU the frozen part's output is computed once, so there is no augmentation of
    pixels. The epoch with the lowest validation loss is kept. Checkpoints are in the
    cache: a run that was cut off goes on.
    """
    import keras

    from helpers import densenet, training
    from helpers.batches import ImageBatches

    keras.utils.set_random_seed(seed)
    activations, tail = _frozen_activations(real)
    features = _features(real)
    num_classes = len(real.data.class_names)
    label = f"{purpose}-seed{seed}-" + _sha256(json.dumps(plan))[:12]
    checkpoints = config.cache_dir() / "checkpoints"

    def compiled(model, rate, num_steps):
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, num_steps, warmup_target=rate, warmup_steps=num_steps // 20
        )
        model.compile(
            keras.optimizers.AdamW(schedule, weight_decay=plan["weight_decay"]),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model

    # Stage 1: the head alone, on pooled features of the frozen network.
    inputs = keras.Input((features.shape[1],))
    head = keras.layers.Dense(num_classes, activation="softmax", name="head")
    batches = ImageBatches(features, real.labels, real.fit, plan["batch_size"], seed)
    num_epochs = plan["num_epochs"]["head"]
    warm_up = compiled(
        keras.Model(inputs, head(inputs)),
        plan["learning_rate"]["head"],
        num_epochs * batches.per_epoch,
    )
    training.fit(warm_up, batches, num_epochs, checkpoints / f"{label}-head.npz")

    # Stage 2: the last dense block and the head; BatchNorm stays in inference mode.
    densenet.set_frozen(tail, tail.layers[0].name)
    pooled = keras.layers.GlobalAveragePooling2D()(tail.output)
    batches = ImageBatches(activations, real.labels, real.fit, plan["batch_size"], seed)
    num_epochs = plan["num_epochs"]["tail"]
    model = compiled(
        keras.Model(tail.input, head(pooled)),
        plan["learning_rate"]["tail"],
        num_epochs * batches.per_epoch,
    )
    history = training.fit(
        model,
        batches,
        num_epochs,
        checkpoints / f"{label}-tail.npz",
        validation=(activations[real.val], real.labels[real.val]),
        patience=num_epochs,
    )
    print(f"{label}: {history}", flush=True)
    return lambda rows: model.predict(activations[rows], batch_size=64, verbose=0)


def try_fine_tuning(real: RealData, plan: dict) -> np.ndarray:
    """Return validation probabilities [m, k] of a model tuned on the fit part."""
    return _fine_tuned(real, plan, SEED, "choose")(real.val)


def score_fine_tuning(
    real: RealData, plan: dict, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return validation and test probabilities of a model tuned on the fit part."""
    predict = _fine_tuned(real, plan, seed, "score")
    return predict(real.val), predict(real.test)


# --- probes, on the official split and on folds ---------------------------------------


def predict_copy(
    real: RealData, plan: dict, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Return one-hot probabilities: the label of the nearest training thumbnail."""
    small = probes.thumbnails(real.data.images, plan["side"])
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
    images, labels = real.data.images, real.labels
    return probes.border_probabilities(images, labels, train, test, plan["trees"])


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

    features, rows = _features(real), _manifest_rows(real)
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


def _manifest_rows(real: RealData):
    """Return the manifest's row of every image, in the images' order."""
    rows = manifest.load().set_index("filename")
    missing = real.data.table.loc[~real.data.table["file"].isin(rows.index), "file"]
    if len(missing):
        raise CourseError(
            f"{missing.iloc[0]} and {len(missing) - 1} more files are not in "
            f"{manifest.PATH.name}; expected Kaggle's version 1."
        )
    return rows.loc[real.data.table["file"]]


def run_probe(experiment: Experiment, look_again: bool) -> None:
    """Carry out a committed plan without an inner validation part, and record it.

    On the official split it fits on all of Training and scores Testing. Twin-free, it
    takes the manifest's folds in turn, one image a group: whatever lies in the other
    folds is fitted, so that no slice, series or known patient is on both sides.
    """
    plan, plan_sha256 = _committed_plan(experiment.name)
    looks = _next_look(experiment.name, look_again)
    started = time.perf_counter()
    real = load_real()
    num_images, groups, manifest_sha256 = len(real.labels), {}, None
    if plan["split"] == "official":
        used, fold = np.ones(num_images, bool), np.full(num_images, -1)
        fold[real.test] = 0
    else:
        rows = _manifest_rows(real)
        used = rows["keep"].to_numpy(int) == 1
        fold = np.where(used, rows["fold"].to_numpy(int), -1)
        groups = {"groups": rows["series"].to_numpy(np.int32)[fold >= 0]}
        manifest_sha256 = _sha256(manifest.PATH.read_text())
    probabilities = np.zeros((num_images, len(real.data.class_names)), np.float32)
    for number in range(fold.max() + 1):
        train, test = np.flatnonzero(used & (fold != number)), fold == number
        scored = np.flatnonzero(test)
        probabilities[test] = experiment.predict(real, plan["chosen"], train, scored)
        print(f"fold {number}: {len(train)} fitted, {len(scored)} scored", flush=True)
    scored = np.flatnonzero(fold >= 0)
    files = real.data.table["file"].to_numpy(dtype=str)
    info = _info(
        experiment,
        real,
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
    )
    if experiment.predict is not predict_linear_probe:
        info["weights"] = "none"
    info |= {
        "manifest_sha256": manifest_sha256,
        "plan_sha256": plan_sha256,
        "plan": plan["chosen"],
        "looks": looks,
        "seeds": plan["seeds"],
        "num_fit": int(used.sum() if groups else (fold < 0).sum()),
        "num_val": 0,
        "num_scored": len(scored),
    }
    _write(
        info,
        filenames=files[scored],
        labels=real.labels[scored].astype(np.int8),
        class_names=np.array(real.data.class_names),
        fold=fold[scored].astype(np.int8),
        probabilities=probabilities[scored][None],
        val_filenames=files[:0],
        val_labels=real.labels[:0].astype(np.int8),
        val_probabilities=probabilities[None, :0],
        **groups,
    )


# --- plans, looks and records ---------------------------------------------------------


def choose(experiment: Experiment) -> None:
    """Compare the candidates on the inner validation part and write the plan.

    The candidate with the lowest validation log loss wins; macro-F1 is written beside
    it. No test image is touched.
    """
    real = load_real()
    table = []
    for candidate in experiment.candidates:
        started = time.perf_counter()
        probabilities = experiment.try_plan(real, candidate)
        labels = real.labels[real.val]
        row = {
            "log_loss": evaluation.log_loss(labels, probabilities),
            "macro_f1": evaluation.macro_f1(labels, probabilities.argmax(axis=1)),
            "errors": int((probabilities.argmax(axis=1) != labels).sum()),
        }
        table.append({"plan": candidate, "validation": row})
        print(f"{candidate}: {row}, {time.perf_counter() - started:.0f} s", flush=True)
    best = min(table, key=lambda row: row["validation"]["log_loss"])
    path = PLANS / f"{experiment.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    plan = {
        "name": experiment.name,
        "chosen": best["plan"],
        "chosen_by": (
            f"lowest log loss on an inner validation part: {VALIDATION_SHARE:.0%} of "
            "Training, class-balanced, exact duplicates kept together"
        ),
        "seeds": list(experiment.seeds),
        "num_fit": len(real.fit),
        "num_val": len(real.val),
        "candidates": table,
    }
    path.write_text(json.dumps(plan, indent=1) + "\n")
    print(f"Plan written to {path}. Commit it, then run: {experiment.name}")


def _committed_plan(name: str) -> tuple[dict, str]:
    """Return the plan and its SHA-256; refuse one that git does not hold as it is."""
    path = PLANS / f"{name}.json"
    if not path.exists():
        raise CourseError(
            f"{path} is missing: choose a plan first, with\n"
            f"    python -m helpers.experiments {name} --choose"
        )
    text = path.read_text()
    if _git("show", f"HEAD:{path.relative_to(ROOT)}") != text:
        raise CourseError(
            f"{path} differs from what is committed. Commit it before looking at the "
            "test images: a plan that can still change is not a plan."
        )
    return json.loads(text), _sha256(text)


def _next_look(name: str, look_again: bool) -> int:
    """Count the looks at the test images; any but the first must be asked for."""
    path = recorded.FOLDER / f"{name}.json"
    if not path.exists():
        return 1
    looks = recorded.info(name)["looks"]
    if not look_again:
        raise CourseError(
            f"{name} has looked at the test images already ({looks} time(s)). Its "
            f"record is {path}. To look again, and have it counted, add --look-again."
        )
    return looks + 1


def run_planned(experiment: Experiment, look_again: bool) -> None:
    """Carry out the committed plan with every seed, score the test images, record."""
    plan, plan_sha256 = _committed_plan(experiment.name)
    looks = _next_look(experiment.name, look_again)
    started = time.perf_counter()
    real = load_real()
    val, test, seconds = [], [], []
    for seed in plan["seeds"]:
        seed_started = time.perf_counter()
        val_probabilities, test_probabilities = experiment.score(
            real, plan["chosen"], seed
        )
        val.append(val_probabilities)
        test.append(test_probabilities)
        seconds.append(round(time.perf_counter() - seed_started, 1))
        print(f"seed {seed}: {seconds[-1]:.0f} s", flush=True)
    files = real.data.table["file"].to_numpy(dtype=str)
    probabilities = np.stack(test).astype(np.float32)
    info = _info(
        experiment,
        real,
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
    )
    info |= {
        "plan_sha256": plan_sha256,
        "plan": plan["chosen"],
        "looks": looks,
        "seeds": plan["seeds"],
        "seconds_per_seed": seconds,
        "num_fit": len(real.fit),
        "num_val": len(real.val),
        "num_scored": len(real.test),
    }
    _write(
        info,
        filenames=files[real.test],
        labels=real.labels[real.test].astype(np.int8),
        class_names=np.array(real.data.class_names),
        fold=np.zeros(len(real.test), np.int8),
        probabilities=probabilities,
        val_filenames=files[real.val],
        val_labels=real.labels[real.val].astype(np.int8),
        val_probabilities=np.stack(val).astype(np.float32),
    )


def metrics_of(run: recorded.Run) -> dict:
    """Compute a record's metrics from its arrays, as its JSON states them."""
    return evaluation.metrics(
        run.labels.astype(int),
        run.probabilities,
        run.class_names,
        run.groups,
        seed=SEED,
    )


def _write(info: dict, **arrays: np.ndarray) -> None:
    """Write the record: the arrays first, then the JSON that follows from them."""
    recorded.FOLDER.mkdir(parents=True, exist_ok=True)
    path = recorded.FOLDER / f"{info['name']}.npz"
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(temporary, path)
    if "probabilities" in arrays:
        info["metrics"] = metrics_of(recorded.Run(info, arrays))
    path.with_suffix(".json").write_text(json.dumps(info, indent=1) + "\n")
    print(json.dumps(info, indent=1))


def _info(
    experiment: Experiment, real: RealData, protocol: str, wall_seconds: float
) -> dict:
    from helpers import densenet

    table = real.data.table
    return {
        "name": experiment.name,
        "dataset": {
            "name": "masoudnickparvar/brain-tumor-mri-dataset, version 1",
            "copy": f"{len(table)} of its 7023 files, read at {PIXELS} px",
            "fingerprint": real.data.fingerprint,
        },
        "manifest_sha256": None,  # official split: no manifest of folds is used
        "plan_sha256": None,
        "looks": 0,
        "protocol": protocol,
        "weights": densenet.weights_name("auto"),
        "profile": "full",
        "seeds": list(experiment.seeds),
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "device": f"{os.cpu_count()} CPU cores, {_cpu_name()}",
        "versions": {
            "python": platform.python_version(),
            **{
                name: version(name)
                for name in ("keras", "tensorflow-cpu", "numpy", "scikit-learn")
            },
        },
        "commit": COMMIT,
        "recorded_on": date.today().isoformat(),
        "wall_seconds": round(wall_seconds, 1),
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """Return the commit, with `+changes` when helpers differ from it."""
    changed = _git("status", "--porcelain", "--", "helpers").strip()
    return _git("rev-parse", "HEAD").strip()[:12] + ("+changes" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout


# Read once, at the start: the code that runs is the code that was there then.
COMMIT = _commit()


# --- the command line -----------------------------------------------------------------

EXPERIMENTS = {
    e.name: e
    for e in (
        Experiment(
            "features-imagenet-224",
            "Projected ImageNet features of every image (no training, no test score)",
            run=record_features,
        ),
        Experiment(
            "linear-probe-official",
            "Official split. Logistic regression on frozen ImageNet DenseNet121 "
            "features (224 px), fitted on Training less its inner validation part.",
            run=run_planned,
            candidates=tuple({"C": c} for c in (0.001, 0.01, 0.1, 1.0)),
            try_plan=try_linear_probe,
            score=score_linear_probe,
        ),
        Experiment(
            "fine-tune-official",
            "Official split. DenseNet121 (ImageNet, 224 px): head first, then the last "
            "dense block with BatchNorm in inference mode, on cached activations "
            "(so without augmentation), fitted on Training less its inner validation "
            "part, which also picks the epoch.",
            run=run_planned,
            candidates=tuple(
                {
                    "boundary": BOUNDARY,
                    "batch_size": 32,
                    "num_epochs": {"head": 10, "tail": 4},
                    "learning_rate": {"head": 1e-3, "tail": rate},
                    "weight_decay": 1e-4,
                }
                for rate in (1e-4, 3e-4, 1e-3)
            ),
            seeds=(0, 1, 2),
            try_plan=try_fine_tuning,
            score=score_fine_tuning,
        ),
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
}


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=["list", *EXPERIMENTS])
    parser.add_argument(
        "--choose",
        action="store_true",
        help="compare the candidates on the inner validation part and write the plan",
    )
    parser.add_argument(
        "--look-again",
        action="store_true",
        help="score the test images once more; the record counts it",
    )
    asked = parser.parse_args(arguments)
    if asked.name == "list":
        for experiment in EXPERIMENTS.values():
            print(f"{experiment.name}\n    {experiment.summary}")
        return 0
    experiment = EXPERIMENTS[asked.name]
    try:
        if asked.choose and not experiment.candidates:
            raise CourseError(
                f"{experiment.name} has nothing to choose: run it plainly."
            )
        if asked.choose:
            choose(experiment)
        else:
            experiment.run(experiment, asked.look_again)
    except CourseError as error:
        print(f"experiments: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
