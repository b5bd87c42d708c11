"""No runner ever learns from what it scores: each is run, on small stand-in data.

What is fitted and what is scored is read off where it happens: at the classifier, at
`fit_plan`, at a method. Units are what shares a slice, a series or a patient.
"""

import json
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
import stand_in

from helpers import recorded, training
from helpers.experiments import (
    ablations,
    backbone,
    folds,
    inside,
    ladder,
    official,
    pieces,
    protocols,
    recipe,
    seed_recipe,
    slices,
    transfer,
    whole,
)
from helpers.experiments.registry import EXPERIMENTS
from helpers.plan import Plan, Stage

# Experiments that neither learn nor score, or only on synthetic slices, whose virtual
# patients are told apart by tests of their own.
NOTHING_REAL_IS_SCORED = {
    "twin-pairs",
    "features-imagenet-224",
    "imagenet-opinion",
    "first-filters",
    "feature-reuse-imagenet",
    "training-memory",
    "recipe-time",
    # Ask the networks of whole-leak-free, by their own keys:
    "explain-candidate",
    "explain-leak-free",
    "stress-candidates",
    "ship-fold-0",
    "architectures",
    "backbone-curves",
    "phantom-difficulty",
    "phantom-classifier",
}


@dataclass
class Spy:
    """What was fitted (rows) and what that was asked (rows), in order."""

    seen: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    trained: int = 0

    def fitted(self, rows, classes: int = 4):
        """Note a fit; return what notes what it is asked and answers by guessing."""
        self.trained += 1
        rows = np.asarray(rows)

        def answer(asked):
            asked = np.asarray(asked)
            self.seen.append((rows, asked))
            rng = np.random.default_rng(len(rows) + self.trained)
            return rng.dirichlet(np.ones(classes), len(asked)).astype(np.float32)

        return answer

    def shared(self, units) -> set:
        """Return the units on both sides of any fit."""
        found = [set(units[fit]) & set(units[asked]) for fit, asked in self.seen]
        return set().union(*found)

    @property
    def asked(self) -> np.ndarray:
        return np.sort(np.concatenate([asked for _, asked in self.seen]))


@pytest.fixture
def spy():
    return Spy()


@pytest.fixture
def small(monkeypatch, tmp_path):
    return stand_in.install(monkeypatch, tmp_path)


def _kept(small) -> np.ndarray:
    return np.flatnonzero(small.real.rows["keep"] == 1)


# --- each kind of runner, with the spy where it learns --------------------------------


def probe_runner(name, spy, small, monkeypatch):
    def predict(real, plan, train, test):
        return spy.fitted(train)(test)

    return replace(EXPERIMENTS[name], predict=predict)


def planned_runner(name, spy, small, monkeypatch):
    """Note the probe, or the two stages of fine-tuning, on rows of the images."""
    if name == "linear-probe-official":
        numbers = np.arange(len(small.real.labels))[:, None] * np.ones((1, 3))
        monkeypatch.setattr(official, "features_of", lambda real: numbers)

        def probe(features, labels, plan):
            answer = spy.fitted(features[:, 0].astype(int))
            asked = SimpleNamespace()
            asked.predict_proba = lambda x: answer(x[:, 0].astype(int))
            return asked

        monkeypatch.setattr(official, "_probe", probe)
    else:

        def tuned(real, plan, seed, purpose):
            return spy.fitted(real.fit)

        monkeypatch.setattr(official, "_fine_tuned", tuned)
    return EXPERIMENTS[name]


def fit_plan_runner(name, spy, small, monkeypatch):
    """Note what `fit_plan` is given, and what its result is asked."""

    number = {x.tobytes(): row for row, x in enumerate(small.real.data.images)}

    def fit_plan(plan, images, labels, fit_rows, val_rows, folder, groups=None, **_):
        def rows(of):  # of all images, where some of them were given
            return np.array([number[images[row].tobytes()] for row in of], int)

        answer = spy.fitted(rows(fit_rows))
        assert not set(small.units[rows(fit_rows)]) & set(small.units[rows(val_rows)])
        said = SimpleNamespace(history={"loss": [1.0]})
        said.predict = lambda asked: answer(rows(asked))
        return said

    monkeypatch.setattr(training, "fit_plan", fit_plan)
    monkeypatch.setattr(whole, "load_dataset", lambda pixels: small.real.data)
    monkeypatch.setattr(ablations, "load_dataset", lambda pixels: small.real.data)
    if name.startswith("whole"):
        split = "official" if name.endswith("official") else "twin-free"
        plan = {"split": split, "chosen": Plan((Stage("head", "backbone", 1, 1.0),))}
        plan["chosen"] = replace(plan["chosen"], weighting="draw").as_dict()
        plan |= {"seeds": [0, 1], "forecast": "none"}
        monkeypatch.setattr(whole, "committed_plan", lambda name: (plan, "p" * 64))
    return EXPERIMENTS[name]


