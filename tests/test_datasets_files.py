"""Every kind of bad or odd image file is used rightly, or set aside by name."""

import struct
import subprocess
import sys
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_datasets import PIXELS, own_cache, tree  # noqa: F401

from helpers.config import ROOT
from helpers.datasets import folder, load_dataset
from helpers.datasets.__main__ import main

# A picture that tells top from bottom and left from right.
LEVELS = np.array([[0, 80], [160, 240]], np.uint8).repeat(20, 0).repeat(20, 1)
PICTURE = Image.fromarray(LEVELS)
COLOURED = PICTURE.convert("RGB")


def quadrants(image: np.ndarray) -> list[int]:
    """Return the levels in the middle of the four quarters, row by row."""
    low, high = len(image) // 4, 3 * len(image) // 4
    return [int(image[row, column]) for row in (low, high) for column in (low, high)]


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """Return a grey PNG whose header claims width x height, whatever the data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


@cache
def bomb() -> bytes:
    """Return a valid PNG of 400 kB that unpacks to 20,000 x 20,000 pixels."""
    return png(20_000, 20_000, bytes(20_001 * 20_000))


def saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def with_alpha() -> Image.Image:
    """The picture with hidden white under a transparent lower right quarter."""
    pixels = np.dstack([LEVELS] * 3 + [np.full_like(LEVELS, 255)])
    pixels[20:, 20:] = [255, 255, 255, 0]
    return Image.fromarray(pixels)


def rotated_by_exif(path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn a quarter clockwise to view"
    return saved(PICTURE.transpose(Image.Transpose.ROTATE_90), path, exif=exif)


def animated(path: Path) -> Path:
    white = Image.new("L", PICTURE.size, 255)
    return saved(PICTURE, path, save_all=True, append_images=[white, white])


GOOD = {
    "grey.jpg": lambda path: saved(PICTURE, path),
    "colour.jpg": lambda path: saved(COLOURED, path),
    "cmyk.jpg": lambda path: saved(COLOURED.convert("CMYK"), path),
    "palette.png": lambda path: saved(COLOURED.convert("P"), path),
    "rgba.png": lambda path: saved(COLOURED.convert("RGBA"), path),
    "bilevel.png": lambda path: saved(PICTURE.convert("1", dither=0), path),
    "16-bit.png": lambda path: saved(
        Image.fromarray(LEVELS.astype(np.uint16) * 200), path
    ),
    "float.tif": lambda path: saved(
        Image.fromarray(LEVELS.astype(np.float32) / 7), path
    ),
    "animated.gif": animated,
    "animated.png": animated,
    "rotated.jpg": rotated_by_exif,
    "wide.png": lambda path: saved(PICTURE.resize((400, 40), 0), path),
    "png named.jpg": lambda path: saved(PICTURE, path, format="PNG"),
    "größe \u8111.png": lambda path: saved(PICTURE, path),
}


@pytest.mark.parametrize("name", GOOD)
def test_an_odd_image_is_read_rightly(name, tmp_path):
    image, properties = folder.read_image(GOOD[name](tmp_path / name), PIXELS)
    assert image.shape == (PIXELS, PIXELS)
    assert image.dtype == np.uint8
    # Deep images are stretched to the full range; one bit knows only two levels.
    expected = (
        [0, 85, 170, 255] if name in ("16-bit.png", "float.tif") else LEVELS[::20, ::20]
    )
    if name == "bilevel.png":
        expected = [0, 0, 255, 255]
    np.testing.assert_allclose(quadrants(image), np.ravel(expected), atol=4)
    assert properties["bytes"] == (tmp_path / name).stat().st_size
    assert properties["width"] == (400 if name == "wide.png" else 40)


def test_what_is_transparent_becomes_black_whatever_it_hides(tmp_path):
    for name in ("alpha.png", "alpha.gif"):
        image, _ = folder.read_image(saved(with_alpha(), tmp_path / name), PIXELS)
        np.testing.assert_allclose(quadrants(image), [0, 80, 160, 0], atol=4)


def truncated(path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)
    content = saved(Image.fromarray(noise), path).read_bytes()
    return written(path, content[: len(content) // 2])


BAD = {
    "truncated.jpg": (truncated, "damaged: image file is truncated"),
    "truncated.png": (truncated, "damaged: image file is truncated"),
    "empty.jpg": (lambda path: written(path, b""), "empty file"),
    "text.jpg": (
        lambda path: written(path, b"just some words, no picture"),
        "not an image that Pillow can read: it begins with b'just some wo'",
    ),
    "0x0.png": (
        lambda path: written(path, png(0, 0)),
        "not an image that Pillow can read",
    ),
    "no data.png": (lambda path: written(path, png(9, 9)), "damaged"),
    "bomb.png": (
        lambda path: written(path, bomb()),
        "too large: over 89 million pixels",
    ),
    "small bomb.png": (
        lambda path: written(path, png(10_000, 10_000)),
        "too large: over 89 million pixels",
    ),
    "flat 16-bit.png": (
        lambda path: saved(Image.new("I;16", (9, 9), 700), path),
        "its values are not finite, or all the same",
    ),
    "nan.tif": (
        lambda path: saved(Image.fromarray(np.full((9, 9), np.nan, np.float32)), path),
        "its values are not finite, or all the same",
    ),
    "broken link.jpg": (
        lambda path: path.symlink_to("nothing"),
        "a broken link",
    ),
}


@pytest.fixture
def bad_tree(tree):  # noqa: F811
    for name, (make, _) in BAD.items():
        make(tree / "Training/glioma" / name)
    (tree / "Training/glioma/.DS_Store").write_bytes(b"\0")
    (tree / "Training/glioma/._gl0.jpg").write_bytes(b"\0")
    (tree / "__MACOSX").mkdir()
    saved(PICTURE, tree / "__MACOSX/copy.jpg")
    (tree / "README.txt").write_text("not an image, and not claimed to be one")
    (tree / "Training/schwannoma").mkdir()
    saved(PICTURE, tree / "Training/schwannoma/stray.jpg")
    return tree


def test_every_bad_file_is_set_aside_by_name_with_its_reason(bad_tree, capsys):
    data = load_dataset(bad_tree, PIXELS)
    assert len(data) == 16
    reasons = dict(zip(data.set_aside["file"], data.set_aside["reason"], strict=True))
    stray = "Training/schwannoma/stray.jpg"
    assert set(reasons) == {f"Training/glioma/{name}" for name in BAD} | {stray}
    for name, (_, reason) in BAD.items():
        found = reasons[f"Training/glioma/{name}"]
        assert reason in found, name
    assert reasons[stray] == "not in a folder Training/<class> or Testing/<class>"
    assert f"{len(BAD) + 1} file(s) were set aside" in capsys.readouterr().err
    again = load_dataset(bad_tree, PIXELS)  # now from the cache
    assert again.set_aside.equals(data.set_aside)


def test_a_bomb_is_set_aside_without_unpacking_it(tmp_path):
    path = written(tmp_path / "bomb.png", bomb())
    code = f"""
import resource
from pathlib import Path
from helpers.datasets import folder
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    folder.read_image(Path({str(path)!r}), 16)
except folder.Unusable as reason:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, reason)
"""
    output = subprocess.check_output(
        [sys.executable, "-c", code], cwd=ROOT, text=True
    ).split(maxsplit=1)
    assert output[1].startswith("too large")
    assert int(output[0]) < 50_000  # KiB; unpacked, it would be 400 MB


def test_the_check_command_reports_what_it_found(bad_tree, capsys):
    assert main(["check", str(bad_tree)]) == 1
    report = capsys.readouterr().out
    assert f"16 images can be used, {len(BAD) + 1} set aside" in report
    assert "Training/glioma/empty.jpg: empty file" in report
    assert "glioma             2        2    4" in report
    assert "24 x 24    16" in report
    assert "not version 1 (Training/glioma has 13, not 1321" in report


def test_the_check_command_tells_fine_from_unusable(tree, tmp_path, capsys):  # noqa: F811
    assert main(["check", str(tree)]) == 0
    assert "0 set aside" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "nowhere is not a folder" in captured.err


def test_the_check_command_explains_itself(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["check", "--help"])
    assert exit_.value.code == 0
    assert "exit status: 0" in capsys.readouterr().out
