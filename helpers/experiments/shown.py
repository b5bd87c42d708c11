"""The ways in which a slice can be shown to a network, and what is cached of them."""

from dataclasses import dataclass

import numpy as np

from helpers import audit, config

from .real import BOUNDARY, RealData, features_of, imagenet_backbone


@dataclass(frozen=True)
class Shown:
    """What the frozen part makes of every file, in the images' order.

    `activations` float32 [n, ...] at the boundary; `features` float32 [n, 1024] at the
    untrained network's end, averaged over the image.
    """

    activations: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class Part:
    """What is learned from, watched and scored: rows of the images.

    `fit` and `val`: one file of each slice; `files`: all that may show a slice of
    `fit`. No slice, series or known patient is in both `fit` and `val`.
    """

    fit: np.ndarray
    files: np.ndarray
    val: np.ndarray
    score: np.ndarray


def together(real: RealData) -> np.ndarray:
    """Number the files so that one slice, one series and one known patient share."""
    names = ("group", "series", "patient")
    return audit.joined(*(real.rows[n].fillna(-1).to_numpy(int) for n in names))


def first_of_each(group: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return those of `rows` that are the first of their group among `rows`."""
    return np.sort(rows[np.unique(group[rows], return_index=True)[1]])


def ways_to_show(group: np.ndarray, fit: np.ndarray, files: np.ndarray) -> np.ndarray:
    """Return, for each file of `fit`, the files that show its slice, int [n, most].

    `group` int [n]: files of one slice share a number; `fit`: one file of each slice to
    learn from; `files`: those that may be shown. -1 stands behind the last way, and in
    the rows of all other files.
    """
    found = {group[file]: [file] for file in fit}
    for file in np.setdiff1d(files, fit):
        found[group[file]].append(file)
    ways = np.full((len(group), max(map(len, found.values()))), -1)
    for file in fit:
        ways[file, : len(found[group[file]])] = found[group[file]]
    return ways


def load_shown(real: RealData, boundary: str) -> Shown:
    """Compute, or load from the cache, what the frozen part makes of every file.

    At 224 px, for a boundary at or behind pool4_pool. Ten minutes the first time on two
    quiet cores, and some seconds for each further boundary.
    """
    from helpers import densenet

    frozen, tail = densenet.split_at(imagenet_backbone(), BOUNDARY)
    inputs = densenet.activations(frozen, real.data.images, "imagenet-224")
    features = features_of(real)
    if boundary == BOUNDARY:
        return Shown(inputs, features)
    name = f"{boundary}-{real.data.fingerprint[:16]}.npy"
    path = config.cache_dir() / "activations" / name
    if not path.exists():
        middle, _ = densenet.split_at(tail, boundary)
        steps = range(0, len(inputs), 512)
        found = [middle.predict(inputs[i : i + 512], verbose=0) for i in steps]
        with densenet.whole_file(path) as file:
            np.save(file, np.concatenate(found))
    return Shown(np.load(path, mmap_mode="r"), features)
