"""What travels to a GPU machine arrives as the images, weights and plans it was."""

import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from helpers.datasets import load_dataset
from helpers.experiments import records
from tools import device


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """Eight small images, packed as the real ones are, beside stand-in weights."""
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "other-cache"))
    names, parts = [], []
    for split in ("Testing", "Training"):
        for number, kind in enumerate(("glioma", "meningioma", "notumor", "pituitary")):
            grey = np.full((32, 32), 40 * number + 2 + (split == "Testing"), np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(grey).save(buffer, "WEBP", lossless=True)
            names.append(f"{split}/{kind}/{split[:2]}-{kind[:2]}_0001.jpg")
            parts.append(buffer.getvalue())
    np.savez(
        tmp_path / "mri_224_gray.npz",
        names=np.array(names),
        offsets=np.cumsum([0, *map(len, parts)]),
        data=np.frombuffer(b"".join(parts), np.uint8),
    )
    (tmp_path / device.WEIGHTS).write_bytes(b"as if unpacked before")
    return tmp_path


def test_unpacked_images_load_under_their_names(packed):
    settings = device.unpack(packed)
    data = load_dataset(settings["BRAIN_MRI_DATA"], pixels=32)
    assert len(data) == 8
    assert len(data.set_aside) == 0
    values = dict(zip(data.table["file"], data.images[:, 0, 0], strict=True))
    assert values["Testing/notumor/Te-no_0001.jpg"] == 83
    assert values["Training/pituitary/Tr-pi_0001.jpg"] == 122


def test_unpacking_twice_changes_nothing(packed):
    assert device.unpack(packed) == device.unpack(packed)
    assert len(list((packed / "images").rglob("*.jpg"))) == 8


def test_a_copy_without_history_believes_what_was_packed(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ROOT", tmp_path)
    monkeypatch.setattr(records, "PLANS", tmp_path / "plans")
    (tmp_path / ".device").mkdir()
    (tmp_path / "plans").mkdir()
    text = '{"chosen": {"C": 1}}'
    (tmp_path / "plans" / "probe.json").write_text(text)
    known = {"probe": hashlib.sha256(text.encode()).hexdigest()}
    (tmp_path / ".device" / "committed.json").write_text(
        json.dumps({"commit": "abc", "plans": known})
    )
    assert records.committed_plan("probe")[0] == {"chosen": {"C": 1}}
    records.commit.cache_clear()
    assert records.commit() == "abc"
    records.commit.cache_clear()
    (tmp_path / "plans" / "probe.json").write_text('{"chosen": {"C": 2}}')
    with pytest.raises(records.CourseError, match="differs from what is committed"):
        records.committed_plan("probe")


def test_with_a_history_what_was_packed_has_no_say(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ROOT", tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".device").mkdir()
    (tmp_path / ".device" / "committed.json").write_text('{"commit": "abc"}')
    assert records._travelled() == {}
