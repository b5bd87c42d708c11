"""Predict from a file: read as in training, answered, or refused in one message."""

import csv
import json
import re
import shutil

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from test_train import CLASSES, command, settings, slices, write_images

from helpers import predict, scans, scope, serving, train
from helpers.config import CourseError
from helpers.datasets.folder import Unusable

PIXELS = 32


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with images and, in out/, what training has left."""
    folder = tmp_path_factory.mktemp("trained")
    write_images(folder / "images")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings(folder).items():
            patch.setenv(name, value)
        assert command(folder) == 0
    return folder


def run(folder, *arguments) -> int:
    model = str(folder / "out" / "model.keras")
    return predict.main([*map(str, arguments), "--model", model])


# --- the same bytes as in training ----------------------------------------------------


def write_dicom(path, values, **more):
    """Write a DICOM slice of 16-bit values [h, w], or of frames [n, h, w]."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = pydicom.Dataset()
    header.file_meta = meta
    header.SOPClassUID, header.SOPInstanceUID = MRImageStorage, generate_uid()
    header.Modality, header.PhotometricInterpretation = "MR", "MONOCHROME2"
    header.Rows, header.Columns = values.shape[-2:]
    header.SamplesPerPixel, header.PixelRepresentation = 1, 0
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit = 15
    if values.ndim == 3:
        header.NumberOfFrames = len(values)
    header.PixelData = np.asarray(values, np.uint16).tobytes()
    for name, value in more.items():
        setattr(header, name, value)
    header.save_as(path, enforce_file_format=True)


def test_a_file_read_here_and_its_row_of_the_dataset_give_equal_bytes(tmp_path):
    deep = np.uint16(slices(1, 1)[0]) * 37 + 1000
    files = {
        "grey.png": Image.fromarray(slices(1)[0]),
        "colour.jpg": Image.fromarray(np.stack([*slices(3)], axis=-1)),
        "eight.tif": Image.fromarray(slices(1, 2)[0]),
        "deep.tif": Image.fromarray(deep),
        "see_through.png": Image.fromarray(np.stack([*slices(4)], axis=-1)),
        "wide.png": Image.fromarray(slices(1)[0][:40]),
    }
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file, image in files.items():
            image.save(tmp_path / name / file)
    data = train.read_images(str(tmp_path), PIXELS)
    assert len(data) == 12
    for file, row in zip(data.table["file"], data.images, strict=True):
        np.testing.assert_array_equal(scans.read(tmp_path / file, PIXELS).image, row)
    notes = {f: scans.read(tmp_path / "one" / f, PIXELS).notes for f in files}
    assert notes.pop("see_through.png") == ("transparent parts were read as black",)
    assert set(notes.values()) == {()}


def test_a_dicom_slice_gives_the_bytes_of_its_rescaled_and_windowed_picture(tmp_path):
    stored = np.linspace(0, 4000, 64 * 48).reshape(64, 48).astype(np.uint16)
    window = {"WindowCenter": 3500, "WindowWidth": 2001}
    scale = {"RescaleSlope": 2, "RescaleIntercept": -1000}
    write_dicom(tmp_path / "a.dcm", stored, **window, **scale)
    shown = np.clip(2.0 * stored - 1000, 2500, 4500) - 2500
    Image.fromarray(np.uint8(shown / 2000 * 255)).save(tmp_path / "a.png")
    one, other = (scans.read(tmp_path / f"a.{s}", PIXELS) for s in ("dcm", "png"))
    assert np.abs(one.image.astype(int) - other.image).max() <= 1
    assert one.modality == "MR" and "window" in one.notes[0]
    write_dicom(tmp_path / "b.dcm", 4000 - stored)
    negative = {"PhotometricInterpretation": "MONOCHROME1"}
    write_dicom(tmp_path / "c.dcm", stored, **negative)
    one, other = (scans.read(tmp_path / f"{s}.dcm", PIXELS).image for s in "bc")
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "ASL", "SPR"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_volume_shows_the_same_slice_however_its_axes_are_stored(
    tmp_path, axes, suffix
):
    volume = np.zeros((20, 24, 28), np.int16)
    volume[2:18, 2:22, 4:25] = 100
    volume[2:18, 2:22, 17] = 120
    volume[:, :, 9] = 90
    volume[14:18, 18:22, 9] = 255  # right, front
    turned = nibabel.orientations.axcodes2ornt(axes)
    image = nibabel.Nifti1Image(volume, np.diag([1, 1, 3, 1]))
    image.as_reoriented(
        nibabel.orientations.ornt_transform(
            nibabel.orientations.io_orientation(image.affine), turned
        )
    ).to_filename(tmp_path / f"v{suffix}")
    found = scans.read(tmp_path / f"v{suffix}", PIXELS)
    assert found.notes == ("axial slice 9 of 0 to 27, the one with most tissue",)
    assert (found.width, found.height) == (20, 24)
    shown = (volume[::-1, ::-1, 9].T.astype(int) - 90) * 255 // 165
    expected = Image.fromarray(np.uint8(shown))
    expected = np.asarray(expected.resize((PIXELS, PIXELS), Image.BILINEAR))
    assert np.abs(found.image.astype(int) - expected).max() <= 1
    assert np.unravel_index(found.image.argmax(), found.image.shape) < (9, 12)
    chosen = scans.read(tmp_path / f"v{suffix}", PIXELS, "sagittal", 3)
    assert chosen.notes == ("sagittal slice 3 of 0 to 19",)
    assert (chosen.width, chosen.height) == (24, 28)
    with pytest.raises(Unusable, match="no slice 24: coronal ones are 0 to 23"):
        scans.read(tmp_path / f"v{suffix}", PIXELS, "coronal", 24)


