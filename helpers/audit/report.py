"""The audit of a dataset: what repeats, what contradicts itself, what looks odd."""

import textwrap
from dataclasses import dataclass

import numpy as np
import pandas as pd

from helpers.datasets import Dataset, folder

from .reframed import reframed_pairs
from .twins import (
    SAME_SERIES,
    SAME_SLICE,
    Signatures,
    digests,
    groups,
    head_box,
    signatures,
    similar_pairs,
)

WHITE = 250  # grey value from which a pixel counts as pure white


@dataclass(frozen=True)
class Audit:
    """What was found in `data`.

    `files`: one row an image, in its order: file, split, class, mode, `digest` (of its
    pixels), and the numbers `exact` (identical pixels), `group` (same slice) and
    `series` (linked slices), which images share; `conflict` (its group holds several
    classes) and `first` (the group's first file by name). `pairs`: as from
    `similar_pairs` and `reframed_pairs`, with the relation `slice` or `series`.
    `oddities`: file, oddity and its size, for a human to look at.
    """

    data: Dataset
    signatures: Signatures
    files: pd.DataFrame
    pairs: pd.DataFrame
    oddities: pd.DataFrame


def audit(data: Dataset) -> Audit:
    """Audit any dataset; the same images in any order give the same result."""
    seen = signatures(data.images)
    pairs = similar_pairs(seen, SAME_SERIES)
    known = groups(len(data), pairs[pairs["similarity"] >= SAME_SLICE])
    pairs = pd.concat([pairs, reframed_pairs(seen, known)], ignore_index=True)
    order = ["similarity", "first", "second"]
    pairs = pairs.sort_values(order, ascending=[False, True, True], ignore_index=True)
    pairs["relation"] = np.where(pairs["similarity"] >= SAME_SLICE, "slice", "series")
    same = pairs[pairs["relation"] == "slice"]
    files = data.table[["file", "split", "class", "mode"]].copy()
    files["digest"] = digests(data.images)
    files["exact"] = _numbered(seen.which, files["file"])
    files["group"] = _numbered(groups(len(data), same), files["file"])
    files["series"] = _numbered(groups(len(data), pairs), files["file"])
    group = files.groupby("group")
    files["conflict"] = group["class"].transform("nunique") > 1
    files["first"] = files["file"] == group["file"].transform("min")
    return Audit(data, seen, files, pairs, oddities(data))


def in_training_too(files: pd.DataFrame, column: str) -> np.ndarray:
    """Say which images to score share a number with a Training image, bool [n].

    To score: Testing's and, where a folder has one, Validation's.
    """
    testing = _to_score(files)
    trained = set(files.loc[files["split"] == "Training", column])
    return testing & files[column].isin(trained).to_numpy(bool)


def _to_score(files: pd.DataFrame) -> np.ndarray:
    return files["split"].isin(("Testing", "Validation")).to_numpy(bool)


def oddities(data: Dataset) -> pd.DataFrame:
    """List what a human should look at; columns file, oddity, size (largest first).

    Marks: bright pixels outside the head, as letters and scale bars are. Pure white:
    the share of the head at the upper end of the greys, as bone in CT or a clipped
    scan. Coloured: the share of pixels that are not grey, where the table tells.
    Stretched: the longer side over the shorter one, from 1.5.
    """
    table, found = data.table, []
    for row, image in enumerate(data.images):
        left, top, right, bottom = head_box(image)
        outside = image > 128
        outside[max(top - 3, 0) : bottom + 3, max(left - 3, 0) : right + 3] = False
        head = image[top:bottom, left:right]
        found.append((row, "marks", float(outside.sum()), 12))
        found.append((row, "pure white", float((head >= WHITE).mean()), 0.1))
    if "coloured" in table:
        found += [(row, "coloured", s, 0.002) for row, s in enumerate(table.coloured)]
    sides = table[["width", "height"]].to_numpy(float)
    stretch = sides.max(1) / sides.min(1)
    found += [(row, "stretched", s, 1.5) for row, s in enumerate(stretch)]
    rows = [
        (table["file"].iloc[r], what, s) for r, what, s, least in found if s >= least
    ]
    listed = pd.DataFrame(rows, columns=["file", "oddity", "size"])
    order = ["oddity", "size", "file"]
    return listed.sort_values(order, ascending=[True, False, True], ignore_index=True)


