"""The one walk through a folder of images, for `check`, loading and the audit."""

import os
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from helpers.config import CourseError

# What Pillow may decode: for PostScript, for one, it would call another program.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "PPM", "PCX", "SGI")
CLUTTER = {"__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN"}
SPLITS = {"training": "Training", "train": "Training"}
SPLITS |= {"testing": "Testing", "test": "Testing"}
SPLITS |= dict.fromkeys(("validation", "valid", "val"), "Validation")
# Images, or archives of images, that the course does not read; and what to do.
_SAVE = "save its slices as PNG first"
OTHER_KINDS = {
    ".dcm": f"DICOM: {_SAVE}, with pydicom or a viewer",
    ".dicom": f"DICOM: {_SAVE}, with pydicom or a viewer",
    ".nii": f"NIfTI, a whole volume: {_SAVE}, with nibabel",
    ".nii.gz": f"NIfTI, a whole volume: {_SAVE}, with nibabel",
    ".mha": f"MetaImage, a whole volume: {_SAVE}, with SimpleITK",
    ".nrrd": f"NRRD, a whole volume: {_SAVE}, with SimpleITK",
    ".mat": f"MATLAB: {_SAVE} (figshare's: h5py reads them)",
    ".npy": f"a NumPy array: {_SAVE}",
    ".heic": "HEIC: save it as PNG or JPEG first",
    ".heif": "HEIC: save it as PNG or JPEG first",
    ".zip": "an archive: unpack it first",
    ".rar": "an archive: unpack it first",
    ".7z": "an archive: unpack it first",
    ".tar": "an archive: unpack it first",
    ".tar.gz": "an archive: unpack it first",
    ".tgz": "an archive: unpack it first",
    ".eps": "PostScript: save it as PNG first",
    ".ps": "PostScript: save it as PNG first",
    ".pdf": "PDF: save its pictures as PNG first",
}
# How files begin, whatever they are called.
_STARTS = (
    (b"version https://git-lfs", "a pointer of git LFS, not the file: git lfs pull"),
    (b"<!doctype html", "a web page: the download went wrong, fetch it again"),
    (b"<html", "a web page: the download went wrong, fetch it again"),
    (b"%!ps", OTHER_KINDS[".eps"]),
    (b"%pdf", OTHER_KINDS[".pdf"]),
    (b"pk\x03\x04", OTHER_KINDS[".zip"]),
    (b"rar!", OTHER_KINDS[".rar"]),
    (b"\x1f\x8b", "compressed by gzip: unpack it first"),
    (b"matlab 5.0", OTHER_KINDS[".mat"]),
)
_IMAGES = (b"\xff\xd8\xff", b"\x89png\r\n", b"gif8", b"bm", b"ii*\0", b"mm\0*")


@dataclass(frozen=True)
class Walk:
    """What lies below a folder.

    `images`: files to decode, relative and sorted: by suffix, or without a suffix but
    with an image's first bytes. `problems`: (path, reason) of folders that cannot be
    read, of links that lead in a circle, and of images in formats that the course does
    not read. `ignored`: number of other files by suffix. `passing`: an error of the
    system, which may be over next time, is among the problems.
    """

    root: Path
    images: list[str]
    problems: list[tuple[str, str]]
    ignored: Counter
    passing: bool

    @property
    def top_folders(self) -> list[str]:
        """The uppermost folders that hold images, sorted."""
        return sorted({file.split("/")[0] for file in self.images if "/" in file})

    def about_ignored(self) -> str:
        """Return the ignored files by suffix, in words; empty if there are none."""
        listed = [f"{n} {suffix}" for suffix, n in self.ignored.most_common()]
        return f"Ignored, by suffix: {', '.join(listed)}" if listed else ""


