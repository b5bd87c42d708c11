"""Puts the learners' notebook of the workshop together, from the chapters' own cells.

`kit/workshop.yml` names the cells of each step, in order. What a learner
should find out is left out: outputs, assertions, links to solutions, and every sentence
of a chapter that reads a result.
"""

import ast
import re
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode

from tools.dependencies import ROOT

PLAN = Path("kit/workshop.yml")
EXERCISE = "### Exercise {}"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)[^)]*\)")


class PlanError(Exception):
    """The plan names what the chapters do not have; the message says what and where."""


def plan(root: Path = ROOT) -> dict:
    """Return the workshop's plan; each step carries its number, from 1, and chapter."""
    told = yaml.safe_load((root / PLAN).read_text())
    number = 1  # the first step starts the notebook, and no chapter's cell is in it
    for part in told["parts"]:
        for step in part["steps"]:
            number += 1
            step |= {"number": number, "chapter": part.get("chapter")}
    return told


def chapter(name: str, root: Path = ROOT) -> NotebookNode:
    """Read a chapter, by the name of its file without `.ipynb`."""
    return nbformat.read(root / "chapters" / f"{name}.ipynb", as_version=4)


def find(notebook: NotebookNode, name: str, identity: str) -> NotebookNode:
    """Return the cell with an id; `PlanError` if the chapter has none."""
    for cell in notebook.cells:
        if cell.id == identity:
            return cell
    raise PlanError(f"{PLAN} names the cell {identity!r}, which {name} does not have.")


def exercise(notebook: NotebookNode, name: str, number: str) -> list[NotebookNode]:
    """Return an exercise's cells, from its heading to its check.

    The text begins at the heading, wherever in a cell that stands.
    """
    wanted = re.compile(rf"^{re.escape(EXERCISE.format(number))}\b", re.MULTILINE)
    found = []
    for cell in notebook.cells:
        start = wanted.search(cell.source)
        if found:
            found.append(cell)
        elif start:
            found = [nbformat.v4.new_markdown_cell(cell.source[start.start() :])]
        if found and cell.source.startswith("checks."):
            return found
    raise PlanError(f"{name} has no exercise {number}, from heading to check.")


def without_asserts(source: str) -> str:
    """Return code without its assertions, which tell a result before it is seen."""
    kept = source.splitlines()
    for node in reversed(ast.parse(source).body):
        if isinstance(node, ast.Assert):
            del kept[node.lineno - 1 : node.end_lineno]
    return "\n".join(kept)


def for_learners(cell: NotebookNode) -> NotebookNode:
    """Return a cell without outputs, assertions, and links into the book.

    A code cell of a chapter says in its metadata which one it was, as `cell`.
    """
    if cell.cell_type == "markdown":
        return nbformat.v4.new_markdown_cell(LINK.sub(r"\1", cell.source))
    fresh = nbformat.v4.new_code_cell(without_asserts(cell.source))
    fresh.metadata["cell"] = cell.id
    return fresh


def imports(code: list[str], notebook: NotebookNode) -> dict[str, str]:
    """Return a chapter's import lines that some of the code needs, by name bound."""
    nodes = [node for source in code for node in ast.walk(ast.parse(source))]
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    lines = {}
    for cell in notebook.cells:
        if cell.cell_type != "code" or "google.colab" in cell.source:
            continue
        for node in ast.parse(cell.source).body:
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            for alias in node.names:
                bound = alias.asname or alias.name.split(".")[0]
                if bound in used:
                    one = type(node)(**{**vars(node), "names": [alias]})
                    lines[bound] = ast.unparse(one)
    return lines


def cells_of(step: dict, notebook: NotebookNode | None) -> list[NotebookNode]:
    """Return the cells of a step: its heading, what it says, its code, its exercise."""
    markdown, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    head = f"## Step {step['number']}: "
    if "exercise" in step:
        text, *rest = exercise(notebook, step["chapter"], step["exercise"])
        asked = markdown(text.source.replace("### ", head, 1))
        return [for_learners(cell) for cell in (asked, *rest)]
    cells = [markdown(f"{head}{step['title']}\n\n{step.get('say', '')}".strip())]
    if "code" in step:
        cells.append(code(step["code"]))
    name = step["chapter"]
    cells += [find(notebook, name, one) for one in step.get("cells", ())]
    if "after" in step:
        cells.append(markdown(step["after"]))
        cells += [find(notebook, name, one) for one in step["then"]]
    return [for_learners(cell) for cell in cells]


def build(root: Path = ROOT) -> NotebookNode:
    """Return the learners' notebook, its cells numbered so that it is always the same.

    Cells carry the number of their step in the metadata, as `step`, and that of the
    notebook's first step is 1.
    """
    told = plan(root)
    names = list(dict.fromkeys(p["chapter"] for p in told["parts"] if "chapter" in p))
    books = {name: chapter(name, root) for name in names}
    body, needed = [], {"helpers": "import helpers"}
    for position, part in enumerate(told["parts"], 1):
        heading = f"# Part {position}: {part['title']}"
        code_here = []
        for step in part["steps"]:
            cells = cells_of(step, books.get(step["chapter"]))
            if heading:
                cells[0].source = f"{heading}\n\n{cells[0].source}"
                heading = ""
            for cell in cells:
                cell.metadata["step"] = step["number"]
            body += cells
            code_here += [cell.source for cell in cells if cell.cell_type == "code"]
        if "chapter" not in part:
            continue
        for bound, line in imports(code_here, books[part["chapter"]]).items():
            if needed.setdefault(bound, line) != line:
                raise PlanError(f"{needed[bound]!r} and {line!r} bind the same name.")
    markdown, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    start = [
        markdown(
            f"# {told['title']}\n\n## Step 1: Start\n\nRun these cells now, from the "
            "top. Then run only the step that is due: each of them asks for a guess "
            "before its result. Nothing here can help read anybody's scan."
        ),
        code((root / "tools" / "bootstrap_cell.py").read_text().strip()),
        code("\n".join(sorted(needed.values()))),
        code("helpers.start()"),
    ]
    for cell in start:
        cell.metadata["step"] = 1
    for cell in start[1:3]:  # nobody needs to read how the course is found
        cell.metadata["jupyter"] = {"source_hidden": True}
    notebook = nbformat.v4.new_notebook(cells=[*start, *body])
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03d}"
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = spec
    return notebook