def seed_runner(name, spy, small, monkeypatch):
    """Note what the tutorial's model is trained on, and what it predicts."""
    keras = pytest.importorskip("keras")
    monkeypatch.setattr(keras.utils, "set_random_seed", lambda seed: None)
    monkeypatch.setattr(seed_recipe, "_precision", lambda plan: "float32")
    monkeypatch.setattr(seed_recipe, "imagenet_backbone", lambda: None)
    images = small.real.data.images
    number = {image.tobytes(): row for row, image in enumerate(images)}
    model = SimpleNamespace()
    monkeypatch.setattr(seed_recipe, "build", lambda *_: model)

    def train(model, images, labels, fit, score, plan, seed, path):
        answer = spy.fitted(fit)
        model.predict = lambda x, verbose: answer([number[i.tobytes()] for i in x])
        return {"loss": [1.0]}

    monkeypatch.setattr(seed_recipe, "train", train)
    return EXPERIMENTS[name]


def ladder_runner(name, spy, small, monkeypatch):
    def method(seen, labels, fitted, tested, seed):
        return spy.fitted(fitted, labels.max() + 1)(tested)

    monkeypatch.setattr(ladder, "METHODS", dict.fromkeys(ladder.METHODS, method))
    return EXPERIMENTS[name]


def transfer_runner(name, spy, small, monkeypatch):
    """Note rows of figshare's slices, at the arm or at the probe of a layer."""
    rows = small.real.rows.reset_index()
    chosen = np.flatnonzero((rows["source"] == "figshare") & rows["patient"].notna())
    rows = rows.iloc[chosen]
    some = slices.Slices(
        images=small.real.data.images[chosen],
        labels=rows["class"].map(slices.CLASSES.index).to_numpy(int),
        patient=rows["patient"].to_numpy(int),
        fold=rows["fold"].to_numpy(int),
        filenames=rows["filename"].to_numpy(str),
        fingerprint="stand-in",
    )
    small.units = some.patient  # rows are of these slices from here on
    small.scored = some.of_folds(slices.SCORED)
    numbers = np.arange(len(chosen))[:, None] * np.ones((1, 3))
    seen = dict.fromkeys((*slices.LAYERS, "relu"), numbers)
    for module in (transfer, inside):
        monkeypatch.setattr(module, "load_slices", lambda: some)
        monkeypatch.setattr(module, "views", lambda *_: dict(seen))
        monkeypatch.setattr(module, "weights_of", lambda name: ("none", name))
    monkeypatch.setattr(inside, "thumbnails", lambda images, side: numbers[..., None])
    monkeypatch.setattr(inside, "halvings", lambda _: dict.fromkeys("abc", numbers))

    class Search:
        def __init__(self, *_, **__):
            self.best_params_ = {}

        def fit(self, x, y, groups):
            self.answer = spy.fitted(x[:, 0].astype(int), 3)

        def predict_proba(self, x):
            return self.answer(x[:, 0].astype(int))

    monkeypatch.setattr("sklearn.model_selection.GridSearchCV", Search)

    def arm(slices, seen, backbone, layer="relu"):
        return lambda rows, size, seed, plan: spy.fitted(rows, 3)

    monkeypatch.setattr(transfer, "ARMS", dict.fromkeys(transfer.ARMS, arm))
    monkeypatch.setattr(transfer, "fit_frozen", arm)
    monkeypatch.setattr(transfer, "SIZES", (3, 6))
    monkeypatch.setattr(transfer, "maps_at", lambda *_: numbers)
    monkeypatch.setattr(transfer, "tail_model", _head_only)
    monkeypatch.setattr(
        transfer,
        "fit_model",
        lambda *_: lambda rows, size, seed, plan: spy.fitted(rows, 3),
    )
    return EXPERIMENTS[name]


