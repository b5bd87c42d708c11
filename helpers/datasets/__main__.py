"""Say what a folder of images holds: python -m helpers.datasets check PATH."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from helpers.config import CourseError, command, profile, whole_path

from . import folder, kaggle
from .cache import Decoded

EPILOG = """exit status: 0 every image can be used; 1 some were set aside, each named
with its reason; 2 the folder cannot be used"""


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0 (fine), 1 (files set aside) or 2 (unusable)."""
    parser = argparse.ArgumentParser("python -m helpers.datasets", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check",
        help="decode every image of a folder and report",
        description=f"Decode every image under PATH and report. PATH holds "
        f"{folder.LAYOUT}; names such as glioma_tumor are understood.",
        epilog=EPILOG,
    )
    check.add_argument("path", metavar="PATH")
    root = whole_path(parser.parse_args(arguments).path)
    found = folder.find_files(root)
    decoded = folder.decode(root, found, profile().pixels)
    print(report(root, found, decoded))
    if missing := folder.lacking(decoded):
        raise CourseError(f"{root}: no image in {', '.join(missing)} can be used.")
    return 1 if len(decoded.set_aside) else 0


def report(root: Path, found: folder.Found, decoded: Decoded) -> str:
    """Return the text of the report on a decoded folder."""
    table, aside = decoded.table, decoded.set_aside
    counts = pd.crosstab(table["class"], table["split"], margins=True)
    counts = counts.reindex(columns=[*folder.SCORED, "All"], fill_value=0)
    sizes = (table["width"].astype(str) + " x " + table["height"].astype(str)).rename(
        "size"
    )
    common = sizes.value_counts()
    parts = [
        f"{root}\n{len(table)} images can be used, {len(aside)} set aside",
        counts.rename_axis(None, axis=1).to_string(),
        "Colour modes\n" + table["mode"].value_counts().to_string(header=False),
        f"Sizes in pixels (width x height), {len(common)} different\n"
        + common.head(5).to_string(header=False),
        f"Kaggle's dataset: {kaggle.which_version(folder.count(found.files))}",
    ]
    parts += found.notes
    if len(aside):
        parts.append("Set aside\n" + folder.told(aside))
    return "\n\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
