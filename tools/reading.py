"""The form of a page for those who read: code that can wait is folded, nothing waits.

The notebooks stay as they are. When a page is staged, cells get the tags by which the
book folds them (`hide-input`) or leaves their code out (`remove-input`).
"""

import ast

import nbformat.v4
from nbformat import NotebookNode

NOT_YET = "Not yet: "
HEAVIEST_DRAWING = 300_000  # characters; a cloud of points is lighter as dots
IN_THE_NOTEBOOK = (
    "This one is solved in the notebook: download it at the top of the page, or read "
    "the solution.\n"
)


def _body(cell: NotebookNode) -> list[ast.stmt]:
    try:
        return ast.parse(cell.source).body
    except SyntaxError:  # a magic, or code that is shown broken on purpose
        return []


def _calls(cell: NotebookNode) -> set[str]:
    """Return what a cell calls, as `widgets.quiz` or `subplots`."""
    found = set()
    for node in (n for part in _body(cell) for n in ast.walk(part)):
        if isinstance(node, ast.Call):
            found.add(ast.unparse(node.func))
    return found


def gives_answers_away(cell: NotebookNode) -> bool:
    """Tell whether a cell holds a quiz' questions, whose right answers come first."""
    return bool(_calls(cell) & {"widgets.quiz", "widgets.choice", "widgets.number"})


def is_machinery(cell: NotebookNode) -> bool:
    """Tell whether a cell only gets the notebook going, which a page does not need."""
    return "google.colab" in cell.source or cell.source.strip() == "helpers.start()"


def can_wait(cell: NotebookNode) -> bool:
    """Tell whether a reader can do without a cell's code: imports, checks, plotting."""
    body = _body(cell)
    if not body:
        return False
    if all(isinstance(n, ast.Import | ast.ImportFrom | ast.Assert) for n in body):
        return True
    shown = [kind for o in cell.get("outputs", []) for kind in o.get("data", {})]
    return any(kind.startswith("image/") for kind in shown)


def is_open_exercise(cell: NotebookNode) -> bool:
    """Tell whether a cell's output asks for an answer that a page cannot take."""
    return any(o.get("text", "").startswith(NOT_YET) for o in cell.get("outputs", []))


def exercise_of(cell: NotebookNode) -> str | None:
    """Return the name of the check that a cell calls, if a page can take its answer."""
    names = [call for call in _calls(cell) if call.startswith("checks.")]
    if not names:
        return None
    from tools import answers  # with the helpers, which a small book may do without

    known = (name.removeprefix("checks.") for name in names)
    return next((name for name in known if name in answers.all_forms()), None)


def choose_form(output: NotebookNode) -> None:
    """Keep one form of a figure: lines where it is drawn, dots for pixels."""
    drawn = output.get("data", {}).get("image/svg+xml")
    if drawn is None or "image/png" not in output.data:
        return
    is_drawing = "<image" not in drawn and len(drawn) <= HEAVIEST_DRAWING
    del output.data["image/png" if is_drawing else "image/svg+xml"]


def prepare(notebook: NotebookNode) -> None:
    """Fold or leave out the code that a reader can do without, in place."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            choose_form(output)
        tags = list(cell.metadata.get("tags", []))
        if gives_answers_away(cell) or is_machinery(cell):
            tags = [tag for tag in tags if tag != "hide-input"] + ["remove-input"]
        elif can_wait(cell) and "remove-input" not in tags:
            tags.append("hide-input")
        if is_open_exercise(cell) and (name := exercise_of(cell)):
            from tools import answers

            form = {"text/html": answers.form_html(name)}
            cell.outputs = [nbformat.v4.new_output("display_data", form)]
            tags.append("hide-input")
        elif is_open_exercise(cell):
            for output in cell.outputs:
                if output.get("text", "").startswith(NOT_YET):
                    output["text"] = IN_THE_NOTEBOOK
        cell.metadata["tags"] = list(dict.fromkeys(tags))
