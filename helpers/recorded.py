"""Runs that were made once, on real images, and recorded for everybody.

A run is two files in data/recorded: NAME.npz, the record (who was scored, with what
probabilities), and NAME.json, what it was and the metrics that follow from the record.

What was predicted stays in the record. What is scored follows the manifest of today: a
file whose slice, series or patient turned out to lie in two folds is left out when a
run is loaded, and patients that turned out to be one person are one.
"""

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from helpers.config import ROOT, CourseError

FOLDER = ROOT / "data" / "recorded"
# Arrays with an entry for each scored file, and the axis that it lies on.
_FILE_AXES = {"filenames": 0, "labels": 0, "fold": 0, "groups": 0, "patient": 0}
_FILE_AXES |= {"scored": 3}
_FILE_AXES |= {f"probabilities{of}": 1 for of in ("", "_random", "_imagenet")}

# Rungs of a ladder on which a scored slice may lie in training anyway; on the others,
# files that turned out to lie in two folds are no longer scored.
WITH_COPIES = ("official", "random", "no-copies")


@dataclass(frozen=True)
class Run:
    """One recorded run: `info` is its JSON, `arrays` its NPZ."""

    info: dict
    arrays: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        return self.info["name"]

    @property
    def badge(self) -> str:
        """Say in three words what the numbers come from, for titles and tables."""
        made_of = str(self.info["dataset"]["name"])
        kind = "synthetic" if made_of.startswith("phantom") else "real"
        return f"{kind}, recorded on {self.info['recorded_on']}"

    @property
    def filenames(self) -> np.ndarray:
        """Scored files, str [n], as `Testing/glioma/Te-gl_0010.jpg`."""
        return self.arrays["filenames"]

    @property
    def labels(self) -> np.ndarray:
        """Classes of the scored files, int [n]."""
        return self.arrays["labels"]

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(str(name) for name in self.arrays["class_names"])

    @property
    def fold(self) -> np.ndarray:
        """Outer fold of each scored file, int [n]; all 0 on the official split."""
        return self.arrays["fold"]

    @property
    def groups(self) -> np.ndarray | None:
        """Series of each scored file, int [n], which intervals draw whole, or None."""
        return self.arrays.get("groups")

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Predicted probabilities, float64 [seeds, n, k]; rows sum to 1."""
        return _normalised(self.arrays["probabilities"])

    @property
    def val_filenames(self) -> np.ndarray:
        """Inner-validation files, str [m]: in their fold never scored or trained on."""
        return self.arrays["val_filenames"]

    @property
    def val_fold(self) -> np.ndarray:
        """The fold whose models each validation file belongs to, int [m]."""
        return self.arrays.get("val_fold", np.zeros(len(self.val_filenames), np.int8))

    @property
    def val_labels(self) -> np.ndarray:
        return self.arrays["val_labels"]

    @cached_property
    def val_probabilities(self) -> np.ndarray:
        """Predicted probabilities of the validation files, float64 [seeds, m, k]."""
        return _normalised(self.arrays["val_probabilities"])


@dataclass(frozen=True)
class Features:
    """Recorded features of every real image: what a network saw, without the image.

    `features` float32 [n, 256]: DenseNet121 (ImageNet) after global average pooling,
    projected by a fixed Gaussian matrix; `group` int [n]: exact pixel duplicates share
    a number; `split` str [n]: Training or Testing.
    """

    filenames: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    split: np.ndarray
    group: np.ndarray
    features: np.ndarray
    info: dict

    def official_split(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of Training and of Testing."""
        return np.flatnonzero(self.split == "Training"), np.flatnonzero(
            self.split == "Testing"
        )


def names() -> list[str]:
    """Return the names of all recorded runs, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> Run:
    """Load one recorded run by name; `CourseError` lists the names there are.

    Also raised if the JSON states a score that does not follow from the arrays.
    """
    about, arrays = info(name), _arrays(name)
    if about.get("manifest_sha256") and "fold" in arrays:
        arrays = scored_today(arrays)
    run = Run(about, arrays)
    if "probabilities" in arrays and "brier" in about.get("metrics", {}):
        _check_scores(run, about["metrics"])
    return run


def _check_scores(run: Run, metrics: dict) -> None:
    """Compare two scores with the JSON's: one of the files may have been saved again.

    By plain formulas, since `evaluation` draws resamples, which takes seconds.
    """
    one_hot = np.eye(len(run.class_names))[run.labels.astype(int)]
    right = (run.probabilities.argmax(-1) == run.labels).mean()
    found = {"accuracy": right}
    found["brier"] = ((run.probabilities - one_hot) ** 2).sum(-1).mean()
    for metric, value in found.items():
        stated = metrics[metric]
        if not abs(value - stated) < 1e-6:
            raise CourseError(
                f"{FOLDER / run.name}.npz does not give what {run.name}.json says: "
                f"{metric} {value:.4f}, not {stated:.4f}. One of the two was changed; "
                "fetch both again with the course."
            )


@lru_cache(maxsize=1)
def withdrawn() -> frozenset[str]:
    """Return the files that lie in two folds, as the manifest knows today."""
    from helpers.audit import manifest

    return frozenset(manifest.split_units(manifest.load()))


def scored_today(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a record's arrays without files that lie in two folds, persons merged."""
    from helpers.audit import manifest

    stays = ~np.isin(arrays["filenames"], list(withdrawn()))
    arrays = {
        name: np.compress(stays, array, _FILE_AXES[name])
        if name in _FILE_AXES
        else array
        for name, array in arrays.items()
    }
    if "patient" in arrays:
        today = manifest.load().set_index("filename")["patient"]
        known = today.reindex(arrays["filenames"]).fillna(-1).to_numpy(np.int32)
        arrays["patient"] = np.where(known >= 0, known, arrays["patient"])
    return arrays


