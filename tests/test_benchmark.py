"""Predictions are checked line by line, scored as recorded runs are, and reported."""

import re
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers import benchmark, evaluation, recorded
from helpers.config import CourseError
from helpers.experiments.__main__ import main

RUN = "linear-probe-twin-free"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    run = recorded.load(RUN)
    found = pd.DataFrame(run.probabilities[0], columns=run.class_names)
    found.insert(0, "filename", run.filenames)
    return found


@pytest.fixture(scope="module")
def written(table, tmp_path_factory):
    path = tmp_path_factory.mktemp("score") / "mine.csv"
    table.to_csv(path, index=False)
    return path


@pytest.fixture
def refused(table, tmp_path):
    """Write a changed table, and return the message that refuses it."""

    def refuse(change) -> str:
        changed = change(table.copy())
        path = tmp_path / "mine.csv"
        changed.to_csv(path, index=False)
        with pytest.raises(CourseError) as caught:
            benchmark.read(path)
        assert str(path) in str(caught.value)
        return str(caught.value)

    return refuse


def test_a_recorded_run_comes_back_with_its_numbers(written):
    found = benchmark.read(written)
    four = benchmark.tasks(found.rows, found.class_names)[1]
    stated = recorded.info(RUN)["metrics"]
    again = benchmark.measure(four, found.probabilities)
    for name in ("accuracy", "macro_f1", "brier", "log_loss", "ece"):
        assert again[name] == pytest.approx(stated[name], abs=1e-9)
    assert again["recall"] == pytest.approx(stated["recall"])


def test_the_primary_task_holds_known_patients_and_three_classes(written):
    found = benchmark.read(written)
    three, four = benchmark.tasks(found.rows, found.class_names)
    assert three.rows["patient"].notna().all()
    assert (len(three.labels), len(four.labels)) == (3019, 3447)
    assert three.class_names == ("glioma", "meningioma", "pituitary")
    names = np.array(three.class_names)[three.labels]
    assert (names == three.rows["class"]).all()


def test_a_run_differs_from_itself_by_nothing_and_copying_is_far_below(written):
    found = benchmark.read(written)
    three = benchmark.tasks(found.rows, found.class_names)[0]
    mine = benchmark.restricted(
        found.probabilities[three.which], found.class_names, three.class_names
    )
    for name, least in ((RUN, 0), ("copying-twin-free", 0.1)):
        theirs = benchmark.baseline(name, three)
        gain = evaluation.paired_bootstrap(
            "macro_f1", three.labels, theirs, mine, three.groups
        )
        assert gain.difference == 0 if least == 0 else gain.low > least


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_the_order_of_rows_and_columns_does_not_matter(table, written, seed):
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(len(table)), rng.permutation(table.columns)
    path = written.with_name("shuffled.csv")
    table.loc[rows, columns].to_csv(path, index=False)
    assert np.array_equal(
        benchmark.read(path).probabilities, benchmark.read(written).probabilities
    )


@given(
    hnp.arrays(float, (5, 4), elements=st.floats(0, 1)).filter(
        lambda array: (array.sum(axis=1) > 0.01).all()
    )
)
def test_leaving_a_class_out_keeps_the_order_of_the_others_and_sums_to_1(array):
    array = array / array.sum(axis=1, keepdims=True)
    kept = benchmark.restricted(array, benchmark.CLASSES, benchmark.TUMORS)
    assert np.allclose(kept.sum(axis=1), 1)
    tumors = array[:, [0, 1, 3]]
    clear = tumors.sum(axis=1) > 1e-3
    assert (kept.argmax(axis=1) == tumors.argmax(axis=1))[clear].all()


FAULTS = {
    "empty": ("", "an empty cell"),
    "nan": ("nan", "not a finite number"),
    "infinite": ("inf", "not a finite number"),
    "words": ("high", "not a number"),
    "logit": ("7.5", "apply softmax first"),
    "negative": ("-0.4", "must not be negative"),
}


