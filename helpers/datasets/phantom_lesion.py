"""The phantoms' lesions: shapes and signals by class, as functions of 3-D coordinates.

What the textbooks say, in short (Osborn, Hedlund and Salzman, Osborn's Brain, 2nd ed.,
2018; WHO classification: Louis et al. 2021, doi 10.1093/neuonc/noab106; enhancement
patterns: Smirniotopoulos et al. 2007, doi 10.1148/rg.272065174):

- glioma: inside the brain, infiltrating. High grade: an irregular enhancing ring around
  necrosis, oedema along white matter, mass effect. Low grade: dark on T1, bright on T2,
  little or no enhancement.
- meningioma: outside the brain, a broad base on the dura, even and strong enhancement,
  often a dural tail, a cleft of fluid towards the brain.
- pituitary (neuroendocrine) tumor: in the sella, growing up through the diaphragm when
  large; at the midline; enhancing, sometimes less than the gland, sometimes cystic.
"""

from dataclasses import dataclass

import numpy as np

from helpers.datasets.phantom_head import LOW, STEP, Head, sample, texture_at

SELLA = np.array([0.0, 3.0, -30.0])


@dataclass(frozen=True)
class Lesion:
    """One lesion; lengths in mm, signals 0 to 1 as (site A, site B).

    centre, radii, axes: an ellipsoid, `axes` [3, 3] its rows; rough: how far noise
    dents it; rim: thickness of the enhancing shell as a share of the radius (1 =
    solid); shell, core: signals; oedema: its width as a share of the radius, 0 = none;
    tail: width of the dural tail, mm; push: mass effect; upper: centre shift and scale
    of a second lobe, or None; outside: True for a lesion outside the brain.
    """

    centre: np.ndarray
    radii: np.ndarray
    axes: np.ndarray
    rough: float
    rim: float
    shell: tuple[float, float]
    core: tuple[float, float]
    oedema: float
    tail: float
    push: float
    upper: tuple[float, float] | None
    outside: bool
    shift: np.ndarray


def _axes(rng, first=None) -> np.ndarray:
    """Return a random rotation whose first row is `first`, if given."""
    basis = rng.standard_normal((3, 3))
    if first is not None:
        basis[:, 0] = first
    q, _ = np.linalg.qr(basis)
    return q.T


def place(head: Head, class_name: str, rng: np.random.Generator) -> np.ndarray:
    """Return where a lesion of this class may lie, [3] in mm; `notumor` borrows one."""
    if class_name == "notumor":
        class_name = rng.choice(["glioma", "meningioma", "pituitary"])
    if class_name == "pituitary":
        return SELLA + rng.normal(0, (1.5, 1.5, 1))
    if class_name == "meningioma" and rng.random() < 0.12:  # tuberculum, planum
        return np.add(SELLA, (rng.normal(0, 8), rng.uniform(8, 22), rng.uniform(2, 8)))
    if class_name == "glioma" and rng.random() < 0.06:  # optic pathway, hypothalamus
        return SELLA + rng.normal((0, -4, 13), (4, 4, 2))
    while True:
        point = rng.uniform((-68, -100, -45), (68, 66, 70))
        depth = sample(head.depth, point.reshape(3, 1, 1), LOW, STEP, 99).item()
        if class_name == "meningioma":
            falx = abs(point[0]) < 5 and point[2] > 25 and depth < -2
            if -5 < depth < 0 or falx:
                return point
        else:
            at = point.reshape(3, 1, 1)
            white = sample(head.white, at, head.corner, 1, 0).item()
            if white > 150 and depth < -8 and point[2] > -20 and abs(point[0]) > 8:
                return point


def _inward(head: Head, point: np.ndarray) -> np.ndarray:
    """Return the unit vector into the brain, the downhill direction of the depth."""
    steps = np.concatenate([np.eye(3) * 4, -np.eye(3) * 4])
    depths = sample(head.depth, (point + steps).T[:, :, None], LOW, STEP, 99).ravel()
    slope = depths[3:] - depths[:3]
    return slope / max(np.linalg.norm(slope), 1e-6)


