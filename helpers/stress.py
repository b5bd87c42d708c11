"""What may happen to a slice on its way to a network: chapter 12's tools.

Each change takes grey images, uint8 [n, height, width], a severity and a seed, and
returns new ones of the same form. Severity 0 changes nothing; 1, 2 and 3 are mild,
medium and strong, in the unit that `STRESSES` names. What is drawn for an image hangs
on the seed and its place in the array, so the same call gives the same images.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from helpers.config import CourseError

BACKGROUND = 16  # grey value from which on a pixel counts as the head, as in chapter 2


def _rng(seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng((seed, index))


def _grey(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def rician_noise(image: np.ndarray, sigma: float, rng) -> np.ndarray:
    """Return what a magnitude image shows if both its channels carry noise of `sigma`.

    `sigma` in grey values. Source: Gudbjartsson and Patz 1995.
    """
    real, imaginary = rng.normal(0, sigma, (2, *image.shape))
    return np.hypot(image + real, imaginary)


def bias_field(image: np.ndarray, amplitude: float, rng) -> np.ndarray:
    """Return the image under a smooth field from 1 - `amplitude` to 1 + `amplitude`."""
    coarse = rng.normal(size=(3, 3))
    zoom = np.divide(image.shape, coarse.shape)
    field = ndimage.zoom(coarse, zoom, order=3, mode="nearest", grid_mode=True)
    return image * (1 + amplitude * field / np.abs(field).max())


def gamma(image: np.ndarray, factor: float, rng) -> np.ndarray:
    """Return the image with its greys, 0 to 1, raised to `factor` or 1 / `factor`."""
    return 255 * (image / 255) ** (factor ** _sign(rng))


def contrast(image: np.ndarray, share: float, rng) -> np.ndarray:
    """Return the image with only a `share` left of every grey's way from the mean."""
    return image.mean() + share * (image - image.mean())


def blur(image: np.ndarray, width: float, rng) -> np.ndarray:
    """Return the image blurred by a Gaussian of `width`, a share of the image's."""
    return ndimage.gaussian_filter(image.astype(float), width * image.shape[1])


def resolution(image: np.ndarray, factor: float, rng) -> np.ndarray:
    """Return the image sampled `factor` times more coarsely, and enlarged again."""
    size = image.shape[::-1]
    small = tuple(max(1, round(n / factor)) for n in size)
    coarse = Image.fromarray(image).resize(small, Image.Resampling.BOX)
    return np.asarray(coarse.resize(size, Image.Resampling.BILINEAR))


def jpeg(image: np.ndarray, quality: float, rng) -> np.ndarray:
    """Return the image after it was saved as a JPEG of a `quality` from 1 to 95."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file))


def _moved(image: np.ndarray, matrix: np.ndarray, offset=(0.0, 0.0)) -> np.ndarray:
    """Return image(matrix @ (place - centre) + centre + offset), black around it."""
    centre = (np.array(image.shape) - 1) / 2
    start = centre - matrix @ centre + np.asarray(offset)
    return ndimage.affine_transform(image.astype(float), matrix, start, order=1)


def shift(image: np.ndarray, share: float, rng) -> np.ndarray:
    """Return the image moved by a `share` of its width, in a drawn direction."""
    angle = rng.uniform(0, 2 * np.pi)
    way = share * image.shape[1] * np.array([np.sin(angle), np.cos(angle)])
    return _moved(image, np.eye(2), way)


def turn(image: np.ndarray, degrees: float, rng) -> np.ndarray:
    """Return the image turned by `degrees` to one side or the other."""
    angle = np.deg2rad(degrees) * _sign(rng)
    cos, sin = np.cos(angle), np.sin(angle)
    return _moved(image, np.array([[cos, -sin], [sin, cos]]))


def crop(image: np.ndarray, factor: float, rng) -> np.ndarray:
    """Return the image enlarged by `factor`; what leaves the frame is lost."""
    return _moved(image, np.eye(2) / factor)


def squeeze(image: np.ndarray, share: float, rng) -> np.ndarray:
    """Return the image with only a `share` of its width, black on both sides."""
    return _moved(image, np.diag([1, 1 / share]))


def mirror(image: np.ndarray, share: float, rng) -> np.ndarray:
    """Return the mirror image, left for right."""
    return image[:, ::-1]


@dataclass(frozen=True)
class Stress:
    """One change: what it does, its three strengths, and their unit."""

    change: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    strengths: tuple[float, ...]
    unit: str


STRESSES: dict[str, Stress] = {
    "noise": Stress(rician_noise, (6, 12, 24), "grey values, in each channel"),
    "bias field": Stress(bias_field, (0.2, 0.4, 0.7), "share up or down"),
    "gamma": Stress(gamma, (1.25, 1.6, 2.2), "power, or one over it"),
    "contrast": Stress(contrast, (0.8, 0.6, 0.4), "share of it left"),
    "blur": Stress(blur, (0.006, 0.012, 0.02), "of the image's width"),
    "resolution": Stress(resolution, (1.5, 2.5, 4), "times coarser"),
    "JPEG": Stress(jpeg, (40, 15, 6), "quality"),
    "shift": Stress(shift, (0.04, 0.08, 0.16), "of the image's width"),
    "turn": Stress(turn, (5, 12, 25), "degrees"),
    "crop": Stress(crop, (1.1, 1.2, 1.4), "times larger"),
    "squeeze": Stress(squeeze, (0.92, 0.84, 0.7), "of the width left"),
    "mirror": Stress(mirror, (1,), "whole"),
}


def stressed(images: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    """Return images, uint8 [n, height, width], changed by one of `STRESSES`.

    `severity`: 0 (nothing changes) to 3; the mirror has only 1. Raises `CourseError`
    for another name, severity or form of images.
    """
    if name not in STRESSES:
        raise CourseError(f"no stress {name!r}; there are {', '.join(STRESSES)}.")
    stress = STRESSES[name]
    if severity not in range(len(stress.strengths) + 1):
        raise CourseError(
            f"{name} has severities 0 to {len(stress.strengths)}, not {severity!r}."
        )
    images = np.asarray(images)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise CourseError(
            f"images are {images.dtype} {list(images.shape)}; expected uint8 "
            "[n, height, width]."
        )
    if severity == 0:
        return images.copy()
    strength = stress.strengths[severity - 1]
    changed = [
        _grey(stress.change(image, strength, _rng(seed, index)))
        for index, image in enumerate(images)
    ]
    return np.stack(changed) if changed else images.copy()


# --- parts of a slice -----------------------------------------------------------------


def covered(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a slice whose masked part is filled in smoothly from around it.

    `image`: uint8 [height, width]; `mask`: the same shape, true where it is covered.
    Every covered pixel takes the grey of the nearest one outside, and the patch is
    blurred within itself until no edge is left that the mask has drawn.
    """
    mask = np.asarray(mask, bool)
    if not mask.any() or mask.all():
        return image.copy()
    near = ndimage.distance_transform_edt(
        mask, return_distances=False, return_indices=True
    )
    filled = image[tuple(near)].astype(float)
    width = max(1.0, np.sqrt(mask.sum()) / 6)
    for _ in range(8):
        blurred = ndimage.gaussian_filter(filled, width)
        filled[mask] = blurred[mask]
    return _grey(filled)


