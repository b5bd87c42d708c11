"""Packs the course for learners, a workshop, or the built book for a web host.

`python -m tools.pack course`: _build/course.zip holds, in one folder `course`, what a
learner needs to run the chapters; in Colab it is uploaded instead of cloned.
`python -m tools.pack workshop`: _build/workshop is the folder to hand out for the 90
minutes: START_HERE.md, workshop.ipynb, and a course.zip with what that notebook uses.
`python -m tools.pack site`: _build/site.zip holds the built book, and is refused for a
book that was built with real images.
"""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat

from tools import book
from tools import workshop as the_workshop
from tools.dependencies import ROOT

NOT_FOR_LEARNERS = ("tests/", ".ci/", "kit/")
# The workshop's notebook takes the chapters' place, and its plan names the data.
NOT_IN_A_WORKSHOP = (*NOT_FOR_LEARNERS, "chapters/", "data/", "docs/", "assets_extra/")
NOT_IN_A_WORKSHOP += ("helpers/experiments/", "tools/pretrain/", "_config", "_toc")
NOT_IN_A_WORKSHOP += ("README.md", "CONTRIBUTING.md")  # START_HERE.md is there instead
START_HERE = "kit/start_here.md"


class PackError(Exception):
    """Nothing was packed; the message says why and what to do."""


def tracked(root: Path) -> list[str]:
    """Return the files that git tracks and that are there, by relative path."""
    command = ["git", "-C", str(root), "ls-files", "-z"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise PackError(f"{root} is no git clone, so what belongs to it is not known.")
    names = answer.stdout.split("\0")
    return [name for name in names if name and (root / name).is_file()]


def pack(target: Path, files: dict[str, Path]) -> None:
    """Write a zip of files by their names in it, the same bytes for the same files."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(target.name + ".tmp")
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(files.items()):
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (path.stat().st_mode & 0o777) << 16
            archive.writestr(entry, path.read_bytes())
    fresh.replace(target)


def course(root: Path = ROOT) -> Path:
    """Pack what a learner needs; return the zip. Real images are never tracked."""
    names = [n for n in tracked(root) if not n.startswith(NOT_FOR_LEARNERS)]
    target = root / "_build" / "course.zip"
    pack(target, {f"course/{name}": root / name for name in names})
    return target


def workshop(root: Path = ROOT) -> Path:
    """Make the folder that a workshop hands out; return its zip.

    `PackError` if the plan names data that git does not hold.
    """
    folder = root / "_build" / "workshop"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    notebook = folder / "workshop.ipynb"
    nbformat.write(the_workshop.build(root), notebook)
    start = Path(shutil.copyfile(root / START_HERE, folder / "START_HERE.md"))
    held, data = tracked(root), the_workshop.plan(root)["data"]
    unknown = sorted(set(data) - set(held))
    if unknown:
        raise PackError(f"{the_workshop.PLAN} names {unknown[0]}, which git lacks.")
    names = [n for n in held if not n.startswith(NOT_IN_A_WORKSHOP)] + data
    files = {f"course/{name}": root / name for name in names}
    files |= {"course/chapters/workshop.ipynb": notebook, "course/START_HERE.md": start}
    pack(folder / "course.zip", files)
    return folder / "course.zip"


def site(html: Path = book.HTML) -> Path:
    """Pack the built book; `PackError` if there is none or it shows real images."""
    record = book.last_record()
    if not record:
        raise PackError("There is no finished book to pack. Build it: make book")
    if record["real_data"]:
        raise PackError(
            "This book was built with real images (BRAIN_MRI_DATA="
            f"{record['settings']['BRAIN_MRI_DATA']}). They must not be published: "
            "their licence is not settled. Build it without that setting, then pack:\n"
            "  env -u BRAIN_MRI_DATA make publish"
        )
    target = html.parent / "site.zip"
    files = [path for path in html.rglob("*") if path.is_file()]
    pack(target, {path.relative_to(html).as_posix(): path for path in files})
    return target


def main(arguments: list[str]) -> int:
    """Pack what is asked for; return an exit status."""
    try:
        kinds = {"course": course, "workshop": workshop, "site": site}
        target = kinds[arguments[0]]()
    except (PackError, the_workshop.PlanError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Packed {target} ({target.stat().st_size / 1e6:.0f} MB).")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
