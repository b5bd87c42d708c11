"""Carry an experiment to a GPU machine that has no network, no git and no TensorFlow.

On a GPU machine of your own you need none of this: run `python -m helpers.experiments`
there. This is for the machines that the authors' workplace lends; the first program
below belongs to that workplace and not to the course.

    python ../shared/tools/pack_for_device.py .device    # images and weights, 45 MiB
    python -m tools.device pack                          # what git knows, and Keras
    python3 -m tools.device run seed-recipe              # there; .device/ has travelled

There, Keras runs on JAX. `run` unpacks images and weights, carries out the experiments,
and copies each record to $OUT as soon as it is complete. `rehearse` in place of `run`
goes through the same motions on a few small images and records nothing.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".device"
WEIGHTS = "densenet121_imagenet_f16_notop.weights.h5"
MISSING_THERE = ("keras==3.15.1", "optree", "namex")


def committed() -> dict:
    """Return the commit and each plan's SHA-256 in it; stop where code is uncommitted.

    A copy that travels has no history, so its experiments believe this file instead.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout

    if git("status", "--porcelain", "--", "helpers", "tools", "data"):
        sys.exit("device: helpers, tools or data have changes; commit them first.")
    plans = git("ls-files", "data/recorded/plans").split()
    return {
        "commit": git("rev-parse", "HEAD").strip()[:12],
        "plans": {
            Path(p).stem: hashlib.sha256(git("show", f"HEAD:{p}").encode()).hexdigest()
            for p in plans
        },
    }


def pack() -> None:
    """Write committed.json and fetch the wheels that the machine lacks."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "committed.json").write_text(json.dumps(committed(), indent=1) + "\n")
    wheels = ["--no-deps", "--only-binary=:all:", "--python-version", "3.12"]
    wheels += ["--platform", "manylinux_2_28_x86_64"]
    wheels += ["--platform", "manylinux2014_x86_64", "-d", str(FOLDER / "wheels")]
    pip = [sys.executable, "-m", "pip", "download", "-q", *wheels, *MISSING_THERE]
    subprocess.run(pip, check=True)


def unpack(folder: Path = FOLDER) -> dict[str, str]:
    """Make files of what was packed; return the settings that point to them.

    Images keep their names; what is in them is grey WebP, which says so itself.
    """
    import numpy as np

    images, weights = folder / "images", folder / WEIGHTS
    if not images.exists():
        with np.load(folder / "mri_224_gray.npz") as packed:
            names, offsets = packed["names"], packed["offsets"]
            data = packed["data"].tobytes()
        half = folder / "images.tmp"
        for name, start, end in zip(names, offsets[:-1], offsets[1:], strict=True):
            path = half / str(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[start:end])
        half.rename(images)
    if not weights.exists():
        import keras

        model = keras.applications.DenseNet121(include_top=False, weights=None)
        with np.load(folder / "densenet121_notop_f16.npz") as packed:
            model.set_weights([packed[k].astype(np.float32) for k in sorted(packed)])
        model.save_weights(weights)
    settings = {"BRAIN_MRI_DATA": images, "BRAIN_MRI_WEIGHTS": weights}
    settings |= {"BRAIN_MRI_CACHE": folder / "cache", "KERAS_BACKEND": "jax"}
    return {name: str(value) for name, value in settings.items()}


def run(names: list[str], rehearse: bool) -> int:
    """Carry out experiments one after the other; return the first failure's status."""
    os.environ["KERAS_BACKEND"] = "jax"
    if importlib.util.find_spec("keras") is None:
        site = str(FOLDER / "site")
        wheels = sorted(map(str, (FOLDER / "wheels").glob("*.whl")))
        offline = ["--no-index", "--no-deps", "--target", site]
        pip = [sys.executable, "-m", "pip", "install", "-q", *offline, *wheels]
        subprocess.run(pip, check=True)
        sys.path.insert(0, site)
        paths = [site, os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    environment = os.environ | unpack()
    for name in names:
        command = [sys.executable, "-m", "helpers.experiments", name]
        command += ["--rehearse"] if rehearse else []
        status = subprocess.run(command, cwd=ROOT, env=environment).returncode
        if status:
            return status
        for path in () if rehearse else (ROOT / "data" / "recorded").glob(f"{name}.*"):
            shutil.copy(path, os.environ.get("OUT", FOLDER))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.device",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["pack", "run", "rehearse"])
    parser.add_argument("names", nargs="*", help="experiments, in order")
    asked = parser.parse_args(arguments)
    if asked.action == "pack":
        pack()
        return 0
    return run(asked.names, asked.action == "rehearse")


if __name__ == "__main__":
    sys.exit(main())
