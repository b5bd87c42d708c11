"""Compare backbones without the final score, and write the plan that names one.

Two scores: a linear probe on folds 0 and 1 of the manifest (real images, each fold by
the other) and one on phantoms, patients disjoint. Neither sees folds 2 to 4.
"""

import json

import keras
import numpy as np

from helpers import config, densenet
from helpers.experiments import backbone as worth
from tools.pretrain import start, train

PLAN = config.ROOT / "data" / "recorded" / "plans" / "backbone-bundled.json"
BESIDE = ("random", "imagenet")  # scored for comparison, never chosen


def candidate(name: str, pixels: int = worth.PROBE_PIXELS) -> tuple[keras.Model, dict]:
    """Return a backbone by name, and what is known about how it was made.

    `name`: random, imagenet, measured (random filters, BatchNorm measured), exemplars,
    or a recipe with a checkpoint, with `+measured` to measure its BatchNorm anew.
    """
    if name in BESIDE:
        setting = {"random": "none", "imagenet": "auto"}[name]
        return densenet.backbone(setting, pixels), {"images_seen": 0}
    plain, _, again = name.partition("+")
    if plain in ("measured", "exemplars"):
        model = start.untrained("he", pixels, 0)
        rng = np.random.default_rng(0) if plain == "exemplars" else None
        some = train.clean(pixels)[:384]
        start.settle(model, some, rng)
        return model, {"images_seen": len(some)}
    model, about = load(plain, pixels)
    if again:
        start.settle(model, train.clean(pixels))
    return model, about


def load(name: str, pixels: int) -> tuple[keras.Model, dict]:
    """Return the backbone in a recipe's checkpoint, finished or not."""
    recipe = train.RECIPES[name]
    model = densenet.backbone("none", pixels)
    number = max(
        k
        for k in range(len(recipe.phases))
        if (train.FOLDER / f"{name}-{k}.npz").exists()
    )
    with np.load(train.FOLDER / f"{name}-{number}.npz") as file:
        step = int(file["step"])
        model.set_weights([file[f"arr_{k}"] for k in range(len(model.weights))])
    steps = sum(phase[1] for phase in recipe.phases[:number]) + step
    planned = sum(phase[1] for phase in recipe.phases)
    return model, {
        "images_seen": steps * train.BATCH,
        "steps": steps,
        "steps_planned": planned,
        "seed": recipe.seed,
    }


def score(names: list[str]) -> None:
    """Score backbones by name and add them to the plan, which names the best."""
    real = worth.real_images()
    plan = json.loads(PLAN.read_text()) if PLAN.exists() else {"candidates": []}
    rows = {row["name"]: row for row in plan["candidates"]}
    for name in names:
        model, about = candidate(name)
        rows[name] = {
            "name": name,
            **about,
            "inner_real": worth.inner_score(model, real),
            "phantom_macro_f1": worth.phantom_score(model),
        }
        print(rows[name], flush=True)
        own = [row for row in rows.values() if row["name"] not in BESIDE]
        plan = {
            "name": "backbone-bundled",
            "split": "twin-free",
            "chosen": max(
                own or rows.values(), key=lambda row: row["inner_real"]["macro_f1"]
            )["name"],
            "chosen_by": "highest macro-F1 of a linear probe on folds 0 and 1 alone",
            "seeds": [config.SEED],
            "candidates": list(rows.values()),
        }
        PLAN.write_text(json.dumps(plan, indent=1) + "\n")
