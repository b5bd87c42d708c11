"""The report on a training of `helpers.train`: what was held out, and what it said.

Everything here follows from the files in the training's folder: split.csv,
predictions.csv, history.json, plan.json and about.json.
"""

import base64
import html
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers import evaluation, plots

FEW = 30  # patients or series below which an interval says too little
BADGES = {True: "synthetic", False: "real"}
STYLE = """:root{color-scheme:light dark}
body{font:16px/1.5 sans-serif;max-width:46rem;margin:auto;padding:1rem}
table{border-collapse:collapse}th,td{padding:.2rem .8rem .2rem 0;text-align:left}
td+td{text-align:right}figure{margin:1rem 0}img{max-width:100%;background:#fff}
pre{overflow-x:auto;padding:.6rem;border:1px solid #8888}"""
PREDICT = """import keras
import numpy as np
from PIL import Image

model = keras.saving.load_model("model.keras")
image = Image.open("image.png").convert("L")
image = image.resize(({pixels}, {pixels}), Image.Resampling.BILINEAR)
answer = model.predict(np.asarray(image)[None])[0]
print(dict(zip({names}, answer.round(3))))"""


@dataclass(frozen=True)
class Held:
    """What was held out, in the order of predictions.csv.

    `rows`: its rows of split.csv; `labels` int [n]; `probabilities` float [n, k];
    `learned`: the rows of split.csv that stand for the slices learned from.
    """

    about: dict
    plan: dict
    rows: pd.DataFrame
    labels: np.ndarray
    probabilities: np.ndarray
    learned: pd.DataFrame


def read(folder: Path) -> Held:
    """Read what a training has left in its folder."""
    about = json.loads((folder / "about.json").read_text())
    rows = pd.read_csv(folder / "split.csv")
    said = pd.read_csv(folder / "predictions.csv")
    names = about["class_names"]
    held = rows.set_index("file").loc[said["filename"]].reset_index()
    kept = rows[rows["keep"]]
    learned = kept if about["folds"] > 1 else kept[~kept["file"].isin(held["file"])]
    return Held(
        about,
        json.loads((folder / "plan.json").read_text()),
        held,
        held["class"].map(names.index).to_numpy(int),
        said[names].to_numpy(float),
        learned,
    )


def numbers(held: Held) -> dict:
    """Return what report.json holds; metrics as `evaluation.metrics`."""
    about, names = held.about, held.about["class_names"]
    units = held.rows["unit"].to_numpy()
    scored = (held.labels, held.probabilities)
    metrics = evaluation.metrics(*scored, names, units)
    recall = evaluation.bootstrap_interval("recall", *scored, units).tolist()
    metrics["ci95"]["recall"] = dict(zip(names, recall, strict=True))
    several = about["folds"] > 1
    return {
        "kind": "cross-validation" if several else "validation",
        "is_a_test_result": False,
        "why_not": _why_no_test(held),
        "data": about["data"],
        "made_of": BADGES[about["synthetic"]],
        "weights": about["weights"],
        "looks": about["looks"],
        "seconds": round(about["seconds"]),
        "num_learned": None if several else len(held.learned),
        "num_scored": len(held.labels),
        "num_units": int(held.rows["unit"].nunique()),
        "patients_known": int(held.rows["patient"].notna().sum()),
        "metrics": metrics,
        "largest_class": float(np.bincount(held.labels).max() / len(held.labels)),
        "from_file_properties": from_file_properties(held),
        "not_shown": _not_shown(held),
    }


def from_file_properties(held: Held) -> float:
    """Return the accuracy of a guess from colour mode, width and height alone.

    The most frequent class among the slices learned from with the same three; where
    there are none, the most frequent of all. In cross-validation from the other folds.
    """
    keys, right = ["mode", "width", "height"], 0
    for fold, rows in held.rows.groupby("fold"):
        learned = held.learned[held.learned["fold"] != fold]
        usual = learned.groupby(keys)["class"].agg(lambda c: c.mode().iloc[0])
        usual = usual.rename("usual").reset_index()
        found = rows.merge(usual, on=keys, how="left")["usual"]
        found = found.fillna(learned["class"].mode().iloc[0])
        right += (found.to_numpy() == rows["class"].to_numpy()).sum()
    return float(right / len(held.rows))


