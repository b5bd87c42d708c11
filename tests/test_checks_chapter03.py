"""Every check of chapter 3 says not yet, right, or what the mistake probably was."""

import numpy as np
import pytest

from helpers import checks, evaluation, recorded
from helpers.checks import chapter03


def said(capsys) -> str:
    return capsys.readouterr().out.strip()


@pytest.fixture(scope="module")
def test_set():
    return chapter03._test()


@pytest.mark.parametrize("name", chapter03.__all__)
def test_an_empty_stub_is_told_not_yet(name, capsys):
    assert getattr(checks, name)(...) is None
    assert said(capsys).startswith("Not yet: ")


# --- 3.1 an interval of one's own -----------------------------------------------------


def drawn_by_hand(test_set, num_draws=1000, seed=1):
    """Return the sensitivity of meningioma on draws of patients, one by one."""
    rng = np.random.default_rng(seed)
    said = test_set.probabilities.argmax(axis=1)
    slices = [
        np.flatnonzero(test_set.patient == p) for p in np.unique(test_set.patient)
    ]
    for _ in range(num_draws):
        people = rng.integers(0, len(slices), len(slices))
        drawn = np.concatenate([slices[p] for p in people])
        yield (said[drawn][test_set.labels[drawn] == 1] == 1).mean()


@pytest.fixture(scope="module")
def draw(test_set):
    """Return the same by counting: a function (seed, draws) -> sensitivity, precision.

    Both are [draws].
    """
    people, row = np.unique(test_set.patient, return_inverse=True)
    called = test_set.probabilities.argmax(axis=1) == 1
    true = test_set.labels == 1
    counts = np.stack([np.bincount(row, x) for x in (true & called, true, called)], 1)

    def drawn(seed, num_draws=5000):
        rng = np.random.default_rng(seed)
        one = rng.integers(0, len(people), (num_draws, len(people)))
        one += len(people) * np.arange(num_draws)[:, None]
        times = np.bincount(one.ravel(), minlength=one.size).reshape(one.shape)
        hit, positive, named = (times.astype(float) @ counts).T
        return hit / positive, hit / named

    return drawn


def test_a_bootstrap_over_patients_written_out_passes(test_set, draw, capsys):
    by_hand = list(drawn_by_hand(test_set))
    assert np.allclose(by_hand, draw(1, 1000)[0])
    answer = np.percentile(by_hand, [2.5, 97.5])
    for form in (answer, tuple(answer), [float(end) for end in answer]):
        assert checks.ch3_sensitivity(form) is True
        assert "times as wide" in said(capsys)


def test_no_seed_of_the_right_method_is_refused_and_none_of_a_near_miss_accepted(
    draw, capsys
):
    for seed in range(200):
        values, precision = draw(seed)
        for right in (values, values[:1000]):
            assert checks.ch3_sensitivity(np.percentile(right, [2.5, 97.5])) is True
        said(capsys)
        middle, spread = values.mean(), values.std()
        for answer, hint in [
            (np.percentile(values, [5, 95]), "as from the percentiles 5 to 95"),
            (np.percentile(values, [0.5, 99.5]), "percentiles 0.5 and 99.5; take"),
            (np.percentile(values, [0.025, 0.975]), "not 0.025 and 0.975"),
            ((middle - spread, middle + spread), "*one* standard deviation"),
            (np.percentile(precision, [2.5, 97.5]), "interval of precision"),
        ]:
            assert checks.ch3_sensitivity(answer) is False
            assert hint in said(capsys), seed


def test_a_wrong_interval_gets_its_own_hint(test_set, draw, capsys):
    scored = (test_set.labels, test_set.probabilities)
    recall = evaluation.bootstrap_interval("recall", *scored, test_set.patient)
    right = recall[1]
    for answer, hint in [
        (0.83, "two numbers"),
        (draw(1)[0], "these are 5,000. Take two percentiles"),
        ("0.76, 0.88", "give two numbers"),
        (None, "two numbers"),
        ((np.nan, 0.9), "not a finite number"),
        (100 * right, "between 0 and 1"),
        (right[::-1], "lower end comes first"),
        (evaluation.bootstrap_interval("recall", *scored)[1], "interval over images"),
        (
            evaluation.bootstrap_interval("macro_f1", *scored, test_set.patient),
            "interval of macro-F1",
        ),
        (recall[0], "the interval of glioma"),
        (recall[2], "the interval of pituitary"),
        ((0.1, 0.2), "does not lie inside"),
        ((right[0] - 0.08, right[1] + 0.08), "percentiles 2.5 and 97.5"),
    ]:
        assert checks.ch3_sensitivity(answer) is False
        assert hint in said(capsys)


# --- 3.2 where does it fall? ----------------------------------------------------------


