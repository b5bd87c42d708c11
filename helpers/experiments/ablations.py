"""One change at a time to our recipe, on the inner part: what matters, and what not.

At 96 pixels, so that a training costs seconds; on the same slices, judged on the same
slices, with several seeds. Nothing that any run scores is looked at.
"""

import json
import signal
from functools import lru_cache

import numpy as np

from helpers import evaluation
from helpers.config import SEED
from helpers.datasets import load_dataset
from helpers.plan import Plan

from .parts import Part, together
from .pieces import Piece, commits, decided_by, piece
from .real import RealData, imagenet_name, load_real
from .recipe import HALF, QUARTER, WHOLE, candidate, carry_out, inner_part
from .records import Experiment, committed_plan, describe, info, write


def small_part(real: RealData, pixels: int) -> tuple[RealData, Part]:
    """Return the inner part's files as a dataset of their own, and the part in it."""
    part = inner_part(real)
    rows = np.union1d(part.files, part.val)
    data = load_dataset(pixels=pixels).subset(rows)
    small = RealData(data, real.group[rows], *[rows[:0]] * 3)
    fit, files, val = (
        np.searchsorted(rows, r) for r in (part.fit, part.files, part.val)
    )
    return small, Part(fit, files, val, part.score)


@lru_cache(maxsize=1)
def _data(pixels: int) -> tuple[RealData, Part]:
    return small_part(load_real(), pixels)


def _answers(plan: Plan, seed: int, **decided) -> Piece:
    """Train one variant with one seed; return what is said of the validation part."""
    real, part = _data(plan.pixels)
    key = decided_by(real, part.files, plan=plan.as_dict(), seed=seed, **decided)

    def compute() -> dict[str, np.ndarray]:
        tuned = carry_out(plan, real, part, seed, key)
        return {
            "probabilities": tuned.predict(part.val),
            "history": np.array(json.dumps(tuned.history)),
        }

    return piece(key, compute)


