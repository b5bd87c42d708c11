"""Which exercises a page can take without a kernel, and what one fills in there.

A form has fields, and says how an answer for the notebook's check is made of what they
hold. What a page replies is not written twice: the build asks the check itself about
everything that a form can hold (see `tools.answers`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import chapter03, chapter05, chapter07, chapter09, chapter14


@dataclass(frozen=True)
class Field:
    """One thing to fill in: a box to tick, a word to choose, or a number.

    `options`: the words. `grid`: (lowest, highest, decimals) of a number. `points`: the
    numbers that the check tells apart, where a grid would be too large; a number within
    2 % of one counts as it, and any other as `other`.
    """

    key: str
    options: tuple[str, ...] = ()
    grid: tuple[float, float, int] | None = None
    points: tuple[float, ...] = ()
    other: float = 1.0

    @property
    def kind(self) -> str:
        if self.options:
            return "choice"
        return "grid" if self.grid else "points" if self.points else "tick"

    def values(self) -> list[Any]:
        """Return what the field may hold; of a grid also a number below and above."""
        if self.grid:
            low, high, decimals = self.grid
            steps = round((high - low) * 10**decimals)
            inside = [round(low + i / 10**decimals, decimals) for i in range(steps + 1)]
            return [*inside, low - 100 * (high - low), high + 100 * (high - low)]
        if self.points:
            return [*self.points, self.other]
        return list(self.options) or [False, True]


@dataclass(frozen=True)
class Form:
    """The fields of one exercise, and how its answer is made of their values."""

    fields: tuple[Field, ...]
    make: Callable[[dict[str, Any]], Any]


def _ticked(values: dict[str, bool]) -> set[str]:
    return {key for key, ticked in values.items() if ticked}


def choose(keys: str | tuple[str, ...]) -> Form:
    """Return a form of boxes to tick, whose answer is the set of those ticked."""
    return Form(tuple(Field(key) for key in keys), _ticked)


def match(keys: tuple | str, options: tuple[str, ...]) -> Form:
    """Return a form that gives each key one of the options, as a dictionary."""

    def answer(values: dict[str, str]) -> dict:
        return {key: values[str(key)] for key in keys}

    return Form(tuple(Field(str(key), options) for key in keys), answer)


def one(**field) -> Form:
    """Return a form of a single field, whose value is the answer."""
    return Form((Field("answer", **field),), lambda values: values["answer"])


def _whole(values: dict) -> int:
    return int(values["answer"])


SIZES = ("6", "15", "36", "90")  # of patients, the columns of chapter 5's table
SHARE = (0, 1, 3)  # 0 to 1, three decimals


def _curve(values: dict) -> dict:
    sizes = {word: int(word) for word in SIZES} | {"no size": None}
    return {
        "random needs": sizes[values["random needs"]],
        "tuning first helps": sizes[values["tuning first helps"]],
        "more patients": values["more patients"],
    }


def _questions(values: dict) -> dict:
    return {int(key): int(word) for key, word in values.items()}


def _forms() -> dict[str, Form]:
    """Return every form by the name of its check."""
    rungs, leaks = chapter03.RUNGS[1:], tuple(chapter09.LEAK_HINTS)
    counts = tuple(chapter14._new_to_training().values())
    controls = ("mean of all lesions", "edge filter", "shuffled weights")
    stress_controls = (
        *("severity 0", "same patch elsewhere"),
        *("frame of its own class", "same plan without it"),
    )
    augment = ("fine", "leaks", "false anatomy", "does nothing")
    advice = tuple(sorted(chapter07.CURVES.values()))
    known = (
        *(chapter07.BEHIND_POOL3, chapter07.BEHIND_POOL4, chapter07.ALL, 0),
        chapter07.BEHIND_POOL4 + 4100,
        chapter07.BEHIND_POOL3 + 4100,
        chapter07.BEHIND_POOL3 + chapter07.NORMS_BEHIND_POOL3,
        chapter07.ALL - chapter07.BEHIND_POOL3,
    )
    rates = (500 / 3, 0.5 / 3, 750.0, 250.0, 0.25, 500.0, 0.5)
    names = ("one after the other", "prefetch", "cache")
    return {
        "ch1_sequence": match((1, 2, 3), ("T2", "FLAIR", "T1 with contrast")),
        "ch1_majority": one(grid=SHARE),
        "ch1_abstract": choose("abcde"),
        "ch2_threshold": one(grid=SHARE),
        "ch2_follows": choose("abcdef"),
        "ch3_rung": match(tuple(chapter03.PREDICTED), rungs),
        "ch3_missing": match((1, 2, 3, 4), tuple("ABCDEF")),
        "ch4_follows": choose("abcdef"),
        "ch5_curve": Form(
            (
                Field("random needs", (*SIZES, "no size")),
                Field("tuning first helps", (*SIZES, "no size")),
                Field("more patients", grid=(-1, 1, 2)),
            ),
            _curve,
        ),
        "ch5_augment": match(tuple(chapter05.AUGMENT), augment),
        "ch6_augmentation": choose("abcdef"),
        "ch6_rate": Form(tuple(Field(name, points=rates) for name in names), dict),
        "ch7_boundary": Form((Field("answer", points=known),), _whole),
        "ch7_curves": match("ABCD", advice),
        "ch8_counts": Form(
            (
                Field("sensitivity", grid=(0, 1, 2)),
                Field("specificity", grid=(0, 1, 2)),
            ),
            dict,
        ),
        "ch8_abstract": choose("abcdefg"),
        "ch8_order": Form(
            tuple(
                Field(place, tuple("ABCD")) for place in ("1st", "2nd", "3rd", "4th")
            ),
            lambda values: "".join(values.values()),
        ),
        "ch9_leaks": choose(leaks),
        "ch9_boundary": one(options=tuple(chapter09.BEHIND)),
        "ch10_bins": Form(
            (Field("error", grid=SHARE), Field("bin", tuple("abcd"))), dict
        ),
        "ch10_slices": match("abcd", ("fine", "leaks", "misleads")),
        "ch10_follows": choose("abcdefg"),
        "ch11_follows": choose("abcdef"),
        "ch11_controls": match("abc", controls),
        "ch12_curves": match("abcd", tuple("ABC")),
        "ch12_controls": match("abcd", stress_controls),
        "ch12_follows": choose("abcdef"),
        "ch13_card": choose("abcdefgh"),
        "ch14_questions": Form(
            tuple(
                Field(str(key), tuple(map(str, range(1, 9))))
                for key in chapter14.QUESTIONS
            ),
            _questions,
        ),
        "ch14_new": Form((Field("answer", points=counts, other=1),), _whole),
        "ch14_review": choose("abcdefgh"),
        "ch14_card": choose(tuple(chapter14.CARD)),
    }
