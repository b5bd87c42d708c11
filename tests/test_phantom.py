"""What helpers.phantoms promises: known truth, the same every time."""

import hashlib
import importlib.machinery
import json
import subprocess
import sys
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from helpers import phantoms
from helpers.config import ROOT, CourseError
from helpers.phantoms import head as heads
from helpers.phantoms import patients

PLANNED = ["file", "split", "class", "patient", "series", "plane", "site", "mode"]
PLANNED += ["twin_of", "twin_kind"]


GOLDEN = ROOT / "tests" / "phantom_golden.json"


def summary(made) -> dict:
    """Return what pins a set down without an image of it."""
    table = made.table[PLANNED].to_csv(index=False)
    return {
        "version": phantoms.VERSION,
        "table": hashlib.sha256(table.encode()).hexdigest(),
        "mean": made.images.mean((1, 2)).round(3).tolist(),
        "spread": made.images.std((1, 2)).round(3).tolist(),
        "mask": made.masks.sum((1, 2)).tolist(),
    }


@pytest.fixture(scope="module")
def made():
    return phantoms.generate(200, 64, progress=False)


def originals(made):
    return made.table.twin_of.isna().to_numpy()


def pairs(made, kind):
    """Return (original, twin) row numbers of the kind."""
    row = {file: number for number, file in enumerate(made.table.file)}
    twins = np.flatnonzero(made.table.twin_kind.eq(kind).fillna(False))
    assert len(twins) == 5
    return [(row[made.table.twin_of[twin]], twin) for twin in twins]


def correlation(one, other):
    return np.corrcoef(one.ravel().astype(float), other.ravel().astype(float))[0, 1]


def test_images_masks_and_table_have_the_promised_form(made):
    assert made.images.shape == made.masks.shape == (200, 64, 64)
    assert made.images.dtype == made.masks.dtype == np.uint8
    assert set(np.unique(made.masks)) == {0, 1}
    assert list(made.table.columns) == patients.COLUMNS
    assert made.table.file.is_unique and made.table.file.is_monotonic_increasing
    for file, split, name in made.table[["file", "split", "class"]].to_numpy():
        assert file.startswith(f"{split}/{name}/phantom-") and file.endswith(".jpg")
    assert set(made.table.plane) == {"axial", "coronal", "sagittal"}
    assert set(made.table.site) == {"A", "B"}
    assert set(made.table["mode"]) == {"L", "RGB"}


def test_a_fifth_is_for_testing_and_classes_have_their_shares(made):
    assert abs((made.table.split == "Testing").mean() - 0.2) < 0.01
    shares = made.table["class"].value_counts(normalize=True)
    for name, share in patients.CLASS_SHARES.items():
        assert abs(shares[name] - share) < 0.04


def test_every_tumor_has_a_mask_and_notumor_none(made):
    tumor = (made.table["class"] != "notumor").to_numpy()
    assert made.masks[tumor].any((1, 2)).all()
    assert not made.masks[~tumor].any()


def test_masks_lie_inside_the_head(made):
    for image, mask in zip(made.images, made.masks, strict=True):
        bright = ndimage.gaussian_filter(image.astype(float), 1) > 0.15 * image.max()
        head = ndimage.binary_fill_holes(ndimage.binary_closing(bright, iterations=3))
        assert mask[~ndimage.binary_dilation(head, iterations=2)].sum() == 0


def test_a_tenth_are_twins_and_half_of_them_cross_the_split(made):
    twins = made.table[~originals(made)]
    by_file = made.table.set_index("file")
    of = by_file.loc[twins.twin_of]
    assert len(twins) == 20
    assert (of.split == "Training").all() and of.twin_of.isna().all()
    assert (twins.split == "Testing").sum() == 10
    for column in ("class", "patient", "series", "plane", "site"):
        assert (of[column].to_numpy() == twins[column].to_numpy()).all()


def test_patients_cross_the_split_only_through_planted_twins(made):
    clean = made.table[originals(made)]
    assert clean.groupby("patient").split.nunique().max() == 1
    assert made.table.groupby("patient").split.nunique().max() == 2


