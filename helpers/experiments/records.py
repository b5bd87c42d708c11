"""Plans, looks and records: what keeps an experiment honest, and what it leaves."""

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import audit, evaluation, recorded
from helpers.audit import manifest
from helpers.config import ROOT, SEED, CourseError

from .real import PIXELS, VALIDATION_SHARE, RealData, imagenet_name, load_real

PLANS = recorded.FOLDER / "plans"


@dataclass(frozen=True)
class Experiment:
    """What the command line can run: `choose` writes a plan, `run` carries it out."""

    name: str
    summary: str
    run: Callable[["Experiment", bool], None]
    choose: Callable[["Experiment"], None] | None = None  # records.choose, if None
    rehearse: Callable[["Experiment"], None] | None = None  # small, records nothing
    candidates: tuple[dict, ...] = ()
    seeds: tuple[int, ...] = (SEED,)
    try_plan: Callable[["RealData", dict], np.ndarray] | None = None
    score: Callable[["RealData", dict, int], tuple[np.ndarray, np.ndarray]] | None = (
        None
    )
    predict: Callable[["RealData", dict, np.ndarray, np.ndarray], np.ndarray] | None = (
        None
    )


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


def committed_plan(name: str) -> tuple[dict, str]:
    """Return the plan and its SHA-256; refuse one that git does not hold as it is."""
    path = PLANS / f"{name}.json"
    if not path.exists():
        raise CourseError(
            f"{path} is missing: choose a plan first, with\n"
            f"    python -m helpers.experiments {name} --choose"
        )
    text = path.read_text()
    travelled = _travelled().get("plans", {}).get(name)
    if (
        git("show", f"HEAD:{path.relative_to(ROOT)}") != text
        and sha256(text) != travelled
    ):
        raise CourseError(
            f"{path} differs from what is committed. Commit it before looking at the "
            "test images: a plan that can still change is not a plan."
        )
    return json.loads(text), sha256(text)


def next_look(name: str, look_again: bool) -> int:
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
    plan, plan_sha256 = committed_plan(experiment.name)
    looks = next_look(experiment.name, look_again)
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
    about = info(
        experiment,
        describe(real),
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
        weights=imagenet_name(),
    )
    about |= {
        "plan_sha256": plan_sha256,
        "plan": plan["chosen"],
        "looks": looks,
        "seeds": plan["seeds"],
        "seconds_per_seed": seconds,
        "num_fit": len(real.fit),
        "num_val": len(real.val),
        "num_scored": len(real.test),
    }
    fold = np.zeros(len(real.test), int)
    scored = scored_arrays(real, real.test, fold, test, real.val, val)
    write(about, **scored)


