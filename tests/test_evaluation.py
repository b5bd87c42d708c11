"""Metrics agree with scikit-learn; intervals behave as the method says."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from helpers import evaluation
from helpers.config import CourseError

NAMES = ("glioma", "meningioma", "notumor", "pituitary")


@st.composite
def scored(draw, num_seeds=1):
    """Return labels [n] with every class in them, and probabilities [seeds, n, 4]."""
    num_images = draw(st.integers(8, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    labels = rng.permutation(np.arange(num_images) % 4)
    sharpness = draw(st.sampled_from([0.05, 0.5, 5.0]))
    return labels, rng.dirichlet(np.full(4, sharpness), (num_seeds, num_images))


def simulated(num_images=1311, num_seeds=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, num_images)
    probabilities = rng.dirichlet(np.full(4, 0.3), (num_seeds, num_images))
    probabilities[:, np.arange(num_images), labels] += 0.4
    return labels, probabilities / probabilities.sum(axis=2, keepdims=True)


@given(scored())
@settings(max_examples=25, deadline=None)
def test_metrics_agree_with_scikit_learn(case):
    labels, (probabilities,) = case
    predictions = probabilities.argmax(axis=1)
    found = evaluation.metrics(labels, probabilities, NAMES, num_resamples=10)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, predictions))
    assert found["macro_f1"] == pytest.approx(
        sk.f1_score(labels, predictions, average="macro")
    )
    assert list(found["recall"].values()) == pytest.approx(
        list(sk.recall_score(labels, predictions, average=None))
    )
    assert found["log_loss"] == pytest.approx(sk.log_loss(labels, probabilities))
    one_hot = np.eye(4)[labels]
    one_vs_rest = [
        sk.brier_score_loss(one_hot[:, i], probabilities[:, i]) for i in range(4)
    ]
    assert found["brier"] == pytest.approx(sum(one_vs_rest))
    assert "per_seed" not in found


@given(scored())
@settings(max_examples=25, deadline=None)
def test_sensitivity_and_specificity_are_recall_of_the_class_and_of_the_rest(case):
    labels, (probabilities,) = case
    predictions = probabilities.argmax(axis=1)
    table = evaluation.sensitivity_specificity(labels, predictions, NAMES)
    for i, name in enumerate(NAMES):
        is_class, said_class = labels == i, predictions == i
        assert table.sensitivity[name] == pytest.approx(
            sk.recall_score(is_class, said_class)
        )
        assert table.specificity[name] == pytest.approx(
            sk.recall_score(~is_class, ~said_class)
        )
        assert table.found[name] == (is_class & said_class).sum()
        assert table.false_alarms[name] == (~is_class & said_class).sum()


def test_calibration_error_of_a_case_done_by_hand():
    # Four answers at .9, three of them right; one at .5 (bin .467 to .533), wrong.
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.5, 0.5]])
    labels = np.array([0, 0, 0, 1, 1])
    error = evaluation.expected_calibration_error(labels, probabilities)
    assert error == pytest.approx(4 / 5 * abs(0.75 - 0.9) + 1 / 5 * abs(0 - 0.5))


@given(scored())
@settings(max_examples=25, deadline=None)
def test_calibration_error_follows_guo_written_as_a_loop(case):
    labels, (probabilities,) = case
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    error = 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
    found = evaluation.expected_calibration_error(labels, probabilities)
    assert found == pytest.approx(error)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "recall", "brier", "ece"])
def test_fast_resampling_equals_scoring_each_resample_of_images(metric):
    labels, probabilities = simulated(80, 2)
    groups = np.repeat(np.arange(40), 2)
    members, drawn = evaluation._draws(80, groups, 20, seed=1)
    fast = evaluation._resampled(metric, labels, probabilities, members, drawn)
    for weights, value in zip(drawn, fast, strict=True):
        taken = np.repeat(np.arange(80), weights[members].astype(int))
        slow = []
        for one in probabilities:
            true, scores = labels[taken], one[taken]
            predicted = scores.argmax(axis=1)
            slow.append(
                {
                    "accuracy": sk.accuracy_score(true, predicted),
                    "macro_f1": sk.f1_score(true, predicted, average="macro"),
                    "recall": sk.recall_score(true, predicted, average=None),
                    "brier": evaluation.brier(true, scores),
                    "ece": evaluation.expected_calibration_error(true, scores),
                }[metric]
            )
        assert value == pytest.approx(np.mean(slow, axis=0))


def test_every_resample_draws_as_many_groups_as_there_are():
    _, drawn = evaluation._draws(6, ["a", "a", "b", "c", "c", "c"], 50, seed=0)
    assert drawn.shape == (50, 3)
    assert (drawn.sum(axis=1) == 3).all()


def test_interval_of_accuracy_is_as_wide_as_the_binomial_one():
    labels, probabilities = simulated(2000, 1)
    right = (probabilities[0].argmax(axis=1) == labels).mean()
    low, high = evaluation.bootstrap_interval("accuracy", labels, probabilities)
    half = 1.96 * np.sqrt(right * (1 - right) / 2000)
    assert (low, high) == pytest.approx((right - half, right + half), abs=0.004)


def test_copies_counted_as_one_group_widen_the_interval_by_the_root_of_their_number():
    labels, probabilities = simulated(300, 1)
    four = [np.repeat(labels, 4), np.repeat(probabilities, 4, axis=1)]
    images = np.ptp(evaluation.bootstrap_interval("accuracy", *four))
    groups = np.repeat(np.arange(300), 4)
    grouped = np.ptp(evaluation.bootstrap_interval("accuracy", *four, groups))
    assert grouped / images == pytest.approx(2, rel=0.1)


def test_recall_gets_one_interval_for_each_class():
    labels, probabilities = simulated(400, 3)
    intervals = evaluation.bootstrap_interval("recall", labels, probabilities)
    recall = evaluation.metrics(labels, probabilities, NAMES)["recall"]
    for (low, high), value in zip(intervals, recall.values(), strict=True):
        assert low < value < high


def test_metrics_of_several_seeds_are_means_and_keep_each_seed():
    labels, probabilities = simulated(200, 3)
    found = evaluation.metrics(labels, probabilities, NAMES, num_resamples=50)
    alone = [
        evaluation.metrics(labels, one, NAMES, num_resamples=50)
        for one in probabilities
    ]
    for name in ("accuracy", "macro_f1", "brier", "log_loss", "ece"):
        values = [one[name] for one in alone]
        assert found["per_seed"][name] == pytest.approx(values)
        assert found[name] == pytest.approx(np.mean(values))
    low, high = found["ci95"]["macro_f1"]
    assert low < found["macro_f1"] < high


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    labels, probabilities = simulated(200, 1)
    first, again, other = (
        evaluation.bootstrap_interval("macro_f1", labels, probabilities, seed=seed)
        for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_a_model_compared_with_itself_differs_by_exactly_nothing():
    labels, probabilities = simulated(200, 2)
    found = evaluation.paired_bootstrap("macro_f1", labels, *[probabilities] * 2)
    assert found == (0, 0, 0)


def test_pairing_sees_a_difference_that_separate_intervals_hide():
    labels, probabilities = simulated(400, 1)
    better = probabilities.copy()
    wrong = np.flatnonzero(better[0].argmax(axis=1) != labels)[:12]
    better[0, wrong] = np.eye(4)[labels[wrong]]
    gain = evaluation.paired_bootstrap("accuracy", labels, probabilities, better)
    before = evaluation.bootstrap_interval("accuracy", labels, probabilities)
    after = evaluation.bootstrap_interval("accuracy", labels, better)
    assert gain.difference == pytest.approx(12 / 400)
    assert gain.low > 0
    assert after[0] < before[1]


def test_two_thousand_resamples_of_the_official_test_take_under_ten_seconds():
    labels, probabilities = simulated(1311, 3)
    start = time.perf_counter()
    evaluation.metrics(labels, probabilities, NAMES)
    assert time.perf_counter() - start < 10


def spoiled(change):
    labels, probabilities = simulated(10, 1)
    probabilities = probabilities[0]
    change(labels, probabilities)
    return labels, probabilities


def set_nan(labels, probabilities):
    probabilities[3, 1] = np.nan


def set_logits(labels, probabilities):
    probabilities[4] = [2.0, -1.0, 0.5, 0.1]


def set_label(labels, probabilities):
    labels[6] = 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_nan, "nan in row 3, column 1"),
        (set_logits, r"Row 4 .*sum 1\.600.*softmax"),
        (set_label, r"labels\[6\] is 4; expected a class index from 0 to 3"),
    ],
)
def test_bad_input_is_named(change, message):
    labels, probabilities = spoiled(change)
    with pytest.raises(CourseError, match=message):
        evaluation.metrics(labels, probabilities, NAMES)
    with pytest.raises(CourseError, match=message):
        evaluation.brier(labels, probabilities)


def test_input_of_the_wrong_shape_is_named():
    labels, probabilities = simulated(10, 1)
    with pytest.raises(CourseError, match=r"\(1, 10, 4\); expected \[9, classes\]"):
        evaluation.metrics(labels[:9], probabilities, NAMES)
    with pytest.raises(CourseError, match="3 class names and 4 probability columns"):
        evaluation.metrics(labels, probabilities, NAMES[:3])
    with pytest.raises(CourseError, match=r"groups have shape \(3,\)"):
        evaluation.bootstrap_interval("accuracy", labels, probabilities, [1, 2, 3])
    with pytest.raises(CourseError, match="'f1'; expected one of accuracy, macro_f1"):
        evaluation.bootstrap_interval("f1", labels, probabilities)
    with pytest.raises(CourseError, match="at least one image"):
        evaluation.brier([], np.empty((0, 4)))


def test_a_class_without_images_is_named():
    labels, probabilities = simulated(40, 1)
    labels[labels == 3] = 0
    with pytest.raises(CourseError, match="No image is labelled pituitary"):
        evaluation.metrics(labels, probabilities, NAMES)


def test_float32_and_float16_rounding_passes():
    labels, probabilities = simulated(50, 1)
    exact = evaluation.brier(labels, probabilities)
    for dtype, tolerance in ((np.float32, 1e-6), (np.float16, 1e-3)):
        rounded = evaluation.brier(labels, probabilities.astype(dtype))
        assert rounded == pytest.approx(exact, abs=tolerance)
