"""The phantoms' lesions: places, shapes and signals by class, in 3-D coordinates.

What the textbooks say, in short (Osborn, Hedlund and Salzman, Osborn's Brain, 2nd ed.,
2018; WHO classification: Louis et al. 2021, doi 10.1093/neuonc/noab106; enhancement:
Smirniotopoulos et al. 2007, doi 10.1148/rg.272065155):

- glioma: inside the brain, infiltrating. High grade: an irregular enhancing ring around
  necrosis, oedema along white matter, mass effect. Low grade: dark on T1, bright on T2,
  little or no enhancement.
- meningioma: outside the brain, a broad base on the dura, even and strong enhancement,
  often a dural tail.
- pituitary (neuroendocrine) tumor: in the sella, growing up through its diaphragm when
  large; at the midline; enhancing, sometimes less than the gland, sometimes cystic.
"""

from dataclasses import dataclass

import numpy as np

from .head import LOW, STEP, Head, sample, texture_at

SELLA = np.array([0.0, 3.0, -30.0])


@dataclass(frozen=True)
class Lesion:
    """One lesion; lengths in mm, signals 0 to 1 as (site A, site B).

    centre, radii, axes: an ellipsoid, its directions the rows of `axes` [3, 3]; lobe:
    rise and relative size of a second one above, or None; rough: how deep noise dents
    the surface, as a share of the radius; rim: thickness of the shell as a share of the
    radius, 1 = solid; uneven: how much thickness and signal of the shell vary, 0 to 1;
    edge: mm over which its border fades; shell, core: signals; oedema: its width as a
    share of the radius; tail: half width of the dural tail; push: mass effect, 0 to 1;
    beyond: how far it may pass the inner skull; shift: where in the noise it lies.
    """

    centre: np.ndarray
    radii: np.ndarray
    axes: np.ndarray
    rough: float
    rim: float
    shell: tuple[float, float]
    core: tuple[float, float]
    push: float
    beyond: float
    shift: np.ndarray
    lobe: tuple[float, float] | None = None
    oedema: float = 0.0
    tail: float = 0.0
    uneven: float = 0.0
    edge: float = 0.0


def draw_lesion(head: Head, class_name: str, rng: np.random.Generator) -> Lesion:
    """Draw a lesion of glioma, meningioma or pituitary from its class's distributions.

    Hard cases are meant: gliomas that enhance evenly or reach the surface, meningiomas
    beside the sella or with a cyst, pituitary tumors of a few mm or with a cyst.
    """
    return {"glioma": _glioma, "meningioma": _meningioma, "pituitary": _pituitary}[
        class_name
    ](head, rng)


def _glioma(head: Head, rng: np.random.Generator) -> Lesion:
    kind = rng.choice(["ring", "solid", "low grade"], p=[0.62, 0.12, 0.26])
    low = kind == "low grade"
    enhancing = (rng.uniform(0.55, 0.85), rng.uniform(0.55, 0.80))
    dark = (rng.uniform(0.12, 0.23), rng.uniform(0.72, 0.92))
    if rng.random() < 0.06:  # optic pathway, hypothalamus
        centre = SELLA + rng.normal((0, -4, 13), (4, 4, 2))
    else:
        centre = _draw_point(head, rng, _is_deep_white)
    return Lesion(
        centre=centre,
        radii=rng.uniform(13, 27) * rng.uniform(0.75, 1.25, 3),
        axes=_axes(rng),
        rough=rng.uniform(0.12, 0.28),
        rim=rng.uniform(0.18, 0.45) if kind == "ring" else 1.0,
        shell=dark if low else enhancing,
        core=(rng.uniform(0.08, 0.22), rng.uniform(0.70, 0.92)),
        push=rng.uniform(0.15, 0.5),
        beyond=-1.0,
        shift=rng.uniform(0, 64, 3),
        oedema=0.2 if low else rng.uniform(0.3, 0.9),
        uneven=0.15 if low else rng.uniform(0.3, 0.9),
        edge=rng.uniform(3, 8) if low else rng.uniform(0, 3),
    )


