"""Our recipe: on the manifest's five folds, and on the official split.

On a CPU the frozen part's output is computed once, so pixels cannot be augmented, but
a slice that lies in several files is shown through one of them, drawn anew each epoch,
and a plan can ask for every image's mirror image beside it.
"""

import json
import time
from dataclasses import replace

import numpy as np

from helpers import audit, evaluation, recorded
from helpers.audit import manifest
from helpers.benchmark import TUMORS
from helpers.config import SEED, CourseError
from helpers.plan import Plan, Stage

from .parts import Part, first_of_each, together
from .pieces import Piece, checkpoints, decided_by, piece, stated
from .real import PIXELS, RealData, imagenet_name, load_real
from .records import (
    PLANS,
    Experiment,
    committed_plan,
    describe,
    info,
    metrics_of,
    next_look,
    scored_arrays,
    sha256,
    write,
)

INNER_SHARE = 0.25  # of what candidates are compared on
VALIDATION_SHARE = 0.1  # of each training part: for curves and calibration only


def _part(
    real: RealData,
    slices: np.ndarray,
    files: np.ndarray,
    score: np.ndarray,
    share: float,
) -> Part:
    """Split `slices`, one file each, into fit and val; `files` show those of fit."""
    fit, val = audit.inner_split(real.labels[slices], together(real)[slices], share)
    group = real.rows["group"].to_numpy(int)
    files = files[np.isin(group[files], group[slices[fit]])]
    return Part(slices[fit], files, slices[val], score)


def fold_part(real: RealData, number: int) -> Part:
    """Return what is learned from and scored when one fold of the manifest is out."""
    inside = (real.rows["fold"] != number).to_numpy(bool)
    kept = (real.rows["keep"] == 1).to_numpy(bool)
    return _part(
        real,
        np.flatnonzero(inside & kept),
        np.flatnonzero(inside),
        np.flatnonzero(~inside & kept),
        VALIDATION_SHARE,
    )


def official_part(real: RealData) -> Part:
    """Return the official split: one file of each slice in Training, and Testing."""
    train = np.sort(np.concatenate([real.fit, real.val]))
    slices = first_of_each(real.rows["group"].to_numpy(int), train)
    return _part(real, slices, train, real.test, VALIDATION_SHARE)


def inner_part(real: RealData) -> Part:
    """Return what candidates are compared on: neither Testing nor fold 0 has a say.

    The slices of the training part of the manifest's fold 0 that have no file in the
    official Testing, conflicts left out. The other four folds do have a say, and are
    scored too: chapter 9 reports this flaw, and cannot tell its effect. Nor is the
    official Testing without relatives here: half of its files have their series or
    patient in this part.
    """
    rows = real.rows
    inside = ((rows["fold"] != 0) & (rows["split"] == "Training")).to_numpy(bool)
    # A group's first file is kept, and Testing comes before Training.
    slices = np.flatnonzero(inside & (rows["keep"] == 1).to_numpy(bool))
    return _part(real, slices, np.flatnonzero(inside), slices[:0], INNER_SHARE)


def choose_recipe(experiment: Experiment) -> None:
    """Compare the candidates on the inner part; write the plan of the lowest log loss.

    It becomes the plan of `recipe-official` too, on whose split nothing is chosen.
    """
    real, table = load_real(), []
    part = inner_part(real)
    labels = real.labels[part.val]
    for plan in experiment.candidates:
        started = time.perf_counter()
        tuned = carry_out(Plan.from_dict(plan), real, part, SEED)
        probabilities = tuned.predict(part.val)
        row = {
            "log_loss": evaluation.log_loss(labels, probabilities),
            "macro_f1": evaluation.macro_f1(labels, probabilities.argmax(axis=1)),
            "errors": int((probabilities.argmax(axis=1) != labels).sum()),
        }
        table.append({"plan": plan, "validation": row, "history": tuned.history})
        print(plan, row, f"{time.perf_counter() - started:.0f} s", flush=True)
    best = min(table, key=lambda row: row["validation"]["log_loss"])
    plan = {
        "name": experiment.name,
        "split": "twin-free",
        "chosen": best["plan"],
        "chosen_by": (
            "lowest log loss on an inner validation part: "
            f"{INNER_SHARE:.0%} of those slices in the training part of the manifest's "
            "fold 0 that have no file in the official Testing, class-balanced, series "
            "and known patients kept together; seed 0"
        ),
        "seeds": list(experiment.seeds),
        "num_fit": len(part.fit),
        "num_val": len(part.val),
        "candidates": table,
    }
    for name, words in (
        (experiment.name, {}),
        (
            "recipe-official",
            {
                "name": "recipe-official",
                "split": "official",
                "chosen_by": f"the plan of {experiment.name}, as it is",
                "candidates": [],
            },
        ),
    ):
        path = PLANS / f"{name}.json"
        path.write_text(json.dumps(plan | words, indent=1) + "\n")
        print(f"Plan written to {path}. Commit it, then run: {name}", flush=True)


