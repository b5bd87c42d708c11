"""Slices of virtual heads with a blob of any kind in them, and all that is known.

The head is the phantoms' (helpers.phantoms); the blobs are not their tumors.
Every attribute of a blob (place, size, ring, signal, texture, oedema, push) is drawn
on its own, so no combination stands for a class.
"""

from dataclasses import dataclass, replace
from unittest.mock import patch

import numpy as np

from helpers.config import cache_dir
from helpers.files import whole_file
from helpers.phantoms import head as heads
from helpers.phantoms import lesion as lesions
from helpers.phantoms import patients
from helpers.phantoms import scan as scans
from helpers.phantoms.head import LOW, SIGNAL, STEP, Head, sample

PIXELS = 96
NUM_CONTRASTS = 12  # a shard: each with the signals of two sites
SHARD = 4000  # slices a file in the cache
SLICES_A_HEAD = 4
NO_BLOB = 0.2

# What a table of targets holds. place_*: mm of the template; through: mm of the slice
# along its plane's axis; area: share of the image that the blob covers.
TARGETS = (
    "head",
    "plane",
    "through",
    "ventricles",
    "skull",
    "scalp",
    "mirrored",
    "blob",
    "area",
    "place_x",
    "place_y",
    "place_z",
    "depth",
    "radius",
    "rim",
    "shell",
    "core",
    "oedema",
    "rough",
)


@dataclass(frozen=True)
class Contrast:
    """Signals of every tissue at two sites, and what lies around the brain in them."""

    signal: dict[str, tuple[float, float]]
    around: np.ndarray


def draw_contrasts(count: int, rng: np.random.Generator) -> list[Contrast]:
    """Draw contrasts: near the phantoms' two (three of five), or any (two of five)."""
    contrasts = []
    for number in range(count):
        signal = {}
        for tissue, values in SIGNAL.items():
            if number % 5 < 3:
                drawn = np.array(values) * np.exp(rng.normal(0, 0.2, 2))
            elif tissue == "air":
                drawn = rng.uniform(0, 0.15, 2)
            else:
                drawn = rng.uniform(0.03, 0.97, 2)
            signal[tissue] = tuple(np.clip(drawn, 0.01, 1.0))
        with patch.dict(SIGNAL, signal):
            contrasts.append(
                Contrast(signal, heads.reference_head.__wrapped__().around)
            )
    return contrasts


def draw_blob(head: Head, rng: np.random.Generator) -> lesions.Lesion:
    """Draw a blob of any kind, anywhere: every attribute on its own."""
    where = rng.random()
    if where < 0.5:  # anywhere in the brain
        centre = _point_at_depth(head, rng, -45, -4)
    elif where < 0.78:  # at its surface
        centre = _point_at_depth(head, rng, -8, 3)
    elif where < 0.93:  # around the middle of the skull base
        centre = lesions.SELLA + rng.normal((0, 0, 5), (7, 8, 8))
    else:  # in the skull or the scalp
        centre = _point_at_depth(head, rng, 2, 12)
    radius = np.exp(rng.uniform(np.log(5), np.log(28)))
    ring, lobe, halo = rng.random(3) < (0.4, 0.2, 0.4)
    shell, core = rng.uniform(0.05, 0.95, 2), rng.uniform(0.05, 0.95, 2)
    if rng.random() < 0.5:  # bright ones are easily seen; dark ones often are not
        shell = rng.uniform(0.5, 0.95, 2)
    return lesions.Lesion(
        centre=centre,
        radii=radius * rng.uniform(0.75, 1.25, 3),
        axes=np.linalg.qr(rng.standard_normal((3, 3))).Q.T,
        rough=rng.uniform(0.02, 0.3),
        rim=rng.uniform(0.15, 0.6) if ring else 1.0,
        shell=tuple(shell),
        core=tuple(core),
        push=rng.uniform(-0.1, 0.7),
        beyond=rng.choice([-1.0, 1.5, 30.0]),
        shift=rng.uniform(0, 64, 3),
        lobe=(rng.uniform(0.9, 1.3), rng.uniform(0.5, 1.0)) if lobe else None,
        oedema=rng.uniform(0.2, 0.9) if halo else 0.0,
        tail=rng.uniform(1, 2.5) if rng.random() < 0.2 else 0.0,
    )