def _meningioma(head: Head, rng: np.random.Generator) -> Lesion:
    at_sella = rng.random() < 0.10  # tuberculum sellae, planum
    if at_sella:
        base = SELLA + rng.uniform((-14, 6, 2), (14, 20, 8))
        inward = np.array([0, -0.3, 0.95])
    else:
        base = _draw_point(head, rng, _is_dura)
        inward = _inward(head, base)
    radius = rng.uniform(11, 25)
    cystic = rng.random() < 0.15
    return Lesion(
        centre=base + inward * radius * 0.45,
        radii=radius * rng.uniform((0.6, 0.8, 0.8), (0.95, 1.2, 1.2)),
        axes=_axes(rng, inward),
        rough=rng.uniform(0.03, 0.12),
        rim=rng.uniform(0.4, 0.6) if cystic else 1.0,
        shell=(rng.uniform(0.64, 0.95), rng.uniform(0.55, 0.75)),
        core=(rng.uniform(0.18, 0.35), rng.uniform(0.70, 0.90)),
        push=rng.uniform(0.4, 0.7),
        beyond=12.0 if at_sella else 1.5,
        shift=rng.uniform(0, 64, 3),
        oedema=rng.uniform(0.2, 0.7) if rng.random() < 0.4 else 0.0,
        tail=rng.uniform(1.0, 2.5) if rng.random() < 0.6 else 0.0,
        uneven=rng.uniform(0.0, 0.2),
    )


def _pituitary(head: Head, rng: np.random.Generator) -> Lesion:
    radius = rng.uniform(5, 8) if rng.random() < 0.12 else rng.uniform(8, 18)
    grows_up = radius > 9 and rng.random() < 0.6
    cystic = rng.random() < 0.2
    return Lesion(
        centre=SELLA + rng.normal(0, 1.5, 3) + (0, 0, 0.35 * radius),
        radii=radius * rng.uniform(0.8, 1.2, 3),
        axes=np.eye(3),
        rough=rng.uniform(0.03, 0.12),
        rim=rng.uniform(0.25, 0.5) if cystic else 1.0,
        shell=(rng.uniform(0.52, 0.78), rng.uniform(0.48, 0.70)),
        core=(rng.uniform(0.14, 0.30), rng.uniform(0.75, 0.92)),
        push=rng.uniform(0.3, 0.6),
        beyond=30.0,
        shift=rng.uniform(0, 64, 3),
        lobe=(rng.uniform(0.9, 1.3), rng.uniform(0.6, 1.0)) if grows_up else None,
    )


def _draw_point(head: Head, rng: np.random.Generator, fits) -> np.ndarray:
    """Return the first random point of the brain's box that `fits`, [3] in mm."""
    while True:
        point = rng.uniform((-70, -104, -45), (70, 68, 74))
        if fits(head, point[:, None]):
            return point


def _is_deep_white(head: Head, point: np.ndarray) -> bool:
    depth = sample(head.depth, point, LOW, STEP, 99)
    white = sample(head.white, point, head.corner, 1, 0)
    return bool(white > 150 and depth < -8 and point[2] > -20 and abs(point[0]) > 8)


def _is_dura(head: Head, point: np.ndarray) -> bool:
    depth = sample(head.depth, point, LOW, STEP, 99)
    falx = abs(point[0]) < 4 and point[2] > 25 and depth < -2
    return bool(-4 < depth < 0 or falx)


def _inward(head: Head, point: np.ndarray) -> np.ndarray:
    """Return the unit vector into the brain: the depth's steepest descent."""
    steps = np.concatenate([np.eye(3), -np.eye(3)]) * 4
    depths = sample(head.depth, (point + steps).T, LOW, STEP, 99)
    slope = depths[3:] - depths[:3]
    return slope / max(np.linalg.norm(slope), 1e-6)