def make(folder: Path) -> dict[str, str]:
    """Return the texts of report.json and report.html by file name."""
    held = read(folder)
    found = numbers(held)
    history = json.loads((folder / "history.json").read_text())
    text = json.dumps(found, indent=1) + "\n"
    return {"report.json": text, "report.html": page(held, found, history)}


def in_short(folder: Path) -> str:
    """Return what is printed at the end: the number, what it is, and where to look."""
    found = json.loads((folder / "report.json").read_text())
    low, high = found["metrics"]["ci95"]["macro_f1"]
    return (
        f"\n{found['kind'].capitalize()} ({found['made_of']} images): macro-F1 "
        f"{found['metrics']['macro_f1']:.3f}, 95 % interval {low:.3f} to {high:.3f},\n"
        f"on {found['num_scored']} slices of {found['num_units']} patients or series.\n"
        f"{found['why_not']}\nRead {folder / 'report.html'}: what was not shown, and "
        "what to do next."
    )


def _why_no_test(held: Held) -> str:
    watched = "after every epoch" if held.about["watched"] else "once, at the end"
    told = (
        f"This is no test result: the held-out part was looked at {watched}, in "
        f"training number {held.about['looks']} on this machine that was scored on it."
    )
    patient = any(stage["patience"] is not None for stage in held.plan["stages"])
    if patient and held.about["watched"]:
        told += " It chose the epoch, too."
    return told


def _not_shown(held: Held) -> list[str]:
    about, rows = held.about, held.rows
    unknown = int(rows["patient"].isna().sum())
    told = [_why_no_test(held)]
    if held.about["folds"] > 1:
        told.append(
            "How good one model file is: five networks were scored, each on the part "
            "that it has not seen. The number is about the plan."
        )
    if unknown:
        told.append(
            f"For {unknown} of {len(rows)} slices the patient is not known. Series "
            "(slices that look like one patient's) stand in for patients, so a patient "
            "may be on both sides; probably optimistic."
        )
    if rows["unit"].nunique() < FEW:
        told.append(
            f"There are only {rows['unit'].nunique()} patients or series in it: the "
            "intervals are probably too narrow."
        )
    told += [
        "What happens elsewhere: all images come from one collection. At another "
        "hospital, on another scanner, anything may come out.",
        "That the network looks at the disease. A guess from colour mode and size of "
        f"the file alone is right for {from_file_properties(held):.0%} of the slices.",
        "How much another seed would change: one was trained.",
    ]
    if "notumor" in about["class_names"] and not about["synthetic"]:
        told.append(
            "That tumors are detected: in this dataset notumor comes from other "
            "sources than the tumors, so it means another source, not healthy."
        )
    if about["synthetic"]:
        told.append("Anything about real scans: the images are synthetic (phantoms).")
    if about["set_aside"]:
        number = about["set_aside"]
        told.append(f"What {number} of the files show: set_aside.csv says why not.")
    told.append("Anything about a single person. Not a diagnosis, not a device.")
    return told


