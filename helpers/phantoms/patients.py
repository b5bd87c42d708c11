"""Synthetic head slices with known patients, lesions, sites and planted twins.

A virtual patient is a smooth warp of one reference head with, perhaps, one lesion, all
of them functions of 3-D coordinates: its slices show one anatomy. The phantoms
illustrate; they are no evidence about real scans.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from tqdm import tqdm

from helpers.config import SEED

from .head import (
    LOW,
    SIGNAL,
    STEP,
    TOP,
    Head,
    ellipsoid,
    quick_texture_at,
    reference_head,
    sample,
)
from .lesion import (
    Lesion,
    add_lesion,
    draw_lesion,
    pushed,
    reach_along,
)
from .scan import (
    MODES,
    PLANES,
    SITES,
    TWIN_KINDS,
    Scan,
    acquire,
    draw_scan,
    encode,
    make_twin,
    slice_points,
)

VERSION = 2  # raised whenever the same arguments would give other pixels

# About the shares of the real dataset.
CLASS_SHARES = {
    "glioma": 0.230,
    "meningioma": 0.235,
    "notumor": 0.285,
    "pituitary": 0.250,
}
TUMORS = ("glioma", "meningioma", "pituitary")
SLICES_OF_NOTUMOR = (0.5, 0.4, 0.1)  # whose lesion sites notumor is cut at
SITE_B_SHARE = 0.25
SLICE_STEPS = (4.0, 5.0)  # mm between the slices of a series: least, most
SLICES_OF_PATIENT = (3, 6)  # fewest, most
TEST_SHARE = 0.2
TWIN_SHARE = 0.10  # of all slices; half of them are test images of training slices
CONFOUNDING = 0.95  # P(A | tumor) and P(B | notumor) when the site follows the class
COLUMNS = [
    "file",
    "split",
    "class",
    "patient",
    "series",
    "plane",
    "source",
    "site",
    "mode",
    "width",
    "height",
    "bytes",
    "twin_of",
    "twin_kind",
]


@dataclass(frozen=True)
class PhantomSet:
    """Synthetic slices in the order of their table.

    images: uint8 [n, pixels, pixels]; masks: uint8 [n, pixels, pixels], 1 inside the
    lesion; table: one row a slice with file, split, class, patient, series, plane,
    source, site, mode, width, height, bytes, twin_of, twin_kind.
    """

    images: np.ndarray
    masks: np.ndarray
    table: pd.DataFrame


@dataclass(frozen=True)
class Patient:
    """A virtual patient: how the reference head is changed, and the lesion.

    lesion: also drawn for `notumor`, where it only says which slices are taken; target:
    its centre in the patient's own mm; scale: [3]; warp, folds: waves of the head and
    of the brain alone; ventricles: above 0 is wide; sulci: above 0 is wide; skull,
    scalp: mm; vessels: their signal relative to the site's; shift: place in the noise.
    """

    class_name: str
    lesion: Lesion
    target: np.ndarray
    scale: np.ndarray
    warp: np.ndarray
    folds: np.ndarray
    ventricles: float
    sulci: float
    skull: float
    scalp: float
    vessels: float
    shift: np.ndarray


def _draw_patient(head: Head, class_name: str, rng: np.random.Generator) -> Patient:
    shown = class_name
    if class_name not in TUMORS:
        shown = str(rng.choice(TUMORS, p=SLICES_OF_NOTUMOR))
    lesion = draw_lesion(head, shown, rng)
    scale = rng.normal(1, 0.045, (3, 1, 1))
    warp = _draw_waves(rng, 6, (90, 200), 1.5)
    return Patient(
        class_name=class_name,
        lesion=lesion,
        target=_origin_of(lesion.centre, warp, scale),
        scale=scale,
        warp=warp,
        folds=_draw_waves(rng, 12, (22, 45), 0.9),
        ventricles=rng.uniform(-0.2, 0.35),
        sulci=rng.uniform(0.3, 0.55),
        skull=rng.uniform(4, 7),
        scalp=rng.uniform(4, 8),
        vessels=rng.uniform(0.7, 1.1),
        shift=rng.uniform(0, 64, 3),
    )


def _draw_waves(rng, count: int, lengths: tuple[float, float], size: float):
    """Return waves [count, 7]: a wave vector per mm, a phase, a displacement in mm."""
    directions = rng.standard_normal((count, 3))
    directions *= 2 * np.pi / np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = directions / rng.uniform(*lengths, (count, 1))
    phases = rng.uniform(0, 2 * np.pi, (count, 1))
    return np.hstack([vectors, phases, size * rng.standard_normal((count, 3))])


def _moves(points: np.ndarray, waves: np.ndarray) -> np.ndarray:
    """Return the waves' displacement, mm, at points [3, h, w] of a plane.

    On a plane a wave is an outer product of two lines, so it costs next to nothing.
    """
    vectors, phases, drifts = waves[:, :3], waves[:, 3], waves[:, 4:]
    origin = points[:, 0, 0]
    across = np.exp(1j * (vectors @ (points[:, 0, :] - origin[:, None])))
    along = np.exp(1j * (vectors @ (points[:, :, 0] - origin[:, None])))
    start = np.exp(1j * (vectors @ origin + phases))[:, None] * drifts
    # Not `@`: for products this small, a library's threads cost more than they give.
    weighted = start[:, :, None] * along[:, None, :]
    # The imaginary part alone, as a sum of two real products, takes 40 % of the time.
    down = np.concatenate([weighted.real, weighted.imag])
    return np.einsum("kcy,kx->cyx", down, np.concatenate([across.imag, across.real]))


def _origin_of(target: np.ndarray, warp: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the patient's point that lands on the head's `target`, by fixed point."""
    point = target.reshape(3, 1, 1)
    for _ in range(12):
        landed = (point + _moves(point, warp)) * scale
        point = point - (landed - target.reshape(3, 1, 1))
    return point.ravel()


