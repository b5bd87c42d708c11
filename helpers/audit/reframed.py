"""Find copies of a slice whose frame was moved, zoomed or cut, by aligning them.

The views of `twins` coincide only if frames or heads do. A copy that was zoomed until
the head left the frame has neither. So each slice's most similar heads are aligned with
it, and the part that both frames show is compared as finely as twins are.
"""

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from .twins import (
    MIRRORS,
    SAME_SLICE,
    SIDE,
    SIGNS,
    Signatures,
    best_of_mirrors,
    fine_structure,
    split_in_parts,
)

SMALL = SIDE // 2  # side at which heads are searched and aligned, in pixels
NUM_CANDIDATES = 3  # most similar heads that are aligned with each slice
CANDIDATE = 0.5  # similarity of heads below which alignment is not tried
SCALES = (1.5, 1.5, 1.5, 0.75, 0.75, 0.75)  # blur of each alignment step, in pixels
# Measured as SAME_SLICE was: of 6,995 candidates, 4,931 pairs of different slices of
# known patients stay below .88; 17 pairs, all of one slice, lie above .93.
LARGEST_ZOOM = 1.6  # of one frame against the other
LEAST_SHARED = 0.5  # of width and of height, seen in both frames
ROWS = 256  # heads compared at once, with all others
BATCH = 256  # pairs aligned at once


def reframed_pairs(signatures: Signatures, groups: np.ndarray) -> pd.DataFrame:
    """Return pairs of one slice that `similar_pairs` misses, as it returns them.

    `groups` int [n]: what is known to be one slice already; one image of each is tried.
    `view` is "aligned". A pair counts from `SAME_SLICE` on.
    """
    _, rows = np.unique(groups[signatures.first], return_index=True)
    rows = np.sort(rows)
    images = [signatures.images[index] for index in signatures.first[rows]]
    heads = np.stack(
        [_resized(i, h) for i, h in zip(images, signatures.head[rows], strict=True)]
    )
    pairs = _candidates(_band(heads, 1))
    frames = np.stack([_resized(image, (0, 0, 1, 1)) for image in images])
    similarity = np.zeros(len(pairs))
    starts = range(0, len(pairs), BATCH)
    for start in tqdm(starts, "aligning", leave=False):
        some = pairs[start : start + BATCH]
        similarity[start : start + BATCH] = _aligned_similarity(
            images, frames, signatures.head[rows], some
        )
    same = similarity >= SAME_SLICE
    first, second, mirror = pairs[same].T
    ends = np.sort(signatures.first[rows[np.stack([first, second])]], axis=0)
    return pd.DataFrame(
        {
            "first": ends[0],
            "second": ends[1],
            "similarity": similarity[same],
            "mirror": np.array(MIRRORS)[mirror],
            "view": "aligned",
        }
    )


