"""Settings of the course: one reader of its variables, one way to end a command."""

import difflib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SEED = 0
BACKENDS = ("tensorflow", "jax")  # of Keras, that the course runs on


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
    """Return `BRAIN_MRI_DATA`: phantom (default), kaggle, or a folder's whole path.

    Raises `CourseError` for a name that is nearly one of these, where no such file is.
    """
    return _named_or_place("BRAIN_MRI_DATA", ("phantom", "kaggle"))


def weights_setting() -> str:
    """Return `BRAIN_MRI_WEIGHTS`: auto (default), a name, or a file's whole path.

    The names are bundled, imagenet and none. Raises `CourseError` as `data_setting`.
    """
    names = ("auto", "bundled", "imagenet", "none")
    return _named_or_place("BRAIN_MRI_WEIGHTS", names)


def cache_dir() -> Path:
    """Return `BRAIN_MRI_CACHE` or data/cache, whose content may be deleted."""
    setting = os.environ.get("BRAIN_MRI_CACHE", "").strip()
    return place(setting) if setting else ROOT / "data" / "cache"


def figshare_dir() -> Path | None:
    """Return the folder that `BRAIN_MRI_FIGSHARE` names, or None."""
    setting = os.environ.get("BRAIN_MRI_FIGSHARE", "").strip()
    return place(setting) if setting else None


def place(setting: str) -> Path:
    """Return the whole path that a setting means.

    `~` is the home folder. What is relative is looked for where Python runs, then in
    the course's own folder: `make` runs there, notebooks in chapters/.
    """
    path = whole_path(setting)
    relative = not setting.startswith("~") and not os.path.isabs(setting)
    if relative and not os.path.lexists(path):
        return whole_path(ROOT / setting)
    return path


def whole_path(path: Path | str) -> Path:
    """Return a path from the root, `~` replaced; relative to where Python runs."""
    try:
        return Path(os.path.abspath(Path(path).expanduser()))
    except (RuntimeError, ValueError) as error:  # ~nobody, or a null character
        raise CourseError(f"{str(path)!r} is no path: {error}.") from None


def keras_backend() -> str:
    """Return the backend that Keras will run on, read as Keras does, without Keras."""
    if name := os.environ.get("KERAS_BACKEND"):
        return name
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        return str(json.loads((home / "keras.json").read_text())["backend"])
    except (OSError, ValueError, LookupError, TypeError):  # not there, or not JSON
        return BACKENDS[0]


def command(main: Callable[..., int]) -> Callable[..., int]:
    """Make what ends a command early one line on stderr, and its exit status.

    2 for a `CourseError` or an error of the system, 130 for Ctrl-C. File names that the
    terminal's encoding cannot hold are printed with backslashes.
    """

    @wraps(main)
    def run(*arguments, **named) -> int:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            return main(*arguments, **named)
        except CourseError as error:
            print(error, file=sys.stderr)
        except BrokenPipeError:  # whoever read the output has closed it, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except OSError as error:
            named_file = f"{error.filename}: " if error.filename else ""
            print(f"{named_file}{error.strerror or error}.", file=sys.stderr)
        except KeyboardInterrupt:
            print("\nStopped. Nothing was finished.", file=sys.stderr)
            return 130
        return 2

    return run


def _named_or_place(variable: str, names: tuple[str, ...]) -> str:
    """Return a setting: one of the names (the first, if it is empty) or a path."""
    value = os.environ.get(variable, "").strip()
    if value in ("", *names):
        return value or names[0]
    path = place(value)
    meant = difflib.get_close_matches(value.lower(), names, 1, 0.8)
    if meant and not path.exists():
        raise CourseError(
            f"{variable} is {value!r}; did you mean {meant[0]}? Expected one of "
            f"{', '.join(names)}, or a path (there is no {path})."
        )
    return str(path)
