"""Audit a folder of images: python -m helpers.audit PATH."""

import argparse
import sys
from hashlib import sha256
from pathlib import Path

from helpers.config import ROOT, CourseError, command, whole_path
from helpers.datasets.walk import Walk, walk

from . import folders, manifest
from .page import page
from .report import Audit, audit, summary

EPILOG = """exit status: 0 nothing found; 1 the same slice more than once, or files that
cannot be read: see the report; 2 the folder cannot be audited"""


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0 nothing found, 1 something found, 2 unusable."""
    parser = argparse.ArgumentParser(
        "python -m helpers.audit",
        description="Find images that show the same slice, though mirrored, re-framed "
        "or re-encoded, and slices of one series, in any folder of images. Prints a "
        "report; writes report.txt, files.csv, pairs.csv, oddities.csv and pairs.html.",
        epilog=EPILOG,
    )
    parser.add_argument("path", metavar="PATH", help="a folder of images")
    parser.add_argument(
        "--out",
        help="where to write (default: _build/audit/, which git ignores)",
    )
    options = parser.parse_args(arguments)
    root = whole_path(options.path)
    seen = walk(root)
    out = whole_path(options.out) if options.out else _own_place(root)
    _write(out, {"folder.txt": f"{root}\n"})  # an audit takes minutes: first try this
    found = audit(folders.read(root, seen=seen))
    text = _text(found, seen)
    print(text, flush=True)
    names = found.files["file"].to_numpy(object)
    pairs = found.pairs.assign(
        first=names[found.pairs["first"]], second=names[found.pairs["second"]]
    )
    tables = {"files": found.files, "pairs": pairs, "oddities": found.oddities}
    pages = {"report.txt": text + "\n", "pairs.html": page(found)}
    pages |= {
        f"{name}.csv": table.to_csv(index=False) for name, table in tables.items()
    }
    _write(out, pages)
    print(f"\nLook at the pairs: {out / 'pairs.html'}\nTables beside it, as CSV.")
    repeated = not found.files["group"].is_unique
    return 1 if repeated or len(found.data.set_aside) else 0


def _own_place(root: Path) -> Path:
    """Return where a folder's report goes: no other folder's of the same name."""
    out = ROOT / "_build" / "audit" / root.name
    there = out / "folder.txt"
    if there.exists() and there.read_text(errors="replace").strip() != str(root):
        return out.with_name(f"{root.name}-{sha256(bytes(root)).hexdigest()[:6]}")
    return out


def _text(found: Audit, seen: Walk) -> str:
    rows, parts = manifest.load(), [summary(found), seen.about_ignored()]
    parts += folders.read_as_one(found.files["file"])
    if found.files["file"].isin(rows["filename"]).any():
        parts.append(manifest.compare(found.data, rows))
    return "\n\n".join(filter(None, parts))


def _write(out: Path, pages: dict[str, str]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            # File names may hold bytes that are no characters.
            (out / name).write_text(text, "utf-8", errors="backslashreplace")
    except OSError as error:
        raise CourseError(
            f"{out}: cannot write there ({error.strerror}); name another folder with "
            "--out."
        ) from None


if __name__ == "__main__":
    sys.exit(main())
