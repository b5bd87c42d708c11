"""The form of every notebook: each rule takes one and returns what is wrong with it.

A complaint names the cell. `test_notebooks.py` tries every rule on every notebook, and
breaks each rule once to see that it can fail.
"""

import ast
import json
import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from prose import read

from helpers.config import ROOT
from tools import reading

BOOTSTRAP = (ROOT / "tools" / "bootstrap_cell.py").read_text().strip()

TAGS = {
    "hide-input",
    "hide-output",
    "hide-cell",
    "remove-input",
    "remove-output",
    "remove-stderr",
    "nbval-check-output",
    "nbval-ignore-output",
    "nbval-raises-exception",
    "raises-exception",
}
LONGEST, MEDIAN, LONGEST_RUN, LEAST_CHECKED = 20, 5, 2, 4
SHORTEST_ALT = 30

Rule = Callable[[nbformat.NotebookNode], list[str]]


def code_cells(notebook) -> list[tuple[str, nbformat.NotebookNode]]:
    return [
        (where, cell) for where, cell in cells(notebook) if cell.cell_type == "code"
    ]


def prose_cells(notebook) -> list[tuple[str, nbformat.NotebookNode]]:
    return [
        (where, cell) for where, cell in cells(notebook) if cell.cell_type == "markdown"
    ]


def cells(notebook) -> Iterator[tuple[str, nbformat.NotebookNode]]:
    """Yield every cell with a name a human can find it by."""
    for position, cell in enumerate(notebook.cells):
        first = (cell.source.strip().splitlines() or ["empty"])[0][:50]
        yield f"cell {position} ({cell.get('id', 'no id')}: {first})", cell


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def tree(cell) -> ast.Module:
    try:
        return ast.parse(cell.source)
    except SyntaxError:  # `plain_python` complains about it, by name
        return ast.Module([], [])


