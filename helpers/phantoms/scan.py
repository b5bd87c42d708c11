"""How a virtual patient is scanned: plane and framing, artefacts, export, twins."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

SITES = ("A", "B")  # A: T1 with contrast; B: T2-like
MODES = {"A": "L", "B": "RGB"}  # of the files each site would have exported
PLANES = {  # mm vectors of image right, image down, and through the slice
    "axial": np.array([[1, 0, 0], [0, -1, 0], [0, 0, 1]], float),
    "coronal": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float),
    "sagittal": np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]], float),
}
PLANE_CENTRES = {"axial": (0, -17, 0), "coronal": (0, 0, -2), "sagittal": (0, -6, -8)}
BANNERS = ("SYN", "PHANTOM", "TEST 01", "R", "L", "SE 4")
TWIN_KINDS = ("exact", "re-encoded", "mirrored", "mirrored and re-framed")


@dataclass(frozen=True)
class Scan:
    """How one series was acquired and exported.

    axes: [3, 3], the plane's vectors, tilted; centre: mm; field: side of the frame, mm;
    mirrored: faces left; bias: five coefficients; noise: standard deviation, of signal
    1; blur: mm; fat: its signal relative to the site's; white: signal shown as white;
    gamma: of the grey mapping; quality: of the JPEG; banner: corner text or "".
    """

    plane: str
    site: str
    axes: np.ndarray
    centre: np.ndarray
    field: float
    mirrored: bool
    bias: np.ndarray
    noise: float
    blur: float
    fat: float
    white: float
    gamma: float
    quality: int
    banner: str


def draw_scan(
    site: str, rng: np.random.Generator, planes: tuple[str, ...] = tuple(PLANES)
) -> Scan:
    """Draw a series' plane (one of `planes`), framing and artefacts.

    None of them depends on the class.
    """
    plane = str(rng.choice(planes))
    tilt = rng.normal((-4 if plane == "axial" else 0, 0, 0), (4, 2, 3))
    return Scan(
        plane=plane,
        site=site,
        axes=PLANES[plane] @ _rotation(tilt).T,
        centre=np.array(PLANE_CENTRES[plane]) + rng.normal(0, 3, 3),
        field=rng.uniform(225, 252),
        mirrored=plane == "sagittal" and bool(rng.random() < 0.3),
        bias=rng.normal(0, (0.10, 0.10, 0.06, 0.06, 0.06)),
        noise=rng.uniform(0.006, 0.020),
        blur=rng.uniform(0.4, 1.5),
        fat=rng.uniform(0.7, 1.1),
        white=rng.uniform(0.80, 1.05),
        gamma=rng.uniform(0.88, 1.15),
        quality=int(rng.integers(70, 96)),
        banner=str(rng.choice(BANNERS)) if rng.random() < 0.1 else "",
    )


def _rotation(degrees) -> np.ndarray:
    """Return the rotation by three angles about x, y and z."""
    (a, b, c), (d, e, f) = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    about_x = np.array([[1, 0, 0], [0, a, -d], [0, d, a]])
    about_y = np.array([[b, 0, e], [0, 1, 0], [-e, 0, b]])
    about_z = np.array([[c, -f, 0], [f, c, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def slice_points(scan: Scan, target, offset: float, pixels: int) -> np.ndarray:
    """Return the points [3, pixels, pixels] of the slice `offset` mm from `target`."""
    right, down, through = scan.axes
    centre = scan.centre + through * ((target - scan.centre) @ through + offset)
    line = ((np.arange(pixels) + 0.5) / pixels - 0.5) * scan.field
    across = np.outer(right, -line if scan.mirrored else line)
    along = np.outer(down, line)
    return centre[:, None, None] + across[:, None, :] + along[:, :, None]


def acquire(scan: Scan, signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a float [p, p] signal as the scanner and the exporter store it, uint8.

    Bias field (Sled et al. 1998, doi 10.1109/42.668698; here a polynomial), blur,
    Rician noise (Gudbjartsson and Patz 1995, doi 10.1002/mrm.1910340618), 12-bit
    storage, grey mapping, corner text.
    """
    pixels = len(signal)
    x = np.linspace(-1, 1, pixels, dtype=np.float32)[None, :]
    y = x.T
    a, b, c, d, e = scan.bias.astype(np.float32)
    field = np.exp(a * x + b * y + c * x * y + d * x * x + e * y * y)
    image = signal * field
    image = ndimage.gaussian_filter(image, scan.blur * pixels / scan.field)
    real, imaginary = scan.noise * rng.standard_normal((2, pixels, pixels), np.float32)
    image = np.sqrt((image + real) ** 2 + imaginary**2)
    stored = np.minimum(image * np.float32(4095 / scan.white), 4095).astype(np.uint16)
    window = np.round(255 * (np.arange(4096) / 4095) ** scan.gamma).astype(np.uint8)
    shown = window[stored]
    if scan.banner:
        picture = Image.fromarray(shown)
        pen = ImageDraw.Draw(picture)
        pen.text((2, 1), scan.banner, fill=200, font_size=max(pixels // 14, 6))
        shown = np.asarray(picture)
    return shown


def encode(image: np.ndarray, quality: int) -> tuple[np.ndarray, int]:
    """Return the uint8 image as a JPEG shows it, and the bytes of that JPEG."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream)), stream.tell()


def make_twin(image, mask, kind: str, rng: np.random.Generator):
    """Return image, mask and JPEG bytes of a twin of any of TWIN_KINDS but exact."""
    if kind != "re-encoded":
        image, mask = image[:, ::-1].copy(), mask[:, ::-1].copy()
    if kind == "mirrored and re-framed":
        zoom, shift = rng.uniform(0.9, 1.1), rng.uniform(-0.03, 0.03, 2)
        middle = (len(image) - 1) / 2
        start = middle - (middle + shift * len(image)) / zoom
        image = ndimage.affine_transform(image, [1 / zoom] * 2, start, order=3)
        mask = ndimage.affine_transform(mask, [1 / zoom] * 2, start, order=0)
        window = np.round(255 * (np.arange(256) / 255) ** rng.uniform(0.85, 1.2))
        image = window.astype(np.uint8)[image]
    quality = int(rng.integers(50, 70)) if kind == "re-encoded" else 92
    image, size = encode(image, quality)
    return image, mask, size
