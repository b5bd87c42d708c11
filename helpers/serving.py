"""What must travel with a model file, and how it answers one picture. Chapter 13.

Beside model.keras lie model.json (classes, image size, temperature, thresholds, hashes,
versions) and model.npz (what the features looked like). `helpers.train` writes them,
`helpers.predict` refuses to answer without them.
"""

import hashlib
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from helpers import evaluation, scope
from helpers.config import SEED, CourseError
from helpers.files import whole_file
from helpers.scans import Scan

RIGHT = 0.95  # of the answers, on the held-out part, where the threshold lies
FALSE_ALARMS = 0.05  # of the held-out slices lie beyond the limit of the distance
DESCRIBED = 2000  # slices learned from that the features are described on, at most
PACKAGES = ("keras", "tensorflow-cpu", "tensorflow", "jax", "numpy", "pillow")

ANSWERED, UNSURE, OUTSIDE = "answered", "not sure enough", "out of scope"
NOTICE = (
    "The label is the most similar one of the dataset that the network was taught, and "
    "the share how sure it is among these labels. It is not a diagnosis, and it is not "
    "validated for any other files."
)


@dataclass(frozen=True)
class Serving:
    """What lies beside a model file: see `fit`. `about` is what JSON can hold."""

    about: dict
    scope: scope.Scope
    held_distances: np.ndarray

    @property
    def class_names(self) -> list[str]:
        return self.about["class_names"]


@dataclass(frozen=True)
class Answer:
    """One picture's answer. `label` is None unless `status` is "answered".

    `shares`: of each class, calibrated, summing to 1; `distance`: of its features;
    `why`: what speaks against an answer; `notes`: how the file was read.
    """

    status: str
    label: str | None
    share: float | None
    shares: dict[str, float]
    distance: float
    why: tuple[str, ...]
    notes: tuple[str, ...]


def soften(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits of probabilities [..., k] by a temperature; see chapter 10."""
    return softmax(np.log(np.maximum(probabilities, 1e-12)) / temperature, axis=-1)


def temperature_for(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature of the lowest log loss, 0.14 to 7.4 (Guo et al. 2017)."""

    def loss(log_temperature: float) -> float:
        softened = soften(probabilities, np.exp(log_temperature))
        return evaluation.log_loss(labels, softened)

    return float(np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x))


def threshold_for(shares: np.ndarray, right: np.ndarray, target: float) -> float:
    """Return the lowest share down to which a part `target` of the answers is right.

    `shares` [n]: how sure; `right` bool [n]. inf if even the surest answers miss it.
    """
    surest = np.argsort(-shares, kind="stable")
    so_far = np.cumsum(right[surest]) / np.arange(1, len(surest) + 1)
    enough = np.flatnonzero(so_far >= target)
    return float(shares[surest][enough[-1]]) if len(enough) else math.inf


def with_features(model):
    """Return a Keras model from grey images to (probabilities, features [n, d]).

    `model`: as `helpers.train` writes it, whose last layer is called head. Raises
    `CourseError` for another.
    """
    import keras

    inner = model
    names = [layer.name for layer in inner.layers]
    if "head" not in names:  # it averages over the mirror image: look inside
        inner = next((x for x in model.layers if isinstance(x, keras.Model)), model)
    if "head" not in [layer.name for layer in inner.layers]:
        raise CourseError(
            f"the model {model.name} has no layer called head; expected a model file "
            "that python -m helpers.train has written."
        )
    features = keras.Model(inner.input, inner.get_layer("head").input)
    if inner is model:
        return keras.Model(model.input, [model.output, features.output])
    return keras.Model(model.input, [model.output, features(model.input)])


def describe(model, images: np.ndarray, labels: np.ndarray, rows) -> scope.Scope:
    """Fit the scope to the features of some slices that a model learned from.

    `rows`: one file of each slice; of more than `DESCRIBED`, so many are drawn.
    """
    rows = np.random.default_rng(SEED).permutation(rows)[:DESCRIBED]
    rows = np.sort(rows)
    features = with_features(model).predict(images[rows], batch_size=32, verbose=0)[1]
    return scope.fit(features, labels[rows])


def fit(
    described: scope.Scope,
    probabilities: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    units: np.ndarray,
    right: float = RIGHT,
) -> tuple[dict, np.ndarray]:
    """Set temperature, threshold and limit on held-out slices; see `Serving`.

    `probabilities` [n, k], `features` [n, d], `labels` [n], `units` [n] (who must stay
    together) of slices that were not learned from; `right`: the share of answers that
    should be. Returns what model.json says of it, and the distances [n], sorted.
    """
    temperature = temperature_for(probabilities, labels)
    shares = soften(probabilities, temperature)
    hit = shares.argmax(axis=1) == labels
    threshold = threshold_for(shares.max(axis=1), hit, right)
    distances = np.sort(described.distance(features))
    decided = {
        "temperature": temperature,
        "threshold": None if math.isinf(threshold) else threshold,
        "right": right,
        "limit": scope.limit_for(distances, FALSE_ALARMS),
        "false_alarms": FALSE_ALARMS,
        "decided_on": {"slices": len(labels), "units": len(np.unique(units))},
    }
    return decided, distances