def _finer(fields: np.ndarray, pixels: int, axis: int) -> np.ndarray:
    """Return fields [k, h, w] on `pixels` cells along `axis`, 1 or 2, interpolated."""
    cells = fields.shape[axis]
    where = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    left = np.minimum(where.astype(int), cells - 2)
    share = (where - left).astype(fields.dtype).reshape(-1, *[1] * (2 - axis))
    below = fields.take(left, axis)
    return below + share * (fields.take(left + 1, axis) - below)


def _mix(below, share, above):
    return below + share * (above - below)


def render(head: Head, patient: Patient, scan: Scan, offset: float, pixels: int):
    """Return a slice's noiseless signal, float32 [pixels, pixels], and its mask, bool.

    offset: mm from the lesion's centre, through the slice.
    """
    # What is smooth is computed every 5 mm, and interpolated to the pixels.
    points = slice_points(scan, patient.target, offset, round(scan.field / 5))
    moves, folds = _moves(points, patient.warp), _moves(points, patient.folds)
    at = (points + moves) * patient.scale
    depth = sample(head.depth, at, LOW, STEP, 99)
    skin = depth - 1 - patient.skull - patient.scalp
    skin = np.minimum(skin, sample(head.outline, at, LOW, STEP, 99))
    smooth = np.concatenate([moves, folds, [depth], [skin]]).astype(np.float32)
    smooth = _finer(_finer(smooth, pixels, axis=2), pixels, axis=1)
    soft = scan.field / pixels
    body = smooth[7] < soft
    within = np.flatnonzero(body)
    smooth = smooth.reshape(len(smooth), -1).take(within, 1)
    points = slice_points(scan, patient.target, offset, pixels).reshape(3, -1)
    at = points.take(within, 1) + smooth[:3]
    at = (at * patient.scale[:, 0]).astype(np.float32)
    signal = np.full(body.shape, SIGNAL["air"][SITES.index(scan.site)], np.float32)
    mask = np.zeros(body.shape, bool)
    signal[body], mask[body] = _inside_head(
        head, patient, scan, at, smooth[3:6], smooth[6], smooth[7], soft
    )
    return signal, mask


