"""Runs chapter 7 as Colab would: `python -m tools.colab_test [NOTEBOOK ...]`.

Colab's pinned versions (tools/colab_pins.txt) are installed into _build/colab, for the
Python at hand. The notebook lies there beside course.zip, as after an upload; a module
that calls itself google.colab makes the bootstrap cell unpack the zip and install what
Colab lacks. Then every cell runs, and nbval compares what chapters promise.

What it cannot show: Colab's GPU, its Python (3.13), and packages we do not know of.
"""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from tools import pack
from tools.dependencies import ROOT

PINS = ROOT / "tools" / "colab_pins.txt"
FOLDER = ROOT / "_build" / "colab"
PYTHON = FOLDER / "env" / "bin" / "python"
PRETENDED = FOLDER / "pretended"  # holds google/colab
CONTENT = FOLDER / "content"  # Colab's working folder
CHAPTERS = ("07_fine_tune",)
MINUTES = 30


class ColabError(Exception):
    """The trial could not start; the message says why."""


def pins(text: str) -> dict[str, str]:
    """Return the pinned versions by package name, markers left out."""
    lines = [line.split(";")[0].strip() for line in text.splitlines()]
    return dict(line.split("==") for line in lines if "==" in line)


def changed(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    """Say of each pinned package that is there in another version what happened."""
    return [
        f"{name} {version} became {found[name]}"
        for name, version in wanted.items()
        if found.get(name, version) != version
    ]


def installed(folder: Path) -> dict[str, str]:
    """Return the versions of what an environment holds, by package name."""
    packages = folder.glob("lib/python*/site-packages")
    found = distributions(path=[str(path) for path in packages])
    return {d.metadata["Name"].lower().replace("_", "-"): d.version for d in found}


def make_environment() -> None:
    """Install the pins afresh; what a former trial has added is gone."""
    uv = Path(sys.executable).with_name("uv")
    install = (uv, "pip", "install", "--quiet", "--compile-bytecode")
    steps = (
        (uv, "venv", "--quiet", "--clear", "--python", sys.executable, FOLDER / "env"),
        (*install, "--python", PYTHON, "-r", PINS),
    )
    for step in steps:
        if subprocess.run([str(word) for word in step]).returncode:
            raise ColabError(f"could not install {PINS.name}: see above.")


def lay_out(notebook: Path) -> None:
    """Put the notebook and the packed course where Colab would have them."""
    shutil.rmtree(CONTENT, ignore_errors=True)
    CONTENT.mkdir(parents=True)
    shutil.copy(notebook, CONTENT)
    shutil.copy(pack.course(), CONTENT / "course.zip")
    package = PRETENDED / "google" / "colab"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text('"""Not Colab, but called so."""\n')
    # Python imports sitecustomize when it starts, so the kernel has loaded it.
    (PRETENDED / "sitecustomize.py").write_text("import google.colab\n")
    kernel = FOLDER / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True, exist_ok=True)
    command = [str(PYTHON), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "Colab", "language": "python"}
    spec["env"] = {"PYTHONPATH": str(PRETENDED)}
    (kernel / "kernel.json").write_text(json.dumps(spec))


def run(notebook: Path) -> bool:
    """Run one notebook with Colab's packages; return whether every cell passed."""
    lay_out(notebook)
    env = {k: v for k, v in os.environ.items() if not k.startswith("BRAIN_MRI_")}
    env |= {
        "COURSE_PROFILE": "smoke",
        "JUPYTER_PATH": str(FOLDER / "jupyter"),
        "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}",
        "BRAIN_MRI_CACHE": str(FOLDER / "cache"),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--rootdir", str(CONTENT), "-c", os.devnull]
    command += ["--nbval-lax", "--nbval-kernel-name", "colab"]
    command += ["--nbval-cell-timeout", str(60 * MINUTES), notebook.name]
    return subprocess.run(command, cwd=CONTENT, env=env).returncode == 0


def main(names: list[str]) -> int:
    """Try each notebook in a fresh environment; return an exit status."""
    wanted = pins(PINS.read_text())
    passed = True
    for name in names or CHAPTERS:
        try:
            make_environment()
        except ColabError as error:
            print(error, file=sys.stderr)
            return 2
        passed = run(ROOT / "chapters" / f"{name}.ipynb") and passed
        found = installed(FOLDER / "env")
        print("ran with", ", ".join(f"{n} {found[n]}" for n in wanted if n in found))
        for line in changed(wanted, found):
            print(f"{line}: what Colab brings must stay as it is", file=sys.stderr)
            passed = False
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
