"""How hard the phantoms are: from their border alone to a fine-tuned network.

The difficulty of the phantoms is set on purpose, so the numbers say nothing about real
scans. They say whether the phantoms keep their promise: no shortcut by default, and
something left to learn at every step.
"""

import hashlib

import numpy as np

from helpers import config, evaluation, probes
from helpers.config import SEED
from helpers.datasets import thumbnails

from .pieces import Piece, commits, piece, weights_sha256
from .real import BOUNDARY, imagenet_backbone, imagenet_name
from .records import Experiment, describe_phantoms, info, sha256, write

NUM_SLICES, PIXELS = 2000, 96  # as the default set in the quick profile
NUM_TREES = 300
C = 0.01  # of the linear probes
TAIL = {"batch_size": 32, "num_epochs": (10, 8), "learning_rate": (1e-3, 3e-4)}
METHODS = (
    "border",
    "colour mode",
    "histogram",
    "8x8 forest",
    "copying",
    "probe, random",
    "probe, ImageNet",
    "fine-tuning, ImageNet",
)
# With the site tied to the class, only what shows the shortcut is computed.
NUM_PLAIN = 5  # the first of them need no network
TIED = (*METHODS[:NUM_PLAIN], "probe, ImageNet")


def phantoms(seed: int, tied: bool) -> dict[str, np.ndarray]:
    """Return a set without its planted twins, so that no patient crosses the split."""
    from helpers.phantoms import generate

    made = generate(NUM_SLICES, PIXELS, seed, site_follows_class=tied)
    alone = made.table["twin_of"].isna().to_numpy(bool)
    table = made.table[alone]
    names, labels = np.unique(table["class"].to_numpy(str), return_inverse=True)
    return {
        "images": made.images[alone],
        "labels": labels,
        "class_names": names,
        "patients": table["patient"].to_numpy(str),
        "modes": table["mode"].to_numpy(str),
        "files": table["file"].to_numpy(str),
        "lesion": made.masks[alone].mean(axis=(1, 2)),
        "train": np.flatnonzero(table["split"] == "Training"),
        "test": np.flatnonzero(table["split"] == "Testing"),
    }


def predict(method: str, data: dict, name: str, seed: int) -> np.ndarray:
    """Return one method's class probabilities of the test slices, [test, k]."""
    from sklearn.ensemble import RandomForestClassifier

    images, labels = data["images"], data["labels"]
    train, test = data["train"], data["test"]
    if method == "colour mode":
        return probes.mode_probabilities(data["modes"], labels, train, test)
    if method == "copying":
        small = thumbnails(images, 32)
        near = probes.copied_from(small, train, test, mirrored=False)
        return np.eye(len(data["class_names"]))[labels[near]]
    numbers_of = {
        "border": lambda: probes.border_numbers(images),
        "histogram": lambda: np.stack(
            [np.bincount(i.ravel() // 8, minlength=32) for i in images]
        ),
        "8x8 forest": lambda: thumbnails(images, 8).reshape(len(images), -1),
    }
    if method in numbers_of:
        numbers = numbers_of[method]()
        forest = RandomForestClassifier(NUM_TREES, random_state=SEED)
        return forest.fit(numbers[train], labels[train]).predict_proba(numbers[test])
    if method.startswith("probe"):
        return _probe(data, name, method.split(", ")[1])
    return _fine_tuned(data, name, seed)


def _network(data: dict, name: str, weights: str):
    """Return the frozen part's output for each slice, pooled features, and the tail."""
    import keras

    from helpers import densenet

    model = (
        imagenet_backbone(PIXELS)
        if weights == "ImageNet"
        else densenet.backbone("none", PIXELS)
    )
    frozen, tail = densenet.split_at(model, BOUNDARY)
    label = f"{name}-{weights.lower()}"
    activations = densenet.activations(frozen, data["images"], label)
    pooled = keras.layers.GlobalAveragePooling2D()(tail.output)
    features = keras.Model(tail.input, pooled).predict(activations, verbose=0)
    return activations, features, tail


def _probe(data: dict, name: str, weights: str) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _, features, _ = _network(data, name, weights)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=5000))
    probe.fit(features[data["train"]], data["labels"][data["train"]])
    return probe.predict_proba(features[data["test"]])


def _fine_tuned(data: dict, name: str, seed: int) -> np.ndarray:
    """Train a head, then it and the last dense block, for fixed numbers of epochs."""
    import keras

    from helpers import densenet, training
    from helpers.batches import ImageBatches

    activations, features, tail = _network(data, name, "ImageNet")
    keras.utils.set_random_seed(seed)
    densenet.set_frozen(tail, tail.layers[0].name)
    num_classes = len(data["class_names"])
    head = keras.layers.Dense(num_classes, activation="softmax", name="head")
    inputs = keras.Input((features.shape[1],))
    pooled = keras.layers.GlobalAveragePooling2D()(tail.output)
    stages = (
        ("head", keras.Model(inputs, head(inputs)), features),
        ("tail", keras.Model(tail.input, head(pooled)), activations),
    )
    for (stage, model, values), num_epochs, rate in zip(
        stages, TAIL["num_epochs"], TAIL["learning_rate"], strict=True
    ):
        batches = ImageBatches(
            values, data["labels"], data["train"], TAIL["batch_size"], seed
        )
        steps = num_epochs * batches.per_epoch
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, steps, warmup_target=rate, warmup_steps=steps // 20
        )
        model.compile(
            keras.optimizers.AdamW(schedule, weight_decay=1e-4),
            loss="sparse_categorical_crossentropy",
        )
        place = config.cache_dir() / "checkpoints" / f"{name}-{stage}.npz"
        training.fit(model, batches, num_epochs, place)
    return model.predict(activations[data["test"]], batch_size=64, verbose=0)


