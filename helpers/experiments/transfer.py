"""Does transfer help? Learning curves over labelled patients, on the real images.

Every run scores the same slices: figshare's, in folds 3 and 4 of the manifest. It
learns from patients of folds 0 to 2. Plans are chosen by learning from folds 0 and 1
and validating on fold 2.
"""

import json
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from helpers import evaluation, recorded
from helpers.audit import manifest
from helpers.datasets import thumbnails

from . import pieces
from .records import (
    PLANS,
    Experiment,
    committed_plan,
    info,
    next_look,
    sha256,
    write,
)
from .slices import (
    BACKBONES,
    CLASSES,
    FITTED,
    PIXELS,
    SCORED,
    VALIDATED,
    Slices,
    load_slices,
    maps_at,
    views,
    weights_of,
)

SIZES = (6, 15, 36, 90)  # labelled patients, a third of them of each class
DRAWS = (0, 1, 2)
TRIED = 36
MIDDLE = "conv4_block24_concat"  # where ImageNet's layer-probe scored highest
BOUNDARY = "conv5_block12_concat"  # behind it: the last four of sixteen dense layers
BATCH_SIZE = 32
# Optimizer steps at each size: they grow as the square root of the patients, so that
# few patients are seen more often, and many are not seen for ever.
STEPS = {6: 30, 15: 45, 36: 70, 90: 110}
SCRATCH_FACTOR = 4  # a network that starts from nothing gets four times the steps
SCRATCH_PIXELS = 32

# (rows, patients, seed, plan) -> what predicts
Fit = Callable[[np.ndarray, int, int, dict], Callable[[np.ndarray], np.ndarray]]


