"""The real images as experiments see them: splits, manifest rows, ImageNet features."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from helpers import audit, config
from helpers.audit import manifest
from helpers.config import CourseError
from helpers.datasets import Dataset, load_dataset
from helpers.files import whole_file

PIXELS = 224
BOUNDARY = "pool4_pool"  # what follows is the last dense block: 2.16 of 7.04 million
VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class RealData:
    """The real images with the official split and its inner validation part.

    `fit` and `val` are disjoint parts of Training that share no exact duplicate.
    """

    data: Dataset
    group: np.ndarray
    fit: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        return self.data.labels

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The manifest's row of every image, in the images' order."""
        return manifest_rows(self.data)


def real_images() -> Dataset:
    """Load the real images at 224 px; `CourseError` for phantoms or other classes."""
    if config.data_setting() == "phantom":
        raise CourseError(
            "experiments run on the real images: set BRAIN_MRI_DATA to their folder "
            "(the one that holds Training and Testing), or to kaggle."
        )
    data = load_dataset(pixels=PIXELS)
    if data.class_names != ("glioma", "meningioma", "notumor", "pituitary"):
        raise CourseError(
            f"{data.name} has the classes {data.class_names}; expected 4."
        )
    return data


def load_real() -> RealData:
    """Load the real images and split Training into fit and validation."""
    data = real_images()
    group = audit.exact_duplicate_groups(data.images)
    train, test = data.official_split()
    fit, val = audit.inner_split(data.labels[train], group[train], VALIDATION_SHARE)
    return RealData(data, group, train[fit], train[val], test)


def imagenet_name() -> str:
    """Return the name of the reader's ImageNet weights; `CourseError` for others."""
    from helpers import densenet

    weights = densenet.weights_name("auto")
    if "imagenet" not in weights:
        raise CourseError(
            f"the weights are {weights!r}; expected ImageNet's. Set BRAIN_MRI_WEIGHTS "
            "to imagenet or to the path of densenet121_imagenet_notop.weights.h5."
        )
    return weights


def imagenet_backbone(pixels: int = PIXELS):
    """Build DenseNet121 with ImageNet's weights, which the reader has to have."""
    from helpers import densenet

    imagenet_name()
    return densenet.backbone("auto", pixels=pixels)


def frozen_activations(real: RealData):
    """Return what the frozen part makes of every image, and the untrained tail."""
    from helpers import densenet

    frozen, tail = densenet.split_at(imagenet_backbone(), BOUNDARY)
    return densenet.activations(frozen, real.data.images, "imagenet-224"), tail


def features_of(real: RealData) -> np.ndarray:
    """Return globally pooled ImageNet features, float32 [n, 1024], of every image."""
    from .pieces import digest, weights_sha256

    key = {"images": real.data.fingerprint, "weights_sha256": weights_sha256()}
    path = config.cache_dir() / f"features-{digest(key)}.npy"
    if path.exists():
        return np.load(path)
    import keras

    activations, tail = frozen_activations(real)
    pooled = keras.layers.GlobalAveragePooling2D()(tail.output)
    # In steps: predict would copy the whole memory map into memory first.
    model, steps = keras.Model(tail.input, pooled), range(0, len(activations), 512)
    features = np.concatenate(
        [model.predict(activations[i : i + 512], verbose=0) for i in steps]
    )
    with whole_file(path) as file:
        np.save(file, features)
    return features


def manifest_rows(data: Dataset) -> pd.DataFrame:
    """Return the manifest's row of every image; `CourseError` where one has none."""
    rows = manifest.load().set_index("filename")
    missing = data.table.loc[~data.table["file"].isin(rows.index), "file"]
    if len(missing):
        raise CourseError(
            f"{missing.iloc[0]} and {len(missing) - 1} more files are not in "
            f"{manifest.PATH.name}; expected Kaggle's version 1."
        )
    return rows.loc[data.table["file"]]
