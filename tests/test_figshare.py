"""figshare's .mat files are read as MATLAB wrote them, and matched under mirrors."""

import csv
import json

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import audit
from helpers.audit.manifest import BOX
from helpers.config import CourseError
from helpers.datasets import Dataset, figshare
from helpers.experiments import patients

SIDE = 224
LESION = (60, 80, 120, 100)  # left, top, right, bottom of every test slice, in pixels


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))


def slice_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a test slice, int16 as figshare's, and its lesion mask."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(60, 220, (16, 16)).astype(np.uint8))
    image = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.int16)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    image = np.where((x / 0.7) ** 2 + (y / 0.85) ** 2 < 1, image * 7, 0)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    left, top, right, bottom = LESION
    mask[top:bottom, left:right] = 1
    return image.astype(np.int16), mask


def write_mat(path, seed: int, label: int, patient: str) -> None:
    """Write one slice as MATLAB 7.3 does: a struct of transposed arrays."""
    image, mask = slice_of(seed)
    with h5py.File(path, "w") as file:
        data = file.create_group("cjdata")
        data["label"] = np.array([[float(label)]])
        data["PID"] = np.array([[ord(letter)] for letter in patient], np.uint16)
        data["image"] = image.T
        data["tumorMask"] = mask.T
        data["tumorBorder"] = np.zeros((8, 1))


@pytest.fixture
def mat_folder(tmp_path):
    folder = tmp_path / "figshare"
    (folder / "part one").mkdir(parents=True)
    rows = [(1, 1, "100360"), (2, 2, "MR040240"), (10, 3, "MR040240B"), (3, 1, "9")]
    for number, label, patient in rows:
        place = folder / "part one" if number > 2 else folder
        write_mat(place / f"{number}.mat", number, label, patient)
    (folder / "cvind.mat").write_bytes(b"not a slice")
    return folder


def test_mat_files_give_images_masks_classes_and_patients(mat_folder):
    data = figshare.load(mat_folder, SIDE)
    assert data.table["file"].tolist() == ["1.mat", "2.mat", "3.mat", "10.mat"]
    assert data.table["class"].tolist() == [
        "meningioma",
        "glioma",
        "meningioma",
        "pituitary",
    ]
    assert data.table["patient"].tolist() == ["100360", "MR040240", "9", "MR040240B"]
    assert data.table["series"].tolist() == ["100360", "MR040240", "9", "MR040240"]
    image, mask = slice_of(2)
    np.testing.assert_array_equal(data.masks[1], mask)
    np.testing.assert_allclose(data.images[1], image / image.max() * 255, atol=1)


def test_the_layout_of_mirrors_gives_the_same(tmp_path, mat_folder):
    folder = tmp_path / "mirror"
    (folder / "images").mkdir(parents=True)
    left, top, right, bottom = (value / SIDE for value in LESION)
    step = 1 / SIDE  # an outline runs through the last pixel, not behind it
    right, bottom = right - step, bottom - step
    outline = [[left, top], [right, top], [right, bottom], [left, bottom]]
    with (folder / "slices.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["figshare_index", "class", "patient"])
        for number in (1, 2):
            image = np.uint8(slice_of(number)[0] / 7)
            Image.fromarray(image).save(folder / "images" / f"{number}.jpg")
            table.writerow(
                [number, ["", "meningioma", "glioma"][number], f"P{number}B"]
            )
    (folder / "borders.json").write_text(json.dumps({"1": outline, "2": outline}))
    data = figshare.load(folder, SIDE)
    assert data.table["series"].tolist() == ["P1", "P2"]
    np.testing.assert_array_equal(data.masks[0], slice_of(1)[1])
    (folder / "images" / "2.jpg").unlink()
    with pytest.raises(CourseError, match=r"2\.jpg: listed in slices\.csv"):
        figshare.load(folder, SIDE + 1)


def test_a_broken_mat_file_is_named(mat_folder):
    (mat_folder / "2.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(CourseError, match=r"2\.mat is not a figshare slice"):
        figshare.load(mat_folder, SIDE)


def test_a_label_that_figshare_does_not_have_is_named(mat_folder):
    write_mat(mat_folder / "2.mat", 2, 4, "7")
    with pytest.raises(CourseError, match=r"2\.mat is not a figshare slice"):
        figshare.load(mat_folder, SIDE)


def test_a_folder_without_slices_says_what_was_expected(tmp_path, monkeypatch):
    with pytest.raises(CourseError, match=r"expected 1\.mat to 3064\.mat"):
        figshare.load(tmp_path, SIDE)
    monkeypatch.delenv("BRAIN_MRI_FIGSHARE", raising=False)
    with pytest.raises(CourseError, match="BRAIN_MRI_FIGSHARE is not set"):
        figshare.root()


def placed(image: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """Return the image shrunk to `side` and put elsewhere in a frame of its size."""
    frame = np.zeros_like(image)
    small = Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
    frame[top : top + side, left : left + side] = small
    return frame


def test_files_are_matched_with_patient_and_lesion_in_their_own_orientation(mat_folder):
    slices = figshare.load(mat_folder, SIDE)
    one, two, _, ten = slices.images
    stranger = np.uint8(slice_of(77)[0] / 7)
    images = np.stack(
        [
            one[:, ::-1],
            two,
            placed(np.ascontiguousarray(ten[::-1]), 14, 7, 196),
            stranger,
        ]
    )
    found = patients.match(
        audit.signatures(images), audit.signatures(slices.images), slices
    )
    assert found["figshare_index"].tolist()[:3] == [1, 2, 10]
    assert found["patient"].tolist()[:3] == [1, 2, 2]  # one family
    assert found["mirror"].tolist()[:3] == ["left-right", "none", "up-down"]
    assert found.drop(columns="similarity").iloc[3].isna().all()
    boxes = found[list(BOX)].to_numpy(float)[:3] * SIDE
    shrunk = 196 / SIDE
    expected = [
        [SIDE - 120, 80, 60, 20],
        [60, 80, 60, 20],
        [14 + 60 * shrunk, 7 + (SIDE - 100) * shrunk, 60 * shrunk, 20 * shrunk],
    ]
    np.testing.assert_allclose(boxes, expected, atol=1.5)


def test_purity_and_completeness_are_counted_in_slices():
    # Patient 1 has slices a, a (twice the same), b, c; patient 2 has d, e.
    patient = np.array([1, 1, 1, 1, 2, 2, -1])
    slices = np.array([0, 0, 1, 2, 3, 4, 5])
    series = np.array([0, 0, 0, 1, 1, 2, 2])
    found = audit.purity_and_completeness(series, patient, slices)
    # Series 0: a, b of 1. Series 1: c of 1 and d of 2. Series 2: e.
    assert found["purity"] == pytest.approx(4 / 5)
    assert found["completeness"] == pytest.approx(3 / 5)
    assert (found["mixed"], found["patients"], found["slices"]) == (1, 2, 5)


def test_an_empty_mask_has_no_box():
    assert np.isnan(patients.lesion_boxes(np.zeros((1, 4, 4), np.uint8))).all()


def test_a_figshare_dataset_is_real_and_has_no_split(mat_folder):
    data = figshare.load(mat_folder, SIDE)
    assert isinstance(data, Dataset)
    assert data.badge == "real"
    assert data.table["split"].isna().all()
    assert isinstance(data.table, pd.DataFrame)
