"""Packs the course for a workshop, or the built book for a web host.

`python -m tools.pack workshop`: _build/course.zip holds, in one folder `course`, what a
learner needs to run the chapters; in Colab it is uploaded instead of cloned.
`python -m tools.pack site`: _build/site.zip holds the built book, and is refused for a
book that was built with real images.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

from tools import book
from tools.dependencies import ROOT

NOT_FOR_LEARNERS = ("tests/", ".ci/")


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


def workshop(root: Path = ROOT) -> Path:
    """Pack what a learner needs; return the zip. Real images are never tracked."""
    names = [n for n in tracked(root) if not n.startswith(NOT_FOR_LEARNERS)]
    target = root / "_build" / "course.zip"
    pack(target, {f"course/{name}": root / name for name in names})
    return target


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
        target = {"workshop": workshop, "site": site}[arguments[0]]()
    except PackError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Packed {target} ({target.stat().st_size / 1e6:.0f} MB).")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
