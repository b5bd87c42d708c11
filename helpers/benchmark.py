"""Score anybody's predictions on the benchmark, and say what may be claimed.

    python -m helpers.experiments template > mine.csv
    python -m helpers.experiments score mine.csv

(`template --tumors` is for the primary part only, three classes.) The template has one
row an image that is scored. Train five models: the one for fold k on images of the
other folds only, and let it fill the rows of fold k. Then score.
"""

import csv
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from helpers import audit, evaluation, recorded
from helpers.audit import manifest
from helpers.config import CourseError

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
TUMORS = ("glioma", "meningioma", "pituitary")
METRICS = {
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "brier": "Brier score",
    "log_loss": "log loss",
    "ece": "calibration error",
}
COMPARED = ("macro_f1", "log_loss")
# Recorded runs on the same folds, and what they are called in the report.
BASELINES = {
    "seed-recipe-leak-free": "the tutorial's recipe, epoch from what is scored",
    "recipe-leak-free": "ImageNet, half of the last block fine-tuned",
    "linear-probe-twin-free": "ImageNet features + logistic regression",
    "leakage-ladder/manifest/thumbnail-forest": "8 x 8 thumbnails + forest",
    "border-twin-free": "22 numbers from the border + forest",
    "baselines/manifest/pca-svm": "principal components + SVM",
    "baselines/manifest/hog-svm": "edge directions (HOG) + SVM",
    "copying-twin-free": "copying (32 x 32, mirror images too)",
    "baselines/manifest/small-cnn": "small CNN from scratch, ten epochs",
}
# Their probabilities are no probabilities: log loss means nothing.
NO_PROBABILITIES = ("copying-twin-free",)
SUM_TOLERANCE = 1e-3
SWAPPED = 0.2  # more images right with other column names: that is no accident
MOST = 3  # examples named in one message
FROM_TUMOR = 1e-6  # probability of the tumor classes below which they count as equal


@dataclass(frozen=True)
class Predictions:
    """Checked predictions, in the benchmark's order.

    `probabilities` float64 [n, k] for `rows` (manifest rows of the scored files);
    `unresolved` float64 [4, k] for the slices that carry two labels, or None. `notes`:
    what a person should know of the file, in sentences.
    """

    path: Path
    class_names: tuple[str, ...]
    rows: pd.DataFrame
    probabilities: np.ndarray
    unresolved: np.ndarray | None
    notes: tuple[str, ...] = ()

    @property
    def are_answers(self) -> bool:
        """Whether each row only names a class, with probability 1."""
        return bool((self.probabilities.max(axis=1) == 1).all())


@dataclass(frozen=True)
class Task:
    """Labels, predictions and groups of one part of the benchmark."""

    title: str
    class_names: tuple[str, ...]
    rows: pd.DataFrame
    which: np.ndarray  # positions of its images among the scored
    labels: np.ndarray
    groups: np.ndarray


def scored_rows() -> pd.DataFrame:
    """Return the manifest rows of the scored files, with `unit`: patient or series."""
    return _with_unit().query("keep == 1").reset_index(drop=True)


def unresolved_rows() -> pd.DataFrame:
    """Return one row for each slice whose files carry two classes, with `also`.

    `class` is what figshare calls it, where the slice comes from; `also` the other one.
    """
    rows = _with_unit().query("conflict != ''").sort_values("filename")
    first = rows.drop_duplicates("group").copy()
    classes = rows.groupby("group")["class"].agg(list)
    from_figshare = rows[rows["source"] == "figshare"].set_index("group")["class"]
    first["class"] = from_figshare.loc[first["group"]].to_numpy()
    first["also"] = [
        next(other for other in classes[group] if other != name)
        for group, name in zip(first["group"], first["class"], strict=True)
    ]
    return first.reset_index(drop=True)


def _with_unit() -> pd.DataFrame:
    rows = manifest.load().dropna(subset="group").reset_index(drop=True)
    numbers = [
        rows[name].fillna(-1).to_numpy(int) for name in ("group", "series", "patient")
    ]
    return rows.assign(unit=audit.joined(*numbers))


