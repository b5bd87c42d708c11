"""Chapter 14's checks accept what is right and name what is wrong."""

import csv

from told import right_and_wrong

from helpers import recorded
from helpers.audit import manifest
from helpers.checks import chapter14 as checks

HOLES = {"chosen on", "looks", "macro-F1", "over the linear probe", "not shown"}


def counts() -> dict[str, int]:
    """Count test images by what they share with Training, row by row of the file."""
    with manifest.PATH.open(newline="") as file:
        rows = {row["filename"]: row for row in csv.DictReader(file)}
    learned = [r for r in rows.values() if r["split"] == "Training" and r["group"]]
    tested = [rows[name] for name in recorded.load("seed-recipe").filenames]

    def strangers(*names: str) -> int:
        met = {(name, row[name]) for row in learned for name in names if row[name]}
        return sum(all((n, row[n]) not in met for n in names) for row in tested)

    new = strangers("group", "series", "patient")
    return {
        "new": new,
        "known": len(tested) - new,
        "no slice": strangers("group"),
        "no series": strangers("group", "series"),
        "no patient": strangers("patient"),
    }


COUNTS = counts()


def questions(**changes):
    right = {1: 1, 2: 6, 4: 4, 7: 2, 8: 3, 10: 5}
    return right | {int(key[1:]): value for key, value in changes.items()}


RIGHT = [
    (checks.ch14_questions, questions()),
    (checks.ch14_questions, questions(s10=7)),
    (checks.ch14_new, COUNTS["new"]),
    (checks.ch14_review, {"a", "c", "d", "f", "h"}),
    (checks.ch14_review, "HFDCA"),
    (checks.ch14_card, HOLES),
    (checks.ch14_card, sorted(HOLES)),
]

WRONG = [
    (checks.ch14_questions, [1, 4, 2], "dictionary"),
    (checks.ch14_questions, questions(s1=9), "numbered 1 to 8"),
    (checks.ch14_questions, questions(s1=2), "who was in the training"),
    (checks.ch14_questions, questions(s4=7), "a margin over what"),
    (checks.ch14_questions, questions(s7=1), "who chose"),
    (checks.ch14_questions, questions(s8=7), "negative class"),
    (checks.ch14_questions, questions(s2=5), "which class pays"),
    (checks.ch14_questions, questions(s10=1), "how far the number would move"),
    (checks.ch14_new, COUNTS["known"], "Take the others"),
    (checks.ch14_new, COUNTS["no slice"], "a series or a patient may be"),
    (checks.ch14_new, COUNTS["no series"], "share a known patient"),
    (checks.ch14_new, COUNTS["no patient"], "none is shared"),
    (checks.ch14_new, 0, "none of the three"),
    (checks.ch14_review, {"z"}, "choose among"),
    (checks.ch14_review, {"a", "b"}, "(b) does not belong there: worthless"),
    (
        checks.ch14_review,
        {"e"},
        "(e) does not belong there: it takes",
    ),
    (
        checks.ch14_review,
        {"a", "c", "g"},
        "(g) does not belong there: you",
    ),
    (checks.ch14_review, {"a", "c", "d"}, "2 more to find"),
    (checks.ch14_card, "model", "(model) may stay"),
    (checks.ch14_card, {"colour"}, "choose among augmentation, chosen on"),
    (checks.ch14_card, HOLES | {"augmentation"}, "flips are fine"),
    (checks.ch14_card, HOLES | {"seeds"}, "(seeds) may stay"),
    (checks.ch14_card, HOLES - {"looks"}, "how many looks is that"),
]


(
    test_a_right_answer_is_told_why,
    test_a_wrong_answer_gets_a_hint_that_names_the_mistake,
) = right_and_wrong(RIGHT, WRONG)


def test_the_counts_that_hints_go_by_all_differ():
    assert len(set(COUNTS.values())) == len(COUNTS)


def test_every_entry_of_the_chapters_card_is_judged():
    import ast
    import re

    import nbformat

    from helpers.config import ROOT

    path = ROOT / "chapters" / "14_review_and_capstone.ipynb"
    text = "\n".join(c.source for c in nbformat.read(path, 4).cells)
    shown = ast.literal_eval(
        re.search(r"```python\ncard = (\{.*?\})\n```", text, re.S)[1]
    )
    assert set(shown) == set(checks.CARD) > checks.HOLES
