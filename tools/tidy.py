"""Brings notebooks into the committed form after a session in Lab: `make tidy`.

Runs each notebook that git sees as changed as the tests run it, keeps the text that
cells tagged nbval-check-output print, and takes out all that Lab leaves: other outputs,
execution counts, widgets, the version of your Python. `--form` does not run anything.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from tools.execute import CELL_TIMEOUT, ROOT, plain, tidy, write

# What Lab and its extensions write into a cell when it runs or is folded.
LEFT_BY_LAB = ("execution", "scrolled", "collapsed", "ExecuteTime", "editable")
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def normal(notebook: nbformat.NotebookNode) -> str:
    """Return a notebook (format 4) as the text that is committed.

    Checked cells keep the text of their outputs and the count 1, others nothing.
    """
    notebook = nbformat.from_dict(notebook)
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        for name in LEFT_BY_LAB:
            cell.metadata.pop(name, None)
        if cell.cell_type == "code":
            checked = "nbval-check-output" in cell.metadata.get("tags", [])
            cell.outputs = _text_of(cell.outputs) if checked else []
            cell.execution_count = 1 if checked else None
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return nbformat.writes(notebook) + "\n"


def _text_of(outputs: list) -> list:
    kept = [output for output in tidy(outputs) if output.get("name") != "stderr"]
    for output in kept:
        if "data" in output:
            data = {k: v for k, v in output["data"].items() if k.startswith("text/")}
            output["data"], output["metadata"] = data, {}
        if output["output_type"] == "execute_result":
            output["execution_count"] = 1
    return [nbformat.from_dict(output) for output in kept]


def changed() -> list[Path]:
    """Return the notebooks below chapters/ that differ from the last commit."""
    listed = subprocess.run(
        ["git", "status", "--porcelain", "-uall", "-z", "--", "chapters"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    paths = [ROOT / entry[3:] for entry in listed.split("\0") if entry[2:3] == " "]
    return [path for path in paths if path.suffix == ".ipynb" and path.is_file()]


def run(path: Path) -> nbformat.NotebookNode:
    """Return the notebook at `path`, run from its own folder in a fresh kernel."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook, timeout=CELL_TIMEOUT, kernel_name="python3", resources=place
    )
    return client.execute()


def main(arguments: list[str] | None = None) -> int:
    """Bring notebooks into form; return 1 if one changed under --form or failed."""
    parser = argparse.ArgumentParser("python -m tools.tidy", description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--form", action="store_true", help="do not run them")
    options = parser.parse_args(arguments)
    os.environ["COURSE_PROFILE"] = "smoke"
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment
    paths = options.notebooks or changed()
    bad = 0
    for path in paths:
        before = path.read_text()
        try:
            notebook = nbformat.read(path, 4) if options.form else run(path)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            print(f"{path}: left as it is, since it failed:\n{plain(str(error))}")
            bad = 1
            continue
        text = normal(notebook)
        print(f"{path}: {'as it was' if text == before else 'tidied'}", flush=True)
        if text != before:
            write(path, text)
            bad = bad or int(options.form)  # as a hook: look at it, and add it
    if not paths:
        print("No notebook below chapters/ differs from the last commit.")
    return bad


if __name__ == "__main__":
    sys.exit(main())
