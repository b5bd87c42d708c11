"""Turn a trained model into other formats: python -m helpers.export --model FILE

A format is a promise that the same answers come out elsewhere. So each file that is
written is read again by the program that will run it there, and asked about the same
pictures. Chapter 13.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import serving
from helpers.config import SEED, command, whole_path

FORMATS = {
    "keras": "model.keras",
    "savedmodel": "saved_model",
    "onnx": "model.onnx",
    "litert": "model.tflite",
    "litert, 8-bit weights": "model_8bit.tflite",
}
TOLERANCE = 1e-4  # of a probability, within which two answers are the same
BATCH = 32
REPEATS = 5  # timings, of which the median is told
EPILOG = """Formats: .keras (Keras itself), SavedModel (TensorFlow Serving), ONNX
(onnxruntime), LiteRT (phones; once with weights of 8 bits). One that this environment
cannot write is named with its message, and the others are written. Exit status: 0 all
were written and answer alike (8-bit weights are not held to it), 1 not all, 2 an error.
"""

Runner = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Exported:
    """One format: what it weighs, how it answers, how long it takes, or why it fails.

    `megabytes`; `difference`: the largest of any probability from the Keras model's;
    `same_label`: share of pictures with the same first label; `one`, `batch`: seconds
    for one picture and for `BATCH`, as multiples of the Keras model's in the same run;
    `problem`: the message, where it could not be written or run, else "".
    """

    name: str
    file: str
    megabytes: float = np.nan
    difference: float = np.nan
    same_label: float = np.nan
    one: float = np.nan
    batch: float = np.nan
    problem: str = ""


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0 (all alike), 1 (not all) or 2 (an error, told)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its log hides our messages
    parser = argparse.ArgumentParser(
        "python -m helpers.export",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", type=Path, required=True, metavar="FILE", help="model.keras"
    )
    parser.add_argument(
        "--out", type=Path, help="folder (default: export/ beside the model)"
    )
    options = parser.parse_args(arguments)
    path = whole_path(options.model)
    serving.load(path)
    out = whole_path(options.out or path.parent / "export")
    model = serving.read_keras(path)
    found = compare(export(model, out), probes(model))
    print(table(found).to_string())
    for one in found:
        if one.problem:
            print(f"{one.name}: {one.problem}", file=sys.stderr)
    print(f"\nWritten to {out}. Times are multiples of Keras' own in this run.")
    for name in (path.with_suffix(".json"), path.with_suffix(".npz")):
        shutil.copy2(name, out)
    alike = [one.difference <= TOLERANCE for one in found if "8-bit" not in one.name]
    return int(not all(alike))


def probes(model, num_images: int = BATCH) -> np.ndarray:
    """Return pictures to ask all formats about, uint8 [n, pixels, pixels].

    Smooth noise of several contrasts: what counts is that formats answer alike, and
    noise finds a difference as well as a head does.
    """
    from scipy.ndimage import gaussian_filter

    side = model.input_shape[1]
    rng = np.random.default_rng(SEED)
    noise = gaussian_filter(rng.standard_normal((num_images, side, side)), (0, 2, 2))
    noise /= noise.std(axis=(1, 2), keepdims=True)
    spread = rng.uniform(10, 70, (num_images, 1, 1))
    return np.uint8(
        np.clip(rng.uniform(40, 160, spread.shape) + spread * noise, 0, 255)
    )


def export(model, folder: Path) -> dict[str, tuple[Path, Runner | str]]:
    """Write a model in every format and read it again.

    `model`: grey uint8 [n, pixels, pixels] to probabilities [n, k]. Returns by format
    its path and what runs it, or the message of what went wrong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, one = {}, probes(model, 1)
    for name, file in FORMATS.items():
        path = folder / file
        try:
            _write(name, model, path)
            found[name] = path, _RUNNERS[name](path)
            found[name][1](one)  # some break only when they are asked
        except Exception as error:  # converters raise whatever their parts raise
            text = str(error).strip().splitlines() or [type(error).__name__]
            found[name] = path, f"{type(error).__name__}: {text[0][:200]}"
    return found


def compare(
    exported: dict[str, tuple[Path, Runner | str]], images: np.ndarray
) -> list[Exported]:
    """Ask every format about the same images, against the first; see `Exported`."""
    found: list[Exported] = []
    base = seconds = None
    for name, (path, run) in exported.items():
        if isinstance(run, str):
            found.append(Exported(name, path.name, problem=run))
            continue
        said = run(images)
        times = [_seconds(run, images[:count]) for count in (1, BATCH)]
        if base is None:
            base, seconds = said, times
        found.append(
            Exported(
                name,
                path.name,
                megabytes=size(path) / 1e6,
                difference=float(np.abs(said - base).max()),
                same_label=float((said.argmax(1) == base.argmax(1)).mean()),
                one=times[0] / seconds[0],
                batch=times[1] / seconds[1],
            )
        )
    return found


def table(found: list[Exported]) -> pd.DataFrame:
    """Return a row a format, index its name, columns as in `Exported`."""
    rows = pd.DataFrame([asdict(one) for one in found]).set_index("name")
    rows["problem"] = rows["problem"].str.slice(0, 40)
    digits = {"megabytes": 1, "same_label": 3, "one": 2, "batch": 2}
    rows = rows.round(digits)
    rows["difference"] = rows["difference"].map("{:.0e}".format)
    return rows.drop(columns="problem") if not rows["problem"].any() else rows


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _seconds(run: Runner, images: np.ndarray) -> float:
    run(images)  # what is compiled for this shape is compiled now
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def _write(name: str, model, path: Path) -> None:
    if name == "keras":
        model.save(path)
    elif name == "savedmodel":
        shutil.rmtree(path, ignore_errors=True)
        model.export(path, format="tf_saved_model", verbose=False)
    elif name == "onnx":  # Keras hands TensorFlow's graph to tf2onnx
        model.export(path, format="onnx", verbose=False)
    else:
        more = {}
        if "8-bit" in name:
            import tensorflow as tf

            # Weights in 8 bits, a scale for each output channel; sums in 32 bits.
            more["optimizations"] = [tf.lite.Optimize.DEFAULT]
        model.export(path, format="litert", verbose=False, **more)


def _run_keras(path: Path) -> Runner:
    import keras

    model = keras.saving.load_model(path, compile=False)
    return lambda images: np.asarray(model.predict_on_batch(images))


def _run_saved_model(path: Path) -> Runner:
    import tensorflow as tf

    served = tf.saved_model.load(str(path))
    return lambda images: served.serve(tf.constant(images)).numpy()


def _run_onnx(path: Path) -> Runner:
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def _run_litert(path: Path) -> Runner:
    import os

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    place = interpreter.get_input_details()[0]["index"]
    answer = interpreter.get_output_details()[0]["index"]

    def run(images: np.ndarray) -> np.ndarray:
        shape = interpreter.get_input_details()[0]["shape"]
        if tuple(shape) != images.shape:
            interpreter.resize_tensor_input(place, images.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(place, images)
        interpreter.invoke()
        return interpreter.get_tensor(answer).copy()

    interpreter.allocate_tensors()
    return run


_RUNNERS = {
    "keras": _run_keras,
    "savedmodel": _run_saved_model,
    "onnx": _run_onnx,
    "litert": _run_litert,
    "litert, 8-bit weights": _run_litert,
}


if __name__ == "__main__":
    sys.exit(main())
