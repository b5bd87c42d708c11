"""Runs on the official split, and the recorded features of every image."""

import json
import time

import numpy as np

from helpers import config
from helpers.config import SEED

from .real import (
    BOUNDARY,
    RealData,
    features_of,
    frozen_activations,
    imagenet_name,
    load_real,
)
from .records import Experiment, describe, info, run_planned, sha256, write

# --- features of every image, for everybody -------------------------------------------


def record_features(experiment: Experiment, look_again: bool) -> None:
    """Project every image's ImageNet features to 256 dimensions and record them."""
    from sklearn.random_projection import GaussianRandomProjection

    started = time.perf_counter()
    real = load_real()
    features = features_of(real)
    projection = GaussianRandomProjection(256, random_state=SEED)
    write(
        info(
            experiment,
            describe(real),
            protocol=(
                "DenseNet121 features of every image (global average pooling, 1024 "
                "dimensions), multiplied by a fixed Gaussian matrix (256 dimensions). "
                "No label was used. group: files with identical pixels at 224 px."
            ),
            wall_seconds=time.perf_counter() - started,
            weights=imagenet_name(),
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
    features = features_of(real)
    probe = _probe(features[real.fit], real.labels[real.fit], plan)
    return probe.predict_proba(features[real.val])


def score_linear_probe(
    real: RealData, plan: dict, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return validation and test probabilities of a probe trained on the fit part."""
    features = features_of(real)
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
    activations, tail = frozen_activations(real)
    features = features_of(real)
    num_classes = len(real.data.class_names)
    label = f"{purpose}-seed{seed}-" + sha256(json.dumps(plan))[:12]
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


EXPERIMENTS = (
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
)
