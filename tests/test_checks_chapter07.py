"""The checks of chapter 7 that need no Keras; `ch7_freeze` is in test_densenet.py."""

from dataclasses import replace

import pytest

from helpers import checks
from helpers.checks.chapter07 import ALL, BEHIND_POOL3, BEHIND_POOL4, CURVES
from helpers.plan import Plan, Stage

STUBS = {"A": ..., "B": ..., "C": ..., "D": ...}
HEAD = Stage("head", "backbone", 5, 1e-3)
BLOCK = Stage(
    "blocks", "pool3_pool", 9, 3e-4, augmentation="pose and exposure", patience=3
)
PLAN = Plan(
    (HEAD, BLOCK),
    precision="mixed_float16",
    batch_size=16,
    gradient_accumulation_steps=4,
)


def with_block(**changes) -> Plan:
    return replace(PLAN, stages=(HEAD, replace(BLOCK, **changes)))


@pytest.mark.parametrize(
    ("check", "answer", "result", "says"),
    [
        (checks.ch7_boundary, ..., None, "Not yet"),
        (checks.ch7_boundary, BEHIND_POOL3, True, "Right"),
        (checks.ch7_boundary, BEHIND_POOL4, False, "behind pool4_pool, the boundary"),
        (checks.ch7_boundary, BEHIND_POOL3 + 4100, False, "counts a head"),
        (checks.ch7_boundary, ALL, False, "all parameters"),
        (checks.ch7_boundary, ALL - BEHIND_POOL3, False, "what is frozen"),
        (checks.ch7_boundary, 0, False, "nothing is trainable"),
        (checks.ch7_boundary, 123, False, "on a fresh backbone"),
        (checks.ch7_boundary, "many", False, "should be a number"),
        (checks.ch7_plan, ..., None, "Not yet"),
        (checks.ch7_plan, PLAN, True, "Right"),
        (checks.ch7_plan, PLAN.as_dict(), False, "the answer is a plan"),
        (checks.ch7_plan, replace(PLAN, stages=(BLOCK,)), False, "has 1 stage(s)"),
        (checks.ch7_plan, replace(PLAN, stages=(BLOCK, HEAD)), False, "only the head"),
        (checks.ch7_plan, with_block(boundary="pool4_pool"), False, "allows more"),
        (checks.ch7_plan, with_block(boundary="backbone"), False, "train too"),
        (checks.ch7_plan, with_block(boundary="input"), False, "more than six"),
        (checks.ch7_plan, with_block(boundary="pool9"), False, "end of a transition"),
        (checks.ch7_plan, with_block(augmentation=None), False, "augmentation is None"),
        (checks.ch7_plan, with_block(augmentation="exposure"), False, "pose should"),
        (
            checks.ch7_plan,
            with_block(augmentation="pose, exposure and mirror"),
            False,
            "leave the mirror out",
        ),
        (checks.ch7_plan, with_block(learning_rate=1e-3), False, "than a third"),
        (checks.ch7_plan, with_block(schedule="constant"), False, "rise over a tenth"),
        (checks.ch7_plan, with_block(patience=None), False, "the last epoch counts"),
        (checks.ch7_plan, with_block(patience=9), False, "waits 9 epoch(s)"),
        (checks.ch7_plan, with_block(num_epochs=3), False, "Give it more"),
        (
            checks.ch7_plan,
            replace(PLAN, mirror="in both"),
            False,
            "mirror is 'in both'",
        ),
        (checks.ch7_plan, replace(PLAN, batch_norm="training"), False, "batch_norm is"),
        (checks.ch7_plan, replace(PLAN, mixup=0.2), False, "leave it at 0.0"),
        (
            checks.ch7_plan,
            replace(PLAN, stages=(replace(HEAD, schedule="constant"), BLOCK)),
            False,
            "in the head's stage, schedule",
        ),
        (
            checks.ch7_plan,
            replace(PLAN, stages=(replace(HEAD, patience=3), BLOCK)),
            True,
            "Right",
        ),
        (
            checks.ch7_plan,
            replace(PLAN, stages=(replace(HEAD, patience=1), BLOCK)),
            False,
            "the head's stage waits 1",
        ),
        (checks.ch7_plan, replace(PLAN, pixels=128), False, "128 pixels"),
        (checks.ch7_plan, replace(PLAN, precision="float32"), False, "'float32'"),
        (checks.ch7_plan, replace(PLAN, batch_size=64), False, "it holds 16"),
        (
            checks.ch7_plan,
            replace(PLAN, gradient_accumulation_steps=1),
            False,
            "over 16 images; 64",
        ),
        (checks.ch7_curves, STUBS, None, "Not yet"),
        (checks.ch7_curves, CURVES, True, "Right"),
        (checks.ch7_curves, CURVES | {"C": "train longer"}, False, "look at C again"),
        (checks.ch7_curves, CURVES | {"B": "stop"}, False, "B is 'stop'; choose among"),
        (checks.ch7_curves, {"A": "train longer"}, False, "there is no 'B'"),
    ],
)
def test_a_check_says_not_yet_right_or_the_probable_mistake(
    check, answer, result, says, capsys
):
    assert check(answer) is result
    assert says in capsys.readouterr().out
