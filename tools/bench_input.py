"""How many images a second reach the network's first layer, ours beside Keras' own.

    python -m tools.bench_input              measure and print
    python -m tools.bench_input --record     also write data/recorded/bench-input.*

Reads the files of BRAIN_MRI_DATA, or phantoms that it writes as JPEG.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import date
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import PIL
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from helpers import phantoms, recorded
from helpers.batches import ImageBatches, augment, preprocess
from helpers.config import ROOT, SEED, CourseError, data_setting
from helpers.datasets import Dataset, folder, load_dataset
from helpers.experiments.records import commit, cpu_name
from helpers.recorded import Run

NAME = "bench-input"
PIXELS, BATCH_SIZE = 224, 32
PROTOCOL = (
    "From JPEG files to batches of float32 RGB [32, 224, 224, 3], preprocessed, in "
    "memory: ours with DenseNet's preprocess_input, Keras' own scaled to 0..1 as in "
    "tutorials. Bytes only: grey uint8 batches, as they leave for a device. All "
    "variants read the same files in one process, interleaved, each repeat starting "
    "with another variant; ratios are taken within a repeat. Not timed: compiling, and "
    "Keras' own listing of the folders. Every file was read once before."
)
GENERATOR, GENERATOR_AUGMENTS = "ImageDataGenerator", "ImageDataGenerator, augmenting"
GENERATOR_2, TF_DATA = "ImageDataGenerator, 2 threads", "image_dataset_from_directory"
FIRST, LATER, AUGMENTS = "ours, first epoch", "ours, later epochs", "ours, augmenting"
BYTES = "ours, later epochs, bytes only"
RATIOS = {
    "first_epoch": (FIRST, GENERATOR),
    "later_epochs": (LATER, GENERATOR),
    "later_epochs_to_2_threads": (LATER, GENERATOR_2),
    "later_epochs_to_image_dataset": (LATER, TF_DATA),
    "augmenting": (AUGMENTS, GENERATOR_AUGMENTS),
    "bytes": (BYTES, GENERATOR),
}
TITLES = {name: f"{ours} / {theirs}" for name, (ours, theirs) in RATIOS.items()}
# The changes of the recipe "pose and exposure" that ImageDataGenerator knows.
AUGMENTATION = {
    "rotation_range": 10,
    "width_shift_range": 0.05,
    "height_shift_range": 0.05,
    "zoom_range": 0.1,
    "brightness_range": (0.9, 1.1),
    "fill_mode": "constant",
}


def link_files(source: Path, root: Path, num_files: int) -> None:
    """Link at most `num_files` files, evenly spaced: every folder has its share."""
    files = folder.find_files(source).files
    chosen = np.linspace(0, len(files) - 1, min(num_files, len(files))).astype(int)
    for file in (files[index] for index in chosen):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).symlink_to(source.resolve() / file)


def write_phantoms(root: Path, num_files: int) -> None:
    """Write phantoms as grey JPEG files of 224 x 224 into Training/Testing/<class>."""
    made = phantoms.generate(num_files, PIXELS)
    for image, file in zip(made.images, made.table["file"], strict=True):
        path = (root / file).with_suffix(".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, quality=90)


def generator(root: Path, augmentation: dict):
    """Return ImageDataGenerator's batches, scaled by 1/255 as tutorials do."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints how many files it found
        return tf.keras.preprocessing.image.ImageDataGenerator(
            rescale=1 / 255, **augmentation
        ).flow_from_directory(root, (PIXELS, PIXELS), "rgb", batch_size=BATCH_SIZE)


def generated(flow, threads: int = 1) -> Iterator[np.ndarray]:
    """Yield an epoch of `flow`; threads make batches side by side as workers do."""
    with ThreadPool(threads) as pool:
        for images, _ in pool.imap(flow.__getitem__, range(len(flow))):
            yield images


def tf_data(root: Path) -> tf.data.Dataset:
    """Return what Keras offers today, reading the files in every epoch."""
    with contextlib.redirect_stdout(io.StringIO()):
        stored = keras.utils.image_dataset_from_directory(
            root, image_size=(PIXELS, PIXELS), batch_size=BATCH_SIZE, seed=SEED
        )
    scaled = stored.map(lambda images, _: images / 255, tf.data.AUTOTUNE)
    return scaled.prefetch(tf.data.AUTOTUNE)


@partial(tf.function, jit_compile=True)
def to_first_layer(images):
    """Preprocess in one compiled pass over the pixels."""
    return preprocess(images)


@tf.function
def augment_to_first_layer(images, parameters):
    """Augment and preprocess on the device."""
    return preprocess(augment(images, parameters))


def ours(data: Dataset, epoch: int, recipe: str | None = None) -> Iterator[tf.Tensor]:
    """Yield an epoch of our batches of `data`, ready for the first layer."""
    for inputs in as_bytes(data, epoch, recipe):
        if recipe is None:
            yield to_first_layer(inputs)
        else:
            yield augment_to_first_layer(*inputs)


def as_bytes(data: Dataset, epoch: int, recipe: str | None = None) -> Iterator:
    """Yield an epoch of our batches as they leave for the device."""
    rows = np.arange(len(data))
    batches = ImageBatches(
        data.images, data.labels, rows, BATCH_SIZE, SEED, epoch, recipe=recipe
    )
    for item in range(batches.per_epoch):
        yield batches[item][0]


def ours_from_files(root: Path) -> Iterator[tf.Tensor]:
    """Decode all files into a cache made for this epoch, then yield the epoch."""
    with (
        tempfile.TemporaryDirectory() as cache,
        patch.dict(os.environ, BRAIN_MRI_CACHE=cache),
    ):
        yield from ours(load_dataset(root, PIXELS), epoch=0)


