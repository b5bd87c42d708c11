"""DenseNet121 as a backbone: its weights, its boundary, its cached activations.

The network is Huang et al. 2017 (doi 10.1109/CVPR.2017.243) as `keras.applications`
builds it: four dense blocks, three transitions, 121 layers with weights counting the
classifier, which is left out here.
"""

import hashlib
import io
import os
import re
import urllib.request
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from helpers import batches
from helpers.config import (
    ROOT,
    SEED,
    CourseError,
    cache_dir,
    profile,
    weights_setting,
    whole_path,
)
from helpers.datasets.walk import kind_of, start_of
from helpers.files import whole_file

# Keras' own file, fetched under Keras' own name and MD5. Keras would look for it only
# after building the model, and say `Exception: URL fetch failure`.
IMAGENET_FILE = "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/densenet/"
    + IMAGENET_FILE
)
IMAGENET_MD5 = "30ee3e1110167f948a6b9946edeeb738"
PROBE_SECONDS = 10
_PIECE = 2**24  # bytes read at once

# The course's own file, and the list of hashes beside it: see data/weights/README.md.
BUNDLED_FILE = "densenet121_bundled_notop.weights.h5"
CLASSIFIER_FILE = "phantom_classifier.npz"  # a head for it, fitted to phantoms
HASHES_FILE = "SHA256SUMS"


def weights_name(weights: str = "auto") -> str:
    """Name what `backbone(weights)` would load: bundled, imagenet, random or a file.

    `weights` as in `backbone`. Raises `CourseError` for a path where no file is.
    """
    source = _source(weights)
    if isinstance(source, Path):
        return source.name
    return source or f"random (seed {SEED})"


def weights_file(weights: str = "auto") -> Path | None:
    """Return the file that `backbone(weights)` loads; None for random numbers.

    Raises `CourseError` as `backbone` does.
    """
    source = _source(weights)
    if source == "imagenet":
        return _imagenet_file()
    return _checked(BUNDLED_FILE) if source == "bundled" else source


def backbone(weights: str = "auto", pixels: int | None = None) -> keras.Model:
    """Build DenseNet121 without its classifier.

    Input: float32 [n, pixels, pixels, 3] as `helpers.batches.preprocess` returns it;
    output: float32 [n, pixels / 32, pixels / 32, 1024]. `pixels` defaults to the
    profile's and is at least 32.

    `weights`: "bundled" (the course's own file in data/weights), "imagenet" (Keras'
    file, downloaded once by name), the path of a Keras weights file, "none" (random
    numbers, the same everywhere), or "auto": `BRAIN_MRI_WEIGHTS` if set, else
    "bundled" if the course came with such a file, else "none".
    `weights_name(weights)` says which that is. Raises `CourseError` for a file that is
    missing, damaged, or of another network, and when ImageNet's weights are neither
    here nor within reach.
    """
    pixels = pixels or profile().pixels
    source = weights_file(weights)
    model = keras.applications.DenseNet121(
        include_top=False, weights=None, input_shape=(pixels, pixels, 3)
    )
    if source is None:
        _draw_weights(model)
    else:
        _load_weights(model, source)
    return model


def content(model: keras.Model) -> str:
    """Return the first 16 digits of the SHA-256 of a model's weights, in their order.

    The same weights have the same content, whatever their file is called.
    """
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:16]


def phantom_classifier() -> keras.Model:
    """Build the bundled backbone with the course's own head for synthetic slices.

    Input: grey uint8 [n, 96, 96]; output: probabilities float32 [n, 4] of glioma,
    meningioma, notumor, pituitary. The head is linear and was fitted to virtual
    patients that no dataset of the course holds; on real images its answers mean
    nothing. Raises `CourseError` for a file that is missing or damaged. Made by
    `python -m helpers.experiments phantom-classifier`.
    """
    with np.load(_checked(CLASSIFIER_FILE)) as file:
        kernel, bias, pixels = file["kernel"], file["bias"], int(file["pixels"])
    frozen, layers = backbone("bundled", pixels), keras.layers
    inputs = keras.Input(frozen.output_shape[1:])
    head = layers.Dense(len(bias), activation="softmax", name="head")
    tail = keras.Model(inputs, head(layers.GlobalAveragePooling2D()(inputs)))
    head.set_weights([kernel, bias])
    return join(frozen, tail)


def split_at(model: keras.Model, layer_name: str) -> tuple[keras.Model, keras.Model]:
    """Cut a model behind a layer into (frozen, tail), which share its weights.

    `tail(frozen(x))` is `model(x)`. Raises `CourseError` for a layer that is not there
    or that another path goes around, as inside DenseNet's dense layers.
    """
    try:
        boundary = model.get_layer(layer_name).output
        return keras.Model(model.input, boundary), keras.Model(boundary, model.output)
    except ValueError as error:
        reason = "is not a layer" if "No such layer" in str(error) else "is no boundary"
        raise CourseError(
            f"{layer_name!r} {reason} of {model.name}; expected a layer that all paths "
            "go through, such as pool2_pool, pool3_pool, pool4_pool."
        ) from None


