"""Figshare's slices, whose patients are known, and what networks make of them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import config
from helpers.config import ROOT, CourseError
from helpers.datasets import load_dataset
from helpers.files import whole_file

from .real import imagenet_name, manifest_rows

PIXELS = 96
CLASSES = ("glioma", "meningioma", "pituitary")
FITTED, VALIDATED, SCORED = (0, 1), (2,), (3, 4)  # folds of the manifest
BACKBONES = ("imagenet", "random", "bundled")
LAST_BLOCK = "pool4_pool"  # what goes into the last dense block
LAYERS = (
    *("conv1_relu", "pool1"),
    *("conv2_block3_concat", "conv2_block6_concat", "pool2_pool"),
    *("conv3_block6_concat", "conv3_block12_concat", "pool3_pool"),
    *("conv4_block8_concat", "conv4_block16_concat", "conv4_block24_concat"),
    *("pool4_pool", "conv5_block4_concat", "conv5_block8_concat"),
    *("conv5_block12_concat", "conv5_block16_concat", "relu"),
)


@dataclass(frozen=True)
class Slices:
    """Files from figshare, one a slice: one source, one orientation, no twin.

    `images` uint8 [n, 96, 96], `labels` int [n] (an index into `CLASSES`), `patient`
    and `fold` int [n] from the manifest, `filenames` str [n].
    """

    images: np.ndarray
    labels: np.ndarray
    patient: np.ndarray
    fold: np.ndarray
    filenames: np.ndarray
    fingerprint: str

    def of_folds(self, folds: tuple[int, ...]) -> np.ndarray:
        """Return the indices of the slices in these folds."""
        return np.flatnonzero(np.isin(self.fold, folds))

    def description(self) -> dict:
        """Return how a record names these images."""
        return {
            "name": "masoudnickparvar/brain-tumor-mri-dataset, version 1",
            "copy": f"its {len(self.labels)} tumor files from figshare without a "
            f"conflict, read at {PIXELS} px",
            "fingerprint": self.fingerprint,
        }


def load_slices() -> Slices:
    """Load figshare's tumor files at 96 px; `CourseError` without the real images."""
    if config.data_setting() == "phantom":
        raise CourseError(
            "experiments run on the real images: set BRAIN_MRI_DATA to their folder "
            "(the one that holds Training and Testing), or to kaggle."
        )
    data = load_dataset(pixels=PIXELS)
    rows = manifest_rows(data)
    used = (rows["source"] == "figshare") & (rows["conflict"] == "")
    used = np.flatnonzero(used.to_numpy())
    data, rows = data.subset(used), rows.iloc[used]
    return Slices(
        images=data.images,
        labels=rows["class"].map(CLASSES.index).to_numpy(int),
        patient=rows["patient"].to_numpy(int),
        fold=rows["fold"].to_numpy(int),
        filenames=data.table["file"].to_numpy(dtype=str),
        fingerprint=data.fingerprint,
    )


def weights_of(backbone: str) -> tuple[str, str]:
    """Return what `densenet.backbone` loads for one of `BACKBONES`, and its name."""
    if backbone == "imagenet":
        return "auto", imagenet_name()
    if backbone == "random":
        return "none", f"random (seed {config.SEED})"
    bundled = sorted((ROOT / "data" / "weights").glob("densenet121_*_notop*.h5"))
    if not bundled:
        raise CourseError("data/weights holds no densenet121_*_notop*.h5 yet.")
    return str(bundled[0]), bundled[0].name


def views(slices: Slices, backbone: str) -> dict[str, np.ndarray]:
    """Return what a frozen network makes of every slice, computed once.

    Of `LAYERS` the output's mean over the image, float32 [n, channels]; of `LAST_BLOCK`
    the output itself too, as "pool4_pool map", float32 [n, side, side, channels].
    """
    path = _place(slices, backbone, "npz")
    if path.exists():
        with np.load(path) as file:
            return dict(file)
    import keras  # ten seconds, and only the first time needs it

    from helpers import batches, densenet

    model = densenet.backbone(weights_of(backbone)[0], pixels=PIXELS)
    grey = keras.Input((PIXELS, PIXELS), dtype="uint8")
    pool = keras.layers.GlobalAveragePooling2D
    outputs = {name: pool()(model.get_layer(name).output) for name in LAYERS}
    outputs[f"{LAST_BLOCK} map"] = model.get_layer(LAST_BLOCK).output
    names = list(outputs)
    inner = keras.Model(model.input, list(outputs.values()))
    seen = keras.Model(grey, inner(batches.preprocess(grey), training=False))
    parts = [
        seen.predict_on_batch(slices.images[i : i + 36])
        for i in range(0, len(slices.images), 36)  # 3,060 images: no rest, no retrace
    ]
    found = {
        name: np.concatenate(arrays).astype(np.float32)
        for name, arrays in zip(names, zip(*parts, strict=True), strict=True)
    }
    with whole_file(path) as file:
        np.savez(file, **found)
    return found


def maps_at(slices: Slices, backbone: str, boundary: str) -> np.ndarray:
    """Return every slice's output at a boundary in the last block, computed once.

    float32 [n, side, side, channels].
    """
    import keras

    from helpers import densenet

    path = _place(slices, f"{backbone}-{boundary}", "npy", backbone)
    if not path.exists():
        full = densenet.backbone(weights_of(backbone)[0], pixels=PIXELS)
        ends = (full.get_layer(name).output for name in (LAST_BLOCK, boundary))
        between = keras.Model(*ends)
        inputs = views(slices, backbone)[f"{LAST_BLOCK} map"]
        found = between.predict(inputs, batch_size=180, verbose=0)
        with whole_file(path) as file:
            np.save(file, found)
    return np.load(path)


def pooled_at(slices: Slices, backbone: str, layer: str) -> np.ndarray:
    """Return the mean over the image of one layer's output, computed once.

    float32 [n, channels].
    """
    path = _place(slices, f"{backbone}-{layer}-mean", "npy", backbone)
    if not path.exists():
        import keras

        from helpers import batches, densenet

        model = densenet.backbone(weights_of(backbone)[0], pixels=PIXELS)
        grey = keras.Input((PIXELS, PIXELS), dtype="uint8")
        mean = keras.layers.GlobalAveragePooling2D()(model.get_layer(layer).output)
        inner = keras.Model(model.input, mean)
        seen = keras.Model(grey, inner(batches.preprocess(grey), training=False))
        found = seen.predict(slices.images, batch_size=36, verbose=0)
        with whole_file(path) as file:
            np.save(file, found)
    return np.load(path)


def _place(slices: Slices, name: str, suffix: str, backbone: str = "") -> Path:
    """Return where views are kept; the name follows from images and weights."""
    source, weights_name = weights_of(backbone or name)
    weights = Path(config.weights_setting() if source == "auto" else source)
    content = weights.read_bytes() if weights.is_file() else weights_name.encode()
    key = hashlib.sha256(slices.fingerprint.encode() + content).hexdigest()[:16]
    return config.cache_dir() / "views" / f"{name}-{PIXELS}-{key}.{suffix}"