def on_rung(info: dict, arrays: dict[str, np.ndarray], rung: str, method: str) -> Run:
    """Return what one method predicted on one rung of a record's arrays.

    A run as `recorded.load` returns it, but `fold` is int [draws, n]. `CourseError`
    lists the rungs or methods there are.
    """
    for what, asked in (("rungs", rung), ("methods", method)):
        known = list(arrays.get(what, ()))
        if asked not in known:
            raise CourseError(
                f"{info.get('name', 'this record')}: no {asked!r} among its {what}; "
                f"there is {', '.join(known) or 'none'}."
            )
    kept = stays(arrays, rung)
    scored, classes = arrays[f"{rung}/scored"][kept], arrays[f"{rung}/classes"]
    picked = {
        "filenames": arrays["filenames"][scored],
        "labels": np.searchsorted(classes, arrays["labels"][scored]),
        "class_names": arrays["class_names"][classes],
        "fold": arrays[f"{rung}/fold"][:, kept],
        "groups": _persons(arrays)[scored],
        "probabilities": arrays[f"{rung}/{method}"][:, kept],
    }
    run, stated = Run(info, picked), info.get("scores", {}).get(rung, {}).get(method)
    if stated:
        _check_scores(run, stated)
    return run


def stays(arrays: dict[str, np.ndarray], rung: str) -> np.ndarray:
    """Tell which of a rung's files are still scored, Boolean [n]."""
    scored = arrays[f"{rung}/scored"]
    if rung in WITH_COPIES:
        return np.ones(len(scored), bool)
    return ~np.isin(arrays["filenames"][scored], list(withdrawn()))


def _persons(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Return the recorded groups, one where the manifest knows one person today."""
    from helpers.audit import joined, manifest

    rows = manifest.load().set_index("filename").loc[arrays["filenames"]]
    names = ("group", "series", "patient")
    today = joined(*(rows[name].fillna(-1).to_numpy(int) for name in names))
    least = np.full(today.max() + 1, np.iinfo(np.int32).max)
    np.minimum.at(least, today, arrays["groups"])
    return least[today].astype(np.int32)


def features(name: str = "features-imagenet-224") -> Features:
    """Load the recorded features of every real image."""
    arrays = _arrays(name)
    filenames = arrays["filenames"]
    return Features(
        filenames=filenames,
        labels=arrays["labels"].astype(np.int64),
        class_names=tuple(str(c) for c in arrays["class_names"]),
        split=np.array([f.split("/")[0] for f in filenames]),
        group=arrays["group"].astype(np.int64),
        features=arrays["features"].astype(np.float32),
        info=info(name),
    )


def info(name: str) -> dict:
    """Load a record's JSON only."""
    path = _path(name, "json")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise CourseError(
            f"{path} is damaged ({error}); fetch it again with the course."
        ) from None


def number(path: str) -> float:
    """Return one number of a record: `NAME.key.key`, as `fine-tune.metrics.accuracy`.

    A list is indexed by position. Raises `CourseError` naming the key that is missing.
    """
    name, *keys = path.split(".")
    value = info(name)
    for key in keys:
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError, ValueError):
            known = ", ".join(value) if isinstance(value, dict) else repr(value)
            raise CourseError(f"{path}: no {key!r} there; there is {known}.") from None
    return value


def _path(name: str, suffix: str) -> Path:
    path = FOLDER / f"{name}.{suffix}"
    if not path.exists():
        raise CourseError(
            f"no recorded run {name!r} ({path} is missing); "
            f"there are: {', '.join(names()) or 'none'}."
        )
    return path


def _arrays(name: str) -> dict[str, np.ndarray]:
    path = _path(name, "npz")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except Exception as error:  # zip, zlib and header errors share no base class
        raise CourseError(
            f"{path} is damaged ({error}); fetch it again with the course."
        ) from None


def _normalised(probabilities: np.ndarray) -> np.ndarray:
    # Stored as float32: rows sum to 1 only to 1e-7, and scikit-learn warns about less.
    probabilities = probabilities.astype(np.float64)
    return probabilities / probabilities.sum(axis=-1, keepdims=True)
