"""A page of pairs to look at; it holds the images themselves, so it stays local."""

import base64
import html
import io

import numpy as np
import pandas as pd
from PIL import Image

from .report import Audit, summary
from .twins import SAME_SLICE

SIDE = 160  # of a thumbnail, in pixels
MOST = 24  # pairs in a section
MIRRORED = {
    "none": "same way round",
    "left-right": "mirrored left-right",
    "up-down": "mirrored up-down",
    "both": "turned by half a turn",
}
COMPARED = {
    "frame": "whole frames compared",
    "head": "heads compared",
    "aligned": "compared after aligning",
}
HEAD = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Pairs to look at</title><style>
:root{color-scheme:light dark}
body{font:16px/1.5 sans-serif;max-width:60rem;margin:auto;padding:1rem}
pre{overflow-x:auto}img{width:48%;max-width:160px}
figure{display:inline-block;width:350px;max-width:100%;margin:.5rem 0}
figcaption{font-size:.8rem;overflow-wrap:anywhere}</style>
"""


def page(found: Audit) -> str:
    """Return a whole HTML page, self-contained, with thumbnails of telling pairs."""
    pairs, files = found.pairs, found.files
    slices = pairs[pairs["similarity"] >= SAME_SLICE]
    first, second = (files.iloc[slices[end]] for end in ("first", "second"))
    conflicts = first["class"].to_numpy() != second["class"].to_numpy()
    crossing = first["split"].to_numpy(object) != second["split"].to_numpy(object)
    mirrored = (slices["mirror"] != "none").to_numpy()
    sections = {
        "One slice, two classes": (
            "If these are one picture, one of the two labels is wrong.",
            slices[conflicts],
        ),
        "Just similar enough to be called one slice": (
            "The weakest first. If you see two different slices here, the threshold "
            f"({SAME_SLICE}) is too low for your images: do not merge them.",
            slices[::-1],
        ),
        "Just not similar enough": (
            "The strongest first. These should be neighbouring slices of one person, "
            "or strangers. If you see copies here, the audit has missed some.",
            pairs[pairs["similarity"] < SAME_SLICE],
        ),
        "Mirrored, one in Training and one in Testing": (
            "A network that is trained with flips sees the test image itself.",
            slices[crossing & mirrored],
        ),
    }
    parts = [
        f"<h1>{html.escape(found.data.name)}: pairs to look at</h1>",
        "<p>This page holds the images themselves. Keep it to yourself unless you may "
        "publish them. The second image of a pair is mirrored to match the first. "
        "Similarity goes up to 1; the thresholds were set on one dataset of head MRI, "
        "so look before you believe them on another.</p>",
        f"<pre>{html.escape(summary(found))}</pre>",
    ]
    for title, (words, chosen) in sections.items():
        shown = f" (the first {MOST} shown)" if len(chosen) > MOST else ""
        parts.append(f"<h2>{title}: {len(chosen)}{shown}</h2><p>{words}</p>")
        parts += [_figure(found, pair) for pair in chosen.head(MOST).itertuples()]
    return HEAD + "\n".join(parts) + "\n</html>\n"


def _figure(found: Audit, pair) -> str:
    one, other = (found.files.iloc[index] for index in (pair.first, pair.second))
    image = found.data.images[pair.second]
    if pair.mirror in ("left-right", "both"):
        image = image[:, ::-1]
    if pair.mirror in ("up-down", "both"):
        image = image[::-1]
    return (
        f"<figure>{_thumbnail(found.data.images[pair.first], one)}"
        f"{_thumbnail(image, other)}<figcaption>similarity {pair.similarity:.3f}, "
        f"{MIRRORED[pair.mirror]}, {COMPARED[pair.view]}<br>{html.escape(one.file)}<br>"
        f"{html.escape(other.file)}</figcaption></figure>"
    )


def _thumbnail(image: np.ndarray, file: pd.Series) -> str:
    stream = io.BytesIO()
    Image.fromarray(image).resize((SIDE, SIDE)).save(stream, "JPEG", quality=80)
    data = base64.b64encode(stream.getvalue()).decode()
    name = html.escape(f"{file['class']}, {file.file}", quote=True)
    return f'<img alt="{name}" src="data:image/jpeg;base64,{data}">'
