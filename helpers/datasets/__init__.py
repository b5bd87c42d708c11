"""Images from four sources, in one type."""

from .dataset import Dataset, load_dataset, thumbnails

__all__ = ["Dataset", "load_dataset", "thumbnails"]
