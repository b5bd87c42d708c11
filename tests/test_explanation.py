"""Maps and their scores: against a second way to compute them, and hand-made maps."""

import keras
import numpy as np
import pytest
from small_network import SIDE, small_backbone

from helpers import batches, explanation
from helpers.config import CourseError


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Return a network for preprocessed images, with a pooled dense head."""
    keras.utils.set_random_seed(0)
    body = small_backbone()
    pooled = keras.layers.GlobalAveragePooling2D()(body.output)
    outputs = keras.layers.Dense(3, activation="softmax", name="head")(pooled)
    return keras.Model(body.input, outputs)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (6, SIDE, SIDE), np.uint8)
    return np.asarray(batches.preprocess(grey))


def test_behind_a_pooled_dense_layer_grad_cam_is_its_weights_times_the_maps(
    model, images
):
    classes = np.array([0, 1, 2, 0, 1, 2])
    found = explanation.grad_cam(model, images, classes, "second_pool")
    tap = keras.Model(model.input, model.get_layer("second_pool").output)
    maps = tap.predict(images, verbose=0)
    kernel = model.get_layer("head").kernel.numpy()[:, classes].T
    by_hand = np.einsum("nhwc,nc->nhw", maps, kernel) / np.prod(maps.shape[1:3])
    expected = explanation.enlarged(np.maximum(by_hand, 0), (SIDE, SIDE))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.max() > 0


def test_inside_the_network_each_channels_weight_is_what_raising_it_adds(model, images):
    """The mean gradient of a channel is the logit's slope as all of it is raised."""
    from helpers import densenet

    ended = explanation.logits_of(model)
    before, after = densenet.split_at(ended, "first_pool")
    maps = before.predict(images[:1], verbose=0)
    places = np.prod(maps.shape[1:3])
    step, slopes = 1e-3, []
    for channel in range(maps.shape[-1]):
        raised, lowered = maps.copy(), maps.copy()
        raised[..., channel] += step
        lowered[..., channel] -= step
        ends = [after.predict(x, verbose=0)[0, 1] for x in (raised, lowered)]
        slopes.append((ends[0] - ends[1]) / (2 * step) / places)
    by_hand = np.maximum((maps * np.array(slopes)).sum(axis=-1), 0)
    expected = explanation.enlarged(by_hand, (SIDE, SIDE))
    found = explanation.grad_cam(model, images[:1], np.array([1]), "first_pool")
    np.testing.assert_allclose(found, expected, atol=2e-3 * expected.max())


def test_a_layer_that_is_not_there_is_named(model, images):
    with pytest.raises(CourseError, match=r"no layer 'conv9'.*second_pool"):
        explanation.grad_cam(model, images, np.zeros(6, int), "conv9")


def _planted(rng, count=120):
    """Return images of noise, half of them with a bright square, and where it lies."""
    images = rng.integers(0, 60, (count, SIDE, SIDE)).astype(np.uint8)
    labels, masks = np.arange(count) % 2, np.zeros((count, SIDE, SIDE), bool)
    for row in np.flatnonzero(labels):
        top, left = rng.integers(2, SIDE - 10, 2)
        masks[row, top : top + 8, left : left + 8] = True
    images[masks] = 220
    return images, labels, masks


@pytest.fixture(scope="module")
def finder():
    """Return a network that was taught to tell whether there is a square."""
    keras.utils.set_random_seed(0)
    images, labels, _ = _planted(np.random.default_rng(1))
    grey = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.Rescaling(1 / 255)(grey)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="last")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(grey, keras.layers.Dense(2, activation="softmax")(x))
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    model.fit(images[..., None], labels, epochs=12, verbose=0)
    return model


def test_where_a_planted_square_decides_the_map_finds_it_unless_weights_are_random(
    finder,
):
    images, labels, masks = _planted(np.random.default_rng(2))
    said = finder.predict(images[..., None], verbose=0).argmax(axis=1)
    assert (said == labels).mean() > 0.95
    shown = labels == 1
    maps = explanation.grad_cam(
        finder, images[shown][..., None].astype(np.float32), labels[shown], "last"
    )
    assert explanation.pointing_game(maps, masks[shown]).mean() > 0.9
    heads = np.ones_like(masks[shown])
    learned = np.nanmedian(explanation.times_chance(maps, masks[shown], heads))
    copy = keras.models.clone_model(finder)  # with new weights
    rng = np.random.default_rng(0)
    copy.set_weights([rng.normal(0, 0.2, w.shape) for w in copy.get_weights()])
    maps = explanation.grad_cam(
        copy, images[shown][..., None].astype(np.float32), labels[shown], "last"
    )
    times = explanation.times_chance(maps, masks[shown], heads)
    assert learned > 3
    assert learned > 1.5 * np.nanmedian(times)


def test_occlusion_finds_the_square_that_decides(finder):
    images, labels, masks = _planted(np.random.default_rng(3), 24)
    shown = labels == 1

    def predict(x):
        return finder.predict(x[..., None], verbose=0)

    maps = explanation.occlusion(predict, images[shown], labels[shown], patch=8)
    assert explanation.pointing_game(maps, masks[shown]).mean() > 0.9


def test_scores_of_hand_made_maps():
    masks = np.zeros((4, 10, 10))
    masks[:, 2:4, 2:4] = 1
    heads = np.zeros((4, 10, 10), bool)
    heads[:, :5, :5] = True  # the lesion is 4 of 25 pixels
    maps = np.zeros((4, 10, 10))
    maps[0, 2, 2] = 1  # all on the lesion
    maps[1] = 1  # the same everywhere
    maps[2, 0, 0] = 1  # in the head, beside the lesion
    on = explanation.pointing_game(maps, masks)
    assert on.tolist() == [True, False, False, False]  # flat maps point nowhere
    times = explanation.times_chance(maps, masks, heads)
    np.testing.assert_allclose(times[:3], [25 / 4, 1, 0])
    assert np.isnan(times[3])


def test_what_lies_outside_the_head_does_not_count():
    mask, head = np.zeros((1, 10, 10)), np.zeros((1, 10, 10), bool)
    mask[0, 2:4, 2:4], head[0, :5, :5] = 1, True
    one = np.ones((1, 10, 10))
    loud = one.copy()
    loud[0, 9, 9] = 1000
    assert explanation.times_chance(loud, mask, head) == pytest.approx(1)


def test_a_head_is_filled_and_the_ground_is_not():
    image = np.zeros((1, 20, 20), np.uint8)
    image[0, 5:15, 5:15] = 200
    image[0, 8:12, 8:12] = 0  # a ventricle
    head = explanation.head_masks(image)[0]
    assert head[5:15, 5:15].all()
    assert head.sum() == 100


def test_the_blob_is_highest_in_the_middle_and_edges_are_where_grey_changes():
    blob = explanation.centre_blob((21, 31))
    assert np.unravel_index(blob.argmax(), blob.shape) == (10, 15)
    image = np.zeros((1, 20, 20), np.uint8)
    image[0, :, 10:] = 200
    found = explanation.edges(image)[0]
    assert found[:, 8:12].min() > 10 * found[:, :3].max()