def test_exactly_the_rungs_of_the_largest_falls_pass(capsys):
    right = {
        name: max(falls := chapter03._falls(method), key=falls.get)
        for name, method in chapter03.PREDICTED.items()
    }
    assert checks.ch3_rung({n: f" {rung} " for n, rung in right.items()}) is True
    assert said(capsys).startswith("Right: copying loses")
    as_in_tables = {name.replace(" ", "-"): rung for name, rung in right.items()}
    assert checks.ch3_rung(as_in_tables) is True
    said(capsys)
    for name, most in right.items():
        for rung, hint in chapter03.RUNG_HINTS.items():
            if rung != most:
                assert checks.ch3_rung(right | {name: rung}) is False
                assert f"{name}: {hint}" in said(capsys)
    assert checks.ch3_rung(right | {"copying": "official"}) is False
    assert "none of random, no-copies" in said(capsys)
    assert checks.ch3_rung("no-twins") is False
    assert "a dictionary such as" in said(capsys)


def test_the_falls_add_up_to_the_recorded_ends():
    scores = recorded.info("leakage-ladder")["scores"]
    for method in chapter03.PREDICTED.values():
        ends = [scores[rung][method]["macro_f1"] for rung in ("official", "manifest")]
        assert sum(chapter03._falls(method).values()) == pytest.approx(
            -np.diff(ends)[0]
        )


# --- 3.3 break the split --------------------------------------------------------------


def neighbors(test_set) -> np.ndarray:
    scored, _ = chapter03._halves()
    return np.setdiff1d(np.flatnonzero(test_set.fold == 3), scored)


def test_half_of_a_fold_is_scored_and_no_stranger_shows_its_patients(test_set):
    scored, strangers = chapter03._halves()
    beside = neighbors(test_set)
    assert abs(len(scored) - len(beside)) <= test_set.fold.max()
    assert np.isin(test_set.patient[beside], test_set.patient[scored]).mean() > 0.98
    assert not np.isin(test_set.patient[strangers], test_set.patient[scored]).any()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_other_slices_of_the_scored_patients_break_the_split(seed, test_set, capsys):
    train = np.random.default_rng(seed).permutation(neighbors(test_set))[:300]
    assert checks.ch3_break(train) is True
    assert "100% of yours show a patient who is scored" in said(capsys)


def test_training_sets_that_break_nothing_or_too_much_get_a_hint(test_set, capsys):
    scored, strangers = chapter03._halves()
    beside = neighbors(test_set)
    num = len(test_set.labels)
    in_order = np.lexsort((test_set.files, test_set.patient))
    two_classes = beside[test_set.labels[beside] != 0]
    for answer, hint in [
        (beside[:299], "expected 300 slices; your answer holds 299"),
        (beside[:300] / 2, "holds float64"),
        ("all", "whole numbers"),
        (np.r_[beside[:299], num], f"from 0 to {num - 1}"),
        (np.r_[beside[:299], beside[0]], "each comes once"),
        (np.r_[beside[:250], scored[:50]], "50 of them are scored"),
        (np.random.default_rng(9).permutation(strangers)[:300], "without any leak"),
        (in_order[1::2][:300], "of your 300 slices are of fold 3, the one"),
        (np.r_[two_classes, strangers[test_set.labels[strangers] == 1]][:300], "class"),
    ]:
        assert checks.ch3_break(answer) is False
        assert hint in said(capsys)


def test_any_unscored_slices_do_not_pass_by_luck(test_set, monkeypatch, capsys):
    scored, _ = chapter03._halves()
    others = np.setdiff1d(np.arange(len(test_set.labels)), scored)
    monkeypatch.setattr(chapter03, "_score", lambda train, scored: 1.0)
    for seed in range(300):
        train = np.random.default_rng(seed).permutation(others)[:300]
        assert checks.ch3_break(train) is False
        assert "would be luck" in said(capsys), seed


def test_too_few_slices_of_scored_patients_gain_too_little(test_set, capsys):
    _, strangers = chapter03._halves()
    mixed = np.r_[neighbors(test_set)[:151], strangers[::9]][:300]
    score = chapter03._score(mixed, chapter03._halves()[0])
    assert checks.ch3_break(mixed) is False
    assert f"{score:.3f}, against" in said(capsys)


# --- 3.4 what is missing --------------------------------------------------------------


def test_exactly_the_missing_comparisons_pass(capsys):
    right = {1: "A", 2: "B", 3: "C", 4: "D"}
    assert checks.ch3_missing(right) is True
    assert checks.ch3_missing({n: f" {a.lower()} " for n, a in right.items()}) is True
    assert said(capsys).count("Right: ") == 2
    for change, hint in [
        ({1: "E"}, "1 of 4 not yet. About sentence 1: two numbers"),
        ({2: "E"}, "all ten seeds"),
        ({3: "F"}, "kinds of leak"),
        ({4: "B"}, "one number for four classes"),
        ({1: "B", 2: "A"}, "2 of 4 not yet"),
        ({1: "G"}, "none of A to F"),
    ]:
        assert checks.ch3_missing(right | change) is False
        assert hint in said(capsys)
    assert checks.ch3_missing("ABCD") is False
    assert "a dictionary such as" in said(capsys)
