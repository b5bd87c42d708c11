"""Every notebook keeps every rule of form, and every rule can fail.

The rules are in `notebook_form.py`. `BREAKAGES` holds, for each of them, a change that
breaks it in a small good notebook: a rule that cannot fail fails here.
"""

import json
import re
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from notebook_form import (
    BOOTSTRAP,
    EVERYWHERE,
    IN_CHAPTERS,
    IN_SOLUTIONS,
    Rule,
    allowed_tags,
    alt_text,
    answers_hidden,
    box,
    broken_links,
    check_calls,
    checked_values,
    closing,
    exercises,
    finished,
    headings,
    identity,
    load,
    local_links,
    mostly_short_cells,
    nothing_private,
    one_import_cell,
    one_profile,
    opening,
    outputs,
    plain_python,
    prose_between,
    short_cells,
    slips,
    solved,
    tone,
)

from helpers.config import ROOT

CHAPTERS = sorted(ROOT.glob("chapters/[0-9][0-9]_*.ipynb"))
SOLUTIONS = sorted(ROOT.glob("chapters/solutions/*.ipynb"))
NOTEBOOKS = sorted(ROOT.glob("chapters/**/*.ipynb"))
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("chapters/**/*.md"), ROOT / "data/README.md"]
)


def cases(paths: list[Path], rules: list[Rule]) -> list:
    return [
        pytest.param(path, rule, id=f"{path.parent.name}-{path.stem}-{rule.__name__}")
        for path in paths
        for rule in rules
    ]


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        *cases(NOTEBOOKS, EVERYWHERE),
        *cases(CHAPTERS, IN_CHAPTERS),
        *cases(SOLUTIONS, IN_SOLUTIONS),
    ],
)
def test_notebook_keeps_the_rule(path, rule):
    wrong = rule(load(path))
    assert not wrong, "\n".join([f"{path.name} breaks `{rule.__name__}`:", *wrong])


@pytest.mark.parametrize("path", [*NOTEBOOKS, *PAGES], ids=lambda path: path.stem)
def test_local_links_lead_somewhere(path):
    if path.suffix == ".ipynb":
        wrong = local_links(load(path), path.parent)
    else:
        wrong = broken_links(path.read_text(), path.parent)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pages_keep_the_spelling_and_the_tone(path):
    assert not (wrong := slips(path.read_text())), "\n".join(wrong)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_index_names_the_chapter_as_it_names_itself(path):
    number, title = re.match(r"# (\d+) (.+)", load(path).cells[0].source).groups()
    row = f"| {number} | [{title.strip()}]({path.name}) |"
    assert row in (ROOT / "chapters" / "index.md").read_text(), f"index.md: no {row}"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_exercise_has_a_check_a_stub_that_says_not_yet_and_a_solution(
    path, capsys
):
    from helpers import checks

    called = check_calls(load(path))
    solution = path.parent / "solutions" / path.name
    assert solution.exists(), f"{solution.name} is missing"
    assert set(called) == set(check_calls(load(solution)))
    for name in called:
        assert getattr(checks, name)(...) is None, (
            f"checks.{name} accepts an empty stub"
        )
        assert capsys.readouterr().out.startswith("Not yet: ")


# --- every rule can fail --------------------------------------------------------------

md, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
ALT = {
    "mystnb": {"image": {"alt": "Four bars, one a class; the third is the tallest."}}
}


FOLDED = {"jupyter": {"source_hidden": True}}


def tagged(source: str, *names: str, **metadata):
    return code(source, metadata={"tags": list(names), **metadata})


def printed(source: str, text: str):
    stream = nbformat.v4.new_output("stream", text=text)
    cell = tagged(source, "nbval-check-output")
    return nbformat.from_dict({**cell, "outputs": [stream], "execution_count": 1})


