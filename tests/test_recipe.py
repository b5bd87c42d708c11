"""Our recipe, the seed tutorial's and the ablations: what they learn from and score."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers import recorded
from helpers.audit import manifest
from helpers.config import CourseError
from helpers.experiments import ablations, parts, recipe, seed_recipe
from helpers.plan import Plan, Stage


@pytest.fixture(scope="module")
def real():
    """The manifest's rows as experiments see them, without an image."""
    rows = manifest.load()
    rows = rows[rows["group"].notna()].set_index("filename")
    testing = (rows["split"] == "Testing").to_numpy(bool)
    train = np.flatnonzero(~testing)
    return SimpleNamespace(
        rows=rows,
        labels=rows["class"].astype("category").cat.codes.to_numpy(int),
        fit=train[::2],
        val=train[1::2],
        test=np.flatnonzero(testing),
    )


def _units(real, rows):
    return set(parts.together(real)[rows])


@pytest.mark.parametrize("fold", range(5))
def test_no_slice_series_or_patient_is_on_two_sides_of_a_fold(real, fold):
    part = recipe.fold_part(real, fold)
    fit, val, score = (_units(real, r) for r in (part.fit, part.val, part.score))
    assert not fit & val
    assert not (fit | val) & score
    assert _units(real, part.files) == fit
    assert (real.rows["fold"].iloc[part.score] == fold).all()
    assert (real.rows["keep"].iloc[part.score] == 1).all()


def test_the_folds_score_each_kept_file_once(real):
    scored = np.concatenate([recipe.fold_part(real, k).score for k in range(5)])
    assert sorted(scored) == list(np.flatnonzero(real.rows["keep"] == 1))


def test_candidates_are_compared_without_testing_and_without_fold_0(real):
    part = recipe.inner_part(real)
    rows = np.concatenate([part.files, part.val])
    assert set(real.rows["split"].iloc[rows]) == {"Training"}
    assert not (real.rows["fold"].iloc[rows] == 0).any()
    assert not _units(real, part.fit) & _units(real, part.val)
    group = real.rows["group"].to_numpy(int)
    assert not set(group[rows]) & set(group[real.test])


def test_the_official_part_learns_from_training_and_scores_testing(real):
    part = recipe.official_part(real)
    rows = np.concatenate([part.files, part.val])
    assert set(real.rows["split"].iloc[rows]) == {"Training"}
    assert list(part.score) == list(real.test)
    assert not _units(real, part.fit) & _units(real, part.val)


def test_tumors_of_known_patients_keep_three_classes_that_sum_to_one():
    run = recorded.Run(
        {},
        {
            "filenames": np.array(["a", "b", "c", "d"]),
            "labels": np.array([0, 2, 3, 1]),
            "class_names": np.array(["glioma", "meningioma", "notumor", "pituitary"]),
            "fold": np.array([0, 1, 2, 3]),
            "patient": np.array([11, 12, 13, -1]),
            "probabilities": np.array(
                [[[0.2, 0.2, 0.2, 0.4], [0, 0, 1, 0], [0, 0.3, 0.4, 0.3], [1, 0, 0, 0]]]
            ),
        },
    )
    tumors = recipe.tumors(run)
    assert list(tumors.filenames) == ["a", "c"]
    assert list(tumors.labels) == [0, 2]
    assert list(tumors.groups) == [11, 13]
    np.testing.assert_allclose(
        tumors.probabilities, [[[0.25, 0.25, 0.5], [0, 0.5, 0.5]]]
    )


@pytest.fixture
def small():
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    backbone = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            *[keras.layers.Conv2D(3, 1) for _ in range(10)],
            keras.layers.BatchNormalization(),
            keras.layers.Conv2D(4, 3),
        ]
    )
    plan = {"frozen_layers": 10, "divide_by": 255, "hidden_units": 5}
    plan |= {"learning_rate": 1e-2, "batch_size": 4, "num_epochs": 3}
    return seed_recipe.build(backbone, plan, 2), backbone, plan


