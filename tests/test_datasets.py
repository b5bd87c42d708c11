"""The dataset type, its sources, and the cache that decodes once."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers import config
from helpers.config import CourseError
from helpers.datasets import Dataset, folder, kaggle, load_dataset, thumbnails
from helpers.datasets.cache import Decoded, cached
from helpers.datasets.dataset import CLASS_NAMES

SPLITS = ("Training", "Testing")
PIXELS = 16


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "datasets"


@pytest.fixture
def tree(tmp_path) -> Path:
    """Two small grey JPEGs in each of the eight folders, each with its own level."""
    root = tmp_path / "images"
    for s, split in enumerate(SPLITS):
        for c, class_name in enumerate(CLASS_NAMES):
            place = root / split / class_name
            place.mkdir(parents=True)
            for k in range(2):
                level = 10 + 100 * s + 20 * c + 10 * k
                Image.new("L", (24, 24), level).save(place / f"{class_name[:2]}{k}.jpg")
    return root


def load(tree) -> Dataset:
    return load_dataset(tree, PIXELS)


def test_a_folder_becomes_one_row_an_image(tree):
    data = load(tree)
    assert data.images.shape == (16, PIXELS, PIXELS)
    assert data.images.dtype == np.uint8
    assert not data.images.flags.writeable
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] * 2
    assert data.table["file"][0] == "Testing/glioma/gl0.jpg"
    assert data.table["file"].is_unique
    # Each level was written once, so images and rows must be in the same order.
    levels = [10 + 20 * c + 10 * k for c in range(4) for k in range(2)]
    expected = np.array([100 + level for level in levels] + levels)
    assert np.abs(data.images[:, 3, 3].astype(int) - expected).max() <= 2
    assert (data.table["width"] == 24).all()
    assert data.table["patient"].isna().all()
    assert data.table["source"].isna().all()
    assert data.badge == "real"
    train, test = data.official_split()
    assert (train.tolist(), test.tolist()) == (list(range(8, 16)), list(range(8)))


def test_a_second_load_decodes_nothing_and_equals_the_first(tree, monkeypatch):
    first = load(tree)
    monkeypatch.setattr(folder, "decode", lambda *_: pytest.fail("decoded again"))
    second = load(tree)
    assert second.fingerprint == first.fingerprint
    assert isinstance(second.images, np.memmap)
    np.testing.assert_array_equal(first.images, second.images)
    pd.testing.assert_frame_equal(first.table, second.table)
    pd.testing.assert_frame_equal(first.set_aside, second.set_aside)


def test_a_changed_file_is_seen(tree):
    before = load(tree)
    Image.new("L", (24, 24), 255).save(tree / "Training/glioma/gl0.jpg")
    os.utime(tree / "Training/glioma/gl0.jpg", ns=(1, 1))
    after = load(tree)
    assert after.images[8, 3, 3] == 255
    assert after.fingerprint != before.fingerprint


def test_the_fingerprint_is_of_the_content_not_of_the_place(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "elsewhere")
    assert load(tmp_path / "elsewhere").fingerprint == load(tree).fingerprint
    assert load(tmp_path / "elsewhere").name == "elsewhere"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("glioma_tumor", "glioma"),
        ("Meningioma Tumour", "meningioma"),
        ("pituitary_tumors", "pituitary"),
        ("no_tumor", "notumor"),
        ("no", "notumor"),
        ("NoTumor", "notumor"),
        ("schwannoma", None),
        ("tumor", None),
    ],
)
def test_class_names_are_normalised(name, expected):
    assert folder.class_of(name) == expected


@given(
    st.sampled_from(CLASS_NAMES),
    st.sampled_from(["", "tumor", "tumors", "tumour", "Tumor"]),
    st.sampled_from([" ", "_", "-", ""]),
    st.sampled_from([str, str.upper, str.title]),
)
def test_any_spelling_of_a_class_is_understood(class_name, ending, between, case):
    if class_name == "notumor":
        class_name, ending = "no", ending or "tumor"
    spelled = case(class_name + (between + ending if ending else ""))
    expected = "notumor" if class_name == "no" else class_name
    assert folder.place_of(f"{case('testing')}/{spelled}/a/b.png") == (
        "Testing",
        expected,
    )
    assert folder.place_of(f"other/{spelled}/b.png")[0] is None
    assert folder.place_of(f"{spelled}/b.png") == (None, None)


def test_a_tree_with_other_class_names_loads_alike(tree):
    expected = load(tree).labels
    for split, new in zip(SPLITS, ("train", "TEST"), strict=True):
        (tree / split / "notumor").rename(tree / split / "no_tumor")
        (tree / split / "glioma").rename(tree / split / "glioma_tumor")
        (tree / split).rename(tree / new)
    data = load(tree)
    assert sorted(data.labels) == sorted(expected)
    assert set(data.table["class"]) == set(CLASS_NAMES)
    assert set(data.table["split"]) == set(SPLITS)


def test_only_files_named_as_on_kaggle_get_a_source():
    assert (
        folder.source_of("Testing/glioma/Te-gl_0010.jpg", "glioma", "L") == "figshare"
    )
    other = "SARTAJ or Br35H"
    assert (
        folder.source_of("Training/glioma/Tr-glTr_0001.jpg", "glioma", "RGB") == other
    )
    assert folder.source_of("Training/notumor/Tr-no_0001.jpg", "notumor", "L") == other
    assert folder.source_of("Training/glioma/scan.jpg", "glioma", "L") is pd.NA


def numbered(sizes: list[int]) -> Dataset:
    """Return a dataset whose image i is filled with i, in strata of the given sizes."""
    rows = [
        (f"{split}/{name}/{k}.png", split, name)
        for (split, name), size in zip(
            [(s, c) for s in SPLITS for c in CLASS_NAMES], sizes, strict=True
        )
        for k in range(size)
    ]
    table = pd.DataFrame(rows, columns=["file", "split", "class"])
    images = np.arange(len(rows), dtype=np.uint8)[:, None, None] * np.ones(
        (1, 2, 2), np.uint8
    )
    nothing = pd.DataFrame({"file": [], "reason": []})
    decoded = Decoded(images, images % 2, table, nothing)
    return cached("numbered", ["numbered", sizes], lambda: decoded, synthetic=True)


def test_a_thumbnail_is_the_mean_of_its_boxes():
    images = np.random.default_rng(0).integers(0, 256, (6, 64, 64), dtype=np.uint8)
    small = thumbnails(images, 32)
    assert small.shape == (6, 32, 32)
    assert small.dtype == np.float32
    boxes = images.reshape(6, 32, 2, 32, 2).mean((2, 4))
    assert np.abs(small - boxes).max() <= 1  # Pillow rounds, once along each axis


def test_a_subset_keeps_images_labels_masks_and_rows_together():
    data = numbered([4, 4, 4, 4, 2, 2, 2, 2])
    part = data.subset([20, 3, 7])
    assert part.images[:, 0, 0].tolist() == [20, 3, 7]
    assert part.masks[:, 0, 0].tolist() == [0, 1, 1]
    assert part.labels.tolist() == data.labels[[20, 3, 7]].tolist()
    assert part.table["file"].tolist() == data.table["file"][[20, 3, 7]].tolist()
    assert part.fingerprint != data.fingerprint
    assert part.fingerprint == data.subset([20, 3, 7]).fingerprint
    assert part.badge == "synthetic"


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 20), min_size=8, max_size=8),
    st.integers(8, 100),
    st.integers(0, 3),
)
def test_a_sample_is_stratified_nested_and_repeatable(sizes, num_slices, seed):
    data = numbered(sizes)
    part = data.sample(num_slices, seed)
    assert len(part) == min(num_slices, len(data))
    kept = data.table["file"].isin(set(part.table["file"]))
    assert part.table["file"].tolist() == data.table["file"][kept].tolist()
    taken = part.table.groupby(["split", "class"]).size()
    whole = data.table.groupby(["split", "class"]).size()
    assert len(taken) == 8
    # One slice a stratum is given; the rest follow the strata's sizes to within one.
    assert (taken <= whole * len(part) / len(data) + 1).all()
    assert (taken >= whole * (len(part) - 8) / len(data)).all()
    assert part.fingerprint == data.sample(num_slices, seed).fingerprint
    larger = data.sample(num_slices + 5, seed)
    assert set(part.table["file"]) <= set(larger.table["file"])


def test_the_phantom_is_the_default_and_comes_with_masks(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    monkeypatch.delenv("BRAIN_MRI_DATA", raising=False)
    data = load_dataset()
    profile = config.profile()
    assert data.synthetic
    assert data.images.shape == (profile.num_phantoms, profile.pixels, profile.pixels)
    assert set(np.unique(data.masks)) == {0, 1}
    assert {"site", "twin_of", "twin_kind"} <= set(data.table)
    assert data.table["patient"].notna().all()
    assert load_dataset().fingerprint == data.fingerprint


def test_a_damaged_cache_is_built_again(tree, own_cache, capsys):
    good = load(tree)
    expected = good.images.copy()
    (place,) = own_cache.iterdir()
    images = place / "images.npy"
    whole = images.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    for damage in (whole[:-100], bytes(flipped), b""):
        images.write_bytes(damage)
        again = load(tree)
        assert again.fingerprint == good.fingerprint
        np.testing.assert_array_equal(again.images, expected)
        assert "damaged; it is built again" in capsys.readouterr().err
        assert images.read_bytes() == whole
    (place / "about.json").write_text('{"table"')
    assert load(tree).fingerprint == good.fingerprint


def python(code: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(config.ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_may_build_one_cache_at_once(tree, tmp_path, own_cache):
    meet = f"""