def summary(found: Audit) -> str:
    """Return the report that a person reads first."""
    files, pairs, data = found.files, found.pairs, found.data
    same = pairs[pairs["relation"] == "slice"]
    mirrors = same["mirror"].value_counts()
    parts = [
        f"{data.name}: {len(files)} images, {len(data.set_aside)} set aside",
        _in_short(files),
        _table(
            {
                "distinct images (identical pixels)": files["exact"].nunique(),
                "distinct slices (also mirrored, re-framed, re-encoded)": files[
                    "group"
                ].nunique(),
                "series (slices that look like one patient's)": files[
                    "series"
                ].nunique(),
                "files in the largest group": files["group"].value_counts().max(),
                "files in the largest series": files["series"].value_counts().max(),
            }
        ),
        "Pairs of one slice, by the mirror that makes them equal\n"
        + _table(mirrors.to_dict() or {"none found": 0}),
    ]
    if _to_score(files).any() and (files["split"] == "Training").any():
        parts.append(_overlap(files))
    else:
        folders = sorted({file.split("/")[0] for file in files["file"] if "/" in file})
        parts.append(
            "No recognised train and test: overlap not checked; top folders are "
            f"{', '.join(folders[:8]) or 'none'}{' and more' if folders[8:] else ''}."
        )
    conflicts = files[files["conflict"]].sort_values(["group", "file"])
    listed = [
        "  " + ", ".join(f"{row.file}" for row in rows.itertuples())
        for _, rows in conflicts.groupby("group")
    ]
    parts.append(
        f"Slices with several classes: {len(listed)} (which is right, pixels cannot "
        "say)" + "".join(f"\n{line}" for line in listed)
    )
    modes = pd.crosstab(files["class"], files["mode"])
    parts.append("Colour modes: files from one source often share one\n" + str(modes))
    odd = found.oddities["oddity"].value_counts().to_dict()
    parts.append(
        "To look at (files in oddities.csv; listed, not judged)\n"
        + _table(odd or {"nothing": 0})
    )
    if len(data.set_aside):
        parts.append("Set aside\n" + folder.told(data.set_aside))
    return "\n\n".join(parts)


def _in_short(files: pd.DataFrame) -> str:
    """Say in two or three sentences what was found and what follows from it."""
    copies = len(files) - files["group"].nunique()
    told = [
        f"In short: {copies} of {len(files)} files show a slice that another file "
        "shows already."
        if copies
        else "In short: no slice was found twice."
    ]
    testing = _to_score(files)
    shared = in_training_too(files, "group").sum()
    if shared:
        told.append(
            f"{shared} of {testing.sum()} test images show a slice that is also in "
            "Training, so a program that copies would get those right: do not trust "
            "a score on this split."
        )
    if copies or files["series"].nunique() < len(files):
        told.append(
            "To split these files, keep equal numbers in the column series of "
            "files.csv together, and patients, if you know them."
        )
    return textwrap.fill(" ".join(told), 78)


def _overlap(files: pd.DataFrame) -> str:
    """Say how many test images are also in Training, class by class."""
    testing = _to_score(files)
    table = pd.DataFrame({"test images": files[testing].groupby("class").size()})
    for column, name in (
        ("exact", "exact copy"),
        ("group", "same slice"),
        ("series", "same series"),
    ):
        shared = files[in_training_too(files, column)]
        table[name] = shared.groupby("class").size()
    table = table.fillna(0).astype(int)
    table.loc["all"] = table.sum()
    return "Test images that are in Training too\n" + str(table)


def _numbered(numbers: np.ndarray, names: pd.Series) -> np.ndarray:
    """Renumber in order of the first name, so that no file order changes a number."""
    order = np.argsort(names.to_numpy(str), kind="stable")
    renumbered = np.empty(len(numbers), np.int64)
    renumbered[order] = pd.factorize(np.asarray(numbers)[order])[0]
    return renumbered


def _table(rows: dict) -> str:
    width = max((len(name) for name in rows), default=0)
    return "\n".join(f"  {name:<{width}}  {value:>6}" for name, value in rows.items())