def template(class_names: tuple[str, ...] = CLASSES) -> str:
    """Return the CSV to fill: filename, fold, and an empty column for each class.

    For the three tumor classes: only the files of known patients, the primary part.
    """
    scored = _scored_for(class_names)
    rows = pd.concat([scored, unresolved_rows()])[["filename", "fold"]]
    empty = "," * len(class_names)
    lines = [f"{row.filename},{row.fold}{empty}" for row in rows.itertuples()]
    return "\n".join([",".join(["filename", "fold", *class_names]), *lines]) + "\n"


def _scored_for(class_names: tuple[str, ...]) -> pd.DataFrame:
    rows = scored_rows()
    known = rows["patient"].notna() | (class_names == CLASSES)
    return rows[known].reset_index(drop=True)


# --- reading and checking -------------------------------------------------------------


def read(path: Path) -> Predictions:
    """Read and check a file of predictions; every `CourseError` names file and line.

    Columns `filename` and one for each class (four, or the three tumor classes), in any
    order; `fold`, if there, must be the manifest's. One row for each scored file; rows
    of the unresolved slices may be left out.
    """
    lines = _lines(path)
    header = [name.strip() for name in lines[0][1]]
    class_names = _class_names(path, header)
    known = manifest.load().set_index("filename")
    scored = _scored_for(class_names)
    unresolved = unresolved_rows()
    optional = set(unresolved["filename"])
    wanted, fold_of = {*scored["filename"], *optional}, known["fold"].to_dict()
    seen: dict[str, int] = {}
    values: dict[str, list[float]] = {}
    problems: dict[str, list[str]] = {}

    def problem(kind: str, line: int, *what) -> None:
        # Of a wrong file of a million rows three are told, and the rest is counted.
        cases = problems.setdefault(kind, [])
        told = (
            "".join(w() if callable(w) else w for w in what)
            if len(cases) < MOST
            else ""
        )
        cases.append(f"line {line}: {told}")

    for line, cells in lines[1:]:
        if len(cells) != len(header):
            problem(
                f"expected {len(header)} cells in a row, as in the header",
                line,
                f"{len(cells)} cells",
            )
            continue
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        name = row["filename"].replace("\\", "/")
        if name not in fold_of:
            problem(
                "no such file in Kaggle's version 1; expected names such as "
                "Testing/glioma/Te-gl_0010.jpg",
                line,
                repr(name),
            )
        elif name in seen:
            problem("predicted twice", line, f"{name}, first in line {seen[name]}")
        elif name not in wanted:
            problem(
                "not scored, so leave it out (only one file of each slice is scored)",
                line,
                name,
                lambda name=name: _why_not(known.loc[name], scored, class_names),
            )
        else:
            seen[name] = line
            wrong = _wrong(row, class_names, fold_of[name])
            if wrong and not (name in optional and wrong[0] == EMPTY):
                problem(wrong[0], line, wrong[1])
            elif not wrong:
                values[name] = [float(row[c]) for c in class_names]
    absent = [name for name in scored["filename"] if name not in seen]
    if absent:
        problems[
            f"{len(absent)} of {len(scored)} scored files have no prediction (start "
            "from the template: python -m helpers.experiments template)"
        ] = absent
    if problems:
        raise CourseError(_told(path, problems))
    probabilities = np.array([values[name] for name in scored["filename"]])
    others = [values.get(name) for name in unresolved["filename"]]
    sums = probabilities.sum(axis=1, keepdims=True)
    probabilities = probabilities / sums
    notes = _doubts(scored, probabilities, class_names)
    if (rounded := (np.abs(sums - 1) > SUM_TOLERANCE).sum()) > 0:
        notes.append(
            f"{rounded} rows are rounded and do not sum to 1; they were scaled to 1. "
            "Write more decimals: log loss feels it."
        )
    unresolved = None if None in others else np.array(others)
    return Predictions(
        path, class_names, scored, probabilities, unresolved, tuple(notes)
    )


