"""The checks of chapter 7 that need no Keras; `ch7_freeze` is in test_densenet.py."""

import pytest

from helpers import checks
from helpers.checks.chapter07 import ALL, BEHIND_POOL3, BEHIND_POOL4, CURVES

STUBS = {"A": ..., "B": ..., "C": ..., "D": ...}


@pytest.mark.parametrize(
    ("check", "answer", "result", "says"),
    [
        (checks.ch7_order, ..., None, "Not yet"),
        (checks.ch7_order, "ecfdab", True, "Right"),
        (checks.ch7_order, "C E F D A B", True, "Right"),
        (checks.ch7_order, "abc", False, "each of the letters"),
        (checks.ch7_order, "cfdabe", False, "e must come before f"),
        (checks.ch7_order, "efcdab", False, "c must come before f"),
        (checks.ch7_order, "ecdfab", False, "f must come before d"),
        (checks.ch7_order, "ecfadb", False, "d must come before a"),
        (checks.ch7_order, "ecfdba", False, "a must come before b"),
        (checks.ch7_boundary, ..., None, "Not yet"),
        (checks.ch7_boundary, BEHIND_POOL3, True, "Right"),
        (checks.ch7_boundary, BEHIND_POOL4, False, "behind pool4_pool, the boundary"),
        (checks.ch7_boundary, BEHIND_POOL3 + 4100, False, "counts a head"),
        (checks.ch7_boundary, ALL, False, "all parameters"),
        (checks.ch7_boundary, ALL - BEHIND_POOL3, False, "what is frozen"),
        (checks.ch7_boundary, 0, False, "nothing is trainable"),
        (checks.ch7_boundary, 123, False, "on a fresh backbone"),
        (checks.ch7_boundary, "many", False, "on a fresh backbone"),
        (checks.ch7_curves, STUBS, None, "Not yet"),
        (checks.ch7_curves, CURVES, True, "Right"),
        (checks.ch7_curves, CURVES | {"C": "train longer"}, False, "look at C again"),
        (checks.ch7_curves, CURVES | {"B": "stop"}, False, "B is 'stop'; choose among"),
        (checks.ch7_curves, {"A": "train longer"}, False, "B is 'nothing'"),
    ],
)
def test_a_check_says_not_yet_right_or_the_probable_mistake(
    check, answer, result, says, capsys
):
    assert check(answer) is result
    assert says in capsys.readouterr().out