def elsewhere(mask: np.ndarray, head: np.ndarray, rng) -> np.ndarray:
    """Return the mask moved to a place in the head that it does not touch.

    `mask`, `head`: bool [height, width]. The most of it that fits, of 200 places drawn;
    the control for whatever is done to a lesion.
    """
    rows, columns = np.nonzero(mask)
    spots = np.argwhere(head & ~mask)
    best, most = np.zeros_like(mask), -1
    if not len(rows) or not len(spots):
        return best
    centre = np.array([rows.mean(), columns.mean()])
    for spot in spots[rng.integers(0, len(spots), 200)]:
        down, right = np.rint(spot - centre).astype(int)
        moved = ndimage.shift(mask.astype(np.uint8), (down, right), order=0) > 0
        fits = int((moved & head & ~mask).sum()) - 2 * int((moved & mask).sum())
        if fits > most:
            best, most = moved & ~mask, fits
    return best


def only(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a slice of which only the masked part is left, on black."""
    return np.where(mask, image, 0).astype(np.uint8)


def head_box(image: np.ndarray) -> tuple[int, int, int, int]:
    """Return top, left, bottom, right of the head; of the whole image if it is empty.

    The head: rows and columns in which more than one pixel in fifty is bright.
    """
    bright = image > BACKGROUND
    found = []
    for axis in (1, 0):
        full = np.flatnonzero(bright.mean(axis=axis) > 0.02)
        found.append(
            (full[0], full[-1] + 1) if len(full) else (0, image.shape[1 - axis])
        )
    (top, bottom), (left, right) = found
    return int(top), int(left), int(bottom), int(right)


def in_frame_of(image: np.ndarray, donor: np.ndarray) -> np.ndarray:
    """Return a head in the frame of another: where and how large that one stood.

    `image`, `donor`: uint8 [height, width]. The box around the head is cut out, scaled
    to the box around the donor's head, and put there on black.
    """
    top, left, bottom, right = head_box(image)
    to_top, to_left, to_bottom, to_right = head_box(donor)
    size = (to_right - to_left, to_bottom - to_top)
    cut = Image.fromarray(image[top:bottom, left:right])
    framed = np.zeros_like(donor)
    framed[to_top:to_bottom, to_left:to_right] = cut.resize(
        size, Image.Resampling.BILINEAR
    )
    return framed


def greys_of(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return a slice with the greys of others: same order, their distribution.

    `reference`: uint8, any shape. Only pixels brighter than the background count, and
    only they are changed.
    """
    mine, theirs = image > BACKGROUND, reference[reference > BACKGROUND]
    if not mine.any() or not len(theirs):
        return image.copy()
    _, place, count = np.unique(image[mine], return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - count / 2) / count.sum()
    changed = image.copy()
    changed[mine] = _grey(np.quantile(theirs, rank))[place]
    return changed
