"""Who may be trained on when which file is scored, on every rung of the ladder.

Only file tables are looked at here, no image: a rung is a list of draws, a draw is a
list of parts, and a part says which files are fitted and which are scored.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from helpers import audit
from helpers.audit import manifest

Part = tuple[np.ndarray, np.ndarray]  # positions of files: fitted, scored

# What may not be shared between a scored file and a file in training, rung by rung.
MATCHED = {
    "anything": None,
    "no-copies": "exact",
    "no-twins": "group",
    "no-series": "series",
    "no-patients": "unit",
}
SHARED = ("exact", "group", "series", "patient")


@dataclass(frozen=True)
class Rung:
    """One way to split: `draws` of parts, and the positions of the `classes` in it."""

    name: str
    classes: tuple[int, ...]
    draws: list[list[Part]]

    @property
    def scored(self) -> np.ndarray:
        """Every file that a draw scores, sorted; each draw scores the same."""
        return np.sort(np.concatenate([scored for _, scored in self.draws[0]]))


def file_table(rows: pd.DataFrame, exact: np.ndarray) -> pd.DataFrame:
    """Return what the rungs need of each file, whole numbers, -1 where unknown.

    `rows`: the manifest's, one an image; `exact` [n]: files with identical pixels
    share a number. Columns `file`, `split`, `label`, `exact`, `group`, `series`,
    `patient`, `fold`, `keep`, and `unit`: what belongs to one patient or series, or is
    linked through either.
    """
    rows = rows.reset_index()
    names = ["group", "series", "patient", "fold", "keep"]
    table = rows[names].fillna(-1).astype(int)
    table["exact"] = exact
    table["label"] = rows["class"].factorize(sort=True)[0]
    table["unit"] = audit.joined(table["group"], table["series"], table["patient"])
    return table.assign(file=rows["filename"], split=rows["split"])


def practised(files: pd.DataFrame, num_draws: int) -> list[Rung]:
    """Return the rungs as people practise them, from the official split upwards.

    `files` as `file_table` returns it. Where folds are drawn there are `num_draws`
    draws of five class-balanced folds; the official split and the manifest's folds are
    what they are.
    """
    classes = tuple(np.unique(files["label"]))
    everything = np.arange(len(files))
    distinct = np.flatnonzero(~files["exact"].duplicated())
    kept = np.flatnonzero(files["keep"] == 1)
    known = kept[files["patient"].to_numpy()[kept] >= 0]
    tumors = tuple(np.unique(files["label"].to_numpy()[known]))
    testing = (files["split"] == "Testing").to_numpy()
    official = [(np.flatnonzero(~testing), np.flatnonzero(testing))]
    fold = files["fold"].to_numpy()[kept]
    fixed = [(kept[fold != f], kept[fold == f]) for f in range(manifest.NUM_FOLDS)]

    def drawn(which: np.ndarray, together: str | None = None) -> list[list[Part]]:
        return [_folds(files, which, together, seed) for seed in range(num_draws)]

    return [
        Rung("official", classes, [official]),
        Rung("random", classes, drawn(everything)),
        Rung("no-copies", classes, drawn(distinct)),
        Rung("no-twins", classes, drawn(kept)),
        Rung("series", classes, drawn(kept, "series")),
        Rung("manifest", classes, [fixed]),
        Rung("three-random", tumors, drawn(known)),
        Rung("three-series", tumors, drawn(known, "series")),
        Rung("three-patient", tumors, drawn(known, "unit")),
    ]


def benchmark(files: pd.DataFrame, num_draws: int) -> list[Rung]:
    """Return the first and the last four-class rung only: what a paper would report."""
    both = ("official", "manifest")
    return [rung for rung in practised(files, 1) if rung.name in both]


def _folds(files, which, together, seed) -> list[Part]:
    labels = files["label"].to_numpy()[which]
    if together is None:
        parts = StratifiedKFold(manifest.NUM_FOLDS, shuffle=True, random_state=seed)
        split = parts.split(which, labels)
    else:
        groups = files[together].to_numpy()[which]
        parts = StratifiedGroupKFold(
            manifest.NUM_FOLDS, shuffle=True, random_state=seed
        )
        split = parts.split(which, labels, groups)
    return [(which[train], which[test]) for train, test in split]


def matched(files: pd.DataFrame, num_draws: int) -> list[Rung]:
    """Return rungs that differ in one thing only: what training may share with a score.

    For each half of each of the manifest's folds, every rung scores the same kept
    files and fits equally many files of each class, taken in one random order from
    what its rule in `MATCHED` allows. The strictest rung takes all it may. Halves cut
    through patients on purpose: the other half is what the milder rungs can copy from.
    `four`: all files and classes. `three`: only files of known patients.
    """
    known = (files["patient"] >= 0).to_numpy()
    everything = np.ones(len(files), bool)
    rungs = []
    for name, used in (("four", everything), ("three", known)):
        draws = {rule: [] for rule in MATCHED}
        for seed in range(num_draws):
            for rule, parts in _matched_draw(files, used, seed).items():
                draws[rule].append(parts)
        classes = tuple(np.unique(files["label"][used]))
        rungs += [Rung(f"{name}-{rule}", classes, draws[rule]) for rule in MATCHED]
    return rungs


def _matched_draw(files, used, seed) -> dict[str, list[Part]]:
    order = np.random.default_rng(seed).permutation(len(files))
    labels, fold = files["label"].to_numpy(), files["fold"].to_numpy()
    scorable = used & (files["keep"] == 1).to_numpy()
    # Within a unit, every second file of the random order; which half begins is drawn.
    shuffled = files.iloc[order]
    turn = shuffled[scorable[order]].groupby("unit").cumcount()
    begins = np.random.default_rng((seed, 1)).integers(2, size=files["unit"].max() + 1)
    half = np.full(len(files), -1)
    half[turn.index] = (turn + begins[files.loc[turn.index, "unit"]]) % 2
    parts: dict[str, list[Part]] = {rule: [] for rule in MATCHED}
    for number in range(manifest.NUM_FOLDS):
        for which in (0, 1):
            scored = np.flatnonzero((fold == number) & (half == which))
            allowed = {rule: used.copy() for rule in MATCHED}
            for rule, column in MATCHED.items():
                allowed[rule][scored] = False
                if column:
                    theirs = files[column].to_numpy()
                    allowed[rule] &= ~np.isin(theirs, theirs[scored])
            counts = np.bincount(labels[allowed["no-patients"]])
            for rule, mask in allowed.items():
                ordered = order[mask[order]]
                first = [
                    ordered[labels[ordered] == label][:count]
                    for label, count in enumerate(counts)
                ]
                parts[rule].append((np.sort(np.concatenate(first)), scored))
    return parts


def shares_in_training(files: pd.DataFrame, rung: Rung) -> dict[str, float]:
    """Return which share of the scored files has something in common with training.

    `exact`: identical pixels; `slice`: the same slice; `series`; `patient` (of the
    files whose patient is known). Mean over draws.
    """
    shares: dict[str, list[float]] = {column: [] for column in SHARED}
    for parts in rung.draws:
        for column in SHARED:
            numbers, hits = files[column].to_numpy(), []
            for fitted, scored in parts:
                ours = numbers[scored]
                hits.append(np.isin(ours, numbers[fitted])[ours >= 0])
            shares[column].append(float(np.concatenate(hits).mean()))
    names = {"group": "slice"}
    return {names.get(key, key): float(np.mean(v)) for key, v in shares.items()}
