"""The ladder's methods predict what the probes they stand for predict."""

from types import SimpleNamespace

import numpy as np
import pytest

from helpers import probes
from helpers.datasets import thumbnails
from helpers.experiments import methods

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 64, 64), dtype=np.uint8)
LABELS = RNG.integers(0, 3, 60)
TRAIN, TEST = np.arange(0, 60, 2), np.arange(1, 60, 2)
PLAN = {"copying_side": 32, "trees": 5, "forest_side": 8, "bins": 8, "side": 32}
PLAN |= {"components": 5, "C_rbf": 1.0, "C_linear": 0.1}


@pytest.fixture
def seen():
    modes = np.where(np.arange(60) % 3 == 0, "L", "RGB")
    table = {"mode": SimpleNamespace(to_numpy=lambda kind: modes)}
    data = SimpleNamespace(images=IMAGES, table=table)
    return methods.Seen(SimpleNamespace(data=data), PLAN)


@pytest.mark.parametrize(
    ("name", "mirrored"), [("copying", False), ("copying-mirrored", True)]
)
def test_copying_by_look_up_equals_the_probe(seen, name, mirrored):
    small = thumbnails(IMAGES, 32)
    twin = probes.copied_from(small, TRAIN, TEST, mirrored)
    found = methods.METHODS[name](seen, LABELS, TRAIN, TEST, 0)
    assert (found.argmax(axis=1) == LABELS[twin]).all()
    assert set(found.ravel()) == {0, 1}


@pytest.mark.parametrize(
    "name", [n for n in methods.METHODS if n not in ("linear-probe", "small-cnn")]
)
def test_every_method_returns_a_distribution_over_the_classes(seen, name):
    found = methods.METHODS[name](seen, LABELS, TRAIN, TEST, 0)
    assert found.shape == (30, 3)
    assert np.allclose(found.sum(axis=1), 1)
    assert (found >= 0).all()


def test_the_majority_is_that_of_training_alone(seen):
    labels = np.where(np.isin(np.arange(60), TRAIN), 1, 0)
    found = methods.majority(seen, labels, TRAIN, TEST, 0)
    assert found.tolist() == [[0, 1]] * 30
