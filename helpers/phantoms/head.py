"""The reference head of the phantoms: one average anatomy as fields over millimetres.

Coordinates are the template's, in mm: x to the right, y to the front, z up, zero at the
anterior commissure. The brain is the MNI152 average (Fonov et al. 2011, NeuroImage,
doi 10.1016/j.neuroimage.2010.07.033) that the nilearn package ships; it is read from
the installed package and never copied. All around it (skull, face, neck, vessels) is
drawn from ellipsoids and distances, by hand: it reads as a head, and is nobody's.
"""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from helpers.config import CourseError

TEMPLATE = "datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"

# Signal of each tissue, 0 to 1, at site A (T1 with contrast) and site B (T2-like).
SIGNAL = {
    "air": (0.02, 0.02),
    "white": (0.36, 0.36),
    "grey": (0.31, 0.50),
    "csf": (0.12, 0.95),
    "bone": (0.06, 0.06),
    "marrow": (0.50, 0.40),
    "fat": (0.88, 0.68),
    "muscle": (0.30, 0.20),
    "vessel": (0.64, 0.08),
    "mucosa": (0.60, 0.60),
    "gland": (0.58, 0.48),
}

# What lies outside the brain: tissue, centre, radii in mm; painted in this order.
# A centre with x > 0 is painted on both sides.
STRUCTURES = (
    ("muscle", (66, 25, -25), (9, 28, 28)),
    ("muscle", (52, 25, -78), (8, 18, 26)),
    ("fat", (0, -88, -105), (22, 10, 40)),
    ("muscle", (16, -76, -105), (14, 16, 45)),
    ("marrow", (0, -14, -50), (9, 8, 20)),
    ("marrow", (0, 30, -52), (24, 14, 8)),
    ("bone", (58, -32, -48), (12, 16, 14)),
    ("fat", (32, 58, -37), (19, 24, 17)),
    ("muscle", (43, 54, -37), (2.5, 16, 5)),
    ("muscle", (22, 54, -37), (2.5, 16, 5)),
    ("grey", (24, 44, -35), (3, 16, 3)),
    ("csf", (32, 66, -37), (12, 12, 12)),
    ("muscle", (32, 76, -37), (5, 2.5, 5)),
    ("air", (9, 78, -14), (9, 6, 11)),
    ("air", (8, 58, -52), (6, 32, 20)),
    ("mucosa", (10, 60, -60), (3, 24, 5)),
    ("mucosa", (10, 58, -47), (2.5, 20, 4)),
    ("air", (30, 58, -66), (13, 18, 15)),
    ("air", (7, 18, -46), (9, 17, 9)),
    ("air", (0, 4, -70), (11, 8, 6)),
    ("marrow", (50, 14, -88), (4, 10, 24)),
    ("air", (0, 10, -88), (9, 8, 26)),
    ("bone", (0, 56, -77), (22, 30, 2.5)),
    ("muscle", (0, 45, -97), (25, 33, 17)),
    ("bone", (0, 80, -86), (22, 5, 10)),
    ("marrow", (44, 30, -98), (6, 32, 14)),
    ("marrow", (0, 76, -108), (20, 8, 9)),
    ("csf", (0, -48, -104), (11, 9, 44)),
    ("white", (0, -48, -104), (6, 5, 48)),
    ("marrow", (0, -30, -86), (7, 7, 15)),
    ("marrow", (0, -30, -112), (13, 9, 8)),
    ("marrow", (0, -29, -131), (13, 9, 8)),
    ("marrow", (0, -74, -98), (4, 14, 6)),
    ("marrow", (0, -74, -120), (4, 14, 6)),
    ("vessel", (13, 1, -33), (5, 11, 6)),
    ("vessel", (22, -12, -80), (3, 3, 30)),
    ("gland", (0, 3, -31), (7, 5, 4)),
)

# The outline below the skull: face, chin, nose, neck, nape, ears.
OUTLINE = (
    ((0, 42, -55), (66, 50, 62)),
    ((0, 58, -102), (42, 34, 30)),
    ((0, 90, -55), (12, 18, 20)),
    ((45, 0, -85), (25, 48, 60)),
    ((0, -22, -140), (58, 58, 80)),
    ((0, -55, -85), (58, 44, 60)),
    ((76, -25, -42), (7, 14, 24)),
)

