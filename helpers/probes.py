"""Classifiers that cannot know anything about tumors, to see what a test rewards.

One copies the label of the most similar training image, one is told how a file was
saved, one sees the edge of the picture and never its middle, one sees its greys but
not where they are.
"""

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import NearestNeighbors

from helpers.config import SEED

EDGE = 6  # pixels of 224 at each side that count as border
CORNER = 24  # side of the squares in the corners, in pixels of 224
DARK = 16  # grey value below which a pixel counts as background


def copied_from(
    small: np.ndarray, train: np.ndarray, test: np.ndarray, mirrored: bool
) -> np.ndarray:
    """Return the training image nearest to each test image, as indices [test].

    `small` [n, side, side]; nearest by Euclidean distance between grey values.
    `mirrored`: compare with the left-right mirror image of each training image too.
    """
    known = small[train]
    if mirrored:
        known = np.concatenate([known, known[:, :, ::-1]])
    search = NearestNeighbors(n_neighbors=1).fit(known.reshape(len(known), -1))
    near = search.kneighbors(small[test].reshape(len(test), -1), return_distance=False)
    return train[near[:, 0] % len(train)]


def border_numbers(images: np.ndarray) -> np.ndarray:
    """Return 22 numbers from the edge of each image, float64 [n, 22].

    `images` uint8 [n, h, w]. Mean, spread and dark share of each of the four edges;
    mean and spread of each of the four corners; mean and spread of all of it.
    """
    edge, corner = (max(1, images.shape[1] * p // 224) for p in (EDGE, CORNER))
    flat = images.reshape(len(images), -1)
    inner = np.zeros(images.shape[1:], bool)
    inner[edge:-edge, edge:-edge] = True
    strips = [images[:, :edge], images[:, -edge:]]
    strips += [images[:, :, :edge], images[:, :, -edge:]]
    strips = [strip.reshape(len(images), -1) for strip in strips]
    squares = [
        images[:, rows, columns].reshape(len(images), -1)
        for rows in (slice(corner), slice(-corner, None))
        for columns in (slice(corner), slice(-corner, None))
    ]
    numbers = [part.mean(1) for part in (*strips, *squares)]
    numbers += [part.std(1) for part in (*strips, *squares)]
    numbers += [(strip < DARK).mean(1) for strip in strips]
    border = flat[:, ~inner.ravel()]
    return np.stack([*numbers, border.mean(1), border.std(1)], axis=1)


def grey_histograms(images: np.ndarray, num_bins: int = 32) -> np.ndarray:
    """Return the share of pixels in each of `num_bins` grey ranges, float64 [n, bins].

    `images` uint8 [n, h, w]; the ranges are equally wide. Where a pixel lies is gone.
    """
    bins = np.arange(256) * num_bins // 256
    counts = [np.bincount(bins[image.ravel()], minlength=num_bins) for image in images]
    return np.stack(counts) / images[0].size


def oriented_gradients(
    images: np.ndarray, cell: int = 8, num_angles: int = 9
) -> np.ndarray:
    """Return histograms of gradient directions, float32 [n, d], for square images.

    `images` [n, side, side], side a multiple of `cell`. In each cell of pixels, edges
    vote for their direction (0 to 180 degrees, `num_angles` bins) with their strength;
    each 2 x 2 cells are brought to length 1 together (HOG, Dalal & Triggs 2005,
    without their interpolation between bins).
    """
    down, right = np.gradient(images.astype(np.float32), axis=(1, 2))
    strength = np.hypot(down, right)
    angle = np.mod(np.arctan2(down, right), np.pi) / np.pi
    bins = np.minimum((angle * num_angles).astype(int), num_angles - 1)
    num_images, side = images.shape[:2]
    cells = np.zeros((num_images, side // cell, side // cell, num_angles), np.float32)
    for number in range(num_angles):
        votes = np.where(bins == number, strength, 0)
        votes = votes.reshape(num_images, side // cell, cell, side // cell, cell)
        cells[..., number] = votes.sum(axis=(2, 4))
    squares = (cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1])
    blocks = np.concatenate([*squares, cells[:, 1:, 1:]], axis=-1)
    length = np.linalg.norm(blocks, axis=-1, keepdims=True)
    return (blocks / (length + 1)).reshape(num_images, -1)


def forest_probabilities(
    numbers: np.ndarray,
    labels: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    num_trees: int,
    seed: int = SEED,
) -> np.ndarray:
    """Return class probabilities [test, k] of a random forest on `numbers` [n, d]."""
    forest = RandomForestClassifier(num_trees, random_state=seed, n_jobs=2)
    return forest.fit(numbers[train], labels[train]).predict_proba(numbers[test])


def mode_probabilities(
    modes: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Return each class' share among training files saved in the same colour mode.

    `modes` str [n], such as L or RGB. A mode that Training does not know gets the
    shares of all. Returns [test, k].
    """
    num_classes = labels.max() + 1
    everything = np.bincount(labels[train], minlength=num_classes)
    shares = {}
    for mode in np.unique(modes[train]):
        counts = np.bincount(labels[train][modes[train] == mode], minlength=num_classes)
        shares[mode] = counts / counts.sum()
    return np.stack([shares.get(m, everything / len(train)) for m in modes[test]])
