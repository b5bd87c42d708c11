"""Installs what Colab lacks, and never touches what it has.

Run by the bootstrap cell of every notebook, in Colab only. Colab brings TensorFlow,
Keras and NumPy built for its GPUs; replacing one of them breaks the session.
"""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

NEEDED = ("jupyterquiz", "kagglehub", "nilearn")
KEPT = ("keras", "numpy", "pandas", "scikit-learn", "scipy", "tensorflow")


def missing() -> list[str]:
    """Return the packages the course needs and this Python does not have."""
    return [name for name in NEEDED if find_spec(name) is None]


def kept() -> list[str]:
    """Return pip constraints that hold the packages Colab brings at their versions."""
    constraints = []
    for name in KEPT:
        try:
            constraints.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue
    return constraints


def main() -> int:
    """Install the missing packages, if any; return pip's exit status."""
    packages = missing()
    if not packages:
        return 0
    print("Installing", ", ".join(packages), flush=True)
    with TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(kept()) + "\n")
        command = [sys.executable, "-m", "pip", "install", "--quiet"]
        command += ["--constraint", str(constraints), *packages]
        return subprocess.run(command).returncode


if __name__ == "__main__":
    raise SystemExit(main())
