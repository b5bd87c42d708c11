"""The checks of chapter 9 say not yet, right, or what probably went wrong."""

import numpy as np
import pytest

from helpers import checks

LOSSES = [0.6, 0.5, 0.4, 0.45, 0.6]


def schedule(step, num_steps, peak, share=1 / 20):
    warm_up = num_steps * share
    if step < warm_up:
        return peak * step / warm_up
    t = (step - warm_up) / (num_steps - warm_up)
    return peak * (1 + np.cos(np.pi * t)) / 2


def line(step, num_steps, peak):
    return peak * min(step / (num_steps / 20), (num_steps - step) / (num_steps * 0.95))


def from_the_start(step, num_steps, peak):
    up = min(1, step / (num_steps / 20))
    return (
        peak
        * (up if up < 1 or step < num_steps / 18 else 1)
        * (1 if step <= num_steps / 20 else (1 + np.cos(np.pi * step / num_steps)) / 2)
    )


@pytest.mark.parametrize(
    ("answer", "result", "says"),
    [
        ({"epoch": ..., "sentence": ...}, None, "Not yet"),
        ({"epoch": 3, "sentence": "b"}, True, "Right"),
        ({"epoch": 3, "sentence": "B"}, True, "Right"),
        ({"epoch": 2, "sentence": "b"}, False, "counts epochs from 1"),
        ({"epoch": 5, "sentence": "b"}, False, "lowest *training* loss"),
        ({"epoch": 1, "sentence": "b"}, False, "np.argmin"),
        ({"epoch": 3, "sentence": "a"}, False, "validation loss rises"),
        ({"epoch": 3, "sentence": "c"}, False, "something is learned"),
        ({"epoch": 3, "sentence": "d"}, False, "smooth"),
        ({"epoch": 3, "sentence": "overfits"}, False, 'one of "a", "b"'),
        ({"epoch": 3}, False, "there is no 'sentence'"),
    ],
)
def test_the_curve(answer, result, says, capsys):
    assert checks.ch9_curve(answer, LOSSES) is result
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "answer", "result", "says"),
    [
        (checks.ch9_leaks, ..., None, "Not yet"),
        (checks.ch9_leaks, "BCE", True, "Right"),
        (checks.ch9_leaks, "e, c, b", True, "Right"),
        (checks.ch9_leaks, "ABCE", False, "counts as that slice"),
        (checks.ch9_leaks, "BCDE", False, "in another way"),
        (checks.ch9_leaks, "CE", False, "dealt apart"),
        (checks.ch9_leaks, "BE", False, "chapter 2"),
        (checks.ch9_leaks, "BC", False, "other pixels"),
        (checks.ch9_leaks, "XYZ", False, "choose among A, B, C, D, E"),
        (checks.ch9_boundary, ..., None, "Not yet"),
        (checks.ch9_boundary, "conv5_block8_concat", True, "Right"),
        (checks.ch9_boundary, "conv5_block12_concat", False, "earlier boundary"),
        (checks.ch9_boundary, "pool4_pool", False, "Did you count the gradients?"),
        (checks.ch9_boundary, "pool3_pool", False, "177 minutes, over the budget"),
        (checks.ch9_boundary, "half", False, "name one of the layers"),
        (checks.ch9_schedule, ..., None, "Not yet"),
        (checks.ch9_schedule, schedule, True, "Right"),
        (checks.ch9_schedule, 0.001, False, "the function itself"),
        (checks.ch9_schedule, lambda s, n, p: p, False, "starts from 0"),
        (checks.ch9_schedule, line, False, "straight line"),
        (checks.ch9_schedule, from_the_start, False, "t is 0 at the peak"),
        (
            checks.ch9_schedule,
            lambda s, n, p: schedule(s, n, p, 0.1),
            False,
            "a twentieth",
        ),
        (checks.ch9_schedule, lambda s, n, p: schedule(s, 200, 3), False, "num_steps"),
        (
            checks.ch9_schedule,
            lambda s, n, p: schedule(s, n, p) if s < n else p / 9,
            False,
            "at the last step",
        ),
        (
            checks.ch9_schedule,
            lambda s, n, p: schedule(s, n, p) * (0.9 if s == 10 else 1),
            False,
            "the peak is 3.0",
        ),
    ],
)
def test_a_check_says_not_yet_right_or_the_probable_mistake(
    check, answer, result, says, capsys
):
    assert check(answer) is result
    assert says in capsys.readouterr().out


def test_the_costs_of_boundaries_are_those_that_the_chapter_counts():
    from helpers.checks.chapter09 import BEHIND

    def block(num_layers, channels, side):
        incoming = (channels + 32 * layer for layer in range(num_layers))
        return sum(side**2 * (128 * c + 32 * 9 * 128) for c in incoming)

    last = block(16, 512, 7)
    counted = {
        "pool3_pool": block(24, 256, 14) + 14**2 * 1024 * 512 + last,
        "pool4_pool": last,
        "conv5_block8_concat": block(8, 768, 7),
        "conv5_block12_concat": block(4, 896, 7),
    }
    assert {k: v / 1e6 for k, v in counted.items()} == pytest.approx(BEHIND, abs=0.06)
