"""Pretraining: its images hold no tumor class, its questions are fair, it resumes."""

import numpy as np
import pytest

from helpers.phantoms import head as heads
from tools.pretrain import images, tasks


@pytest.fixture(scope="module")
def made():
    """Two heads' slices, masks and targets, in the reference contrast."""
    head = heads.reference_head()
    contrast = images.Contrast(dict(heads.SIGNAL), head.around)
    return [
        one
        for number in range(2)
        for one in images.slices_of_head(
            head, [contrast], number, np.random.default_rng(number)
        )
    ]


def column(target, name):
    return target[images.TARGETS.index(name)]


def test_a_slice_comes_with_its_outline_and_all_that_is_asked_about_it(made):
    assert len(made) == 2 * images.SLICES_A_HEAD
    for image, mask, target in made:
        assert image.shape == mask.shape == (images.PIXELS, images.PIXELS)
        assert image.dtype == mask.dtype == np.uint8
        assert len(target) == len(images.TARGETS)
        assert column(target, "area") == pytest.approx(mask.mean())
        assert not mask.any() or column(target, "blob")


def test_the_attributes_of_a_blob_do_not_hang_together():
    head = heads.reference_head()
    rng = np.random.default_rng(0)
    blobs = [images.draw_blob(head, rng) for _ in range(400)]
    attributes = np.array(
        [[*b.centre, b.radii.mean(), b.rim, b.shell[0], b.oedema] for b in blobs]
    )
    linked = np.corrcoef(attributes.T)
    assert np.abs(linked[:3, 3:]).max() < 0.2  # place tells nothing about looks
    assert np.abs(linked[3:, 3:] - np.eye(4)).max() < 0.2


def test_a_soft_answer_is_a_distribution_around_the_true_bin():
    question = next(q for q in tasks.QUESTIONS if q.name == "place_z")
    bins = tasks.soft_bins(-55 + 137 * 4.5 / 9, question)
    assert bins.sum() == pytest.approx(1)
    assert bins.argmax() == 4
    assert bins[3] == pytest.approx(bins[5])


def test_without_a_blob_in_view_nothing_is_asked_about_it(made):
    nothing = {"flipped": False, "inverted": False, "visible": 0.0, "area": 0.0}
    nothing["contrast"] = 0.0
    answers = tasks.answers(np.array(made[0][2], np.float32), nothing)
    first = 0
    for question in tasks.QUESTIONS:
        part = answers[first : first + question.bins]
        first += question.bins
        if question.name in tasks.OF_BLOB:
            assert part.sum() == 0
        elif question.name in ("plane", "ventricles"):
            assert part.sum() == pytest.approx(question.weight)
    assert first == len(answers) == tasks.NUM_ANSWERS


def test_a_view_is_the_same_for_the_same_draw_and_keeps_its_outline(made):
    image, mask, _ = max(made, key=lambda one: one[1].sum())
    views = [tasks.view(image, mask, 64, np.random.default_rng(5)) for _ in range(2)]
    np.testing.assert_array_equal(views[0][0], views[1][0])
    _, inside, seen = views[0]
    assert inside.shape == (64, 64)
    assert seen["area"] == pytest.approx(inside.mean(), abs=1e-6)
    other = tasks.view(image, mask, 64, np.random.default_rng(6))
    assert (other[0] != views[0][0]).any()
