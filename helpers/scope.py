"""Is this a picture of the kind that a network was taught? Chapter 13.

Two looks, and neither knows what is on the picture: how far its features lie from those
that the network learned from, and plain checks that need no network.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from sklearn.covariance import LedoitWolf

from helpers.scans import Scan

COLOURED = 0.02  # share of pixels that are not grey, above which a picture is coloured
TINY = 64  # pixels a side, below which there is nothing to see
LONG = 2.0  # times as long as wide: no head fills such a frame
DARK = 26  # grey value (a tenth of white) up to which a pixel is background
EMPTY = 0.03  # share of brighter pixels below which there is no head
PART = 0.04  # of the frame: a smaller patch is no picture of its own
ALIKE = 0.4  # of the largest patch's area: a montage has several of about one size


@dataclass(frozen=True)
class Scope:
    """What a network's features looked like in training.

    `means` float32 [k, d], one row a class; `precision` float32 [d, d], the inverse of
    the covariance around them. No row of it is a person's.
    """

    means: np.ndarray
    precision: np.ndarray

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return the Mahalanobis distance to the nearest class mean, float64 [n]."""
        away = np.asarray(features, float)[:, None] - self.means
        squares = np.einsum("nkd,de,nke->nk", away, self.precision, away, optimize=True)
        return np.sqrt(np.maximum(squares.min(axis=1), 0))


def fit(features: np.ndarray, labels: np.ndarray) -> Scope:
    """Describe the features [n, d] that a network learned from, class by class.

    One covariance for all classes, as Lee et al. 2018 (NeurIPS) have it, shrunk as
    Ledoit & Wolf 2004 say, since there may be fewer images than features.
    """
    features, labels = np.asarray(features, float), np.asarray(labels)
    classes = np.unique(labels)
    means = np.stack([features[labels == c].mean(axis=0) for c in classes])
    around = features - means[np.searchsorted(classes, labels)]
    precision = LedoitWolf(assume_centered=True).fit(around).precision_
    return Scope(means.astype(np.float32), precision.astype(np.float32))


def limit_for(distances: np.ndarray, budget: float) -> float:
    """Return the smallest limit that at most a share `budget` of distances exceed.

    `distances` [n]: of pictures that are in scope and were not learned from.
    """
    ordered = np.sort(np.asarray(distances, float))
    allowed = int(np.floor(budget * len(ordered) + 1e-9))
    return float(ordered[len(ordered) - 1 - min(allowed, len(ordered) - 1)])


def doubts(scan: Scan) -> list[str]:
    """Return what a picture's file and frame say against it, in words; [] if nothing.

    Thresholds were set by eye, not tuned; chapter 13 measures what they cost.
    """
    found = []
    if scan.modality not in ("", "MR"):
        found.append(f"its header says {scan.modality}, not MR")
    if scan.coloured > COLOURED:
        found.append(f"coloured in {scan.coloured:.0%} of its pixels")
    short, long = sorted((scan.width, scan.height))
    if short < TINY:
        found.append(f"tiny: {scan.width} x {scan.height} pixels")
    if long > LONG * short:
        found.append(f"a frame of {scan.width} x {scan.height} pixels")
    share = float((scan.image > DARK).mean())
    if share < EMPTY:
        found.append("nearly empty")
    elif (parts := montage_of(scan.image)) > 1:
        found.append(f"a montage of {parts} pictures, it seems")
    return found


def montage_of(image: np.ndarray) -> int:
    """Count the patches of about one size that a dark ground parts, uint8 [h, w]."""
    filled = ndimage.binary_fill_holes(ndimage.median_filter(image, 3) > DARK)
    areas = np.bincount(ndimage.label(filled)[0].ravel())[1:]
    if not len(areas) or areas.max() < PART * image.size:
        return 0
    return int((areas >= max(ALIKE * areas.max(), PART * image.size)).sum())