def draw(head: Head, class_name: str, centre, rng: np.random.Generator) -> Lesion:
    """Draw a lesion of the class at `centre`; about a fifth are hard cases."""
    common = {"shift": rng.uniform(0, 64, 3), "upper": None, "tail": 0.0}
    wobble = rng.uniform(0.8, 1.2, 3)
    if class_name == "glioma":
        radius = rng.uniform(9, 25)
        grade = rng.choice(["ring", "solid", "low"], p=[0.5, 0.2, 0.3])
        bright = rng.uniform(0.58, 0.85)
        dark = (rng.uniform(0.2, 0.36), rng.uniform(0.7, 0.92))
        even = (rng.uniform(0.28, 0.40), rng.uniform(0.65, 0.85))
        return Lesion(
            centre=centre,
            radii=radius * wobble,
            axes=_axes(rng),
            rough=rng.uniform(0.12, 0.3),
            rim={"ring": rng.uniform(0.15, 0.4), "solid": 1.0, "low": 1.0}[grade],
            shell=even if grade == "low" else (bright, rng.uniform(0.5, 0.75)),
            core=dark,
            oedema=0.15 if grade == "low" else rng.uniform(0.2, 0.9),
            push=rng.uniform(0.15, 0.5),
            outside=False,
            **common,
        )
    if class_name == "meningioma":
        radius = rng.uniform(7, 24)
        inward = _inward(head, centre)
        cystic = rng.random() < 0.15
        common["tail"] = rng.uniform(1, 2.5) if rng.random() < 0.6 else 0.0
        return Lesion(
            centre=centre + inward * radius * 0.45,
            radii=radius * np.array([rng.uniform(0.6, 0.95), *wobble[1:]]),
            axes=_axes(rng, inward),
            rough=rng.uniform(0.03, 0.12),
            rim=rng.uniform(0.4, 0.6) if cystic else 1.0,
            shell=(rng.uniform(0.62, 0.85), rng.uniform(0.5, 0.72)),
            core=(rng.uniform(0.25, 0.45), rng.uniform(0.7, 0.9)),
            oedema=rng.uniform(0.2, 0.7) if rng.random() < 0.4 else 0.0,
            push=rng.uniform(0.4, 0.7),
            outside=True,
            **common,
        )
    radius = rng.choice([rng.uniform(5, 7), rng.uniform(7, 18)], p=[0.25, 0.75])
    if radius > 9 and rng.random() < 0.6:
        common["upper"] = (radius * rng.uniform(0.9, 1.3), rng.uniform(0.6, 1.0))
    cystic = rng.random() < 0.2
    return Lesion(
        centre=np.add(centre, (0, 0, 0.35 * radius)),
        radii=radius * wobble * (1, 0.9, 0.95),
        axes=np.eye(3),
        rough=rng.uniform(0.03, 0.12),
        rim=rng.uniform(0.25, 0.5) if cystic else 1.0,
        shell=(rng.uniform(0.52, 0.80), rng.uniform(0.5, 0.72)),
        core=(rng.uniform(0.2, 0.4), rng.uniform(0.75, 0.92)),
        oedema=0.0,
        push=rng.uniform(0.3, 0.6),
        outside=True,
        **common,
    )


def radius_at(head: Head, lesion: Lesion, points: np.ndarray) -> np.ndarray:
    """Return the lesion's own radius at points [3, h, w]: 1 on its surface."""
    local = np.tensordot(lesion.axes, points - lesion.centre[:, None, None], 1)
    scaled = local / lesion.radii[:, None, None]
    radius = np.sqrt((scaled**2).sum(0))
    if lesion.upper:
        rise, size = lesion.upper
        lobe = scaled - np.array([0, 0, rise / lesion.radii[2]])[:, None, None]
        radius = np.minimum(radius, np.sqrt((lobe**2).sum(0)) / size)
    grain = lesion.radii.mean() / 5
    return radius + lesion.rough * texture_at(head, points, grain, lesion.shift)


def pushed(points: np.ndarray, centre, reach: float, amount: float) -> np.ndarray:
    """Return where the tissue at `points` came from, pushed away from `centre`.

    `amount` > 0 pushes outwards over about `reach` mm; below 0 pulls inwards.
    """
    away = points - np.reshape(centre, (3, 1, 1))
    weight = np.exp(-(away**2).sum(0) / (2 * reach**2)).astype(np.float32)
    return points - away * (amount * weight)