@pytest.mark.parametrize("fault", FAULTS)
@given(row=st.integers(0, 3446))
@settings(max_examples=4, deadline=None)
def test_a_bad_cell_is_named_with_its_line(table, written, fault, row):
    value, words = FAULTS[fault]
    changed = table.astype(object)
    changed.loc[row, "meningioma"] = value
    path = written.with_name("bad.csv")
    changed.to_csv(path, index=False)
    with pytest.raises(CourseError) as caught:
        benchmark.read(path)
    assert f"line {row + 2}:" in str(caught.value)
    assert words in str(caught.value)
    assert path.name in str(caught.value)


def test_missing_files_are_counted_and_named(refused):
    said = refused(lambda table: table.drop(index=[5, 9]))
    assert "2 of 3447 scored files have no prediction" in said
    assert recorded.load(RUN).filenames[5] in said


def test_a_doubled_file_is_named_with_both_lines(refused):
    said = refused(lambda table: pd.concat([table, table.iloc[[3]]]))
    assert "predicted twice" in said
    assert "line 3449" in said and "first in line 5" in said


def test_an_unknown_file_is_named(refused):
    said = refused(lambda table: table.replace({"filename": {table.filename[0]: "x"}}))
    assert "no such file" in said and "line 2: 'x'" in said


def test_a_file_that_is_not_scored_is_named_with_its_twin(refused):
    rows = benchmark.manifest.load()
    scored = rows.loc[rows["keep"] == 1, "group"]
    twin = rows[(rows["keep"] == 0) & rows["group"].isin(scored)]
    name, group = twin.iloc[0][["filename", "group"]]
    scored = rows[(rows["group"] == group) & (rows["keep"] == 1)]["filename"].iloc[0]

    def add(table):
        extra = table.iloc[[0]].assign(filename=name)
        return pd.concat([table, extra])

    said = refused(add)
    assert "line 3449" in said and f"the same slice as {scored}" in said


def test_a_row_of_another_length_is_named(written, tmp_path):
    lines = written.read_text().splitlines()
    lines[7] += ",0.1"
    (tmp_path / "long.csv").write_text("\n".join(lines))
    with pytest.raises(CourseError, match="line 8: 6 cells"):
        benchmark.read(tmp_path / "long.csv")


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.rename(columns={"glioma": "gliom"}),
        lambda table: table.drop(columns="pituitary"),
        lambda table: table.rename(columns={"filename": "file"}),
        lambda table: table.assign(healthy=0.0),
    ],
)
def test_wrong_columns_are_told_with_the_expected_ones(refused, change):
    said = refused(change)
    assert "line 1" in said
    assert "glioma, meningioma, notumor, pituitary" in said


def test_folds_of_another_split_are_refused(refused):
    rows = benchmark.scored_rows().set_index("filename")["fold"]

    def shifted(table):
        return table.assign(fold=(rows.loc[table["filename"]].to_numpy() + 1) % 5)

    assert "another fold than the manifest's" in refused(shifted)


@pytest.mark.parametrize("content", [None, "", "\x00\x01", b"\xff\xfe\x00broken"])
def test_a_file_that_is_no_table_is_one_clear_message(tmp_path, content):
    path = tmp_path / "mine.csv"
    if isinstance(content, str):
        path.write_text(content)
    elif content:
        path.write_bytes(content)
    with pytest.raises(CourseError, match=r"mine\.csv"):
        benchmark.read(path)


def test_a_filled_template_is_read_and_an_empty_one_refused(tmp_path, capsys):
    assert main(["template"]) == 0
    empty = tmp_path / "mine.csv"
    empty.write_text(capsys.readouterr().out)
    with pytest.raises(CourseError, match="an empty cell"):
        benchmark.read(empty)
    table = pd.read_csv(empty)
    table[list(benchmark.CLASSES)] = 0.25
    table.to_csv(empty, index=False)
    found = benchmark.read(empty)
    assert (found.probabilities == 0.25).all()
    assert found.unresolved.shape == (4, 4)


def test_three_columns_are_scored_on_three_classes_only(table, tmp_path):
    rows = benchmark.scored_rows()
    known = set(rows.loc[rows["patient"].notna(), "filename"])
    three = table[table["filename"].isin(known)].drop(columns="notumor")
    three = three.set_index("filename")
    three = three.div(three.sum(axis=1), axis=0)
    three.to_csv(tmp_path / "three.csv")
    found = benchmark.read(tmp_path / "three.csv")
    assert [
        task.class_names for task in benchmark.tasks(found.rows, found.class_names)
    ] == [benchmark.TUMORS]
    assert "notumor" in benchmark.report(found)  # in the words about limits only


