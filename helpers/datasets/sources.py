"""Where images come from: phantoms, Kaggle, or a folder of one's own."""

import hashlib
import sys
from importlib import metadata
from pathlib import Path

import pandas as pd

from helpers.config import SEED, data_setting, profile, whole_path

from . import folder, kaggle
from .cache import Decoded, cached
from .dataset import Dataset


def load_dataset(
    source: str | Path | None = None, pixels: int | None = None
) -> Dataset:
    """Return the images of `source`, `pixels` x `pixels` each, decoded only once.

    `source`: "phantom", "kaggle" or a folder with Training/Testing/<class> (default:
    `BRAIN_MRI_DATA`, else phantom). `pixels`: default is the profile's. Raises
    `CourseError` when there is nothing to load there.
    """
    source = str(source or data_setting())
    pixels = pixels or profile().pixels
    if source == "phantom":
        data = _load_phantom(profile().num_phantoms, pixels)
    elif source == "kaggle":
        data = kaggle.load(pixels)
    else:
        data = folder.load(whole_path(source), pixels)
    if len(data.set_aside):
        first = data.set_aside.iloc[0]
        print(
            f"{data.name}: {len(data.set_aside)} file(s) were set aside, the first is "
            f"{first['file']} ({first['reason']}). See the table `set_aside`.",
            file=sys.stderr,
        )
    return data


def _load_phantom(num_slices: int, pixels: int) -> Dataset:
    from helpers import phantoms  # scipy and nibabel: only for who draws

    # Its code and the template's version make the images, so they make the key.
    sources = sorted(Path(phantoms.__file__).parent.glob("*.py"))
    code = hashlib.sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()
    key = ["phantom", code, metadata.version("nilearn"), num_slices, pixels, SEED]

    def build() -> Decoded:
        made = phantoms.generate(num_slices, pixels)
        nothing = pd.DataFrame({"file": [], "reason": []}, dtype="string")
        return Decoded(made.images, made.masks, made.table, nothing)

    return cached(f"phantom {phantoms.VERSION}", key, build, synthetic=True)
