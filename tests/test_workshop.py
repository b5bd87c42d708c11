"""The 90-minute workshop runs from its zip, step by step, as learners run it."""

import ast
import re
import shutil
import subprocess
import sys
import time
import zipfile

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.config import ROOT
from tools import pack, workshop

PLAN = workshop.plan()
EXERCISES = {
    step["exercise"]: step["chapter"]
    for part in PLAN["parts"]
    for step in part["steps"]
    if "exercise" in step
}


def solution(number: str) -> list[str]:
    """Return the code of an exercise's worked solution, its check the last line."""
    name = f"solutions/{EXERCISES[number]}"
    found, inside = [], False
    for cell in workshop.chapter(name).cells:
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#+ Exercise (\d+\.\d+)", cell.source, re.MULTILINE)
            inside = headings[-1] == number if headings else inside
        elif inside:
            found.append(cell.source)
    return found


def promised() -> dict[tuple[str, str], str]:
    """Return the stored outputs that tests compare, by (chapter, id)."""
    stored = {}
    for name in {*EXERCISES.values()}:
        for cell in workshop.chapter(name).cells:
            if "nbval-check-output" in cell.metadata.get("tags", []):
                stored[name, cell.id] = printed(cell)
    return stored


def printed(cell) -> str:
    """Return what a cell prints and shows as text."""
    shown = [out.get("text") or out["data"]["text/plain"] for out in cell.outputs]
    return "".join(shown)


def as_text(cell) -> str:
    """Return what a cell prints and its tables; sizes of figures are no result."""
    shown = [out.get("text", "") for out in cell.outputs]
    tables = [out.get("data", {}) for out in cell.outputs]
    return "".join([*shown, *(t["text/plain"] for t in tables if "text/html" in t)])


@pytest.fixture(scope="module")
def zipped(tmp_path_factory):
    """The course of the zip, unpacked outside any clone."""
    folder = tmp_path_factory.mktemp("learner")
    with zipfile.ZipFile(pack.workshop(ROOT)) as archive:
        archive.extractall(folder)
    return folder / "course"


@pytest.fixture(scope="module")
def run(zipped, tmp_path_factory):
    """The learners' notebook, run with open exercises and then with their solutions.

    Each cell carries the seconds that it took.
    """
    notebook = nbformat.read(zipped / "chapters" / "workshop.ipynb", as_version=4)
    cells, asked = [], ""
    for cell in notebook.cells:
        cells.append(cell)
        asked = (re.findall(r"Exercise (\d+\.\d)", cell.source) or [asked])[-1]
        if cell.source.startswith("checks."):
            for source in solution(asked):
                cells.append(nbformat.v4.new_code_cell(source))
                cells[-1].metadata |= {"step": cell.metadata["step"], "solves": asked}
    notebook.cells = cells
    began = {}

    def begin(cell, cell_index):
        began[cell_index] = time.monotonic()

    def end(cell, cell_index, execute_reply):
        cell.metadata["seconds"] = time.monotonic() - began[cell_index]

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("COURSE_PROFILE", "smoke")
        patched.setenv("BRAIN_MRI_CACHE", str(tmp_path_factory.mktemp("cache")))
        patched.delenv("BRAIN_MRI_DATA", raising=False)
        patched.delenv("BRAIN_MRI_WEIGHTS", raising=False)
        where = {"metadata": {"path": str(zipped / "chapters")}}
        client = NotebookClient(notebook, timeout=300, resources=where)
        client.on_cell_execute, client.on_cell_executed = begin, end
        client.execute()
    return notebook


def test_the_zip_holds_the_workshop_and_nothing_else(zipped):
    names = {p.relative_to(zipped).as_posix() for p in zipped.rglob("*") if p.is_file()}
    assert {"START_HERE.md", "Makefile", "LICENSE", "requirements.lock"} <= names
    in_chapters = {name for name in names if name.startswith("chapters/")}
    assert in_chapters == {"chapters/workshop.ipynb"}
    assert {name for name in names if name.startswith("data/")} == set(PLAN["data"])
    assert not [n for n in names if n.startswith(("tests/", "helpers/experiments/"))]


def test_the_zip_says_that_the_book_is_elsewhere(zipped):
    command = [sys.executable, "-m", "tools.book"]
    run = subprocess.run(command, cwd=zipped, capture_output=True, text=True)
    assert run.returncode == 1
    assert "This copy holds the workshop only: make lab opens it." in run.stderr
    assert "Traceback" not in run.stderr


def test_in_colab_one_notebook_and_one_upload_are_enough(tmp_path):
    zipped = pack.workshop(ROOT)
    assert {path.name for path in zipped.parent.iterdir()} == {
        "START_HERE.md",
        "course.zip",
        "workshop.ipynb",
    }
    shutil.copy(zipped, tmp_path)  # all that is uploaded beside the notebook
    notebook = nbformat.read(zipped.with_name("workshop.ipynb"), as_version=4)
    pretend = "import sys, types; sys.modules['google.colab'] = types.ModuleType('c')\n"
    start = [cell.source for cell in notebook.cells if cell.cell_type == "code"][:1]
    after = "from helpers import recorded; print(recorded.__file__)"
    sources = (pretend, *start, after)
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    wanted = tmp_path / "course" / "helpers" / "recorded.py"
    assert notebook.cells[2].outputs[0]["text"].strip() == str(wanted)


def test_every_step_runs_and_shows_what_the_chapters_promise(run, zipped):
    stored = promised()
    chapter_of = {
        step["number"]: step["chapter"]
        for part in PLAN["parts"]
        for step in part["steps"]
    }
    compared = 0
    for cell in run.cells:
        key = chapter_of.get(cell.metadata["step"]), cell.metadata.get("cell")
        if key in stored:
            assert printed(cell) == stored[key], key
            compared += 1
    assert compared > 10
    assert {cell.metadata["step"] for cell in run.cells} == {1, *chapter_of}


@pytest.mark.parametrize("number", EXERCISES)
def test_an_exercise_waits_for_an_answer_and_takes_the_solution(run, number):
    steps = {
        c.metadata["step"] for c in run.cells if c.metadata.get("solves") == number
    }
    (step,) = steps
    texts = [
        (cell.metadata.get("solves"), printed(cell))
        for cell in run.cells
        if cell.metadata["step"] == step and "checks." in cell.source
    ]
    assert texts[0][0] is None
    assert texts[0][1].startswith("Not yet")
    assert texts[-1] == (number, texts[-1][1])
    assert texts[-1][1].startswith("Right: ")


def test_nothing_a_learner_reads_tells_a_result_before_it_is_computed(run, zipped):
    given = nbformat.read(zipped / "chapters" / "workshop.ipynb", as_version=4)
    assert not [c for c in given.cells if c.get("outputs") or c.get("execution_count")]
    assert "assert" not in {
        type(node).__name__.lower()
        for cell in given.cells
        if cell.cell_type == "code"
        for node in ast.walk(ast.parse(cell.source))
    }
    number = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w.])")
    for cell in run.cells:
        if cell.cell_type == "code" and "solves" not in cell.metadata:
            step = cell.metadata["step"]
            told = "\n".join(
                c.source
                for c in given.cells
                if c.metadata["step"] <= step and c.cell_type == "markdown"
            )
            told = re.sub(r"Exercise \d+\.\d", "", told)
            results = {n for n in number.findall(as_text(cell)) if len(n) > 2}
            spoiled = results & set(number.findall(told))
            assert not spoiled, (cell.source, spoiled)