def join(
    frozen: keras.Model, tail: keras.Model, scale: str = "imagenet"
) -> keras.Model:
    """Put both parts and the preprocessing into one model for grey images.

    Input: uint8 [n, pixels, pixels], 0..255; output: the tail's. The parts are shared,
    so training the tail trains the joined model. `scale`: see `batches.preprocess`.
    """
    images = keras.Input(frozen.input_shape[1:3], dtype="uint8", name="grey")
    return keras.Model(images, tail(frozen(batches.preprocess(images, scale))))


def set_frozen(model: keras.Model, boundary: str, norms_too: bool = True) -> None:
    """Freeze every layer up to `boundary`, and every BatchNormalization after it too.

    A frozen BatchNormalization runs in inference mode: it uses the mean and variance it
    was loaded with, and `fit` does not touch them. With `norms_too` False those after
    the boundary train and follow the batches. Compile the model afterwards. Raises
    `CourseError` for a layer that is not there. Source: the Keras guide on transfer
    learning, https://keras.io/guides/transfer_learning/
    """
    names = [layer.name for layer in model.layers]
    if boundary not in names:
        raise CourseError(
            f"{boundary!r} is not a layer of {model.name}; for DenseNet121 expected "
            "pool4_pool (the last block trains), relu (nothing trains), or another."
        )
    last_frozen = names.index(boundary)
    for position, layer in enumerate(model.layers):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = position > last_frozen and not (is_norm and norms_too)


def activations(
    frozen: keras.Model, images: np.ndarray, name: str, scale: str = "imagenet"
) -> np.memmap:
    """Return the frozen part's output for grey images, computed once and then cached.

    `images` uint8 [n, height, width], preprocessed here (`scale`: see
    `batches.preprocess`), or an earlier part's activations, float32; returns float32
    [n, ...], a read-only memory map of a file in `cache_dir()/activations`. The file's
    name holds `name`, for people, and a hash of the images, the weights and the
    boundary, so nothing stale is used and one computation serves every name. The file
    appears whole or not at all. Raises `CourseError` when the disk is full.
    """
    key = _key(frozen, images, scale)
    path = _cached(key) or cache_dir() / "activations" / f"{name}-{key}.npy"
    shape = (len(images), *frozen.output_shape[1:])
    if path.exists():
        stored = _stored(path, shape)
        if stored is not None:
            return stored
        print(f"{path} is damaged; computing it again.")
    # Not through a memory map: a full disk would end Python with a bus error.
    header = {
        "descr": np.dtype(np.float32).str,
        "fortran_order": False,
        "shape": shape,
    }
    head, digest = io.BytesIO(), hashlib.sha256()
    np.lib.format.write_array_header_1_0(head, header)
    with whole_file(path) as file:
        digest.update(head.getvalue())
        file.write(head.getvalue())
        for block in _predict_blocks(frozen, images, scale, f"activations {name}"):
            block = np.ascontiguousarray(block, np.float32)
            digest.update(block)
            file.write(block)
        file.write(digest.digest())  # behind the array, where NumPy does not look
    return np.load(path, mmap_mode="r")


def _stored(path: Path, shape: tuple) -> np.memmap | None:
    """Return cached activations, or None if they are not as they were written."""
    try:
        found = np.load(path, mmap_mode="r")
        if found.shape != shape or found.dtype != np.float32:
            return None
        end = found.offset + found.nbytes
        if path.stat().st_size == end:  # written before there was a fingerprint
            return found
        return found if _is_whole(path, end, path.stat().st_mtime_ns) else None
    except (ValueError, OSError, EOFError, AttributeError):
        return None


