"""What a shipped network owes: refusals, the same answers elsewhere, 8-bit weights.

One network, trained on folds 1 to 4 (a candidate of whole-leak-free), and what was held
out from it, fold 0. What the limit of a refusal is set on and what it is judged by are
two halves of that fold that share no person.
"""

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from helpers import audit, config, evaluation, export, recorded, scans, scope, serving
from helpers.audit import manifest
from helpers.config import SEED, CourseError
from helpers.datasets import load_dataset
from helpers.datasets.folder import Unusable, square
from helpers.scans import Scan

from . import whole
from .pieces import checkpoints
from .real import RealData, imagenet_name, load_real
from .recipe import tumors
from .records import (
    Experiment,
    committed_plan,
    describe,
    info,
    next_look,
    sha256,
    write,
)

OF = "whole-leak-free"
FOLD = whole.CHOSEN_ON  # it had a say in the plan: no result is claimed on it here
SCORES = ("Mahalanobis distance", "nearest neighbor", "lack of confidence")
BUDGETS = (0.01, 0.05, 0.1)
SOME = 40  # pictures of each kind that are out of scope, at most
CROP = 200  # pixels a side, of the pieces of a photograph


def run_ship(experiment: Experiment, look_again: bool) -> None:
    """Measure refusals and exports of the fold network on what it has not seen."""
    plan, plan_sha256 = committed_plan(experiment.name)
    looks = next_look(experiment.name, look_again)
    started, real = time.perf_counter(), load_real()
    part = whole.fold_part(real, FOLD)
    model, key = network_of(plan["chosen"]["candidate"], real, part)
    pixels = key["plan"]["pixels"]
    data, held = load_dataset(pixels=pixels), part.score
    network = serving.with_features(model)
    rows = np.random.default_rng(SEED).permutation(part.fit)[: serving.DESCRIBED]
    seen = _features(network, data.images[rows])[1]
    described = scope.fit(seen, real.labels[rows])
    near = NearestNeighbors(n_neighbors=1).fit(_unit_length(seen))
    print("described", flush=True)

    def asked(images: np.ndarray) -> np.ndarray:
        said, features = _features(network, images)
        away = near.kneighbors(_unit_length(features))[0][:, 0]
        return np.stack([described.distance(features), away, 1 - said.max(axis=1)], 1)

    held_scores = asked(data.images[held])
    kinds, pictures = outside(pixels, data.images[held])
    outside_scores = asked(np.stack([scan.image for scan in pictures]))
    print("distances", flush=True)
    files = data.table["file"].to_numpy(str)
    root = Path(config.data_setting())
    read = [scans.read(root / file, pixels) for file in files[held]]
    read_here = np.stack([scan.image for scan in read])
    same = (read_here == data.images[held]).all(axis=(1, 2))
    units = _units(real, held)
    with tempfile.TemporaryDirectory() as folder:
        exported = export.export(model, Path(folder))
        formats, answers = [], []
        for name, (_, run) in exported.items():
            if isinstance(run, str):
                continue
            formats.append(name)
            answers.append(_in_batches(run, data.images[held]))
            print(name, flush=True)
        costs = export.compare(exported, data.images[held[: export.BATCH]])
        shutil.rmtree(folder, ignore_errors=True)
    arrays = {
        "filenames": files[held],
        "labels": real.labels[held].astype(np.int8),
        "class_names": np.array(real.data.class_names),
        "fold": np.full(len(held), FOLD, np.int8),
        "groups": units.astype(np.int32),
        "patient": real.rows["patient"].fillna(-1).to_numpy(np.int32)[held],
        "half": _half(units),
        "scores": np.array(SCORES),
        "held_scores": held_scores.astype(np.float32),
        "held_same_bytes": same,
        "held_doubts": np.array(["; ".join(scope.doubts(s)) for s in read]),
        "outside_kinds": np.array(kinds),
        "outside_scores": outside_scores.astype(np.float32),
        "outside_doubts": np.array(["; ".join(scope.doubts(s)) for s in pictures]),
        "formats": np.array(formats),
        "answers": np.array(answers, np.float32),
    }
    about = info(
        experiment,
        describe(real),
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
        weights=imagenet_name(),
    )
    about |= {
        "manifest_sha256": key["manifest_sha256"],
        "plan_sha256": plan_sha256,
        "plan": plan["chosen"],
        "forecast": plan["forecast"],
        "looks": looks,
        "network": key,
        "num_scored": len(held),
        "exports": {
            one.name: {
                "megabytes": one.megabytes,
                "one": one.one,
                "batch": one.batch,
                "problem": one.problem,
            }
            for one in costs
        },
        "results": results_of(arrays),
    }
    write(about, **arrays)


