"""How long a page is, and whether its head says so: words, lines of code, minutes."""

import re
from pathlib import Path

import nbformat.v4 as nb
import pytest
from notebook_form import code_cells, load, prose_cells, tags
from prose import read

from helpers.config import ROOT
from tools import reading

CHAPTERS = sorted(ROOT.glob("chapters/[0-9][0-9]_*.ipynb"))
APPENDICES = sorted(ROOT.glob("chapters/*_in_full.ipynb"))
PRIMERS = sorted(ROOT.glob("chapters/*_in_15_minutes.ipynb"))
MOST_WORDS, MOST_LINES = 4000, 250
# People read 130 to 200 words of prose a minute. Those who timed themselves on these
# chapters needed about a minute for ten lines of code.
SLOW, USUAL, LINES = 130, 165, 10
ROUNDED = 5  # heads give minutes in fives

PROMISED = re.compile(
    r"\*\*Minutes:\*\* reading (?P<all>\d+) \((?P<prose>\d+) without the code\)"
    r"|^# .* in (?P<title>\d+) minutes$",
    re.MULTILINE,
)
FOLDED = {"hide-input", "hide-cell", "remove-input"}


def words(notebook) -> int:
    """Count the words of prose: formulas, code and addresses are none."""
    return sum(
        len(re.findall(r"\S*\w\S*", read(cell.source)))
        for _, cell in prose_cells(notebook)
    )


def lines(notebook) -> int:
    """Count the lines of code to be read: no start block, import, assertion or quiz.

    Plotting counts, though pages fold it: in Lab it stands open.
    """
    return sum(
        len(cell.source.splitlines())
        for _, cell in code_cells(notebook)
        if not (
            tags(cell) & FOLDED
            or reading.is_machinery(cell)
            or reading.can_wait(cell)
            or reading.gives_answers_away(cell)
        )
    )


def faults(notebook) -> list[str]:
    """Return what is wrong with a page's length and with the minutes at its head."""
    num_words, num_lines, wrong = words(notebook), lines(notebook), []
    if num_words > MOST_WORDS:
        wrong.append(f"{num_words} words of prose, at most {MOST_WORDS}")
    if num_lines > MOST_LINES:
        wrong.append(f"{num_lines} lines of code, at most {MOST_LINES}")
    for promise in promises(notebook):
        for what, minutes in promise.groupdict().items():
            of_code = 0 if what == "prose" else num_lines / LINES
            usual = num_words / USUAL + of_code
            most = num_words / SLOW + of_code + ROUNDED
            if minutes and not usual <= int(minutes) <= most:
                wrong.append(
                    f"promises {minutes} minutes; {num_words} words and {num_lines} "
                    f"lines take {usual:.0f} to {most:.0f} ({what})"
                )
    return wrong


def promises(notebook) -> list[re.Match]:
    head = "\n".join(cell.source for _, cell in prose_cells(notebook)[:2])
    return list(PROMISED.finditer(head))


def test_no_page_is_too_long_and_none_promises_fewer_minutes_than_it_takes():
    wrong = [
        f"{path.name}: {fault}"
        for path in [*CHAPTERS, *APPENDICES, *PRIMERS]
        for fault in faults(load(path))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [*CHAPTERS, *PRIMERS], ids=lambda path: path.stem)
def test_a_head_says_once_how_long_reading_takes(path: Path):
    assert len(promises(load(path))) == 1


def test_a_page_that_is_too_long_and_promises_too_little_has_three_faults():
    head = "> **Minutes:** reading 5 (25 without the code), running 1, exercises 9."
    cells = [nb.new_markdown_cell("# 1 Long\n\n" + "word " * MOST_WORDS)]
    cells += [nb.new_markdown_cell(head)]
    cells += [nb.new_code_cell("\n".join(["x = 1"] * MOST_LINES)) for _ in range(2)]
    cells += [nb.new_code_cell("import numpy"), nb.new_code_cell("helpers.start()")]
    found = faults(nb.new_notebook(cells=cells))
    assert [fault.split()[0] for fault in found] == ["4013", "500", "promises"]
