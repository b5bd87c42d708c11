"""The ways in which a slice can be shown: its files, and the mirror image of one."""

from dataclasses import dataclass

import numpy as np

from helpers import audit, config

from .real import BOUNDARY, RealData, imagenet_backbone


@dataclass(frozen=True)
class Shown:
    """Activations of the n files, and behind them those of m left-right mirror images.

    `activations` float32 [n + m, ...] at the boundary; `features` float32 [n + m, 1024]
    at the untrained network's end; `mirror` int [n]: the row of a file's mirror image,
    -1 where it was not computed.
    """

    activations: np.ndarray
    features: np.ndarray
    mirror: np.ndarray


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


def ways_to_show(
    group: np.ndarray, fit: np.ndarray, files: np.ndarray, mirror: np.ndarray
) -> np.ndarray:
    """Return, for each file of `fit`, the rows that show its slice, int [n, most].

    `group` int [n]: files of one slice share a number; `fit`: one file of each slice to
    learn from; `files`: those that may be shown; `mirror` int [n]: the row of a file's
    mirror image, -1 for none; that of the file in `fit` is shown too. -1 stands behind
    the last way, and in the rows of all other files.
    """
    found = {group[file]: [file] for file in fit}
    for file in np.setdiff1d(files, fit):
        found[group[file]].append(file)
    for file in fit[mirror[fit] >= 0]:
        found[group[file]].append(mirror[file])
    ways = np.full((len(group), max(map(len, found.values()))), -1)
    for file in fit:
        ways[file, : len(found[group[file]])] = found[group[file]]
    return ways


def singles(real: RealData) -> np.ndarray:
    """Return the kept slices that lie in one file only: they have no mirrored twin."""
    group = real.rows["group"].to_numpy(int)
    alone = np.bincount(group)[group] == 1
    return np.flatnonzero(alone & (real.rows["keep"] == 1).to_numpy(bool))


def load_shown(real: RealData, boundary: str = BOUNDARY) -> Shown:
    """Compute, or load from the cache, what the frozen part makes of files and mirrors.

    At 224 px. Mirror images are computed of `singles`: of most other slices there is a
    mirrored twin. The first time on two quiet cores: 10 minutes for the files, 2 for
    the mirror images, and one more for a boundary behind pool4_pool.
    """
    from helpers import densenet

    frozen, tail = densenet.split_at(imagenet_backbone(), BOUNDARY)
    images, alone = real.data.images, singles(real)
    flipped = images[alone][:, :, ::-1]
    inputs = [
        densenet.activations(frozen, images, "imagenet-224"),
        densenet.activations(frozen, flipped, "imagenet-224-mirrored"),
    ]
    mirror = np.full(len(images), -1)
    mirror[alone] = len(images) + np.arange(len(alone))
    if boundary != BOUNDARY:
        middle, _ = densenet.split_at(tail, boundary)
        activations = _stored(middle, inputs, f"activations/{boundary}")
    else:
        activations = np.concatenate(inputs)
    return Shown(activations, _stored(_pooled(tail), inputs, "features"), mirror)


def _pooled(model):
    import keras

    pool = keras.layers.GlobalAveragePooling2D()(model.output)
    return keras.Model(model.input, pool)


def _stored(model, inputs: list[np.ndarray], name: str) -> np.ndarray:
    """Return a model's outputs, a memory map of a file of that name in the cache."""
    from helpers import densenet

    path = config.cache_dir() / f"{name}-shown-{sum(map(len, inputs))}.npy"
    if not path.exists():
        blocks = [
            part[i : i + 512] for part in inputs for i in range(0, len(part), 512)
        ]
        found = [model.predict(block, batch_size=64, verbose=0) for block in blocks]
        with densenet.whole_file(path) as file:
            np.save(file, np.concatenate(found))
    return np.load(path, mmap_mode="r")
