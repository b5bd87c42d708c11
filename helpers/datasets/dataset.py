"""One immutable type for every set of images."""

import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from PIL import Image

from helpers.config import SEED

CLASS_NAMES = ("glioma", "meningioma", "notumor", "pituitary")


@dataclass(frozen=True)
class Dataset:
    """Grey, square slices with their labels and one table row each.

    `images`: uint8 [n, height, width], read-only; `labels`: int64 [n], an index into
    `class_names`; `table`: n rows in the same order with the columns file (unique),
    split ("Training" or "Testing"), class, patient, series, plane, source and, of the
    original file, mode, width and height in pixels, and bytes; what is not known is
    `pd.NA`. Phantoms add site, twin_of and twin_kind. `set_aside`: file and reason of
    what could not be used. `fingerprint`: sha256 of images, labels, file names and
    masks. `masks`: uint8 [n, height, width], 1 on the lesion, or None.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    table: pd.DataFrame
    set_aside: pd.DataFrame
    synthetic: bool
    fingerprint: str
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        _, height, width = self.images.shape
        return f"<{self.name}: {len(self)} {self.badge} slices of {height} x {width}>"

    @property
    def badge(self) -> str:
        """What to write beside every result: "synthetic" or "real"."""
        return "synthetic" if self.synthetic else "real"

    def official_split(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices (int64) of the Training and of the Testing folder."""
        testing = (self.table["split"] == "Testing").to_numpy(bool)
        return np.flatnonzero(~testing), np.flatnonzero(testing)

    def subset(self, indices) -> "Dataset":
        """Return the slices at `indices` (int [m]), in that order, as a new dataset."""
        indices = np.asarray(indices)
        masks = None if self.masks is None else read_only(self.masks[indices])
        table = self.table.iloc[indices].reset_index(drop=True)
        images, labels = read_only(self.images[indices]), self.labels[indices]
        return replace(
            self,
            images=images,
            labels=read_only(labels),
            table=table,
            fingerprint=fingerprint_of(images, labels, table["file"], masks),
            masks=masks,
        )

    def sample(self, num_slices: int, seed: int = SEED) -> "Dataset":
        """Return at most `num_slices` slices, spread over splits and classes as in all.

        The same seed gives the same slices, and a smaller sample is part of a larger
        one. Each split and class keeps at least one slice if `num_slices` allows it.
        """
        if num_slices >= len(self):
            return self
        shuffled = self.table.sample(frac=1, random_state=seed)
        stratum = shuffled.groupby(["split", "class"])["file"]
        # A slice's rank within its stratum, as a share of the stratum: taking the
        # lowest shares first fills all strata at the same rate.
        share = stratum.cumcount() / stratum.transform("size")
        chosen = share.sort_values(kind="stable").index[:num_slices]
        return self.subset(np.sort(chosen.to_numpy()))


def thumbnails(images: np.ndarray, side: int) -> np.ndarray:
    """Shrink images uint8 [n, h, w] to float32 [n, side, side], by averaging boxes."""
    small = [
        Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
        for image in images
    ]
    return np.stack(small).astype(np.float32)


def fingerprint_of(images, labels, files, masks) -> str:
    """Return the sha256 of what a dataset holds; `masks` may be None."""
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels).data)
    digest.update(json.dumps(list(files)).encode())
    if masks is not None:
        digest.update(np.ascontiguousarray(masks).data)
    return digest.hexdigest()


def read_only(array: np.ndarray) -> np.ndarray:
    """Return the array itself, which can no longer be written to."""
    array.setflags(write=False)
    return array
