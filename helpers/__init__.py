"""What the chapters share; `start()` says what a notebook runs on."""

import os
import shutil
import subprocess
import sys
from importlib import metadata

from . import config


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
    setting = config.data_setting()
    if setting == "phantom":
        return "phantom (synthetic slices, made on this machine)"
    return f"{setting} (real images: do not publish figures of them)"


def _weights() -> str:
    setting = config.weights_setting()
    if setting == "auto":
        listed = config.ROOT / "data" / "weights" / "SHA256SUMS"  # as densenet decides
        setting = "bundled" if listed.exists() else "none"
    if setting == "bundled":
        return "bundled (trained by this course, on images it made itself)"
    return "none (random)" if setting == "none" else setting


def _device() -> str:
    """Name the GPU that nvidia-smi reports, or the number of CPU cores."""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20)
        if answer.returncode == 0 and answer.stdout.strip():
            return "GPU: " + ", ".join(answer.stdout.split("\n")).strip(", ")
    return f"CPU, {os.cpu_count()} cores"


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
