"""Quiz and slider answer clicks and keys in a bare page: no kernel, no network."""

import re
import shutil

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pytest

from helpers import widgets
from helpers.config import CourseError

QUESTIONS = [
    widgets.choice(
        "What is $x^2$ for $x = 2$?",
        ("4", "Two times two."),
        ("2 </b>", "That is $x$."),
    ),
    {
        "question": "How many classes?",
        "type": "numeric",
        "answers": [
            {"type": "value", "value": 4, "correct": True, "feedback": "Four."},
            {"type": "default", "feedback": "Count again."},
        ],
    },
]

# What a page may hold when the quiz starts: nothing, settings only, or MathJax itself.
MATHJAX = {
    "no MathJax": "",
    "settings of MathJax that never comes": "<script>MathJax = {options: {}}</script>",
    "MathJax that is late": """<script>
        window.typeset = 0; MathJax = {};
        setTimeout(() => { MathJax = {version: "3.2.2", typesetPromise:
          async () => { window.typeset += 1; },
          startup: {promise: Promise.resolve()}} }, 1200)
        </script>""",
}


def draw(value):
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.plot([0, value])
    return figure


def slider(label, values):
    return widgets.slider_frames(
        draw, values, label, lambda v: f"a line up to {v}"
    ).data


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on PATH: quiz and slider were not tried in a browser")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        options = {"executable_path": chromium, "args": ["--no-sandbox"]}
        started = playwright.chromium.launch(**options)
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """Return a function that opens a page; it fails the test on errors and requests."""
    troubles, pages = [], []

    def open_one(body, head=""):
        page = browser.new_page()
        pages.append(page)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "console",
            lambda line: troubles.append(line.text) if line.type == "error" else None,
        )
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("data:", "about:"))
                else troubles.append(request.url)
            ),
        )
        page.set_content(f"<!doctype html><title>t</title>{head}<body>{body}")
        page.wait_for_selector("[role=status]", state="attached")
        return page

    yield open_one
    for page in pages:
        page.close()
    assert troubles == []


@pytest.mark.browser
@pytest.mark.parametrize("state", MATHJAX)
def test_a_quiz_answers_keys_and_clicks_whatever_mathjax_does(open_page, state):
    page = open_page(widgets.quiz(QUESTIONS).data, MATHJAX[state])
    page.wait_for_timeout(2500)
    feedback = page.get_by_role("status").first
    page.get_by_text("4", exact=True).click()
    assert feedback.inner_text() == "Two times two."
    page.get_by_role("radio").first.focus()
    page.keyboard.press("Space")
    before = feedback.inner_text()
    page.keyboard.press("ArrowDown")
    assert feedback.inner_text() == before  # arrows move, and answer nothing
    page.keyboard.press("Enter")
    assert {before[:3], feedback.inner_text()[:3]} == {"Two", "Tha"}
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    assert feedback.inner_text() == before
    page.get_by_role("textbox").focus()
    page.keyboard.type("4")
    page.keyboard.press("Enter")
    assert page.get_by_role("status").nth(1).inner_text() == "Four."
    if state == "MathJax that is late":
        assert page.evaluate("window.typeset") > 0


@pytest.mark.browser
def test_quiz_and_sliders_on_one_page_do_not_meet(open_page):
    quizzes = "".join(widgets.quiz(QUESTIONS[:1]).data for _ in range(2))
    sliders = slider("first", [0.1, 0.5, 0.9]) + slider("second", [0.2, 0.4])
    page = open_page(quizzes + sliders + "<p id=last>")
    assert page.get_by_role("radiogroup").count() == 2
    first, second = page.locator("figure").all()
    page.get_by_role("slider", name="first").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    seen = [figure.locator("img:visible").all() for figure in (first, second)]
    assert [len(images) for images in seen] == [1, 1]
    assert seen[0][0].get_attribute("alt") == "a line up to 0.9"
    assert seen[1][0].get_attribute("alt") == "a line up to 0.2"
    assert first.locator("output").inner_text() == "0.9"
    moved = page.get_by_role("slider", name="first")
    assert moved.get_attribute("aria-valuetext") == "0.9"
    assert page.evaluate("document.querySelector('#last').parentElement.tagName") == (
        "BODY"
    )


def test_a_quiz_closes_every_element_and_ends_no_script_early():
    page = widgets.quiz(QUESTIONS).data
    for tag in ("div", "style", "script"):
        assert len(re.findall(rf"<{tag}\b", page)) == page.count(f"</{tag}>") > 0
    assert "2 <\\/b>" in page


def test_a_choice_has_one_right_answer():
    answers = widgets.choice("Which?", ("a", "yes"), ("b", "no"), ("c", "no"))[
        "answers"
    ]
    assert [answer["correct"] for answer in answers] == [True, False, False]
    assert [answer["feedback"] for answer in answers] == ["yes", "no", "no"]


def test_two_quizzes_have_different_names():
    names = [
        re.search(r'<div id="(\w+)"', widgets.quiz(QUESTIONS).data)[1] for _ in range(2)
    ]
    assert names[0] != names[1]


def test_a_slider_holds_every_frame_and_shows_only_the_start():
    page = widgets.slider_frames(
        draw, [0.1, 0.5, 0.9], "cut <b>", lambda v: f'at "{v}"', start=1
    ).data
    assert page.count("data:image/png;base64,") == 3
    assert re.findall(r'data-value="([\d.]+)" style="display: (\w+)', page) == [
        ("0.1", "none"),
        ("0.5", "block"),
        ("0.9", "none"),
    ]
    assert "cut &lt;b&gt;" in page
    assert 'alt="at &quot;0.5&quot;"' in page
    assert plt.get_fignums() == []


def sentence(boundary, pixels):
    return f"{boundary} & {pixels} < done"


EXPLORED = {"boundary": ("pool3", "pool4"), "pixels": (64, 96, 128)}


def test_what_is_explored_stands_in_print_as_it_starts():
    page = widgets.explore(
        sentence, {"boundary": "pool4", "pixels": 96}, **EXPLORED
    ).data
    assert ">pool4 &amp; 96 &lt; done</output>" in page
    assert page.count('type="radio"') == 2 and page.count('type="range"') == 1
    with pytest.raises(CourseError, match="4000000 texts are too many"):
        widgets.explore(
            sentence,
            {"boundary": 0, "pixels": 0},
            boundary=range(2000),
            pixels=range(2000),
        )


@pytest.mark.browser
def test_what_is_explored_follows_buttons_and_slider(open_page):
    start = {"boundary": "pool4", "pixels": 96}
    plain = widgets.explore(sentence, start, **EXPLORED).data
    asked = widgets.explore(sentence, start, "How many?", **EXPLORED).data
    page = open_page(plain + asked)
    first, second = page.locator("figure").all()
    first.get_by_role("radio", name="pool3").check()
    assert first.locator("output").inner_text() == "pool3 & 96 < done"
    first.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    assert first.locator("output").inner_text() == "pool3 & 128 < done"
    assert first.get_by_role("slider").get_attribute("aria-valuetext") == "128"
    assert not second.locator("output").is_visible()
    second.get_by_role("button", name="Show").click()
    assert second.locator("output").inner_text() == "pool4 & 96 < done"