def draw(slices: Slices, folds: tuple[int, ...], size: int, seed: int) -> np.ndarray:
    """Return the slices of `size` patients, as many of each class, as sorted indices.

    The same seed shuffles the patients of a class in the same way, so a smaller draw is
    part of a larger one, and every arm learns from the same patients.
    """
    pool = slices.of_folds(folds)
    chosen = []
    for label in range(len(CLASSES)):
        patients = np.unique(slices.patient[pool][slices.labels[pool] == label])
        order = np.random.default_rng((seed, label)).permutation(patients)
        chosen.append(order[: size // len(CLASSES)])
    return pool[np.isin(slices.patient[pool], np.concatenate(chosen))]


# --- what is tried --------------------------------------------------------------------


def probe(features: np.ndarray, labels: np.ndarray, C: float):
    """Fit a logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(C=C, max_iter=5000)
    return make_pipeline(StandardScaler(), regression).fit(features, labels)


def head_of(fitted) -> list[np.ndarray]:
    """Return a fitted probe as the kernel and bias of a Dense layer."""
    scaler, regression = fitted[0], fitted[-1]
    kernel = (regression.coef_ / scaler.scale_).T
    return [kernel, regression.intercept_ - scaler.mean_ @ kernel]


def fit_frozen(slices: Slices, seen: dict, backbone: str, layer: str = "relu") -> Fit:
    """Return what fits a linear probe on a layer of the frozen network."""

    def fit(rows: np.ndarray, size: int, seed: int, plan: dict):
        fitted = probe(seen[layer][rows], slices.labels[rows], plan["C"])
        return lambda asked: fitted.predict_proba(seen[layer][asked])

    return fit


def tail_model(backbone: str, norm_trains: bool = False):
    """Build the part behind `BOUNDARY` with a head for three classes, compiled.

    `norm_trains`: leave BatchNormalization in training mode.
    """
    import keras

    from helpers import densenet

    full = densenet.backbone(weights_of(backbone)[0], pixels=PIXELS)
    _, tail = densenet.split_at(full, BOUNDARY)
    densenet.set_frozen(tail, tail.layers[0].name)
    if norm_trains:
        for layer in tail.layers[1:]:
            layer.trainable = True
    pooled = keras.layers.GlobalAveragePooling2D()(tail.output)
    head = keras.layers.Dense(len(CLASSES), activation="softmax", name="head")
    model = keras.Model(tail.input, head(pooled))
    optimizer = keras.optimizers.AdamW(1e-4, weight_decay=1e-4)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def fit_model(
    model,
    inputs: np.ndarray,
    labels: np.ndarray,
    factor: int,
    prepare: Callable[[np.ndarray, int, dict], None],
) -> Fit:
    """Return what trains a compiled model from its first weights, again and again.

    TensorFlow traces it once. `prepare`: (rows, seed, plan) sets what is not to start
    from the first weights. The learning rate rises to the plan's over a tenth of the
    steps and falls along half a cosine. Fewer images than a batch are repeated.
    """
    import keras

    from helpers.batches import ImageBatches

    first = model.get_weights()
    model.optimizer.build(model.trainable_variables)
    untouched = [np.array(variable) for variable in model.optimizer.variables]

    def fit(rows: np.ndarray, size: int, seed: int, plan: dict):
        model.set_weights(first)
        for variable, value in zip(model.optimizer.variables, untouched, strict=True):
            variable.assign(value)
        prepare(rows, seed, plan)
        rows = np.resize(rows, max(len(rows), BATCH_SIZE))
        stream = ImageBatches(inputs, labels, rows, BATCH_SIZE, seed)
        num_steps = STEPS[size] * factor
        rising = num_steps // 10
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0,
            num_steps - rising,
            warmup_target=plan["learning_rate"],
            warmup_steps=rising,
        )
        for step in range(num_steps):
            model.optimizer.learning_rate = float(schedule(step))
            model.train_on_batch(*stream[step])
        return lambda asked: model.predict(inputs[asked], batch_size=64, verbose=0)

    return fit


def redraw(weights: list, seed: int) -> None:
    """Fill the kernels among `weights` as He et al. 2015 do, from the seed."""
    rng = np.random.default_rng(seed)
    for weight in weights:
        if weight.path.endswith("kernel"):
            shape = tuple(weight.shape)
            spread = np.sqrt(2 / np.prod(shape[:-1]))
            weight.assign(spread * rng.standard_normal(shape, np.float32))


def fit_fine_tuned(slices: Slices, seen: dict, backbone: str) -> Fit:
    """Return what fits a probe and trains on from there, with four dense layers."""
    model = tail_model(backbone)

    def head_first(rows: np.ndarray, seed: int, plan: dict):
        fitted = probe(seen["relu"][rows], slices.labels[rows], plan["C"])
        model.get_layer("head").set_weights(head_of(fitted))

    maps = maps_at(slices, backbone, BOUNDARY)
    return fit_model(model, maps, slices.labels, 1, head_first)


def small_network():
    """Build four convolutions with BatchNormalization for 32 px, 98,000 parameters."""
    import keras

    from helpers import batches

    grey = keras.Input((SCRATCH_PIXELS, SCRATCH_PIXELS), dtype="uint8")
    x = batches.preprocess(grey)
    for width in (16, 32, 64, 128):
        x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.MaxPooling2D()(keras.layers.ReLU()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(len(CLASSES), activation="softmax", name="head")(x)
    model = keras.Model(grey, x)
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=1e-4)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def fit_scratch(slices: Slices, seen: dict, backbone: str) -> Fit:
    """Return what trains the small network from random weights, all of it."""
    small = thumbnails(slices.images, SCRATCH_PIXELS).astype(np.uint8)
    model = small_network()

    def start(rows: np.ndarray, seed: int, plan: dict):
        redraw(model.trainable_weights, seed)

    return fit_model(model, small, slices.labels, SCRATCH_FACTOR, start)


ARMS = {
    "frozen": fit_frozen,
    "frozen, third block": partial(fit_frozen, layer=MIDDLE),
    "fine-tuned": fit_fine_tuned,
    "from scratch": fit_scratch,
}
PROBES = tuple({"C": C} for C in (0.0001, 0.001, 0.01, 0.1, 1.0))
CANDIDATES = {
    "frozen": PROBES,
    "frozen, third block": PROBES,
    "fine-tuned": tuple({"learning_rate": rate} for rate in (1e-4, 3e-4, 1e-3)),
    "from scratch": tuple({"learning_rate": rate} for rate in (3e-4, 1e-3, 3e-3)),
}


# --- choosing and scoring -------------------------------------------------------------


def arm_of(experiment: Experiment) -> tuple[str, str]:
    """Return the arm of a learning curve and its backbone, from its name."""
    if experiment.name == "transfer-scratch":
        return "from scratch", "none"
    _, arm, backbone = experiment.name.split("-")
    names = {"tuned": "fine-tuned", "middle": "frozen, third block"}
    return names.get(arm, arm), backbone


def choose_curve(experiment: Experiment) -> None:
    """Compare candidates by log loss on fold 2, after learning from folds 0 and 1.

    Fine-tuning starts from the probe whose C the frozen arm's committed plan chose.
    """
    slices = load_slices()
    arm, backbone = arm_of(experiment)
    seen = views(slices, backbone) if backbone != "none" else {}
    fixed, table = {}, []
    if arm == "fine-tuned":
        fixed = committed_plan(f"transfer-frozen-{backbone}")[0]["chosen"]
    val, rows = slices.of_folds(VALIDATED), draw(slices, FITTED, TRIED, seed=0)
    labels, fit = slices.labels[val], ARMS[arm](slices, seen, backbone)
    for candidate in CANDIDATES[arm]:
        started = time.perf_counter()
        plan = fixed | candidate
        probabilities = fit(rows, TRIED, 0, plan)(val)
        row = {
            "log_loss": evaluation.log_loss(labels, probabilities),
            "macro_f1": evaluation.macro_f1(labels, probabilities.argmax(axis=1)),
        }
        table.append({"plan": plan, "validation": row})
        print(f"{plan}: {row}, {time.perf_counter() - started:.0f} s", flush=True)
    best = min(table, key=lambda row: row["validation"]["log_loss"])
    write_plan(
        experiment,
        best["plan"],
        "lowest log loss on fold 2 of the manifest, after learning from 36 patients of "
        "folds 0 and 1",
        table,
    )


def write_plan(
    experiment: Experiment, chosen: dict, chosen_by: str, candidates: list
) -> None:
    """Write a plan, to be committed before anything is scored."""
    plan = {
        "name": experiment.name,
        "split": f"learn from folds 0 to 2, score folds {SCORED[0]} and {SCORED[1]}",
        "chosen": chosen,
        "chosen_by": chosen_by,
        "seeds": list(experiment.seeds),
        "candidates": candidates,
    }
    path = PLANS / f"{experiment.name}.json"
    path.write_text(json.dumps(plan, indent=1) + "\n")
    print(f"Plan written to {path}. Commit it, then run: {experiment.name}")


def decided_by(
    experiment: Experiment, slices: Slices, rows: np.ndarray, backbone: str, **more
) -> dict:
    """Return a piece's key: the images, the weights, the files fitted, and `more`."""
    source, name = ("none", "none") if backbone == "none" else weights_of(backbone)
    return more | {
        "name": experiment.name,
        "images": slices.fingerprint,
        "weights": name,
        "weights_sha256": pieces.weights_sha256(source),
        "fitted_sha256": pieces.files_sha256(slices.filenames[rows]),
    }


def answered(key: dict, compute: Callable[[], np.ndarray]) -> pieces.Piece:
    """Return a piece with one array, `answers`: computed, or from an earlier call."""
    return pieces.piece(key, lambda: {"answers": compute()})


def run_curve(experiment: Experiment, look_again: bool) -> None:
    """Train with every number of patients and every draw; score and record.

    Cut off, it goes on where it was: each training's predictions are kept.
    """
    plan, plan_sha256 = committed_plan(experiment.name)
    looks = next_look(experiment.name, look_again)
    started = time.perf_counter()
    slices = load_slices()
    arm, backbone = arm_of(experiment)
    seen = views(slices, backbone) if backbone != "none" else {}
    scored, pool = slices.of_folds(SCORED), (*FITTED, *VALIDATED)
    fit, found, num_images = ARMS[arm](slices, seen, backbone), [], {}
    decided = {"plan_sha256": plan_sha256, "look": looks, "arm": arm}
    for size in SIZES:
        found.append([])
        for seed in plan["seeds"]:
            rows = draw(slices, pool, size, seed)
            num_images.setdefault(str(size), []).append(len(rows))

            def compute(rows=rows, size=size, seed=seed):
                return fit(rows, size, seed, plan["chosen"])(scored)

            more = decided | {"patients": size, "seed": seed}
            key = decided_by(experiment, slices, rows, backbone, **more)
            found[-1].append(answered(key, compute))
        print(f"{size}: {time.perf_counter() - started:.0f} s", flush=True)
    record(
        experiment,
        slices,
        plan=plan,
        plan_sha256=plan_sha256,
        looks=looks,
        weights="none" if backbone == "none" else weights_of(backbone)[1],
        seconds=time.perf_counter() - started,
        extra={
            "patients": list(SIZES),
            "num_fit": num_images,
            "piece_commits": pieces.commits(p for row in found for p in row),
        },
        arms=(arm,),
        conditions=SIZES,
        probabilities=np.array([[p.arrays["answers"] for p in row] for row in found])[
            None
        ],
    )


def record(
    experiment: Experiment,
    slices: Slices,
    plan: dict,
    plan_sha256: str,
    looks: int,
    weights: str,
    seconds: float,
    extra: dict,
    arms: tuple[str, ...],
    conditions: tuple,
    probabilities: np.ndarray,
) -> None:
    """Write a record whose probabilities are [arms, conditions, draws, n, classes]."""
    scored = slices.of_folds(SCORED)
    arrays = {
        "filenames": slices.filenames[scored],
        "labels": slices.labels[scored].astype(np.int8),
        "class_names": np.array(CLASSES),
        "fold": slices.fold[scored].astype(np.int8),
        "groups": slices.patient[scored].astype(np.int32),
        "arms": np.array(arms),
        "conditions": np.array([str(c) for c in conditions]),
        "scored": probabilities.astype(np.float16),
    }
    today = recorded.Run({}, recorded.scored_today(arrays))
    about = info(
        experiment,
        slices.description(),
        protocol=experiment.summary,
        wall_seconds=seconds,
        weights=weights,
    )
    about |= {
        "manifest_sha256": sha256(manifest.PATH.read_text()),
        "plan_sha256": plan_sha256,
        "plan": plan["chosen"],
        "looks": looks,
        "seeds": plan["seeds"],
        "num_scored": len(today.labels),
        "num_patients_scored": len(np.unique(today.groups)),
        **extra,
        "results": results_of(today),
    }
    write(about, **arrays)


def results_of(run: recorded.Run) -> dict:
    """Compute what a record of arms states: {arm: {condition: macro_f1, ...}}.

    macro_f1 and recall are means over draws; ci95 resamples the scored patients.
    """
    labels, stated = run.labels.astype(int), {}
    for arm, conditions in zip(run.arrays["arms"], run.arrays["scored"], strict=True):
        rows = zip(run.arrays["conditions"], conditions, strict=True)
        stated[str(arm)] = {str(name): scores(run, labels, p) for name, p in rows}
    return stated


def scores(run: recorded.Run, labels: np.ndarray, probabilities: np.ndarray) -> dict:
    """Return macro-F1 of several draws [draws, n, k] with its interval, and recalls."""
    found = evaluation.metrics(
        labels, probabilities.astype(float), run.class_names, run.groups, 1000
    )
    return {
        "macro_f1": found["macro_f1"],
        "per_draw": found["per_seed"]["macro_f1"],
        "ci95": found["ci95"]["macro_f1"],
        "accuracy": found["accuracy"],
        "recall": found["recall"],
    }


# --- recipes, one change at a time ----------------------------------------------------

RECIPES = {
    # BatchNormalization trains, head first; four dense layers and the head, each time
    "head first": (False, True),
    "all at once": (False, False),
    "BatchNorm in training mode": (True, True),
}
HEAD_ONLY = "head only"
RECIPE_PATIENTS, RECIPE_DRAWS = 36, (0, 1, 2)


def choose_recipes(experiment: Experiment) -> None:
    """Take over the plan of the learning curve: one thing is changed at a time."""
    plan, _ = committed_plan("transfer-tuned-imagenet")
    chosen = plan["chosen"] | {"patients": RECIPE_PATIENTS}
    why = "nothing was compared: taken from the plan of transfer-tuned-imagenet"
    write_plan(experiment, chosen, why, [])


def run_recipes(experiment: Experiment, look_again: bool) -> None:
    """Train each recipe on the same draws; record scores and how features moved."""
    import keras

    plan, plan_sha256 = committed_plan(experiment.name)
    looks = next_look(experiment.name, look_again)
    chosen, started = plan["chosen"], time.perf_counter()
    slices = load_slices()
    seen = views(slices, "imagenet")
    scored, pool = slices.of_folds(SCORED), (*FITTED, *VALIDATED)
    size = chosen["patients"]
    draws = {seed: draw(slices, pool, size, seed) for seed in plan["seeds"]}
    frozen = fit_frozen(slices, seen, "imagenet")
    found = [[frozen(rows, size, 0, chosen)(scored) for rows in draws.values()]]
    moved, made = {HEAD_ONLY: [0.0] * len(draws)}, []
    everyone = np.unique(np.concatenate(list(draws.values())))
    for name, (norm_trains, head_first) in RECIPES.items():

        def compute(norm_trains=norm_trains, head_first=head_first):
            model = tail_model("imagenet", norm_trains)
            pooled = keras.Model(model.input, model.get_layer("head").input)
            inputs = maps_at(slices, "imagenet", BOUNDARY)

            def prepare(rows: np.ndarray, seed: int, plan: dict):
                head = model.get_layer("head")
                if head_first:
                    fitted = probe(seen["relu"][rows], slices.labels[rows], chosen["C"])
                    head.set_weights(head_of(fitted))
                else:
                    redraw(head.trainable_weights, seed)

            fit = fit_model(model, inputs, slices.labels, 1, prepare)
            answers = []
            for seed, rows in draws.items():
                probabilities = fit(rows, size, seed, chosen)(scored)
                after = pooled.predict(inputs[scored], batch_size=64, verbose=0)
                change = np.linalg.norm(after - seen["relu"][scored], axis=1)
                change = change / np.linalg.norm(seen["relu"][scored], axis=1)
                answers.append(np.column_stack([probabilities, change]))
            return np.array(answers)

        decided = {"plan_sha256": plan_sha256, "look": looks, "recipe": name}
        key = decided_by(experiment, slices, everyone, "imagenet", **decided)
        made.append(answered(key, compute))
        answers = made[-1].arrays["answers"]
        found.append(list(answers[..., :-1]))
        moved[name] = answers[..., -1].mean(axis=1).tolist()
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    record(
        experiment,
        slices,
        plan=plan,
        plan_sha256=plan_sha256,
        looks=looks,
        weights=weights_of("imagenet")[1],
        seconds=time.perf_counter() - started,
        extra={
            "num_fit": {str(seed): len(rows) for seed, rows in draws.items()},
            "features_moved": moved,
            "piece_commits": pieces.commits(made),
        },
        arms=(HEAD_ONLY, *RECIPES),
        conditions=(size,),
        probabilities=np.array(found)[:, None],
    )


_CURVE = (
    "Figshare's slices (three tumor classes, one file a slice, patients known), 96 px. "
    "Learns from 6 to 90 patients of the manifest's folds 0 to 2, as many of each "
    "class, in three nested draws; always scores the same slices, folds 3 and 4, no "
    "patient of which it has seen. No augmentation. Intervals resample the scored "
    "patients and average over draws. "
)
_FROZEN = "Logistic regression on the pooled features of the frozen DenseNet121. "
_MIDDLE = (
    "Logistic regression on the pooled output of the third dense block of the frozen "
    "DenseNet121. The layer was picked because layer-probe-imagenet, which scored the "
    "same patients, was highest there: the scores are a little too good. "
)
_TUNED = (
    "The logistic regression of transfer-frozen becomes the head; it and the last four "
    "dense layers of DenseNet121 train on from there on cached activations, "
    "BatchNormalization in inference mode. "
)
_SCRATCH = (
    "From scratch: a small network of four convolutions (32 px), trained as a whole "
    "from random weights that depend on the seed, with four times the steps of the "
    "fine-tuned."
)


def _curve(name: str, about: str) -> Experiment:
    return Experiment(
        name, _CURVE + about, run=run_curve, seeds=DRAWS, choose=choose_curve
    )


EXPERIMENTS = (
    *(_curve(f"transfer-frozen-{b}", f"{_FROZEN}Weights: {b}.") for b in BACKBONES),
    *(_curve(f"transfer-middle-{b}", f"{_MIDDLE}Weights: {b}.") for b in BACKBONES),
    *(_curve(f"transfer-tuned-{b}", f"{_TUNED}Weights: {b}.") for b in BACKBONES),
    _curve("transfer-scratch", _SCRATCH),
    Experiment(
        "transfer-recipes",
        "Ways to fine-tune, one change at a time, from ImageNet's weights, 96 px, 36 "
        "patients, three draws; images, folds, scored slices and intervals as in "
        "transfer-tuned-imagenet, with its learning rate and C. features_moved: mean "
        "distance of the scored slices' pooled features from where they were, as a "
        "share of their length.",
        run=run_recipes,
        seeds=RECIPE_DRAWS,
        choose=choose_recipes,
    ),
)
