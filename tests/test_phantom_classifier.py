"""The classifier of phantoms that the course brings along."""

import hashlib

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from helpers import batches, densenet, recorded
from helpers.datasets import load_dataset
from helpers.experiments import phantom_classifier

FILE = densenet.ROOT / "data" / "weights" / densenet.CLASSIFIER_FILE


def test_the_head_is_the_regression_with_its_standardising_folded_in():
    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, (120, 8)).astype(np.float32)
    labels = (features[:, 0] > 3).astype(int) + (features[:, 1] > 4)
    patients = np.arange(120) // 4
    kernel, bias, losses = phantom_classifier.fit(features, labels, patients)
    assert list(losses) == list(phantom_classifier.STRENGTHS)
    best = min(losses, key=losses.get)
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=best, max_iter=5000)
    model.fit(scaler.transform(features), labels)
    odds = np.exp(features @ kernel + bias)
    np.testing.assert_allclose(
        odds / odds.sum(axis=1, keepdims=True),
        model.predict_proba(scaler.transform(features)),
        atol=1e-5,
    )


def test_results_count_slices_by_the_size_of_their_lesion():
    labels = np.array([0, 0, 1, 1, 0, 1, 2, 2])
    lesion = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0, 0])
    network = np.eye(3)[[1, 1, 1, 0, 0, 1, 2, 2]]  # wrong, wrong, right, wrong, ...
    found = phantom_classifier.results(
        {
            "labels": labels,
            "patients": np.array(list("aabbccdd")),
            "lesion": lesion,
            "network_probabilities": network,
            "forest_probabilities": np.eye(3)[labels],
        }
    )
    assert found["num_patients"] == 4
    assert found["network"]["accuracy"] == 5 / 8
    assert found["forest"]["accuracy"] == 1
    assert found["network_over_forest"][0] == pytest.approx(-3 / 8)
    thirds = found["by_lesion"]
    assert [third["network"] for third in thirds] == [0, 0.5, 1]
    assert [third["slices"] for third in thirds] == [2, 2, 2]
    assert [third["largest"] for third in thirds] == [0.02, 0.04, 0.06]


def test_noting_a_hash_replaces_one_line_and_keeps_the_others(tmp_path):
    other, path = tmp_path / "other.bin", tmp_path / "file.bin"
    for one in (other, path):
        one.write_bytes(b"first")
        densenet.write_hash(one)
    path.write_bytes(b"second")
    densenet.write_hash(path)
    listed = (tmp_path / densenet.HASHES_FILE).read_text().splitlines()
    assert listed == [
        f"{hashlib.sha256(b'first').hexdigest()}  other.bin",
        f"{hashlib.sha256(b'second').hexdigest()}  file.bin",
    ]


def test_the_committed_classifier_is_the_backbone_and_its_head():
    model = densenet.phantom_classifier()
    data = load_dataset("phantom", pixels=96).sample(48)
    said = model.predict(data.images, verbose=0)
    with np.load(FILE) as file:
        kernel, bias = file["kernel"], file["bias"]
        assert tuple(file["class_names"]) == data.class_names
    backbone = densenet.backbone("bundled", 96)
    seen = backbone.predict(np.array(batches.preprocess(data.images)), verbose=0)
    odds = np.exp(seen.mean(axis=(1, 2)) @ kernel + bias)
    odds /= odds.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(said, odds, atol=1e-4)
    assert isinstance(model, keras.Model)
    # Virtual patients that it never met; the largest class is a third of them at most.
    assert (said.argmax(axis=1) == data.labels).mean() > 0.4


def test_a_damaged_classifier_is_named(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "weights"
    folder.mkdir(parents=True)
    path = folder / FILE.name
    path.write_bytes(FILE.read_bytes())
    densenet.write_hash(path)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    monkeypatch.setattr(densenet, "ROOT", tmp_path)
    with pytest.raises(densenet.CourseError, match=rf"{FILE.name}.*is damaged"):
        densenet.phantom_classifier()


def test_the_record_follows_from_its_arrays():
    run = recorded.load("phantom-classifier")
    found = phantom_classifier.results(run.arrays)
    assert found == run.info["results"]
    # What the set promises: a network can tell more than a forest on thumbnails.
    assert found["network_over_forest"][1] > 0