def test_unresolved_slices_change_little_and_move_with_their_label(written):
    found = benchmark.read(written)
    four = benchmark.tasks(found.rows, found.class_names)[1]
    cases = benchmark.sensitivity(four, found.probabilities, found)
    assert cases["all right"] > cases["all wrong"]
    assert cases["all right"] - cases["all wrong"] < 0.005
    slices = benchmark.unresolved_rows()
    assert slices["class"].tolist() == ["meningioma"] * 4
    assert slices["also"].tolist() == ["pituitary"] * 4
    said_meningioma = np.tile([0.0, 1, 0, 0], (4, 1))
    given_too = benchmark.Predictions(
        found.path, found.class_names, found.rows, found.probabilities, said_meningioma
    )
    cases = benchmark.sensitivity(four, found.probabilities, given_too)
    assert cases["figshare's label"] > cases["the other"]


def test_the_report_says_what_was_measured_and_what_may_be_claimed(written, capsys):
    assert main(["score", str(written)]) == 0
    said = capsys.readouterr().out
    primary = said.index("Three tumor classes, patient-disjoint (primary)")
    assert primary < said.index("Four classes")
    for words in ("macro-F1", "recall meningioma", "log loss", "calibration error"):
        assert words in said
    for words in ("copying", "It does not show", "other sources", "Not a diagnosis"):
        assert words in said


def test_the_command_line_reports_a_bad_file_in_one_message(tmp_path, capsys):
    assert main(["score", str(tmp_path / "none.csv")]) == 2
    said = capsys.readouterr().err
    assert "none.csv" in said
    assert "Traceback" not in said
    with pytest.raises(SystemExit):
        main(["score"])


@pytest.mark.parametrize("name", benchmark.BASELINES)
def test_every_baseline_scored_exactly_the_benchmarks_files(name):
    run = benchmark.recorded_run(name)
    assert set(run.filenames) == set(benchmark.scored_rows()["filename"])


# --- odd files from outside -----------------------------------------------------------


def read_back(table: pd.DataFrame, path, **how) -> benchmark.Predictions:
    table.to_csv(path, index=False, **how)
    return benchmark.read(path)


def scores(found: benchmark.Predictions) -> dict:
    four = benchmark.tasks(found.rows, found.class_names)[-1]
    return benchmark.measure(four, found.probabilities)


def test_predictions_rounded_to_two_decimals_are_scaled_and_it_is_said(table, tmp_path):
    rounded = table.round(2)
    sums = rounded[list(benchmark.CLASSES)].sum(axis=1)
    assert sums.max() > 1.005 and sums.min() < 0.995
    found = read_back(rounded, tmp_path / "mine.csv")
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    assert any("rows are rounded and do not sum to 1" in note for note in found.notes)
    same = benchmark.read(tmp_path / "mine.csv").probabilities
    assert abs(same - table[list(benchmark.CLASSES)].to_numpy()).max() < 0.02


TOO_MUCH = (
    ["0.51", "0.51", "0.01", "0.01"],
    ["0.9", "0.3", "0", "0"],
    ["0.5123", "0.5123", "0.0", "0.0"],
)


@pytest.mark.parametrize("row", TOO_MUCH)
def test_sums_that_rounding_cannot_explain_are_refused(table, tmp_path, row):
    changed = table.astype(object)
    changed.loc[3, list(benchmark.CLASSES)] = row
    with pytest.raises(CourseError, match=r"must sum to 1.*\n +line 5: sum 1\.\d+"):
        read_back(changed, tmp_path / "mine.csv")


def test_percent_is_recognised(refused):
    def percent(table):
        return table.assign(**{c: (100 * table[c]).round(1) for c in benchmark.CLASSES})

    said = refused(percent)
    assert "percent; divide by 100" in said and "logits" not in said


