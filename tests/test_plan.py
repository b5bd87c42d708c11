"""A plan is data: it comes back from JSON as it was, and a mistake in it is named."""

import dataclasses
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.config import ROOT, CourseError
from helpers.plan import Plan, Stage

HEAD = Stage("head", "backbone", 10, 1e-3)
PLAN = Plan(
    (HEAD, Stage("last-block", "pool4_pool", 8, 3e-4, augmentation="pose", patience=8)),
    ema=0.99,
    precision="mixed_float16",
)
SHARES = st.floats(0, 1, exclude_max=True)


@given(
    st.builds(
        Plan,
        stages=st.lists(
            st.builds(
                Stage,
                name=st.text("abc-", min_size=1),
                boundary=st.sampled_from(["backbone", "pool4_pool", "input"]),
                num_epochs=st.integers(1, 99),
                learning_rate=st.floats(1e-9, 1),
                warmup=SHARES,
                patience=st.none() | st.integers(1, 99),
            ),
            min_size=1,
            max_size=3,
            unique_by=lambda stage: stage.name,
        ).map(tuple),
        dropout=SHARES,
        ema=st.none() | st.floats(0.5, 0.999),
        seed=st.integers(0, 2**31),
    )
)
def test_a_plan_comes_back_from_its_json_as_it_was(plan):
    assert Plan.from_json(plan.to_json()) == plan


def test_what_a_json_leaves_out_is_the_default():
    stage = {"name": "head", "boundary": "backbone", "num_epochs": 10}
    stage |= {"learning_rate": 0.001}
    assert Plan.from_dict({"stages": [stage]}) == Plan((HEAD,))


def test_the_json_has_one_value_a_line_and_stages_in_order():
    lines = PLAN.to_json().splitlines()
    assert ' "ema": 0.99,' in lines and ' "precision": "mixed_float16",' in lines
    assert lines.index('   "name": "head",') < lines.index('   "name": "last-block",')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 1}, "Plan: 'rate' is not part of it; expected stages, pixels"),
        ({"ema": 1.0}, "Plan: ema is 1.0; expected between 0 and 1, or null"),
        ({"stages": []}, r"Plan: stages is \(\); expected one Stage or more"),
        ({"stages": [{"name": "head"}]}, "Stage cannot be made: .*missing 3 required"),
        ({"batch_size": 0}, "Plan: batch_size is 0; expected 1 or more"),
        ({"batch_size": True}, "Plan: batch_size is True"),
        ({"dropout": "much"}, "Plan: dropout is 'much'; expected 0 or more and"),
        ({"precision": "float16"}, 'expected one of "float32", "mixed_float16"'),
        ({"weighting": "series"}, 'expected one of "none", "group", "draw"'),
        ({"mirror": True}, 'mirror is True; expected one of null, "in training"'),
        (
            {"mirror": "in both", "weighting": "group"},
            "weighting is 'group'; expected none or draw, as mirror is in training",
        ),
    ],
)
def test_a_mistake_in_a_plan_is_named(change, message):
    with pytest.raises(CourseError, match=message):
        Plan.from_dict(PLAN.as_dict() | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "linear"}, 'expected one of "cosine", "constant"'),
        ({"augmentation": "flips"}, "expected one of null, .*mirror"),
        ({"name": "Last block"}, "name is 'Last block'; expected a-z0-9-"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; expected above 0"),
        ({"warmup": 1.0}, "warmup is 1.0; expected 0 or more and below 1"),
        ({"patience": 0}, "patience is 0; expected 1 or more, or null"),
    ],
)
def test_a_mistake_in_a_stage_is_named(change, message):
    with pytest.raises(CourseError, match=message):
        dataclasses.replace(HEAD, **change)


ODD = [True, False, None, "x", "", [], {}, [1], {"a": 1}, [[]], -1, 1.5, 10**400, "1"]
ODD += [float("inf"), float("-inf"), float("nan")]
# What is right although it is odd: by the names of fields and what they may be.
MAY_BE = {"centring": (True, False), "mirror": (None,), "ema": (None,)}
MAY_BE |= {"augmentation": (None,), "patience": (None,), "name": ("x", "1")}
MAY_BE |= {"boundary": ("x", "1"), "learning_rate": (1.5,), "mixup": (1.5,)}
MAY_BE |= {"weight_decay": (1.5,)}
LARGE = ("num_epochs", "patience", "pixels", "batch_size")
LARGE += ("gradient_accumulation_steps",)
FIELDS = [(Stage, f.name) for f in dataclasses.fields(Stage)]
FIELDS += [(Plan, f.name) for f in dataclasses.fields(Plan)]


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_every_field_refuses_what_is_of_another_kind(kind, name):
    for value in ODD:
        if value in MAY_BE.get(name, ()) or (value == 10**400 and name in LARGE):
            continue
        values = PLAN.as_dict()
        if kind is Stage:
            values["stages"][0][name] = value
        else:
            values[name] = value
        with pytest.raises(CourseError, match=f"{name} is|Stage is|cannot be made"):
            Plan.from_dict(values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as JSON"),
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        (b"\xff", "cannot be read as JSON"),
        ("[]", r"Plan is \[\]; expected names with values, such as stages"),
        ("null", "Plan is None"),
        ('{"stages": [3]}', "Stage is 3; expected names with values, such as name"),
        ('{"seed": 1, "seed": 2}', "holds 'seed' twice"),
        ('{"stages": [{"name": "a", "name": "b"}]}', "holds 'name' twice"),
        (PLAN.to_json().replace("0.001", "1e999"), "learning_rate is inf"),
        (PLAN.to_json().replace("0.001", "true"), "learning_rate is True"),
        (PLAN.to_json().replace("0.001", "NaN"), "learning_rate is nan"),
    ],
)
def test_a_json_that_is_no_plan_is_named(text, message):
    with pytest.raises(CourseError, match=message):
        Plan.from_json(text)


def test_two_stages_of_one_name_would_share_a_checkpoint():
    with pytest.raises(CourseError, match="no name twice"):
        Plan((HEAD, HEAD))


def test_reading_a_plan_loads_no_network_library():
    code = (
        "import sys, helpers.plan; print(sorted({'keras', 'numpy'} & {*sys.modules}))"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert output.stdout.strip() == "[]", output.stderr


def test_the_augmentations_of_a_plan_are_those_that_batches_knows():
    from helpers.batches import RECIPES
    from helpers.plan import _CHOICES

    assert _CHOICES["augmentation"] == (None, *RECIPES)
