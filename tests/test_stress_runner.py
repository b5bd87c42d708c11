"""What is done to a slice with a lesion, and what the record says of the answers."""

import numpy as np
import pytest

from helpers.experiments import stress as runner
from helpers.phantoms import generate


@pytest.fixture(scope="module")
def these():
    made = generate(8, 64, 0)
    masks = made.masks.astype(bool)
    masks[0] = False
    return {
        "images": made.images,
        "labels": np.zeros(8, int),
        "masks": masks,
        "donors": {0: made.images[:4], 1: made.images[4:] // 2},
        "donor_labels": np.ones(8, int),
    }


def test_each_variant_has_its_own_effect_and_nothing_else_is_touched(these):
    images, masks = these["images"], these["masks"]
    lesion = masks.any(axis=(1, 2))
    assert lesion.any() and not lesion.all()
    seen = {v: runner.changed(v, **these) for v in runner.variants()}
    np.testing.assert_array_equal(seen[runner.AS_IT_IS], images)
    different = {v: (x != images).any() for v, x in seen.items()}
    assert [v for v, any_ in different.items() if not any_] == [runner.AS_IT_IS]
    for variant in runner.PARTS:
        np.testing.assert_array_equal(seen[variant][~lesion], images[~lesion])
    alone, away = seen["only the lesion"], seen["only elsewhere"]
    assert (alone[lesion][~masks[lesion]] == 0).all()
    assert (away[lesion][masks[lesion]] == 0).all()
    covered = seen["lesion covered"]
    np.testing.assert_array_equal(covered[~masks], images[~masks])
    beside = seen["elsewhere covered"]
    np.testing.assert_array_equal(beside[masks], images[masks])


def test_a_network_that_reads_the_frame_only_is_found_out():
    rng = np.random.default_rng(0)
    num, names = 60, runner.variants()
    labels = np.repeat([0, 1, 3], num // 3).astype(np.int8)
    given = ((labels + 1) % 4).astype(np.int8)
    right = np.eye(4)[labels] * 0.9 + 0.025
    follows = np.eye(4)[given] * 0.9 + 0.025
    reads_frames = np.stack([right] * len(names))
    reads_frames[names.index("frame of another class")] = follows
    blind = reads_frames.copy()
    blind[names.index("noise 3")] = rng.dirichlet(np.ones(4), num)
    blind[names.index("lesion covered")] = follows
    arrays = {
        "labels": labels,
        "patient": np.arange(num) // 2,
        "series": np.arange(num) // 2,
        "class_names": np.array(["glioma", "meningioma", "notumor", "pituitary"]),
        "networks": np.array(["pilot", "no augmentation"]),
        "variants": np.array(names),
        "said": np.stack([reads_frames, blind]).astype(np.float32),
        "donor_labels": given,
        "has_lesion": labels == 0,
    }
    found = runner.results_of(arrays)
    first, second = (found["networks"][n] for n in ("pilot", "no augmentation"))
    assert first["variants"][runner.AS_IT_IS]["macro_f1"] == [1, 1, 1]
    assert first["variants"]["noise 3"]["change"] == [0, 0, 0]
    assert second["variants"]["noise 3"]["change"][2] < 0
    assert found["augmentation"]["noise 3"][1] > 0
    assert found["augmentation"]["blur 1"] == [0, 0, 0]
    assert first["follow"]["frame of another class"] == [1, 1, 1]
    assert first["follow"]["frame of the same class"] == [0, 0, 0]
    assert first["parts"]["lesion covered"] == [1, 1, 1]
    assert second["parts"]["lesion covered"] == [0, 0, 0]
    assert second["parts"]["elsewhere covered"] == [1, 1, 1]
