"""How well the series of an audit stand in for patients, where those are known."""

import numpy as np
import pandas as pd


def purity_and_completeness(
    series: np.ndarray, patients: np.ndarray, slices: np.ndarray
) -> dict[str, float]:
    """Say how well `series` stands in for patients, where both are known.

    All int [n]; a negative `patients` is not known and left out; each of `slices` (the
    group of an image) counts once. `purity`: the share of slices whose series is mostly
    their own patient's. `completeness`: the share of slices that lie in their patient's
    largest series. `mixed`: the number of series that hold several patients.
    """
    known = pd.DataFrame({"series": series, "patient": patients, "slice": slices})
    known = known[known["patient"] >= 0].drop_duplicates(["patient", "slice"])
    table = known.groupby(["series", "patient"]).size()
    return {
        "purity": float(table.groupby("series").max().sum() / len(known)),
        "completeness": float(table.groupby("patient").max().sum() / len(known)),
        "mixed": int((table.groupby("series").size() > 1).sum()),
        "patients": int(known["patient"].nunique()),
        "series": int(known["series"].nunique()),
        "slices": len(known),
    }