def walk(root: Path) -> Walk:
    """Walk through all folders below `root`, each once, links followed.

    Hidden files and what systems leave behind (__MACOSX, @eaDir, Thumbs.db) are left
    out. Raises `CourseError` if `root` is no folder, or cannot be read.
    """
    if not root.is_dir():
        raise CourseError(
            f"{root} is not a folder{instead(root)}; expected one that holds images."
        )
    images, problems, ignored, passing = [], [], Counter(), False
    seen: set[tuple[int, int]] = set()
    # Folders first, links to folders last: a folder has the name it lies under.
    folders, links = deque([root]), deque()
    while folders or links:
        folder = folders.popleft() if folders else links.popleft()
        name = folder.relative_to(root).as_posix()
        try:
            stat = folder.stat()
            if (stat.st_dev, stat.st_ino) in seen:
                problems.append((name, "a link to a folder that was read already"))
                continue
            seen.add((stat.st_dev, stat.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            for entry in entries:
                if is_clutter(entry.name):
                    continue
                path = folder / entry.name
                file = path.relative_to(root).as_posix()
                if _is_folder(entry):
                    (links if entry.is_symlink() else folders).append(path)
                elif is_image(path):
                    images.append(file)
                elif reason := OTHER_KINDS.get(suffix_of(file)):
                    problems.append((file, reason))
                elif kind := _unsuffixed(path):
                    problems.append((file, kind))
                else:
                    ignored[suffix_of(file) or "without a suffix"] += 1
        except OSError as error:
            passing = True
            if folder == root:
                raise CourseError(
                    f"{root} cannot be read: {error.strerror}. Make it readable."
                ) from None
            problems.append((name, f"a folder that cannot be read: {error.strerror}"))
    return Walk(root, sorted(images), sorted(problems), ignored, passing)


def is_clutter(name: str) -> bool:
    """Tell whether a file or folder is hidden, or what a system leaves behind."""
    return name.startswith(".") or name in CLUTTER


def is_image(path: Path) -> bool:
    """Tell whether a file is an image by its suffix or, without one, by its start."""
    if suffix_of(path.name):
        return suffix_of(path.name) in image_suffixes()
    start = start_of(path)
    return start.startswith(_IMAGES) or start[8:12] == b"webp"


def image_suffixes() -> set[str]:
    """Return the suffixes of the formats that the course reads, as ".jpg"."""
    known = Image.registered_extensions().items()
    return {suffix for suffix, kind in known if kind in (*FORMATS, "MPO")}


def suffix_of(name: str) -> str:
    """Return a file's suffix in lower case, both of two as in ".nii.gz"."""
    path = Path(name)
    two = "".join(path.suffixes[-2:]).lower()
    if two in OTHER_KINDS:
        return two
    # The last part of 1.2.840.113619 or of "scan no. 7" is no suffix.
    letters = path.suffix[1:].isalnum() and not path.suffix[1:].isdigit()
    return path.suffix.lower() if letters else ""


def start_of(path: Path) -> bytes:
    """Return a file's first 160 bytes in lower case, none if it cannot be read."""
    try:
        if not path.is_file():  # from a pipe, nothing may ever come
            return b""
        with path.open("rb") as file:
            return file.read(160).lower()
    except OSError:
        return b""


def kind_of(start: bytes) -> str | None:
    """Say what a file that is no image begins like, and what to do; None if unknown."""
    start = start.lower()
    if start[128:132] == b"dicm":
        return OTHER_KINDS[".dcm"]
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"hevc"):
        return OTHER_KINDS[".heic"]
    found = (kind for begin, kind in _STARTS if start.lstrip().startswith(begin))
    return next(found, None)


def instead(path: Path) -> str:
    """Say what is at a path where a folder was expected, if that can be told."""
    kind = OTHER_KINDS.get(suffix_of(path.name)) or kind_of(start_of(path))
    return f" ({kind})" if path.is_file() and kind else ""


def split_of(folder: str) -> str | None:
    """Return "Training", "Testing" or "Validation" for a folder's name, or None."""
    return SPLITS.get(folder.lower())


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _unsuffixed(path: Path) -> str | None:
    return None if suffix_of(path.name) else kind_of(start_of(path))
