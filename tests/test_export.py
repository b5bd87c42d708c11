"""Exports answer alike, or are named with their message; cards follow from records."""

import json
import shutil

import keras
import numpy as np
import pytest
from small_network import SIDE, images_and_labels, small_backbone
from test_predict import trained  # noqa: F401

from helpers import batches, cards, export
from helpers.network import Network
from helpers.plan import Plan, Stage


@pytest.fixture(scope="module")
def small():
    """Return a small model as `helpers.train` writes one."""
    images, labels = images_and_labels()
    plan = Plan((Stage("head", "backbone", 1, 1e-3),), pixels=SIDE, batch_size=8)
    network = Network(plan, images, small_backbone(), 3, np.arange(len(labels)))
    return network.portable(small_backbone())


def test_every_format_answers_as_keras_does_one_picture_and_many(small, tmp_path):
    exported = export.export(small, tmp_path)
    images = export.probes(small, 5)
    assert images.dtype == np.uint8 and images.std() > 20
    expected = small.predict(images, verbose=0)
    assert np.ptp(expected, axis=0).max() > 1e-3
    assert list(exported) == list(export.FORMATS)
    for name, (path, run) in exported.items():
        assert not isinstance(run, str), (name, run)
        for count in (5, 1, 3):
            said = run(images[:count])
            np.testing.assert_allclose(said, expected[:count], atol=1e-5, err_msg=name)
        assert export.size(path) > 1000
    found = export.compare(exported, images)
    assert max(one.difference for one in found) < export.TOLERANCE
    assert found[0].one == found[0].batch == 1.0
    assert all(one.same_label == 1 for one in found)


def test_weights_of_8_bits_take_a_quarter_and_change_the_answers_a_little(tmp_path):
    layers, grey = keras.layers, keras.Input((SIDE, SIDE), dtype="uint8")
    x = layers.Rescaling(1 / 255)(layers.Reshape((SIDE, SIDE, 1))(grey))
    for width in (32, 64, 64):
        x = layers.Conv2D(width, 3, strides=2, activation="relu")(x)
    head = layers.Dense(3, activation="softmax", name="head")
    model = keras.Model(grey, head(layers.GlobalAveragePooling2D()(x)))
    exported = export.export(model, tmp_path)
    whole, cut = exported["litert"], exported["litert, 8-bit weights"]
    assert export.size(cut[0]) < 0.4 * export.size(whole[0])
    images = export.probes(model)
    apart = np.abs(whole[1](images) - cut[1](images)).max()
    assert 1e-7 < apart < 0.05


def test_a_format_that_cannot_be_written_is_named_and_the_others_are(tmp_path):
    grey = keras.Input((SIDE, SIDE), dtype="uint8")
    pooled = keras.layers.GlobalAveragePooling2D()
    head = keras.layers.Dense(3, activation="softmax", name="head")
    # Constants in the graph, which `Network.portable` avoids: inputs, says ONNX.
    model = keras.Model(grey, head(pooled(small_backbone()(batches.preprocess(grey)))))
    exported = export.export(model, tmp_path)
    found = {one.name: one for one in export.compare(exported, export.probes(model, 2))}
    assert "Required inputs" in found["onnx"].problem
    assert not found["litert"].problem and found["litert"].difference < 1e-4
    assert (
        "Required inputs" in export.table(list(found.values())).loc["onnx", "problem"]
    )


def test_the_command_says_what_it_wrote_and_copies_what_must_travel(
    trained,  # noqa: F811
    tmp_path,
    capsys,
):
    model = trained / "out" / "model.keras"
    assert export.main(["--model", str(model), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "litert, 8-bit weights" in out and f"Written to {tmp_path}" in out
    for name in ("model.json", "model.npz", *export.FORMATS.values()):
        assert (tmp_path / name).exists(), name
    assert export.main(["--model", str(tmp_path / "none.keras")]) == 2


# --- cards ----------------------------------------------------------------------------


def test_training_writes_cards_that_lack_nothing_and_quote_the_records(trained):  # noqa: F811
    out = trained / "out"
    card, sheet = ((out / f"{n}.md").read_text() for n in ("model_card", "data_sheet"))
    assert cards.missing(card) == [] and cards.missing(sheet, cards.SHEET) == []
    served = json.loads((out / "model.json").read_text())
    found = json.loads((out / "report.json").read_text())
    low, high = found["metrics"]["ci95"]["macro_f1"]
    macro_f1 = found["metrics"]["macro_f1"]
    assert f"| macro-F1 | {macro_f1:.3f} | {low:.3f} to {high:.3f} |" in card
    for told in (served["sha256"], found["why_not"], *found["not_shown"]):
        assert told in card
    assert f"temperature {served['temperature']:.2f}" in card
    assert "36 slices, one file each" in sheet and "glioma 12" in sheet
    assert found["made_of"] in card.splitlines()[0]
    assert cards.open_lines(card) == 3 and cards.open_lines(sheet) == 4


def test_a_card_follows_when_its_records_change_and_a_gap_is_named(
    trained,  # noqa: F811
    tmp_path,
):
    shutil.copytree(trained / "out", tmp_path / "out")
    path = tmp_path / "out" / "report.json"
    found = json.loads(path.read_text())
    found["metrics"]["macro_f1"] = 0.1234
    path.write_text(json.dumps(found))
    (tmp_path / "out" / "model.json").unlink()
    card = cards.make(tmp_path / "out")["model_card.md"]
    assert "| macro-F1 | 0.123 |" in card and "No model file" in card
    gap = card.replace("## Caveats", "## Other")
    gap = gap.replace(gap.split("## Metrics\n\n")[1].split("\n\n## ")[0], "")
    assert cards.missing(gap) == ["Metrics", "Caveats"]
