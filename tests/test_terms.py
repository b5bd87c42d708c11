"""Where a term of the glossary first stands in a chapter, it is explained or linked."""

import re
from pathlib import Path

import nbformat.v4 as nb
import pytest
from notebook_form import load, prose_cells

from helpers.config import ROOT

CHAPTERS = sorted(ROOT.glob("chapters/[0-9][0-9]_*.ipynb"))
GLOSSARY = (ROOT / "chapters" / "glossary.md").read_text()
# Words that people use every day, or that the chapters also use in their plain sense.
EVERYDAY = """
    abstain accuracy batch boundary card channels confidence contrast copying coverage
    features filter fit fold group head label lesion look loss mask model patient plan
    plane profile seed sequence series shortcut site slice tail test threshold
    validation window
"""
# What is no running text: exercises, code, formulas, pictures, headings, the box.
ASIDE = re.compile(
    r"^### Exercise .*?(?=^#+ |\Z)"
    r"|```.*?```|`[^`\n]*`"
    r"|\$\$.*?\$\$|\$[^$\n]+\$"
    r"|!\[[^\]]*\]\([^)]*\)|^[#>][^\n]*",
    re.DOTALL | re.MULTILINE,
)
TOLD = re.compile(r"\*\*[^*\n]+\*\*|\*[^*\n]+\*|\[[^\]\n]+\]\([^)\n]+\)")


def terms() -> list[list[str]]:
    """Return the glossary's terms, each with its other names: `recall, sensitivity`."""
    entries = re.findall(r"^\| ([^|]+) \| .+ \|$", GLOSSARY, re.MULTILINE)[1:]
    names = [re.findall(r"\w[^,()`]*(?=[,()]|$)", entry) for entry in entries]
    return [[n.strip() for n in some if n not in EVERYDAY.split()] for some in names]


def first(names: list[str], prose: str) -> re.Match | None:
    """Find where one of a term's names first stands; capitals count in `SVM`."""
    any_of = "|".join(
        rf"(?-i:{re.escape(name)})" if name.isupper() else re.escape(name)
        for name in names
    )
    return (
        re.search(rf"(?i)(?<![\w-])(?:{any_of})s?(?![\w-])", prose) if names else None
    )


def unexplained(notebook) -> list[str]:
    """Return the terms that first stand neither emphasised nor inside a link."""
    prose = "\n\n".join(cell.source for _, cell in prose_cells(notebook))
    prose = ASIDE.sub(lambda found: " " * len(found[0]), prose)
    told = [found.span() for found in TOLD.finditer(prose)]
    wrong = []
    for names in terms():
        found = first(names, prose)
        if found and not any(a <= found.start() < b for a, b in told):
            around = prose[max(0, found.start() - 30) : found.end() + 20]
            wrong.append(f"{found[0]!r} in “{' '.join(around.split())}”")
    return wrong


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_term_is_explained_or_linked_where_it_first_stands(path: Path):
    wrong = unexplained(load(path))
    assert not wrong, "\n".join([f"{path.name}, to emphasise or to link:", *wrong])


def test_only_the_first_place_outside_code_and_headings_counts():
    def told(text: str) -> list[str]:
        return unexplained(nb.new_notebook(cells=[nb.new_markdown_cell(text)]))

    assert not told(
        "# Macro-F1\n\n> macro-F1\n\n`macro-F1`, [macro-F1](g.md), macro-F1"
    )
    assert not told("It is the *macro-F1*.\n\n### Exercise 1.1\n\nIts log loss?")
    assert len(told("Its macro-F1 and log loss; later *macro-F1*.")) == 2
