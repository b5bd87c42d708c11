"""The leakage ladder: the same methods on one way of splitting after the other.

A record of this form holds, for every rung, who was scored and fitted and what each
method predicted; `scores`, `rungs` and `steps` in its JSON follow from those arrays.
"""

import time
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import evaluation, recorded
from helpers.audit import manifest
from helpers.config import SEED

from . import protocols
from .methods import METHODS, SEEDED, Seen
from .pieces import commits, files_sha256, piece, weights_sha256
from .protocols import Part, Rung
from .real import RealData, imagenet_name, load_real
from .records import (
    Experiment,
    committed_plan,
    describe,
    info,
    next_look,
    sha256,
    write,
)

STEP_METRICS = ("macro_f1", "accuracy")


def run_ladder(experiment: Experiment, look_again: bool) -> None:
    """Carry out a committed plan on every rung of its protocol, and record it.

    A run that was cut off goes on where it stopped; see `predicted`.
    """
    plan, plan_sha256 = committed_plan(experiment.name)
    looks = next_look(experiment.name, look_again)
    started = time.perf_counter()
    real = load_real()
    chosen, num_draws = plan["chosen"], len(plan["seeds"])
    files = protocols.file_table(real.rows, real.group)
    rungs = getattr(protocols, plan["protocol"])(files, num_draws)
    arrays = _file_arrays(files, real) | {
        "rungs": np.array([rung.name for rung in rungs]),
        "methods": np.array(plan["methods"]),
    }
    decided = {"name": experiment.name, "plan_sha256": plan_sha256, "look": looks}
    decided["images"] = real.data.fingerprint
    said, made = predicted(plan, decided, Seen(real, chosen), files, rungs)
    arrays |= said
    about = info(
        experiment,
        describe(real),
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
        weights=imagenet_name() if "linear-probe" in plan["methods"] else "none",
    )
    about |= {
        "manifest_sha256": sha256(manifest.PATH.read_text()),
        "plan_sha256": plan_sha256,
        "plan": chosen,
        "looks": looks,
        "seeds": plan["seeds"],
        "piece_commits": made,
        **follows_from(arrays),
    }
    write(about, **arrays)


def _file_arrays(files: pd.DataFrame, real: RealData) -> dict[str, np.ndarray]:
    return {
        "filenames": files["file"].to_numpy(str),
        "labels": files["label"].to_numpy(np.int8),
        "class_names": np.array(real.data.class_names),
        "groups": files["unit"].to_numpy(np.int32),
        "exact": files["exact"].to_numpy(np.int32),
    }


def _rung_arrays(rung: Rung, num_files: int) -> dict[str, np.ndarray]:
    scored = rung.scored
    fold = np.full((len(rung.draws), num_files), -1, np.int8)
    training = np.zeros((len(rung.draws), len(rung.draws[0]), num_files), bool)
    for draw, parts in enumerate(rung.draws):
        for number, (fitted, tested) in enumerate(parts):
            fold[draw, tested] = number
            training[draw, number, fitted] = True
    return {
        f"{rung.name}/scored": scored.astype(np.int16),
        f"{rung.name}/classes": np.array(rung.classes, np.int8),
        f"{rung.name}/fold": fold[:, scored],
        f"{rung.name}/training": np.packbits(training, axis=2),
    }


