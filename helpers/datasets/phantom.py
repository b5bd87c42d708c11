"""Synthetic head slices with known patients, lesions, sites and planted twins.

Every slice is computed from 3-D coordinates: a virtual patient is a smooth warp of one
reference head plus, perhaps, one lesion, so its slices show one anatomy. They
illustrate; they are no evidence about real scans.
"""

import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from scipy import ndimage
from tqdm.auto import tqdm

from helpers.config import SEED
from helpers.datasets.phantom_head import (
    LOW,
    SIGNAL,
    STEP,
    Head,
    reference_head,
    sample,
    texture_at,
)
from helpers.datasets.phantom_lesion import Lesion, draw, place, pushed, radius_at

VERSION = 1  # raised whenever the same arguments would give other pixels

CLASS_SHARES = {
    "glioma": 0.230,
    "meningioma": 0.235,
    "notumor": 0.285,
    "pituitary": 0.250,
}
TEST_SHARE = 0.2
TWIN_SHARE = 0.10  # of all slices; about half of them cross the split
TWIN_KINDS = ("exact", "re-encoded", "mirrored", "mirrored and re-framed")
SITES = ("A", "B")  # A: T1 with contrast; B: T2-like
MODES = {"A": "L", "B": "RGB"}
CONFOUNDING = 0.95  # P(site A | tumor) and P(site B | notumor) when site follows class
PLANES = {  # mm vectors of image right, image down, and through the slice
    "axial": np.array([[1, 0, 0], [0, -1, 0], [0, 0, 1]], float),
    "coronal": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float),
    "sagittal": np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]], float),
}
PLANE_CENTRES = {"axial": (0, -17, 0), "coronal": (0, 0, 2), "sagittal": (0, -8, -8)}


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
    """A virtual patient: a class, a warp of the reference head, perhaps a lesion."""

    class_name: str
    target: np.ndarray
    lesion: Lesion | None
    scale: np.ndarray
    warp: np.ndarray
    folds: np.ndarray
    ventricles: float
    sulci: float
    skull: float
    scalp: float
    enhancement: float
    shift: np.ndarray


@dataclass(frozen=True)
class Scan:
    """How one series was acquired; lengths in mm."""

    plane: str
    site: str
    axes: np.ndarray
    centre: np.ndarray
    field: float
    mirrored: bool
    bias: np.ndarray
    noise: float
    blur: float
    gamma: float
    white: float
    quality: int
    banner: str


def _patient(head: Head, class_name: str, rng: np.random.Generator) -> Patient:
    target = place(head, class_name, rng)
    lesion = None
    if class_name != "notumor":
        lesion = draw(head, class_name, target, rng)
        target = lesion.centre
    scale = rng.normal(1, 0.04, 3)
    warp = _waves(rng, 6, (90, 200), 2.0)
    return Patient(
        class_name=class_name,
        target=_origin_of(warp, scale, target),
        lesion=lesion,
        scale=scale,
        warp=warp,
        folds=_waves(rng, 12, (22, 45), 0.9),
        ventricles=rng.uniform(-0.25, 0.45),
        sulci=rng.uniform(0.25, 0.6),
        skull=rng.uniform(5, 8),
        scalp=rng.uniform(4, 8),
        enhancement=rng.uniform(0.85, 1.1),
        shift=rng.uniform(0, 64, 3),
    )


def _rotation(angles) -> np.ndarray:
    """Return the rotation by three angles in degrees about x, y and z."""
    (a, b, c), (d, e, f) = np.cos(np.deg2rad(angles)), np.sin(np.deg2rad(angles))
    x = np.array([[1, 0, 0], [0, a, -d], [0, d, a]])
    y = np.array([[b, 0, e], [0, 1, 0], [-e, 0, b]])
    z = np.array([[c, -f, 0], [f, c, 0], [0, 0, 1]])
    return x @ y @ z