def images_per_second(epoch: Iterable) -> float:
    """Return the rate at which an epoch's images arrive."""
    started, count = time.perf_counter(), 0
    for batch in epoch:
        np.asarray(batch[-1, -1, -1])  # waits until the last pixel is there
        count += len(batch)
    return count / (time.perf_counter() - started)


def measure(root: Path, repeats: int) -> dict[str, list[float]]:
    """Return each variant's images/s in every repeat; each repeat starts elsewhere.

    Listing the folders and compiling are set-up and not timed, except that our first
    epoch is timed with its listing. All files were read once before: the page cache
    is warm for everybody.
    """
    flow, augmenting = generator(root, {}), generator(root, AUGMENTATION)
    stored, data = tf_data(root), load_dataset(root, PIXELS)
    variants = {
        GENERATOR: lambda epoch: generated(flow),
        FIRST: lambda epoch: ours_from_files(root),
        LATER: lambda epoch: ours(data, epoch),
        GENERATOR_2: lambda epoch: generated(flow, threads=2),
        TF_DATA: lambda epoch: stored,
        GENERATOR_AUGMENTS: lambda epoch: generated(augmenting),
        AUGMENTS: lambda epoch: ours(data, epoch, "pose and exposure"),
        BYTES: lambda epoch: as_bytes(data, epoch),
    }
    names, rates = list(variants), {name: [] for name in variants}
    for name in (GENERATOR, GENERATOR_AUGMENTS, TF_DATA, LATER, AUGMENTS):
        batch = next(iter(variants[name](0)))  # compiles
        assert batch.shape == (BATCH_SIZE, PIXELS, PIXELS, 3)
    for repeat in tqdm(range(repeats), desc="repeats", leave=False):
        start = repeat % len(names)
        for name in names[start:] + names[:start]:
            rates[name].append(images_per_second(variants[name](repeat)))
    return rates


def spread(values: np.ndarray, digits: int) -> dict[str, float]:
    """Return min, median and max, rounded."""
    return {
        name: round(float(function(values)), digits or None)
        for name, function in (("min", np.min), ("median", np.median), ("max", np.max))
    }


def bench(num_files: int, repeats: int) -> Run:
    """Measure on at most `num_files` files; return it in the form of a record."""
    with (
        tempfile.TemporaryDirectory() as temporary,
        patch.dict(os.environ, BRAIN_MRI_CACHE=f"{temporary}/cache"),
    ):
        root = Path(temporary) / "files"
        if data_setting() == "phantom":
            name = f"phantom {phantoms.VERSION}, written as JPEG"
            write_phantoms(root, num_files)
        else:
            source = Path(data_setting())
            name = source.resolve().name
            link_files(source, root, num_files)
        table = load_dataset(root, PIXELS).table
        load, started = os.getloadavg()[0], time.perf_counter()
        rates = measure(root, repeats)
        seconds = time.perf_counter() - started
    width, height = table[["width", "height"]].median().astype(int)
    info = {
        "name": NAME,
        "dataset": {
            "name": name,
            "copy": f"{len(table)} files, in the median {width} x {height} pixels",
        },
        "manifest_sha256": None,
        "plan_sha256": None,
        "looks": 0,
        "protocol": PROTOCOL,
        "weights": None,
        "profile": None,
        "seeds": [SEED],
        "backend": keras.backend.backend(),
        "device": f"{os.cpu_count()} CPU cores, {cpu_name()}",
        "load_before": round(load, 1),  # above 1 the machine was not ours alone
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        },
        "commit": commit(),
        "recorded_on": date.today().isoformat(),
        "wall_seconds": round(seconds, 1),
    }
    arrays = {
        "variants": np.array(list(rates)),
        "images_per_second": np.array(list(rates.values())),
    }
    return Run(info | summary(arrays), arrays)


def summary(arrays: dict[str, np.ndarray]) -> dict:
    """Return what the JSON says of the rates [variants, repeats]: they and ratios."""
    rates = dict(zip(arrays["variants"], arrays["images_per_second"], strict=True))
    return {
        "images_per_second": {str(key): spread(rates[key], 0) for key in rates},
        "ratio": {
            key: spread(rates[ours] / rates[theirs], 2)
            for key, (ours, theirs) in RATIOS.items()
        },
    }


def show(info: dict) -> None:
    """Print the rates, then the ratios, each as min, median and max."""
    print(f"{info['dataset']['name']}: {info['dataset']['copy']}")
    for key, title in (("images_per_second", "images/s"), ("ratio", "times as fast")):
        print(f"\n{title:46}{'min':>9}{'median':>9}{'max':>9}")
        for name, value in info[key].items():
            line = "".join(f"{value[each]:>9,}" for each in ("min", "median", "max"))
            print(f"{TITLES.get(name, name):46}{line}")


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench_input")
    parser.add_argument("--files", type=int, default=2048, help="at most this many")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--record", action="store_true", help=f"write data/recorded/{NAME}.*"
    )
    asked = parser.parse_args(arguments)
    try:
        if asked.record and data_setting() == "phantom":
            raise CourseError(
                "records are of real images: set BRAIN_MRI_DATA to their folder, the "
                "one that holds Training and Testing."
            )
        run = bench(asked.files, asked.repeats)
    except CourseError as error:
        print(f"bench_input: {error}", file=sys.stderr)
        return 2
    show(run.info)
    if asked.record:
        np.savez(recorded.FOLDER / f"{NAME}.npz", **run.arrays)
        path = recorded.FOLDER / f"{NAME}.json"
        path.write_text(json.dumps(run.info, indent=1) + "\n")
        print(f"\nRecorded in {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