def _inside_head(head, patient, scan, at, folds, depth, skin, soft):
    """Return signal and mask at the points [3, m] inside the skin."""
    site = SITES.index(scan.site)
    signal = {name: values[site] for name, values in SIGNAL.items()}
    signal["fat"] *= scan.fat
    signal["vessel"] *= patient.vessels if site == 0 else 1

    def inside(distance):
        return np.minimum(np.maximum(0.5 - distance / soft, 0), 1)

    bumps = quick_texture_at(head, at, 2.5, patient.shift)
    midline = np.exp(-np.square(at[0] / 3, dtype=float)).astype(np.float32)
    midline *= ((at[1] + 18) / 48) ** 2 + ((at[2] - 2) / 32) ** 2 > 1
    image, white = np.zeros_like(depth), np.zeros_like(depth)

    # The brain, its folds shifted, stretched around ventricles, pushed by a lesion.
    # The average's hemispheres blur into each other; the midline shows one of them.
    part = np.flatnonzero(depth < soft)
    place = at.take(part, 1) + folds.take(part, 1)
    place = pushed(place, (0, -12, 16), 24, patient.ventricles)
    if patient.class_name in TUMORS:
        lesion = patient.lesion
        place = pushed(place, lesion.centre, 1.1 * lesion.radii.mean(), lesion.push)
    place[0] += 7 * midline[part]
    matter = sample(head.white, place, head.corner, 1, 0) / 255
    grey = sample(head.grey, place, head.corner, 1, 0) / 255
    tissue = np.clip((matter + grey - patient.sulci) / 0.35, 0, 1)
    white[part] = np.clip((matter - 0.5 * grey + 0.2) / 0.7, 0, 1) * tissue
    # Where the noise crosses a level, a line runs through the fluid: a vessel.
    veins = inside((np.abs(bumps[part] - 0.4) - 0.12) * 5) * (site == 0) * 0.7
    plexus = ellipsoid(np.abs(place), (20, 36, 6), (9, 13, 12)) if site == 0 else 99
    veins = np.maximum(veins, inside(plexus) * inside(-2 * bumps[part]))
    fluid = _mix(signal["csf"], veins, signal["vessel"])
    brain = _mix(signal["grey"], white[part], signal["white"]) + 0.012 * bumps[part]
    image[part] = _mix(fluid, tissue, brain)

    # Around it: dura, inner table, marrow, outer table; below, face and neck.
    part = np.flatnonzero(depth > -soft)
    place, bump, out = at.take(part, 1), bumps[part], depth[part] - 0.5
    painted = np.zeros_like(bump)
    where = np.flatnonzero(place[2] < TOP)
    painted[where] = sample(head.painted, place.take(where, 1), LOW, STEP, 0)
    around = np.full_like(bump, signal["muscle"])  # as it is where nothing is painted
    where = np.flatnonzero(painted)
    around[where] = sample(head.around[site], place.take(where, 1), LOW, STEP, 0)
    strands = quick_texture_at(head, place, (1.6, 1.6, 5), patient.shift)
    sheets = inside((np.abs(strands + 0.5) - 0.25) * 4)  # between bundles of muscle
    fat = np.maximum(0.6 * inside((0.9 - strands) * 4), 0.4 * sheets)
    around = _mix(around, fat * (1 - painted), signal["fat"]) * (1 + 0.10 * bump)
    marrow = np.abs(out - patient.skull / 2) - patient.skull * (0.17 + 0.06 * bump)
    bone = _mix(signal["bone"], inside(marrow), signal["marrow"])
    around = _mix(around, inside(out - patient.skull) * (1 - painted), bone)
    scalp = inside(-skin[part] - patient.scalp * (0.8 + 0.1 * bump)) * (1 - painted)
    scalp *= inside(patient.skull - out)
    around = _mix(around, scalp, signal["fat"] * (0.85 + 0.08 * bump))
    around = _mix(around, inside(np.abs(skin[part] + 1) - 1), signal["muscle"] * 1.4)
    image[part] = _mix(around, inside(depth[part]), image[part])

    # Venous sinuses along the vault and above the cerebellum, and the falx.
    top = np.abs(at[0]) + np.maximum(0, -at[2])
    low = np.abs(at[2] + 34 + 0.15 * at[1]) + np.maximum(0, at[1] + 45)
    sinus = inside(np.minimum(top, low) + np.abs(depth - 1) - 4.5)
    image = _mix(image, sinus, signal["vessel"])
    where = np.flatnonzero(_near_vessels(at) & (depth < 4))
    cells = np.rint((at.take(where, 1) - LOW[:, None]) / STEP).astype(int)
    # In a 2 mm cell, no corner is over 3.5 mm nearer to a vessel than the closest one.
    where = where[head.vessels[tuple(cells)] < soft / 2 + 4]
    tube = sample(head.vessels, at[:, where], LOW, STEP, 99)
    image[where] = _mix(image[where], inside(tube), signal["vessel"])
    falx = inside(np.abs(at[0]) - 0.5) * inside(depth) * midline * (at[2] > 10)
    image = _mix(image, 0.35 * falx * (site == 0), signal["vessel"])

    mask = np.zeros(depth.shape, bool)
    if patient.class_name in TUMORS:
        image, mask = add_lesion(
            head, patient.lesion, image, at, depth, white, site, soft
        )
    return _mix(signal["air"], inside(skin), image), mask & (skin < 0)