def _scan(site: str, rng: np.random.Generator) -> Scan:
    plane = str(rng.choice(list(PLANES)))
    tilt = rng.normal((-4 if plane == "axial" else 0, 0, 0), (5, 3, 4))
    words = ("SYN", "PHANTOM", "TEST 01", "R", "L", "SE 4")
    return Scan(
        plane=plane,
        site=site,
        axes=PLANES[plane] @ _rotation(tilt).T,
        centre=np.array(PLANE_CENTRES[plane]) + rng.normal(0, 5, 3),
        field=rng.uniform(215, 265),
        mirrored=bool(rng.random() < 0.5) and plane == "sagittal",
        bias=rng.normal(0, (0.12, 0.12, 0.08, 0.08, 0.08)),
        noise=rng.uniform(0.006, 0.025),
        blur=rng.uniform(0.3, 0.9),
        gamma=rng.uniform(0.8, 1.25),
        white=rng.uniform(0.85, 1.15),
        quality=int(rng.integers(70, 96)),
        banner=str(rng.choice(words)) if rng.random() < 0.15 else "",
    )


def _coordinates(scan: Scan, target, offset: float, pixels: int) -> np.ndarray:
    """Return the slice's points [3, pixels, pixels] in mm, `offset` mm from target."""
    right, down, through = scan.axes
    centre = scan.centre + through * ((target - scan.centre) @ through + offset)
    line = ((np.arange(pixels) + 0.5) / pixels - 0.5) * scan.field
    across = np.outer(right, -line if scan.mirrored else line)
    points = (
        centre[:, None, None] + across[:, None, :] + np.outer(down, line)[..., None]
    )
    return points.astype(np.float32)


def _waved(points: np.ndarray, waves: np.ndarray) -> np.ndarray:
    """Return the points of a slice moved by a sum of sine waves.

    points: [3, h, w] mm on a plane; waves: [k, 7], each a wave vector (per mm), a phase
    and a displacement (mm). On a plane a wave is an outer product of two lines.
    """
    vectors, phases, drifts = waves[:, :3], waves[:, 3], waves[:, 4:]
    origin = points[:, 0, 0]
    right, down = points[:, 0, :] - origin[:, None], points[:, :, 0] - origin[:, None]
    across = np.exp(1j * (vectors @ right)).astype(np.complex64)
    along = np.exp(1j * (vectors @ down)).astype(np.complex64)
    start = np.exp(1j * (vectors @ origin + phases))[:, None] * drifts
    weights = start.T[:, None, :].astype(np.complex64) * along.T
    return points + (weights @ across).imag


def _waves(rng, count: int, lengths: tuple[float, float], size: float) -> np.ndarray:
    directions = rng.standard_normal((count, 3))
    directions *= 2 * np.pi / np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = directions / rng.uniform(*lengths, (count, 1))
    phases = rng.uniform(0, 2 * np.pi, (count, 1))
    return np.hstack([vectors, phases, size * rng.standard_normal((count, 3))])


