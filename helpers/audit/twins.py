"""Find images that show the same slice, though mirrored, re-framed or re-encoded.

Each image becomes two small views: the whole frame and the head's bounding box. Both
are filtered so that only fine structure is left, with the same strength everywhere.
Two images are as similar as their views correlate, in the best of four mirror states.

A mirror only changes the sign of a view's antisymmetric parts. So each view is stored
as four parts (even or odd, up-down and left-right), and the four mirror states of all
pairs cost one matrix product, not four.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

SIDE = 64  # of a view, in pixels
HALF = SIDE // 2
VIEWS = ("frame", "head")
MIRRORS = ("none", "left-right", "up-down", "both")
# Rows: mirror states. Columns: parts even-even, even-odd, odd-even, odd-odd
# (up-down, then left-right). A mirror negates the parts that are odd along its axis.
SIGNS = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
# Measured on Kaggle's dataset, where figshare tells which slice and patient 4,750 files
# show (data/recorded/twin-pairs.json): pairs of one slice start at .958, pairs of other
# slices end at .858, and between the two lies nothing. In notumor, which figshare does
# not know, pairs down to .75 were one slice with changed greys wherever we looked.
SAME_SLICE = 0.90
# Of the pairs of other slices that reach .65, 3,399 are of one patient and 7 are not.
SAME_SERIES = 0.65
CHUNK = 64  # images filtered at once
BLOCK = 1024  # images compared at once, with as many others


@dataclass(frozen=True)
class Signatures:
    """What is compared: each distinct image once, in an order set by content alone.

    `images`: what they were made of, uint8 [n, height, width], not copied. `which`:
    int64 [n], the row of each image; images with identical pixels share one.
    `parts`: float32 [2 views, 4 parts, m rows, 1024], where the parts of one view have
    norm 1 together. `head`: float64 [m, 4], the head's box as left, top, right and
    bottom, in fractions of the frame.
    """

    images: np.ndarray
    which: np.ndarray
    parts: np.ndarray
    head: np.ndarray

    def __len__(self) -> int:
        return len(self.head)

    @property
    def first(self) -> np.ndarray:
        """The first image with each row's content, int64 [m]."""
        return np.unique(self.which, return_index=True)[1]


def digests(images: np.ndarray) -> list[str]:
    """Return the SHA-256 of each image's pixels, in hexadecimal."""
    return [hashlib.sha256(np.ascontiguousarray(i)).hexdigest() for i in images]


def exact_duplicate_groups(images: np.ndarray) -> np.ndarray:
    """Number the images so that those with identical pixels share a number.

    `images` uint8 [n, height, width]; returns int64 [n], numbered in order of first
    appearance from 0. Pixels are compared through their SHA-256.
    """
    found = np.array(digests(images), object)
    return pd.factorize(found)[0].astype(np.int64)


def signatures(images: np.ndarray) -> Signatures:
    """Return what is compared of each image; `images` uint8 [n, height, width].

    Give at least 150 pixels a side: on phantoms of 160 all planted twins are found, on
    phantoms of 96 only half of the re-framed ones, whose fine structure is gone.
    """
    _, first, which = np.unique(digests(images), return_index=True, return_inverse=True)
    parts = np.empty((len(VIEWS), 4, len(first), HALF * HALF), np.float32)
    head = np.empty((len(first), 4))

    def fill(start: int) -> None:
        chunk = slice(start, start + CHUNK)
        views = np.empty((len(VIEWS), len(first[chunk]), SIDE, SIDE), np.float32)
        for row, index in enumerate(first[chunk]):
            image = Image.fromarray(images[index])
            box = head_box(images[index])
            views[0, row] = image.resize((SIDE, SIDE), Image.Resampling.BOX)
            views[1, row] = image.resize((SIDE, SIDE), Image.Resampling.BOX, box)
            head[start + row] = np.array(box) / (image.size * 2)
        parts[:, :, chunk] = split_in_parts(fine_structure(views))

    with ThreadPoolExecutor() as pool:
        starts = range(0, len(first), CHUNK)
        list(tqdm(pool.map(fill, starts), "signatures", len(starts), leave=False))
    return Signatures(images, which.astype(np.int64), parts, head)


def head_box(image: np.ndarray) -> tuple[int, int, int, int]:
    """Return the head's bounding box in pixels: left, top, right, bottom.

    The head is what is brighter than an eighth of the brightest tissue, in squares of
    2 % of the frame: letters, scale bars and frames are thinner. Without a head, the
    box is the whole image.
    """
    height, width = image.shape
    brightest = np.searchsorted(
        np.bincount(image.ravel(), minlength=256).cumsum(), 0.99 * image.size
    )
    squares = image > max(10, 0.12 * brightest)
    size = max(2, round(0.022 * min(height, width)))
    for axis in (0, 1):  # true where a whole square that starts there is bright
        length = squares.shape[axis] - size + 1
        squares = np.logical_and.reduce(
            [squares.take(range(i, i + length), axis) for i in range(size)]
        )
    rows, columns = (np.flatnonzero(squares.any(axis)) for axis in (1, 0))
    if not len(rows):
        return 0, 0, width, height
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + size, int(rows[-1]) + size