def page(held: Held, found: dict, history: list[dict]) -> str:
    """Return the report as one HTML page that needs nothing beside it."""
    names, metrics = held.about["class_names"], found["metrics"]
    title = f"{found['kind'].capitalize()}: {held.about['data']} ({found['made_of']})"
    rows = {
        words: (metrics[name], metrics["ci95"].get(name))
        for name, words in (
            ("macro_f1", "macro-F1"),
            ("accuracy", "accuracy"),
            ("log_loss", "log loss"),
            ("brier", "Brier score"),
            ("ece", "calibration error"),
        )
    }
    rows |= {
        f"recall {name}": (metrics["recall"][name], metrics["ci95"]["recall"][name])
        for name in names
    }
    rows["for comparison: always the largest class"] = (found["largest_class"], None)
    guess = "for comparison: colour mode and size of the file"
    rows[guess] = (found["from_file_properties"], None)
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p><strong>{html.escape(found['why_not'])}</strong></p>",
        f"<p>{found['num_scored']} slices of {found['num_units']} patients or series; "
        "none of them shares a slice, a series or a known patient with what was "
        "learned from. Intervals (95 %) draw whole patients or series.</p>",
        _table(rows),
        *_figures(held, title, history),
        "<h2>What was not shown</h2>",
        _list(found["not_shown"]),
        "<h2>What to do next</h2>",
        _list(_next(held)),
    ]
    if held.about["folds"] == 1:
        code = PREDICT.format(pixels=held.plan["pixels"], names=names)
        parts += [
            "<h2>Predict one file</h2><p>With the course, which also refuses what it "
            "was not made for: python -m helpers.predict FILES --model model.keras. "
            "With Keras alone, as below. Either way the answer is the most similar "
            "class of these images, and nothing more.</p>",
            f"<pre>{html.escape(code)}</pre>",
        ]
    plan = html.escape(json.dumps(held.plan, indent=1))
    parts.append(
        f"<details><summary>The plan, from {html.escape(held.about['weights'])}"
        f"</summary><pre>{plan}</pre></details>"
    )
    head = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{html.escape(title)}</title><style>'
        f"{STYLE}</style>\n"
    )
    return head + "\n".join(parts) + "\n</html>\n"


def _next(held: Held) -> list[str]:
    told = [
        "Look at the pairs that were taken for one slice or one series: python -m "
        "helpers.audit FOLDER writes a page of them. The thresholds were set on one "
        "dataset of head MRI.",
        "Read predictions.csv beside split.csv: which slices are wrong, and whose?",
        "For a test result, keep patients away from this folder, choose everything "
        "here, and score them once. Chapters 3 and 8 say how to report it.",
        "Before you believe a probability: chapter 10. Before somebody uses it: "
        "chapter 13.",
    ]
    if held.about["folds"] == 1:
        told.insert(
            2,
            "For a number that nothing was watched for: the same command with --folds, "
            "five trainings.",
        )
    else:
        told.insert(
            2,
            "On Kaggle's version 1, score predictions.csv on the benchmark (chapter "
            "14). For a model file: the same command without --folds.",
        )
    return told


def _figures(held: Held, title: str, history: list[dict]) -> list[str]:
    plots.use_style()
    names, labels = held.about["class_names"], held.labels
    answers = held.probabilities.argmax(axis=1)
    bins = evaluation.calibration_bins(labels, held.probabilities)
    figures = [
        (
            plots.confusion(labels, answers, names, f"Confusion\n{title}"),
            "Confusion matrix: rows true, columns predicted, counts in the cells.",
        ),
        (
            plots.calibration(bins, f"Calibration\n{title}"),
            "Accuracy over confidence in bins; on the diagonal a probability is right.",
        ),
    ]
    for number, curves in enumerate(history, 1):
        fold = f", fold {number}" if len(history) > 1 else ""
        figures.append(
            (
                plots.learning_curves(curves, f"All stages in a row{fold}\n{title}"),
                "Loss and accuracy of every epoch, training and what was watched.",
            )
        )
    return [_figure(figure, words) for figure, words in figures]


def _figure(figure: Figure, words: str) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    plots.plt.close(figure)
    data = base64.b64encode(stream.getvalue()).decode()
    return (
        f'<figure><img alt="{html.escape(words)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(words)}</figcaption></figure>"
    )


def _table(rows: dict) -> str:
    cells = []
    for name, (value, interval) in rows.items():
        between = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        cells.append(
            f"<tr><th>{html.escape(name)}</th><td>{value:.3f}</td>"
            f"<td>{between}</td></tr>"
        )
    return "<table>" + "".join(cells) + "</table>"


def _list(lines: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(x)}</li>" for x in lines) + "</ul>"