def answer(
    serving: Serving,
    scans: Sequence[Scan],
    probabilities: np.ndarray,
    features: np.ndarray,
) -> list[Answer]:
    """Turn what a network says of pictures into answers, or into reasons for none.

    `probabilities` [n, k] and `features` [n, d] as `with_features` returns them. What
    is out of scope is refused, whatever the network says; then the share must reach the
    threshold.
    """
    about, found = serving.about, []
    shares = soften(probabilities, about["temperature"])
    distances = serving.scope.distance(features)
    least = math.inf if about["threshold"] is None else about["threshold"]
    for scan, share, distance in zip(scans, shares, distances, strict=True):
        why = scope.doubts(scan)
        if distance > about["limit"]:
            why.append(
                f"its features lie at {distance:.0f}, beyond {about['limit']:.0f}"
            )
        best = int(share.argmax())
        status = OUTSIDE if why else ANSWERED
        if not why and share[best] < least:
            status = UNSURE
            why = [
                "no share kept the promise on held-out slices"
                if math.isinf(least)
                else f"sure by less than {least:.2f}"
            ]
        told = status == ANSWERED
        found.append(
            Answer(
                status,
                serving.class_names[best] if told else None,
                float(share[best]) if told else None,
                dict(zip(serving.class_names, map(float, share), strict=True)),
                float(distance),
                tuple(why),
                scan.notes,
            )
        )
    return found


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a model depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # one TensorFlow of two, and seldom JAX
            continue
    return found


def write(model_path: Path, serving: Serving) -> None:
    """Write model.json and model.npz beside a model file, whole or not at all."""
    about = serving.about | {
        "model": model_path.name,
        "sha256": sha256(model_path),
        "bytes": model_path.stat().st_size,
        "versions": versions(),
    }
    with whole_file(model_path.with_suffix(".npz")) as file:
        np.savez(
            file,
            means=serving.scope.means,
            precision=serving.scope.precision,
            held_distances=serving.held_distances.astype(np.float32),
        )
    about["npz_sha256"] = sha256(model_path.with_suffix(".npz"))
    with whole_file(model_path.with_suffix(".json")) as file:
        file.write((json.dumps(about, indent=1) + "\n").encode())


def load(model_path: Path) -> Serving:
    """Read what lies beside a model file, and see that the file is the one meant.

    Raises `CourseError` for a file that is missing, cut off, or another's.
    """
    beside = model_path.with_suffix(".json"), model_path.with_suffix(".npz")
    for path in (model_path, *beside):
        if not path.is_file():
            raise CourseError(
                f"there is no file {path}. A model is three files, {model_path.name}, "
                f"{beside[0].name} and {beside[1].name}, as python -m helpers.train "
                "writes them: keep them together."
            )
    try:
        about = json.loads(beside[0].read_text())
        expected, size = about["sha256"], about["bytes"]
        with np.load(beside[1]) as file:
            known = scope.Scope(file["means"], file["precision"])
            held = file["held_distances"]
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise CourseError(
            f"{beside[0]} or {beside[1].name} is damaged ({type(error).__name__}); "
            "copy both again from where the model was trained."
        ) from None
    there = model_path.stat().st_size
    if there < size:
        raise CourseError(
            f"{model_path} is cut off: it has {there:,} of {size:,} bytes. Copy it "
            "again."
        )
    if sha256(model_path) != expected or sha256(beside[1]) != about["npz_sha256"]:
        raise CourseError(
            f"{model_path} is not the network that {beside[0].name} describes: its "
            "SHA-256 is another. Copy all three files again from one folder."
        )
    return Serving(about, known, held)


def network(model_path: Path):
    """Load the network of a model file; returns images to (probabilities, features).

    Raises `CourseError` for a file that Keras cannot read, or of another network.
    """
    try:
        return with_features(read_keras(model_path))
    except CourseError as error:
        raise CourseError(f"{model_path}: {error}") from None


def read_keras(model_path: Path):
    """Load a Keras model file; `CourseError` for one that Keras cannot read."""
    import keras

    try:
        return keras.saving.load_model(model_path, compile=False)
    except Exception as error:  # Keras raises many things on files that are not its own
        raise CourseError(
            f"{model_path} cannot be read by Keras: {str(error).splitlines()[0][:160]}"
        ) from None