def test_the_seed_recipe_freezes_ten_layers_and_trains_all_others(small):
    model, backbone, _ = small
    assert [layer.trainable for layer in backbone.layers] == [False] * 10 + [True] * 2
    assert model.input.dtype == "uint8"
    grey = np.full((1, 8, 8), 51, np.uint8)
    hidden = np.array(backbone(np.full((1, 8, 8, 3), 0.2, np.float32))).reshape(1, -1)
    (first, shift), (last, bias) = (layer.get_weights() for layer in model.layers[-2:])
    logits = np.maximum(hidden @ first + shift, 0) @ last + bias
    by_hand = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(np.array(model(grey)), by_hand, atol=1e-5)


def test_the_seed_recipe_goes_back_to_its_best_epoch_on_what_it_scores(small, tmp_path):
    model, _, plan = small
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (20, 8, 8), np.uint8)
    labels, parts = np.arange(20) % 2, (np.arange(12), np.arange(12, 20))
    path = tmp_path / "seed.npz"
    history = seed_recipe.train(model, images, labels, *parts, plan, 0, path)
    assert len(history["val_loss"]) == 3
    loss = model.evaluate(images[12:], labels[12:], verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(min(history["val_loss"]), abs=1e-5)


def test_a_seed_recipe_that_is_stopped_keeps_the_best_of_its_epochs(small, tmp_path):
    model, _, plan = small
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (20, 8, 8), np.uint8)
    labels, parts = np.arange(20) % 2, (np.arange(12), np.arange(12, 20))
    stopped, path = plan | {"stopped_after": 2}, tmp_path / "seed.npz"
    history = seed_recipe.train(model, images, labels, *parts, stopped, 0, path)
    assert len(history["val_loss"]) == 2
    loss = model.evaluate(images[12:], labels[12:], verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(min(history["val_loss"]), abs=1e-5)


def test_the_seed_recipe_scores_the_folds_of_its_plan_and_nothing_left_out():
    rows = pd.DataFrame({"keep": [1, 1, 0, 1, 1, 1], "fold": [0, 1, 1, 1, 2, 4]})
    real = SimpleNamespace(rows=rows)
    (number, (fit, score)), *more = seed_recipe._splits(
        real, {"split": "twin-free", "folds": [1]}
    ).items()
    assert (number, more) == (1, [])
    assert (fit.tolist(), score.tolist()) == ([0, 4, 5], [1, 3])


def test_the_seed_recipe_computes_as_its_plan_says_where_there_is_no_gpu(monkeypatch):
    keras = pytest.importorskip("keras")
    monkeypatch.setattr(keras.distribution, "list_devices", lambda kind: [])
    before = keras.config.dtype_policy()
    try:
        asked = {"precision_without_gpu": "mixed_bfloat16"}
        assert seed_recipe._precision(asked) == "mixed_bfloat16"
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
    finally:
        keras.config.set_dtype_policy(before)


def test_a_variant_that_equals_the_base_differs_by_nothing():
    rng = np.random.default_rng(0)
    one = rng.dirichlet(np.ones(3), (2, 30)).astype(np.float32)
    arrays = {
        "variants": np.array(["base", "the same", "right"]),
        "val_labels": np.arange(30) % 3,
        "val_groups": np.arange(30) // 2,
        "val_probabilities": np.stack(
            [one, one, np.stack([np.eye(3, dtype=np.float32)[np.arange(30) % 3]] * 2)]
        ),
    }
    table = ablations.table_of(arrays)
    assert table["the same"]["macro_f1_difference"] == [0, 0, 0]
    assert table["right"]["macro_f1"] == 1
    gain = table["right"]["macro_f1_difference"]
    assert gain[0] == pytest.approx(1 - table["base"]["macro_f1"])
    assert gain[1] > 0


def test_each_variant_is_a_plan_and_changes_the_recipe():
    plans = [Plan.from_dict(ablations.BASE | c) for c in ablations.VARIANTS.values()]
    assert plans[0] == Plan.from_dict(ablations.BASE)
    assert len(set(plans)) == len(plans)


def test_a_recipe_is_carried_out_on_a_part_and_only_watches_the_rest(
    tmp_path, monkeypatch
):
    from small_network import SIDE, images_and_labels, small_backbone

    from helpers import training

    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path))
    monkeypatch.setattr(recipe, "imagenet_name", lambda: "imagenet")
    small = partial(training.fit_plan, build=small_backbone)
    monkeypatch.setattr(training, "fit_plan", small)
    images, labels = images_and_labels()
    group = np.arange(60) // 2
    named = pd.DataFrame({"file": [f"{row}.jpg" for row in range(60)]})
    real = SimpleNamespace(
        data=SimpleNamespace(images=images, table=named, fingerprint="noise"),
        labels=labels,
        rows=pd.DataFrame({"group": group}),
    )
    monkeypatch.setenv("BRAIN_MRI_WEIGHTS", "none")
    files, val = np.arange(40), np.arange(40, 60)
    part = parts.Part(files[::2], files, val, val)
    plan = Plan(
        (Stage("head", "backbone", 2, 1e-2),),
        pixels=SIDE,
        batch_size=4,
        weighting="draw",
    )
    one, again = (recipe.carry_out(plan, real, part, 1).predict(val) for _ in range(2))
    assert one.shape == (20, 3)
    np.testing.assert_array_equal(one, again)  # the second only loads
    other = recipe.carry_out(plan, real, part, 2).predict(val)
    assert np.abs(one - other).max() > 1e-3