def test_a_fold_that_pandas_wrote_as_a_float_is_accepted(table, tmp_path):
    fold = benchmark.scored_rows().set_index("filename")["fold"]
    fold = fold.loc[table["filename"]].to_numpy(float)
    found = read_back(table.assign(fold=fold), tmp_path / "mine.csv")
    assert len(found.rows) == 3447 and found.notes == ()
    with pytest.raises(CourseError, match="another fold than the manifest's"):
        read_back(table.assign(fold=fold + 0.5), tmp_path / "mine.csv")


@pytest.mark.parametrize(("separator", "name"), [(";", "a semicolon"), ("\t", "a tab")])
def test_another_separator_is_named(table, tmp_path, separator, name):
    with pytest.raises(CourseError, match=f"separated by {name}; expected a comma"):
        read_back(table, tmp_path / "mine.csv", sep=separator)


def test_swapped_columns_get_a_warning_that_names_them(table, tmp_path):
    names = {"glioma": "pituitary", "pituitary": "glioma"}
    (note,) = read_back(table.rename(columns=names), tmp_path / "mine.csv").notes
    assert "glioma as pituitary, pituitary as glioma: were columns swapped?" in note
    assert read_back(table, tmp_path / "mine.csv").notes == ()


def test_labels_sent_in_as_predictions_get_a_warning(table, tmp_path):
    rows = benchmark.scored_rows().set_index("filename").loc[table["filename"]]
    labels = rows["class"].to_numpy()
    perfect = {name: 0.94 * (labels == name) + 0.015 for name in benchmark.CLASSES}
    (note,) = read_back(table.assign(**perfect), tmp_path / "mine.csv").notes
    assert "are these the labels" in note


def test_answers_without_probabilities_carry_the_copiers_caveat(table, tmp_path):
    names = list(benchmark.CLASSES)
    one_hot = np.eye(4)[table[names].to_numpy().argmax(axis=1)]
    found = read_back(table.assign(**dict(zip(names, one_hot.T, strict=True))),
                      tmp_path / "mine.csv")  # fmt: skip
    assert found.are_answers
    said = benchmark.report(found)
    assert "NOTE: Each row only names a class" in said
    compared = said[said.index("Yours less") : said.index("Four slices")]
    assert "macro-F1" in compared and "log loss" not in compared


def test_the_template_for_three_classes_is_read_when_filled(tmp_path, capsys):
    assert main(["template", "--tumors"]) == 0
    path = tmp_path / "mine.csv"
    path.write_text(capsys.readouterr().out)
    table = pd.read_csv(path)
    assert list(table)[2:] == list(benchmark.TUMORS)
    assert len(table) == 3019 + 4
    table[list(benchmark.TUMORS)] = [0.5, 0.3, 0.2]
    found = read_back(table, path)
    assert found.class_names == benchmark.TUMORS and len(found.rows) == 3019


def test_the_report_counts_its_intervals(written, capsys):
    assert main(["score", str(written)]) == 0
    said = capsys.readouterr().out
    number = int(re.search(r"These are (\d+) intervals at once", said)[1])
    before = said[: said.index("These are")]
    assert number == before.count("[") > 30
    assert f"about {number / 20:.0f} would miss" in said


@pytest.mark.parametrize("kind", ["unknown", "twice", "not scored", "no number"])
def test_a_wrong_file_of_many_rows_is_refused_in_a_second(table, tmp_path, kind):
    rows = 60_000  # a tenth of what took half a minute
    many = table.iloc[np.arange(rows) % len(table)].reset_index(drop=True)
    if kind == "unknown":
        many["filename"] += np.arange(rows).astype(str)
    elif kind == "not scored":
        known = benchmark.manifest.load()
        others = known.loc[known["keep"] == 0, "filename"].to_numpy()
        many["filename"] = others[np.arange(rows) % len(others)]
    elif kind == "no number":
        many = many.astype(object)
        many["glioma"] = "x"
    many.to_csv(tmp_path / "mine.csv", index=False)
    started = time.process_time()
    with pytest.raises(CourseError, match=r"and [\d]+ more"):
        benchmark.read(tmp_path / "mine.csv")
    assert time.process_time() - started < 3


def test_ctrl_c_while_scoring_ends_in_one_line(written, monkeypatch, capsys):
    def stop(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "report", stop)
    assert main(["score", str(written)]) == 130
    assert capsys.readouterr().err.strip() == "Stopped. Nothing was finished."
