"""Every stress changes what its name says, by as much as its strength says."""

import numpy as np
import pytest

from helpers import stress
from helpers.config import CourseError
from helpers.phantoms import generate


@pytest.fixture(scope="module")
def images():
    return generate(6, 64, 0).images


@pytest.mark.parametrize("name", stress.STRESSES)
def test_severity_0_changes_nothing_and_more_changes_more(images, name):
    before = images.copy()
    same = stress.stressed(images, name, 0)
    np.testing.assert_array_equal(same, images)
    assert same is not images
    changes = []
    for severity in range(1, 1 + len(stress.STRESSES[name].strengths)):
        changed = stress.stressed(images, name, severity, seed=3)
        np.testing.assert_array_equal(
            changed, stress.stressed(images, name, severity, seed=3)
        )
        assert changed.dtype == np.uint8 and changed.shape == images.shape
        changes.append(np.abs(changed.astype(float) - images).mean())
    assert changes[0] > 0 and changes == sorted(changes)
    np.testing.assert_array_equal(images, before)


def test_what_is_drawn_for_an_image_does_not_hang_on_its_neighbors(images):
    for name in stress.STRESSES:
        some = stress.stressed(images[:2], name, 1)
        np.testing.assert_array_equal(some, stress.stressed(images, name, 1)[:2])


@pytest.mark.parametrize(
    ("name", "severity", "images", "match"),
    [
        ("fog", 1, np.zeros((1, 8, 8), np.uint8), "no stress 'fog'"),
        ("blur", 4, np.zeros((1, 8, 8), np.uint8), "severities 0 to 3, not 4"),
        ("mirror", 2, np.zeros((1, 8, 8), np.uint8), "severities 0 to 1, not 2"),
        ("blur", 1, np.zeros((1, 8, 8)), "images are float64"),
        ("blur", 1, np.zeros((8, 8), np.uint8), r"expected uint8"),
    ],
)
def test_what_cannot_be_done_is_said(name, severity, images, match):
    with pytest.raises(CourseError, match=match):
        stress.stressed(images, name, severity)


def flat(value, side=200):
    return np.full((side, side), value, np.uint8)


def test_noise_is_rician(images):
    rng = np.random.default_rng(0)
    # Without signal: a Rayleigh distribution, mean sigma sqrt(pi / 2).
    nothing = stress.rician_noise(flat(0), 10, rng)
    assert nothing.mean() == pytest.approx(10 * np.sqrt(np.pi / 2), rel=0.02)
    # With a strong signal: nearly normal, a mean of sqrt(signal^2 + sigma^2).
    signal = stress.rician_noise(flat(200), 10, rng)
    assert signal.mean() == pytest.approx(np.sqrt(200**2 + 10**2), abs=0.2)
    assert signal.std() == pytest.approx(10, rel=0.03)


def test_a_bias_field_reaches_its_amplitude_and_is_smooth():
    field = stress.bias_field(flat(100).astype(float), 0.4, np.random.default_rng(1))
    assert np.abs(field / 100 - 1).max() == pytest.approx(0.4)
    assert np.abs(np.diff(field, axis=0)).max() < 3


def test_gamma_and_contrast_by_hand():
    image = np.array([[0, 51, 255]], np.uint8)
    powers = {
        round(float(stress.gamma(image, 2, np.random.default_rng(s))[0, 1]), 1)
        for s in range(20)
    }
    assert powers == {10.2, 114.0}  # 255 * .2 ** 2, 255 * .2 ** .5
    np.testing.assert_allclose(stress.contrast(image, 0.5, None), [[51, 76.5, 178.5]])


def test_moves_put_a_square_where_they_say():
    image = flat(0)
    image[95:105, 145:155] = 255  # 50 to the right of the centre

    def middle(moved):
        total = moved.sum()
        return [
            float((moved * place).sum() / total) for place in np.indices(image.shape)
        ]

    turned = middle(stress.turn(image, 25, np.random.default_rng(0)))
    radians = np.deg2rad(25)
    assert abs(turned[1] - 99.5) == pytest.approx(50 * np.cos(radians), abs=0.6)
    assert abs(turned[0] - 99.5) == pytest.approx(50 * np.sin(radians), abs=0.6)
    assert middle(stress.squeeze(image, 0.7, None))[1] == pytest.approx(134.5, abs=0.6)
    assert middle(stress.crop(image, 1.4, None))[1] == pytest.approx(169.5, abs=0.6)
    moved = middle(stress.shift(image, 0.1, np.random.default_rng(0)))
    assert np.hypot(moved[0] - 99.5, moved[1] - 149.5) == pytest.approx(20, abs=0.6)


def test_what_is_covered_is_gone_and_the_rest_is_as_it_was():
    image = flat(90)
    image[80:120, 80:120] = 250
    mask = np.zeros(image.shape, bool)
    mask[76:124, 76:124] = True
    clean = stress.covered(image, mask)
    np.testing.assert_array_equal(clean, flat(90))
    beside = stress.covered(image, np.roll(mask, 90, axis=1))
    assert (beside[80:120, 80:120] == 250).all()
    np.testing.assert_array_equal(stress.only(image, mask) > 0, mask)


def test_the_control_is_as_large_lies_in_the_head_and_misses_the_lesion():
    head = np.zeros((100, 100), bool)
    head[10:90, 10:90] = True
    mask = np.zeros_like(head)
    mask[40:55, 40:60] = True
    for seed in range(20):
        moved = stress.elsewhere(mask, head, np.random.default_rng(seed))
        assert not (moved & mask).any() and not (moved & ~head).any()
        assert moved.sum() == mask.sum()


def test_a_head_in_another_frame_stands_where_that_head_stood():
    image, donor = flat(0), flat(0)
    image[50:150, 60:140] = 100
    image[90:110, 90:110] = 200
    donor[20:60, 100:180] = 150
    framed = stress.in_frame_of(image, donor)
    assert stress.head_box(framed) == stress.head_box(donor) == (20, 100, 60, 180)
    assert set(np.unique(framed[25:55, 105:115])) == {100}  # the head, not the donor
    assert framed[40, 140] == 200
    np.testing.assert_array_equal(stress.in_frame_of(image, image), image)


def test_the_greys_of_others_keep_the_order_and_take_the_distribution():
    rng = np.random.default_rng(0)
    image = rng.integers(40, 90, (50, 50)).astype(np.uint8)
    image[:5] = 0
    others = rng.integers(100, 200, (80, 80)).astype(np.uint8)
    changed = stress.greys_of(image, others)
    assert (changed[:5] == 0).all()
    order = np.argsort(image[5:], axis=None, kind="stable")
    assert (np.diff(changed[5:].ravel()[order].astype(int)) >= 0).all()
    assert changed[5:].mean() == pytest.approx(others.mean(), abs=1)
    assert changed[5:].std() == pytest.approx(others.std(), rel=0.05)