def _point_at_depth(head: Head, rng: np.random.Generator, low: float, high: float):
    """Return a random point [3] whose distance from the inner skull is in a range."""
    while True:
        point = rng.uniform((-80, -112, -55), (80, 76, 82))
        if low < sample(head.depth, point[:, None], LOW, STEP, 99)[0] < high:
            return point


def slices_of_head(
    head: Head, contrasts: list[Contrast], number: int, rng: np.random.Generator
):
    """Yield image, mask (uint8 [96, 96]) and targets of some slices of one head.

    Each slice has a blob, a plane and a contrast of its own.
    """
    base = patients._draw_patient(head, "notumor", rng)
    for _ in range(SLICES_A_HEAD):
        contrast = contrasts[int(rng.integers(len(contrasts)))]
        has_blob = rng.random() > NO_BLOB
        blob = draw_blob(head, rng)
        scan = scans.draw_scan(str(rng.choice(scans.SITES)), rng)
        scan = replace(scan, field=rng.uniform(190, 262), banner="")
        reach = lesions.reach_along(blob, scan.axes[2])
        offset = rng.uniform(-0.75, 0.75) * reach
        patient = replace(
            base,
            # The class name only tells the renderer whether to put something in.
            class_name=patients.TUMORS[0] if has_blob else "notumor",
            lesion=blob,
            target=patients._origin_of(blob.centre, base.warp, base.scale),
            vessels=rng.uniform(0.5, 1.3),
        )
        with patch.dict(SIGNAL, contrast.signal):
            own = replace(head, around=contrast.around)
            signal, mask = patients.render(own, patient, scan, offset, PIXELS)
        image, mask = scans.acquire(scan, signal, rng), mask.astype(np.uint8)
        through = scan.axes[2]
        at = scan.centre @ through + (patient.target - scan.centre) @ through + offset
        depth = sample(head.depth, blob.centre[:, None], LOW, STEP, 99)[0]
        site = scans.SITES.index(scan.site)
        yield (
            image,
            mask,
            (
                number,
                list(scans.PLANES).index(scan.plane),
                at,
                patient.ventricles,
                patient.skull,
                patient.scalp,
                scan.mirrored,
                has_blob,
                mask.mean(),
                *blob.centre,
                depth,
                blob.radii.mean(),
                blob.rim,
                blob.shell[site],
                blob.core[site],
                blob.oedema,
                blob.rough,
            ),
        )


def make(num_slices: int, seed: int):
    """Return images, masks uint8 [n, 96, 96] and targets float32 [n, len(TARGETS)]."""
    head = heads.reference_head()
    contrasts = draw_contrasts(NUM_CONTRASTS, np.random.default_rng([seed, 1]))
    images = np.empty((num_slices, PIXELS, PIXELS), np.uint8)
    masks, targets = images.copy(), np.empty((num_slices, len(TARGETS)), np.float32)
    for number in range(num_slices // SLICES_A_HEAD):
        rng = np.random.default_rng([seed, 2, number])
        for k, made in enumerate(slices_of_head(head, contrasts, number, rng)):
            row = number * SLICES_A_HEAD + k
            images[row], masks[row], targets[row] = made
    return images, masks, targets


def shard(number: int) -> dict[str, np.ndarray]:
    """Return images, masks and targets of one shard, made once and then cached.

    The name holds no version of the phantoms: training that was cut off goes on with
    the slices it began with.
    """
    path = cache_dir() / "pretrain" / f"shard-{number:02d}.npz"
    if not path.exists():
        made = make(SHARD, number)
        with whole_file(path) as file:
            np.savez_compressed(
                file, **dict(zip(("images", "masks", "targets"), made, strict=True))
            )
    with np.load(path) as file:
        return {name: file[name] for name in file}