def _near_vessels(points: np.ndarray) -> np.ndarray:
    """Return whether points [3, m] lie in the box that holds the painted vessels."""
    x, y, z = points
    return (np.abs(x) < 50) & (y > -96) & (y < 52) & (z > -50) & (z < 44)


def _plan(num_slices: int, rng: np.random.Generator) -> list[tuple[str, str, int]]:
    """Return split, class and number of slices (at most 6) of every patient.

    The test side is smaller by the twins that will cross to it.
    """
    clean_test = (TEST_SHARE - TWIN_SHARE / 2) / (1 - TWIN_SHARE)
    shares = {
        (split, name): split_share * share
        for split, split_share in (
            ("Training", 1 - clean_test),
            ("Testing", clean_test),
        )
        for name, share in CLASS_SHARES.items()
    }
    ends = np.round(np.cumsum(list(shares.values())) * num_slices).astype(int)
    patients = []
    for (split, name), left in zip(shares, np.diff(ends, prepend=0), strict=True):
        while left > 0:
            size = min(int(rng.integers(*SLICES_OF_PATIENT, endpoint=True)), left)
            patients.append((split, name, size))
            left -= size
    return patients


def _draw_site(class_name: str, follows: bool, rng: np.random.Generator) -> str:
    """Return the site of a patient, tied to the class if it `follows` it."""
    share_of_b = SITE_B_SHARE
    if follows:
        share_of_b = 1 - CONFOUNDING if class_name in TUMORS else CONFOUNDING
    return SITES[int(rng.random() < share_of_b)]


def _draw_series(lesion: Lesion, site: str, size: int, rng) -> Iterator:
    """Yield each series of a patient: its scan, and its slices' offsets in mm.

    A series takes what the lesion's extent has room for, or half of the patient's
    slices; the next series shows another plane.
    """
    planes, left = list(PLANES), size
    while left:
        scan = draw_scan(site, rng, tuple(planes))
        planes.remove(scan.plane)
        wanted = size // 2 if left == size >= 4 and rng.random() < 0.5 else left
        least, most = SLICE_STEPS
        span = 1.5 * reach_along(lesion, scan.axes[2])
        count = min(wanted, 1 + max(1, int(span / least)))
        step = np.clip(span / max(count - 1, 1), least, most)
        yield scan, step * (np.arange(count) - (count - 1) / 2)
        left -= count


