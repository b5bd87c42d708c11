"""The record of maps: outlines land on the lesion, what is random is only that."""

import json

import numpy as np
import pandas as pd
import pytest

from helpers.experiments import explain


def test_an_outline_is_mirrored_as_its_file_and_fills_its_box(tmp_path, monkeypatch):
    corner = [[0.2, 0.2], [0.6, 0.2], [0.2, 0.6]]  # a triangle, heavy at the left
    (tmp_path / "borders.json").write_text(json.dumps({"7": corner}))
    monkeypatch.setenv("BRAIN_MRI_FIGSHARE", str(tmp_path))
    box = {"box_x": 0.5, "box_y": 0.25, "box_width": 0.25, "box_height": 0.5}
    rows = pd.DataFrame([{"figshare_index": 7, "mirrored": m, **box} for m in (0, 1)])
    plain, mirrored = explain.lesion_masks(rows, 80)
    assert plain[20:61, 40:61].sum() == plain.sum() > 300
    assert plain[:, 40:50].sum() > 1.5 * plain[:, 50:61].sum()
    assert mirrored[:, 50:61].sum() > 1.5 * mirrored[:, 40:50].sum()


def test_randomised_weights_are_dealt_again_behind_the_boundary_only():
    keras = pytest.importorskip("keras")
    inputs = keras.Input((4,))
    x = keras.layers.Dense(5, name="first")(inputs)
    x = keras.layers.Dense(6, name="second")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(x))
    copy = explain.randomised(model, "first")
    before = {v.path: np.array(v) for v in model.variables}
    after = {v.path: np.array(v) for v in copy.variables}
    np.testing.assert_array_equal(after["first/kernel"], before["first/kernel"])
    for name in ("second/kernel", "head/kernel"):
        assert not np.array_equal(after[name], before[name])
        np.testing.assert_array_equal(
            np.sort(after[name], None), np.sort(before[name], None)
        )
    everything = explain.randomised(model, "")
    assert not np.array_equal(everything.get_weights()[0], before["first/kernel"])


def test_results_say_how_far_a_method_is_ahead_of_the_best_that_knows_nothing():
    methods = ("Grad-CAM, block 4", *explain.KNOW_NOTHING)
    rng, count = np.random.default_rng(0), 60
    times = rng.normal((5, 1, 2, 1.5), 0.1, (count, 4)).astype(np.float32)
    times[0, 0] = np.nan
    arrays = {
        "methods": np.array(methods),
        "class_names": np.array(["a", "b"]),
        "labels": np.arange(count) % 2,
        "said": np.eye(2)[np.arange(count) // 2 % 2],
        "groups": np.arange(count) // 3,
        "lesion_share": rng.random(count),
        "pointing": np.tile(np.array([1, 0, 0, -1], np.int8), (count, 1)),
        "times_chance": times,
    }
    arrays["pointing"][:30, 3] = 0
    found = explain.results_of(arrays)
    first = found["Grad-CAM, block 4"]
    assert first["all"]["pointing"] == [1, 1, 1]
    assert first["over"]["control"] == "mean of all lesions"
    assert first["over"]["times_chance"][0] == pytest.approx(3, abs=0.1)
    low, high = first["all"]["times_chance"][1:]
    assert low < 5 < high
    assert set(first) == {
        *("all", "right", "wrong", "a", "b", "over"),
        *("smallest lesions", "middle lesions", "largest lesions"),
    }
