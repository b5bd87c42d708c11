"""Writes tools/bootstrap_cell.py into the first code cell of every notebook.

Run it after changing the master copy: `python -m tools.sync_bootstrap`.
"""

import json
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent


def master(root: Path = ROOT) -> str:
    """Return the bootstrap cell as it should stand in every notebook."""
    return (root / "tools" / "bootstrap_cell.py").read_text().strip()


def first_code_cell(notebook: dict) -> dict:
    """Return a notebook's first code cell, which is its bootstrap cell."""
    return next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")


def sync(root: Path = ROOT) -> list[Path]:
    """Bring every notebook's bootstrap cell to the master; return those changed."""
    changed = []
    for path in sorted((root / "chapters").rglob("*.ipynb")):
        if "".join(first_code_cell(json.loads(path.read_text()))["source"]) == master(
            root
        ):
            continue
        notebook = nbformat.read(path, as_version=4)
        first_code_cell(notebook)["source"] = master(root)
        nbformat.write(notebook, path)
        changed.append(path)
    return changed


if __name__ == "__main__":
    for changed_path in sync():
        print("wrote", changed_path.relative_to(ROOT))
