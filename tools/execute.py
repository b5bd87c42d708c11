"""Executes the chapters, and keeps outputs until what they follow from changes.

For each notebook `_build/executed` holds the outputs of its code cells with the key
they were made under (see `dependencies`). The chapters themselves stay as they are.
"""

import json
import os
import re
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from tqdm import tqdm

from tools import dependencies
from tools.dependencies import ROOT

STORE = ROOT / "_build" / "executed"
KERNEL_LOG = ROOT / "_build" / "kernels.log"
CELL_TIMEOUT = 900

# TensorFlow greets on stderr before any setting can stop it: hardware, XLA, oneDNN.
GREETING = re.compile(
    r"I0000 \d|WARNING: All log messages before absl::InitializeLog|"
    r"To enable the following instructions: "
)

# Each figure is drawn twice, for `reading` to choose from: as lines that stay sharp at
# any size, and as dots, 220 an inch, for what is made of pixels.
DOTS_AN_INCH = 220
FIGURES = (
    "--InlineBackend.figure_formats={'png', 'svg'}",
    "--InlineBackend.print_figure_kwargs="
    f"{{'bbox_inches': 'tight', 'dpi': {DOTS_AN_INCH}}}",
)


@dataclass(frozen=True)
class Executed:
    """The outputs of one notebook: one list a code cell; and how long they took."""

    outputs: list[list[dict]]
    seconds: float
    date: str


class ExecutionError(Exception):
    """A notebook failed; the message names it, shows the cell and Python's words."""


def stored(name: str) -> Path:
    """Return where the outputs of chapters/NAME.ipynb are kept."""
    return STORE / f"{name.replace('/', '--')}.json"


def executed(record: dict) -> Executed:
    """Return the part of a kept record that pages are made of."""
    return Executed(record["outputs"], record["seconds"], record["date"])


def valid(name: str, notebook: dict) -> Executed | None:
    """Return the kept outputs if nothing they follow from has changed."""
    try:
        kept = json.loads(stored(name).read_text())
    except (OSError, ValueError):
        return None
    if kept["key"] != dependencies.key(notebook):
        return None
    if kept["data"] != dependencies.data_state(kept["report"]):
        return None
    return executed(kept)


def tidy(outputs: list[dict]) -> list[dict]:
    """Return outputs without bars and greetings, and streams of one name joined.

    What a program writes between carriage returns is seen for a moment; in a page it
    would stand as a row of half-filled bars.
    """
    kept: list[dict] = []
    for output in outputs:
        if output["output_type"] != "stream":
            kept.append(output)
        elif kept and kept[-1].get("name") == output["name"]:
            kept[-1]["text"] += output["text"]
        else:
            kept.append(dict(output))
    for output in kept:
        if output["output_type"] == "stream":
            lines = output["text"].split("\n")
            output["text"] = "\n".join(
                line for line in lines if "\r" not in line and not GREETING.match(line)
            )
    return [o for o in kept if o["output_type"] != "stream" or o["text"].strip()]


def plain(text: str) -> str:
    """Return text without a terminal's colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def execute(name: str) -> Executed:
    """Execute chapters/NAME.ipynb in a fresh kernel and keep its outputs.

    Raises `ExecutionError` if a cell fails, or if the notebook loads one of the
    course's modules that `dependencies` does not see: its key would be wrong.
    """
    path = ROOT / "chapters" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    key = dependencies.key(notebook)
    trace = nbformat.v4.new_code_cell(dependencies.TRACE)
    report = nbformat.v4.new_code_cell(dependencies.REPORT)
    cells = [trace, *notebook.cells, report]
    for cell in cells:
        cell.pop("outputs", None) if cell.cell_type != "code" else cell.outputs.clear()
    running = nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)
    started = time.monotonic()
    bar = tqdm(total=len(cells), desc=name, unit="cell", leave=False, disable=None)
    client = NotebookClient(
        running,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_executed=lambda **_: bar.update(),
        extra_arguments=["--log-level=40", *FIGURES],
    )
    try:
        KERNEL_LOG.parent.mkdir(exist_ok=True)
        with bar, KERNEL_LOG.open("w") as log:
            client.execute(stderr=log)
    except CellExecutionError as error:
        text = plain(str(error))
        raise ExecutionError(f"{path.relative_to(ROOT)} failed:\n{text}") from None
    except AssertionError:
        # nbclient answers Ctrl-C by ending the kernel, and trips over that afterwards.
        raise KeyboardInterrupt from None
    except (CellTimeoutError, DeadKernelError) as error:
        raise ExecutionError(
            f"{path.relative_to(ROOT)} did not end: {type(error).__name__}: {error}"
            f" (its kernel's last words: {KERNEL_LOG})"
        ) from None
    seconds = time.monotonic() - started
    found = json.loads(cells[-1].outputs[0]["text"])
    unseen = dependencies.unseen(found, notebook)
    if unseen:
        raise ExecutionError(
            f"{path.relative_to(ROOT)} loaded {', '.join(unseen)}, which no import "
            "names. Import it by name, or the book will not notice when it changes."
        )
    outputs = [tidy(c.outputs) for c in cells[1:-1] if c.cell_type == "code"]
    record = {
        "key": key,
        "report": found,
        "data": dependencies.data_state(found),
        "seconds": round(seconds, 1),
        "date": date.today().isoformat(),
        "outputs": outputs,
    }
    write(stored(name), json.dumps(record))
    return executed(record)


def write(path: Path, text: str) -> None:
    """Write a file so that it is either the old or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".tmp")
    fresh.write_text(text)
    os.replace(fresh, path)


def execute_all(names: list[str]) -> dict[str, Executed]:
    """Return the outputs of all notebooks, executing those that are out of date.

    All are tried; then `ExecutionError` says which failed, if any.
    """
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment
    done: dict[str, Executed] = {}
    for name in names:
        path = ROOT / "chapters" / f"{name}.ipynb"
        kept = valid(name, nbformat.read(path, as_version=4))
        if kept:
            done[name] = kept
    waiting = [name for name in names if name not in done]
    failures = []
    for position, name in enumerate(waiting, start=1):
        print(f"  executing {position}/{len(waiting)}: {name}", flush=True)
        try:
            done[name] = execute(name)
            print(f"    {done[name].seconds:.0f} s", flush=True)
        except ExecutionError as error:
            print("    failed", flush=True)
            failures.append(str(error))
    if failures:
        raise ExecutionError("\n\n".join(failures))
    return {name: done[name] for name in names}  # in the order asked for
