"""Settings of the course: one profile, one place for paths, seeds and the device."""

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SEED = 0


class CourseError(Exception):
    """A reader's mistake or a missing thing, said in one message without a traceback.

    The message names the file or value, what was expected, and what to do.
    """

    def _render_traceback_(self) -> list[str]:
        # IPython calls this instead of printing frames that mean nothing to a reader.
        return [f"{type(self).__name__}: {self}"]


@dataclass(frozen=True)
class Profile:
    """How much work a chapter does; chapters never branch on its name.

    `num_slices`: images used for live training; `pixels`: side of the live images;
    `num_epochs`: (head, tail) epochs; `num_resamples`: bootstrap resamples of live
    intervals; `num_phantoms`: slices of the phantom set. It is larger in quick than
    what a chapter has the time to train on: looking at slices is cheap.
    """

    name: str
    num_slices: int
    pixels: int
    num_epochs: tuple[int, int]
    batch_size: int
    num_resamples: int
    num_phantoms: int


PROFILES = {
    "smoke": Profile("smoke", 240, 64, (2, 1), 32, 200, 240),
    "quick": Profile("quick", 1200, 96, (12, 4), 32, 1000, 2000),
    "full": Profile("full", 8000, 224, (10, 12), 32, 2000, 8000),
}


def profile() -> Profile:
    """Return the profile that `COURSE_PROFILE` names (default: quick).

    Raises `CourseError` for a name that is not one of smoke, quick, full.
    """
    name = os.environ.get("COURSE_PROFILE") or "quick"
    if name not in PROFILES:
        raise CourseError(
            f"COURSE_PROFILE is {name!r}; expected one of {', '.join(PROFILES)}. "
            "Unset it for the default, quick."
        )
    return PROFILES[name]


def data_setting() -> str:
    """Return `BRAIN_MRI_DATA`: phantom (default), kaggle, or a folder's path."""
    return os.environ.get("BRAIN_MRI_DATA") or "phantom"


def weights_setting() -> str:
    """Return `BRAIN_MRI_WEIGHTS`: auto (default), a name, or a file's path.

    The names are bundled, imagenet and none.
    """
    return os.environ.get("BRAIN_MRI_WEIGHTS") or "auto"


def cache_dir() -> Path:
    """Return `BRAIN_MRI_CACHE` or data/cache, whose content may be deleted."""
    return Path(os.environ.get("BRAIN_MRI_CACHE") or ROOT / "data" / "cache")
