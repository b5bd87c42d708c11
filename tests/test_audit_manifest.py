"""The manifest holds its promises, and a reader's own copy can be matched with it."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.audit import __main__ as command
from helpers.audit import folders, manifest
from helpers.datasets import Dataset, kaggle
from helpers.experiments import build_manifest
from helpers.phantoms import generate


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return manifest.load()


@pytest.fixture(scope="module")
def large() -> np.ndarray:
    """Return synthetic slices at a size as the originals have it."""
    return generate(40, 352, progress=False).images


def shrunk(image: np.ndarray, side: int, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    small.save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def test_the_manifest_lists_every_file_of_version_1_once(rows):
    assert tuple(rows.columns) == build_manifest.COLUMNS
    assert rows["filename"].is_unique
    counts = rows.groupby(["split", "class"]).size()
    for split, classes in kaggle.COUNTS.items():
        assert counts[split].to_dict() == classes
    parts = rows["filename"].str.split("/", expand=True)
    assert (parts[0] == rows["split"]).all()
    assert (parts[1] == rows["class"]).all()


def test_four_files_are_listed_as_not_audited(rows):
    missing = rows[rows["source"] == "not audited"]
    assert tuple(missing["filename"]) == build_manifest.NOT_AUDITED
    assert missing[["fingerprint", "group", "series", "fold"]].isna().all(axis=None)
    assert (missing["keep"] == 0).all()
    audited = rows[rows["source"] != "not audited"]
    assert audited[["fingerprint", "group", "series", "fold"]].notna().all(axis=None)


@pytest.mark.parametrize("column", ["group", "series", "patient", "figshare_index"])
def test_nothing_that_is_scored_has_a_relative_in_another_fold(rows, column):
    scored = set(rows.loc[rows["keep"] == 1, column].dropna())
    relatives = rows[rows[column].isin(scored)]
    assert (relatives.groupby(column)["fold"].nunique() == 1).all()


def test_one_file_of_each_group_without_conflict_is_kept_if_it_lies_in_one_fold(rows):
    audited = rows.dropna(subset="group")
    kept = audited.groupby("group")["keep"].sum()
    conflict = audited.groupby("group")["conflict"].agg(lambda c: (c != "").any())
    split = audited["filename"].isin(manifest.split_units(rows))
    split = split.groupby(audited["group"]).any()
    assert (kept == (~conflict & ~split).astype(int)).all()
    assert set(audited["conflict"]) <= {"", "files", "figshare"}


def test_version_1_1_merges_three_persons_a_slice_and_two_series_and_nothing_else(rows):
    first = manifest.load(manifest.FIRST)
    again = build_manifest.merged(first)
    assert again.equals(rows)
    changed = [name for name in rows if not rows[name].equals(first[name])]
    assert changed == ["group", "series", "patient", "keep"]
    for column, fewer in (("patient", 3), ("group", 1), ("series", 3)):
        assert first[column].nunique() - rows[column].nunique() == fewer
    gone = rows["filename"][(first["keep"] == 1) & (rows["keep"] == 0)]
    assert len(gone) == 47
    assert set(gone) <= manifest.split_units(rows)
    assert not ((first["keep"] == 0) & (rows["keep"] == 1)).any()
    assert not manifest.split_units(first)


def test_merging_takes_the_lower_number_and_stops_scoring_what_lies_in_two_folds():
    names = [*build_manifest.ONE_SLICE[0], "a", "b", "c"]
    rows = pd.DataFrame(
        {
            "filename": names,
            "group": [7, 3, 1, 2, 4],
            "series": [9, 8, 1, 2, 4],
            "patient": [pd.NA, pd.NA, 50, 51, 60],
            "fold": [0, 4, 2, 2, 2],
            "keep": 1,
        }
    ).astype({"patient": "Int64"})
    found = build_manifest.merged(rows)
    assert found["group"].tolist() == [3, 3, 1, 2, 4]
    assert found["series"].tolist() == [8, 8, 1, 2, 4]
    assert found["patient"].tolist()[2:] == [50, 50, 60]
    assert found["keep"].tolist() == [0, 0, 1, 1, 1]


def test_folds_hold_each_class_alike():
    first = manifest.load(manifest.FIRST)  # the folds were dealt before the merging
    kept = first[first["keep"] == 1]
    counts = pd.crosstab(kept["fold"], kept["class"])
    assert len(counts) == manifest.NUM_FOLDS
    assert (counts.max() - counts.min()).max() <= 4


def test_figshare_slices_have_one_patient_and_one_lesion_each(rows):
    known = rows.dropna(subset="figshare_index")
    assert (known.groupby("figshare_index")["patient"].nunique() == 1).all()
    merged = {max(pair) for pair in build_manifest.ONE_PERSON}  # their numbers are free
    highest = known["patient"].nunique() + len(merged)
    assert set(known["patient"]) == set(range(1, highest + 1)) - merged
    assert known["class"].ne("notumor").all()
    boxes = known[["box_x", "box_y", "box_width", "box_height"]].to_numpy(float)
    assert (boxes > 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 1).all()
    # Two files of one slice, mirrored to each other, have mirrored boxes.
    both = known.groupby("figshare_index").filter(lambda g: g["mirrored"].nunique() > 1)
    middle = both["box_x"] + both["box_width"] / 2
    middle = middle.where(both["mirrored"] == 0, 1 - middle).astype(float)
    assert both["figshare_index"].nunique() > 1000
    assert (middle.groupby(both["figshare_index"]).agg(np.ptp) < 0.03).mean() > 0.99


@pytest.mark.parametrize("side", [224, 300])
@pytest.mark.parametrize("quality", [95, 50])
def test_fingerprints_of_resized_and_reencoded_copies_are_within_tolerance(
    large, side, quality
):
    apart = [
        manifest.distance(
            manifest.fingerprint(image),
            manifest.fingerprint(shrunk(image, side, quality)),
        )
        for image in large
    ]
    assert max(apart) <= manifest.TOLERANCE


def test_fingerprints_of_different_slices_are_mostly_beyond_tolerance(rows):
    prints = rows.dropna(subset="fingerprint").drop_duplicates("group")["fingerprint"]
    some = prints.sample(2000, random_state=0).to_numpy()
    apart = [
        manifest.distance(one, other)
        for one, other in zip(some[::2], some[1::2], strict=True)
    ]
    assert np.mean(np.array(apart) <= manifest.TOLERANCE) < 0.02
    assert manifest.distance(some[0], some[0]) == 0


def named(images: np.ndarray, files: list[str]) -> Dataset:
    table = pd.DataFrame({"file": files})
    nothing = pd.DataFrame(columns=["file", "reason"])
    labels = np.zeros(len(images), int)
    return Dataset("x", images, labels, ("x",), table, nothing, True, fingerprint="")


def test_a_copy_is_matched_by_name_and_fingerprint(large):
    files = [f"Training/glioma/{i}.jpg" for i in range(40)]
    prints = [manifest.fingerprint(image) for image in large]
    rows = pd.DataFrame({"filename": files, "fingerprint": prints})
    copy = np.stack([shrunk(image, 224, 80) for image in large])
    text = manifest.compare(named(copy, files), rows)
    assert "40 of its 40 audited files are here" in text
    assert "not Kaggle's version 1" not in text
    swapped = copy[[1, 0, *range(2, 40)]]
    text = manifest.compare(named(swapped, files), rows)
    assert "2 have the name but another picture" in text
    assert "another picture: Training/glioma/0.jpg" in text
    text = manifest.compare(named(copy[:20], files[:20]), rows)
    assert "20 are missing here" in text
    assert "This is not Kaggle's version 1" in text


@pytest.fixture
def folder(tmp_path, large):
    for number, image in enumerate(large[:6]):
        place = tmp_path / "images" / ("cats" if number % 2 else "dogs")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    Image.fromarray(large[0][:, ::-1]).save(tmp_path / "images/cats/mirror.png")
    return tmp_path / "images"


def test_any_folder_is_audited_with_report_tables_and_page(folder, tmp_path, capsys):
    (folder / "cats" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    out = tmp_path / "out"
    assert command.main([str(folder), "--out", str(out)]) == 1
    printed = capsys.readouterr().out
    assert "7 images, 1 set aside" in printed
    assert "cats/broken.jpg" in printed
    assert "cats/mirror.png, dogs/0.png" in printed  # one slice, two classes
    files = pd.read_csv(out / "files.csv")
    assert files["group"].nunique() == 6
    page = (out / "pairs.html").read_text()
    assert 'alt="cats, cats/mirror.png" src="data:image/jpeg' in page
    assert "http" not in page
    pairs = pd.read_csv(out / "pairs.csv")
    assert {"cats/mirror.png", "dogs/0.png"} in [
        set(ends) for ends in pairs[["first", "second"]].to_numpy()
    ]


def test_a_folder_without_repeats_exits_0_and_a_wrong_one_2(folder, tmp_path, capsys):
    (folder / "cats" / "mirror.png").unlink()
    for number in (1, 2, 3, 4):  # neighbours of one series may look alike
        next(folder.rglob(f"{number}.png")).unlink()
    out = ["--out", str(tmp_path / "out")]
    assert command.main([str(folder), *out]) == 0
    assert command.main([str(tmp_path / "nowhere"), *out]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert command.main([str(tmp_path / "empty"), *out]) == 2
    assert "no image in it can be read" in capsys.readouterr().err


def test_coloured_pixels_are_measured_and_grey_ones_are_not(tmp_path):
    grey = np.full((80, 80, 3), 90, np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    grey[:40, :, 0] = 200
    Image.fromarray(grey).save(tmp_path / "red.png")
    table = folders.read(tmp_path).table.set_index("file")
    assert table.loc["grey.png", "coloured"] == 0
    assert table.loc["red.png", "coloured"] == pytest.approx(0.5, abs=0.05)
