"""Costs of a freeze boundary, and descriptions of filters, on cases worked by hand."""

import keras
import numpy as np
import pytest

from helpers import costs, densenet
from helpers.config import CourseError


def grating(degrees: float, frequency: float = 0.2) -> np.ndarray:
    """Return stripes that run in a direction, counter-clockwise, [7, 7]."""
    down, right = np.mgrid[:7, :7]
    turn = np.deg2rad(degrees)
    return np.cos(2 * np.pi * frequency * (right * np.sin(turn) + down * np.cos(turn)))


@pytest.fixture(scope="module")
def model():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name="one"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.ReLU(name="relu"),
            keras.layers.Conv2D(5, 1, strides=2, use_bias=False, name="two"),
        ]
    )


@pytest.mark.parametrize("degrees", [0, 45, 90, 135])
def test_the_stripes_of_a_filter_are_found_where_they_run(degrees):
    kernel = np.repeat(grating(degrees)[:, :, None, None], 3, axis=2)
    found = costs.filter_table(kernel).iloc[0]
    assert found["orientation"] == pytest.approx(degrees, abs=3)
    assert found["frequency"] == pytest.approx(0.2, abs=0.03)
    assert found["oriented"] > 0.5


def test_a_filter_without_colour_is_grey_and_one_that_compares_colours_is_not():
    plain = np.repeat(grating(30)[:, :, None], 3, axis=2)
    opponent = plain * [1, 0, -1]
    table = costs.filter_table(np.stack([plain, opponent], axis=3))
    assert table["grey"].tolist() == pytest.approx([1, 0], abs=1e-12)


def test_random_filters_keep_a_third_on_grey_images():
    kernel = np.random.default_rng(0).standard_normal((7, 7, 3, 500))
    assert costs.filter_table(kernel)["grey"].mean() == pytest.approx(1 / 3, abs=0.01)


def test_a_layers_work_is_its_weights_at_every_place(model):
    found = costs.layer_costs(model)
    assert found["parameters"].tolist() == [108, 0, 0, 20]
    assert found["multiply_adds"].tolist() == [108 * 64, 0, 0, 320]
    assert found["outputs"].tolist() == [256, 256, 256, 80]


def test_the_way_back_needs_what_enters_a_norm_and_what_leaves_a_relu(model):
    assert costs.layer_costs(model)["kept"].tolist() == [0, 256, 256, 0]


def test_densenet_keeps_what_chapter_4_counts_by_hand():
    model = densenet.backbone("none", pixels=32)
    assert 4 * costs.layer_costs(model)["kept"].sum() == 2_570_240


def test_frozen_layers_work_once_and_the_rest_three_times_an_epoch(model):
    found = costs.freeze_costs(model, "norm", num_epochs=10, pixels=8)
    assert found["trainable"] == 20
    assert found["billion_multiply_adds"] == pytest.approx((108 * 64 + 30 * 320) / 1e9)
    assert found["share"] == pytest.approx((6912 + 9600) / (30 * (6912 + 320)))
    assert found["stored_megabytes"] == pytest.approx(4 * 256 / 1e6)
    assert found["training_megabytes"] == pytest.approx(4 * 256 / 1e6)


def test_an_image_twice_as_wide_costs_four_times_as_much(model):
    small, large = (costs.freeze_costs(model, "one", 1, side) for side in (8, 16))
    for key in ("billion_multiply_adds", "training_megabytes"):
        assert large[key] == pytest.approx(4 * small[key])
    assert large["trainable"] == small["trainable"]


def test_a_boundary_that_is_not_there_is_named(model):
    with pytest.raises(CourseError, match="'two_and_a_half' is not a layer"):
        costs.freeze_costs(model, "two_and_a_half", 1, 8)
