"""Every check of chapter 1 says not yet, right, or what the mistake probably was."""

import numpy as np
import pytest
from PIL import Image

from helpers import checks, recorded
from helpers.checks.common import (
    Hint,
    NotYet,
    dictionary,
    exercise,
    named,
    number,
    positions,
    whole,
)

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


ANY_VALUE = [
    None,
    True,
    -1,
    1.5,
    np.nan,
    10**400,
    "x",
    b"x",
    [],
    [None],
    [[1], [1, 2]],
    (1, "a"),
    {"x"},
    {},
    {"a": None, 1: [2]},
    {1: 1, 2: 2, 3: 3, 4: 4, 7: 7, 8: 8, 10: 10},
    np.array([0.5]),
    np.zeros((2, 2)),
    np.array(None),
    len,
    print,
    int,
    object(),
]


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """Return what some checks are given beside the answer, by their names."""
    file = tmp_path_factory.mktemp("files") / "slice.png"
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(file)
    said = np.array([[0.4, 0.6], [0.7, 0.3]])
    return {
        "ch9_curve": [[3.0, 1.0, 2.0]],
        "ch10_useless": [np.array([0, 1, 1])],
        "ch13_exports": [said, said, said[::-1]],
        "ch13_limit": [np.arange(10.0, 30), np.arange(20.0, 40), 0.1],
        "ch13_serving": [[file], 8],
    }


CHECKS = [n for n in dir(checks) if n.startswith("ch") and callable(getattr(checks, n))]


@pytest.mark.parametrize("name", CHECKS)
def test_whatever_value_is_given_a_check_says_what_it_wanted(name, context, capsys):
    check = getattr(checks, name)
    for value in ANY_VALUE:
        assert check(value, *context.get(name, ())) in (False, None)
        out = said(capsys).splitlines()[-1]
        failed_itself = callable(value) and "Python says" in out
        assert out.startswith(("Not quite: ", "Not yet: ")), (value, out)
        assert "Python says" not in out or failed_itself, (value, out)


def test_one_number_is_told_from_everything_else():
    for value in (0.5, np.float32(0.5), np.array([0.5]), [0.5]):
        assert number(value) == 0.5
    for value in ("0.5", None, True, [1, 2], np.nan, np.inf, 10**400):
        with pytest.raises(Hint):
            number(value)
    assert whole(np.array(3.0)) == 3
    with pytest.raises(Hint, match=r"a whole number, and is 3\.5"):
        whole(3.5)


def test_letters_are_read_in_any_form():
    keys = ("a", "c", "g", "b")
    for answer in ("acg", "a, c, g", "{A, C, G}", " a c g ", ["a", "C ", "g"]):
        assert named(answer, keys) == {"a", "c", "g"}, answer
    assert named("", keys) == set()
    assert named("macro-F1, looks", ("looks", "macro-F1")) == {"macro-F1", "looks"}
    for answer in ("a-z", "abz", None, 3, {"a": True}, ["a", 1]):
        with pytest.raises(Hint, match="choose among a, b, c, g, as a set"):
            named(answer, keys)


def test_numbers_of_things_are_one_row_without_repeats():
    for answer in ([3, 1], (3, 1), {3, 1}, range(1, 4, 2), np.array([3, 1])):
        assert set(positions(answer)) == {1, 3}
    with pytest.raises(Hint, match=r"3 True and False.*np.flatnonzero"):
        positions(np.array([True, False, True]))


def test_a_dictionary_has_the_keys_that_were_asked_for():
    assert dictionary({1: "a", 2: "b"}, (2, 1), "'x'") == {1: "a", 2: "b"}
    with pytest.raises(Hint, match=r"2: 'x'.; this is a list"):
        dictionary([], (1, 2), "'x'")


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
    assert checks.ch1_sequence({1: "t2", 2: "flair", 3: "t1 with  contrast"}) is True
    said(capsys)
    for answer, hint in [
        ({1: "T2"}, "there is no 2 in your dictionary"),
        (SEQUENCES | {4: "T2"}, "4 is not asked for"),
        (["T2", "FLAIR", "T1 with contrast"], "a dictionary such as"),
        ("T2", "this is the text 'T2'"),
    ]:
        assert checks.ch1_sequence(answer) is False
        assert hint in said(capsys)


def test_the_majority_baseline_is_scored_on_the_test(real, capsys):
    train, test = real.official_split()
    notumor = real.labels == real.class_names.index("notumor")
    assert checks.ch1_majority(notumor[test].mean()) is True
    assert "always answering notumor" in said(capsys)
    assert checks.ch1_majority(0.31) is True
    assert said(capsys).startswith("Right: 0.309")
    for value, hint in [
        (np.nan, "not a finite number"),
        ("0.31", "Leave out the quotes"),
        (None, "is None"),
        (0.302, "most training images"),
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
    assert checks.ch1_repair(set(train[~copied].tolist())) is True
    for answer, hint in [
        (train, f"{copied.sum()} of the images you keep"),
        (~copied, f"{len(train):,} True and False; numbers are asked for: train[mask]"),
        (np.isin(np.arange(len(real.labels)), train[~copied]), "7,019 True and False"),
        (test, "holds test images"),
        (train[~copied][5:], "gave up 5 training images"),
        (np.append(train[~copied], train[~copied][0]), "each comes once"),
        (np.flatnonzero(~copied), "train[positions]"),
        (np.flatnonzero(~copied) + 10**6, "no index in `train`"),
        ((train[~copied],), "np.nonzero puts its array into a tuple"),
        ([train[~copied].tolist()], "one row of whole numbers"),
        ([[1], [2, 3]], "one row of whole numbers"),
        (train[~copied] / 1, "holds float64"),
        (None, "is None"),
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
