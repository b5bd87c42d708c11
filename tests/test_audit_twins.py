"""Twins are found under mirrors, frames and encodings; strangers are not merged."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers import audit
from helpers.audit import twins
from helpers.datasets import Dataset
from helpers.experiments import build_manifest
from helpers.phantoms import PhantomSet, generate
from helpers.phantoms.scan import TWIN_KINDS


def brain_like(seed: int, side: int = 112) -> np.ndarray:
    """Return a bright ellipse full of random structure, which no mirror repeats."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 220, (14, 14)).astype(np.uint8)
    texture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    return np.where(
        (x / 0.7) ** 2 + (y / 0.85) ** 2 < 1, np.asarray(texture), 0
    ).astype(np.uint8)


def saved_as_jpeg(image: np.ndarray, quality: int = 60) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def dataset(images: np.ndarray, table: pd.DataFrame) -> Dataset:
    nothing = pd.DataFrame(columns=["file", "reason"])
    labels, names = pd.factorize(table["class"], sort=True)
    return Dataset(
        "test", images, labels, tuple(names), table, nothing, True, fingerprint=""
    )


@pytest.fixture(scope="module")
def phantoms() -> PhantomSet:
    return generate(600, 160, progress=False)


@pytest.fixture(scope="module")
def found(phantoms) -> audit.Audit:
    return audit.audit(dataset(phantoms.images, phantoms.table))


@pytest.fixture(scope="module")
def original(phantoms) -> np.ndarray:
    """Return the row of each slice's original; an original's is its own."""
    row = pd.Series(range(len(phantoms.table)), index=phantoms.table["file"])
    origin = phantoms.table["twin_of"].fillna(phantoms.table["file"])
    rows = row[origin].to_numpy()
    while (rows[rows] != rows).any():  # a twin of a twin
        rows = rows[rows]
    return rows


@pytest.mark.parametrize("kind", TWIN_KINDS)
def test_planted_twins_of_each_kind_are_found(phantoms, found, original, kind):
    planted = (phantoms.table["twin_kind"] == kind).to_numpy(bool, na_value=False)
    group = found.files["group"].to_numpy()
    assert planted.sum() >= 10
    assert np.mean(group[planted] == group[original[planted]]) >= 0.99


def test_what_is_called_one_slice_was_planted(found, original):
    same = found.pairs[found.pairs["relation"] == "slice"]
    right = original[same["first"]] == original[same["second"]]
    assert right.sum() >= 50
    assert right.mean() >= 0.99  # neighbouring slices count as strangers


def test_series_links_never_join_two_phantom_patients(phantoms, found):
    patient = phantoms.table["patient"].to_numpy()
    pairs = found.pairs
    assert (pairs["relation"] == "series").sum() > 50
    strangers = patient[pairs["first"]] != patient[pairs["second"]]
    assert not strangers.any()


def test_the_same_images_in_any_order_give_the_same_audit(phantoms):
    few = phantoms.table.index[:150].to_numpy()
    shuffled = np.random.default_rng(1).permutation(few)
    one, other = (
        audit.audit(
            dataset(
                phantoms.images[rows], phantoms.table.iloc[rows].reset_index(drop=True)
            )
        ).files.sort_values("file", ignore_index=True)
        for rows in (few, shuffled)
    )
    pd.testing.assert_frame_equal(one, other)


@st.composite
def mirrored_sets(draw):
    """Return images, each with mirror images in any states, in any order; patients."""
    states = st.lists(st.sampled_from([0, 1, 2, 3]), min_size=1, max_size=3)
    flips = draw(st.lists(states, min_size=12, max_size=16))
    images, slices = [], []
    for number, chosen in enumerate(flips):
        image = brain_like(number)
        for state in (0, *chosen):
            image = image[:: -1 if state & 2 else 1, :: -1 if state & 1 else 1]
            images.append(image)
            slices.append(number)
    order = draw(st.permutations(range(len(images))))
    known = st.integers(-1, 40)
    patients = draw(st.lists(known, min_size=len(flips), max_size=len(flips)))
    slices = np.array(slices)[order]
    return np.stack(images)[order], slices, np.array(patients)[slices]


@settings(max_examples=15, deadline=None)
@given(mirrored_sets())
def test_no_mirror_image_and_no_patient_crosses_a_fold(case):
    images, slices, patients = case
    table = pd.DataFrame({"file": [f"Training/x/{i:03d}" for i in range(len(images))]})
    table[["split", "class", "mode"]] = ["Training", "x", "L"]
    table[["width", "height"]] = images.shape[1]
    files = audit.audit(dataset(images, table)).files
    together = audit.joined(files["group"], files["series"], patients)
    assume(len(set(together)) > 1)
    fold = build_manifest.folds(
        np.zeros(len(images), int), together, files["digest"], 2
    )
    both = pd.DataFrame({"slice": slices, "patient": patients, "fold": fold})
    assert (both.groupby("slice")["fold"].nunique() == 1).all()
    known = both[both["patient"] >= 0]
    assert (known.groupby("patient")["fold"].nunique() == 1).all()


@pytest.mark.parametrize("mirror", ["none", "left-right", "up-down", "both"])
def test_the_mirror_that_makes_two_images_equal_is_named(mirror):
    image = brain_like(0)
    turned = image[:, ::-1] if mirror in ("left-right", "both") else image
    turned = turned[::-1] if mirror in ("up-down", "both") else turned
    others = [brain_like(seed) for seed in range(1, 9)]
    images = np.stack([saved_as_jpeg(turned), *others, image])
    pairs = audit.similar_pairs(audit.signatures(images), audit.SAME_SLICE)
    assert pairs[["first", "second", "mirror"]].to_numpy().tolist() == [[0, 9, mirror]]