def good_notebook() -> nbformat.NotebookNode:
    """Return a chapter, and solution in one, that keeps every rule."""
    box_text = (
        "> **You will** count.\n>\n> **Before you start** nothing.\n>\n"
        "> **Minutes** 5 for reading, 1 for running, 3 for exercises."
    )
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        cells=[
            md("# 3 Count\n\nWe count slices."),
            md(box_text),
            tagged(BOOTSTRAP, "hide-input", **FOLDED),
            code("import helpers\nfrom helpers import checks, plots, widgets"),
            tagged("helpers.start()", "nbval-ignore-output"),
            md("How many?"),
            printed("assert True; print(4)", "4\n"),
            md("Four. And a figure:"),
            tagged("plots.class_counts(data)", "nbval-ignore-output", **ALT),
            md("## Count on\n\n### Exercise 3.1\n\nAdd."),
            code("answer = ..."),
            printed("checks.ch3_add(answer)", "Right: it adds up.\n"),
            md("[Solution](solutions/03_count.ipynb)"),
            md("### Exercise 3.2\n\nChoose. [Solution](solutions/03_count.ipynb)"),
            code('answer = {"a": ...}'),
            printed("checks.ch3_choose(answer)", "Right: well chosen.\n"),
            md("A third value."),
            printed("print(5)", "5\n"),
            md("## Quiz"),
            tagged("widgets.quiz([])", "nbval-ignore-output", **FOLDED),
            md("## What you learned\n\nCounting.\n\n## What comes next\n\nMore."),
        ],
    )
    return notebook


def breakage(position: int, **changes):
    """Return a function that changes one cell of a notebook."""

    def change(notebook):
        for key, value in changes.items():
            notebook.cells[position][key] = value

    return change


def insert(position: int, *new):
    return lambda notebook: notebook.cells.__setitem__(
        slice(position, position), list(new)
    )


def image(kind: str, data: str):
    output = nbformat.v4.new_output("display_data", data={kind: data})
    return breakage(6, outputs=[output])


BREAKAGES = [
    (opening, "a title", breakage(0, source="Count\n\nWe count.")),
    (opening, "a paragraph", breakage(0, source="# 3 Count")),
    (opening, "differs from tools", breakage(2, source=BOOTSTRAP + "\nx = 1")),
    (opening, "hide-input", breakage(2, metadata={})),
    (opening, "source_hidden", breakage(2, metadata={"tags": ["hide-input"]})),
    (answers_hidden, "questions need", breakage(19, metadata={})),
    (opening, "imports and nothing else", breakage(3, source="import helpers\nx = 1")),
    (opening, "expected helpers.start()", breakage(4, source="print('hello')")),
    (opening, "nbval-ignore-output", breakage(4, metadata={})),
    (one_import_cell, "import cell", breakage(8, source="import numpy")),
    (plain_python, "not plain Python", breakage(8, source="!pip install x")),
    (plain_python, "in comments", breakage(8, source="# NBVAL_SKIP\nx = 1")),
    (short_cells, "25 lines", breakage(8, source="x = 1\n" * 25)),
    (
        mostly_short_cells,
        "median",
        insert(
            7, *(cell for _ in range(12) for cell in (md("So?"), code("x = 1\n" * 6)))
        ),
    ),
    (prose_between, "without prose", insert(9, code("a"), code("b"))),
    (outputs, "no tag", breakage(6, metadata={})),
    (outputs, "stores no output", breakage(6, outputs=[])),
    (outputs, "expected 1, or nbval", breakage(6, execution_count=None)),
    (outputs, "expected none", breakage(8, execution_count=3)),
    (outputs, "only text", image("image/png", "iVBORw0KGgo=")),
    (outputs, "inside text/html", image("text/html", "<img src='data:image/png'>")),
    (
        outputs,
        "an error",
        breakage(
            6,
            outputs=[
                nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
            ],
        ),
    ),
    (
        allowed_tags,
        "unknown tag 'skip-me'",
        breakage(8, metadata={"tags": ["skip-me"]}),
    ),
    (
        allowed_tags,
        "both",
        breakage(6, metadata={"tags": ["nbval-check-output", "nbval-ignore-output"]}),
    ),
    (alt_text, "a figure needs", breakage(8, metadata={})),
    (
        alt_text,
        "a figure needs",
        breakage(8, metadata={"mystnb": {"image": {"alt": "A plot"}}}),
    ),
    (alt_text, "a figure needs", breakage(8, source="ax.imshow(x)", metadata={})),
    (
        alt_text,
        "another figure's",
        insert(9, md("Again:"), tagged("plt.plot(x)", **ALT)),
    ),
    (identity, "appears twice", lambda n: n.cells[6].update(id=n.cells[7].id)),
    (identity, "not 4.5", lambda n: n.update(nbformat_minor=4)),
    (identity, "not python3", lambda n: n.metadata.kernelspec.update(name="ir")),
    (identity, "widget state", lambda n: n.metadata.update(widgets={})),
    (nothing_private, "'/home/ann'", breakage(8, source="open('/home/ann/x')")),
    (nothing_private, "password", breakage(8, source="password = 'hunter2'")),
    (headings, "'Why' skips a level", breakage(5, source="### Why")),
    (finished, "'READING' is left", breakage(7, source="READING\n\nAnd a limit.")),
    (finished, "'TODO' is left", breakage(7, source="TODO: say why.")),
    (
        outputs,
        "stderr",
        breakage(
            6, outputs=[nbformat.v4.new_output("stream", name="stderr", text="0")]
        ),
    ),
    (one_profile, "profile", breakage(8, source="if profile().name == 'full': x")),
    (tone, "writes tumor", breakage(5, source="Which tumour?")),
    (tone, "claims too much", breakage(5, source="It can diagnose patients.")),
    (tone, "claims too much", breakage(5, source="`notumor` means healthy.")),
    (tone, "filler", breakage(5, source="Let's dive in.")),
    (tone, "exclamation", breakage(5, source="It works!")),
    (box, "'before you start'", breakage(1, source="> You will count.")),
    (
        box,
        "'minutes'",
        lambda n: n.cells[1].update(source=n.cells[1].source.replace(">", "")),
    ),
    (checked_values, "3 cells", breakage(6, metadata={})),
    (closing, "What you learned", breakage(20, source="## What comes next")),
    (closing, "no quiz", breakage(19, source="print()")),
    (exercises, "1 exercises", breakage(13, source="Choose.")),
    (
        exercises,
        "expected the heading ### Exercise 3.1",
        breakage(9, source="### Exercise 3.7"),
    ),
    (exercises, "no stub", breakage(10, source="answer = 3")),
    (exercises, "nothing checks", breakage(11, source="print(answer)")),
    (exercises, "no link", breakage(12, source="That was it.")),
    (solved, "nothing proves", breakage(11, metadata={})),
    (
        solved,
        "nothing proves",
        breakage(15, outputs=[nbformat.v4.new_output("stream", text="Not quite: no.")]),
    ),
]


