"""The benchmark's manifest, made from an audit and from figshare's patients."""

import numpy as np
import pandas as pd

from helpers.audit import Audit, folds, joined
from helpers.audit.manifest import BOX, NUM_FOLDS, WHOLE, fingerprint, split_units

COLUMNS = (
    *("filename", "class", "split", "fingerprint", "group", "series", "patient"),
    *("figshare_index", "mirrored", *BOX, "source", "conflict", "fold", "keep"),
)
# What our search missed and another one, with local features, found: patients of
# figshare that are one person, and pairs of files of other sources (version 1.1).
ONE_PERSON = ((136, 142), (72, 79), (50, 51))
ONE_SLICE = (("Testing/notumor/Te-no_0103.jpg", "Training/notumor/Tr-no_0147.jpg"),)
ONE_SERIES = (
    ("Testing/notumor/Te-no_0155.jpg", "Training/notumor/Tr-no_0228.jpg"),
    ("Training/notumor/Tr-no_0620.jpg", "Training/notumor/Tr-no_1430.jpg"),
)
# Files of version 1 that were not among the images audited: nothing is known of them.
NOT_AUDITED = tuple(f"Training/notumor/Tr-no_{n}.jpg" for n in (1011, 1012, 1019, 1020))


def build(found: Audit, matches: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest's rows, by filename; `matches` from `patients.match`.

    A slice is in conflict when its group holds several classes ("files"), or figshare
    gives it another class than its folder ("figshare"). `keep` is 1 for the first file
    of each group without conflict. Folds keep series and patients whole, and are
    balanced on one file a group.
    """
    files = found.files
    table = pd.concat([files, matches.reset_index(drop=True)], axis=1)
    patient = table["patient"].fillna(-1).to_numpy(int)
    together = joined(files["group"], files["series"], patient)
    first = files["first"].to_numpy(bool)
    fold_of = pd.Series(
        folds(
            found.data.labels[first],
            together[first],
            files.loc[first, "digest"],
            NUM_FOLDS,
        ),
        index=together[first],
    )
    fold_of = fold_of[~fold_of.index.duplicated()]
    disagrees = table["patient"].notna() & (table["figshare_class"] != table["class"])
    disagrees = disagrees.groupby(table["group"]).transform("any")
    conflict = np.where(disagrees, "figshare", "")
    conflict = np.where(files["conflict"], "files", conflict)
    rows = pd.DataFrame(
        {
            "filename": table["file"],
            "class": table["class"],
            "split": table["split"],
            "fingerprint": [fingerprint(image) for image in found.data.images],
            "group": table["group"],
            "series": table["series"],
            "patient": table["patient"],
            "figshare_index": table["figshare_index"],
            "mirrored": pd.array(
                table["mirror"].map({"left-right": 1, "none": 0}), "Int64"
            ),
            **{name: table[name].astype("Float64").round(4) for name in BOX},
            "source": found.data.table["source"].to_numpy(),
            "conflict": conflict,
            "fold": fold_of.loc[together].to_numpy(),
            "keep": (first & (conflict == "")).astype(int),
        }
    )
    missing = pd.DataFrame({"filename": NOT_AUDITED})
    missing = missing[~missing["filename"].isin(rows["filename"])]
    missing["split"] = missing["filename"].str.split("/").str[0]
    missing["class"] = missing["filename"].str.split("/").str[1]
    missing["source"], missing["keep"] = "not audited", 0
    rows = pd.concat([rows, missing]).sort_values("filename", ignore_index=True)
    return merged(rows.astype(dict.fromkeys(WHOLE, "Int64"))[list(COLUMNS)])


def merged(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest with the persons, slices and series merged that are one.

    The lower number stands for both. Folds stay, so that what was trained on them stays
    valid; a unit (what shares a slice, a series or a patient) that then lies in several
    folds is not kept: it is neither learned from nor scored.
    """
    rows, place = rows.copy(), rows["filename"]

    def merge(column: str, one: int, other: int) -> None:
        together = rows[column].isin([one, other])
        rows.loc[together, column] = min(one, other)

    for one, other in ONE_PERSON:
        merge("patient", one, other)
    for pairs, columns in ((ONE_SLICE, ("group", "series")), (ONE_SERIES, ("series",))):
        for pair in pairs:
            for column in columns:
                ends = rows.loc[place.isin(pair), column].dropna().unique()
                if len(ends) == 2:
                    merge(column, *ends)
    rows.loc[place.isin(split_units(rows)), "keep"] = 0
    return rows
