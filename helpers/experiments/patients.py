"""Which patient a file shows and where its lesion is, from figshare's slices."""

import numpy as np
import pandas as pd

from helpers.audit import SAME_SLICE, Signatures, nearest
from helpers.audit.manifest import BOX
from helpers.datasets import Dataset


def match(images: Signatures, slices: Signatures, figshare: Dataset) -> pd.DataFrame:
    """Look every image up among figshare's slices; one row an image.

    Columns: `similarity` to the nearest slice and, where that is the same slice (else
    NA): `figshare_index`, `patient` (our own number for figshare's patient family, from
    1 in the order of its first slice), `figshare_class`, `mirror`, and the lesion's box
    `box_x`, `box_y` (top left), `box_width`, `box_height` in fractions of the image's
    own width and height.
    """
    found = nearest(images, slices)
    same = (found["similarity"] >= SAME_SLICE).to_numpy()
    at = found["reference"].to_numpy()
    index = figshare.table["file"].str.split(".").str[0].astype(int).to_numpy()
    first_slice = pd.Series(index).groupby(figshare.table["series"]).transform("min")
    patient = first_slice.rank(method="dense").astype(int).to_numpy()
    boxes = lesion_boxes(figshare.masks)[at]
    reframed = (found["view"] == "head").to_numpy()
    boxes[reframed] = _within(boxes, slices.head[slices.which[at]])[reframed]
    boxes = _mirrored(boxes, found["mirror"].to_numpy())
    boxes[reframed] = _out_of(boxes, images.head[images.which])[reframed]
    boxes = boxes.clip(0, 1)
    boxes[:, 2:] -= boxes[:, :2]
    table = pd.DataFrame(
        {
            "figshare_index": pd.array(index[at], "Int64"),
            "patient": pd.array(patient[at], "Int64"),
            "figshare_class": figshare.table["class"].to_numpy()[at],
            "mirror": found["mirror"],
            **dict(zip(BOX, boxes.T, strict=True)),
        }
    )
    table.loc[~same] = pd.NA
    table.insert(0, "similarity", found["similarity"])
    return table


def lesion_boxes(masks: np.ndarray) -> np.ndarray:
    """Return each mask's bounding box as fractions: left, top, right, bottom, [n, 4].

    `masks`: 0/1 [n, height, width]. An empty mask has a box of NaN.
    """
    boxes = np.full((len(masks), 4), np.nan)
    for axis, (low, high) in ((1, (0, 2)), (2, (1, 3))):
        filled = (masks > 0).any(axis)
        length = filled.shape[1]
        boxes[:, low] = filled.argmax(1) / length
        boxes[:, high] = 1 - filled[:, ::-1].argmax(1) / length
        boxes[~filled.any(1)] = np.nan
    return boxes


def _within(boxes: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Turn boxes in fractions of the image into fractions of `frames`, both [n, 4]."""
    size = np.tile(frames[:, 2:] - frames[:, :2], 2)
    return (boxes - np.tile(frames[:, :2], 2)) / size


def _out_of(boxes: np.ndarray, frames: np.ndarray) -> np.ndarray:
    size = np.tile(frames[:, 2:] - frames[:, :2], 2)
    return boxes * size + np.tile(frames[:, :2], 2)


def _mirrored(boxes: np.ndarray, mirrors: np.ndarray) -> np.ndarray:
    left, top, right, bottom = boxes.T
    sideways = np.isin(mirrors, ("left-right", "both"))
    upside = np.isin(mirrors, ("up-down", "both"))
    return np.stack(
        [
            np.where(sideways, 1 - right, left),
            np.where(upside, 1 - bottom, top),
            np.where(sideways, 1 - left, right),
            np.where(upside, 1 - top, bottom),
        ],
        axis=1,
    )