def _head_only(*_):
    keras = pytest.importorskip("keras")
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(inputs))


def backbone_runner(name, spy, small, monkeypatch):
    from helpers import densenet

    numbers = np.arange(len(small.real.labels))[:, None] * np.ones((1, 3))
    monkeypatch.setattr(densenet, "backbone", lambda *_: None)
    monkeypatch.setattr(backbone, "pooled_features", lambda *_: numbers)

    def probe(features, labels, groups):
        answer = spy.fitted(features[:, 0].astype(int))
        return SimpleNamespace(predict_proba=lambda x: answer(x[:, 0].astype(int)))

    monkeypatch.setattr(backbone, "fitted_probe", probe)
    return EXPERIMENTS[name]


def _runner(name):
    run = EXPERIMENTS[name].run
    kinds = {
        folds.run_probe: probe_runner,
        official.run_planned: planned_runner,
        recipe.run_recipe: fit_plan_runner,
        whole.run_whole: fit_plan_runner,
        ablations.run_ablations: fit_plan_runner,
        seed_recipe.run_seed_recipe: seed_runner,
        ladder.run_ladder: ladder_runner,
        transfer.run_curve: transfer_runner,
        transfer.run_recipes: transfer_runner,
        inside.run_layers: transfer_runner,
        backbone.score_backbones: backbone_runner,
    }
    return kinds.get(run)


RUN = [n for n in EXPERIMENTS if _runner(n)]
OFFICIAL = [n for n in RUN if n.endswith("-official") or n == "seed-recipe"]
LADDERS = [n for n in RUN if EXPERIMENTS[n].run is ladder.run_ladder]
MIXED = ["backbone-bundled"]  # folds and the official split in one record
ON_FOLDS = [n for n in RUN if n not in (*OFFICIAL, *LADDERS, *MIXED)]


def test_every_experiment_is_run_here_or_scores_nothing_real():
    assert set(EXPERIMENTS) == {*RUN} | NOTHING_REAL_IS_SCORED


def _run(name, spy, small, monkeypatch, look_again=False):
    experiment = _runner(name)(name, spy, small, monkeypatch)
    experiment.run(experiment, look_again)
    return recorded.info(name)


@pytest.mark.parametrize("name", ON_FOLDS)
def test_what_is_scored_shares_no_slice_series_or_patient_with_what_is_learned(
    name, spy, small, monkeypatch
):
    info = _run(name, spy, small, monkeypatch)
    assert spy.seen
    assert not spy.shared(small.units)
    if name == "ablations":  # judged inside, nothing that a run scores
        assert info["looks"] == 0
        return
    expected = small.scored if hasattr(small, "scored") else _kept(small)
    asked = np.unique(spy.asked)
    assert set(expected) <= set(asked)
    if info.get("num_val", 0):  # watched files were asked too
        return
    assert set(asked) == set(expected)


@pytest.mark.parametrize("name", OFFICIAL)
def test_on_the_official_split_nothing_of_testing_is_learned_from(
    name, spy, small, monkeypatch
):
    _run(name, spy, small, monkeypatch)
    testing = set(small.real.test)
    for fit, _ in spy.seen:
        assert not set(fit) & testing
    assert testing <= set(spy.asked)


@pytest.mark.parametrize("name", LADDERS)
def test_each_rung_keeps_apart_what_its_rule_names(name, spy, small, monkeypatch):
    _run(name, spy, small, monkeypatch)
    arrays = recorded.load(name).arrays
    rules = {"random": "file", "no-copies": "exact", "official": "file"}
    rules |= {"no-twins": "group", "series": "series", "manifest": "unit"}
    rules |= {"three-random": "group", "three-series": "series"}
    rules |= {"three-patient": "unit"}
    for part in ("four", "three"):
        for rule, column in protocols.MATCHED.items():
            rules[f"{part}-{rule}"] = column or "file"
    files = ladder.files_of(arrays)
    for rung in arrays["rungs"].astype(str):
        for parts in ladder.rung_of(arrays, rung).draws:
            for fit, scored in parts:
                column = files[rules[rung]].to_numpy()
                assert not set(column[fit]) & set(column[scored]), rung
    # The methods were given what the record says.
    fits = {tuple(fit) for fit, _ in spy.seen}
    recorded_fits = {
        tuple(fit)
        for rung in arrays["rungs"].astype(str)
        for parts in ladder.rung_of(arrays, rung).draws
        for fit, _ in parts
    }
    assert fits <= recorded_fits


