"""Chapter 10's checks accept what is right and name what is wrong."""

import numpy as np
import pytest
from told import right_and_wrong

from helpers.checks import chapter10 as checks

LABELS = np.repeat([0, 1, 2, 3], [40, 30, 10, 20])


def bins(error, most):
    return {"error": error, "bin": most}


def each(*row):
    return np.tile(row, (len(LABELS), 1))


def slices(**changes):
    right = {"a": "fine", "b": "misleads", "c": "leaks", "d": "leaks"}
    return right | changes


def knowing():
    rows = each(0.4, 0.3, 0.1, 0.2)
    rows[0] = [0.7, 0.1, 0.1, 0.1]
    return rows


RIGHT = [
    (checks.ch10_bins, bins(0.059, "d")),
    (checks.ch10_bins, bins(23.6 / 400, "D")),
    (checks.ch10_slices, slices()),
    (checks.ch10_follows, {"a", "c", "g"}),
    (checks.ch10_follows, "GCA"),
]

WRONG = [
    (checks.ch10_bins, 0.059, "dictionary"),
    (checks.ch10_bins, bins(5.9, "d"), "percent"),
    (checks.ch10_bins, bins(0.0875, "d"), "plain mean"),
    (checks.ch10_bins, bins(0.06, "d"), "the gap of bin c alone"),
    (checks.ch10_bins, bins(0.049, "d"), "cancelled"),
    (checks.ch10_bins, bins(0.5, "d"), "divide by 400"),
    (checks.ch10_bins, bins(0.059, "b"), "largest gap"),
    (checks.ch10_bins, bins(0.059, "a"), "gap times slices"),
    (checks.ch10_slices, ["fine"], "dictionary"),
    (checks.ch10_slices, slices(a="good"), "'good' is none of"),
    (checks.ch10_slices, slices(a="leaks"), "few, but they are honest"),
    (checks.ch10_slices, slices(b="leaks"), "how sure is a network"),
    (checks.ch10_slices, slices(c="fine"), "How many of them are in fold 2"),
    (checks.ch10_slices, slices(d="fine"), "would have chosen"),
    (checks.ch10_follows, {"x"}, "choose among a, b, c, d, e, f, g"),
    (checks.ch10_follows, {"a", "c", "e", "g"}, "(e) does not follow"),
    (checks.ch10_follows, {"a", "c"}, "row of meningioma"),
]


(
    test_a_right_answer_is_told_why,
    test_a_wrong_answer_gets_a_hint_that_names_the_mistake,
) = right_and_wrong(RIGHT, WRONG)


def test_class_shares_are_calibrated_and_called_useless(capsys):
    assert checks.ch10_useless(each(0.4, 0.3, 0.1, 0.2), LABELS) is True
    assert "error of 0.000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (each(0.4, 0.3, 0.3), "shape (100, 3)"),
        (np.array([0.4, 0.3, 0.1, 0.2]), "np.tile"),
        (each(0.5, 0.3, 0.1, 0.2), "the sum is 1"),
        (each(1.1, -0.1, 0, 0), "none below 0"),
        (knowing(), "the same row"),
        (each(1, 0, 0, 0), "promises certainty and is right in 0.40"),
        (each(0.25, 0.25, 0.25, 0.25), "gets 0.25, and makes up 0.40"),
        (each(0.2, 0.4, 0.2, 0.2), "gets 0.40, and makes up 0.30"),
    ],
)
def test_what_is_not_calibrated_or_not_useless_is_named(answer, hint, capsys):
    assert checks.ch10_useless(answer, LABELS) is False
    assert hint in capsys.readouterr().out


def test_the_bins_numbers_are_those_of_the_chapters_table():
    import re

    from helpers.config import ROOT

    text = (ROOT / "chapters" / "10_calibrate_and_abstain.ipynb").read_text()
    rows = re.findall(r"\| \*\*([a-d])\*\* \| ([\d.]+) \| (\d+) \| (\d+) \|", text)
    adds = {
        name: abs(float(sure) * int(size) - int(right))
        for name, sure, size, right in rows
    }
    error = sum(adds.values()) / sum(int(size) for _, _, size, _ in rows)
    assert checks.ch10_bins({"error": error, "bin": max(adds, key=adds.get)}) is True