def run_recipe(experiment: Experiment, look_again: bool) -> None:
    """Carry out a committed plan on its split, one piece a seed and fold, and record.

    A piece that is done lies in the cache, so a run that was killed goes on. Ctrl-C
    ends it for good, with the seeds that are complete.
    """
    plan, plan_sha256 = committed_plan(experiment.name)
    looks = next_look(experiment.name, look_again)
    real = load_real()
    official = plan["split"] == "official"
    parts = [official_part(real)] if official else []
    parts = parts or [fold_part(real, number) for number in range(manifest.NUM_FOLDS)]
    pieces = []
    decided = {"name": experiment.name, "plan_sha256": plan_sha256, "look": looks}
    try:
        for seed in plan["seeds"]:
            for number, part in enumerate(parts):
                key = decided_by(
                    real, part.files, **decided, seed=seed, scored_on=[number]
                )
                pieces.append(_answers(key, real, part, plan["chosen"]))
                print(f"seed {seed}, fold {number} done", flush=True)
    except KeyboardInterrupt:
        print("cut off; the seeds that are complete are recorded", flush=True)
    seeds = len(pieces) // len(parts)
    if not seeds:
        raise CourseError(f"{experiment.name} was cut off before a seed was complete.")
    pieces = pieces[: seeds * len(parts)]
    scored = np.concatenate([part.score for part in parts])
    fold = np.repeat(np.arange(len(parts)), [len(part.score) for part in parts])
    watched = np.concatenate([part.val for part in parts])
    val_fold = np.repeat(np.arange(len(parts)), [len(part.val) for part in parts])

    def of_seeds(name: str) -> np.ndarray:
        rows = [pieces[i : i + len(parts)] for i in range(0, len(pieces), len(parts))]
        return np.stack([np.concatenate([p.arrays[name] for p in row]) for row in rows])

    rows = real.rows
    seconds = np.array([p.about["seconds"] for p in pieces], float).reshape(seeds, -1)
    whole_time = None if np.isnan(seconds).any() else float(seconds.sum())
    about = info(
        experiment,
        describe(real),
        protocol=experiment.summary,
        wall_seconds=0,
        weights=imagenet_name(),
    )
    about |= {
        "wall_seconds": whole_time,
        "manifest_sha256": None if official else sha256(manifest.PATH.read_text()),
        "plan_sha256": plan_sha256,
        "plan": plan["chosen"],
        "looks": looks,
        "seeds": plan["seeds"][:seeds],
        "seeds_planned": plan["seeds"],
        "seconds_per_seed": None
        if whole_time is None
        else seconds.sum(axis=1).round(1).tolist(),
        "pieces": stated(pieces),
        "num_fit": int(np.mean([len(part.fit) for part in parts]).round()),
        "num_val": len(watched),
        "num_scored": len(scored),
        "history": [json.loads(str(p.arrays["history"])) for p in pieces],
    }
    arrays = scored_arrays(
        real,
        scored,
        fold,
        of_seeds("probabilities"),
        watched,
        of_seeds("val_probabilities"),
    )
    arrays["val_fold"] = val_fold.astype(np.int8)
    if not official:
        patient = rows["patient"].fillna(-1).to_numpy(np.int32)[scored]
        arrays["groups"] = rows["series"].to_numpy(np.int32)[scored]
        arrays["patient"] = patient
        known = tumors(recorded.Run(about, arrays))
        about["primary"] = metrics_of(known) | {"num_scored": len(known.labels)}
        about["primary"]["per_fold"] = [
            [
                evaluation.macro_f1(
                    known.labels[known.fold == number],
                    one[known.fold == number].argmax(axis=1),
                )
                for number in range(len(parts))
            ]
            for one in known.probabilities
        ]
    write(about, **arrays)


