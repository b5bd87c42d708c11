"""Nothing is scored before its plan is committed, and looks are counted."""

import json
import subprocess
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers import recorded
from helpers.config import CourseError
from helpers.experiments import records
from helpers.experiments.__main__ import main
from helpers.experiments.registry import EXPERIMENTS


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An own small repository, so that commits are real and the course's stay."""
    monkeypatch.setattr(records, "ROOT", tmp_path)
    monkeypatch.setattr(records, "PLANS", tmp_path / "plans")
    monkeypatch.setattr(recorded, "FOLDER", tmp_path / "recorded")
    (tmp_path / "plans").mkdir()
    (tmp_path / "recorded").mkdir()
    _git(tmp_path, "init", "-q")
    return tmp_path


def _git(folder, *arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)


def _commit_plan(folder, plan):
    (folder / "plans" / "probe.json").write_text(json.dumps(plan))
    _git(folder, "add", "plans")
    _git(folder, "commit", "-qm", "plan")


def test_a_missing_plan_stops_the_run(repository):
    with pytest.raises(CourseError, match="choose a plan first"):
        records.committed_plan("probe")


def test_an_uncommitted_plan_stops_the_run(repository):
    (repository / "plans" / "probe.json").write_text("{}")
    with pytest.raises(CourseError, match="Commit it before looking"):
        records.committed_plan("probe")


def test_a_plan_changed_after_its_commit_stops_the_run(repository):
    _commit_plan(repository, {"chosen": {"C": 1}})
    (repository / "plans" / "probe.json").write_text('{"chosen": {"C": 2}}')
    with pytest.raises(CourseError, match="differs from what is committed"):
        records.committed_plan("probe")


def test_a_committed_plan_is_returned_with_its_hash(repository):
    _commit_plan(repository, {"chosen": {"C": 1}})
    plan, sha256 = records.committed_plan("probe")
    assert plan == {"chosen": {"C": 1}}
    assert len(sha256) == 64


def test_a_second_look_must_be_asked_for_and_is_counted(repository):
    assert records.next_look("probe", look_again=False) == 1
    (repository / "recorded" / "probe.json").write_text('{"looks": 1}')
    with pytest.raises(CourseError, match="has looked at the test images already"):
        records.next_look("probe", look_again=False)
    assert records.next_look("probe", look_again=True) == 2


def test_phantoms_are_refused_in_one_message(monkeypatch, capsys):
    monkeypatch.setenv("BRAIN_MRI_DATA", "phantom")
    assert main(["features-imagenet-224"]) == 2
    said = capsys.readouterr().err
    assert "set BRAIN_MRI_DATA" in said
    assert "Traceback" not in said


def test_the_list_names_every_experiment(capsys):
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in EXPERIMENTS)


def test_a_record_holds_who_was_scored_and_who_was_only_watched():
    files = pd.DataFrame({"file": ["a", "b", "c", "d"]})
    real = SimpleNamespace(
        data=SimpleNamespace(table=files, class_names=("x", "y")),
        labels=np.array([0, 1, 1, 0]),
    )
    said, watched = np.full((2, 2, 2), 0.5), np.full((2, 1, 2), 0.25)
    rows = np.array([3, 1])
    found = records.scored_arrays(real, rows, [0, 1], said, np.array([2]), watched)
    assert list(found["filenames"]) == ["d", "b"]
    assert list(found["labels"]) == [0, 1]
    assert list(found["val_filenames"]) == ["c"]
    assert found["val_probabilities"].shape == (2, 1, 2)
    alone = records.scored_arrays(real, rows, [0, 1], said)
    assert alone["val_probabilities"].shape == (2, 0, 2)
    assert len(alone["val_filenames"]) == len(alone["val_labels"]) == 0


@pytest.mark.parametrize("tied", [False, True])
def test_every_method_answers_for_every_phantom_it_is_asked_about(
    tied, tmp_path, monkeypatch
):
    from small_network import SIDE, small_backbone

    from helpers import densenet
    from helpers.experiments import phantoms

    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path))
    monkeypatch.setattr(phantoms, "NUM_SLICES", 60)
    monkeypatch.setattr(phantoms, "PIXELS", SIDE)
    monkeypatch.setattr(phantoms, "NUM_TREES", 5)
    monkeypatch.setattr(phantoms, "BOUNDARY", "first_pool")
    monkeypatch.setattr(phantoms, "TAIL", phantoms.TAIL | {"num_epochs": (1, 1)})
    monkeypatch.setattr(densenet, "backbone", lambda *_: small_backbone())
    monkeypatch.setattr(phantoms, "imagenet_backbone", lambda *_: small_backbone())
    data = phantoms.phantoms(0, tied)
    assert not {*data["patients"][data["train"]]} & {*data["patients"][data["test"]]}
    shape = len(data["test"]), len(data["class_names"])
    for method in phantoms.TIED if tied else phantoms.METHODS:
        answers = phantoms.predict(method, data, "test", seed=0)
        assert answers.shape == shape, method
        assert np.allclose(answers.sum(axis=1), 1, atol=1e-4), method