def scored_arrays(
    real: RealData,
    scored: np.ndarray,
    fold: np.ndarray,
    probabilities: Sequence[np.ndarray],
    watched: np.ndarray | None = None,
    val_probabilities: Sequence[np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Return the arrays of a record: who was scored and watched, and what was said.

    `scored`, `watched`: rows of the images (nobody was watched if None); `fold`: of
    each scored row; `probabilities`: a [n, k] array a seed, so [seeds, n, k].
    """
    said = np.asarray(probabilities, np.float32)
    if watched is None:
        watched, val_probabilities = scored[:0], said[:, :0]
    files = real.data.table["file"].to_numpy(dtype=str)
    return {
        "filenames": files[scored],
        "labels": real.labels[scored].astype(np.int8),
        "class_names": np.array(real.data.class_names),
        "fold": np.asarray(fold).astype(np.int8),
        "probabilities": said,
        "val_filenames": files[watched],
        "val_labels": real.labels[watched].astype(np.int8),
        "val_probabilities": np.asarray(val_probabilities, np.float32),
    }


def metrics_of(run: recorded.Run) -> dict:
    """Compute a record's metrics from its arrays, as its JSON states them."""
    return evaluation.metrics(
        run.labels.astype(int),
        run.probabilities,
        run.class_names,
        run.groups,
        seed=SEED,
    )


def ci95_units(run: recorded.Run) -> dict[str, list[float]]:
    """Return 95 % intervals of a run on the official split that draw whole units.

    A unit is what shares a slice, a series or a known patient. `metrics` of such a run
    draws single images, as papers do, and is too narrow.
    """
    rows = manifest.load().dropna(subset="group").set_index("filename")
    names = ("group", "series", "patient")
    unit = audit.joined(*(rows[name].fillna(-1).to_numpy(int) for name in names))
    of_files = pd.Series(unit, rows.index).loc[run.filenames].to_numpy()
    labels = run.labels.astype(int)
    return {
        metric: evaluation.bootstrap_interval(
            metric, labels, run.probabilities, of_files, seed=SEED
        ).tolist()
        for metric in ("accuracy", "macro_f1")
    }


def write(about: dict, **arrays: np.ndarray) -> None:
    """Write the record: the arrays first, then the JSON that follows from them."""
    recorded.FOLDER.mkdir(parents=True, exist_ok=True)
    path = recorded.FOLDER / f"{about['name']}.npz"
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(temporary, path)
    if "probabilities" in arrays:
        about["metrics"] = metrics_of(recorded.Run(about, arrays))
        if not about["manifest_sha256"]:
            about["ci95_units"] = ci95_units(recorded.Run(about, arrays))
    path.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")
    print(json.dumps(about, indent=1))


def info(
    experiment: Experiment,
    dataset: dict,
    protocol: str,
    wall_seconds: float,
    weights: str | None,
) -> dict:
    """Return what every record states about how it was made; callers add to it.

    `dataset`: as `describe` or `describe_phantoms` returns it; `weights`: the name of
    the backbone's weights, "none" if no network took part.
    """
    return {
        "name": experiment.name,
        "dataset": dataset,
        "manifest_sha256": None,  # unless folds of the manifest are used
        "plan_sha256": None,
        "looks": 0,
        "protocol": protocol,
        "weights": weights,
        "profile": "full",
        "seeds": list(experiment.seeds),
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "device": f"{os.cpu_count()} CPU cores, {cpu_name()}" + _gpus(),
        "versions": _versions(),
        "commit": commit(),
        "recorded_on": date.today().isoformat(),
        "wall_seconds": round(wall_seconds, 1),
    }


def describe(real: RealData) -> dict:
    """Return how a record names the real images."""
    copy = f"{len(real.data.table)} of its 7023 files, read at {PIXELS} px"
    if _travelled():
        copy += ", packed as grey WebP of quality 70, weights as float16"
    return {
        "name": "masoudnickparvar/brain-tumor-mri-dataset, version 1",
        "copy": copy,
        "fingerprint": real.data.fingerprint,
    }


def describe_phantoms(copy: str, fingerprint: str) -> dict:
    """Return how a record names synthetic slices; `copy` says how many, and which."""
    from helpers import phantoms

    name = f"phantom {phantoms.VERSION}"
    return {"name": name, "copy": copy, "fingerprint": fingerprint}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("keras", "tensorflow-cpu", "tensorflow", "jax", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # one TensorFlow of two, and seldom JAX
            continue
    return found | {"scikit-learn": version("scikit-learn")}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()


def _gpus() -> str:
    """Name the GPUs that JAX sees, if it was used."""
    if "jax" not in sys.modules:
        return ""
    devices = sys.modules["jax"].devices()
    kinds = [device.device_kind for device in devices if device.platform == "gpu"]
    return "".join(f", {kind}" for kind in kinds)


def _travelled() -> dict:
    """Return what git knew where this copy was packed for a device; see tools/device.

    A copy that travels has no history of its own.
    """
    path = ROOT / ".device" / "committed.json"
    if (ROOT / ".git").exists() or not path.exists():
        return {}
    return json.loads(path.read_text())


@cache
def commit() -> str:
    """Return the commit, with `+changes` when helpers differ from it.

    Asked first when a run begins, and kept: the code that runs is what was there then.
    """
    if found := _travelled():
        return found["commit"]
    changed = git("status", "--porcelain", "--", "helpers").strip()
    return git("rev-parse", "HEAD").strip()[:12] + ("+changes" if changed else "")


def git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout
