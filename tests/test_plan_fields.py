"""Every field of a plan and of a stage does something: change it, and all changes.

A field that came loose (Dropout left out, weight decay fixed, an image mixed with
itself) leaves the result as it was, bit for bit.
"""

import tempfile
from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
from small_network import SIDE, images_and_labels, small_backbone

from helpers import training
from helpers.plan import Plan, Stage

STAGE = Stage("all", "input", 2, 1e-2, warmup=0.2)
PLAN = Plan((STAGE,), pixels=SIDE, batch_size=8)
FIT, VAL = np.arange(32), np.arange(32, 60)
GROUPS = np.arange(60) // 3

PLANS = {
    "stages": (replace(STAGE, num_epochs=1),),
    "pixels": 2 * SIDE,
    "preprocessing": "0 to 1",
    "batch_norm": "training",
    "centring": False,
    "dropout": 0.0,
    "batch_size": 16,
    "gradient_accumulation_steps": 2,
    "weight_decay": 0.5,
    "label_smoothing": 0.2,
    "mixup": 1.0,
    "weighting": "draw",
    "mirror": "in prediction",
    "ema": 0.5,
    "precision": "mixed_bfloat16",
    "seed": 1,
}
STAGES = {
    "boundary": "first_pool",
    "num_epochs": 3,
    "learning_rate": 2e-2,
    "schedule": "constant",
    "warmup": 0.6,
    "augmentation": "exposure",
    "patience": 1,
}
MORE = {
    "weighting by group": {"weighting": "group"},
    "mirror in training": {"mirror": "in training"},
}


@cache
def _outcome(plan: Plan) -> np.ndarray:
    """Return what a network, trained by the plan, says of the rows not learned from."""
    images, labels = images_and_labels()
    images = np.kron(images, np.ones((1, *[plan.pixels // SIDE] * 2), np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        trained = training.fit_plan(
            plan,
            images,
            labels,
            FIT,
            VAL,
            folder,
            groups=GROUPS,
            weights="none",
            build=small_backbone,
        )
        return trained.predict(VAL)


def test_all_fields_are_tried():
    assert set(PLANS) == {f.name for f in fields(Plan)}
    # A stage's name is for people and files.
    assert set(STAGES) == {f.name for f in fields(Stage)} - {"name"}


def test_the_same_plan_gives_the_same_result():
    once = _outcome(PLAN)
    _outcome.cache_clear()
    np.testing.assert_array_equal(once, _outcome(PLAN))


@pytest.mark.parametrize("name", [*PLANS, *MORE])
def test_a_plans_field_changes_the_training(name):
    changes = MORE.get(name) or {name: PLANS[name]}
    difference = np.abs(_outcome(replace(PLAN, **changes)) - _outcome(PLAN))
    assert difference.max() > 1e-5


@pytest.mark.parametrize("name", STAGES)
def test_a_stages_field_changes_the_training(name):
    stage, base = replace(STAGE, **{name: STAGES[name]}), PLAN
    if name == "patience":  # the second of two epochs is the worse one at this rate
        loud = replace(STAGE, learning_rate=1.0, schedule="constant")
        base, stage = replace(PLAN, stages=(loud,)), replace(loud, patience=1)
    changed = _outcome(replace(base, stages=(stage,)))
    assert np.abs(changed - _outcome(base)).max() > 1e-5