def _doubts(rows: pd.DataFrame, probabilities, class_names) -> list[str]:
    """Return what looks like another file than was meant, in sentences."""
    labels = rows["class"].map(list(class_names).index).to_numpy(int)
    answers = probabilities.argmax(axis=1)
    right, notes = (answers == labels).mean(), []
    if right == 1:
        notes.append(
            "Every prediction is right: are these the labels, and no predictions?"
        )
    counts = np.zeros((len(class_names),) * 2, int)
    np.add.at(counts, (labels, answers), 1)
    meant, called = linear_sum_assignment(counts, maximize=True)
    if counts[meant, called].sum() / len(labels) > right + SWAPPED:
        pairs = sorted(zip(called, meant, strict=True))
        swaps = [f"{class_names[c]} as {class_names[m]}" for c, m in pairs if c != m]
        notes.append(
            f"{right:.0%} are right as the columns are named, and "
            f"{counts[meant, called].sum() / len(labels):.0%} if one reads "
            f"{', '.join(swaps)}: were columns swapped?"
        )
    if (probabilities.max(axis=1) == 1).all():
        notes.append(
            "Each row only names a class: these are answers, not probabilities. Their "
            "log loss means nothing, and is not compared."
        )
    return notes


EMPTY = "an empty cell; expected a probability from 0 to 1"


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return the rows that are not blank, each with the number of its line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, cells) for cells in reader if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise CourseError(f"{path}: cannot be read as CSV ({reason}).") from None
    if not lines:
        raise CourseError(f"{path}: is empty; expected a header and one row an image.")
    return lines


def _class_names(path: Path, header: list[str]) -> tuple[str, ...]:
    for separator, words in ((";", "a semicolon"), ("\t", "a tab"), ("|", "|")):
        if len(header) == 1 and separator in header[0]:
            raise CourseError(
                f"{path}, line 1: the columns are separated by {words}; expected a "
                "comma. pandas writes it so: table.to_csv(path, index=False)."
            )
    columns = [name for name in header if name not in ("filename", "fold")]
    for names in (CLASSES, TUMORS):
        if sorted(columns) == sorted(names) and header.count("filename") == 1:
            return names
    raise CourseError(
        f"{path}, line 1: the columns are {', '.join(header)}; expected filename and "
        f"one column a class: {', '.join(CLASSES)} (or without notumor), in any order."
    )


def _wrong(row: dict, class_names, fold) -> tuple[str, str] | None:
    """Return what is wrong with a row, as kind and instance, or None."""
    numbers = []
    for name in class_names:
        if not row[name]:
            return EMPTY, f"column {name}"
        try:
            numbers.append(float(row[name]))
        except ValueError:
            return "not a number", f"{row[name]!r} in column {name}"
    if not np.isfinite(numbers).all():
        return "not a finite number; did training diverge?", f"{numbers}"
    total = sum(numbers)
    if min(numbers) >= 0 and abs(total - 100) <= 100 * SUM_TOLERANCE + len(numbers) / 2:
        return "percent; divide by 100", f"sum {total:.4g}"
    if min(numbers) < 0 or abs(total - 1) > _tolerance(row, class_names):
        return (
            "probabilities must not be negative and must sum to 1 (are these logits? "
            "apply softmax first)",
            f"sum {total:.4g}, smallest {min(numbers):.4g}",
        )
    # pandas writes 0 as 0.0 where a column had gaps.
    if row.get("fold") and row["fold"] not in (str(fold), f"{fold}.0"):
        return (
            "another fold than the manifest's: these are predictions for another split",
            f"fold {row['fold']} for a file of fold {fold}",
        )
    return None


def _tolerance(row: dict, class_names) -> float:
    """Return how far a sum may be from 1: what rounding to these decimals can do."""
    decimals = max(len(row[name].partition(".")[2]) for name in class_names)
    exponent = any("e" in row[name].lower() for name in class_names)
    if exponent or decimals < 2:
        return SUM_TOLERANCE
    return max(SUM_TOLERANCE, len(class_names) * 0.5 * 10.0**-decimals + 1e-9)


def _why_not(row: pd.Series, scored: pd.DataFrame, class_names) -> str:
    if row["source"] == "not audited":
        return " (not audited)"
    if row["conflict"]:
        return " (its slice carries two classes)"
    twin = scored.loc[scored["group"] == row["group"], "filename"]
    if len(twin):
        return f" (the same slice as {twin.iloc[0]})"
    if row["filename"] in recorded.withdrawn():
        return " (its slice, series or patient lies in two folds)"
    return " (no known patient: not in the three-class part)"