def test_an_exact_twin_has_the_same_pixels(made):
    for original, twin in pairs(made, "exact"):
        assert np.array_equal(made.images[original], made.images[twin])
        assert np.array_equal(made.masks[original], made.masks[twin])
        assert made.table.bytes[original] == made.table.bytes[twin]


def test_a_re_encoded_twin_differs_by_the_jpeg_only(made):
    for original, twin in pairs(made, "re-encoded"):
        difference = made.images[original].astype(int) - made.images[twin]
        assert 0 < np.abs(difference).mean() < 9
        assert correlation(made.images[original], made.images[twin]) > 0.98
        assert np.array_equal(made.masks[original], made.masks[twin])


def test_a_mirrored_twin_is_the_original_flipped(made):
    for original, twin in pairs(made, "mirrored"):
        flipped = made.images[original][:, ::-1]
        assert np.abs(flipped.astype(int) - made.images[twin]).mean() < 4
        assert correlation(flipped, made.images[twin]) > 0.99
        assert np.array_equal(made.masks[original][:, ::-1], made.masks[twin])


def test_a_re_framed_twin_is_its_original_flipped_zoomed_and_shifted(made):
    for original, twin in pairs(made, "mirrored and re-framed"):
        flipped = made.images[original][:, ::-1].astype(float)
        found = []
        for zoom in np.linspace(0.9, 1.1, 11):
            zoomed = ndimage.zoom(flipped, zoom, order=1)
            frame = np.zeros((80, 80))
            low = (80 - len(zoomed)) // 2
            frame[low : low + len(zoomed), low : low + len(zoomed)] = zoomed
            for down, right in np.ndindex(5, 5):
                view = frame[6 + down :, 6 + right :][:64, :64]
                found.append(correlation(view, made.images[twin]))
        assert max(found) > 0.93
        assert correlation(flipped, made.images[twin]) < 0.99


def test_slices_of_a_series_show_one_anatomy_and_one_lesion(made):
    clean = made.table[originals(made)]
    same, other, overlap = [], [], []
    for _, rows in clean.groupby("series"):
        slices = rows.index.to_numpy()
        for one in slices if len(slices) > 1 else ():
            near = [(correlation(made.images[one], made.images[k]), k) for k in slices]
            likeness, two = sorted(near)[-2]  # the last is the slice itself
            same.append(likeness)
            if made.masks[one].any():
                both = (made.masks[one] & made.masks[two]).sum()
                overlap.append(both / min(made.masks[one].sum(), made.masks[two].sum()))
    for _, rows in clean.groupby(["plane", "site"]):
        first = rows.drop_duplicates("patient").index.to_numpy()
        for one, two in pairwise(first):
            other.append(correlation(made.images[one], made.images[two]))
    assert np.median(same) > 0.85 > np.median(other) + 0.05
    assert np.median(overlap) > 0.8


def test_sites_are_independent_of_the_class_unless_asked():
    rng = np.random.default_rng(0)
    for name in patients.CLASS_SHARES:
        free = [patients._draw_site(name, False, rng) == "B" for _ in range(4000)]
        tied = [patients._draw_site(name, True, rng) == "B" for _ in range(4000)]
        assert np.mean(free) == pytest.approx(patients.SITE_B_SHARE, abs=0.03)
        assert np.mean(tied) == pytest.approx(
            0.95 if name == "notumor" else 0.05, abs=0.02
        )


def test_a_set_can_tie_the_site_to_the_class():
    table = phantoms.generate(80, 16, site_follows_class=True, progress=False).table
    shares = (table.site == "B").groupby(table["class"]).mean()
    assert shares["notumor"] > 0.7
    assert (shares.drop("notumor") < 0.3).all()


def test_the_same_arguments_make_the_same_set_and_another_seed_another():
    one = phantoms.generate(40, 32, progress=False)
    two = phantoms.generate(40, 32, progress=False)
    other = phantoms.generate(40, 32, seed=1, progress=False)
    assert one.table.equals(two.table)
    assert np.array_equal(one.images, two.images)
    assert np.array_equal(one.masks, two.masks)
    assert not np.array_equal(one.images, other.images)


