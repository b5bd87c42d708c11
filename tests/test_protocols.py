"""On every rung, training holds what its rule allows, and only the rule changes."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from helpers import recorded
from helpers.audit import manifest
from helpers.experiments import protocols

RULES = list(protocols.MATCHED)


@pytest.fixture(scope="module")
def files() -> pd.DataFrame:
    features = recorded.features()
    rows = manifest.load().set_index("filename").loc[features.filenames]
    return protocols.file_table(rows, features.group)


@pytest.fixture(scope="module")
def practised(files) -> dict[str, protocols.Rung]:
    return {rung.name: rung for rung in protocols.practised(files, num_draws=2)}


@pytest.fixture(scope="module")
def matched(files) -> dict[str, protocols.Rung]:
    return {rung.name: rung for rung in protocols.matched(files, num_draws=2)}


def _parts(rungs):
    for rung in rungs.values():
        for parts in rung.draws:
            for fitted, scored in parts:
                yield rung, fitted, scored


def test_no_file_is_fitted_and_scored_and_every_draw_scores_the_same(
    practised, matched
):
    for rungs in (practised, matched):
        for _, fitted, scored in _parts(rungs):
            assert not np.intersect1d(fitted, scored).size
        for rung in rungs.values():
            for parts in rung.draws:
                everything = np.concatenate([scored for _, scored in parts])
                assert np.array_equal(np.sort(everything), rung.scored)


@pytest.mark.parametrize(
    ("name", "never_shared"),
    [
        ("no-copies", ["exact"]),
        ("no-twins", ["exact", "group"]),
        ("series", ["exact", "group", "series"]),
        ("manifest", ["exact", "group", "series", "patient"]),
        ("three-series", ["exact", "group", "series"]),
        ("three-patient", ["exact", "group", "series", "patient"]),
    ],
)
def test_a_practised_rung_keeps_whole_what_it_promises(
    files, practised, name, never_shared
):
    shares = protocols.shares_in_training(files, practised[name])
    names = {"group": "slice"}
    assert {shares[names.get(column, column)] for column in never_shared} == {0}


def test_the_milder_practised_rungs_do_share(files, practised):
    for name, shared in (
        ("official", "slice"),
        ("random", "exact"),
        ("no-copies", "slice"),
        ("no-twins", "series"),
        ("series", "patient"),
        ("three-random", "series"),
        ("three-series", "patient"),
    ):
        assert protocols.shares_in_training(files, practised[name])[shared] > 0.05


def test_the_drawn_folds_are_balanced_and_differ_from_draw_to_draw(files, practised):
    labels = files["label"].to_numpy()
    for _, _, scored in _parts({"no-twins": practised["no-twins"]}):
        counts = np.bincount(labels[scored], minlength=4)
        expected = np.bincount(labels[practised["no-twins"].scored]) / 5
        assert np.abs(counts - expected).max() < 1
    one, other = (parts[0][1] for parts in practised["no-twins"].draws)
    assert not np.array_equal(one, other)


def test_the_last_rung_is_the_manifests_folds(files, practised):
    for number, (_, scored) in enumerate(practised["manifest"].draws[0]):
        assert set(files["fold"].iloc[scored]) == {number}
        assert (files["keep"].iloc[scored] == 1).all()


@pytest.mark.parametrize("part", ["four", "three"])
def test_matched_rungs_score_the_same_files_after_the_same_class_counts(
    files, matched, part
):
    labels = files["label"].to_numpy()
    rungs = [matched[f"{part}-{rule}"] for rule in RULES]
    for draws in zip(*(rung.draws for rung in rungs), strict=True):
        for parts in zip(*draws, strict=True):
            counts = {tuple(np.bincount(labels[fitted])) for fitted, _ in parts}
            scored = {tuple(scored) for _, scored in parts}
            assert len(counts) == len(scored) == 1


@pytest.mark.parametrize("part", ["four", "three"])
def test_each_matched_rung_obeys_its_rule_and_milder_ones_break_it(
    files, matched, part
):
    for position, rule in enumerate(RULES[1:], start=1):
        numbers = files[protocols.MATCHED[rule]].to_numpy()
        for name in RULES:
            broken = [
                np.isin(numbers[scored], numbers[fitted]).any()
                for _, fitted, scored in _parts({"": matched[f"{part}-{name}"]})
            ]
            if RULES.index(name) >= position:
                assert not any(broken)
            elif name == RULES[position - 1]:
                assert any(broken)


def test_consecutive_matched_rungs_share_most_of_their_training_files(matched):
    for part in ("four", "three"):
        for one, other in pairwise(RULES):
            ours, theirs = matched[f"{part}-{one}"], matched[f"{part}-{other}"]
            for a, b in zip(ours.draws[0], theirs.draws[0], strict=True):
                assert len(np.intersect1d(a[0], b[0])) > 0.7 * len(a[0])


def test_the_three_class_part_holds_known_patients_only(files, practised, matched):
    for name, rung in (practised | matched).items():
        if name.startswith("three"):
            assert rung.classes == (0, 1, 3)
            for _, fitted, scored in _parts({name: rung}):
                assert (files["patient"].iloc[fitted] >= 0).all()
                assert (files["patient"].iloc[scored] >= 0).all()