import time
from pathlib import Path
from helpers.datasets import folder, load_dataset
decode = folder.decode
def decode_together(*arguments):
    decoded = decode(*arguments)
    Path({str(tmp_path)!r}, "built-" + NAME).touch()
    while len(list(Path({str(tmp_path)!r}).glob("built-*"))) < 2:
        time.sleep(0.01)
    return decoded
folder.decode = decode_together
data = load_dataset({str(tree)!r}, {PIXELS})
print(data.fingerprint, data.images[3, 0, 0], type(data.images).__name__)
"""
    both = [python(f"NAME = {name!r}{meet}") for name in "ab"]
    outputs = [each.communicate(timeout=60) for each in both]
    assert [each.returncode for each in both] == [0, 0], outputs
    assert outputs[0] == outputs[1]
    assert outputs[0][0].endswith("memmap\n")
    assert outputs[0][1] == ""
    assert [each.name.startswith(".") for each in own_cache.iterdir()] == [False]


def test_a_build_that_was_killed_leaves_nothing_in_the_way(tree, own_cache):
    killed = python(f"""
import os, signal
from helpers.datasets import cache, load_dataset
save = cache._save_array
def save_and_die(*arguments):
    save(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
cache._save_array = save_and_die
load_dataset({str(tree)!r}, {PIXELS})
""")
    killed.communicate(timeout=60)
    assert killed.returncode == -9
    (rubble,) = own_cache.iterdir()
    assert len(load(tree)) == 16
    assert rubble.exists()  # it may belong to a process that still works
    os.utime(rubble, times=(time.time() - 2 * 24 * 3600,) * 2)
    Image.new("L", (24, 24), 255).save(tree / "Training/glioma/gl0.jpg")
    load(tree)
    assert not rubble.exists()


def assert_full_disk_is_survived(process: subprocess.Popen, place: Path) -> None:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == "16 ndarray\n"
    assert err.count("could not be kept") == 1
    assert "BRAIN_MRI_CACHE" in err
    assert "Traceback" not in err
    assert [path for path in place.rglob("*") if path.is_file()] == []


LOAD_AND_COUNT = """
from helpers.datasets import load_dataset
data = load_dataset({tree!r}, 224)
print(len(data), type(data.images).__name__)
"""


def test_a_file_that_cannot_be_written_whole_is_removed(tree, own_cache):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000,) * 2)"
    process = python(limit + LOAD_AND_COUNT.format(tree=str(tree)))
    assert_full_disk_is_survived(process, own_cache)


def test_a_full_disk_loses_nothing(tree, tmp_path):
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a tiny disk; RLIMIT_FSIZE is tested instead")
    try:
        process = python(
            LOAD_AND_COUNT.format(tree=str(tree)), BRAIN_MRI_CACHE=str(place)
        )
        assert_full_disk_is_survived(process, place)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_wrong_path_is_one_clear_error(tree, monkeypatch):
    with pytest.raises(CourseError, match=r"nowhere is not a folder.*BRAIN_MRI_DATA"):
        load_dataset("/nowhere", PIXELS)
    monkeypatch.setenv("BRAIN_MRI_DATA", str(tree.parent))
    with pytest.raises(CourseError, match=f"Did you mean {tree}"):
        load_dataset()
    with pytest.raises(CourseError, match=f"found glioma, men.*Did you mean {tree}"):
        load(tree / "Training")


@pytest.mark.parametrize("file", ["766.mat", "cvind.mat"])
def test_figshares_folder_is_recognised_and_its_variable_named(tmp_path, file):
    (tmp_path / file).touch()
    with pytest.raises(CourseError, match=r"figshare's slices.*BRAIN_MRI_FIGSHARE"):
        folder.find_files(tmp_path)


def test_an_empty_folder_is_one_clear_error(tmp_path):
    with pytest.raises(CourseError, match=r"no Training or Testing.*found nothing"):
        load(tmp_path)


def test_a_missing_class_is_named_with_what_was_found(tree):
    shutil.rmtree(tree / "Testing/pituitary")
    with pytest.raises(CourseError, match=r"no files in Testing/pituitary\. Expected"):
        load(tree)


def test_a_class_without_a_usable_image_is_an_error_with_reasons(tree):
    for file in (tree / "Testing/pituitary").iterdir():
        file.write_bytes(b"")
    with pytest.raises(CourseError, match=r"in Testing/pituitary can be used.*empty"):
        load(tree)


def test_importing_the_datasets_imports_nothing_slow():
    heavy = ("tensorflow", "keras", "kagglehub", "nilearn", "matplotlib", "sklearn")
    code = f"import sys, helpers.datasets; print(set({heavy!r}) & set(sys.modules))"
    assert python(code).communicate(timeout=60)[0] == "set()\n"


def test_kaggle_without_a_network_fails_fast_and_names_the_ways_out(tmp_path):
    started = time.perf_counter()
    process = python(
        "from helpers.datasets import load_dataset; load_dataset('kaggle', 16)",
        KAGGLEHUB_CACHE=str(tmp_path / "kagglehub"),
        HTTPS_PROXY="http://127.0.0.1:9",  # nothing listens there
    )
    _, err = process.communicate(timeout=60)
    last = err.strip().splitlines()[-1]
    assert last.startswith("helpers.config.CourseError: Kaggle's dataset could not")
    assert "set BRAIN_MRI_DATA to that folder" in last
    assert "phantoms" in last
    assert time.perf_counter() - started < 30


def kaggle_counts() -> dict:
    return {
        (s, c): n for s, classes in kaggle.COUNTS.items() for c, n in classes.items()
    }


def test_kaggle_versions_are_told_apart_by_their_counts():
    counts = kaggle_counts()
    assert sum(counts.values()) == 7023
    assert kaggle.which_version(counts) == "version 1"
    four_missing = counts | {("Training", "notumor"): 1591}
    assert kaggle.which_version(four_missing) == (
        "not version 1 (Training/notumor has 1591, not 1595)"
    )
    second = {
        (s, c): n
        for s, n in (("Training", 1400), ("Testing", 400))
        for c in CLASS_NAMES
    }
    assert kaggle.which_version(second).startswith("version 2")


def test_kaggle_accepts_version_1_only_if_whole(tree, tmp_path, monkeypatch):
    # The small tree stands in for the download, in the place where kagglehub keeps it.
    place = tmp_path / "datasets/masoudnickparvar/brain-tumor-mri-dataset"
    root = place / "versions/1"
    shutil.copytree(tree, root)
    (place / "1.complete").touch()
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    with pytest.raises(CourseError, match=r"Training/glioma has 2, not 1321"):
        load_dataset("kaggle", PIXELS)
    two_each = dict.fromkeys(CLASS_NAMES, 2)
    monkeypatch.setattr(kaggle, "COUNTS", dict.fromkeys(SPLITS, two_each))
    data = load_dataset("kaggle", PIXELS)
    assert (data.name, len(data)) == ("kaggle version 1", 16)
    (root / "Testing/glioma/gl0.jpg").write_bytes(b"")
    with pytest.raises(
        CourseError, match=r"1 file\(s\) do not decode, such as Testing/gl"
    ):
        load_dataset("kaggle", PIXELS)