# --- answers, and reasons for none ----------------------------------------------------


def test_each_file_is_answered_as_the_held_out_part_was(trained, tmp_path, capsys):
    known = serving.load(trained / "out" / "model.keras")
    assert run(trained, trained / "images", "--json", tmp_path / "a.json") == 0
    out = capsys.readouterr().out
    assert re.search(r"^42 files: \d+ answered", out, re.M) and serving.NOTICE in out
    found = json.loads((tmp_path / "a.json").read_text())
    assert (
        found["notice"] == serving.NOTICE and found["sha256"] == known.about["sha256"]
    )
    said = list(csv.DictReader((trained / "out" / "predictions.csv").open()))
    rows = {row["file"]: row for row in found["answers"]}
    for row in said:
        given = rows[str(trained / "images" / row["filename"])]
        raw = np.array([float(row[name]) for name in CLASSES])
        shares = raw ** (1 / known.about["temperature"])
        shares /= shares.sum()
        np.testing.assert_allclose(list(given["shares"].values()), shares, atol=1e-4)
        if given["status"] == "answered":
            assert given["label"] == CLASSES[shares.argmax()]
            assert given["share"] >= known.about["threshold"]
    far = [r for r in found["answers"] if r["distance"] > known.about["limit"]]
    assert far and {r["status"] for r in far} == {"out of scope"}
    assert {r["label"] for r in far} == {None}


BAD = {
    "wrong.png": lambda p: p.write_text("no picture"),
    "empty.png": lambda p: p.write_bytes(b""),
    "cut.jpg": lambda p: cut(p, Image.fromarray(slices(1)[0])),
    "stack.tif": lambda p: stack(p),
    "huge.png": lambda p: Image.new("L", (20_000, 20_000)).save(p),
    "text.dcm": lambda p: p.write_text("Dear colleague, " * 40),
    "frames.dcm": lambda p: write_dicom(p, np.ones((3, 40, 40))),
    "colour.dcm": lambda p: write_dicom(
        p, np.ones((40, 40)), PhotometricInterpretation="PALETTE COLOR"
    ),
    "cut.nii": lambda p: cut_volume(p),
    "series.nii": lambda p: nibabel.Nifti1Image(
        np.ones((9, 9, 9, 4), np.int16), np.eye(4)
    ).to_filename(p),
    "notes.txt": lambda p: p.write_text("notes"),
}
SAYS = {
    "wrong.png": "not an image that Pillow can read",
    "empty.png": "empty file",
    "cut.jpg": "damaged",
    "stack.tif": "a stack of 2 pages",
    "huge.png": "too large: over 89 million pixels",
    "text.dcm": "not a DICOM file: it begins with b'dear colleag'",
    "frames.dcm": "a DICOM file of 3 frames; save the one",
    "colour.dcm": "in colour (PALETTE COLOR)",
    "cut.nii": "damaged, or no NIfTI",
    "series.nii": "shape 9 x 9 x 9 x 4; expected three dimensions",
    "notes.txt": ".txt is no kind of picture",
}


def cut(path, image) -> None:
    image.save(path)
    path.write_bytes(path.read_bytes()[:-400])