def _told(path: Path, problems: dict[str, list[str]]) -> str:
    parts = []
    for kind, cases in problems.items():
        more = f", and {len(cases) - MOST} more" if len(cases) > MOST else ""
        parts.append(f"  {kind}:\n    " + "\n    ".join(cases[:MOST]) + more)
    return f"{path} cannot be scored.\n" + "\n".join(parts)


# --- scoring --------------------------------------------------------------------------


def tasks(rows: pd.DataFrame, class_names: tuple[str, ...]) -> list[Task]:
    """Return the parts that predictions for these classes are scored on, first first.

    Three tumor classes, on files of known patients: patient-disjoint. Then, if there
    are four columns, all four classes on all scored files.
    """
    known = np.flatnonzero(rows["patient"].notna())
    found = [
        _task("three tumor classes, patient-disjoint (primary)", TUMORS, rows, known)
    ]
    if class_names == CLASSES:
        everything = np.arange(len(rows))
        title = "four classes, patients whole where known, else series (beside it)"
        found.append(_task(title, CLASSES, rows, everything))
    return found


def _task(title, class_names, rows, which) -> Task:
    rows = rows.iloc[which]
    labels = rows["class"].map(list(class_names).index).to_numpy(int)
    return Task(title, class_names, rows, which, labels, rows["unit"].to_numpy())


def restricted(probabilities: np.ndarray, class_names, wanted) -> np.ndarray:
    """Return probabilities of the wanted classes only, given that it is one of them.

    [..., n, k] to [..., n, wanted]. Where all of them together have next to nothing,
    each gets the same.
    """
    columns = [list(class_names).index(name) for name in wanted]
    kept = probabilities[..., columns]
    total = kept.sum(axis=-1, keepdims=True)
    equal = np.full_like(kept, 1 / len(columns))
    return np.where(total < FROM_TUMOR, equal, kept / np.maximum(total, FROM_TUMOR))


def measure(task: Task, probabilities: np.ndarray) -> dict:
    """Return the metrics of `evaluation.metrics`, with `ci95` for all of them."""
    found = evaluation.metrics(
        task.labels, probabilities, task.class_names, task.groups
    )
    intervals = dict(found["ci95"])  # of accuracy and macro-F1
    for name in {*METRICS, "recall"} - {*intervals}:
        intervals[name] = evaluation.bootstrap_interval(
            name, task.labels, probabilities, task.groups
        ).tolist()
    recall = dict(zip(task.class_names, intervals.pop("recall"), strict=True))
    return found | {"ci95": intervals | {"recall": recall}}


def recorded_run(name: str) -> recorded.Run:
    """Return a recorded run: by its name, or as RECORD/RUNG/METHOD of a ladder."""
    record, *place = name.split("/")
    run = recorded.load(record)
    return recorded.on_rung(run.info, run.arrays, *place) if place else run


def baseline(name: str, task: Task) -> np.ndarray:
    """Return a recorded run's probabilities [seeds, n, k] on a part's images."""
    run = recorded_run(name)
    place = pd.Series(np.arange(len(run.filenames)), run.filenames)
    which = place.loc[task.rows["filename"]].to_numpy()
    return restricted(run.probabilities[:, which], run.class_names, task.class_names)


def sensitivity(task: Task, probabilities: np.ndarray, found: Predictions) -> dict:
    """Return macro-F1 with the unresolved slices taken in under either label.

    Without predictions for them: if all were right, and if all were wrong.
    """
    slices = unresolved_rows()
    names = list(task.class_names)
    figshare, other = (
        slices[column].map(names.index).to_numpy(int) for column in ("class", "also")
    )
    stacked = probabilities.argmax(axis=-1)
    if found.unresolved is not None:
        theirs = restricted(found.unresolved, found.class_names, names).argmax(axis=-1)
        cases = {"figshare's label": (figshare, theirs), "the other": (other, theirs)}
    else:
        cases = {"all right": (figshare, figshare), "all wrong": (figshare, other)}
    return {
        name: evaluation.macro_f1(
            np.concatenate([task.labels, labels]),
            np.concatenate([stacked, predicted]),
        )
        for name, (labels, predicted) in cases.items()
    }


# --- the report -----------------------------------------------------------------------