def _origin_of(warp: np.ndarray, scale: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the patient's point that the warp sends to `target` (fixed point)."""
    point = target
    for _ in range(12):
        moved = _waved(point.reshape(3, 1, 1), warp).ravel() * scale
        point = point - (moved - target)
    return point


def _mix(below: np.ndarray, share: np.ndarray, above) -> np.ndarray:
    return below + share * (above - below)


def _render(head: Head, patient: Patient, scan: Scan, offset: float, pixels: int):
    """Return a slice's signal, float32 [pixels, pixels] about 0 to 1, and its mask."""
    site = SITES.index(scan.site)
    signal = {name: values[site] for name, values in SIGNAL.items()}
    soft = scan.field / pixels

    def inside(distance):
        return np.clip(0.5 - distance / soft, 0, 1)

    points = _coordinates(scan, patient.target, offset, pixels)
    place_ = _waved(points, patient.warp) * patient.scale[:, None, None]
    depth = sample(head.depth, place_, LOW, STEP, 99)
    outline = sample(head.outline, place_, LOW, STEP, 99)
    bumps = texture_at(head, place_, 2.5, patient.shift)

    # The brain, pushed aside by a lesion and stretched around the ventricles.
    lesion = patient.lesion
    brain_at = place_ + _waved(points, patient.folds) - points
    if lesion is not None:
        reach = 1.1 * lesion.radii.mean()
        brain_at = pushed(brain_at, lesion.centre, reach, lesion.push)
    brain_at = pushed(brain_at, (0, -12, 16), 24, patient.ventricles)
    midline = np.exp(-((brain_at[0] / 3) ** 2)) * (
        ((brain_at[1] + 18) / 48) ** 2 + ((brain_at[2] - 2) / 32) ** 2 > 1
    )
    brain_at = np.stack([brain_at[0] + 5 * midline, brain_at[1], brain_at[2]])
    white = sample(head.white, brain_at, head.corner, 1, 0) / 255
    grey = sample(head.grey, brain_at, head.corner, 1, 0) / 255
    tissue = np.clip((white + grey - patient.sulci) / 0.35, 0, 1)
    share = np.clip((white - 0.5 * grey + 0.2) / 0.7, 0, 1)
    brain = _mix(signal["grey"], share, signal["white"]) + 0.012 * bumps
    image = _mix(signal["csf"], tissue, brain)

    # Outwards from the brain: dura, inner table, marrow, outer table, scalp.
    around = sample(head.around[site], place_, LOW, STEP, signal["muscle"])
    painted = sample(head.painted, place_, LOW, STEP, 0)
    fat = inside(0.6 - bumps) * 0.5
    around = _mix(_mix(around, fat, signal["fat"]), painted, around) * (
        1 + 0.06 * bumps
    )
    middle = 1 + patient.skull / 2
    marrow = inside(np.abs(depth - middle) - patient.skull * (0.17 + 0.06 * bumps))
    bone = _mix(signal["bone"], marrow, signal["marrow"])
    skull = inside(depth - 1 - patient.skull) * (1 - painted)
    image = _mix(image, inside(-depth), _mix(around, skull, bone))
    vault = depth - 1 - patient.skull - patient.scalp
    skin = np.minimum(outline, vault)
    scalp = inside(-skin - patient.scalp * (0.8 + 0.1 * bumps)) * (1 - painted)
    scalp *= inside(1 + patient.skull - depth)
    scalp_signal = signal["fat"] * (0.85 + 0.08 * bumps)
    image = _mix(image, scalp, scalp_signal)
    image = _mix(image, inside(np.abs(skin + 1) - 1), signal["muscle"] * 1.4)

    # Vessels: the sagittal and transverse sinuses, and the falx.
    top = (np.abs(place_[0]) - 4) + np.maximum(0, 0 - place_[2])
    low = (
        np.abs(place_[2] + 22 + 0.15 * place_[1] + 12)
        - 4
        + np.maximum(0, place_[1] + 45)
    )
    sinus = inside(np.minimum(top, low)) * inside(np.abs(depth - 1) - 4)
    image = _mix(image, sinus, signal["vessel"] * patient.enhancement)
    falx = inside(np.abs(place_[0]) - 0.5) * inside(depth) * midline
    if site == 0:
        image = _mix(image, 0.35 * falx * (place_[2] > 10), 0.7)

    mask = np.zeros(image.shape, bool)
    if lesion is not None:
        image, mask = _add_lesion(head, lesion, image, place_, depth, share, site, soft)
    air = inside(-skin)
    return _mix(image, air, signal["air"]), mask & (air < 0.5)


def _add_lesion(head, lesion, image, points, depth, white, site, soft):
    """Return the signal with the lesion in it, and its mask."""
    radius = radius_at(head, lesion, points)
    size = lesion.radii.mean()
    brain = np.clip(0.5 - depth / soft, 0, 1)
    if lesion.outside:
        brain = np.clip(0.5 - (depth - (14 if points is None else 2)) / soft, 0, 1)
        if lesion.centre[2] < -15 and abs(lesion.centre[0]) < 25:
            brain = np.ones_like(brain)
    if lesion.oedema:
        spread = np.clip((1 + lesion.oedema * (0.4 + 0.6 * white) - radius) * 3, 0, 1)
        spread *= np.clip(0.5 - (depth + 1) / soft, 0, 1) * (0.4 + 0.6 * white)
        image = _mix(image, 0.75 * spread, (0.30, 0.85)[site])
    if lesion.tail:
        tail = np.clip(0.5 - (np.abs(depth) - lesion.tail) / soft, 0, 1)
        image = _mix(
            image, tail * np.clip((1.8 - radius) * 3, 0, 1), lesion.shell[site]
        )
    body = np.clip(0.5 - (radius - 1) * size / soft, 0, 1) * brain
    core = np.clip(0.5 - (radius - 1 + lesion.rim) * size / soft, 0, 1)
    if lesion.rim >= 1:
        core = np.zeros_like(core)
    grain = 0.03 * texture_at(head, points, 1.6, lesion.shift + 7)
    inner = _mix(lesion.shell[site], core, lesion.core[site]) + grain
    return _mix(image, body, inner), body > 0.5


def _acquire(scan: Scan, signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the signal as a scanner and an exporter would store it, uint8.

    Bias field: Sled et al. 1998, doi 10.1109/42.668698 (here a low-order polynomial);
    Rician noise: Gudbjartsson and Patz 1995, doi 10.1002/mrm.1910340618.
    """
    pixels = len(signal)
    line = np.linspace(-1, 1, pixels, dtype=np.float32)
    x, y = line[None, :], line[:, None]
    a, b, c, d, e = scan.bias.astype(np.float32)
    bias = np.exp(a * x + b * y + c * x * y + d * x * x + e * y * y)
    image = ndimage.gaussian_filter(signal * bias, scan.blur * pixels / 128)
    noise = scan.noise * rng.standard_normal((2, pixels, pixels), np.float32)
    image = np.hypot(image + noise[0], noise[1]) / scan.white
    grey = np.clip(image, 0, 1) ** scan.gamma * 255
    picture = Image.fromarray(grey.astype(np.uint8))
    if scan.banner:
        ImageDraw.Draw(picture).text(
            (2, 1), scan.banner, fill=200, font_size=pixels // 14
        )
    return np.asarray(picture)


def _encode(image: np.ndarray, quality: int) -> tuple[np.ndarray, int]:
    """Return the image after JPEG at `quality`, and the size of the file in bytes."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream)), stream.tell()


def _twin(image, mask, kind: str, rng: np.random.Generator):
    """Return a twin of the kind as image, mask and bytes."""
    if kind.startswith("mirrored"):
        image, mask = image[:, ::-1], mask[:, ::-1]
    if kind == "mirrored and re-framed":
        zoom, move = rng.uniform(0.88, 1.1), rng.uniform(-0.03, 0.03, 2)
        half = (len(image) - 1) / 2
        start = half - (half + move * len(image)) / zoom
        image, mask = (
            ndimage.affine_transform(a, [1 / zoom] * 2, start, order=order)
            for a, order in ((image, 1), (mask, 0))
        )
        gamma = rng.uniform(0.85, 1.2)
        image = (255 * (image / 255) ** gamma).astype(np.uint8)
    quality = int(rng.integers(50, 70)) if kind == "re-encoded" else 92
    image, size = _encode(np.ascontiguousarray(image), quality)
    return image, np.ascontiguousarray(mask), size


def _sizes(total: int, rng: np.random.Generator) -> list[int]:
    """Split `total` slices into series of three to six (the last may be shorter)."""
    sizes = []
    while total > 0:
        sizes.append(min(int(rng.integers(3, 7)), total))
        total -= sizes[-1]
    return sizes


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
    plan = np.random.default_rng(np.random.SeedSequence([VERSION, seed, num_slices]))
    num_twins = round(TWIN_SHARE * num_slices)
    groups = []
    for split, split_share in (("Training", 1 - TEST_SHARE), ("Testing", TEST_SHARE)):
        for name, share in CLASS_SHARES.items():
            count = round((num_slices - num_twins) * split_share * share)
            groups += [(split, name, size) for size in _sizes(count, plan)]
    missing = num_slices - num_twins - sum(size for *_, size in groups)
    groups[0] = (*groups[0][:2], groups[0][2] + missing)

    images = np.zeros((num_slices, pixels, pixels), np.uint8)
    masks = np.zeros((num_slices, pixels, pixels), np.uint8)
    rows: list[dict] = []
    bar = tqdm(total=num_slices, desc="synthetic slices", disable=not progress)
    for number, (split, name, size) in enumerate(groups):
        rng = np.random.default_rng(
            np.random.SeedSequence([VERSION, seed, num_slices, number])
        )
        patient = _patient(head, name, rng)
        draw_ = rng.random()
        site = SITES[int(rng.random() < 0.5)]
        if site_follows_class:
            site = SITES[(draw_ < CONFOUNDING) == (name == "notumor")]
        series = size // 2 if size >= 5 and rng.random() < 0.5 else size
        for index in range(size):
            if index in (0, series):
                scan = _scan(site, rng)
                reach = 0.6 * (patient.lesion.radii.min() if patient.lesion else 10)
                count = series if index == 0 else size - series
                offsets = reach * np.linspace(-1, 1, count + 2)[1:-1]
            signal, mask = _render(
                head,
                patient,
                scan,
                offsets[index % max(series, 1) % len(offsets)],
                pixels,
            )
            image, length = _encode(_acquire(scan, signal, rng), scan.quality)
            images[len(rows)], masks[len(rows)] = image, mask
            rows.append(
                {
                    "split": split,
                    "class": name,
                    "patient": f"V{number + 1:04d}",
                    "series": f"V{number + 1:04d}-{1 + (index >= series)}",
                    "plane": scan.plane,
                    "source": f"phantom site {site}",
                    "site": site,
                    "mode": MODES[site],
                    "bytes": length,
                    "twin": -1,
                    "twin_kind": pd.NA,
                }
            )
            bar.update()
    crossing = num_twins // 2
    training = np.flatnonzero([row["split"] == "Training" for row in rows])
    originals = np.concatenate(
        [
            plan.choice(training, crossing, replace=False),
            plan.choice(len(rows), num_twins - crossing, replace=False),
        ]
    )
    for number, original in enumerate(originals):
        kind, here = TWIN_KINDS[number % 4], len(rows)
        image, mask, length = _twin(images[original], masks[original], kind, plan)
        if kind == "exact":
            image, length = images[original], rows[original]["bytes"]
        images[here], masks[here] = image, mask
        split = "Testing" if number < crossing else rows[original]["split"]
        rows.append(
            rows[original]
            | {"split": split, "bytes": length, "twin": original, "twin_kind": kind}
        )
        bar.update()
    bar.close()
    return _in_order_of_files(images, masks, rows, plan)


def _in_order_of_files(images, masks, rows, rng) -> PhantomSet:
    """Number the files at random, so that names tell nothing, and sort by them."""
    numbers = rng.permutation(len(rows)) + 1
    files = np.array(
        [
            f"{row['split']}/{row['class']}/phantom-{number:05d}.jpg"
            for row, number in zip(rows, numbers, strict=True)
        ]
    )
    table = pd.DataFrame(rows)
    table.insert(0, "file", files)
    table["width"] = table["height"] = images.shape[1]
    twin = table.pop("twin")
    table["twin_of"] = [files[t] if t >= 0 else pd.NA for t in twin]
    columns = ["file", "split", "class", "patient", "series", "plane", "source", "site"]
    columns += ["mode", "width", "height", "bytes", "twin_of", "twin_kind"]
    order = np.argsort(files)
    table = table[columns].iloc[order].reset_index(drop=True)
    return PhantomSet(images[order], masks[order], table)