def run_ablations(experiment: Experiment, look_again: bool) -> None:
    """Train every variant with every seed, and record those that are complete.

    Ctrl-C, or SIGTERM, ends the training; what is complete is recorded, the rest named.
    Called again, it goes on. `look_again` means nothing here: no test image is seen.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan, plan_sha256 = committed_plan(experiment.name)
    base, seeds, done, seconds = plan["chosen"], plan["seeds"], {}, {}
    made: set[str] = set()
    try:
        for name, changes in plan["variants"].items():
            pieces = []
            for seed in seeds:
                varied = Plan.from_dict(base | changes)
                decided = {"name": experiment.name, "plan_sha256": plan_sha256}
                pieces.append(_answers(varied, seed, **decided))
            done[name] = np.stack([p.arrays["probabilities"] for p in pieces])
            seconds[name] = [p.about["seconds"] for p in pieces]
            made |= set(commits(pieces))
            print(name, seconds[name], flush=True)
    except KeyboardInterrupt:
        print("cut off; what is complete is recorded", flush=True)
    real, part = _data(base["pixels"])
    files = real.data.table["file"].to_numpy(dtype=str)
    arrays = {
        "variants": np.array(list(done)),
        "class_names": np.array(real.data.class_names),
        "val_filenames": files[part.val],
        "val_labels": real.labels[part.val].astype(np.int8),
        "val_groups": together(real)[part.val].astype(np.int32),
        "val_probabilities": np.stack(list(done.values())),
    }
    about = info(
        experiment,
        describe(load_real()),
        protocol=experiment.summary,
        wall_seconds=sum(s or 0 for each in seconds.values() for s in each),
        weights=imagenet_name(),
    )
    about |= {
        "plan_sha256": plan_sha256,
        "plan": base,
        "seeds": seeds,
        "num_fit": len(part.fit),
        "num_val": len(part.val),
        "changes": {name: plan["variants"][name] for name in done},
        "not_run": [name for name in plan["variants"] if name not in done],
        "seconds": seconds,
        "piece_commits": sorted(made),
        "table": table_of(arrays),
    }
    write(about, **arrays)


def table_of(arrays: dict[str, np.ndarray]) -> dict[str, dict]:
    """Return each variant's macro-F1 and log loss, and how far they are from the first.

    Means over seeds, the seeds' own values, and the paired difference from the first
    variant with its 95 % interval over groups (patients, series, slices).
    """
    labels, groups = arrays["val_labels"].astype(int), arrays["val_groups"]
    found = {}
    everything = arrays["val_probabilities"].astype(np.float64)
    everything /= everything.sum(axis=-1, keepdims=True)
    for name, probabilities in zip(arrays["variants"], everything, strict=True):
        row = {"seeds": {}}
        scores = {
            "macro_f1": lambda p: evaluation.macro_f1(labels, p.argmax(axis=1)),
            "log_loss": lambda p: evaluation.log_loss(labels, p),
        }
        for metric, score in scores.items():
            row["seeds"][metric] = [score(one) for one in probabilities]
            row[metric] = float(np.mean(row["seeds"][metric]))
            difference = evaluation.paired_bootstrap(
                metric, labels, everything[0], probabilities, groups, seed=SEED
            )
            row[f"{metric}_difference"] = list(difference)
        found[str(name)] = row
    return found


BASE = candidate(HALF, 4, pixels=96, mirror="in both").as_dict()


def _tail(**changes) -> dict:
    """Return the change to the plan that changes its second stage alone."""
    head, tail = BASE["stages"]
    return {"stages": [head, tail | changes]}


# In order of interest; the last ones see pixels, and on a CPU cost many times more.
VARIANTS = {
    "our recipe": {},
    "our recipe, other seeds": {"seed": 100},
    "head only": {"stages": BASE["stages"][:1]},
    "never mirrored": {"mirror": None},
    "mirrored in training only": {"mirror": "in training"},
    "mirrored in prediction only": {"mirror": "in prediction"},
    # Without mirror images in training an epoch can show all files: compare with the
    # line before.
    "the same, all files, weighted by group": {
        "mirror": "in prediction",
        "weighting": "group",
    },
    "each slice through one file": {"weighting": "none"},
    "head not first": {"stages": BASE["stages"][1:]},
    "BatchNorm in training mode": {"batch_norm": "training"},
    "pixels divided by 255": {"preprocessing": "0 to 1"},
    "a quarter of the block": _tail(boundary=QUARTER),
    "the whole block": _tail(boundary=WHOLE),
    "a third of the learning rate": _tail(learning_rate=3e-4),
    "three times the learning rate": _tail(learning_rate=3e-3),
    "twice the epochs": _tail(num_epochs=8),
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "mixup 0.2": {"mixup": 0.2},
    "averaged weights": {"ema": 0.99},
    "weight decay 0.05": {"weight_decay": 0.05},
    "no Dropout": {"dropout": 0.0},
    "features not centred": {"centring": False},
    "128 pixels": {"pixels": 128},
    "the last two blocks": _tail(boundary="pool3_pool"),
    "turned and shifted": _tail(augmentation="pose"),
    "other intensities": _tail(augmentation="exposure"),
    "both": _tail(augmentation="pose and exposure"),
    "160 pixels": {"pixels": 160},
    "224 pixels": {"pixels": 224},
}


def choose_ablations(experiment: Experiment) -> None:
    """Write the plan: the base, the changes, the seeds. Nothing is compared yet."""
    from .records import PLANS

    plan = {
        "name": experiment.name,
        "chosen": BASE,
        "chosen_by": "fixed before any of it was trained: recipe-leak-free's plan at "
        "96 px, and one change at a time, in order of interest",
        "seeds": list(experiment.seeds),
        "variants": VARIANTS,
    }
    path = PLANS / f"{experiment.name}.json"
    path.write_text(json.dumps(plan, indent=1) + "\n")
    print(f"Plan written to {path}. Commit it, then run: {experiment.name}")


EXPERIMENTS = (
    Experiment(
        "ablations",
        "One change at a time to the recipe, at 96 px: trained on slices of the "
        "training part of the manifest's fold 0 that have no file in the official "
        "Testing, judged on an inner part of them, series and known patients whole. "
        "Differences from the recipe are paired, their intervals draw patients, series "
        "and slices whole. Nothing that a run scores was looked at.",
        run=run_ablations,
        choose=choose_ablations,
        candidates=(BASE,),
        seeds=(0, 1),
    ),
)