@pytest.mark.parametrize("rule", [*EVERYWHERE, *IN_CHAPTERS, *IN_SOLUTIONS])
def test_a_good_notebook_keeps_every_rule(rule, tmp_path):
    path = tmp_path / "good.ipynb"
    path.write_text(json.dumps(good_notebook()))
    assert rule(load(path)) == []


@pytest.mark.parametrize(("rule", "complaint", "change"), BREAKAGES)
def test_a_broken_notebook_breaks_its_rule(rule, complaint, change, tmp_path):
    notebook = deepcopy(good_notebook())
    change(notebook)
    path = tmp_path / "broken.ipynb"
    path.write_text(json.dumps(notebook))
    found = rule(load(path))
    assert any(complaint in message for message in found), found


def test_every_rule_has_a_notebook_that_breaks_it():
    assert {rule for rule, _, _ in BREAKAGES} == {
        *EVERYWHERE,
        *IN_CHAPTERS,
        *IN_SOLUTIONS,
    }


@pytest.mark.parametrize(
    "text",
    [
        "This is not a diagnosis.",
        "Who made the diagnosis, and how?",
        "`notumor` is not healthy.",
        'See "Clever Hans in a brain tumour dataset".',
        "*Brain tumour classification*, 2020.",
        "Is `a != b`? ![alt](x.png)",
    ],
)
def test_fair_sentences_pass(text):
    assert slips(text) == []


def test_a_link_to_a_missing_file_or_heading_is_named(tmp_path):
    (tmp_path / "page.md").write_text("# Page\n\n### Yagis 2021\n")
    text = "[a](page.md#yagis-2021) [b](page.md#gone) [c](gone.md) [d](https://x.org/y)"
    assert broken_links(text, tmp_path) == [
        "links to page.md#gone, but page.md has no such heading",
        "links to gone.md, which does not exist",
    ]
