"""Numbers in prose: each comes from a recorded run, from a named source, or from us.

A markdown cell says in its metadata where its numbers come from:

    "numbers": {"96.9 %": "linear-probe-official.metrics.accuracy"}   a recorded run
    "stated": {"99.16 %": "seed-tutorial"}                  a source in the bibliography
    "stated": {"0.001": "given"}             set or defined by us, measured by nobody

A page (.md) says the same in an HTML comment, `<!-- numbers: {...} -->` and
`<!-- stated: {...} -->`. A page may also take a number from a cell whose stored output
the tests compare: `<!-- printed: {"0.56": "01_meet_the_data.refit"} -->`. Every
decimal and percentage that a reader sees needs one.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prose import matches, plain, read

from helpers import recorded
from helpers.config import ROOT, CourseError

PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("chapters/**/*.md"),
        *ROOT.glob("kit/*.md"),
        *ROOT.glob("data/**/README.md"),
    ]
)
NOTEBOOKS = sorted(ROOT.glob("chapters/**/*.ipynb"))
BIBLIOGRAPHY = ROOT / "chapters" / "bibliography.md"
GIVEN = "given"

# Numbers that name something: versions, licences, places in the book, conventions.
NAMES = re.compile(
    r"(?:Python|TensorFlow|Keras|NumPy|pandas|matplotlib|scikit-learn|"
    r"ipywidgets|kagglehub|JupyterLab|CUDA|nbformat|[Vv]ersions?|CC BY|Attribution|"
    r"Exercises?|[Cc]hapters?|Figure|Section)\s+v?\d+(?:\.\d+)*(?:(?:\s+(?:to|and|or)|,)\s+\d+(?:\.\d+)+)*"
    r"|\b95\s*%(?=[\s-]+(?:bootstrap\s+)?(?:confidence|interval))"
    r"|\b\d+\.\d+\.\d+\b"
    r"|^\s*\d+\.\s",  # a numbered list
    re.MULTILINE,
)
NUMBER = re.compile(r"(?<![\w.])-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?!\w|\.\d)(?:\s*%)?")


@dataclass(frozen=True)
class Passage:
    """A markdown cell or a page: what it says, and where its numbers come from."""

    where: str
    text: str
    numbers: dict[str, str]
    stated: dict[str, str]
    printed: dict[str, str] = field(default_factory=dict)


def cell_passage(where: str, cell) -> Passage:
    return Passage(
        where,
        cell.source,
        dict(cell.metadata.get("numbers", {})),
        dict(cell.metadata.get("stated", {})),
    )


def page_passage(path: Path) -> Passage:
    text = path.read_text()
    shown = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)

    def comment(key: str) -> dict[str, str]:
        found = re.search(rf"<!--\s*{key}:\s*(\{{.*?\}})\s*-->", shown, re.DOTALL)
        return json.loads(found[1]) if found else {}

    sources = (comment(key) for key in ("numbers", "stated", "printed"))
    return Passage(path.name, text, *sources)


def checked_output(cell_name: str) -> str:
    """Return what a chapter stores of a cell that the tests compare, or nothing.

    The cell is named as `01_meet_the_data.refit`: the notebook, and the cell's id.
    """
    stem, _, identity = cell_name.rpartition(".")
    path = ROOT / "chapters" / f"{stem}.ipynb"
    if not path.is_file():
        return ""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.id == identity and "nbval-check-output" in cell.metadata.get(
            "tags", []
        ):
            shown = [
                out.get("text") or out["data"]["text/plain"] for out in cell.outputs
            ]
            return "".join(shown)
    return ""


def notebook_passages(path: Path) -> list[Passage]:
    notebook = nbformat.read(path, as_version=4)
    return [
        cell_passage(f"{path.name}, cell {position} ({cell.get('id', 'no id')})", cell)
        for position, cell in enumerate(notebook.cells)
        if cell.cell_type == "markdown"
    ]


def results_in(text: str) -> list[str]:
    """Return the numbers of a text that look like results: decimals and percentages."""
    found = NUMBER.findall(NAMES.sub(" ", read(text)))
    return [number.strip() for number in found if "." in number or "%" in number]


def shows(text: str, printed: str) -> bool:
    """Tell whether a text prints this number, whole and not as part of another."""
    number = re.escape(plain(printed))
    return bool(re.search(rf"(?<![\d.,]){number}(?![\d%]|[.,]\d)", read(text)))


def complaints(passage: Passage, keys: set[str], look_up=recorded.number) -> list[str]:
    """Return what is wrong with the numbers of one passage, in words."""
    wrong = []
    for printed, record in passage.numbers.items():
        try:
            value = look_up(record)
        except CourseError as error:
            wrong.append(
                f"{printed!r} is tied to a number that does not exist: {error}"
            )
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            wrong.append(
                f"{printed!r} is tied to {record}, which is no number: {value!r}"
            )
        elif not matches(printed, value):
            wrong.append(f"the text says {printed!r}, but {record} is {value!r}")
    for printed, source in passage.stated.items():
        if source != GIVEN and source not in keys:
            wrong.append(
                f"{printed!r} names the source {source!r}, not in {BIBLIOGRAPHY.name}"
            )
    for printed, cell in passage.printed.items():
        number = re.escape(printed)
        if not re.search(rf"(?<![\d.,]){number}(?![\d%]|[.,]\d)", checked_output(cell)):
            wrong.append(f"{printed!r} is not what the checked cell {cell} prints")
    with_source = (*passage.numbers, *passage.stated, *passage.printed)
    sourced = {plain(printed) for printed in with_source}
    wrong += [
        f"{printed!r} has a source, but the text does not print it"
        for printed in with_source
        if not shows(passage.text, printed)
    ]
    wrong += [
        f"{number!r} looks like a result and names no source"
        for number in dict.fromkeys(results_in(passage.text))
        if number not in sourced
    ]
    return [f"{passage.where}: {message}" for message in wrong]


@pytest.fixture(scope="module")
def keys() -> set[str]:
    headings = re.findall(r"^### (.+)$", BIBLIOGRAPHY.read_text(), re.MULTILINE)
    return {heading.strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_number_in_a_notebooks_prose_has_a_source(path, keys):
    wrong = [c for p in notebook_passages(path) for c in complaints(p, keys)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_number_on_a_page_has_a_source(path, keys):
    if path == BIBLIOGRAPHY:  # titles and numbers of others: it *is* the source
        assert len(keys) > 5
        return
    wrong = complaints(page_passage(path), keys)
    assert not wrong, "\n".join(wrong)


# --- the rules themselves -------------------------------------------------------------

RECORD = {"probe.metrics.accuracy": 0.97864, "probe.seeds": [0], "probe.n": 1311}


def test_a_number_from_a_cell_must_be_what_its_compared_output_says():
    def told(printed, cell):
        return complaints(
            Passage("key", f"It is {printed}.", {}, {}, {printed: cell}), set()
        )

    assert told("0.56", "01_meet_the_data.refit") == []
    assert told("0.57", "01_meet_the_data.refit")
    assert told("0.5", "01_meet_the_data.refit")
    assert told("0.56", "01_meet_the_data.gone")
    assert told("18", "03_numbers_you_cannot_defend.refit")


def said(text: str, numbers=None, stated=None) -> list[str]:
    def look_up(path):
        if path not in RECORD:
            raise CourseError(f"no {path}")
        return RECORD[path]

    passage = Passage("cell 3", text, numbers or {}, stated or {})
    return complaints(passage, {"seed-tutorial"}, look_up)


@pytest.mark.parametrize(
    ("text", "numbers", "stated"),
    [
        ("It scores 97.9 %.", {"97.9 %": "probe.metrics.accuracy"}, {}),
        ("It scores 97.9\u00a0%.", {"97.9 %": "probe.metrics.accuracy"}, {}),
        (
            "It scores **0.98**, on 1,311 images.",
            {"0.98": "probe.metrics.accuracy"},
            {},
        ),
        ("On 1,311 images.", {"1,311": "probe.n"}, {}),
        ("The tutorial reports 99.16%.", {}, {"99.16 %": "seed-tutorial"}),
        ("A learning rate of 0.001.", {}, {"0.001": "given"}),
        (
            "A 95 % interval, CC BY 4.0, Python 3.11 to 3.13, `0.5`, $p < 0.5$.",
            {},
            {},
        ),
        (
            "1. First [link](https://doi.org/10.3390/app10061999)\n2. Second 3 of 4.",
            {},
            {},
        ),
    ],
)
def test_sourced_numbers_pass(text, numbers, stated):
    assert said(text, numbers, stated) == []


@pytest.mark.parametrize(
    ("text", "numbers", "stated", "complaint"),
    [
        ("It scores 97.9 %.", {}, {}, "looks like a result"),
        ("It scores .979 here.", {}, {}, "looks like a result"),
        ("About 98 % of them.", {}, {}, "looks like a result"),
        (
            "It scores 97.8 %.",
            {"97.8 %": "probe.metrics.accuracy"},
            {},
            "the text says",
        ),
        ("It scores 0.978.", {"0.978": "probe.metrics.accuracy"}, {}, "the text says"),
        (
            "It scores 10.979.",
            {"0.979": "probe.metrics.accuracy"},
            {},
            "does not print it",
        ),
        (
            "It scores 0.9791.",
            {"0.979": "probe.metrics.accuracy"},
            {},
            "does not print it",
        ),
        ("It scores 0.979.", {"0.979": "probe.metrics.gone"}, {}, "does not exist"),
        ("It scores 0.", {"0": "probe.seeds"}, {}, "is no number"),
        ("It reports 99.16 %.", {}, {"99.16 %": "someone-2020"}, "names the source"),
        ("It reports much.", {}, {"99.16 %": "seed-tutorial"}, "does not print it"),
    ],
)
def test_unsourced_or_wrong_numbers_fail(text, numbers, stated, complaint):
    found = said(text, numbers, stated)
    assert any(complaint in message for message in found), found
    assert all(message.startswith("cell 3: ") for message in found)


@pytest.mark.parametrize(
    ("printed", "value", "same"),
    [
        ("0.979", 0.97864, True),
        ("0.978", 0.97864, False),
        ("97.9 %", 0.97864, True),
        ("97.8 %", 0.97864, False),
        ("98 %", 0.97864, True),
        ("97.9 percent", 0.97864, True),
        ("1,311", 1311, True),
        ("1,311 images", 1310, False),
        (".979", 0.97864, True),
        ("-0.5", -0.52, True),
        ("many", 1, False),
    ],
)
def test_a_printed_number_must_match_at_its_printed_precision(printed, value, same):
    assert matches(printed, value) is same


@given(st.floats(0, 1), st.integers(1, 4), st.booleans())
def test_a_number_matches_its_own_printing_and_not_the_next_one(
    value, decimals, percent
):
    scale, unit = (100, " %") if percent else (1, "")
    printed = round(value * scale, decimals)
    next_one = printed + 2 * 10**-decimals
    assert matches(f"{printed:.{decimals}f}{unit}", value)
    assert not matches(f"{next_one:.{decimals}f}{unit}", value)
