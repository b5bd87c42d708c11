"""What the chapters share; `start()` says what a notebook runs on."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from . import config

if config.keras_backend() not in config.BACKENDS and "keras" not in sys.modules:
    print(
        f"Keras is set to run on {config.keras_backend()!r} here (KERAS_BACKEND or "
        f"keras.json); this course runs on {config.BACKENDS[0]} or "
        f"{config.BACKENDS[1]}, and now takes {config.BACKENDS[0]}.",
        file=sys.stderr,
    )
    os.environ["KERAS_BACKEND"] = config.BACKENDS[0]


def start() -> None:
    """Print profile, data, weights, device and versions, and set the figures' style.

    TensorFlow is not imported for this: that alone takes eight seconds.
    """
    from .plots import use_style  # matplotlib takes half a second: only notebooks pay

    use_style()
    profile = config.profile()
    print(f"profile   {profile.name}: images of {profile.pixels} x {profile.pixels}")
    print(f"data      {_data()}")
    print(f"weights   {_weights()}")
    print(f"device    {_device()}")
    print(f"versions  {_versions()}")


def _data() -> str:
    try:
        setting = config.data_setting()
    except config.CourseError as error:
        return f"NOT USABLE: {error}"
    if setting == "phantom":
        return "phantom (synthetic slices, made on this machine)"
    if setting != "kaggle" and not Path(setting).is_dir():
        return f"NOT FOUND: {setting} (BRAIN_MRI_DATA) is not a folder"
    return f"{setting} (real images: do not publish figures of them)"


def _weights() -> str:
    try:
        setting = config.weights_setting()
    except config.CourseError as error:
        return f"NOT USABLE: {error}"
    if setting == "auto":
        listed = config.ROOT / "data" / "weights" / "SHA256SUMS"  # as densenet decides
        setting = "bundled" if listed.exists() else "none"
    if setting == "bundled":
        return "bundled (trained by this course, on images it made itself)"
    if setting != "imagenet" and setting != "none" and not Path(setting).is_file():
        return f"NOT FOUND: {setting} (BRAIN_MRI_WEIGHTS) is not a file"
    return "none (random)" if setting == "none" else setting


def _device() -> str:
    """Name the GPU that nvidia-smi reports, or the number of CPU cores.

    A GPU that Keras' backend was not installed for is there, and not used.
    """
    cores = f"CPU, {os.cpu_count()} cores"
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10)
    except FileNotFoundError:
        return cores
    except (OSError, subprocess.TimeoutExpired):  # a driver that is broken, or hangs
        return f"{cores} (nvidia-smi is there, and does not answer)"
    names = ", ".join(answer.stdout.split("\n")).strip(", ")
    if answer.returncode or not names:
        return cores
    if _uses_gpu():
        return f"GPU: {names}"
    return f"{cores} (a GPU is there, not used: {names}. Use it with: make lab GPU=1)"


def _uses_gpu() -> bool:
    """Tell whether Keras' backend is installed for GPUs, as far as its packages say."""
    installed = {(each.name or "").lower() for each in metadata.distributions()}
    if config.keras_backend() == "jax":
        return any(name.startswith("jax-cuda") for name in installed)
    return "tensorflow" in installed and "tensorflow-cpu" not in installed


def _versions() -> str:
    found = [f"Python {sys.version.split()[0]}"]
    for package in (
        "numpy",
        "scikit-learn",
        "keras",
        "tensorflow",
        "tensorflow-cpu",
        "jax",
    ):
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            # The lock may hold tensorflow-cpu, and JAX is there on some GPUs only.
            continue
    return ", ".join(found)
