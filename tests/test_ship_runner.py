"""The record of a shipped network: limits judged on other people, sums that follow."""

import json

import numpy as np
import pytest

from helpers import phantoms, recorded, scope
from helpers.audit import manifest
from helpers.experiments import ship

NAME = "ship-fold-0"


def arrays(num_held: int = 400) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    groups = np.arange(num_held) // 4
    scores = rng.normal(10, 1, (num_held, 3))
    said = rng.dirichlet((1, 1, 1, 1), num_held)
    swapped = said.copy()
    swapped[:5] = np.roll(said[:5], 1, axis=1)
    kinds = np.repeat(["far", "near"], 50)
    return {
        "labels": rng.integers(0, 4, num_held),
        "class_names": np.array(["glioma", "meningioma", "notumor", "pituitary"]),
        "filenames": np.arange(num_held).astype(str),
        "fold": np.zeros(num_held, int),
        "groups": groups,
        "patient": groups,
        "half": ship._half(groups),
        "scores": np.array(ship.SCORES),
        "held_scores": scores,
        "held_same_bytes": np.arange(num_held) > 3,
        "held_doubts": np.where(np.arange(num_held) < 20, "odd", ""),
        "outside_kinds": kinds,
        "outside_scores": rng.normal(10, 1, (100, 3)) + 20 * (kinds == "far")[:, None],
        "outside_doubts": np.where(kinds == "far", "odd", ""),
        "formats": np.array(["keras", "cut"]),
        "answers": np.stack([said, swapped]),
    }


def flat(values, path: str = ""):
    """Yield every number of a nested dict with its path, in order."""
    if isinstance(values, dict | list):
        pairs = values.items() if isinstance(values, dict) else enumerate(values)
        for key, value in pairs:
            yield from flat(value, f"{path}.{key}")
    else:
        yield path, values


def test_a_limit_is_judged_on_people_who_did_not_set_it():
    given = arrays()
    half, groups = given["half"], given["groups"]
    assert not set(groups[half == 0]) & set(groups[half == 1])
    assert abs((half == 0).mean() - 0.5) < 0.02
    found = ship.results_of(given)["refusals"]["Mahalanobis distance"]
    for budget in ship.BUDGETS:
        at = found[str(budget)]
        assert at["false_alarms"][0] == pytest.approx(budget, abs=0.03)
        assert at["missed_by_kind"]["far"] == 0
        assert at["missed_by_kind"]["near"] > 0.8
    # One half far away: what it sets lets all of the other pass, and the reverse none.
    given["held_scores"] = given["held_scores"] + 50.0 * half[:, None]
    found = ship.results_of(given)["refusals"]["Mahalanobis distance"]["0.01"]
    assert found["false_alarms"][0] == pytest.approx(0.5, abs=0.02)


def test_what_a_format_and_the_plain_checks_cost_is_counted():
    found = ship.results_of(arrays())
    assert found["plain"]["false_alarms"][0] == 0.05
    assert found["plain"]["refused_by_kind"] == {"far": 1.0, "near": 0.0}
    assert found["same_bytes"] == pytest.approx(396 / 400)
    keras, cut = (found["exports"][name] for name in ("keras", "cut"))
    assert keras["difference"] == keras["changed_labels"] == 0
    assert keras["against_keras"] == [0, 0, 0]
    assert cut["changed_labels"] == 5
    assert cut["against_keras"][0] == pytest.approx(cut["macro_f1"] - keras["macro_f1"])


def test_what_is_out_of_scope_is_what_its_kind_says():
    held = phantoms.generate(240, 64, progress=False).images
    kinds, pictures = ship.outside(64, held)
    by_kind = {k: [p for p, x in zip(pictures, kinds, strict=True) if x == k]
               for k in kinds}  # fmt: skip
    assert all(p.image.shape == (64, 64) for p in pictures)
    assert all(p.coloured > scope.COLOURED for p in by_kind["photographs"])
    assert [p.modality for p in by_kind["pydicom's CT_small"]] == ["CT"]
    negative = np.stack([p.image for p in by_kind["held-out slices, negative"]])
    assert (255 - negative == held[:, None]).all((2, 3)).any(0).all()
    montages = by_kind["held-out slices, montages"]
    assert np.mean([scope.montage_of(p.image) > 1 for p in montages]) > 0.8
    assert not any(scope.doubts(p) for p in by_kind["phantoms"])


def test_the_record_follows_from_its_arrays_and_scored_one_fold_only():
    run = recorded.load(NAME)
    again = json.loads(json.dumps(ship.results_of(run.arrays)))
    for (path, one), (_, other) in zip(
        flat(again), flat(run.info["results"]), strict=True
    ):
        assert one == pytest.approx(other, abs=1e-6), path
    rows = manifest.load().set_index("filename").loc[run.filenames]
    assert (rows["fold"] == ship.FOLD).all() and (rows["keep"] == 1).all()
    assert len(run.filenames) == run.info["num_scored"]
