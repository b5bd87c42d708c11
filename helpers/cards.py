"""The two pages that travel with a model: a model card and a data sheet. Chapter 13.

Model cards: Mitchell et al. 2019; data sheets: Gebru et al. 2021. Both are made from
the files that a training of `helpers.train` leaves in its folder. What no file knows is
left open, in words, for a person to fill in: an empty line is better than a guess.
"""

import json
from pathlib import Path

import pandas as pd

from helpers import train_report
from helpers.train_report import Held

OPEN = "Not known to the program. Fill in: ____"
CARD = (
    "Model",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Results",
    "When it gives no answer",
    "Ethical considerations",
    "Caveats",
)
SHEET = (
    "Motivation",
    "Composition",
    "Collection",
    "Preparation",
    "Uses",
    "Distribution",
    "Maintenance",
)


def make(folder: Path) -> dict[str, str]:
    """Return the texts of model_card.md and data_sheet.md by file name.

    `folder`: a training's, with its report.json; see `helpers.train`.
    """
    held = train_report.read(folder)
    found = json.loads((folder / "report.json").read_text())
    beside = folder / "model.json"
    served = json.loads(beside.read_text()) if beside.exists() else None
    return {
        "model_card.md": model_card(held, found, served),
        "data_sheet.md": data_sheet(held),
    }


def model_card(held: Held, found: dict, served: dict | None) -> str:
    """Return the model card as Markdown, with the headings of `CARD`.

    `found`: what report.json holds; `served`: what model.json holds, None where five
    networks were scored and no model file was kept.
    """
    about, plan, names = held.about, held.plan, held.about["class_names"]
    stages = ", ".join(f"{s['name']} {s['num_epochs']} epochs" for s in plan["stages"])
    file = "No model file: five networks were scored, to judge the plan."
    if served:
        file = (
            f"File {served['model']}, {served['bytes']:,} bytes, SHA-256 "
            f"{served['sha256']}. Versions: {_listed(served['versions'])}."
        )
    parts = {
        "Model": [
            f"A convolutional network with a head for {len(names)} classes "
            f"({', '.join(names)}), started from {found['weights']}; "
            f"{plan['pixels']} x {plan['pixels']} pixels, grey. Stages: {stages}.",
            file,
            f"Who made it, when, under which licence, whom to ask? {OPEN}",
        ],
        "Intended use": [
            "To learn, and to do research on this collection. It answers with the most "
            "similar label of its dataset.",
            "Not for any decision about a person: it is no diagnosis and no medical "
            "device, and it was not validated outside this collection.",
        ],
        "Factors": [
            f"Results are given by class. Known patients: {found['patients_known']} of "
            f"{found['num_scored']} slices scored.",
            f"Age, sex, scanner, sequence, contrast agent, hospital: {OPEN}",
        ],
        "Metrics": [
            "Macro-F1 (each class counts the same), recall by class, log loss, Brier "
            "score and calibration error. 95 % intervals draw whole patients or "
            "series."
        ],
        "Evaluation data": [
            f"{about['data']} ({found['made_of']}): {found['num_scored']} slices of "
            f"{found['num_units']} patients or series. Kind: {found['kind']}. "
            f"{found['why_not']}"
        ],
        "Training data": [
            f"{len(held.learned)} slices of {held.learned['unit'].nunique()} patients "
            "or series of the same collection; none shares a slice, a series or a "
            "known patient with what was scored. See data_sheet.md."
        ],
        "Results": [_results(found, names)],
        "When it gives no answer": _refusals(served),
        "Ethical considerations": [
            "A wrong label may be believed, most of all by somebody afraid. Pictures "
            "of heads may show faces. Who agreed to the use of these images, and who "
            f"may be harmed by a wrong answer? {OPEN}"
        ],
        "Caveats": [_bullets(found["not_shown"])],
    }
    return _page(f"Model card: {about['data']} ({found['made_of']})", parts, CARD)