def stack(path) -> None:
    one, two = (Image.fromarray(image) for image in slices(2))
    one.save(path, save_all=True, append_images=[two])


def cut_volume(path) -> None:
    volume = nibabel.Nifti1Image(np.ones((20, 20, 20), np.int16), np.eye(4))
    volume.to_filename(path)
    path.write_bytes(path.read_bytes()[:3000])


def test_each_bad_file_is_one_message_and_the_others_are_answered(
    trained, tmp_path, capsys
):
    for name, make in BAD.items():
        make(tmp_path / name)
    (tmp_path / "none").mkdir()
    good = trained / "images" / "glioma" / "03.png"
    table = tmp_path / "out.csv"
    files = [tmp_path / name for name in BAD]
    files += [good, tmp_path / "none", tmp_path / "gone.png"]
    assert run(trained, *files, "--csv", table) == 1
    told = capsys.readouterr()
    lines = told.err.splitlines()
    for name, words in {
        **SAYS,
        "none": "holds no picture",
        "gone.png": "there is no such file",
    }.items():
        own = [line for line in lines if line.startswith(f"{tmp_path / name}: ")]
        assert len(own) == 1 and words in own[0], (name, lines)
    assert len(lines) == len(BAD) + 2 and str(good) in told.out
    rows = {row["file"]: row for row in csv.DictReader(table.open())}
    assert rows.pop(str(good))["status"] != predict.NOT_READ
    assert {row["status"] for row in rows.values()} == {predict.NOT_READ}
    assert {row["notice"] for row in rows.values()} == {serving.NOTICE}


def test_a_folder_is_walked_and_what_takes_long_says_how_long(
    trained, tmp_path, capsys, monkeypatch
):
    write_dicom(tmp_path / "a.dcm", np.arange(6400).reshape(80, 80))
    Image.fromarray(slices(1)[0]).save(tmp_path / "b.png")
    (tmp_path / "c.pdf").write_bytes(b"%PDF")
    monkeypatch.setattr(predict, "SECONDS", 0)
    assert run(trained, tmp_path) == 1
    told = capsys.readouterr()
    assert "3 files: " in told.out and "c.pdf: PDF: save its pictures" in told.err
    assert re.search(r"asking: +100%.* 2/2 \[.*<.*file/s\]", told.err), told.err


def cut_model(folder):
    path = folder / "model.keras"
    path.write_bytes(path.read_bytes()[:-1000])


def swap_model(folder):
    path = folder / "model.keras"
    path.write_bytes(path.read_bytes() + b"another")


def widen_scope(folder):
    with np.load(folder / "model.npz") as file:
        arrays = dict(file)
    np.savez(folder / "model.npz", **arrays | {"precision": 0 * arrays["precision"]})


def lose_json(folder):
    (folder / "model.json").unlink()


def break_json(folder):
    (folder / "model.json").write_text("{")


def not_keras(folder):
    (folder / "model.keras").write_text("no model")
    about = json.loads((folder / "model.json").read_text())
    about |= {"sha256": serving.sha256(folder / "model.keras"), "bytes": 8}
    (folder / "model.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("happen", "says"),
    [
        (cut_model, r"is cut off: it has [\d,]+ of [\d,]+ bytes"),
        (swap_model, "is not the network that model.json describes"),
        (widen_scope, "is not the network that model.json describes"),
        (lose_json, "no file .*model.json. A model is three files"),
        (break_json, "is damaged"),
        (not_keras, "cannot be read by Keras"),
    ],
)
def test_a_model_that_is_not_whole_is_one_message(
    trained, tmp_path, capsys, happen, says
):
    shutil.copytree(trained / "out", tmp_path / "out")
    happen(tmp_path / "out")
    assert run(tmp_path, trained / "images" / "glioma" / "00.png") == 2
    told = capsys.readouterr()
    assert re.search(says, told.err) and len(told.err.splitlines()) == 1
    assert not told.out


def test_a_network_without_the_courses_head_is_refused():
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(CourseError, match="no layer called head"):
        serving.with_features(model)


