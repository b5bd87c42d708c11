"""What long runs have finished: one file a piece, which tells what it was made from.

A piece is known by all that decides it, such as plan, look, images, weights, seed and
fold, so that nothing else is ever taken for it; and it keeps the commit that made it,
whoever reads it later. Finished pieces lie in the cache, or committed in
data/recorded/pieces until the record that they belong to is complete.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from helpers import config, recorded
from helpers.files import whole_file

from .real import RealData
from .records import commit, cpu_name, sha256


@dataclass(frozen=True)
class Piece:
    """One finished piece: `about` says what decided it, and when and where it was made.

    Beside its key, `about` has `commit`, `recorded_on`, `device` and `seconds` (None
    where the work was cut off in between, since nobody timed all of it).
    """

    about: dict
    arrays: dict[str, np.ndarray]


def digest(key: dict) -> str:
    """Return what a key is called by: 16 hexadecimal digits."""
    return sha256(json.dumps(key, sort_keys=True))[:16]


def weights_sha256(weights: str = "auto") -> str:
    """Return the SHA-256 of the file that `densenet.backbone(weights)` loads, or none.

    "auto" is what `BRAIN_MRI_WEIGHTS` stands for.
    """
    from helpers import densenet

    path = densenet.weights_file(weights)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else "none"


def files_sha256(files: np.ndarray) -> str:
    """Return the SHA-256 of some files' names, sorted, one a line."""
    return sha256("\n".join(sorted(map(str, files))))


def decided_by(real: RealData, rows: np.ndarray, **more) -> dict:
    """Return a piece's key: the images, the weights, the files fitted, and `more`."""
    files = real.data.table["file"].to_numpy(str)[rows]
    return more | {
        "images": real.data.fingerprint,
        "weights_sha256": weights_sha256(),
        "fitted_sha256": files_sha256(files),
    }


def stated(pieces: Iterable[Piece]) -> list[dict]:
    """Return what a record says of its pieces: all but what it says itself."""
    said = ("name", "plan", "plan_sha256", "images", "weights_sha256", "look")
    return [{k: v for k, v in p.about.items() if k not in said} for p in pieces]


def commits(pieces: Iterable[Piece]) -> list[str]:
    """Return the commits that made some pieces, sorted."""
    return sorted({p.about["commit"] for p in pieces})


def checkpoints(key: dict) -> Path:
    """Return the folder in which the training of a piece goes on where it was cut."""
    return config.cache_dir() / "checkpoints" / digest(key)


def piece(key: dict, compute: Callable[[], dict[str, np.ndarray]]) -> Piece:
    """Return the piece of this key, from a file, or compute its arrays and keep them.

    `key`: all that decides it, as JSON can hold it, with its experiment's "name".
    """
    name = f"{digest(key)}.npz"
    places = [
        recorded.FOLDER / "pieces" / key["name"] / name,
        config.cache_dir() / "pieces" / key["name"] / name,
    ]
    path = next((p for p in places if p.exists()), places[-1])
    if not path.exists():
        went_on, started = checkpoints(key).exists(), time.perf_counter()
        arrays = compute()
        seconds = None if went_on else round(time.perf_counter() - started, 1)
        about = key | {
            "commit": commit(),
            "recorded_on": date.today().isoformat(),
            "device": cpu_name(),
            "seconds": seconds,
        }
        with whole_file(path) as file:
            np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)
    with np.load(path) as file:
        arrays = dict(file)
    return Piece(json.loads(str(arrays.pop("about"))), arrays)
