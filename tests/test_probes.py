"""The probes copy, count modes or see the edge, and nothing more."""

import numpy as np

from helpers import probes
from helpers.datasets import thumbnails

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 64, 64), dtype=np.uint8)


def test_copying_finds_the_twin_and_the_mirrored_twin_only_if_asked():
    flat = np.full((3, 64, 64), 128, np.uint8)
    images = np.concatenate([flat[:1], IMAGES[:3], IMAGES[1:2, :, ::-1], IMAGES[2:3]])
    small = thumbnails(images, 32)
    train, test = np.array([0, 1, 2, 3]), np.array([4, 5])
    assert probes.copied_from(small, train, test, mirrored=True).tolist() == [2, 3]
    # Noise is nearer to flat grey than to other noise: its mirror image is a stranger.
    assert probes.copied_from(small, train, test, mirrored=False).tolist() == [0, 3]


def test_border_numbers_do_not_see_the_middle():
    changed = IMAGES.copy()
    changed[:, 8:-8, 8:-8] = 0
    assert probes.border_numbers(IMAGES).shape == (6, 22)
    assert np.array_equal(probes.border_numbers(IMAGES), probes.border_numbers(changed))
    changed[:, 0, 32] += 60
    assert (probes.border_numbers(IMAGES) != probes.border_numbers(changed)).any()


def test_the_border_alone_tells_framed_images_from_others():
    images = np.zeros((80, 64, 64), np.uint8)
    images[40:, :2] = 200
    images[:, 20:40, 20:40] = RNG.integers(0, 256, (80, 20, 20))
    labels = np.repeat([0, 1], 40)
    train, test = np.arange(0, 80, 2), np.arange(1, 80, 2)
    numbers = probes.border_numbers(images)
    found = probes.forest_probabilities(numbers, labels, train, test, num_trees=10)
    assert (found.argmax(axis=1) == labels[test]).all()


def test_a_grey_histogram_counts_all_pixels_and_does_not_see_where_they_are():
    found = probes.grey_histograms(IMAGES, 4)
    edges = [0, 64, 128, 192, 256]
    expected = [np.histogram(image, edges)[0] / image.size for image in IMAGES]
    assert np.allclose(found, expected)
    shuffled = RNG.permuted(IMAGES.reshape(6, -1), axis=1).reshape(IMAGES.shape)
    assert np.array_equal(found, probes.grey_histograms(shuffled, 4))


def test_gradients_know_directions_and_neither_brightness_nor_contrast():
    ramp = np.tile(np.arange(64.0), (64, 1))
    found = probes.oriented_gradients(np.stack([ramp, ramp.T, 3 * ramp + 20]))
    assert found.shape == (3, 7 * 7 * 4 * 9)
    cells = found.reshape(3, -1, 9)
    assert (cells[0].argmax(axis=1) == 0).all()  # brighter to the right: 0 degrees
    assert (cells[1].argmax(axis=1) == 4).all()  # brighter downwards: 90 degrees
    assert np.allclose(found[0], found[2], atol=0.01)


def test_a_modes_shares_come_from_training_and_an_unknown_mode_gets_all():
    modes = np.array(["L", "L", "RGB", "RGB", "L", "CMYK"])
    labels = np.array([0, 1, 1, 1, 0, 0])
    found = probes.mode_probabilities(modes, labels, np.arange(4), np.array([4, 5]))
    assert found.tolist() == [[0.5, 0.5], [0.25, 0.75]]