def test_a_model_that_averages_both_ways_gives_one_pictures_features():
    import keras

    layers, grey = keras.layers, keras.Input((4, 4), dtype="uint8")
    flat = layers.Flatten()(layers.Rescaling(1 / 255)(grey))
    one = keras.Model(grey, layers.Dense(2, activation="softmax", name="head")(flat))
    both = layers.Average()([one(grey), one(keras.ops.flip(grey, axis=2))])
    images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    said, features = serving.with_features(keras.Model(grey, both)).predict(
        images, verbose=0
    )
    np.testing.assert_allclose(features, images.reshape(2, 16) / 255, rtol=1e-6)
    np.testing.assert_allclose(
        said, (one(images) + one(images[:, :, ::-1])) / 2, rtol=1e-5
    )


# --- what decides ---------------------------------------------------------------------


def test_the_limit_keeps_its_budget_and_not_one_more():
    distances = np.random.default_rng(0).permutation(np.arange(100.0))
    for budget in (0, 0.01, 0.05, 0.5):
        limit = scope.limit_for(distances, budget)
        assert (distances > limit).sum() == round(100 * budget)


def test_a_distance_counts_in_standard_deviations_from_the_nearest_class():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 2], 4000)
    spread = np.array([1.0, 5.0, 0.2])
    features = rng.normal(0, spread, (8000, 3)) + 50 * (labels == 2)[:, None]
    known = scope.fit(features, labels)
    asked = np.array([[0, 0, 0], [3, 0, 0], [0, 10, 0], [50, 50, 50.4]])
    np.testing.assert_allclose(known.distance(asked), [0, 3, 2, 2], atol=0.15)


def scan(image=None, **more) -> scans.Scan:
    image = slices(1)[0] if image is None else image
    return scans.Scan(image, **({"width": 200, "height": 180} | more))


def disc(where, radius, size=96):
    rows, columns = np.ogrid[:size, :size]
    inside = [(rows - y) ** 2 + (columns - x) ** 2 < radius**2 for y, x in where]
    return np.uint8(200 * np.any(inside, axis=0))


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (scan(coloured=0.5), ["coloured in 50% of its pixels"]),
        (scan(modality="CT"), ["its header says CT, not MR"]),
        (scan(width=50, height=60), ["tiny: 50 x 60 pixels"]),
        (scan(width=400), ["a frame of 400 x 180 pixels"]),
        (scan(disc([(48, 48)], 8)), ["nearly empty"]),
        (scan(disc([(24, 24), (24, 72), (72, 24), (72, 72)], 20)), ["a montage of 4"]),
        (scan(disc([(48, 48)], 40) - disc([(48, 48)], 32) + disc([(48, 48)], 26)), []),
        (scan(disc([(40, 48), (88, 48)], 30) | disc([(88, 20)], 6)), []),
        (scan(modality="MR", coloured=0.01), []),
    ],
)
def test_plain_checks_name_what_is_odd_and_pass_a_head(one, says):
    found = scope.doubts(one)
    assert len(found) == len(says)
    assert all(text.startswith(s) for text, s in zip(found, says, strict=True)), found


def test_temperature_and_threshold_are_those_of_chapter_10():
    rng = np.random.default_rng(0)
    true = rng.dirichlet((0.5, 0.5, 0.5), 4000)
    labels = np.array([rng.choice(3, p=p) for p in true])
    sharp = serving.soften(true, 0.5)
    assert serving.temperature_for(sharp, labels) == pytest.approx(2, abs=0.15)
    shares = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    right = np.array([True, True, False, True, False])
    for target, expected in ((1, 0.8), (0.75, 0.6), (0.6, 0.5)):
        assert serving.threshold_for(shares, right, target) == expected
    assert serving.threshold_for(shares, ~right, 0.9) == np.inf


@pytest.mark.parametrize("threshold", [0.9, None])
def test_what_is_not_sure_enough_gets_no_label(threshold):
    about = {"temperature": 1, "threshold": threshold, "limit": 9, "class_names": "ab"}
    known = serving.Serving(about, scope.Scope(np.zeros((1, 2)), np.eye(2)), None)
    said, features = np.array([[0.95, 0.05], [0.8, 0.2]]), np.array([[0, 0], [6, 8]])
    sure, far = serving.answer(known, [scan(), scan()], said, features)
    assert (sure.status, sure.label) == (
        ("answered", "a") if threshold else ("not sure enough", None)
    )
    assert (far.status, far.label) == ("out of scope", None)
    assert far.distance == pytest.approx(10) and "lie at 10, beyond 9" in far.why[0]
    (unsure,) = serving.answer(known, [scan()], said[1:], features[:1])
    assert (unsure.status, unsure.label, unsure.share) == (
        "not sure enough",
        None,
        None,
    )
