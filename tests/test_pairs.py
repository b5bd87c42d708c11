"""The record of similar pairs, and the manifest that is made along with it."""

import csv
import hashlib
import json

import pandas as pd
import pytest
from PIL import Image

from helpers import audit, phantoms, recorded
from helpers.audit import manifest
from helpers.datasets.dataset import CLASS_NAMES
from helpers.experiments import __main__ as command
from helpers.experiments import build_manifest
from helpers.experiments import pairs as experiment


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return manifest.load()


@pytest.mark.parametrize(
    ("column", "at_least"),
    [("group", audit.SAME_SLICE), ("series", audit.SAME_SERIES)],
)
def test_groups_and_series_follow_from_the_pairs_and_what_was_merged(
    rows, column, at_least
):
    pairs = recorded.load("twin-pairs").arrays
    enough = pairs["similarity"] >= at_least
    linked = pd.DataFrame({end: pairs[end][enough] for end in ("first", "second")})
    merged = build_manifest.ONE_SLICE + (
        build_manifest.ONE_SERIES if column == "series" else ()
    )
    place = {name: number for number, name in enumerate(pairs["filenames"])}
    for one, other in merged:
        linked.loc[len(linked)] = (place[one], place[other])
    again = audit.groups(len(pairs["filenames"]), linked)
    stated = rows.set_index("filename").loc[pairs["filenames"], column].to_numpy(int)
    both = pd.DataFrame({"again": again, "stated": stated}).drop_duplicates()
    assert both["again"].is_unique
    assert both["stated"].is_unique


def test_the_record_of_pairs_names_the_committed_manifest():
    info = recorded.info("twin-pairs")
    digest = hashlib.sha256(manifest.PATH.read_bytes()).hexdigest()
    assert info["manifest_sha256"] == digest
    assert info["thresholds"] == {
        "slice": audit.SAME_SLICE,
        "series": audit.SAME_SERIES,
    }
    found = info["found"]
    assert found["least_similar_same_slice"] > audit.SAME_SLICE
    assert found["most_similar_neighbours"] < audit.SAME_SLICE


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Make six training and two test slices a class, in a folder as Kaggle's.

    The first test slice of each class is the mirror image of its first training slice.
    figshare's folder holds the gliomas of Training, two slices a patient.
    """
    made = phantoms.generate(400, 224, progress=False)
    table, images = made.table[made.table["twin_of"].isna()], made.images
    kaggle, figshare = tmp_path / "kaggle", tmp_path / "figshare"
    (figshare / "images").mkdir(parents=True)
    listed, outlines = [["figshare_index", "class", "patient"]], {}
    for name in CLASS_NAMES:
        of_class = table[table["class"] == name].drop_duplicates("series").index[:7]
        chosen = [images[row] for row in of_class]
        chosen.insert(6, chosen[0][:, ::-1])
        for number, image in enumerate(chosen):
            place = kaggle / ("Training" if number < 6 else "Testing") / name
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{number}.png")
            if name == "glioma" and number < 6:
                Image.fromarray(image).save(figshare / "images" / f"{number}.jpg")
                listed.append([number, name, f"P{number // 2}"])
                outlines[str(number)] = [[0.4, 0.4], [0.6, 0.4], [0.6, 0.6], [0.4, 0.6]]
    with (figshare / "slices.csv").open("w", newline="") as file:
        csv.writer(file).writerows(listed)
    (figshare / "borders.json").write_text(json.dumps(outlines))
    monkeypatch.setenv("BRAIN_MRI_DATA", str(kaggle))
    monkeypatch.setenv("BRAIN_MRI_FIGSHARE", str(figshare))
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(manifest, "PATH", tmp_path / "manifest.csv")
    monkeypatch.setattr(recorded, "FOLDER", tmp_path / "recorded")
    return tmp_path


def test_manifest_and_record_are_made_from_both_folders(small, capsys):
    assert command.main(["twin-pairs"]) == 0
    found = recorded.info("twin-pairs")["found"]
    assert found["images"] == 32
    shared = found["test_in_training"]["all"]
    assert (shared["exact"], shared["slice"], shared["images"]) == (0, 4, 8)
    assert 4 <= shared["series"] <= 8  # a slice's twin is in its series
    assert found["patients"] == 3
    assert found["figshare_files"] == 7  # six, and the mirror image in Testing
    rows = manifest.load().set_index("filename")
    one, twin = rows.loc["Training/glioma/0.png"], rows.loc["Testing/glioma/6.png"]
    assert (one["group"], one["patient"]) == (twin["group"], twin["patient"])
    assert {one["mirrored"], twin["mirrored"]} == {0, 1}
    assert [one["keep"], twin["keep"]].count(1) == 1
    arrays = recorded.load("twin-pairs").arrays
    names, mirrors = arrays["filenames"], arrays["mirror_names"]
    of_pair = {
        frozenset((names[first], names[second])): (similarity, mirrors[mirror])
        for first, second, similarity, mirror in zip(
            *(arrays[k] for k in ("first", "second", "similarity", "mirror")),
            strict=True,
        )
    }
    pair = of_pair[frozenset(("Training/glioma/0.png", "Testing/glioma/6.png"))]
    assert pair[0] > audit.SAME_SLICE
    assert pair[1] == "left-right"
    assert set(found) == set(_committed_found())


def test_without_figshares_folder_the_message_says_what_to_set(monkeypatch, capsys):
    monkeypatch.delenv("BRAIN_MRI_FIGSHARE", raising=False)
    assert command.main(["twin-pairs"]) == 2
    assert "BRAIN_MRI_FIGSHARE is not set" in capsys.readouterr().err


def _committed_found() -> dict:
    path = experiment.manifest.ROOT / "data" / "recorded" / "twin-pairs.json"
    return json.loads(path.read_text())["found"]