def test_the_worth_of_a_backbone_is_scored_on_folds_and_apart_on_testing(
    spy, small, monkeypatch
):
    _run("backbone-bundled", spy, small, monkeypatch)
    testing = set(small.real.test)
    for fit, asked in spy.seen:
        if set(asked) == testing:
            assert not set(fit) & testing
        else:
            assert not set(small.units[fit]) & set(small.units[asked])


# --- looks, pieces, commits -----------------------------------------------------------

# One experiment of each kind that keeps pieces; the others differ in their plan.
IN_PIECES = (
    *("recipe-leak-free", "whole-leak-free", "seed-recipe-leak-free", "baselines"),
    *("transfer-frozen-imagenet", "transfer-scratch", "layer-probe-random"),
)


@pytest.mark.parametrize("name", IN_PIECES)
def test_a_second_look_learns_anew_and_a_run_that_was_cut_off_does_not(
    name, spy, small, monkeypatch, tmp_path
):
    _run(name, spy, small, monkeypatch)
    once = spy.trained
    assert once
    (tmp_path / "recorded" / f"{name}.json").unlink()  # cut off before it was recorded
    info = _run(name, spy, small, monkeypatch)
    assert (spy.trained, info["looks"]) == (once, 1)
    info = _run(name, spy, small, monkeypatch, look_again=True)
    assert (spy.trained, info["looks"]) == (2 * once, 2)


@pytest.fixture
def key(small):
    return pieces.decided_by(small.real, np.arange(5), name="tiny", look=1, seed=0)


def _made(commit, number, monkeypatch):
    monkeypatch.setattr(pieces, "commit", lambda: commit)
    return lambda: {"answers": np.array([number])}


def test_a_piece_keeps_the_commit_that_made_it(key, monkeypatch):
    pieces.piece(key, _made("abc", 1, monkeypatch))
    again = pieces.piece(key, _made("def", 2, monkeypatch))
    assert again.arrays["answers"].tolist() == [1]
    assert again.about["commit"] == "abc"
    assert pieces.commits([again]) == ["abc"]
    assert again.about.items() >= key.items()


@pytest.mark.parametrize("what", ["look", "seed", "images", "weights_sha256", "more"])
def test_whatever_decides_a_piece_makes_it_another(key, what, monkeypatch):
    pieces.piece(key, _made("abc", 1, monkeypatch))
    other = pieces.piece(key | {what: "other"}, _made("abc", 2, monkeypatch))
    assert other.arrays["answers"].tolist() == [2]
    assert pieces.checkpoints(key) != pieces.checkpoints(key | {what: "other"})


def test_a_piece_of_other_files_is_another(small):
    one = pieces.decided_by(small.real, np.array([3, 1]), name="tiny")
    assert one == pieces.decided_by(small.real, np.array([1, 3]), name="tiny")
    assert one != pieces.decided_by(small.real, np.array([1, 2]), name="tiny")


def test_nobody_timed_a_piece_that_was_cut_off(key, monkeypatch):
    pieces.checkpoints(key).mkdir(parents=True)
    found = pieces.piece(key, _made("abc", 1, monkeypatch))
    assert found.about["seconds"] is None


def test_a_piece_that_was_committed_is_found_without_a_cache(
    key, monkeypatch, tmp_path
):
    pieces.piece(key, _made("abc", 1, monkeypatch))
    (path,) = (tmp_path / "cache" / "pieces" / "tiny").iterdir()
    place = recorded.FOLDER / "pieces" / "tiny" / path.name
    place.parent.mkdir(parents=True)
    path.rename(place)
    found = pieces.piece(key, _made("def", 2, monkeypatch))
    assert found.about["commit"] == "abc"


# --- the whole network: how a plan is chosen, and what follows ------------------------