def network_of(candidate: str, real: RealData, part) -> tuple:
    """Return a candidate's network, as it was trained, for files; and its key."""
    if candidate not in whole.CANDIDATES:
        raise CourseError(f"{candidate!r} is no candidate of {OF}.")
    key = whole.key_of(
        OF,
        whole.CANDIDATES[candidate][0].as_dict(),
        real,
        part,
        SEED,
        candidate=candidate,
        scored_on=[FOLD],
        manifest_sha256=sha256(manifest.PATH.read_text()),
    )
    if not checkpoints(key).exists():
        raise CourseError(
            f"{checkpoints(key)} is missing: the candidate {candidate} is not trained "
            f"here. First: python -m helpers.experiments {OF} --choose"
        )
    return whole.fine_tune(key, real, part).portable(), key


def outside(pixels: int, held: np.ndarray) -> tuple[list[str], list[Scan]]:
    """Return pictures that the network was not made for, and the kind of each.

    Photographs and digits that scikit-learn and matplotlib ship, samples of pydicom,
    maps of the MNI template, phantoms, and held-out slices that were made into
    something else: montages, negatives, slices on their side. `held` uint8 [n, p, p].
    """
    import matplotlib
    import nibabel
    import nilearn
    import pydicom
    import sklearn.datasets

    from helpers import phantoms

    rng, kinds, found = np.random.default_rng(SEED), [], []

    def add(kind: str, pictures) -> None:
        for one in pictures:
            found.append(one if isinstance(one, Scan) else _scan(one, pixels))
            kinds.append(kind)

    shipped = Path(sklearn.datasets.__file__).parent / "images"
    photographs = sorted(shipped.glob("*.jpg"))
    samples = Path(matplotlib.get_data_path()) / "sample_data"
    photographs.append(samples / "grace_hopper.jpg")
    add("photographs", (scans.read(path, pixels) for path in photographs))
    for path in photographs:
        grey = np.asarray(Image.open(path).convert("L"))
        crops = []
        for _ in range(SOME // len(photographs)):
            top, left = (rng.integers(0, n - CROP) for n in grey.shape)
            crops.append(grey[top : top + CROP, left : left + CROP])
        add("photographs, grey pieces", crops)
    digits = sklearn.datasets.load_digits().images
    add("handwritten digits", np.uint8(255 / 16 * digits[:SOME]))
    for path in sorted(
        Path(pydicom.__file__).parent.glob("data/test_files/*_small.dcm")
    ):
        try:
            scan = scans.read(path, pixels)
        except Unusable:
            continue
        add(f"pydicom's {path.stem}", [scan])
    maps = Path(nilearn.__file__).parent / "datasets" / "data"
    for tissue, words in (("gm", "grey"), ("wm", "white")):
        path = maps / f"mni_icbm152_{tissue}_tal_nlin_sym_09a_converted.nii.gz"
        deep = nibabel.load(path).shape[2]
        levels = np.linspace(0.35, 0.7, SOME // 2) * deep
        add(
            f"maps of {words} matter",
            (scans.read(path, pixels, "axial", int(n)) for n in levels),
        )
    drawn = phantoms.generate(SOME, pixels, seed=SEED + 1, progress=False).images
    add("phantoms", drawn)
    add("phantoms, negative", np.where(drawn > scope.DARK, 255 - drawn, drawn))
    some = held[rng.permutation(len(held))[: 4 * SOME]]
    add("held-out slices, negative", 255 - some[:SOME])
    add("held-out slices, on their side", np.rot90(some[:SOME], axes=(1, 2)))
    tiles = some.reshape(SOME, 2, 2, pixels, pixels).transpose(0, 1, 3, 2, 4)
    add("held-out slices, montages", tiles.reshape(SOME, 2 * pixels, 2 * pixels))
    add("noise", np.uint8(np.clip(rng.normal(90, 40, (SOME, pixels, pixels)), 0, 255)))
    return kinds, found


def _scan(image: np.ndarray, pixels: int) -> Scan:
    """Return an array as a picture that a file of a usual size might hold."""
    usual = 512
    return Scan(
        square(Image.fromarray(np.ascontiguousarray(image)), pixels), usual, usual
    )


def results_of(arrays: dict[str, np.ndarray]) -> dict:
    """Return what follows from the arrays: refusals, and what each format costs.

    `refusals`: by score and budget, the share of held-out slices refused (limit set on
    the other half; interval over persons) and, by kind, of pictures out of scope that
    pass; `area`: of the ROC curve. `plain`: shares that the plain checks refuse.
    `exports`: by format, difference, labels changed, macro-F1 of three tumor classes.
    """
    half, groups = arrays["half"], arrays["groups"]
    kinds = arrays["outside_kinds"]
    refusals = {}
    for column, name in enumerate(arrays["scores"]):
        inside, outside_ = (
            arrays[f"{side}_scores"][:, column].astype(float)
            for side in ("held", "outside")
        )
        known = np.repeat([0, 1], [len(inside), len(outside_)])
        area = roc_auc_score(known, np.concatenate([inside, outside_]))
        refusals[str(name)] = {"area": float(area)}
        for budget in BUDGETS:
            limits = [scope.limit_for(inside[half == k], budget) for k in (0, 1)]
            alarm = inside > np.array(limits)[1 - half]
            missed = np.mean([outside_ <= limit for limit in limits], axis=0)
            refusals[str(name)][str(budget)] = {
                "false_alarms": list(evaluation.mean_interval(alarm, groups)),
                "missed": float(missed.mean()),
                "missed_by_kind": {
                    str(k): float(missed[kinds == k].mean()) for k in np.unique(kinds)
                },
            }
    doubted = {side: arrays[f"{side}_doubts"] != "" for side in ("held", "outside")}
    plain = {
        "false_alarms": list(evaluation.mean_interval(doubted["held"], groups)),
        "refused_by_kind": {
            str(k): float(doubted["outside"][kinds == k].mean())
            for k in np.unique(kinds)
        },
    }
    return {
        "refusals": refusals,
        "plain": plain,
        "num_outside": {str(k): int((kinds == k).sum()) for k in np.unique(kinds)},
        "same_bytes": float(arrays["held_same_bytes"].mean()),
        "exports": _exports(arrays),
    }


def _exports(arrays: dict[str, np.ndarray]) -> dict:
    found, runs = {}, {}
    base = arrays["answers"][0].astype(float)
    for name, said in zip(arrays["formats"], arrays["answers"], strict=True):
        run = recorded.Run({}, arrays | {"probabilities": said[None]})
        runs[name] = tumors(run)
        known, first = runs[name], runs[arrays["formats"][0]]
        gain = evaluation.paired_bootstrap(
            "macro_f1",
            known.labels,
            first.probabilities,
            known.probabilities,
            known.groups,
        )
        found[str(name)] = {
            "difference": float(np.abs(said.astype(float) - base).max()),
            "changed_labels": int((said.argmax(1) != base.argmax(1)).sum()),
            "macro_f1": evaluation.macro_f1(
                known.labels, known.probabilities[0].argmax(axis=1)
            ),
            "against_keras": [float(value) for value in gain],
        }
    return found


def _features(network, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return network.predict(images, batch_size=32, verbose=0)


def _unit_length(features: np.ndarray) -> np.ndarray:
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def _in_batches(run: export.Runner, images: np.ndarray) -> np.ndarray:
    """Ask in batches of one size, the last filled up: another is compiled again."""
    size, count = export.BATCH, len(images)
    found = []
    for start in range(0, count, size):
        rows = np.arange(start, start + size).clip(max=count - 1)
        found.append(run(images[rows])[: min(size, count - start)])
    return np.concatenate(found)


def _units(real: RealData, rows: np.ndarray) -> np.ndarray:
    names = ("group", "series", "patient")
    numbers = [real.rows[n].fillna(-1).to_numpy(int) for n in names]
    return audit.joined(*numbers)[rows]


def _half(units: np.ndarray) -> np.ndarray:
    """Deal units to two halves at random, int8 [n]."""
    each, member = np.unique(units, return_inverse=True)
    side = np.random.default_rng(SEED).permutation(len(each)) % 2
    return side[member].astype(np.int8)


EXPERIMENTS = (
    Experiment(
        "ship-fold-0",
        "A network trained on folds 1 to 4 (whole-leak-free, a candidate, seed 0), and "
        "fold 0. How often three scores refuse held-out slices (limits set on one half "
        "of the persons, judged on the other) and let pass pictures that are something "
        "else; the plain checks; whether a file read for prediction gives the bytes of "
        "the dataset; and each export's answers, size and time. Fold 0 had a say in "
        "the plan, so its macro-F1 is no result; differences between formats are.",
        run=run_ship,
    ),
)
