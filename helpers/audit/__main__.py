"""Audit a folder of images: python -m helpers.audit PATH."""

import argparse
import sys
from pathlib import Path

from helpers.config import ROOT, CourseError

from . import folders, manifest
from .page import page
from .report import Audit, audit, summary

EPILOG = """exit status: 0 nothing found; 1 the same slice more than once, or files that
cannot be read: see the report; 2 the folder cannot be audited"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0 nothing found, 1 something found, 2 unusable."""
    parser = argparse.ArgumentParser(
        "python -m helpers.audit",
        description="Find images that show the same slice, though mirrored, re-framed "
        "or re-encoded, and slices of one series, in any folder of images. Prints a "
        "report; writes report.txt, files.csv, pairs.csv, oddities.csv and pairs.html.",
        epilog=EPILOG,
    )
    parser.add_argument("path", metavar="PATH", type=Path, help="a folder of images")
    parser.add_argument(
        "--out",
        type=Path,
        help="where to write (default: _build/audit/, which git ignores)",
    )
    options = parser.parse_args(arguments)
    try:
        found = audit(folders.read(options.path.expanduser()))
        _write(found, options.out or ROOT / "_build" / "audit" / found.data.name)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 2
    repeated = not found.files["group"].is_unique
    return 1 if repeated or len(found.data.set_aside) else 0


def _write(found: Audit, out: Path) -> None:
    text = summary(found)
    rows = manifest.load()
    if found.files["file"].isin(rows["filename"]).any():
        text += "\n\n" + manifest.compare(found.data, rows)
    names = found.files["file"].to_numpy(object)
    pairs = found.pairs.assign(
        first=names[found.pairs["first"]], second=names[found.pairs["second"]]
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.txt").write_text(text + "\n")
        (out / "pairs.html").write_text(page(found))
        found.files.to_csv(out / "files.csv", index=False)
        pairs.to_csv(out / "pairs.csv", index=False)
        found.oddities.to_csv(out / "oddities.csv", index=False)
    except OSError as error:
        raise CourseError(
            f"{out}: cannot write there ({error.strerror}); name another folder with "
            "--out."
        ) from None
    print(text)
    print(f"\nLook at the pairs: {out / 'pairs.html'}\nTables beside it, as CSV.")


if __name__ == "__main__":
    sys.exit(main())
