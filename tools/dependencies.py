"""Tells when an executed notebook is out of date.

jupyter-cache runs a notebook again only when its code cells change. A chapter's outputs
also follow from the helpers it imports, the recorded files it reads, the packages and
the settings, so the book keeps its own key:

- modules: the notebook's imports, and theirs, read from the source (`closure`);
- data: the files below data/ that the last execution opened (`TRACE`, `data_state`);
- settings: the environment variables below, the lock, Python, how notebooks are run.
"""

import ast
import hashlib
import json
import os
import sys
from functools import cache
from pathlib import Path

from helpers.config import place

ROOT = Path(__file__).resolve().parent.parent
VARIABLES = ("COURSE_PROFILE", "BRAIN_MRI_DATA", "BRAIN_MRI_WEIGHTS")
MADE_HERE = ("data/cache", "data/downloads")

# Run in the kernel before the first cell and after the last one. An audit hook sees
# every file that Python opens, and every folder that it lists.
TRACE = """
import sys as _sys
_sys._course_opened = set()
_sys.addaudithook(
    lambda event, arguments: _sys._course_opened.add(str(arguments[0]))
    if event in ("open", "os.listdir", "os.scandir") and arguments[0] is not None
    else None
)
"""
REPORT = """
import json as _json, os as _os, sys as _sys
print(_json.dumps({
    "opened": sorted(_os.path.abspath(p) for p in _sys._course_opened),
    "modules": sorted(m for m in _sys.modules if m.split(".")[0] == "helpers"),
    "hdf5": "h5py" in _sys.modules,
}))
"""


def digest(*parts: str | bytes) -> str:
    """Return the sha256 of the parts, each with its length, as hex."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()


def code_cells(notebook: dict) -> list[str]:
    """Return the sources of a notebook's code cells."""
    return [
        "".join(cell["source"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


def python_only(source: str) -> str:
    """Return a cell without IPython's magics, so that it parses."""
    lines = source.splitlines()
    return "\n".join(
        "pass" if line.startswith(("%", "!")) or line.endswith("?") else line
        for line in lines
    )


def file_of(module: str, root: Path = ROOT) -> Path | None:
    """Return the file of one of the course's own modules, None for any other."""
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def imports(source: str, package: str = "") -> set[str]:
    """Return the modules that Python code may import, at its top or inside a function.

    `package`: the package the code belongs to, for its relative imports. `from a import
    b` names both a and a.b, since b may be a module.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def facade(module: str, path: Path, root: Path = ROOT) -> dict[str, str]:
    """Return {name: submodule} of a package that only gathers its submodules' names.

    Such an __init__.py is a docstring and `from .submodule import *`: whoever uses one
    of the names depends on the one submodule that defines it. Any other module: {}.
    """
    if path.name != "__init__.py":
        return {}
    gathered: dict[str, str] = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        star = isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        submodule = f"{module}.{node.module}" if star and node.level == 1 else ""
        file = file_of(submodule, root) if submodule else None
        if file is None:
            return {}
        for part in ast.parse(file.read_text()).body:
            if isinstance(part, ast.FunctionDef | ast.ClassDef):
                gathered[part.name] = submodule
            elif isinstance(part, ast.Assign):
                names = [name.id for name in part.targets if isinstance(name, ast.Name)]
                gathered.update(dict.fromkeys(names, submodule))
    return gathered


def attributes(cells: list[str], name: str) -> set[str]:
    """Return what cells take from the name `name`: x and y of `name.x`, `name.y`."""
    return {
        node.attr
        for cell in cells
        for node in ast.walk(ast.parse(python_only(cell)))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
    }


def closure(
    cells: list[str], root: Path = ROOT, used_only: bool = True
) -> dict[str, Path]:
    """Return the course's modules that cells import, directly or not, with files.

    `used_only`: of a `facade`, follow the names that the cells use, not all.
    """
    found: dict[str, Path] = {}
    waiting = sorted(set().union(*(imports(python_only(cell)) for cell in cells)))
    while waiting:
        names = waiting.pop().split(".")
        for depth in range(1, len(names) + 1):
            module = ".".join(names[:depth])
            path = file_of(module, root)
            if path is None or module in found:
                continue
            found[module] = path
            gathered = facade(module, path, root) if used_only else {}
            if gathered:
                used = attributes(cells, names[depth - 1])
                waiting += sorted({gathered[u] for u in used if u in gathered})
                continue
            package = (
                module if path.name == "__init__.py" else module.rpartition(".")[0]
            )
            waiting += sorted(imports(path.read_text(), package))
    return found


def folder_state(path: Path) -> str:
    """Return the names, sizes and times of all files below a folder, as a digest."""
    lines = []
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            stat = os.stat(os.path.join(folder, name))
            lines.append(f"{folder}/{name} {stat.st_size} {stat.st_mtime_ns}")
    return digest("\n".join(lines))


def settings() -> dict[str, str]:
    """Return the settings that outputs depend on; a path stands for what lies there."""
    found = {name: os.environ.get(name) or "" for name in VARIABLES}
    for name, value in list(found.items()):
        path = place(value)
        if value and path.is_dir():
            found[name + " content"] = folder_state(path)
        elif value and path.is_file():
            stat = path.stat()
            found[name + " content"] = f"{stat.st_size} {stat.st_mtime_ns}"
    found["python"] = ".".join(map(str, sys.version_info[:2]))
    found["lock"] = digest((ROOT / "requirements.lock").read_bytes())
    found["execution"] = digest((ROOT / "tools" / "execute.py").read_bytes())
    return found


def key(notebook: dict, root: Path = ROOT) -> str:
    """Return what the outputs of a notebook follow from, but for the data it reads."""
    tags = [
        cell.get("metadata", {}).get("tags", [])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]
    cells = code_cells(notebook)
    modules = [
        f"{module} {digest(path.read_bytes())}"
        for module, path in sorted(closure(cells, root).items())
    ]
    return digest(json.dumps([cells, tags, modules, settings()], sort_keys=True))


@cache
def _hash(path: str, size: int, time: int) -> str:
    return digest(Path(path).read_bytes())


def state_of(path: Path) -> str:
    """Return the content of a file, the names in a folder, or that it is missing."""
    if path.is_dir():
        return digest("\n".join(sorted(p.name for p in path.iterdir())))
    if path.is_file():
        stat = path.stat()
        return _hash(str(path), stat.st_size, stat.st_mtime_ns)
    return "missing"


def data_state(report: dict, root: Path = ROOT) -> dict[str, str]:
    """Return the state of what an execution read below data/, by relative path.

    What the course makes there itself (caches, downloads) does not count. HDF5 opens
    files unseen by Python: whoever loaded it depends on every .h5 there.
    """
    opened = {Path(path) for path in report["opened"]}
    if report["hdf5"]:
        opened.update((root / "data").rglob("*.h5"))
    found = {}
    for path in sorted(opened):
        if not path.is_relative_to(root / "data"):
            continue
        name = path.relative_to(root).as_posix()
        if not name.startswith(MADE_HERE):
            found[name] = state_of(path)
    return found


def unseen(report: dict, notebook: dict, root: Path = ROOT) -> list[str]:
    """Return the course's modules that were loaded although no import names them."""
    seen = closure(code_cells(notebook), root, used_only=False)
    return sorted(set(report["modules"]) - set(seen))