def _axes(rng: np.random.Generator, first=None) -> np.ndarray:
    """Return a random rotation whose first row is plus or minus `first`, if given."""
    columns = rng.standard_normal((3, 3))
    if first is not None:
        columns[:, 0] = first
    return np.linalg.qr(columns).Q.T


def reach_along(lesion: Lesion, direction: np.ndarray) -> float:
    """Return the ellipsoid's half width along a unit vector, mm."""
    return float(np.linalg.norm(lesion.radii * (lesion.axes @ direction)))


def own_radius(head: Head, lesion: Lesion, points: np.ndarray) -> np.ndarray:
    """Return each point's distance in lesion radii, points [3, m]: 1 on the surface."""
    turn = lesion.axes / lesion.radii[:, None]
    local = np.einsum("ij,jm->im", turn, points - lesion.centre[:, None])
    radius = np.sqrt((local * local).sum(0))
    if lesion.lobe:
        rise, size = lesion.lobe
        above = local - np.array([[0], [0], [rise]])
        radius = np.minimum(radius, np.sqrt((above * above).sum(0)) / size)
    grain = lesion.radii.mean() / 5
    return radius + lesion.rough * texture_at(head, points, grain, lesion.shift)


def pushed(points: np.ndarray, centre, reach: float, amount: float) -> np.ndarray:
    """Return where the tissue now at points [3, m] came from.

    amount: above 0, tissue was pushed away from `centre`; below, pulled in; the effect
    fades over `reach` mm.
    """
    away = points - np.reshape(centre, (3, 1)).astype(np.float32)
    distance = (away * away).sum(0, dtype=np.float64)
    weight = amount * np.exp(-distance / (2 * reach**2))
    return points - away * weight.astype(np.float32)


def add_lesion(head, lesion, image, points, depth, white, site, soft):
    """Return the signal with the lesion in it, and its mask.

    image, depth, white: [m], the signal, mm outside the inner skull, white-matter share
    at points [3, m]; site: 0 or 1; soft: mm over which edges blur.
    """
    away = points - lesion.centre[:, None].astype(np.float32)
    reach = 2.6 * lesion.radii.max() + 2
    near = np.flatnonzero(np.sqrt((away * away).sum(0)) < reach)
    points, depth, white = points.take(near, 1), depth[near], white[near]
    radius = own_radius(head, lesion, points)
    size = lesion.radii.mean()
    local = image[near]

    if lesion.oedema:
        along = 0.4 + 0.6 * white
        spread = np.clip((1 + lesion.oedema * along - radius) * 3, 0, 1) * along
        spread *= np.clip(0.5 - (depth + 1) / soft, 0, 1)
        local += 0.85 * spread * ((0.20, 0.88)[site] - local)
    if lesion.tail:
        tail = np.clip(0.5 - (np.abs(depth) - lesion.tail) / soft, 0, 1)
        tail *= np.clip((1.8 - radius) * 3, 0, 1)
        local += tail * (lesion.shell[site] - local)
    body = np.clip(0.5 - (radius - 1) * size / max(soft, lesion.edge), 0, 1)
    body *= np.clip(0.5 - (depth - lesion.beyond) / soft, 0, 1)
    image, mask = image.copy(), np.zeros(image.shape, bool)
    image[near], mask[near] = local, body > 0.5

    part = np.flatnonzero(body)  # a small part of what is near
    points, radius, body = points.take(part, 1), radius[part], body[part]
    patches = texture_at(head, points, size / 7, lesion.shift + 20)
    inner = lesion.shell[site] + 0.03 * texture_at(head, points, 1.6, lesion.shift)
    faint = np.clip(0.5 * lesion.uneven * (0.4 + patches), 0, 0.8)
    inner += faint * ((0.30, 0.60)[site] - inner)
    if lesion.rim < 1:
        rim = lesion.rim * (1 + 0.8 * lesion.uneven * patches)
        core = np.clip(0.5 - (radius - 1 + rim) * size / soft, 0, 1)
        inner += core * (lesion.core[site] - inner)
    where = near[part]
    image[where] += body * (inner - image[where])
    return image, mask
