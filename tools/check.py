"""Is my installation right? `python -m tools.check`, what `make check` does.

For readers: it looks at what a reader can have got wrong, says each in one line with
the way out, and changes nothing. `make test` is for authors, and fails on a chapter
that was merely run and saved.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from helpers import config
from helpers.config import ROOT, CourseError
from tools import environment
from tools.sync_bootstrap import master

PACKAGES = ("numpy", "pandas", "scikit-learn", "keras", "jupyterlab", "jupyter-book")
ROOM = 1e9  # bytes that a build of the book and its caches need
START = "import helpers\nhelpers.start()"


def the_environment() -> str:
    """Python is the course's own, of a supported version, where it was made."""
    version = sys.version_info[:2]
    if not environment.SUPPORTED[0] <= version <= environment.SUPPORTED[1]:
        raise CourseError(
            f"Python is {version[0]}.{version[1]}; expected 3.11 to 3.13. Run: make "
            "setup PYTHON=/path/to/python3.12"
        )
    if environment.moved():
        raise CourseError(
            f"the course was moved or renamed: programs in {environment.VENV} look for "
            "the old place. Run: make setup"
        )
    return f"Python {sys.version.split()[0]} in {sys.prefix}"


def the_packages() -> str:
    """Packages are those that the lock pins, from the course's own environment."""
    for package in PACKAGES:
        found = metadata.distribution(package)
        wanted = environment.locked(package).split("==")[1]
        place = Path(str(found.locate_file(""))).resolve()
        if found.version != wanted or not place.is_relative_to(
            Path(sys.prefix).resolve()
        ):
            raise CourseError(
                f"{package} is {found.version} from {place}; expected {wanted} from "
                f"{sys.prefix}. Unset PYTHONPATH, and run: make setup"
            )
    return f"{len(PACKAGES)} main packages are as pinned"


def the_settings() -> str:
    """Variables name what is there, and the images can be found."""
    setting, weights = config.data_setting(), config.weights_setting()
    profile = config.profile().name
    if setting not in ("phantom", "kaggle"):
        from helpers.datasets import folder

        folder.find_files(Path(setting))
    return f"profile {profile}, data {setting}, weights {weights}"


def the_room() -> str:
    """Caches and the book can be written."""
    told = []
    for folder in (config.cache_dir(), ROOT / "_build"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"x")
        except OSError as error:
            raise CourseError(
                f"{folder} cannot be written ({error.strerror}). Make it writable, or "
                "name a folder on another disk in BRAIN_MRI_CACHE."
            ) from None
        free = shutil.disk_usage(folder).free
        if free < ROOM:
            raise CourseError(
                f"the disk of {folder} has {free / 1e6:.0f} MB left; expected "
                f"{ROOM / 1e6:.0f} MB. Free some."
            )
        told.append(f"{folder} ({free / 1e9:.0f} GB free)")
    return "can write " + " and ".join(told)


def the_files() -> str:
    """What came with the course is whole: recorded runs."""
    from helpers import recorded

    names = recorded.names()
    for name in names:
        if (recorded.FOLDER / f"{name}.npz").exists():
            recorded.load(name)
    return f"{len(names)} recorded runs are whole"


def the_network() -> str:
    """Keras runs, and the weights that chapters start from are what they should be."""
    import keras

    from helpers import densenet

    model = densenet.backbone(pixels=64)
    name = densenet.weights_name()
    return (
        f"{keras.backend.backend()} runs DenseNet121, {len(model.layers)} layers, "
        f"weights {name}"
    )


def a_notebook() -> str:
    """A notebook's kernel starts, is the course's own, and finds its helpers."""
    notebook = nbformat.v4.new_notebook()
    cells = (master(), START)
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    try:
        NotebookClient(
            notebook,
            timeout=120,
            kernel_name="python3",
            resources={"metadata": {"path": str(ROOT / "chapters")}},
        ).execute(stderr=subprocess.DEVNULL)
    except (CellExecutionError, RuntimeError, OSError) as error:
        raise CourseError(
            f"a notebook does not run: {str(error).strip().splitlines()[-1]} Start Lab "
            "by make lab, and choose the kernel Python 3."
        ) from None
    return "a notebook starts:\n" + "".join(
        f"      {line}\n" for line in notebook.cells[1].outputs[0].text.splitlines()
    ).rstrip("\n")


CHECKS = (the_environment, the_packages, the_settings, the_room, the_files)
CHECKS += (the_network, a_notebook)


@config.command
def main(checks: tuple[Callable[[], str], ...] = CHECKS) -> int:
    """Print one line a check; return 0 if all is right, 1 if anything is not."""
    wrong = 0
    for check in checks:
        try:
            print(f"right  {check()}", flush=True)
        except (CourseError, environment.SetupError) as error:
            print(f"WRONG  {error}", flush=True)
        except (ImportError, metadata.PackageNotFoundError, OSError) as error:
            print(f"WRONG  {type(error).__name__}: {error}. Run: make setup")
        else:
            continue
        wrong += 1
    print(
        f"{wrong} of {len(checks)} are not right; chapters/troubleshooting.md has more."
        if wrong
        else "Your installation is right."
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    raise SystemExit(main())