@lru_cache(maxsize=256)
def _is_whole(path: Path, end: int, time: int) -> bool:
    """Compare a file up to `end` with the SHA-256 behind it, once for each `time`."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for start in range(0, end, _PIECE):
            digest.update(file.read(min(_PIECE, end - start)))
        return file.read() == digest.digest()


def has_activations(
    frozen: keras.Model, images: np.ndarray, scale: str = "imagenet"
) -> bool:
    """Tell whether `activations` would find its result on the disk."""
    return _cached(_key(frozen, images, scale)) is not None


def _source(weights: str) -> Path | str | None:
    """Return what to load: a file, "bundled", "imagenet", or None: random weights."""
    if weights == "auto":
        weights = weights_setting()
    if weights == "auto":
        # The list of hashes says what the course came with, even if the file is gone.
        listed = (ROOT / "data" / "weights" / HASHES_FILE).exists()
        weights = "bundled" if listed else "none"
    if weights == "none":
        return None
    if weights in ("bundled", "imagenet"):
        return weights
    path = whole_path(weights)
    if not path.is_file():
        raise CourseError(
            f"no weights file at {path}; expected auto, bundled, imagenet, none, or "
            "the path of a Keras weights file (.weights.h5). See BRAIN_MRI_WEIGHTS."
        )
    return path


def _checked(name: str) -> Path:
    """Return the path of a file in data/weights whose bytes are the committed ones."""
    folder = ROOT / "data" / "weights"
    path = folder / name
    try:
        lines = (folder / HASHES_FILE).read_text().splitlines()
        expected = {line.split()[1]: line.split()[0] for line in lines}[name]
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, LookupError) as error:
        problem = f"cannot be read or has no hash in {HASHES_FILE} ({error})"
    else:
        if found == expected:
            return path
        problem = f"is damaged: its SHA-256 is {found[:12]}..., not {expected[:12]}..."
    raise CourseError(
        f"{path}, a part of this course, {problem}. Restore it with `git checkout -- "
        "data/weights` or from a fresh copy of the course, or set BRAIN_MRI_WEIGHTS to "
        "imagenet, none, or a file's path."
    )


def write_hash(path: Path) -> None:
    """Note the SHA-256 of a file in data/weights in the list beside it."""
    listed = path.with_name(HASHES_FILE)
    lines = listed.read_text().splitlines() if listed.exists() else []
    lines = [line for line in lines if line.split()[1] != path.name]
    lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}")
    listed.write_text("\n".join(lines) + "\n")


def _imagenet_file() -> Path:
    """Return Keras' file of ImageNet weights, downloading it if it is not here."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        if not (home / "models" / IMAGENET_FILE).exists():
            request = urllib.request.Request(IMAGENET_URL, method="HEAD")
            urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
        return Path(
            keras.utils.get_file(
                IMAGENET_FILE,
                IMAGENET_URL,
                cache_dir=home,
                cache_subdir="models",
                file_hash=IMAGENET_MD5,
            )
        )
    except Exception as error:  # Keras raises a bare Exception for a failed download
        raise CourseError(
            f"the ImageNet weights are not in {home / 'models'} and cannot be fetched "
            f"({error}). Ways out: go online once; put {IMAGENET_FILE} into that "
            "folder; or set BRAIN_MRI_WEIGHTS to a weights file's path, or to none."
        ) from None


def _load_weights(model: keras.Model, path: Path) -> None:
    # Keras may leave layers that a file does not know as they are, with a warning each.
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    try:
        with warnings.catch_warnings(action="ignore"):
            model.load_weights(path)
        problem = None
    except Exception as error:  # h5py and Keras raise many kinds, some of them bare
        problem = re.split(r"\n|\. ", str(error))[0]
    if problem is None and not all(np.isfinite(w).all() for w in model.get_weights()):
        problem = "weights are missing, or are not numbers"
    if problem:
        problem = kind_of(start_of(path)) or problem
        renamed = re.sub(r"(\.weights)?[ _-]*\(\d+\)\.h5$", ".weights.h5", path.name)
        way = "Fetch the file again"
        if renamed != path.name:  # a browser's name for a second download
            way = f"Keras goes by the ending: rename it to {renamed}"
        raise CourseError(
            f"{path} does not hold the weights of DenseNet121 without its classifier "
            f"({model.count_params():,} parameters): {problem}. {way}, "
            "or set BRAIN_MRI_WEIGHTS to another, to imagenet, or to none."
        ) from None


def _draw_weights(model: keras.Model) -> None:
    """Fill the kernels as He et al. 2015 do, from NumPy: the same on every backend."""
    rng = np.random.default_rng(SEED)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            shape = layer.kernel.shape
            spread = np.sqrt(2 / np.prod(shape[:-1]))
            layer.kernel.assign(spread * rng.standard_normal(shape, np.float32))


def _cached(key: str) -> Path | None:
    return next((cache_dir() / "activations").glob(f"*-{key}.npy"), None)


def _key(frozen: keras.Model, images: np.ndarray, scale: str) -> str:
    digest = hashlib.sha256(frozen.layers[-1].name.encode())
    if scale != "imagenet" and images.dtype == np.uint8:
        digest.update(scale.encode())
    if frozen.compute_dtype != "float32":  # computed in 16 bits, it is not the same
        digest.update(frozen.compute_dtype.encode())
    for array in (images, *frozen.get_weights()):
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:16]


def _predict_blocks(
    frozen: keras.Model,
    images: np.ndarray,
    scale: str,
    description: str,
    batch_size: int = 32,
) -> Iterator[np.ndarray]:
    """Yield the frozen part's output batch by batch, with a progress bar."""
    model = frozen
    if images.dtype == np.uint8:
        grey = keras.Input(frozen.input_shape[1:3], dtype="uint8")
        model = keras.Model(grey, frozen(batches.preprocess(grey, scale)))
    with tqdm(total=len(images), desc=description, unit="image") as bar:
        for start in range(0, len(images), batch_size):
            # The last batch is filled up: another shape would be compiled again.
            rows = np.arange(start, start + batch_size).clip(max=len(images) - 1)
            count = min(batch_size, len(images) - start)
            yield model.predict_on_batch(images[rows])[:count]
            bar.update(count)