def _candidates(heads: np.ndarray) -> np.ndarray:
    """Return pairs of similar heads [m, 32, 32], int [pairs, 3]: two rows, mirror."""
    heads = heads - heads.mean((1, 2), keepdims=True)
    heads /= np.linalg.norm(heads, axis=(1, 2), keepdims=True) + 1e-6
    parts = split_in_parts(heads[None])[0]
    found = []
    for start in range(0, len(heads), ROWS):
        products = parts[:, start : start + ROWS] @ parts.swapaxes(-1, -2)
        best = best_of_mirrors(products)
        best[np.arange(len(best)), np.arange(start, start + len(best))] = -1
        count = min(NUM_CANDIDATES, len(heads) - 1)
        nearest = np.argpartition(-best, count - 1, axis=1)[:, :count]
        i, rank = np.nonzero(np.take_along_axis(best, nearest, 1) >= CANDIDATE)
        j = nearest[i, rank]
        mirror = (SIGNS @ products[:, i, j]).argmax(0)
        ends = np.sort(np.stack([i + start, j]), axis=0)
        found.append(np.stack([*ends, mirror], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _aligned_similarity(images, frames, heads, pairs) -> np.ndarray:
    """Align each pair's second image with the first; return similarities [pairs]."""
    a = frames[pairs[:, 0]]
    b = np.stack([_mirrored(frames[j], m) for _, j, m in pairs])
    boxes = _aligned(a, b, _where_heads_meet(heads, pairs))
    views = np.zeros((2, len(pairs), SIDE, SIDE), np.float32)
    for row, ((i, j, mirror), box) in enumerate(zip(pairs, boxes, strict=True)):
        zoom = box[2:] - box[:2]
        if zoom.min() < 1 / LARGEST_ZOOM or zoom.max() > LARGEST_ZOOM:
            continue
        # What of the first frame the second one shows too, and where that is in it.
        low = np.clip(-box[:2] / zoom, 0, 1)
        high = np.clip((1 - box[:2]) / zoom, 0, 1)
        if (high - low).min() < LEAST_SHARED:
            continue
        views[0, row] = _resized(images[i], (*low, *high), SIDE)
        there = (*(box[:2] + low * zoom), *(box[:2] + high * zoom))
        views[1, row] = _resized(_mirrored(images[j], mirror), there, SIDE)
    one, other = fine_structure(views)
    return (one * other).sum((1, 2))


def _where_heads_meet(heads: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return where the first frame lies in the mirrored second, if the heads coincide.

    In fractions of the second frame: left, top, right, bottom, [pairs, 4].
    """
    ours, theirs = heads[pairs[:, 0]], heads[pairs[:, 1]].copy()
    for axis in (0, 1):
        flipped = (pairs[:, 2] >> axis & 1).astype(bool)
        theirs[flipped, axis::2] = 1 - theirs[flipped, axis::2][:, ::-1]
    zoom = (theirs[:, 2:] - theirs[:, :2]) / (ours[:, 2:] - ours[:, :2])
    corner = theirs[:, :2] - ours[:, :2] * zoom
    return np.concatenate([corner, corner + zoom], axis=1)


def _aligned(a: np.ndarray, b: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Move and zoom each box in `b` until it shows what `a` shows.

    a, b: [pairs, 32, 32]; boxes: fractions of b, [pairs, 4], where a's frame is thought
    to lie. Gauss-Newton steps on band-passed images (Lucas & Kanade 1981), first on
    coarse structure, then on finer. Pixels outside b do not count.
    """
    at = (np.arange(SMALL, dtype=np.float32) + 0.5) / SMALL
    corner, zoom = boxes[:, :2].astype("f"), (boxes[:, 2:] - boxes[:, :2]).astype("f")
    bands = {scale: (_band(a, scale), _band(b, scale)) for scale in set(SCALES)}
    for scale in SCALES:
        ours, theirs = bands[scale]
        # Bilinear sampling along each axis is a product with a matrix of weights.
        x, y = (
            _weights((corner[:, [axis]] + zoom[:, [axis]] * at) * SMALL - 0.5)
            for axis in (0, 1)
        )
        seen = (y.sum(2) > 0.99)[:, :, None] & (x.sum(2) > 0.99)[:, None, :]
        warped, down, right = (
            y @ image @ x.swapaxes(1, 2)
            for image in (theirs, *np.gradient(theirs, 1 / SMALL, axis=(1, 2)))
        )
        slopes = np.stack([right, right * at, down, down * at[:, None]], axis=3)
        slopes = (slopes * seen[..., None]).reshape(len(a), -1, 4)
        missing = ((ours - warped) * seen).reshape(len(a), -1, 1)
        across = slopes.swapaxes(1, 2)
        squares = across @ slopes
        # A little damping keeps a flat image, which has no slopes, where it is.
        damping = 1e-3 * np.trace(squares, axis1=1, axis2=2) + 1e-6
        squares += damping[:, None, None] * np.eye(4, dtype=np.float32)
        step = np.linalg.solve(squares, across @ missing)[:, :, 0].clip(-0.05, 0.05)
        corner, zoom = corner + step[:, 0::2], zoom + step[:, 1::2]
    return np.concatenate([corner, corner + zoom], axis=1)


def _band(images: np.ndarray, scale: float) -> np.ndarray:
    """Filter images [n, h, w] as `fine_structure` does, at a coarser scale."""

    def blurred(values, sigma):
        return gaussian_filter(values, sigma, axes=(1, 2))

    edges = blurred(images, scale) - blurred(images, 3 * scale)
    return edges / (np.sqrt(blurred(edges**2, 4 * scale)) + 2)


def _weights(positions: np.ndarray) -> np.ndarray:
    """Return bilinear weights [pairs, n, 32] of the pixels around positions."""
    distances = np.abs(positions[:, :, None] - np.arange(SMALL, dtype=np.float32))
    return np.clip(1 - distances, 0, None)


def _mirrored(image: np.ndarray, mirror: int) -> np.ndarray:
    if mirror & 1:
        image = image[:, ::-1]
    return image[::-1] if mirror & 2 else image


def _resized(image: np.ndarray, box, side: int = SMALL) -> np.ndarray:
    """Return what lies in `box` (fractions) of an image as float32 [side, side]."""
    height, width = image.shape
    size = np.array([width, height, width, height])
    corners = np.clip(box * size, 0, size)
    picture = Image.fromarray(np.ascontiguousarray(image))
    resized = picture.resize((side, side), Image.Resampling.BOX, tuple(corners))
    return np.asarray(resized, np.float32)