def predicted(
    plan: dict, decided: dict, seen: Seen, files: pd.DataFrame, rungs: list[Rung]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the arrays of every rung, and the commits that made them.

    Who was where, and what each method predicted. `decided`: what decides every piece.
    Each draw of a method is one, so that work which was cut off is not lost.
    """
    from threadpoolctl import threadpool_limits

    started, arrays, made = time.perf_counter(), {}, set()
    with threadpool_limits(1):  # these fits are small: threads only wait for each other
        for method, rung in product(plan["methods"], rungs):
            found = []
            for seed, parts in enumerate(_draws(plan, rung, method)):
                more = {"rung": rung.name, "method": method, "draw": seed}
                fitted = [files_sha256(files["file"].iloc[fit]) for fit, _ in parts]
                key = decided | more | {"fitted_sha256": sha256("".join(fitted))}
                if "probe" in method:
                    key["weights_sha256"] = weights_sha256()

                def compute(rung=rung, method=method, parts=parts, seed=seed):
                    said = _predict(seen, files, rung, method, parts, seed)
                    return {"probabilities": said}

                found.append(piece(key, compute))
                seconds = time.perf_counter() - started
                print(f"{seconds:5.0f} s  {rung.name} {method} {seed}", flush=True)
            made |= set(commits(found))
            arrays[f"{rung.name}/{method}"] = np.stack(
                [p.arrays["probabilities"] for p in found]
            )
    for rung in rungs:
        arrays |= _rung_arrays(rung, len(files))
    return arrays, sorted(made)


def _draws(plan: dict, rung: Rung, method: str) -> list[list[Part]]:
    """Return a method's draws: one where neither folds nor seed make a difference.

    `plan["draws"]` may hold fewer for a method that is dear.
    """
    draws = rung.draws
    if len(draws) == 1 and method in SEEDED:
        draws = draws * len(plan["seeds"])
    return draws[: plan.get("draws", {}).get(method)]


def _predict(seen, files, rung, method, parts, seed) -> np.ndarray:
    """Return one draw's probabilities, float16 [n, k]."""
    labels = np.searchsorted(rung.classes, files["label"].to_numpy())
    found = np.zeros((len(files), len(rung.classes)), np.float16)
    for fitted, tested in parts:
        found[tested] = METHODS[method](seen, labels, fitted, tested, seed)
    return found[rung.scored]


def follows_from(arrays: dict[str, np.ndarray]) -> dict:
    """Return what a record's JSON states about its arrays.

    `rungs` {rung: num_scored, num_train, num_train_slices, in_training {shares}},
    `scores` {rung: {method: as from `evaluation.metrics`}} and, for matched rungs,
    `steps` {part: {method: {rung, or whole: {metric: difference, low, high}}}}: each
    rung less the one before, or the last less the first.
    """
    files = files_of(arrays)
    rungs, scores = {}, {}
    for name in arrays["rungs"].astype(str):
        rung = rung_of(arrays, name)
        fitted = [files.iloc[fit] for parts in rung.draws for fit, _ in parts]
        rungs[name] = {
            "num_scored": len(rung.scored),
            "num_train": float(np.mean([len(part) for part in fitted])),
            "num_train_slices": float(
                np.mean([part["group"].nunique() for part in fitted])
            ),
            "in_training": protocols.shares_in_training(files, rung),
        }
        scores[name] = {
            method: score(arrays, name, method)
            for method in arrays["methods"].astype(str)
        }
    found = {"rungs": rungs, "scores": scores}
    parts = [name.removesuffix("-anything") for name in rungs if "-anything" in name]
    if parts:
        found["steps"] = {part: _steps(arrays, part) for part in parts}
    return found


def score(arrays: dict[str, np.ndarray], rung: str, method: str) -> dict:
    """Return the metrics of one method on one rung, as the record states them."""
    run = recorded.on_rung({}, arrays, rung, method)
    return evaluation.metrics(
        run.labels.astype(int),
        run.probabilities,
        run.class_names,
        run.groups,
        seed=SEED,
    )


def _steps(arrays: dict[str, np.ndarray], part: str) -> dict:
    names = [f"{part}-{rule}" for rule in protocols.MATCHED]
    pairs = dict(zip(list(protocols.MATCHED)[1:], pairwise(names), strict=True))
    pairs["whole"] = (names[0], names[-1])
    return {
        method: {
            rule: {
                metric: step(arrays, *ends, method, metric) for metric in STEP_METRICS
            }
            for rule, ends in pairs.items()
        }
        for method in arrays["methods"].astype(str)
    }


def step(arrays, before: str, after: str, method: str, metric: str) -> dict:
    """Return how much `metric` rises from one rung to another, and its interval."""
    one, other = (recorded.on_rung({}, arrays, r, method) for r in (before, after))
    return evaluation.paired_bootstrap(
        metric,
        one.labels.astype(int),
        one.probabilities,
        other.probabilities,
        one.groups,
        seed=SEED,
    )._asdict()


def files_of(arrays: dict[str, np.ndarray], path: Path = manifest.PATH) -> pd.DataFrame:
    """Return the file table of a record, from its arrays and a manifest."""
    rows = manifest.load(path).set_index("filename").loc[arrays["filenames"]]
    return protocols.file_table(rows, arrays["exact"])


def rung_of(arrays: dict[str, np.ndarray], name: str, as_drawn: bool = False) -> Rung:
    """Return a recorded rung: who was fitted and who is scored, draw by draw.

    `as_drawn`: with the files that are no longer scored.
    """
    scored, fold = arrays[f"{name}/scored"].astype(int), arrays[f"{name}/fold"]
    if not as_drawn:
        stays = recorded.stays(arrays, name)
        scored, fold = scored[stays], fold[:, stays]
    bits = np.unpackbits(arrays[f"{name}/training"], axis=2)
    draws = [
        [(np.flatnonzero(fitted), scored[f == i]) for i, fitted in enumerate(parts)]
        for f, parts in zip(fold, bits, strict=True)
    ]
    return Rung(name, tuple(arrays[f"{name}/classes"]), draws)


EXPERIMENTS = (
    Experiment(
        "leakage-ladder",
        "Eight methods on every way of splitting, as practised: the official split; "
        "five random folds over all files; then without exact copies, without twins "
        "(one image a slice), series whole, and the manifest's folds; and on the "
        "figshare part (three tumor classes) random, series-whole and patient-whole "
        "folds. Folds are drawn three times where they are drawn. Intervals resample "
        "patients where known, else series.",
        run=run_ladder,
    ),
    Experiment(
        "leakage-ladder-matched",
        "The same scored images, the same number of training files of each class, on "
        "every rung; only what training may share with a scored image changes: "
        "anything, no identical pixels, no slice, no series, no patient. Intervals "
        "and paired steps resample patients where known, else series.",
        run=run_ladder,
    ),
    Experiment(
        "baselines",
        "Older ways and a small network, on the official split and on the manifest's "
        "folds: principal components + RBF machine, oriented gradients + linear "
        "machine, a network of 98,000 parameters trained from scratch at 64 px. The "
        "machines' probabilities are a softmax of decision values: their log loss "
        "means little. Intervals resample patients where known, else series.",
        run=run_ladder,
    ),
)
