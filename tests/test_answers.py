"""What a page replies is what the notebook's check says, for whatever is filled in."""

import random

import pytest

from helpers import checks
from tools import answers

NAMES = list(answers.all_forms())


def looked_up(about: dict, places: list[int], sizes: list[int]) -> str:
    """Return the reply at a place of each field, as course.js looks it up."""

    def at(runs, place):
        for count, number in runs:
            if place < count:
                return number
            place -= count
        raise AssertionError("the table is too short")

    if "each" in about:
        said = [at(runs, p) for runs, p in zip(about["each"], places, strict=True)]
        sentences = [about["replies"][number] for number in said]
        return next((s for s in sentences if not s.startswith("Right")), sentences[0])
    place = 0
    for one, size in zip(places, sizes, strict=True):
        place = place * size + one
    return about["replies"][at(about["states"], place)]


def tried(about: dict, sizes: list[int]):
    """Yield places of the fields: 150 by chance, and where up to 60 replies begin."""
    rng = random.Random(0)
    for _ in range(150):
        yield [rng.randrange(size) for size in sizes]
    start = 0
    for count, _ in about.get("states", [])[:60]:
        place, places = start, []
        for size in reversed(sizes):
            place, one = divmod(place, size)
            places.append(one)
        yield places[::-1]
        start += count


@pytest.mark.parametrize("name", NAMES)
def test_the_page_replies_in_the_words_of_the_check(name):
    form, about = answers.all_forms()[name], answers.table(name)
    ranges = [field.values() for field in form.fields]
    sizes, seen = [len(values) for values in ranges], set()
    for places in tried(about, sizes):
        values = [r[p] for r, p in zip(ranges, places, strict=True)]
        told = looked_up(about, places, sizes)
        assert told == answers.reply(getattr(checks, name), form, values)
        seen.add(told)
    assert len(seen) > 1


@pytest.mark.parametrize("name", NAMES)
def test_one_answer_is_right_and_every_other_gets_a_hint(name):
    about = answers.table(name)
    right = [text for text in about["replies"] if text.startswith("Right: ")]
    assert len(right) == 1
    wrong = [text for text in about["replies"] if text not in right]
    assert wrong and all(text.startswith("Not quite: ") for text in wrong)
    assert not [text for text in wrong if "Python says" in text]


def test_a_form_holds_its_fields_and_the_table_escaped():
    page = answers.form_html("ch10_bins")
    assert page.count("<label>") == 2 and page.count("<option>") == 4
    assert 'name="error"' in page and '<select name="bin">' in page
    assert "&quot;replies&quot;" in page and 'role="status"' in page