def tumors(run: recorded.Run) -> recorded.Run:
    """Return a run's tumor images of known patients, with the three tumor classes.

    Probabilities are divided by the sum of the three: they say which tumor class it is,
    given that it is one of them. Groups are patients, so intervals draw them whole. For
    runs that record `patient` [n], negative where it is not known.
    """
    columns = [run.class_names.index(name) for name in TUMORS]
    patient = run.arrays["patient"]
    rows = np.isin(run.labels, columns) & (patient >= 0)
    return recorded.Run(
        run.info,
        {
            "filenames": run.filenames[rows],
            "labels": np.searchsorted(columns, run.labels[rows]),
            "class_names": np.array(TUMORS),
            "fold": run.fold[rows],
            "groups": patient[rows],
            "probabilities": run.probabilities[:, rows][..., columns],
        },
    )


def _answers(key: dict, real: RealData, part: Part, plan: dict) -> Piece:
    """Train on one part with one seed; return what is said of what is scored."""

    def compute() -> dict[str, np.ndarray]:
        tuned = carry_out(Plan.from_dict(plan), real, part, key["seed"], key)
        return {
            "probabilities": tuned.predict(part.score),
            "val_probabilities": tuned.predict(part.val),
            "history": np.array(json.dumps(tuned.history)),
        }

    return piece(key, compute)


def carry_out(
    plan: Plan, real: RealData, part: Part, seed: int, key: dict | None = None
):
    """Carry out a plan on one part, or go on with it; return `training.Trained`.

    Unless the plan weighs all images alike, a slice is learned from through all of its
    files. `part.val` is only watched. `key`: of the piece that it is for, if it is for
    one, so that a further look trains anew.
    """
    from helpers import training

    imagenet_name()  # or say what is missing
    plan = replace(plan, seed=plan.seed + seed)
    rows = part.fit if plan.weighting == "none" else part.files
    key = key or decided_by(real, rows, plan=plan.as_dict())
    return training.fit_plan(
        plan,
        real.data.images,
        real.labels,
        rows,
        part.val,
        checkpoints(key),
        groups=real.rows["group"].to_numpy(int),
    )


def candidate(boundary: str, num_epochs: int, pixels: int = PIXELS, **changes) -> Plan:
    """Return a recipe: the head first, then what lies behind a boundary."""
    stages = (
        Stage("head", "backbone", 10, 3e-3),
        Stage("tail", boundary, num_epochs, 1e-3),
    )
    return Plan(stages, pixels=pixels, weighting="draw", **changes)


QUARTER, HALF, WHOLE = "conv5_block12_concat", "conv5_block8_concat", "pool4_pool"
CANDIDATES = (
    candidate(QUARTER, 4),
    candidate(HALF, 4),
    candidate(HALF, 8),
    candidate(HALF, 8, mirror="in both"),
    candidate(HALF, 4, mirror="in both"),
    candidate(HALF, 4, mirror="in prediction"),
    candidate(WHOLE, 8),  # by far the slowest: no more of these on a CPU
)

EXPERIMENTS = (
    Experiment(
        "recipe-leak-free",
        "Five folds of the manifest, one image a slice, series and known patients "
        "whole, conflicts left out. DenseNet121 (ImageNet, 224 px): head first, then "
        "what lies behind the boundary, with BatchNorm in inference mode, on cached "
        "activations. Each epoch shows each slice once, through one of its files, so "
        "each copy weighs 1 / their number; the plan says whether mirror images take "
        "part. Four classes are trained; `primary` reads the three tumor classes from "
        "the same probabilities, divided by their sum, on slices whose patient is "
        "known, with intervals over patients. Each fold's inner validation part "
        "decides nothing.",
        run=run_recipe,
        choose=choose_recipe,
        candidates=tuple(plan.as_dict() for plan in CANDIDATES),
        seeds=(0, 1, 2),
    ),
    Experiment(
        "recipe-official",
        "Official split, leaky: for comparison with papers. The plan of "
        "recipe-leak-free, as it is. An inner validation part of Training, disjoint in "
        "slices, series and known patients, decides nothing.",
        run=run_recipe,
        seeds=(0, 1, 2),
    ),
)
