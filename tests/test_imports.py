"""What a chapter imports runs from a ZIP: no git, no program behind the records."""

import ast
import os
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import nbformat
import pytest

from helpers.config import ROOT

NOTEBOOKS = sorted(ROOT.glob("chapters/**/*.ipynb"))
IMPORT = re.compile(r"^\s*(?:from helpers[\w.]* import .+|import helpers[\w.]*)$", re.M)

PROGRAMS = "helpers.experiments"

PROGRAM = """
import sys
{imports}
reached = sorted(m for m in sys.modules if m.startswith("helpers.experiments"))
assert not reached, reached
"""


def _without_programs(code: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run Python code in a process that finds no other program, git among them."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )


def _imports(path) -> list[str]:
    notebook = nbformat.read(path, as_version=4)
    code = "\n".join(c.source for c in notebook.cells if c.cell_type == "code")
    code = re.sub(r"\(\s*([^()]*?)\s*\)", lambda m: " ".join(m[0].split()), code)
    return [line.strip() for line in IMPORT.findall(code)]


def test_no_chapter_reaches_the_experiments_or_starts_a_program():
    lines = sorted({line for path in NOTEBOOKS for line in _imports(path)})
    assert any("benchmark" in line for line in lines)
    done = _without_programs(PROGRAM.format(imports="\n".join(lines)))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["list", "template"])
def test_the_experiments_can_be_listed_without_git(name):
    command = (
        "import sys; from helpers.experiments.__main__ import main;"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = _without_programs(command, name)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _reached(path: Path, names: set[str]) -> set[str]:
    """Return the modules of `names` that a file imports, anywhere in its code."""
    found, package = set(), _name(path).split(".")
    package = package if path.stem == "__init__" else package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            inside = {f"{base}.{alias.name}" for alias in node.names}
            # What is no module is a name that the module itself holds.
            found |= (inside & names) or {base}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & names - {_name(path)}


def test_no_two_modules_of_the_helpers_need_each_other():
    files = {_name(p): p for p in sorted(ROOT.glob("helpers/**/*.py"))}
    files = {k: p for k, p in files.items() if not k.startswith(PROGRAMS)}
    graph = {name: _reached(path, set(files)) for name, path in files.items()}
    assert "helpers.datasets.cache" in graph["helpers.datasets.folder"]
    assert "helpers.phantoms" in graph["helpers.datasets.sources"]
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names it
