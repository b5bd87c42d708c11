"""What a page replies to an exercise, asked of the notebook's own check.

For each form (see `helpers.checks.forms`) the build asks the check about everything the
form can hold, and writes the replies into the page as a table. So page and notebook
cannot differ, and the page needs no rule of its own but how to look up a reply.
"""

import contextlib
import html
import io
import itertools
import json
import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from helpers import checks
from helpers.checks import forms
from helpers.checks.forms import Field, Form

LARGEST = 20_000  # replies; a form that can hold more is asked field by field
RIGHT = "Right: "


@cache
def all_forms() -> dict[str, Form]:
    """Return every form by the name of its check."""
    return forms._forms()


def reply(check: Callable, form: Form, values: Iterable[Any]) -> str:
    """Return what a check says of a form that holds some values, in its own words."""
    held = dict(zip((f.key for f in form.fields), values, strict=True))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        check(form.make(held))
    return said.getvalue().strip()


def table(name: str) -> dict:
    """Return what the page of exercise `name` needs: fields, and a reply to each state.

    "replies": the sentences. "states": runs of [how many, which reply] over all values
    of all fields, the last field running fastest. Of a form that can hold too much,
    "each" has such runs for every field instead: the first field whose reply is not the
    right one decides.
    """
    form, check = all_forms()[name], getattr(checks, name)
    ranges = [field.values() for field in form.fields]
    replies: dict[str, int] = {}

    def number(sentence: str) -> int:
        return replies.setdefault(sentence, len(replies))

    found: dict = {"name": name, "fields": [_field(field) for field in form.fields]}
    if math.prod(map(len, ranges)) <= LARGEST:
        said = (number(reply(check, form, v)) for v in itertools.product(*ranges))
        found["states"] = _runs(said)
    else:
        right = _right(check, form, ranges)
        found["each"] = []
        for place, values in enumerate(ranges):
            tried = [(*right[:place], v, *right[place + 1 :]) for v in values]
            found["each"].append(_runs(number(reply(check, form, t)) for t in tried))
    found["replies"] = list(replies)
    return found


def _field(field: Field) -> dict:
    about = {"key": field.key, "kind": field.kind}
    if field.options:
        about["options"] = list(field.options)
    if field.grid:
        about["grid"] = list(field.grid)
    if field.points:
        about["points"] = list(field.points)
    return about


def _right(check: Callable, form: Form, ranges: list[list]) -> list:
    """Return the values that the check calls right, found field by field.

    The replies to wrong values tell how far they are right: the field that a reply
    speaks of moves on when its value is right.
    """
    right = [values[0] for values in ranges]
    for place, values in enumerate(ranges):
        said = [
            reply(check, form, (*right[:place], v, *right[place + 1 :])) for v in values
        ]
        right[place] = values[min(range(len(said)), key=lambda i: said.count(said[i]))]
    return right


def _runs(numbers: Iterable[int]) -> list[list[int]]:
    return [[len(list(run)), value] for value, run in itertools.groupby(numbers)]


def form_html(name: str) -> str:
    """Return an exercise's form as HTML, with its table; course.js does the rest."""
    about = table(name)
    rows = []
    for field in about["fields"]:
        key = html.escape(field["key"])
        label = "your answer" if key == "answer" else key
        if field["kind"] == "tick":
            box = f'<input type="checkbox" name="{key}"> {label}'
        elif field["kind"] == "choice":
            words = "".join(
                f"<option>{html.escape(w)}</option>" for w in field["options"]
            )
            words = f'<option value=""></option>{words}'
            box = f'{label} <select name="{key}">{words}</select>'
        else:
            box = (
                f'{label} <input type="text" inputmode="decimal" autocomplete="off" '
                f'size="9" name="{key}">'
            )
        rows.append(f"<label>{box}</label>")
    data = html.escape(json.dumps(about, ensure_ascii=False))
    return (
        f'<form class="answer-form" data-about="{data}"><fieldset>'
        f"<legend>Answer here (no code)</legend>{''.join(rows)}"
        '<button type="submit">Check</button></fieldset>'
        '<p class="answer-reply" role="status"></p></form>'
    )
