"""Records load, state what follows from their arrays, and name what is wrong."""

import hashlib
import json

import numpy as np
import pytest
from record_form import INFO_KEYS

from helpers import evaluation, recorded
from helpers.audit import manifest
from helpers.config import CourseError
from helpers.experiments import pieces

SCORED = [n for n in recorded.names() if recorded.info(n).get("metrics")]
# Several ways, several amounts of data and several draws, on one set of scored files.
COMPARED = [n for n in recorded.names() if "num_patients_scored" in recorded.info(n)]
PLANNED = [n for n in recorded.names() if recorded.info(n)["plan_sha256"]]
MADE = ("commit", "recorded_on", "device", "seconds")  # of a piece: not its key
LADDERS = [n for n in recorded.names() if "rungs" in recorded.load(n).arrays]


def _flat(value, path=""):
    """Return {path: number} of nested dicts and lists."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {path: value}
    return {k: v for key, sub in items for k, v in _flat(sub, f"{path}.{key}").items()}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "FOLDER", tmp_path)
    (tmp_path / "run.json").write_text(
        json.dumps({"name": "run", "metrics": {"accuracy": 0.9786, "seeds": [1, 2]}})
    )
    return tmp_path


def test_something_is_recorded():
    assert {"features-imagenet-224", "linear-probe-official"} <= set(recorded.names())


@pytest.mark.parametrize("name", recorded.names())
def test_a_record_says_where_it_comes_from(name):
    info = recorded.load(name).info  # both of its files are there
    assert info["name"] == name
    missing = [key for key in INFO_KEYS if key not in info]
    assert not missing
    assert {"name", "copy"} <= info["dataset"].keys()
    assert not info["commit"].endswith("+changes"), "recorded from uncommitted code"


@pytest.mark.parametrize("name", SCORED)
def test_the_json_follows_from_the_arrays(name):
    from helpers.experiments.records import metrics_of

    run = recorded.load(name)
    again, stated = _flat(metrics_of(run)), _flat(run.info["metrics"])
    assert again.keys() == stated.keys()
    assert list(again.values()) == pytest.approx(list(stated.values()), abs=1e-9)


@pytest.mark.parametrize(
    "name", [n for n in SCORED if not recorded.info(n)["manifest_sha256"]]
)
def test_official_intervals_that_draw_units_follow_from_the_arrays(name):
    from helpers.experiments.records import ci95_units

    run = recorded.load(name)
    again, stated = _flat(ci95_units(run)), _flat(run.info["ci95_units"])
    assert again == pytest.approx(stated, abs=1e-9)


@pytest.mark.parametrize("name", SCORED)
def test_scored_and_validation_files_are_disjoint_and_in_their_split(name):
    run = recorded.load(name)
    assert run.probabilities.shape[1:] == (len(run.filenames), len(run.class_names))
    assert len(set(run.filenames)) == len(run.filenames)
    for fold in np.unique(run.fold):  # the same models watched these, and scored those
        watched = run.val_filenames[run.val_fold == fold]
        assert not set(run.filenames[run.fold == fold]) & set(watched)
    assert len(run.val_filenames) == run.info["num_val"]
    if run.info["manifest_sha256"] is None:  # the official split
        assert {f.split("/")[0] for f in run.filenames} == {"Testing"}
        assert {f.split("/")[0] for f in run.val_filenames} <= {"Training"}
    folder = [f.split("/")[1] for f in run.filenames]
    assert folder == [run.class_names[i] for i in run.labels]


def _was_made_with_a_known_manifest(run):
    """Return the manifest that a record was trained and first scored with."""
    found = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path
        for path in (manifest.FIRST, manifest.PATH)
    }
    assert run.info["manifest_sha256"] in found
    path = found[run.info["manifest_sha256"]]
    assert ("rescored" in run.info) == (path == manifest.FIRST)
    return path


@pytest.mark.parametrize(
    "name", [n for n in SCORED if recorded.info(n)["manifest_sha256"]]
)
def test_a_twin_free_run_scored_each_kept_file_once_in_the_manifests_folds(name):
    run = recorded.load(name)
    plan = json.loads((recorded.FOLDER / "plans" / f"{name}.json").read_text())
    folds = plan.get("folds", range(manifest.NUM_FOLDS))  # one fold of five: it says so
    _was_made_with_a_known_manifest(run)
    rows = manifest.load().set_index("filename")
    asked = (rows["keep"] == 1) & rows["fold"].isin(folds)
    assert set(run.filenames) == set(rows.index[asked])
    rows = rows.loc[run.filenames]
    assert (run.fold == rows["fold"]).all()
    assert (run.groups == rows["series"]).all()
    if "patient" in run.arrays:
        assert (run.arrays["patient"] == rows["patient"].fillna(-1)).all()


@pytest.mark.parametrize("name", [n for n in SCORED if "primary" in recorded.info(n)])
def test_the_primary_result_is_of_tumors_whose_patients_are_in_one_fold(name):
    from helpers.experiments.recipe import tumors
    from helpers.experiments.records import metrics_of

    run = recorded.load(name)
    known = tumors(run)
    stated = run.info["primary"]
    again, kept = _flat(metrics_of(known)), _flat(stated)
    assert list(again.values()) == pytest.approx([kept[k] for k in again], abs=1e-9)
    assert stated["num_scored"] == len(known.labels)
    folds_of = {(p, f) for p, f in zip(known.groups, known.fold, strict=True)}
    assert len(folds_of) == len(set(known.groups))


@pytest.mark.parametrize("name", [n for n in SCORED if "history" in recorded.info(n)])
def test_watched_files_share_no_slice_series_or_patient_with_scored_ones(name):
    run = recorded.load(name)
    rows = manifest.load().set_index("filename")
    official = run.info["manifest_sha256"] is None
    for fold in [] if official else np.unique(run.fold):
        scored = rows.loc[run.filenames[run.fold == fold]]
        watched = rows.loc[run.val_filenames[run.val_fold == fold]]
        assert (watched["fold"] != fold).all()
        for key in ("group", "series", "patient"):
            assert not set(scored[key].dropna()) & set(watched[key].dropna())


def test_committed_pieces_say_what_decided_them_and_scored_what_they_had_not_seen():
    rows = manifest.load().set_index("filename")
    kept = rows[rows["keep"] == 1]
    for path in sorted(recorded.FOLDER.glob("pieces/*/*.npz")):
        with np.load(path) as file:
            about, names = json.loads(str(file["about"])), file["filenames"]
            assert file["probabilities"].shape == (len(names), 4)
        assert about["name"] == path.parent.name
        assert not about["commit"].endswith("+changes")
        assert pieces.digest({k: about[k] for k in about if k not in MADE}) == path.stem
        asked = kept.index[kept["fold"].isin(about["scored_on"])]
        assert sorted(names) == sorted(asked)
        fitted = kept[~kept["fold"].isin(about["scored_on"])]
        assert about["fitted_sha256"] in (
            pieces.files_sha256(fitted.index),
            pieces.files_sha256(rows.index[rows["group"].isin(fitted["group"])]),
        )


def test_the_table_of_ablations_follows_from_its_arrays():
    from helpers.experiments.ablations import table_of

    run = recorded.load("ablations")
    again, stated = _flat(table_of(run.arrays)), _flat(run.info["table"])
    assert again.keys() == stated.keys()
    assert list(again.values()) == pytest.approx(list(stated.values()), abs=1e-9)
    plan = json.loads((recorded.FOLDER / "plans" / "ablations.json").read_text())
    assert {*run.info["table"], *run.info["not_run"]} == set(plan["variants"])
    rows = manifest.load().set_index("filename").loc[run.val_filenames]
    assert set(rows["split"]) == {"Training"}
    assert not (rows["fold"] == 0).any()


@pytest.mark.parametrize("name", COMPARED)
def test_the_results_of_a_comparison_follow_from_its_arrays(name):
    from helpers.experiments.transfer import results_of

    run = recorded.load(name)
    arms, conditions, draws, files, classes = run.arrays["scored"].shape
    assert arms == len(run.arrays["arms"]) == len(run.info["results"])
    assert conditions == len(run.arrays["conditions"])
    assert draws in (1, len(run.info["seeds"]))
    assert (files, classes) == (len(run.filenames), len(run.class_names))
    again, stated = _flat(results_of(run)), _flat(run.info["results"])
    assert again.keys() == stated.keys()
    assert list(again.values()) == pytest.approx(list(stated.values()), abs=1e-9)


@pytest.mark.parametrize("name", LADDERS)
def test_a_ladders_json_follows_from_its_arrays(name):
    from helpers.experiments.ladder import follows_from

    run = recorded.load(name)
    again = _flat(follows_from(run.arrays))
    stated = _flat(
        {key: run.info[key] for key in ("rungs", "scores", "steps") if key in run.info}
    )
    assert again.keys() == stated.keys()
    assert list(again.values()) == pytest.approx(list(stated.values()), abs=1e-9)


@pytest.mark.parametrize("name", COMPARED)
def test_a_comparison_scored_only_patients_of_folds_it_did_not_learn_from(name):
    run = recorded.load(name)
    _was_made_with_a_known_manifest(run)
    rows = manifest.load().set_index("filename")
    rows = rows[(rows["source"] == "figshare") & (rows["conflict"] == "")]
    asked = set(rows.index[rows["fold"].isin([3, 4])])
    assert set(run.filenames) == asked - recorded.withdrawn()
    others = rows[~rows["fold"].isin([3, 4])]
    rows = rows.loc[run.filenames]
    assert (run.groups == rows["patient"]).all()
    assert [run.class_names[i] for i in run.labels] == rows["class"].tolist()
    for column in ("patient", "group", "series"):
        assert not set(rows[column]) & set(others[column])


def test_the_opinions_and_the_filters_follow_from_their_arrays():
    from helpers.experiments.inside import filters_of, opinions_of

    for name, key, compute in (
        ("imagenet-opinion", "opinions", opinions_of),
        ("first-filters", "filters", filters_of),
    ):
        run = recorded.load(name)
        again, stated = _flat(compute(run)), _flat(run.info[key])
        assert again == pytest.approx(stated, abs=1e-9)


@pytest.mark.parametrize("name", LADDERS)
def test_a_ladders_rungs_are_those_of_its_protocol(name):
    from helpers.experiments import ladder, protocols

    run = recorded.load(name)
    made_with = _was_made_with_a_known_manifest(run)
    plan = json.loads((recorded.FOLDER / "plans" / f"{name}.json").read_text())
    files = ladder.files_of(run.arrays, made_with)
    for rung in getattr(protocols, plan["protocol"])(files, len(plan["seeds"])):
        found = ladder.rung_of(run.arrays, rung.name, as_drawn=True)
        assert np.array_equal(found.scored, rung.scored)
        for ours, theirs in zip(found.draws, rung.draws, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                assert all(map(np.array_equal, one, other))
        for method in plan["methods"]:
            one = recorded.on_rung(run.info, run.arrays, rung.name, method)
            assert one.probabilities.shape[1:] == (len(one.labels), len(rung.classes))
            gone = set(run.filenames[rung.scored]) - set(one.filenames)
            assert gone <= recorded.withdrawn()
            assert not gone or not set(one.filenames) & recorded.withdrawn()
            folders = [f.split("/")[1] for f in one.filenames]
            assert folders == [one.class_names[i] for i in one.labels]


def test_whatever_looked_at_scored_images_had_a_plan():
    looked = {n for n in recorded.names() if recorded.info(n)["looks"]}
    assert {*SCORED, *COMPARED, *LADDERS} <= looked <= {*PLANNED}


@pytest.mark.parametrize("name", PLANNED)
def test_a_scored_run_had_a_committed_plan_and_counts_its_looks(name):
    info = recorded.info(name)
    plan = (recorded.FOLDER / "plans" / f"{name}.json").read_bytes()
    assert info["plan_sha256"] == hashlib.sha256(plan).hexdigest()
    assert info["plan"] == json.loads(plan)["chosen"]
    assert bool(info["looks"]) == bool(info.get("num_scored") or "rungs" in info)


def test_the_worth_of_the_bundled_backbone_follows_from_its_arrays():
    run = recorded.load("backbone-bundled")
    rows = manifest.load().set_index("filename").loc[run.filenames]
    assert (run.fold == rows["fold"]).all() and (rows["keep"] == 1).all()
    twin_free, official = {}, {}
    for name in ("bundled", "random", "imagenet"):
        said = run.arrays["probabilities" + f"_{name}" * (name != "bundled")][0]
        twin_free[name] = evaluation.macro_f1(run.labels, said.argmax(axis=1))
        said = run.arrays[f"official_{name}"].argmax(axis=1)
        official[name] = (said == run.arrays["official_labels"]).mean()
    for name, stated in run.info["scores"].items():
        assert stated["twin_free_macro_f1"] == pytest.approx(twin_free[name])
        assert stated["official_accuracy"] == pytest.approx(official[name])
    assert run.info["scores"]["bundled"]["weights"] == "bundled"


def test_the_bundled_backbones_curves_follow_from_their_arrays():
    run = recorded.load("backbone-curves")
    epochs = sum(run.info["epochs"].values())
    for name, stated in run.info["macro_f1_by_epoch"].items():
        curves = run.arrays[f"curve_{name}"]
        assert curves.shape == (len(run.info["seeds"]), epochs)
        assert stated == pytest.approx(curves.mean(axis=0), abs=1e-6)
        assert run.info["final_macro_f1"][name] == pytest.approx(curves[:, -1])


def test_the_phantoms_difficulty_follows_from_its_arrays_and_is_as_promised():
    from helpers.experiments import phantoms

    run = recorded.load("phantom-difficulty")
    again, stated = _flat(phantoms.results(run.arrays)), _flat(run.info["results"])
    assert again.keys() == stated.keys()
    assert list(again.values()) == pytest.approx(list(stated.values()), abs=1e-6)
    assert run.badge.startswith("synthetic")
    free, tied = run.info["results"]["free"], run.info["results"]["tied"]
    for method in ("border", "colour mode"):
        assert free[method]["accuracy"] < free["majority"] + 0.05
    for method in ("colour mode", "histogram", "8x8 forest", "copying"):
        assert tied[method]["accuracy"] > free[method]["accuracy"] + 0.1
    steps = ("copying", "probe, random", "probe, ImageNet")
    reached = [free[method]["accuracy"] for method in steps]
    assert reached == sorted(reached)  # a step from fine-tuning is not promised
    assert all(tied[method]["accuracy"] < 1 for method in phantoms.TIED)


def test_features_cover_the_copy_and_group_only_equal_classes_mostly():
    found = recorded.features()
    assert found.features.shape == (len(found.filenames), 256)
    assert np.isfinite(found.features).all()
    train, test = found.official_split()
    assert len(train) + len(test) == len(found.filenames) == 7019
    assert len(test) == 1311


def test_a_number_is_found_by_its_path(folder):
    assert recorded.number("run.metrics.accuracy") == 0.9786
    assert recorded.number("run.metrics.seeds.1") == 2


def test_a_wrong_path_names_the_key_and_what_there_is(folder):
    with pytest.raises(
        CourseError, match="no 'acuracy' there; there is accuracy, seeds"
    ):
        recorded.number("run.metrics.acuracy")


def test_an_unknown_rung_or_method_lists_the_known():
    from helpers.recorded import on_rung

    run = recorded.load("leakage-ladder")
    with pytest.raises(CourseError, match=r"no 'offical' among its rungs; .*official"):
        on_rung(run.info, run.arrays, "offical", "x")
    with pytest.raises(CourseError, match=r"no 'magic' among its methods; there is"):
        on_rung(run.info, run.arrays, "official", "magic")


def test_an_unknown_run_lists_the_known(folder):
    with pytest.raises(CourseError, match=r"no recorded run 'walk'.*there are: run"):
        recorded.load("walk")


def test_a_damaged_record_is_named(folder):
    (folder / "run.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(CourseError, match=r"run\.npz is damaged"):
        recorded.load("run")
    (folder / "run.json").write_text('{"name": ')
    with pytest.raises(CourseError, match=r"run\.json is damaged"):
        recorded.info("run")


@pytest.mark.parametrize("change", ["perfect", "a little surer", "json"])
def test_a_record_that_was_saved_again_is_noticed_by_whoever_loads_it(
    change, tmp_path, monkeypatch
):
    name = "linear-probe-official"
    with np.load(recorded.FOLDER / f"{name}.npz") as stored:
        arrays = dict(stored)
    about = recorded.info(name)
    if change == "perfect":
        arrays["probabilities"][:] = np.eye(4)[arrays["labels"]]
    elif change == "json":
        about["metrics"]["accuracy"] = 0.999
    else:
        surer = arrays["probabilities"] ** 1.1
        arrays["probabilities"] = surer / surer.sum(-1, keepdims=True)
    np.savez(tmp_path / f"{name}.npz", **arrays)
    (tmp_path / f"{name}.json").write_text(json.dumps(about))
    monkeypatch.setattr(recorded, "FOLDER", tmp_path)
    with pytest.raises(CourseError, match=f"does not give what {name}.json says"):
        recorded.load(name)


def test_a_ladder_that_was_saved_again_is_noticed_by_whoever_climbs_it():
    run = recorded.load("leakage-ladder")
    method, rung = str(run.arrays["methods"][-1]), "official"
    recorded.on_rung(run.info, run.arrays, rung, method)
    arrays = dict(run.arrays)
    arrays[f"{rung}/{method}"] = arrays[f"{rung}/{method}"][..., ::-1]
    with pytest.raises(CourseError, match=r"does not give what leakage-ladder\.json"):
        recorded.on_rung(run.info, arrays, rung, method)
