"""Exact duplicates are found; no split tears apart what belongs together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import audit
from helpers.config import CourseError


def test_images_with_equal_pixels_share_a_group_and_others_do_not():
    a, b = np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.uint8)
    almost = b.copy()
    almost[0, 1] = 1
    groups = audit.exact_duplicate_groups(np.stack([b, a, b, almost, a]))
    assert groups.tolist() == [0, 1, 0, 2, 1]


@st.composite
def labelled_groups(draw):
    sizes = draw(st.lists(st.integers(1, 3), min_size=24, max_size=60))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    of_group = draw(
        st.lists(st.integers(0, 2), min_size=len(sizes), max_size=len(sizes))
    )
    # At least ten groups a class, so that scikit-learn has something to balance.
    of_group = np.concatenate([np.array(of_group), np.repeat([0, 1, 2], 10)])
    groups = np.concatenate([groups, len(sizes) + np.arange(30)])
    return of_group[groups], groups


@settings(deadline=None)
@given(labelled_groups(), st.integers(0, 5))
def test_no_group_is_on_both_sides_of_an_inner_split(arrays, seed):
    labels, groups = arrays
    fit, val = audit.inner_split(labels, groups, share=0.1, seed=seed)
    assert not set(groups[fit]) & set(groups[val])
    assert sorted([*fit, *val]) == list(range(len(labels)))


def test_an_inner_split_keeps_the_class_shares():
    labels = np.repeat([0, 1, 2, 3], [400, 300, 200, 100])
    _, val = audit.inner_split(labels, np.arange(1000), share=0.1)
    assert np.bincount(labels[val]).tolist() == [40, 30, 20, 10]


def test_an_inner_split_is_the_same_for_the_same_seed_only():
    labels, groups = np.arange(200) % 4, np.arange(200)
    one, again, other = (
        audit.inner_split(labels, groups, seed=s)[1] for s in (1, 1, 2)
    )
    assert one.tolist() == again.tolist() != other.tolist()


@pytest.mark.parametrize("share", [0, 0.7, -1])
def test_an_impossible_share_is_named(share):
    with pytest.raises(CourseError, match=f"share is {share}"):
        audit.inner_split(np.arange(20) % 2, np.arange(20), share=share)


def test_too_few_groups_are_counted():
    with pytest.raises(CourseError, match="2 groups cannot fill 10 parts"):
        audit.inner_split(np.arange(20) % 2, np.arange(20) % 2)


def test_joining_needs_only_one_common_number():
    first, second = [0, 0, 1, 2, 3], [-1, 5, 5, -1, -1]
    assert audit.joined(np.array(first), np.array(second)).tolist() == [0, 0, 0, 1, 2]
