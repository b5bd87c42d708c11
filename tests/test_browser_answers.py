"""Exercises that are answered on the page, in a real browser, without a kernel."""

import json
import random

import pytest
from browsing import HTML, MARKS, PAGES
from bs4 import BeautifulSoup
from test_answers import looked_up

from tools import answers

pytestmark = MARKS
SIZE = {"phone": (390, 844), "desktop": (1440, 900)}


def forms_of(name: str) -> list[dict]:
    soup = BeautifulSoup((HTML / f"{name}.html").read_text(), "html.parser")
    return [json.loads(tag["data-about"]) for tag in soup.select(".answer-form")]


def test_every_form_stands_on_a_page():
    shown = [about["name"] for name in PAGES for about in forms_of(name)]
    assert sorted(shown) == sorted(answers.all_forms())


def fill(form, fields, places) -> None:
    """Fill in a form as a reader would, from the places of its fields' values."""
    for number, (field, place) in enumerate(zip(fields, places, strict=True)):
        control = form.locator("input, select").nth(number)
        value = field.values()[place]
        if field.kind == "tick":
            control.set_checked(value)
        elif field.kind == "choice":
            control.select_option(label=value)
        else:
            control.fill(f"{value:.6f}")


@pytest.mark.parametrize("name", [n for n in PAGES if (HTML / f"{n}.html").exists()])
def test_a_page_replies_as_the_check_does(context, addresses, name):
    """On the phone and on the desktop, over http and from the file."""
    abouts = forms_of(name)
    if not abouts:
        return
    rng = random.Random(name)
    for scheme, (width, height) in zip(("http", "file"), SIZE.values(), strict=True):
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.goto(f"{addresses[scheme]}/{name}.html")
        for number, about in enumerate(abouts):
            form = page.locator(".answer-form").nth(number)
            form.locator("button").click()
            assert form.locator(".answer-reply").inner_text().startswith("Not yet: ")
            fields = answers.all_forms()[about["name"]].fields
            sizes = [len(field.values()) for field in fields]
            for _ in range(4):
                places = [rng.randrange(size) for size in sizes]
                if all(f.kind == "tick" for f in fields) and not any(places):
                    continue
                fill(form, fields, places)
                form.locator("button").press("Enter")
                said = form.locator(".answer-reply").inner_text()
                assert said == looked_up(about, places, sizes), about["name"]
        page.close()


def test_what_is_no_number_is_said(context, addresses):
    page = context.new_page()
    page.goto(f"{addresses['file']}/01_meet_the_data.html")
    form = page.locator(".answer-form:has(input[type=text])").first
    for typed, told in {
        "nan": "a number is asked for",
        "a third": "a number is asked for",
        "0,31": "Right",
        "31": "share between 0 and 1",
    }.items():
        form.locator("input").fill(typed)
        form.locator("button").click()
        assert told in form.locator(".answer-reply").inner_text()
    page.close()


def test_the_solution_lies_folded_below_its_exercise(context, addresses):
    page = context.new_page()
    page.goto(f"{addresses['file']}/10_calibrate_and_abstain.html")
    folds = page.locator("details.solution")
    assert folds.count() == 4
    first = folds.first
    assert first.locator("summary").inner_text() == "Solution to exercise 10.1"
    assert not first.locator("p").first.is_visible()
    first.locator("summary").click()
    assert first.locator("p").first.is_visible()
    assert "bins" in first.inner_text()
    page.close()