# The large vessels: radius and course in mm, drawn on both sides where x > 0. Carotid,
# middle and anterior cerebral; basilar, posterior cerebral; deep veins, straight sinus.
VESSELS = (
    (2.0, (8, 4, -36), (10, 2, -24), (9, 4, -17)),
    (1.6, (9, 4, -17), (22, 5, -17), (34, 2, -14), (42, -4, -2), (45, -16, 6)),
    (1.3, (9, 4, -17), (3, 18, -14), (3, 32, -2), (3, 42, 14), (3, 34, 28), (3, 6, 38)),
    (1.8, (0, -13, -48), (0, -13, -18)),
    (1.5, (0, -13, -18), (16, -20, -14), (20, -36, -8), (12, -60, -2)),
    (1.3, (3, -2, 14), (3, -24, 16), (0, -38, 10)),
    (2.2, (0, -38, 10), (0, -48, 8), (0, -90, -18)),
)

LOW = np.array([-99, -138, -150])  # the corner of the padded grid, in mm
STEP = 2  # its spacing, in mm
SHAPE = (100, 132, 136)
# No structure, and no cell of the grid in which one is painted, reaches this z, in mm.
TOP = max(z + rise for _, (_, _, z), (_, _, rise) in STRUCTURES) + 3 * STEP


@dataclass(frozen=True)
class Head:
    """Fields of the reference head; `brain` on the template's 1 mm grid.

    white, grey: uint8 [197, 233, 189], tissue probability times 255; corner: mm of its
    voxel 0; depth: float32 on the padded grid, mm outside the inner skull (negative
    inside); outline: float32, mm outside face and neck; around: float32 [2, ...], the
    signal beyond the skull by site; painted: float32, 1 where a structure was painted;
    vessels: float32, mm outside the large vessels, at most 6; texture: float32
    [128, 128, 128], periodic noise of unit variance, two cells a grain.
    """

    white: np.ndarray
    grey: np.ndarray
    corner: np.ndarray
    depth: np.ndarray
    outline: np.ndarray
    around: np.ndarray
    painted: np.ndarray
    vessels: np.ndarray
    texture: np.ndarray


def template_path(name: str) -> Path:
    """Return the path of nilearn's template `name` (t1, gm, wm), without importing it.

    Raises `CourseError` if nilearn is absent or no longer keeps the file there.
    """
    spec = importlib.util.find_spec("nilearn")
    folder = Path(spec.origin).parent if spec and spec.origin else Path("nilearn")
    path = folder / TEMPLATE.format(name)
    if not path.is_file():
        raise CourseError(
            f"The phantoms need nilearn's brain template, expected at {path}. "
            "Install the course's pinned packages (make book does), or nilearn 0.14."
        )
    return path


def ellipsoid(points: np.ndarray, centre, radii) -> np.ndarray:
    """Return an approximate signed distance in mm, points [3, ...], negative inside."""
    scaled = [(p - c) / r for p, c, r in zip(points, centre, radii, strict=True)]
    norm = np.sqrt(sum(s * s for s in scaled))
    return ((norm - 1) * min(radii)).astype(np.float32)


def both_sides(centre) -> list[tuple]:
    """Return the centre, and its mirror image unless it lies on the midline."""
    x, y, z = centre
    return [(x, y, z), (-x, y, z)] if x else [(x, y, z)]


