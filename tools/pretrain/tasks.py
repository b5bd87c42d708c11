"""What a network in pretraining sees of a slice, and what it is asked about it.

Every answer is a distribution over bins, softened around the true value, so that the
loss is one cross-entropy; a question that does not apply has an empty distribution.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from tools.pretrain.images import TARGETS

PLANES, ACROSS = 3, 14


@dataclass(frozen=True)
class Question:
    """Bins between two values; `weight` in the loss."""

    name: str
    low: float
    high: float
    bins: int
    weight: float = 1.0


QUESTIONS = (
    Question("plane", -98, 98, PLANES * ACROSS),  # plane and place along its axis
    Question("blob", 0, 1, 2, 0.7),
    Question("side", 0, 70, 7),  # mm from the midline
    Question("place_y", -110, 76, 10),
    Question("place_z", -55, 82, 9),
    Question("depth", -45, 12, 9),  # mm outside the inner skull
    Question("radius", np.log(5), np.log(28), 7),
    Question("area", 0, 0.35, 6, 0.7),  # square root of the share of the image
    Question("ring", 0, 1, 2),
    Question("shell", 0, 1, 6),
    Question("core", 0, 1, 5, 0.5),
    Question("contrast", -0.6, 0.6, 7),  # grey of the blob above its surroundings
    Question("oedema", 0, 0.9, 4, 0.5),
    Question("rough", 0, 0.3, 3, 0.5),
    Question("mirrored", 0, 1, 2, 0.3),  # which way a sagittal slice looks
    Question("ventricles", -0.2, 0.35, 3, 0.3),
    Question("skull", 4, 7, 3, 0.3),
    Question("scalp", 4, 8, 3, 0.3),
)
NUM_ANSWERS = sum(q.bins for q in QUESTIONS)
OF_BLOB = ("side", "place_y", "place_z", "depth", "radius", "area", "ring", "shell")
OF_BLOB += ("core", "contrast", "oedema", "rough")
COLUMN = {name: k for k, name in enumerate(TARGETS)}


def soft_bins(value: float, question: Question) -> np.ndarray:
    """Return a distribution over the question's bins, softened by 0.7 of a bin."""
    bins = ACROSS if question.name == "plane" else question.bins
    if bins == 2:
        share = float(np.clip(value, 0, 1))
        return np.array([1 - share, share])
    place = (value - question.low) / (question.high - question.low) * bins - 0.5
    place = np.clip(place, 0, bins - 1)
    weight = np.exp(-0.5 * ((np.arange(bins) - place) / 0.7) ** 2)
    return weight / weight.sum()


def answers(targets: np.ndarray, seen: dict) -> np.ndarray:
    """Return the weighted distributions, float32 [NUM_ANSWERS], of one view.

    `seen`: flipped, inverted, visible (share of the blob in the view), area, contrast.
    """
    known = {name: float(targets[k]) for name, k in COLUMN.items()}
    has_blob = known["blob"] > 0 and known["area"] > 0
    values = {
        "plane": known["through"],
        "side": abs(known["place_x"]),
        "radius": np.log(max(known["radius"], 1)),
        "area": np.sqrt(seen["area"]),
        "ring": float(known["rim"] < 1),
        "contrast": seen["contrast"],
        "mirrored": float((known["mirrored"] > 0) != seen["flipped"]),
        "blob": float(has_blob and seen["visible"] > 0),
    }
    parts = []
    for question in QUESTIONS:
        name = question.name
        value = values.get(name, known.get(name))
        if seen["inverted"] and name in ("shell", "core"):
            value = 1 - value
        asked = True
        if name in OF_BLOB:
            asked = has_blob and seen["visible"] > 0.5 and known["area"] > 0.0008
            asked &= name != "core" or known["rim"] < 1
        elif name == "blob":
            asked = not has_blob or seen["visible"] in (0.0,) or seen["visible"] > 0.3
        elif name == "mirrored":
            asked = known["plane"] == 2
        part = np.zeros(question.bins)
        if asked and name == "plane":
            first = ACROSS * int(known["plane"])
            part[first : first + ACROSS] = soft_bins(value, question)
        elif asked:
            part[:] = soft_bins(value, question)
        parts.append(question.weight * part)
    return np.concatenate(parts).astype(np.float32)


def view(image: np.ndarray, mask: np.ndarray, pixels: int, rng: np.random.Generator):
    """Return a random view uint8 [pixels, pixels], its mask, and what was done."""
    side = len(image)
    picture, outline = Image.fromarray(image), Image.fromarray(mask * 255)
    flipped = rng.random() < 0.5
    if flipped:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        outline = outline.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.4:
        angle = rng.uniform(-15, 15)
        picture = picture.rotate(angle, Image.Resampling.BILINEAR)
        outline = outline.rotate(angle, Image.Resampling.BILINEAR)
    size = side * rng.uniform(0.62, 1.05) * np.exp(rng.uniform(-0.08, 0.08, 2))
    size = np.minimum(size, side)
    # Crops keep near the middle: the frame of a head is never far off.
    corner = (side - size) * (0.5 + 0.5 * rng.uniform(-1, 1, 2) * rng.random())
    box = (*corner, *(corner + size))
    resized = picture.resize((pixels, pixels), Image.Resampling.BILINEAR, box)
    inside = outline.resize((pixels, pixels), Image.Resampling.BOX, box)
    inside = np.asarray(inside, np.float32) / 255
    grey = np.asarray(resized, np.float32) / 255
    area = inside.mean()
    total = mask.sum() / side**2 * (side**2 / np.prod(size))
    grey, inverted = _appearance(grey, rng)
    contrast = 0.0
    if area > 0:
        core = inside > 0.5 * inside.max()
        rim = ndimage.binary_dilation(core, iterations=3) & (inside == 0)
        if rim.any():
            contrast = float(grey[core].mean() - grey[rim].mean())
    seen = {
        "flipped": flipped,
        "inverted": inverted,
        "visible": float(area / total) if total > 0 else 0.0,
        "area": float(area),
        "contrast": contrast,
    }
    view = np.round(255 * np.clip(grey, 0, 1)).astype(np.uint8)
    if rng.random() < 0.15:
        stream = io.BytesIO()
        Image.fromarray(view).save(stream, "JPEG", quality=int(rng.integers(25, 85)))
        view = np.asarray(Image.open(stream))
    return view, inside, seen


def _appearance(grey: np.ndarray, rng: np.random.Generator):
    """Change greys as scanners and exporters do, and more; return inverted too."""
    if rng.random() < 0.7:  # a random increasing mapping
        steps = rng.gamma(0.8, 1, 6) + 0.15
        knots = np.concatenate([[0], np.cumsum(steps) / steps.sum()])
        grey = np.interp(grey, np.linspace(0, 1, 7), knots)
    grey = grey ** np.exp(rng.normal(0, 0.2))
    inverted = bool(rng.random() < 0.08)
    if inverted:
        grey = 1 - grey
    if rng.random() < 0.3:  # a field
        line = np.linspace(-1, 1, len(grey))
        a, b, c = rng.normal(0, 0.2, 3)
        grey = grey * np.exp(a * line + b * line[:, None] + c * line * line[:, None])
    if rng.random() < 0.3:
        grey = ndimage.gaussian_filter(grey, rng.uniform(0.3, 1.2))
    if rng.random() < 0.3:
        grey = grey + rng.uniform(0.005, 0.06) * rng.standard_normal(grey.shape)
    high = np.exp(rng.normal(0, 0.12))
    low = rng.uniform(0, 0.12) if rng.random() < 0.2 else 0.0
    return low + (high - low) * grey, inverted
