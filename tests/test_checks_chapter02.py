"""Every check of chapter 2 says not yet, right, or what the mistake probably was."""

import numpy as np
import pytest

from helpers import checks, recorded
from helpers.audit import manifest
from helpers.checks import chapter02


def said(capsys) -> str:
    return capsys.readouterr().out.strip()


def sums(one, other, *flips):
    return [(one * flip(other)).sum() for flip in flips]


def same(view):
    return view


def sideways(view):
    return view[:, ::-1]


def upside(view):
    return view[::-1]


def both(view):
    return view[::-1, ::-1]


FOUR = (same, sideways, upside, both)


def right_similarity(one, other):
    return max(sums(one, other, *FOUR))


@pytest.mark.parametrize("name", chapter02.__all__)
def test_an_empty_stub_is_told_not_yet(name, capsys):
    assert getattr(checks, name)(...) is None
    assert said(capsys).startswith("Not yet: ")


def test_the_best_of_four_mirror_states_passes(capsys):
    assert checks.ch2_mirror(right_similarity) is True
    assert said(capsys).startswith("Right: ")


@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (0.5, "the function itself"),
        (lambda a, b: max(sums(a, b, same, sideways)), "flipped up-down"),
        (lambda a, b: max(sums(a, b, same, upside, both)), "flipped left-right"),
        (lambda a, b: max(sums(a, b, same, sideways, upside)), "flipped both ways"),
        (lambda a, b: sums(a, b, *FOUR), "an array of shape (4,)"),
        (lambda a, b: a * b, "expected one number"),
        (lambda a, b: sum(2 + s for s in sums(a, b, *FOUR)), "not their sum"),
        (lambda a, b: np.mean(sums(a, b, *FOUR)), "take the best of them"),
        (lambda a, b: max(np.abs(sums(a, b, *FOUR))), "leave out the abs()"),
        (lambda a, b: max(sums(a, b, *FOUR, np.rot90)), "such as a rotation"),
    ],
)
def test_a_wrong_similarity_gets_its_own_hint(mistake, hint, capsys):
    assert checks.ch2_mirror(mistake) is False
    assert hint in said(capsys)


@pytest.mark.parametrize("nothing", [..., None])
def test_a_function_that_returns_nothing_is_not_yet_an_answer(nothing, capsys):
    assert checks.ch2_mirror(lambda one, other: nothing) is None
    assert said(capsys).startswith("Not yet: ")


def test_exactly_the_plateau_passes(capsys):
    found = recorded.info("twin-pairs")["found"]
    low, high = found["most_similar_neighbours"], found["least_similar_same_slice"]
    assert low < high
    for at in np.linspace(low + 1e-6, high - 1e-6, 5):
        assert checks.ch2_threshold(at) is True
        assert said(capsys).startswith("Right: ")
    for at, hint in [
        (low - 1e-6, "Go higher"),
        (high + 1e-6, "Go lower"),
        (9, "between 0 and 1"),
    ]:
        assert checks.ch2_threshold(at) is False
        assert hint in said(capsys)


@pytest.fixture(scope="module")
def kept():
    rows = manifest.load().dropna(subset="group")
    return rows[rows["keep"] == 1]


def test_folds_dealt_at_random_break_the_split(kept, capsys):
    at_random = np.random.default_rng(0).permutation(len(kept)) % 5
    assert checks.ch2_break(at_random) is True
    assert "became" in said(capsys)


def test_folds_that_do_not_break_the_split_get_a_hint(kept, capsys):
    honest = kept["fold"].to_numpy(int)
    little = honest.copy()
    little[:5] = (little[:5] + 1) % 5
    for answer, hint in [
        (honest[:-1], "one fold number for each kept image"),
        (honest + 1, "0, 1, 2, 3 or 4"),
        (np.zeros(len(honest), int), "about equally large"),
        (honest, "no series crosses"),
        (little, "not five points more yet"),
    ]:
        assert checks.ch2_break(answer) is False
        assert hint in said(capsys)


def test_exactly_the_sentences_that_follow_pass(capsys):
    assert checks.ch2_follows({"b", "d", "f"}) is True
    assert checks.ch2_follows([" B", "d", "F"]) is True
    assert said(capsys).count("Right: ") == 2
    for answer, hint in [
        ({"a", "b", "d", "f"}, "(a) does not follow"),
        ({"c"}, "which split were they given"),
        ({"b", "d", "e", "f"}, "another hospital"),
        ({"b", "d"}, "last two columns"),
        ({"z"}, "choose among a, b"),
    ]:
        assert checks.ch2_follows(answer) is False
        assert hint in said(capsys)
