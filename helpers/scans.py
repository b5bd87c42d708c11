"""One picture from a file: an image, a slice of a NIfTI volume, or a DICOM slice.

What the datasets' reader reads (`datasets.folder.read_image`) is read by it here too,
so that a file gives the bytes that a network was trained on. Volumes and DICOM pass
through the same last steps: deep values from their own darkest to their own brightest,
then squeezed to a square.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.audit.folders import coloured_share
from helpers.datasets.folder import MIN_SIDE, Unusable, read_image, square
from helpers.datasets.walk import (
    FORMATS,
    OTHER_KINDS,
    is_image,
    kind_of,
    start_of,
    suffix_of,
    walk,
)

VOLUMES = (".nii", ".nii.gz")
DICOM = (".dcm", ".dicom")
PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}  # the axis that is cut, in RAS
TISSUE = 0.1  # of a volume's 99th percentile: brighter voxels are taken for tissue
VOXELS = 2**29  # of a volume that is read: two gigabytes as 32-bit numbers


@dataclass(frozen=True)
class Scan:
    """One picture: `image` uint8 [pixels, pixels], and what its file says of it.

    `width`, `height` as stored; `coloured`: share of pixels that are not grey;
    `modality`: of a DICOM header, else ""; `notes`: what a reader should know of how it
    was read, such as which slice of a volume it is.
    """

    image: np.ndarray
    width: int
    height: int
    coloured: float = 0.0
    modality: str = ""
    notes: tuple[str, ...] = ()


def find(places: list[str]) -> tuple[list[Path], list[tuple[str, str]]]:
    """Return the files to read, folders walked through, and (path, reason) of others.

    A file that is named is always read; in folders, images, NIfTI and DICOM are. What
    is not there, and a folder without a picture, is among the others.
    """
    files, aside = [], []
    for place in map(Path, places):
        if not place.is_dir():
            if not place.exists():
                aside.append((str(place), "there is no such file"))
                continue
            files.append(place)
            continue
        seen = walk(place)
        found = [place / name for name in seen.images]
        for name, reason in seen.problems:
            if reason in (OTHER_KINDS[".dcm"], OTHER_KINDS[".nii"]):
                found.append(place / name)
            else:
                aside.append((str(place / name), reason))
        if not found:
            told = f"{place} holds no picture. {seen.about_ignored()}".strip()
            aside.append((str(place), told))
        files += sorted(found)
    return files, aside


def read(
    path: Path, pixels: int, plane: str = "axial", index: int | None = None
) -> Scan:
    """Return the picture in a file; raises `Unusable` with the reason.

    `plane` and `index` (from 0) say which slice of a volume; without an index it is the
    one with most tissue.
    """
    suffix, start = suffix_of(path.name), start_of(path)
    if not path.is_file():
        raise Unusable("not a file that can be read (a broken link?)")
    if path.stat().st_size == 0:
        raise Unusable("empty file")
    with _only_what_fits():
        if suffix in DICOM or start[128:132] == b"dicm":
            return _dicom(path, pixels, start)
        if suffix in VOLUMES:
            return _volume(path, pixels, plane, index)
        if suffix and not is_image(path):
            kind = OTHER_KINDS.get(suffix) or kind_of(start)
            raise Unusable(kind or f"{suffix} is no kind of picture that is read here")
        return _image(path, pixels)


def _image(path: Path, pixels: int) -> Scan:
    image, facts = read_image(path, pixels)
    notes = []
    with Image.open(path, formats=FORMATS) as opened:
        if getattr(opened, "n_frames", 1) > 1:
            notes.append(f"the first of {opened.n_frames} frames")
        if opened.has_transparency_data:
            notes.append("transparent parts were read as black")
    colour = 0.0 if facts["mode"] == "L" else coloured_share(path)
    return Scan(image, facts["width"], facts["height"], colour, notes=tuple(notes))


def _volume(path: Path, pixels: int, plane: str, index: int | None) -> Scan:
    """Read a slice of a NIfTI volume, front up (axial) or crown up.

    The header's affine says which axis is which; nibabel turns the nearest one to each
    of right, front and crown, without interpolation. The patient's right is drawn on
    the left, as radiologists do.
    """
    import nibabel

    try:
        volume = nibabel.load(path)
        shape = [n for n in volume.shape if n != 1] if volume.ndim > 3 else volume.shape
        if len(shape) != 3:
            raise Unusable(
                f"a volume of shape {' x '.join(map(str, volume.shape))}; expected "
                "three dimensions. Save the volume that you mean as a file of its own."
            )
        if np.prod(shape, dtype=float) > VOXELS:
            raise Unusable(f"too large: {np.prod(shape, dtype=float):.2g} voxels")
        if volume.get_data_dtype().kind not in "iuf":
            raise Unusable(f"its values are {volume.get_data_dtype()}, not grey")
        volume = nibabel.as_closest_canonical(nibabel.squeeze_image(volume))
        values = np.asanyarray(volume.dataobj, np.float32)
    except Unusable:
        raise
    except Exception as error:  # on broken bytes nibabel's readers raise many things
        reason = kind_of(start_of(path)) if suffix_of(path.name) == ".nii" else None
        raise Unusable(reason or f"damaged, or no NIfTI: {_short(error)}") from None
    values = np.nan_to_num(values, nan=0, posinf=0, neginf=0)
    axis = PLANES[plane]
    depth = values.shape[axis]
    if index is None:
        bright = values > TISSUE * np.percentile(values, 99)
        other = tuple(a for a in range(3) if a != axis)
        index, how = int(bright.sum(axis=other).argmax()), ", the one with most tissue"
    elif not 0 <= index < depth:
        raise Unusable(f"there is no slice {index}: {plane} ones are 0 to {depth - 1}")
    else:
        how = ""
    # Of a slice [first, second] along R-A, R-S or A-S: the second upwards, the first to
    # the left, so that right is on the left, and a face looks to the left.
    flat = values.take(index, axis)[::-1, ::-1].T
    note = f"{plane} slice {index} of 0 to {depth - 1}{how}"
    return _finished(flat, pixels, notes=(note,))


def _dicom(path: Path, pixels: int, start: bytes) -> Scan:
    """Read a DICOM slice: rescaled, windowed if the header says how, black for air."""
    import pydicom
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    try:
        header = pydicom.dcmread(path)
        if "PixelData" not in header:
            raise Unusable("a DICOM file without a picture")
        frames = int(header.get("NumberOfFrames") or 1)
        if frames > 1:
            raise Unusable(
                f"a DICOM file of {frames} frames; save the one that you mean as a "
                "file of its own"
            )
        kind = str(header.PhotometricInterpretation)
        if int(header.get("SamplesPerPixel", 1)) != 1 or "MONOCHROME" not in kind:
            raise Unusable(f"a DICOM picture in colour ({kind}); expected a grey one")
        if int(header.Rows) * int(header.Columns) > Image.MAX_IMAGE_PIXELS:
            raise Unusable(f"too large: {header.Columns} x {header.Rows} pixels")
        values = apply_modality_lut(header.pixel_array, header)
        values = np.asarray(apply_voi_lut(values, header), np.float32)
    except Unusable:
        raise
    except pydicom.errors.InvalidDicomError:
        reason = kind_of(start) or f"it begins with {start[:12]!r}"
        raise Unusable(f"not a DICOM file: {reason}") from None
    except Exception as error:  # a decoder that is missing, or broken bytes
        raise Unusable(f"its picture cannot be read: {_short(error)}") from None
    notes = []
    if kind == "MONOCHROME1":  # its lowest value is white
        values = -values
        notes.append("stored as a negative (MONOCHROME1), and turned")
    if "WindowWidth" in header or "VOILUTSequence" in header:
        notes.append("with the window that its header names")
    modality = str(header.get("Modality") or "")
    return _finished(values, pixels, modality=modality, notes=tuple(notes))


def _finished(values: np.ndarray, pixels: int, **more) -> Scan:
    height, width = values.shape
    if min(height, width) < MIN_SIDE:
        raise Unusable(f"only {width} x {height} pixels")
    image = square(Image.fromarray(np.ascontiguousarray(values, np.float32)), pixels)
    return Scan(image, width, height, **more)


def _short(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:160] if text else type(error).__name__


@contextmanager
def _only_what_fits() -> Iterator[None]:
    """Refuse what Pillow warns of: pictures beyond its limit, which fill the memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