def data_sheet(held: Held) -> str:
    """Return the data sheet as Markdown, with the headings of `SHEET`."""
    about = held.about
    every = held.learned if about["folds"] > 1 else pd.concat([held.learned, held.rows])
    counts = every["class"].value_counts()
    sizes = every["width"].astype(str) + " x " + every["height"].astype(str)
    sizes = sizes.value_counts()
    modes = every["mode"].value_counts()
    known = int(every["patient"].notna().sum())
    parts = {
        "Motivation": [f"Why were the images collected, by whom, paid by whom? {OPEN}"],
        "Composition": [
            f"{len(every)} slices, one file each, of {every['unit'].nunique()} "
            f"patients or series: {_listed(counts)}. Copies of a slice count once; "
            f"{about['set_aside']} files were set aside.",
            f"Patients are known for {known} slices; elsewhere series stand in. Sizes "
            f"in pixels: {_listed(sizes.head(3))}, {len(sizes)} in all. Colour modes: "
            f"{_listed(modes)}.",
            f"SHA-256 of images, labels and names: {about['images']}.",
            *(
                [
                    "notumor comes from other sources than the tumors: another source, "
                    "not healthy."
                ]
                if "notumor" in about["class_names"] and not about["synthetic"]
                else []
            ),
        ],
        "Collection": [
            "Synthetic slices, drawn by a program from a template; nobody is on them."
            if about["synthetic"]
            else f"Where, when, on which scanners, with whose consent, and who set "
            f"the labels, how? {OPEN}"
        ],
        "Preparation": [
            "Grey; squeezed to a square; values deeper than 8 bits from their own "
            "darkest to their own brightest. Copies and series were looked for by "
            "program (chapter 2), with thresholds set on one dataset of head MRI.",
        ],
        "Uses": [
            "To learn about such classifiers, and about their tests. Not to learn "
            "anything about a person; not to estimate how often a tumor is found.",
        ],
        "Distribution": [f"Under which licence may they be passed on? {OPEN}"],
        "Maintenance": [f"Who corrects them, and how does one hear of it? {OPEN}"],
    }
    badge = train_report.BADGES[about["synthetic"]]
    return _page(f"Data sheet: {about['data']} ({badge})", parts, SHEET)


def open_lines(text: str) -> int:
    """Count the lines of a card that a person has still to fill in."""
    return text.count(OPEN)


def missing(text: str, wanted: tuple[str, ...] = CARD) -> list[str]:
    """Return the headings that a card lacks, or leaves without a word."""
    parts = dict(
        part.split("\n", 1) if "\n" in part else (part, "")
        for part in text.split("\n## ")[1:]
    )
    return [name for name in wanted if not parts.get(name, "").strip()]


def _results(found: dict, names: list[str]) -> str:
    metrics, lines = found["metrics"], ["| | | 95 % interval |", "|---|---|---|"]
    rows = {"macro-F1": (metrics["macro_f1"], metrics["ci95"]["macro_f1"])}
    for name in names:
        rows[f"recall {name}"] = (
            metrics["recall"][name],
            metrics["ci95"]["recall"][name],
        )
    rows |= {"log loss": (metrics["log_loss"], None), "ECE": (metrics["ece"], None)}
    rows["always the largest class"] = (found["largest_class"], None)
    rows["guess from colour mode and size"] = (found["from_file_properties"], None)
    for name, (value, ends) in rows.items():
        between = f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else ""
        lines.append(f"| {name} | {value:.3f} | {between} |")
    return "\n".join(lines)


def _refusals(served: dict | None) -> list[str]:
    if served is None:
        return ["It was not made to answer files."]
    least = served["threshold"]
    decided = served["decided_on"]
    return [
        "Where its calibrated share is below "
        + ("any share" if least is None else f"{least:.3f}")
        + f" (temperature {served['temperature']:.2f}), where the features lie further "
        f"than {served['limit']:.1f} from those of training, or where plain checks "
        "object (colour, montage, empty, tiny, another kind of scan).",
        f"Set on {decided['slices']} slices of {decided['units']} patients or series, "
        f"so that {served['right']:.0%} of the answers were right there, and "
        f"{served['false_alarms']:.0%} of these slices were refused. On other people "
        "both may differ; they are no test result.",
    ]


def _listed(counts) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items())


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _page(title: str, parts: dict[str, list[str]], wanted: tuple[str, ...]) -> str:
    lines = [f"# {title}"]
    for name in wanted:
        lines.append(f"## {name}")
        lines += parts[name]
    return "\n\n".join(lines) + "\n"
