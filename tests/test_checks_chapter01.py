"""Every check of chapter 1 says not yet, right, or what the mistake probably was."""

import numpy as np
import pytest

from helpers import checks, recorded
from helpers.checks.common import Hint, NotYet, exercise

SEQUENCES = {1: "T2", 2: "FLAIR", 3: "T1 with contrast"}


@pytest.fixture(scope="module")
def real():
    return recorded.features()


def said(capsys) -> str:
    return capsys.readouterr().out.strip()


def test_a_check_prints_one_line_and_never_raises(capsys):
    @exercise
    def check(answer):
        if answer == 0:
            raise Hint("zero is not it.")
        if answer == 1:
            raise NotYet("the function returns nothing.")
        return f"{10 / answer:.0f} it is."

    assert check(2) is True
    assert said(capsys) == "Right: 5 it is."
    assert check(0) is False
    assert said(capsys) == "Not quite: zero is not it."
    assert check(1) is None
    assert said(capsys) == "Not yet: the function returns nothing."
    assert check("x") is False
    assert said(capsys).startswith("Not quite: this answer could not be checked.")


@pytest.mark.parametrize("stub", [..., [1, ...], {"a": ...}, {"a": [..., 2]}, (..., 1)])
def test_a_stub_says_not_yet(stub, capsys):
    for name in ("ch1_sequence", "ch1_majority", "ch1_repair", "ch1_abstract"):
        assert getattr(checks, name)(stub) is None
        assert said(capsys).startswith("Not yet: replace the ...")


def test_the_sequences_are_told_apart(capsys):
    assert checks.ch1_sequence(SEQUENCES) is True
    assert checks.ch1_sequence(SEQUENCES | {1: "FLAIR"}) is False
    assert "look at 1 again: in which sequence is free fluid" in said(capsys)
    assert checks.ch1_sequence(SEQUENCES | {2: "T9"}) is False
    assert "2 is 'T9'; choose among" in said(capsys)
    assert checks.ch1_sequence({1: "T2"}) is False
    assert checks.ch1_sequence("T2") is False


def test_the_majority_baseline_is_scored_on_the_test(real, capsys):
    train, test = real.official_split()
    notumor = real.labels == real.class_names.index("notumor")
    assert checks.ch1_majority(notumor[test].mean()) is True
    assert "always answering notumor" in said(capsys)
    for value, hint in [
        (0.25, "fair die"),
        (notumor[train].mean(), "training images"),
        (notumor.mean(), "among all images"),
        (30.9, "not percent"),
        (0.6, "most training images"),
    ]:
        assert checks.ch1_majority(value) is False
        assert hint in said(capsys), value


def test_a_repaired_split_keeps_all_but_the_copies(real, capsys):
    train, test = real.official_split()
    copied = np.isin(real.group[train], real.group[test])
    assert 0 < copied.sum() < len(train)
    assert checks.ch1_repair(train[~copied]) is True
    assert f"{copied.sum()} training images go" in said(capsys)
    for answer, hint in [
        (train, f"{copied.sum()} of the images you keep"),
        (~copied, "give the indices".capitalize()),
        (test, "holds test images"),
        (train[~copied][5:], "gave up 5 training images"),
        (np.append(train[~copied], train[~copied][0]), "once"),
        (np.flatnonzero(~copied) + 10**6, "once"),
    ]:
        assert checks.ch1_repair(answer) is False
        assert hint in said(capsys)


def test_the_abstract_is_criticised_where_it_claims_too_much(capsys):
    assert checks.ch1_abstract({"a", "b", "c"}) is True
    assert checks.ch1_abstract(["C", "b", " a"]) is True
    assert said(capsys).count("Right: ") == 2
    assert checks.ch1_abstract({"a", "b", "c", "e"}) is False
    assert "(e) does not hold" in said(capsys)
    assert checks.ch1_abstract({"a", "c"}) is False
    assert "group is in both folders" in said(capsys)
    assert checks.ch1_abstract({"z"}) is False
    assert "choose among a, b, c, d, e" in said(capsys)