def _depth(brain: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Return the signed distance to the brain's hull: closed by 8 mm, then smoothed."""
    index = ((LOW - corner)[:, None] + STEP * np.arange(max(SHAPE))).astype(int)
    inside = [
        (i[:n] >= 0) & (i[:n] < size)
        for i, n, size in zip(index, SHAPE, brain.shape, strict=True)
    ]
    mask = np.zeros(SHAPE, bool)
    mask[np.ix_(*inside)] = brain[
        np.ix_(*(i[:n][ok] for i, n, ok in zip(index, SHAPE, inside, strict=True)))
    ]
    closing = 8 / STEP
    grown = ndimage.distance_transform_edt(~mask) <= closing
    distance = ndimage.distance_transform_edt(~grown)
    distance -= ndimage.distance_transform_edt(grown)
    smooth = ndimage.gaussian_filter((distance + closing) * STEP, 1.5)
    return smooth.astype(np.float32)


def _vessels(axes: list[np.ndarray]) -> np.ndarray:
    """Return the distance to the vessels on the padded grid, mm, at most 6."""
    distance = np.full(SHAPE, 6, np.float32)
    for radius, *course in VESSELS:
        for side in (1, -1):
            turned = np.array(course, float) * (side, 1, 1)
            for start, end in pairwise(turned):
                lows = np.floor((np.minimum(start, end) - 9 - LOW) / STEP).astype(int)
                highs = np.ceil((np.maximum(start, end) + 9 - LOW) / STEP).astype(int)
                box = tuple(slice(a, b) for a, b in zip(lows, highs, strict=True))
                part = [axis[cut] for axis, cut in zip(axes, box, strict=True)]
                points = np.stack(np.meshgrid(*part, indexing="ij"), -1) - start
                share = points @ (end - start) / np.sum((end - start) ** 2)
                off = points - np.clip(share, 0, 1)[..., None] * (end - start)
                near = np.linalg.norm(off, axis=-1) - radius
                distance[box] = np.minimum(distance[box], near)
    return distance


@lru_cache(maxsize=1)
def reference_head() -> Head:
    """Read the template and draw the head around it; a second, then kept.

    Raises `CourseError` if the template is missing.
    """
    white_image = nibabel.load(template_path("wm"))
    white = np.asarray(white_image.dataobj)
    grey = np.asarray(nibabel.load(template_path("gm")).dataobj)
    brain = np.asarray(nibabel.load(template_path("t1")).dataobj) > 0
    corner = white_image.affine[:3, 3]
    axes = [low + STEP * np.arange(n) for low, n in zip(LOW, SHAPE, strict=True)]
    grid = np.meshgrid(*axes, indexing="ij", sparse=True)
    outline = np.full(SHAPE, 99, np.float32)
    for centre, radii in OUTLINE:
        for side in both_sides(centre):
            near = ellipsoid(grid, side, radii)
            outline = np.minimum(outline, near)
    noise = np.random.default_rng(152).standard_normal((64, 64, 64), np.float32)
    texture = ndimage.gaussian_filter(noise, 1.6, mode="wrap")
    texture = ndimage.zoom(texture, 2, order=1, mode="grid-wrap", grid_mode=True)
    around = np.empty((2, *SHAPE), np.float32)
    around[:] = np.array(SIGNAL["muscle"], np.float32)[:, None, None, None]
    painted = np.zeros(SHAPE, np.float32)
    for tissue, centre, radii in STRUCTURES:
        for side in both_sides(centre):
            lows = np.floor((np.subtract(side, radii) - LOW) / STEP).astype(int) - 1
            highs = np.ceil((np.add(side, radii) - LOW) / STEP).astype(int) + 2
            box = tuple(
                slice(max(a, 0), max(b, 0)) for a, b in zip(lows, highs, strict=True)
            )
            part = [g[s] for g, s in zip(axes, box, strict=True)]
            local = ellipsoid(
                np.meshgrid(*part, indexing="ij", sparse=True), side, radii
            )
            share = np.clip(0.5 - local / STEP, 0, 1)
            for site in (0, 1):
                value = around[(site, *box)]
                value += share * (SIGNAL[tissue][site] - value)
            painted[box] = np.maximum(painted[box], share)
    return Head(
        white=white,
        grey=grey,
        corner=corner,
        depth=_depth(brain, corner),
        outline=ndimage.gaussian_filter(outline, 1.5),
        around=around,
        painted=painted,
        vessels=_vessels(axes),
        texture=texture / texture.std(),
    )


def sample(volume: np.ndarray, points: np.ndarray, corner, step: float, fill: float):
    """Return the volume's values at points [3, ...] in mm, linear, `fill` outside."""
    index = points - _column(corner, points)
    if step != 1:
        index /= step
    return ndimage.map_coordinates(
        volume, index, np.float32, order=1, mode="constant", cval=fill, prefilter=False
    )


def texture_at(head: Head, points: np.ndarray, grain: float, shift) -> np.ndarray:
    """Return unit noise at points [3, ...]: blobs of some four `grain` mm; repeats."""
    index = points * (2 / grain) + 2 * _column(shift, points)
    return ndimage.map_coordinates(
        head.texture, index, np.float32, order=1, mode="grid-wrap", prefilter=False
    )


def quick_texture_at(head: Head, points: np.ndarray, grain, shift) -> np.ndarray:
    """Return what `texture_at` does, from the nearest cell: for grains near a pixel.

    It takes a quarter of the time. grain: one length, or three (x, y, z).
    """
    index = points * _column(np.divide(2, grain), points) + 2 * _column(shift, points)
    x, y, z = np.floor(index).astype(np.int32) & 127
    return head.texture.ravel().take((x << 14) + (y << 7) + z)


def _column(vector, points: np.ndarray) -> np.ndarray:
    return np.asarray(vector, np.float32).reshape(-1, *[1] * (points.ndim - 1))