def report(found: Predictions) -> str:
    """Return the report on checked predictions, for a person to read."""
    parts = [
        f"{found.path}: {len(found.rows)} predictions, columns "
        f"{', '.join(found.class_names)}\n"
        f"Benchmark {manifest.PATH.stem}, manifest "
        f"{hashlib.sha256(manifest.PATH.read_bytes()).hexdigest()[:12]}.\n"
        "In brackets: 95 % intervals, from "
        "drawing whole patients (series where no patient is known)."
    ]
    parts += [f"NOTE: {note}" for note in found.notes]
    for task in tasks(found.rows, found.class_names):
        mine = restricted(
            found.probabilities[task.which], found.class_names, task.class_names
        )
        parts += [
            _scores(task, measure(task, mine)),
            _comparisons(task, mine, found.are_answers),
            _unresolved(task, mine, found),
        ]
    primary = tasks(found.rows, found.class_names)[0]
    mine = restricted(found.probabilities[primary.which], found.class_names, TUMORS)
    number = len(re.findall(r"\[\S+ to \S+\]", "\n".join(parts)))
    parts.append(
        f"These are {number} intervals at once. If nothing differed, about "
        f"{number / 20:.0f} would miss the true value by chance, so choose before you "
        "look which one counts: macro-F1 of the primary part."
    )
    parts.append(_claims(primary, measure(primary, mine)))
    return "\n\n".join(parts)


def _scores(task: Task, scores: dict) -> str:
    lines = [
        _line(words, scores[name], scores["ci95"][name])
        for name, words in METRICS.items()
    ]
    lines += [
        _line(f"recall {name}", value, scores["ci95"]["recall"][name])
        for name, value in scores["recall"].items()
    ]
    num_groups = len(np.unique(task.groups))
    size = f"{len(task.labels)} images, {num_groups} patients or series to draw from"
    head = f"{task.title}\n  {size}"
    return "\n".join([head.capitalize(), *lines])


def _line(name: str, value: float, interval: Iterable[float]) -> str:
    low, high = interval
    return f"  {name:<18} {value:6.3f}   [{low:.3f} to {high:.3f}]"


def _comparisons(task: Task, mine: np.ndarray, are_answers: bool) -> str:
    lines = ["  Yours less the recorded baselines, on the same images:"]
    for name, words in BASELINES.items():
        theirs, told = baseline(name, task), []
        for metric in COMPARED:
            if metric == "log_loss" and (are_answers or name in NO_PROBABILITIES):
                continue
            gain = evaluation.paired_bootstrap(
                metric, task.labels, theirs, mine, task.groups
            )
            told.append(
                f"{METRICS[metric]} {gain.difference:+.3f} "
                f"[{gain.low:+.3f} to {gain.high:+.3f}]"
            )
        lines.append(f"    {words}: " + ", ".join(told))
    return "\n".join(lines)


def _unresolved(task: Task, mine: np.ndarray, found: Predictions) -> str:
    cases = sensitivity(task, mine, found)
    told = ", ".join(f"{name} {value:.4f}" for name, value in cases.items())
    return (
        "  Four slices carry two labels and are not scored. Macro-F1 with them: "
        f"{told}."
    )


def _claims(task: Task, scores: dict) -> str:
    low, high = scores["ci95"]["macro_f1"]
    proxy = recorded.info("twin-pairs")["found"]["series_for_patients"]
    number = f"{scores['macro_f1']:.3f} (95 % interval {low:.3f} to {high:.3f})"
    return f"""If every image was predicted by a model that saw none of its fold, write:
  "Macro-F1 {number} on the twin-free benchmark
  {manifest.PATH.stem}: three tumor classes, five patient-disjoint folds,
  {len(task.labels)} slices."
Say with it how many times you looked, and on what you chose your settings: if on
these scores, the number is too high. Choose inside the training folds, by groups.

It does not show
  - that the model detects tumors: notumor comes from other sources, so no detection
    sensitivity and no predictive value follows from the four-class part;
  - what happens at another hospital: all folds come from the same sources;
  - that patients never cross folds in the four-class part. Where no patient is known a
    series stands in (where both are known, its purity is {proxy["purity"]:.3f} and its
    completeness {proxy["completeness"]:.3f}), so that part is probably optimistic;
  - anything about a single person. Not a diagnosis, not a device."""