def test_the_time_is_taken_from_an_empty_cache_and_the_readers_is_left_alone(
    tmp_path, monkeypatch
):
    import os

    from small_network import SIDE, images_and_labels, small_backbone

    from helpers import training
    from helpers.experiments import recipe_time

    home = tmp_path / "home"
    home.mkdir()
    (home / "mine").touch()
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(home))
    monkeypatch.setattr(recorded, "FOLDER", tmp_path / "recorded")
    caches = []

    def small(plan, *arguments, **named):
        there = Path(os.environ["BRAIN_MRI_CACHE"])
        assert there.parent == home
        caches.append(sorted(p.name for p in there.iterdir()))
        return training_fit_plan(plan, *arguments, build=small_backbone, **named)

    training_fit_plan = training.fit_plan
    monkeypatch.setattr(training, "fit_plan", small)
    images, labels = images_and_labels()
    rows = np.arange(60)
    named = pd.DataFrame({"file": rows.astype(str)})
    real = SimpleNamespace(
        data=SimpleNamespace(images=images, table=named, fingerprint="noise"),
        labels=labels,
        rows=pd.DataFrame({"group": rows}),
    )
    monkeypatch.setenv("BRAIN_MRI_WEIGHTS", "none")
    plan = Plan((Stage("head", "backbone", 2, 1e-2),), pixels=SIDE, batch_size=4)
    for module in (recipe, recipe_time):
        monkeypatch.setattr(module, "imagenet_name", lambda: "imagenet")
    monkeypatch.setattr(recipe_time, "load_real", lambda: real)
    monkeypatch.setattr(
        recipe_time, "committed_plan", lambda name: ({"chosen": plan.as_dict()}, "abc")
    )
    part = parts.Part(rows[:40], rows[:40], rows[40:], rows[40:])
    monkeypatch.setattr(recipe_time, "fold_part", lambda real, number: part)
    described = {"name": "real", "copy": "few", "fingerprint": "1"}
    monkeypatch.setattr(recipe_time, "describe", lambda real: described)
    (experiment,) = recipe_time.EXPERIMENTS
    experiment.run(experiment, False)
    assert caches == [[], ["activations"]]
    assert [p.name for p in home.iterdir()] == ["mine"]
    assert os.environ["BRAIN_MRI_CACHE"] == str(home)
    told = recorded.load("recipe-time")
    assert told.info["seconds"].keys() == {"cold", "warm"}
    np.testing.assert_array_equal(*told.arrays["losses"])  # trained anew, alike