def similar_pairs(signatures: Signatures, at_least: float) -> pd.DataFrame:
    """Return the pairs of images that are at least so similar, most similar first.

    Columns: `first` and `second` (positions, first < second), `similarity` (at most
    1), `mirror` (which mirroring of one makes it the other: none, left-right, up-down
    or both) and `view` (frame or head). An image with identical pixels is paired only
    with its first copy, similarity 1. Exact search; its cost grows with n squared.
    """
    found = [_exact_pairs(signatures)]
    blocks = _blocks(signatures, signatures, upper=True)
    count = -(-len(signatures) // BLOCK)
    for row, column, products in tqdm(
        blocks, "comparing", count * (count + 1) // 2, leave=False
    ):
        i, j = np.nonzero(_best(products) >= at_least)
        keep = i + row < j + column
        i, j = i[keep], j[keep]
        table = _describe(products[:, :, i, j])
        table.insert(0, "first", signatures.first[i + row])
        table.insert(1, "second", signatures.first[j + column])
        found.append(table)
    pairs = pd.concat(found, ignore_index=True)
    ends = np.sort(pairs[["first", "second"]].to_numpy(), axis=1)
    pairs["first"], pairs["second"] = ends.T
    return pairs.sort_values(
        ["similarity", "first", "second"], ascending=[False, True, True]
    ).reset_index(drop=True)


def nearest(signatures: Signatures, reference: Signatures) -> pd.DataFrame:
    """Return each image's most similar reference image, one row an image.

    Columns: `reference` (its position), `similarity`, `mirror`, `view`, as in
    `similar_pairs`.
    """
    found = []
    for row, column, products in _blocks(signatures, reference, upper=False):
        j = _best(products).argmax(1)
        i = np.arange(len(j))
        table = _describe(products[:, :, i, j])
        table.insert(0, "reference", reference.first[j + column])
        found.append(table.set_index(row + i))
    best = pd.concat(found).sort_values("similarity", ascending=False, kind="stable")
    best = best[~best.index.duplicated()]
    return best.loc[signatures.which].reset_index(drop=True)


def groups(num_images: int, pairs: pd.DataFrame) -> np.ndarray:
    """Number the images so that those linked by pairs share a number, int64 [n].

    Numbered in order of first appearance from 0. Links chain: two images may share a
    number without being a pair.
    """
    first, second = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    links = coo_array(
        (np.ones(len(pairs), bool), (first, second)), (num_images, num_images)
    )
    labels = connected_components(links, directed=False)[1]
    return pd.factorize(labels)[0].astype(np.int64)


def fine_structure(views: np.ndarray) -> np.ndarray:
    """Filter views [..., 64, 64] so that grey mapping and contrast drop out.

    A difference of Gaussians keeps edges, which move from slice to slice, and drops
    brightness, which does not. Dividing by the local strength makes weak edges count
    as much as strong ones; 2 grey values stop it from amplifying noise. The result has
    mean 0 and norm 1.
    """

    def blurred(values, sigma):
        return gaussian_filter(values, sigma, axes=(-2, -1))

    edges = blurred(views, 0.5) - blurred(views, 1.5)
    edges /= np.sqrt(blurred(edges**2, 2)) + 2
    edges -= edges.mean((-2, -1), keepdims=True)
    return edges / (np.linalg.norm(edges, axis=(-2, -1), keepdims=True) + 1e-6)


def split_in_parts(views: np.ndarray) -> np.ndarray:
    """Split views [v, n, side, side] in parts [v, 4, n, side²/4]; norms stay."""

    def even_and_odd(values, axis):
        low, high = np.split(values, 2, axis)
        high = np.flip(high, axis)
        return [(low + high) * np.sqrt(0.5), (low - high) * np.sqrt(0.5)]

    quarters = [q for half in even_and_odd(views, -2) for q in even_and_odd(half, -1)]
    stacked = np.stack(quarters, axis=1)
    return stacked.reshape(*stacked.shape[:3], -1)


def _blocks(
    rows: Signatures, columns: Signatures, upper: bool
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield row, column and the products [2 views, 4 parts, rows, columns] there."""
    for row in range(0, len(rows), BLOCK):
        block = rows.parts[:, :, row : row + BLOCK]
        for column in range(row if upper else 0, len(columns), BLOCK):
            other = columns.parts[:, :, column : column + BLOCK]
            yield row, column, block @ other.swapaxes(-1, -2)


def best_of_mirrors(products: np.ndarray) -> np.ndarray:
    """Return the highest similarity over mirror states, of products [4 parts, ...]."""
    # Equal to the maximum of SIGNS @ products, in fewer passes.
    ee, eo, oe, oo = products
    upright = ee + oe
    upright += np.abs(eo + oo)
    inverted = ee - oe
    inverted += np.abs(eo - oo)
    return np.maximum(upright, inverted, out=upright)


def _best(products: np.ndarray) -> np.ndarray:
    """Return the highest similarity over views and mirror states, [rows, columns]."""
    return np.maximum(*map(best_of_mirrors, products))


def _describe(products: np.ndarray) -> pd.DataFrame:
    """Return similarity, mirror and view of pairs, from products [2, 4, pairs]."""
    states = (SIGNS @ products).reshape(len(VIEWS) * len(MIRRORS), -1)
    views, mirrors = np.divmod(states.argmax(0), len(MIRRORS))
    return pd.DataFrame(
        {
            "similarity": np.minimum(states.max(0), 1).astype(float),
            "mirror": np.array(MIRRORS)[mirrors],
            "view": np.array(VIEWS)[views],
        }
    )


def _exact_pairs(signatures: Signatures) -> pd.DataFrame:
    first = signatures.first[signatures.which]
    copies = np.flatnonzero(first != np.arange(len(first)))
    return pd.DataFrame(
        {
            "first": first[copies],
            "second": copies,
            "similarity": 1.0,
            "mirror": MIRRORS[0],
            "view": VIEWS[0],
        }
    )
