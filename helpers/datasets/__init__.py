"""Images from four sources, in one type."""

from .dataset import Dataset, thumbnails
from .sources import load_dataset

__all__ = ["Dataset", "load_dataset", "thumbnails"]