def _folds_of_a_record(tmp_path, monkeypatch, seeds=(0,)):
    """Record fold 0 of a tiny plan; return what `recorded_pieces` is asked with."""
    monkeypatch.setattr(recorded, "FOLDER", tmp_path)
    rows = pd.DataFrame(
        {"keep": 1, "fold": [0, 0, 1, 1], "series": [1, 2, 3, 4], "patient": 7.0}
    )
    table = pd.DataFrame({"file": [f"Training/a/{n}.jpg" for n in range(4)]})
    real = SimpleNamespace(
        rows=rows,
        labels=np.array([0, 1, 0, 1]),
        data=SimpleNamespace(table=table, class_names=("a", "b")),
    )
    splits = seed_recipe._splits(real, {"split": "twin-free", "folds": [0, 1]})
    about = dict.fromkeys(seed_recipe.SAME, "same") | {
        "name": "tiny",
        "manifest_sha256": "1",
        "seeds": list(seeds),
    }
    piece = {
        "fold": 0,
        "seed": 0,
        "commit": "abc",
        "recorded_on": "2026-11-30",
        "seconds": 3.0,
        "probabilities": np.array([[0.75, 0.25], [0.5, 0.5]], np.float32),
        "history": {"loss": [1.0]},
    }
    seed_recipe._record(about | {"seeds": [0]}, real, {0: splits[0]}, [piece])
    return about, splits, piece


def test_a_fold_that_is_recorded_is_kept_as_it_is(tmp_path, monkeypatch):
    about, splits, piece = _folds_of_a_record(tmp_path, monkeypatch, seeds=(0, 1))
    kept = seed_recipe.recorded_pieces(about, splits)
    assert kept.keys() == {(0, 0)}
    said = kept[0, 0].pop("probabilities")
    np.testing.assert_array_equal(said, piece.pop("probabilities"))
    assert kept[0, 0] == piece


@pytest.mark.parametrize("name", seed_recipe.SAME)
def test_a_fold_of_another_plan_or_other_images_is_not_kept(
    name, tmp_path, monkeypatch
):
    about, splits, _ = _folds_of_a_record(tmp_path, monkeypatch)
    assert seed_recipe.recorded_pieces(about, splits)
    assert not seed_recipe.recorded_pieces(about | {name: "other"}, splits)


@pytest.mark.parametrize("look_again", [False, True])
def test_only_folds_that_are_missing_are_trained_unless_asked_to_look_again(
    look_again, tmp_path, monkeypatch
):
    about, splits, piece = _folds_of_a_record(tmp_path, monkeypatch)
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"looks": 1}))
    plan = {"chosen": {}, "carried_out": {}, "seeds": [0], "folds": [0, 1]}
    monkeypatch.setattr(seed_recipe, "committed_plan", lambda name: (plan, "1"))
    monkeypatch.setattr(seed_recipe, "_precision", lambda chosen: "same")
    monkeypatch.setattr(seed_recipe, "_splits", lambda real, plan: splits)
    monkeypatch.setattr(seed_recipe, "_about", lambda *_: dict(about))
    monkeypatch.setattr(seed_recipe, "load_real", lambda: None)
    trained, written = [], []

    def train(about, real, chosen, fold, seed, fit, score):
        trained.append(fold)
        return piece | {"fold": fold}

    monkeypatch.setattr(seed_recipe, "_piece", train)
    monkeypatch.setattr(
        seed_recipe,
        "_record",
        lambda about, real, done, found: written.append(
            (about["looks"], list(done), [p["fold"] for p in found])
        ),
    )
    experiment = SimpleNamespace(name="tiny")
    seed_recipe.run_seed_recipe(experiment, look_again)
    if look_again:
        assert trained == [0, 1]
        assert written == [(2, [0], [0]), (2, [0, 1], [0, 1])]
        return
    assert trained == [1]
    assert written == [(1, [0, 1], [0, 1])]
    plan["folds"], splits = [0], {0: splits[0]}
    monkeypatch.setattr(seed_recipe, "_splits", lambda real, plan: splits)
    with pytest.raises(CourseError, match="add --look-again"):
        seed_recipe.run_seed_recipe(experiment, False)