def test_candidates_are_trained_on_four_folds_and_compared_on_the_fifth(
    spy, small, monkeypatch, tmp_path
):
    fit_plan_runner("ablations", spy, small, monkeypatch)
    monkeypatch.setattr(whole, "PLANS", tmp_path)
    whole.choose_whole(EXPERIMENTS["whole-leak-free"])
    fold = small.real.rows["fold"].to_numpy(int)
    assert len(spy.seen) == len(whole.CANDIDATES)
    for fit, asked in spy.seen:
        assert set(fold[fit]) == {1, 2, 3, 4}
        assert set(fold[asked]) == {0}
    for name in ("whole-leak-free", "whole-official"):
        plan = json.loads((tmp_path / f"{name}.json").read_text())
        table = json.loads((tmp_path / "whole-leak-free.json").read_text())
        assert plan["chosen"] == whole.best_of(table["candidates"])["plan"]
        assert plan["forecast"] == whole.FORECAST[name]


def test_the_rule_takes_the_cheapest_of_those_that_are_nearly_best():
    def row(macro_f1, log_loss, pixels, epochs=10):
        plan = whole._plan(pixels, epochs).as_dict()
        return {"macro_f1": macro_f1, "log_loss": log_loss, "plan": plan}

    best, near, cheap = row(0.96, 0.16, 224), row(0.956, 0.15, 160), row(0.95, 0.1, 32)
    assert whole.best_of([best, near, cheap]) is near  # lower loss among the near ones
    equal = row(0.957, 0.154, 128)
    assert whole.best_of([best, near, equal, cheap]) is equal
    twin = row(0.957, 0.154, 128)
    assert whole.best_of([equal, twin]) is equal


def test_a_person_is_answered_with_the_mean_over_their_slices():
    run = recorded.Run(
        {},
        {
            "filenames": np.array(["a", "b", "c"]),
            "labels": np.array([0, 0, 1]),
            "class_names": np.array(["x", "y"]),
            "fold": np.array([1, 1, 2]),
            "groups": np.array([7, 7, 3]),
            "probabilities": np.array([[[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]]]),
        },
    )
    people = whole.persons(run)
    assert people.groups.tolist() == [3, 7]
    assert people.labels.tolist() == [1, 0]
    assert people.fold.tolist() == [2, 1]
    np.testing.assert_allclose(people.probabilities[0], [[0.2, 0.8], [0.6, 0.4]])


def test_the_primary_result_leaves_out_the_fold_that_had_a_say(spy, small, monkeypatch):
    info = _run("whole-leak-free", spy, small, monkeypatch)
    run = recorded.load("whole-leak-free")
    assert whole.follows_from(run).keys() <= info.keys()
    assert info["primary"]["folds"] == [1, 2, 3, 4]
    assert info["had_a_say"]["folds"] == [0]
    known = whole.rows_of(run, run.fold != 0)
    tumors = known.labels != 2
    assert info["primary"]["num_scored"] == tumors.sum()
    patients = set(known.arrays["patient"][tumors])
    assert info["primary"]["persons"]["num_scored"] == len(patients)
    low, high = info["primary"]["interval"]["macro_f1"]
    inner = info["primary"]["ci95"]["macro_f1"]
    assert low <= inner[0] < inner[1] <= high
    assert {p["fitted_sha256"] for p in info["pieces"]}
    assert len(info["pieces"]) == 2 * 5


def test_a_seed_that_is_missing_is_added_to_the_same_look(spy, small, monkeypatch):
    experiment = fit_plan_runner("whole-leak-free", spy, small, monkeypatch)
    plan, _ = whole.committed_plan("whole-leak-free")
    fit_plan, calls = training.fit_plan, []

    def cut_off(*arguments, **named):
        if len(calls) == 7:
            raise KeyboardInterrupt
        calls.append(1)
        return fit_plan(*arguments, **named)

    monkeypatch.setattr(training, "fit_plan", cut_off)
    experiment.run(experiment, False)
    first = recorded.load("whole-leak-free")
    assert (first.info["seeds"], first.info["looks"]) == ([0], 1)
    monkeypatch.setattr(training, "fit_plan", fit_plan)
    experiment.run(experiment, False)
    both = recorded.load("whole-leak-free")
    assert (both.info["seeds"], both.info["looks"]) == (plan["seeds"], 1)
    np.testing.assert_array_equal(both.probabilities[0], first.probabilities[0])
    assert spy.trained == 10