def record(experiment: Experiment, look_again: bool) -> None:
    """Score every method on every set; what was done before a cut is kept.

    Without a weights file (BRAIN_MRI_WEIGHTS), what needs no network. There are no real
    test images, so looks are not counted.
    """
    networks = config.weights_setting() not in ("auto", "none")
    methods = METHODS if networks else METHODS[:NUM_PLAIN]
    made: list[Piece] = []
    arrays: dict[str, list] = {k: [] for k in ("tied", "seed", "labels", "patients")}
    arrays |= {f"{method}_probabilities": [] for method in methods}
    digest = hashlib.sha256()
    for tied in (False, True):
        for seed in experiment.seeds:
            data = phantoms(seed, tied)
            digest.update(data["images"].tobytes())
            key = sha256(f"{digest.hexdigest()} {TAIL} {C} {NUM_TREES}")[:12]
            name = f"phantom-difficulty-{'tied' if tied else 'free'}-{seed}-{key}"
            num_test, num_classes = len(data["test"]), len(data["class_names"])
            for method in methods:
                found = np.full((num_test, num_classes), np.nan)
                if not tied or method in TIED:
                    decided = {"name": experiment.name, "set": name, "seed": seed}
                    decided |= {"method": method, "look": look_again}
                    if method not in METHODS[:NUM_PLAIN]:
                        decided["weights_sha256"] = weights_sha256()

                    def compute(method=method, data=data, name=name, seed=seed):
                        return {"said": predict(method, data, name, seed)}

                    done = piece(decided, compute)
                    found = done.arrays["said"]
                    made.append(done)
                    right = found.argmax(1) == data["labels"][data["test"]]
                    print(f"{name} {method}: {right.mean():.3f}", flush=True)
                arrays[f"{method}_probabilities"].append(found.astype(np.float32))
            arrays["tied"].append(np.full(num_test, tied))
            arrays["seed"].append(np.full(num_test, seed, np.int8))
            arrays["labels"].append(data["labels"][data["test"]].astype(np.int8))
            arrays["patients"].append(data["patients"][data["test"]])
    joined = {key: np.concatenate(values) for key, values in arrays.items()}
    about = info(
        experiment,
        describe_phantoms(
            f"{NUM_SLICES} synthetic slices of {PIXELS} px from each of "
            f"{len(experiment.seeds)} seeds, planted twins left out",
            digest.hexdigest(),
        ),
        protocol=experiment.summary,
        wall_seconds=0,
        weights=imagenet_name() if networks else "none",
    )
    seconds = [p.about["seconds"] for p in made]
    # None where a piece was cut off: nobody timed all of it.
    about["wall_seconds"] = None if None in seconds else round(sum(seconds), 1)
    about["piece_commits"] = commits(made)
    write(about | {"results": results(joined)}, **joined)


def results(arrays: dict[str, np.ndarray]) -> dict:
    """Return accuracies by `free` or `tied` site, and by method.

    accuracy: over the test slices of all seeds; per_seed; ci95: bootstrap over virtual
    patients. majority: the share of the most frequent class.
    """
    found: dict[str, dict] = {}
    for name, rows in (("free", ~arrays["tied"]), ("tied", arrays["tied"])):
        labels, seed = arrays["labels"][rows].astype(int), arrays["seed"][rows]
        groups = np.char.add(seed.astype(str), arrays["patients"][rows])
        found[name] = {
            "num_scored": len(labels),
            "num_patients": len(set(groups)),
            "majority": float(np.bincount(labels).max() / len(labels)),
        }
        for method in METHODS if name == "free" else TIED:
            if f"{method}_probabilities" not in arrays:  # a run without networks
                continue
            probabilities = arrays[f"{method}_probabilities"][rows]
            right = probabilities.argmax(1) == labels
            interval = evaluation.bootstrap_interval(
                "accuracy", labels, probabilities, groups, seed=SEED
            )
            found[name][method] = {
                "accuracy": float(right.mean()),
                "per_seed": [float(right[seed == s].mean()) for s in np.unique(seed)],
                "ci95": interval.tolist(),
            }
    return found


EXPERIMENTS = (
    Experiment(
        "phantom-difficulty",
        "Synthetic slices, several seeds of phantoms, official split without planted "
        "twins, so no virtual patient is on both sides. What border, colour mode, grey "
        "histogram, 8x8 thumbnails (random forests), the nearest 32x32 thumbnail, "
        "logistic regression on frozen DenseNet121 features (random and ImageNet "
        "weights, 96 px) and its fine-tuned last block can tell; the same with the "
        "site tied to the class. All settings were fixed beforehand.",
        run=record,
        seeds=(0, 1, 2),
    ),
)
