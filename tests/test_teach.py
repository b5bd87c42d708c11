"""The plans for teaching can be kept: minutes, breaks, steps, exercises, answers."""

import os
import re
import subprocess
import sys
from datetime import datetime

import nbformat
import pytest
from test_prose_numbers import results_in

from helpers import checks
from helpers.config import ROOT
from tools import environment, workshop

TEACH = ROOT / "chapters" / "teach"
ROUTES = (TEACH / "routes.md").read_text()
SECTIONS = re.findall(
    r"^## ([^:\n]+): (\d+) minutes\n(.*?)(?=^## |\Z)", ROUTES, re.MULTILINE | re.DOTALL
)
ROW = re.compile(r"^\| (\d+:\d\d)–(\d+:\d\d) \| (.+) \|$", re.MULTILINE)
PAUSES = ("Break", "Lunch")
RUN_SHEET = (TEACH / "workshop_90_minutes.md").read_text()
PLANNED = re.findall(
    r"^\| (\d+)–(\d+) \| (\d*) ?\| ([^|]+) \|", RUN_SHEET, re.MULTILINE
)
STEPS = [step for part in workshop.plan()["parts"] for step in part["steps"]]


def minute(clock: str) -> int:
    """Return minutes since midnight."""
    time = datetime.strptime(clock, "%H:%M")
    return 60 * time.hour + time.minute


def days(text: str) -> list[list[tuple[int, int, str]]]:
    """Return each day's rows, as (from, to, what and exercises), times in minutes."""
    tables = re.split(r"^### ", text, flags=re.MULTILINE)
    found = [
        [(minute(a), minute(b), what) for a, b, what in ROW.findall(t)] for t in tables
    ]
    return [rows for rows in found if rows]


def promised(notebook: str) -> int:
    """Return the minutes of reading and exercises at a chapter's head."""
    cells = nbformat.read(ROOT / "chapters" / notebook, as_version=4).cells
    text = "\n".join(cell.source for cell in cells[:3])
    reading = re.search(r"reading (\d+)", text)[1]
    return int(reading) + int(re.search(r"exercises (\d+)", text)[1])


def longest_sitting(rows: list[tuple[int, int, str]]) -> int:
    """Return the minutes of the longest stretch without a pause."""
    longest, since = 0, rows[0][0]
    for begin, end, what in rows:
        since = end if what.startswith(PAUSES) else since
        longest = max(longest, end - since)
        assert begin < end
    return longest


# --- longer routes --------------------------------------------------------------------


def test_there_are_routes():
    assert len(SECTIONS) == 4
    assert [len(days(text)) for _, _, text in SECTIONS] == [1, 1, 1, 2]


@pytest.mark.parametrize(("title", "total", "text"), SECTIONS)
def test_a_routes_clock_runs_on_and_lasts_what_it_says(title, total, text):
    for rows in days(text):
        ends, begins = [row[1] for row in rows[:-1]], [row[0] for row in rows[1:]]
        assert ends == begins
    lasts = sum(rows[-1][1] - rows[0][0] for rows in days(text))
    assert lasts == int(total)


@pytest.mark.parametrize(("title", "total", "text"), SECTIONS)
def test_a_route_opens_closes_and_pauses_every_75_minutes(title, total, text):
    for rows in days(text):
        assert rows[0][2].startswith("Opening")
        assert rows[-1][2].startswith("Close")
        assert longest_sitting(rows) <= 75
        assert not [w for b, e, w in rows if w.startswith("Lunch") and e - b < 45]


@pytest.mark.parametrize(("title", "total", "text"), SECTIONS)
def test_a_route_gives_a_chapter_no_more_than_it_takes_and_shows_it_once(
    title, total, text
):
    shown = []
    for begin, end, what in (row for rows in days(text) for row in rows):
        chapter = re.search(r"^\[Chapter \d+\]\(\.\./(\d\d_\w+\.ipynb)\)", what)
        if chapter:
            shown.append(chapter[1])
            assert end - begin <= promised(chapter[1]), what
            number = int(chapter[1][:2])
            named = re.findall(r"(?<!\d)(\d+)\.\d", what)
            assert {int(n) for n in named} <= {number}, what
    assert len(shown) == len(set(shown)) > 2


# --- the 90 minutes -------------------------------------------------------------------


