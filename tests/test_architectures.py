"""What chapter 4 records about architectures: networks, costs and records."""

import hashlib
import json

import keras
import numpy as np
import pytest
from keras import layers

from helpers import recorded
from helpers.experiments import architectures


@pytest.mark.parametrize("family", architectures.FAMILIES)
def test_the_families_differ_in_their_wires_and_not_in_their_3x3_convolutions(family):
    model = architectures.build(family, 4, 48)
    convolutions = [x for x in model.layers if isinstance(x, layers.Conv2D)]
    assert sum(x.kernel.shape[0] == 3 for x in convolutions) == 13
    kinds = {type(x).__name__ for x in model.layers}
    assert ("Add" in kinds) is (family == "residual")
    assert ("Concatenate" in kinds) is (family == "dense")


def test_multiply_adds_are_weights_times_places():
    inputs = keras.Input((8, 8, 2))
    maps = layers.Conv2D(5, 3, strides=2, padding="same")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(maps)))
    expected = 3 * 3 * 2 * 5 * 16 + 5 * 16 * 3
    assert architectures.multiply_adds(model) == expected


def test_the_second_run_of_a_network_starts_as_if_it_were_the_first(
    tmp_path, monkeypatch
):
    rng = np.random.default_rng(0)
    data = {
        "images": rng.random((32, 16, 16, 1), np.float32),
        "labels": np.arange(32) % 4,
        "part": np.arange(32) % 2,
        "fingerprint": "noise",
        "files": np.arange(32).astype(str),
    }
    plan = {"pixels": 16, "num_epochs": 1, "batch_size": 8}
    found = []
    for runs in ([(0.01, 0)], [(0.03, 1), (0.01, 0)]):
        monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / str(len(runs))))
        found.append(architectures.trained(data, plan, 1, "plain", 2, runs, part=1))
    assert found[1][1] == pytest.approx(found[0][0], abs=1e-6)
    assert not np.allclose(found[1][0], found[0][0], atol=1e-4)


def test_feature_reuse_puts_each_weight_at_its_source():
    model = keras.applications.DenseNet121(weights=None, include_top=False)
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            layer.kernel.assign(keras.ops.zeros(layer.kernel.shape))
    kernel = np.zeros((1, 1, 64 + 32 * 3, 128), np.float32)
    kernel[:, :, 64 + 32 : 64 + 64] = -2  # the fourth layer reads the second one's maps
    model.get_layer("conv2_block4_1_conv").kernel.assign(kernel)
    model.get_layer("conv2_block4_0_bn").gamma.assign(np.full(160, 3))
    tables = architectures.feature_reuse(model)
    assert [kernels.shape for kernels, _ in tables] == [
        (7, 7),
        (13, 13),
        (25, 25),
        (17, 16),
    ]
    kernels, scaled = tables[0]
    assert kernels[2, 3] == 2 and scaled[2, 3] == 6
    assert np.nansum(kernels) == 2 and np.isnan(kernels[4, 3])


def test_the_recorded_scores_follow_from_the_recorded_probabilities():
    run = recorded.load("architectures")
    stated = run.info["networks"]
    again = architectures.networks(list(stated.values()), run.arrays)
    assert again.keys() == stated.keys()
    for name, network in stated.items():
        for key in ("accuracy", "per_seed", "ci95"):
            assert again[name][key] == pytest.approx(network[key], abs=1e-6)
        model = architectures.build(network["family"], network["width"], 48)
        assert model.count_params() == network["parameters"]
        assert architectures.multiply_adds(model) == network["multiply_adds"]


def test_the_recorded_comparison_had_a_plan_and_whole_patients_in_its_test():
    run = recorded.load("architectures")
    plan = (recorded.FOLDER / "plans" / "architectures.json").read_bytes()
    assert run.info["plan_sha256"] == hashlib.sha256(plan).hexdigest()
    assert run.info["plan"] == json.loads(plan)["chosen"]
    assert run.info["looks"] == 1
    assert len(set(run.filenames)) == run.info["num_scored"] == len(run.labels)
    assert len(set(run.groups)) == run.info["num_patients"]


def test_no_virtual_patient_and_no_twin_is_on_two_sides():
    plan = {"num_slices": 150, "pixels": 16, "phantom_seed": 0}
    data = architectures.phantoms_by_patient(plan)
    assert len(data["images"]) == 150 - 15  # a tenth are twins
    sides = [set(data["patients"][data["part"] == part]) for part in range(3)]
    assert all(sides)
    assert not (sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2])


def test_feature_use_is_summarised_relative_to_the_largest_weight():
    table = np.array([[9, 9, 1.0], [np.nan, 9, 2], [np.nan, np.nan, 4]])
    expected = {"input": 0.25, "previous": 1.0, "between": 0.5}
    assert architectures.relative_use(table) == expected
    use = recorded.load("feature-reuse-imagenet")
    for number in range(1, 5):
        again = architectures.relative_use(use.arrays[f"block_{number}"])
        assert again == pytest.approx(use.info["relative_use"][f"block_{number}"])


def test_the_recorded_megabytes_follow_from_the_recorded_bytes():
    run = recorded.load("training-memory")
    rows = np.array([list(row.values()) for row in run.info["megabytes"].values()])
    assert rows == pytest.approx(run.arrays["kept_and_peak"] / 1e6)
    assert (rows[:, 0] < rows[:, 1]).all()
