"""How long our recipe takes for one fold, with what is computed once and without."""

import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from helpers import config
from helpers.plan import Plan

from .real import imagenet_name, load_real
from .recipe import carry_out, fold_part
from .records import Experiment, committed_plan, describe, info, sha256, write

OF, FOLD, SEED = "recipe-leak-free", 0, 0  # whose plan, and on what


def record_time(experiment: Experiment, look_again: bool) -> None:
    """Carry out the plan from an empty cache, and once more with the activations kept.

    The cache is a temporary one beside the reader's, which stays as it is. Nothing is
    scored, so no look is counted.
    """
    from helpers.audit import manifest

    plan, plan_sha256 = committed_plan(OF)
    real = load_real()
    part = fold_part(real, FOLD)
    config.cache_dir().mkdir(parents=True, exist_ok=True)
    seconds, losses = [], []
    with tempfile.TemporaryDirectory(dir=config.cache_dir()) as empty:
        before = os.environ.get("BRAIN_MRI_CACHE")
        os.environ["BRAIN_MRI_CACHE"] = empty
        try:
            for what in ("from an empty cache", "with the activations kept"):
                shutil.rmtree(Path(empty) / "checkpoints", ignore_errors=True)
                started = time.perf_counter()
                tuned = carry_out(Plan.from_dict(plan["chosen"]), real, part, SEED)
                seconds.append(time.perf_counter() - started)
                losses.append(tuned.history["loss"])
                print(f"{what}: {seconds[-1]:.0f} s", flush=True)
        finally:
            os.environ.pop("BRAIN_MRI_CACHE")
            if before is not None:
                os.environ["BRAIN_MRI_CACHE"] = before
    about = info(
        experiment,
        describe(real),
        protocol=experiment.summary,
        wall_seconds=sum(seconds),
        weights=imagenet_name(),
    )
    about |= {
        "manifest_sha256": sha256(manifest.PATH.read_text()),
        "plan": plan["chosen"],
        "plan_of": OF,
        "of_plan_sha256": plan_sha256,
        "seeds": [SEED],
        "fold": FOLD,
        "num_fit": len(part.fit),
        "seconds": dict(zip(("cold", "warm"), np.round(seconds, 1), strict=True)),
    }
    write(about, losses=np.array(losses), seconds=np.array(seconds))


EXPERIMENTS = (
    Experiment(
        "recipe-time",
        "How long our recipe (the plan of recipe-leak-free) trains on the manifest's "
        "fold 0 with seed 0: from an empty cache, so that what lies before the "
        "boundary is computed for all images and their mirror images (cold), and once "
        "more with that kept (warm). Loading images and weights is not in it. Nothing "
        "is scored.",
        run=record_time,
    ),
)
