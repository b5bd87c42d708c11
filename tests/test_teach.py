"""The plans for teaching add up, and give a chapter no more time than it says."""

import re

import nbformat
import pytest

from helpers.config import ROOT

ROUTES = (ROOT / "chapters" / "teach" / "routes.md").read_text()
SECTIONS = re.findall(
    r"^## ([^:\n]+): (\d+) minutes\n(.*?)(?=^## |\Z)", ROUTES, re.MULTILINE | re.DOTALL
)


def rows(text: str) -> list[tuple[int, str]]:
    """Return (minutes, what and exercises) of each row of a plan."""
    found = re.findall(r"^\| (\d+) \| (.+) \|$", text, re.MULTILINE)
    return [(int(minutes), what) for minutes, what in found]


def promised(notebook: str) -> int:
    """Return the minutes of reading and exercises at a chapter's head."""
    cells = nbformat.read(ROOT / "chapters" / notebook, as_version=4).cells
    text = "\n".join(cell.source for cell in cells[:3])
    reading = re.search(r"reading (\d+)", text)[1]
    return int(reading) + int(re.search(r"exercises (\d+)", text)[1])


def test_there_are_routes():
    assert len(SECTIONS) == 4


@pytest.mark.parametrize(("title", "total", "text"), SECTIONS)
def test_the_minutes_of_a_route_add_up_to_what_it_says(title, total, text):
    assert sum(minutes for minutes, _ in rows(text)) == int(total)


@pytest.mark.parametrize(("title", "total", "text"), SECTIONS)
def test_a_route_gives_a_chapter_no_more_than_it_takes_and_shows_it_once(
    title, total, text
):
    shown = []
    for minutes, what in rows(text):
        chapter = re.search(r"^\[Chapter \d+\]\(\.\./(\d\d_\w+\.ipynb)\)", what)
        if chapter:
            shown.append(chapter[1])
            assert minutes <= promised(chapter[1]), what
            number = int(chapter[1][:2])
            named = re.findall(r"(?<!\d)(\d+)\.\d", what)
            assert {int(n) for n in named} <= {number}, what
    assert len(shown) == len(set(shown)) > 2