def top_level(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs when the cell runs: not the bodies of functions it defines."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.Lambda):
            yield from top_level(child)


def check_calls(notebook) -> list[str]:
    """Return the names of the checks a notebook calls, in order: `checks.NAME(...)`."""
    return [
        node.func.attr
        for _, cell in code_cells(notebook)
        for node in ast.walk(tree(cell))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "checks"
    ]


# --- rules for every notebook ---------------------------------------------------------


def opening(notebook) -> list[str]:
    """Title and promise, then bootstrap, imports and `helpers.start()`, in order."""
    wrong = []
    if not re.match(r"# \S", notebook.cells[0].source):
        wrong.append("cell 0: expected a title (`# ...`)")
    if len(read(notebook.cells[0].source).split("\n\n")) < 2:
        wrong.append("cell 0: expected a paragraph under the title")
    code = code_cells(notebook)[:3]
    if len(code) < 3:
        return [*wrong, "expected a bootstrap, an import and a start cell"]
    (first, bootstrap), (second, imports), (third, start) = code
    if bootstrap.source.strip() != BOOTSTRAP:
        wrong.append(f"{first}: differs from tools/bootstrap_cell.py")
    if "hide-input" not in tags(bootstrap):
        wrong.append(f"{first}: the bootstrap cell needs the tag hide-input")
    if not bootstrap.metadata.get("jupyter", {}).get("source_hidden"):
        wrong.append(f"{first}: the bootstrap cell needs jupyter.source_hidden for Lab")
    if not all(isinstance(n, ast.Import | ast.ImportFrom) for n in tree(imports).body):
        wrong.append(f"{second}: expected imports and nothing else")
    if start.source.strip() != "helpers.start()":
        wrong.append(f"{third}: expected helpers.start()")
    if "nbval-ignore-output" not in tags(start):
        wrong.append(f"{third}: the start cell needs the tag nbval-ignore-output")
    return wrong


def one_import_cell(notebook) -> list[str]:
    return [
        f"{where}: imports belong in the import cell"
        for where, cell in code_cells(notebook)[2:]
        if any(isinstance(n, ast.Import | ast.ImportFrom) for n in ast.walk(tree(cell)))
    ]


def plain_python(notebook) -> list[str]:
    """No magics, no shell: a cell means the same in Lab, in Colab and in a test."""
    wrong = []
    for where, cell in code_cells(notebook):
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            wrong.append(f"{where}: not plain Python ({error.msg})")
        if "# NBVAL_" in cell.source or "#NBVAL_" in cell.source:
            wrong.append(f"{where}: nbval's tags live in the metadata, not in comments")
    return wrong


def lengths(notebook) -> list[tuple[str, int]]:
    """Return the lines of each code cell after bootstrap and imports, read once."""
    return [
        (where, len(cell.source.splitlines()))
        for where, cell in code_cells(notebook)[2:]
    ]


def short_cells(notebook) -> list[str]:
    return [
        f"{where}: {length} lines, at most {LONGEST}"
        for where, length in lengths(notebook)
        if length > LONGEST
    ]


def prose_between(notebook) -> list[str]:
    wrong, run = [], 0
    opened = {id(cell) for _, cell in code_cells(notebook)[:3]}
    for where, cell in cells(notebook):
        run = run + 1 if cell.cell_type == "code" and id(cell) not in opened else 0
        if run == LONGEST_RUN + 1:
            wrong.append(f"{where}: more than {LONGEST_RUN} code cells without prose")
    return wrong


def outputs(notebook) -> list[str]:
    """Stored outputs only where nbval compares them, and text only.

    nbval compares nothing in a cell that was never run, so checked cells carry the
    execution count 1, always the same; all others carry none.
    """
    wrong = []
    for where, cell in code_cells(notebook):
        checked = "nbval-check-output" in tags(cell)
        if cell.execution_count != (1 if checked else None):
            expected = "1, or nbval compares nothing" if checked else "none"
            wrong.append(
                f"{where}: execution count {cell.execution_count}; expected {expected}"
            )
        if cell.outputs and not checked:
            wrong.append(f"{where}: has outputs but no tag nbval-check-output")
        if checked and not cell.outputs:
            wrong.append(f"{where}: is tagged nbval-check-output but stores no output")
        for output in cell.outputs:
            if output.get("name") == "stderr":
                wrong.append(
                    f"{where}: stores what went to stderr; keep what it prints"
                )
            if output.output_type == "error":
                wrong.append(f"{where}: stores an error")
            if output.get("execution_count") not in (None, 1):
                wrong.append(f"{where}: its output has an execution count")
            for kind in output.get("data", {}):
                if not kind.startswith("text/"):
                    wrong.append(f"{where}: stores {kind}; only text is committed")
                elif re.search(r"data:image|<svg|<img", str(output.data[kind])):
                    wrong.append(f"{where}: stores an image inside {kind}")
    return wrong


def allowed_tags(notebook) -> list[str]:
    wrong = []
    for where, cell in cells(notebook):
        for tag in sorted(tags(cell) - TAGS):
            wrong.append(f"{where}: unknown tag {tag!r}")
        if {"nbval-check-output", "nbval-ignore-output"} <= tags(cell):
            wrong.append(f"{where}: its output cannot be both checked and ignored")
    return wrong


def draws(cell) -> bool:
    """Tell whether a cell shows a figure when it runs."""
    drawing = {"plot", "hist", "imshow", "scatter", "bar", "barh", "boxplot", "show"}
    for node in top_level(tree(cell)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        base = node.func.value
        while isinstance(base, ast.Attribute | ast.Subscript | ast.Call):
            base = base.func if isinstance(base, ast.Call) else base.value
        name = base.id if isinstance(base, ast.Name) else ""
        if (name in {"plots", "plt"} and node.func.attr != "use_style") or (
            node.func.attr in drawing
        ):
            return True
    return False


def alt_text(notebook) -> list[str]:
    """Every figure says in words what one sees in it, and no two say the same."""
    wrong, seen = [], set()
    for where, cell in code_cells(notebook):
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if draws(cell) and len(alt) < SHORTEST_ALT:
            wrong.append(
                f'{where}: a figure needs "mystnb": {{"image": {{"alt": ...}}}}'
            )
        if alt and alt in seen:
            wrong.append(f"{where}: its alt text is another figure's")
        seen.add(alt)
    return wrong


def identity(notebook) -> list[str]:
    """nbformat 4.5, an id for each cell, no id twice, the kernel python3."""
    wrong = []
    if (notebook.nbformat, notebook.nbformat_minor) != (4, 5):
        wrong.append(f"nbformat {notebook.nbformat}.{notebook.nbformat_minor}, not 4.5")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        wrong.append("metadata: the kernelspec is not python3")
    if "widgets" in notebook.metadata:
        wrong.append("metadata: widget state is stored")
    ids = [cell.get("id", "") for cell in notebook.cells]
    wrong += [f"{w}: no id" for w, cell in cells(notebook) if not cell.get("id")]
    wrong += [
        f"the id {i!r} appears twice" for i in {i for i in ids if ids.count(i) > 1}
    ]
    return wrong


PRIVATE = re.compile(
    r"/(?:work|home|root|Users|tmp|mnt|content)/\w+"
    r"|[A-Za-z]:\\\w+"
    r"|\b(?:ghp|gho|github_pat|hf|sk)_\w{16,}|AKIA[0-9A-Z]{16}|-----BEGIN"
    r"|KAGGLE_KEY|(?:api_key|password|secret|token)\s*=\s*[\"']\w"
)


def nothing_private(notebook) -> list[str]:
    """No absolute path and no secret, in a source or in an output."""
    return [
        f"{where}: contains {found[0]!r}"
        for where, cell in cells(notebook)
        if (found := PRIVATE.search(cell.source + str(cell.get("outputs", ""))))
        and cell.source.strip() != BOOTSTRAP
    ]


def one_profile(notebook) -> list[str]:
    """Chapters do not branch on the profile: what they say holds in every one."""
    return [
        f"{where}: depends on the profile's name"
        for where, cell in code_cells(notebook)
        if re.search(r"COURSE_PROFILE|profile\(\)\.name|profile\.name", cell.source)
    ]


def headings(notebook) -> list[str]:
    """Headings go down one level at a time, or the book cannot nest them."""
    wrong, level = [], 0
    for where, cell in prose_cells(notebook):
        text = re.sub(r"```.*?```", "", cell.source, flags=re.DOTALL)
        for marks, title in re.findall(r"^(#+) (.+)$", text, re.MULTILINE):
            if len(marks) > level + 1:
                wrong.append(f"{where}: {title!r} skips a level of headings")
            level = len(marks)
    return wrong


def finished(notebook) -> list[str]:
    """No placeholder is left where an author meant to write."""
    left = r"\b(?:TODO|FIXME|XXX|PLACEHOLDER)\b|@@|^[A-Z_]{4,}$"
    return [
        f"{where}: the placeholder {found[0]!r} is left"
        for where, cell in prose_cells(notebook)
        if (found := re.search(left, cell.source, re.MULTILINE))
    ]


def local_links(notebook, folder: Path) -> list[str]:
    return [
        f"{where}: {message}"
        for where, cell in prose_cells(notebook)
        for message in broken_links(cell.source, folder)
    ]


def tone(notebook) -> list[str]:
    return [
        f"{where}: {message}"
        for where, cell in prose_cells(notebook)
        for message in slips(cell.source)
    ]


# --- rules for prose, in notebooks and on pages ---------------------------------------

QUOTED = re.compile(r"“[^”]*”|\"[^\"]*\"|(?<!\*)\*[^*\n]+\*(?!\*)")
NEGATED = re.compile(
    r"\b(?:not|no|never|cannot|nothing|nobody|none|without|nor|neither|instead of)\b"
    r"|n[’']t\b",
    re.IGNORECASE,
)
OVERCLAIMS = re.compile(
    r"(?<!made the )\bdiagnos\w+"
    r"|\bclinical[- ]grade|\bstate[- ]of[- ]the[- ]art|\bbreakthrough"
    r"|\b(?:human|expert|radiologist|doctor)[- ]level|\bhealthy\b|\btriage\b"
    r"|\bdetect\w*\s+(?:a\s+|brain\s+)*(?:tumors?|lesions?|cancers?)"
    r"|\blife[- ]saving|\bsaves? lives|\bcutting[- ]edge|\brevolution\w*"
    r"|\bproves? that\b",
    re.IGNORECASE,
)
FILLER = re.compile(
    r"\blet[’']s\b|\bdiv(?:e|ing) in(?:to)?\b|\bdelv\w+|\bobviously\b|\bneedless to say"
    r"|\bas you can see[,.]|\bgame[- ]chang\w+|\bsimply put\b"
    r"|\bit is important to note",
    re.IGNORECASE,
)


def slips(text: str) -> list[str]:
    """Return slips of spelling, honesty and tone; quotations and titles may slip."""
    prose = QUOTED.sub(" ", read(text))
    wrong = [
        f"{w!r}; the course writes tumor"
        for w in re.findall(r"(?i)\w*tumour\w*", prose)
    ]
    for sentence in re.split(r"(?<=[.?:;])\s|\n\s*\n|\n[-|>*#]", prose):
        found = OVERCLAIMS.search(sentence)
        if found and not NEGATED.search(sentence):
            wrong.append(f"{found[0]!r} claims too much: {sentence.strip()[:80]!r}")
    wrong += [f"filler: {found!r}" for found in FILLER.findall(prose)]
    if found := re.search(r"\w+!(?!=)", prose):
        wrong.append(f"an exclamation mark: {found[0]!r}")
    return wrong


def broken_links(text: str, folder: Path) -> list[str]:
    """Return the links of a text that lead to no file, or to no heading of a page."""
    wrong = []
    for target in re.findall(
        r"\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`]*`", "", text)
    ):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = folder / name if name else None
        if file and not file.exists():
            wrong.append(f"links to {target}, which does not exist")
        elif file and anchor and file.suffix == ".md" and anchor not in anchors(file):
            wrong.append(f"links to {target}, but {name} has no such heading")
    return wrong


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub, Lab and MyST make them."""
    headings = re.findall(r"^#{1,3} (.+)$", page.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-") for h in headings
    }


# --- rules for chapters and their solutions -------------------------------------------


def box(notebook) -> list[str]:
    """Before any code: objectives, what one needs before, and minutes, in a box."""
    before = ""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            break
        before += cell.source + "\n\n"
    boxed = "\n".join(re.findall(r"^[>|].*$", before, re.MULTILINE)).lower()
    wanted = (
        "you will",
        "before you start",
        "minutes",
        "reading",
        "running",
        "exercises",
    )
    return [
        f"the box before the code does not say {w!r}" for w in wanted if w not in boxed
    ]


def mostly_short_cells(notebook) -> list[str]:
    median = statistics.median(length for _, length in lengths(notebook))
    return (
        [f"median cell of {median} lines, at most {MEDIAN}"] if median > MEDIAN else []
    )


def checked_values(notebook) -> list[str]:
    count = sum("nbval-check-output" in tags(cell) for _, cell in code_cells(notebook))
    if count < LEAST_CHECKED:
        return [f"{count} cells with checked values, at least {LEAST_CHECKED}"]
    return []


def closing(notebook) -> list[str]:
    prose = "\n".join(cell.source for _, cell in prose_cells(notebook))
    wrong = [
        f"no heading {heading!r}"
        for heading in ("What you learned", "What comes next")
        if not re.search(rf"^##+ {heading}", prose, re.MULTILINE)
    ]
    if not any("widgets.quiz(" in cell.source for _, cell in code_cells(notebook)):
        wrong.append("no quiz: expected widgets.quiz(...)")
    return wrong


def exercises(notebook) -> list[str]:
    """Two to four; each has a heading, a stub with `...`, a check, and a link."""
    wrong, number = [], notebook.cells[0].source.split()[1]
    text = [
        cell.source if cell.cell_type == "markdown" else "" for cell in notebook.cells
    ]
    starts = [
        i for i, t in enumerate(text) if re.search(r"^### Exercise ", t, re.MULTILINE)
    ]
    if not 2 <= len(starts) <= 4:
        wrong.append(f"{len(starts)} exercises; expected two to four")
    for k, start in enumerate(starts, 1):
        title = f"Exercise {number}.{k}"
        if f"### {title}" not in text[start]:
            wrong.append(f"cell {start}: expected the heading ### {title}")
        after = range(start + 1, len(text))
        end = next((i for i in after if "\n#" in f"\n{text[i]}"), len(text) - 1)
        # What stands above the next heading still belongs to the exercise.
        prose = [text[start].split("### Exercise")[-1], *text[start + 1 : end]]
        prose.append(f"\n{text[end]}".split("\n#")[0])
        part = nbformat.from_dict({"cells": notebook.cells[start:end]})
        nodes = [n for _, cell in code_cells(part) for n in ast.walk(tree(cell))]
        if not any(isinstance(n, ast.Constant) and n.value is ... for n in nodes):
            wrong.append(f"{title}: no stub; expected answer = ...")
        if not check_calls(part):
            wrong.append(f"{title}: nothing checks it; expected checks.NAME(answer)")
        if "](solutions/" not in "".join(prose):
            wrong.append(f"{title}: no link to its solution")
    return wrong


def solved(notebook) -> list[str]:
    """Each check passes where nbval sees it: asserted, or "Right" stored and tagged."""
    wrong = []
    for where, cell in code_cells(notebook):
        if not check_calls(nbformat.from_dict({"cells": [cell]})):
            continue
        asserted = any(isinstance(node, ast.Assert) for node in ast.walk(tree(cell)))
        stored = "".join(output.get("text", "") for output in cell.outputs)
        if not asserted and not (
            "nbval-check-output" in tags(cell) and "Right: " in stored
        ):
            wrong.append(f"{where}: nothing proves that this solution passes its check")
    if not check_calls(notebook):
        wrong.append("no check is called")
    return wrong


def answers_hidden(notebook) -> list[str]:
    """The code of a quiz holds its answers: Lab folds it, the book leaves it out."""
    return [
        f"{where}: a quiz' questions need jupyter.source_hidden, so that Lab folds them"
        for where, cell in code_cells(notebook)
        if reading.gives_answers_away(cell)
        and not cell.metadata.get("jupyter", {}).get("source_hidden")
    ]


EVERYWHERE: list[Rule] = [
    opening,
    answers_hidden,
    one_import_cell,
    plain_python,
    short_cells,
    prose_between,
    outputs,
    allowed_tags,
    alt_text,
    identity,
    nothing_private,
    one_profile,
    headings,
    finished,
    tone,
]
IN_CHAPTERS: list[Rule] = [
    box,
    mostly_short_cells,
    checked_values,
    closing,
    exercises,
]
IN_SOLUTIONS: list[Rule] = [solved]


def load(path: Path) -> nbformat.NotebookNode:
    """Read a notebook as it is in the file: `nbformat.read` mends double ids."""
    return nbformat.v4.rwbase.rejoin_lines(
        nbformat.from_dict(json.loads(path.read_text()))
    )