def _slices(head, split, class_name, size, pixels, site_follows_class, rng) -> Iterator:
    """Yield image, mask and table row of each slice of one new patient."""
    patient = _draw_patient(head, class_name, rng)
    site = _draw_site(class_name, site_follows_class, rng)
    noise = rng.spawn(1)[0]  # its own stream, so that the size changes nothing else
    series = _draw_series(patient.lesion, site, size, rng)
    for number, (scan, offsets) in enumerate(series, start=1):
        for offset in offsets:
            signal, mask = render(head, patient, scan, offset, pixels)
            image, length = encode(acquire(scan, signal, noise), scan.quality)
            row = {
                "split": split,
                "class": class_name,
                "series": number,
                "plane": scan.plane,
                "source": f"phantom site {site}",
                "site": site,
                "mode": MODES[site],
                "width": pixels,
                "height": pixels,
                "bytes": length,
                "twin_of": pd.NA,
                "twin_kind": pd.NA,
            }
            yield image, mask, row


def _file(row: dict, number: int) -> str:
    return f"{row['split']}/{row['class']}/phantom-{number:05d}.jpg"


def generate(
    num_slices: int,
    pixels: int,
    seed: int = SEED,
    site_follows_class: bool = False,
    progress: bool = True,
) -> PhantomSet:
    """Make `num_slices` synthetic slices of `pixels` x `pixels`, the same every time.

    Patients stay on one side of the split; only the planted twins cross it. With
    `site_follows_class`, site B shows nearly all of notumor and little else, as other
    sources do in the real dataset. Raises `CourseError` without nilearn's template.
    """
    head = reference_head()
    entropy = [VERSION, seed, num_slices]
    plan = np.random.default_rng(entropy)
    num_twins = round(TWIN_SHARE * num_slices)
    images = np.zeros((num_slices, pixels, pixels), np.uint8)
    masks = np.zeros((num_slices, pixels, pixels), np.uint8)
    numbers = plan.permutation(num_slices) + 1  # so that a name tells nothing
    rows: list[dict] = []
    with tqdm(total=num_slices, desc="synthetic", disable=not progress) as bar:
        patients = _plan(num_slices - num_twins, plan)
        for number, (split, name, size) in enumerate(patients, start=1):
            rng = np.random.default_rng([*entropy, number])
            for image, mask, row in _slices(
                head, split, name, size, pixels, site_follows_class, rng
            ):
                images[len(rows)], masks[len(rows)] = image, mask
                row["patient"] = f"V{number:04d}"
                row["series"] = f"V{number:04d}-{row['series']}"
                row["file"] = _file(row, numbers[len(rows)])
                rows.append(row)
                bar.update()
        training = np.flatnonzero([row["split"] == "Training" for row in rows])
        crossing = plan.choice(training, num_twins // 2, replace=False)
        within = plan.choice(training, num_twins - len(crossing), replace=False)
        for number, original in enumerate([*crossing, *within]):
            kind, here = TWIN_KINDS[number % 4], len(rows)
            image, mask, row = images[original], masks[original], dict(rows[original])
            if kind != "exact":
                image, mask, row["bytes"] = make_twin(image, mask, kind, plan)
            images[here], masks[here] = image, mask
            row |= {"twin_of": row["file"], "twin_kind": kind}
            row["split"] = "Testing" if number < len(crossing) else row["split"]
            row["file"] = _file(row, numbers[here])
            rows.append(row)
            bar.update()
    table = pd.DataFrame(rows, columns=COLUMNS)
    order = np.argsort(table["file"].to_numpy(str))
    table = table.iloc[order].reset_index(drop=True)
    return PhantomSet(images[order], masks[order], table)