def test_the_run_sheet_fills_90_minutes_without_a_gap_and_leaves_slack():
    times = [(int(begin), int(end)) for begin, end, _, _ in PLANNED]
    assert times[0][0] == 0
    assert times[-1][1] == 90
    assert [end for _, end in times[:-1]] == [begin for begin, _ in times[1:]]
    rows = [
        (begin, end, row[3]) for (begin, end), row in zip(times, PLANNED, strict=True)
    ]
    assert longest_sitting(rows) <= 75
    slack = [end - begin for begin, end, what in rows if what == "Slack"]
    assert sum(slack) >= 5


def test_the_run_sheet_has_every_step_of_the_learners_notebook_in_order():
    numbered = [int(step) for _, _, step, _ in PLANNED if step]
    assert numbered == [1, *(step["number"] for step in STEPS)]
    exercises = {step["number"]: step.get("exercise") for step in STEPS}
    for begin, end, step, what in PLANNED:
        named = re.search(r"Exercise (\d\.\d)", what)
        wanted = exercises.get(int(step)) if step else None
        assert (named[1] if named else None) == wanted, what
        if wanted:
            assert int(end) - int(begin) >= 5, what


def test_the_workshop_asks_for_no_chapter_that_it_does_not_show():
    shown = {step["chapter"][:2] for step in STEPS if step["chapter"]}
    asked = {step["exercise"].split(".")[0] for step in STEPS if "exercise" in step}
    assert {f"{int(number):02}" for number in asked} <= shown
    order = [step["number"] for step in STEPS if step.get("title") == "The mirror"]
    (mirror,) = [step["number"] for step in STEPS if step.get("exercise") == "6.3"]
    assert order[0] < mirror


def test_what_is_cut_first_is_in_the_plan_and_gains_what_it_takes():
    cuts = re.findall(
        r"^\| Step (\d+), [^|]+\| (\d) minutes \|", RUN_SHEET, re.MULTILINE
    )
    takes = {step: int(end) - int(begin) for begin, end, step, _ in PLANNED}
    assert len(cuts) >= 4
    for step, gains in cuts:
        assert int(gains) <= takes[step], step


def test_no_chapter_tells_a_result_before_its_first_cell():
    for path in sorted((ROOT / "chapters").glob("[0-9][0-9]_*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                break
            assert not results_in(cell.source), path.name


# --- the key --------------------------------------------------------------------------


def test_the_key_has_the_answer_and_a_reply_to_every_letter():
    key = (TEACH / "key.md").read_text()
    parts = dict(
        re.findall(r"^## Exercise (\d\.\d)[^\n]*\n(.*?)(?=^## )", key, re.M | re.S)
    )
    letters = {"1.4": "abcde", "6.3": "abcdef", "8.3": "abcdefg"}
    check = {"1.4": checks.ch1_abstract, "6.3": checks.ch6_augmentation}
    check |= {"8.3": checks.ch8_abstract}
    for number, options in letters.items():
        answer, table = parts[number].split("|", 1)
        told = set(re.findall(r"\*(\w)\*", answer))
        assert check[number](told), number
        said = "".join(re.findall(r"^\| (?!They)([^|]+)\|", "|" + table, re.M))
        assert set(re.findall(r"\*(\w)\*", said)) == set(options), number
    assert {step["exercise"] for step in STEPS if "exercise" in step} <= set(parts)


# --- before and after -----------------------------------------------------------------


def laptop_check(**env: str) -> str:
    page = (TEACH / "before.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    return run.stdout


def test_the_laptops_check_runs_and_names_what_is_missing(tmp_path):
    assert "make is missing" not in laptop_check(**os.environ)
    assert "make is missing" in laptop_check(PATH=str(tmp_path))
    page = (TEACH / "before.md").read_text()
    low, high = environment.SUPPORTED
    assert f"{low} <= sys.version_info[:2] <= {high}" in page


def test_the_handout_asks_the_eight_questions():
    page = (ROOT / "chapters" / "eight_questions.md").read_text()
    asked = re.findall(r"^\d\. \*\*(.+?)\*\*", page, re.MULTILINE)
    assert len(asked) == 8
    handout = (TEACH / "handout.md").read_text().split("I will ask")[1]
    assert re.findall(r"^\d\. (.+)$", handout, re.MULTILINE) == asked