def test_the_set_is_the_one_of_this_version():
    """Known answers: if they change on purpose, raise VERSION and renew them."""
    known = json.loads(GOLDEN.read_text())
    made = phantoms.generate(60, 48, progress=False)
    assert known["version"] == phantoms.VERSION
    assert summary(made)["table"] == known["table"]
    # Were more than 1 pixel in 1,000 off by more than 1, these would differ more.
    for name in ("mean", "spread"):
        assert summary(made)[name] == pytest.approx(known[name], abs=0.02)
    assert summary(made)["mask"] == pytest.approx(known["mask"], abs=2)


def test_another_size_shows_the_same_slices():
    small = phantoms.generate(30, 48, progress=False)
    large = phantoms.generate(30, 96, progress=False)
    assert small.table[PLANNED].equals(large.table[PLANNED])
    for one, two in zip(small.images, large.images, strict=True):
        halved = two.reshape(48, 2, 48, 2).mean((1, 3))
        assert correlation(one, halved) > 0.92
    assert large.masks.mean() == pytest.approx(small.masks.mean(), rel=0.1)


@pytest.mark.parametrize("num_slices", [1, 9])
def test_a_tiny_set_has_the_asked_size(num_slices):
    made = phantoms.generate(num_slices, 16, progress=False)
    assert len(made.images) == len(made.table) == num_slices


@given(st.integers(0, 3000), st.integers(0, 99))
def test_a_plan_holds_every_slice_once(num_slices, seed):
    planned = patients._plan(num_slices, np.random.default_rng(seed))
    sizes = [size for *_, size in planned]
    assert sum(sizes) == num_slices
    assert all(1 <= size <= 6 for size in sizes)


def test_waves_on_a_plane_equal_the_sum_of_sines():
    rng = np.random.default_rng(0)
    waves = patients._draw_waves(rng, 4, (30, 90), 2.0)
    down, right, start = rng.standard_normal((3, 3))
    rows, columns = np.mgrid[:5, :7]
    points = (
        start[:, None, None]
        + down[:, None, None] * rows * 11
        + right[:, None, None] * columns * 9
    )
    direct = np.zeros_like(points)
    for x, y, z, phase, *drift in waves:
        wave = np.sin(x * points[0] + y * points[1] + z * points[2] + phase)
        direct += np.reshape(drift, (3, 1, 1)) * wave
    np.testing.assert_allclose(patients._moves(points, waves), direct, atol=1e-9)


def test_slices_of_a_series_lie_4_to_5_mm_apart_and_series_differ_in_plane():
    head = heads.reference_head()
    for seed, size in product(range(40), (1, 3, 6)):
        rng = np.random.default_rng(seed)
        name = patients.TUMORS[seed % 3]
        patient = patients._draw_patient(head, name, rng)
        series = list(patients._draw_series(patient.lesion, "A", size, rng))
        planes = [scan.plane for scan, _ in series]
        assert len(set(planes)) == len(planes)
        assert sum(len(offsets) for _, offsets in series) == size
        for scan, offsets in series:
            steps = np.diff(offsets)
            assert ((steps > 3.99) & (steps < 5.01)).all()
            reach = patients.reach_along(patient.lesion, scan.axes[2])
            assert np.abs(offsets).max() < 0.76 * reach


def test_the_slices_go_through_the_lesion():
    head = heads.reference_head()
    for seed in range(8):
        patient = patients._draw_patient(head, "glioma", np.random.default_rng(seed))
        point = patient.target.reshape(3, 1, 1)
        landed = (point + patients._moves(point, patient.warp)) * patient.scale
        np.testing.assert_allclose(landed.ravel(), patient.lesion.centre, atol=0.01)


def test_a_missing_template_is_one_error_that_names_the_path(monkeypatch, tmp_path):
    spec = importlib.machinery.ModuleSpec("nilearn", None)
    spec.origin = str(tmp_path / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    heads.reference_head.cache_clear()
    with pytest.raises(CourseError, match="nilearn's brain template") as error:
        phantoms.generate(4, 16, progress=False)
    assert str(tmp_path) in str(error.value)


def test_phantoms_need_neither_nilearns_import_nor_tensorflow():
    code = (
        "import sys; from helpers import phantoms; "
        "phantoms.generate(2, 16, progress=False); "
        "print([m for m in ('nilearn', 'tensorflow', 'keras') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr
