"""What repeats in a dataset, who is in it, and splits that respect both."""

from .patients import purity_and_completeness
from .reframed import reframed_pairs
from .report import Audit, audit, in_training_too, oddities, summary
from .splits import folds, inner_split, joined
from .twins import (
    SAME_SERIES,
    SAME_SLICE,
    Signatures,
    exact_duplicate_groups,
    groups,
    nearest,
    signatures,
    similar_pairs,
)

__all__ = [
    "SAME_SERIES",
    "SAME_SLICE",
    "Audit",
    "Signatures",
    "audit",
    "exact_duplicate_groups",
    "folds",
    "groups",
    "in_training_too",
    "inner_split",
    "joined",
    "nearest",
    "oddities",
    "purity_and_completeness",
    "reframed_pairs",
    "signatures",
    "similar_pairs",
    "summary",
]