def test_mirrored_parts_cost_one_product_and_give_all_four_correlations():
    views = np.random.default_rng(0).standard_normal((1, 5, 64, 64)).astype("f")
    parts = twins.split_in_parts(views)[0]
    products = parts @ parts.swapaxes(-1, -2)
    for signs, (down, right) in zip(
        twins.SIGNS, [(1, 1), (1, -1), (-1, 1), (-1, -1)], strict=True
    ):
        turned = views[0, :, ::down, ::right].reshape(5, -1)
        direct = views[0].reshape(5, -1) @ turned.T
        np.testing.assert_allclose(np.tensordot(signs, products, 1), direct, atol=1e-2)
    best = np.max(np.tensordot(twins.SIGNS, products, 1), axis=0)
    np.testing.assert_allclose(twins.best_of_mirrors(products), best, atol=1e-2)


def test_blocks_do_not_change_what_is_found(monkeypatch):
    images = np.stack([brain_like(seed) for seed in range(30)])
    images[20] = images[3][:, ::-1]
    images[25] = saved_as_jpeg(images[4])
    seen = audit.signatures(images)
    whole = audit.similar_pairs(seen, 0.3)
    monkeypatch.setattr(twins, "BLOCK", 7)
    blocks = audit.similar_pairs(seen, 0.3)
    assert len(whole) > 2
    pd.testing.assert_frame_equal(whole, blocks, rtol=1e-5)


def test_an_image_without_content_is_like_no_other():
    images = np.stack([np.full((64, 64), v, np.uint8) for v in (0, 90, 255)])
    seen = audit.signatures(images)
    assert audit.similar_pairs(seen, 0.1).empty
    assert audit.reframed_pairs(seen, np.arange(3)).empty


def test_identical_pixels_make_one_chain_of_pairs():
    image, other = brain_like(1), brain_like(2)
    images = np.stack([other, image, image, other, image])
    pairs = audit.similar_pairs(audit.signatures(images), 0.9)
    assert pairs[["first", "second"]].to_numpy().tolist() == [[0, 3], [1, 2], [1, 4]]
    assert audit.groups(5, pairs).tolist() == [0, 1, 1, 0, 1]


def test_the_head_is_boxed_without_the_letters_beside_it():
    image = np.zeros((224, 224), np.uint8)
    image[40:200, 60:170] = 120
    image[10:12, 5:40] = 255  # a thin scale bar
    assert twins.head_box(image) == (60, 40, 170, 200)
    assert twins.head_box(np.zeros((50, 70), np.uint8)) == (0, 0, 70, 50)


links = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=15)


@settings(deadline=None)
@given(links)
def test_linked_images_share_a_group_and_others_do_not(ends):
    pairs = pd.DataFrame(ends, columns=["first", "second"], dtype=int)
    group = audit.groups(20, pairs)
    assert (group[pairs["first"]] == group[pairs["second"]]).all()
    reached = {0}  # by walking the links, one at a time
    for _ in ends:
        for one, other in ends:
            if {one, other} & reached:
                reached |= {one, other}
    assert set(np.flatnonzero(group == group[0])) == reached
    assert list(dict.fromkeys(group)) == list(range(group.max() + 1))


def test_conflicts_and_overlap_with_training_are_reported():
    a, b, c = (brain_like(seed) for seed in range(3))
    images = np.stack([a, a[:, ::-1], b, saved_as_jpeg(b), c])
    table = pd.DataFrame(
        {
            "file": ["Training/x/1", "Testing/y/2", "Training/x/3", "Testing/x/4", "5"],
            "split": ["Training", "Testing", "Training", "Testing", pd.NA],
            "class": ["x", "y", "x", "x", "y"],
            "mode": "L",
            "width": 112,
            "height": 112,
        }
    )
    found = audit.audit(dataset(images, table))
    assert found.files["conflict"].tolist() == [True, True, False, False, False]
    assert found.files["first"].tolist() == [False, True, False, True, True]
    overlap = audit.in_training_too(found.files, "group")
    assert overlap.tolist() == [False, True, False, True, False]
    assert not audit.in_training_too(found.files, "exact").any()
    text = audit.summary(found)
    assert "Testing/y/2, Training/x/1" in text
    assert "Slices with several classes: 1 " in text
    assert "In short: 2 of 5 files show a slice" in text
    assert "2 of 2 test images" in " ".join(text.split())


def test_what_looks_odd_is_listed_with_its_size():
    plain = brain_like(0, side=224)
    lettered, white = plain.copy(), plain.copy()
    lettered[4:7, 4:44] = 255
    white[plain > 100] = 255
    table = pd.DataFrame(
        {
            "file": ["plain", "lettered", "white", "wide", "coloured"],
            "width": [100, 100, 100, 300, 100],
            "height": 100,
            "coloured": [0, 0, 0, 0, 0.3],
            "class": "x",
        }
    )
    images = np.stack([plain, lettered, white, plain, plain])
    odd = audit.oddities(dataset(images, table))
    assert dict(zip(odd["file"], odd["oddity"], strict=True)) == {
        "lettered": "marks",
        "white": "pure white",
        "wide": "stretched",
        "coloured": "coloured",
    }
    assert odd.set_index("file").loc["lettered", "size"] == 120
