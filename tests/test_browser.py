"""The built book in a real browser with the network cut, over http and from files.

Every page is opened once a scheme; what it asks for, prints and shows is recorded, and
the tests below look at that.
"""

import json
import re
from dataclasses import dataclass, field

import pytest
from browsing import HTML, MARKS, PAGES
from playwright.sync_api import Page

from helpers.config import ROOT

WIDTHS = (390, 1440)
SCHEMES = ("http", "file")
MODES = ("light", "dark")

pytestmark = MARKS
every_page = pytest.mark.parametrize("name", PAGES)


@dataclass
class Seen:
    """What one visit to a page showed."""

    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    raw_formulas: list[str] = field(default_factory=list)
    num_formulas: int = 0
    num_drawn: int = 0
    overflow: dict[int, list[str]] = field(default_factory=dict)
    colours: dict[str, dict[str, list[str]]] = field(default_factory=dict)


def opened(context, url: str) -> tuple[Page, Seen]:
    """Open a page, wait until it is done with itself, and note what it did."""
    seen = Seen()
    context.outside.clear()
    page = context.new_page()
    page.on("console", lambda m: m.type == "error" and seen.errors.append(m.text))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("requestfailed", lambda request: seen.missing.append(request.url))
    page.on("response", lambda r: r.status >= 400 and seen.missing.append(r.url))
    page.goto(url, wait_until="load")
    if page.locator("script", has_text="show_questions").count():
        page.wait_for_selector(".Quiz", state="attached")
    seen.outside = list(context.outside)
    return page, seen


# What sticks out to the right of the page and is not inside something that scrolls.
STICKS_OUT = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const scrolls = e => {
    for (let p = e.parentElement; p; p = p.parentElement)
      if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(p).overflowX))
        return true;
    return false;
  };
  return [...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > width + 1 && !scrolls(e))
    .map(e => e.tagName + '.' + e.className).slice(0, 5)
    .concat(['page is ' + document.documentElement.scrollWidth + ' wide']);
}"""


# Of some parts of a page: the colour of its text and of the ground it stands on.
COLOURS = """() => {
  const solid = e => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if (!/^rgba\\(.*, 0\\)$|transparent/.test(c)) return c;
    }
    return 'rgb(255, 255, 255)';
  };
  const parts = ['body', 'article p', 'article h1', 'article p a', 'article td',
    'article pre', 'article .highlight .k', 'article .highlight .c1',
    '.bd-sidebar-primary a'];
  const found = {};
  for (const part of parts) {
    const e = [...document.querySelectorAll(part)].find(x => x.textContent.trim());
    if (e) found[part] = [getComputedStyle(e).color, solid(e)];
  }
  return found;
}"""


@pytest.fixture(scope="module")
def visits(context, addresses):
    """Visit each page once a scheme, and remember."""
    remembered: dict[tuple[str, str], Seen] = {}

    def visit(scheme: str, name: str) -> Seen:
        if (scheme, name) in remembered:
            return remembered[scheme, name]
        page, seen = opened(context, f"{addresses[scheme]}/{name}.html")
        seen.num_formulas = page.locator(".math").count()
        seen.num_drawn = page.locator(".math > math").count()
        seen.raw_formulas = page.evaluate(
            "() => [...document.querySelectorAll('.math')].map(e => e.textContent)"
            r".filter(t => /\\[(\[]|\$\$/.test(t))"
        )
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(150)
            seen.overflow[width] = page.evaluate(STICKS_OUT)
        for mode in MODES:
            page.evaluate(f"() => document.documentElement.dataset.theme = '{mode}'")
            page.wait_for_timeout(150)
            seen.colours[mode] = page.evaluate(COLOURS)
        page.close()
        remembered[scheme, name] = seen
        return seen

    return visit


@pytest.mark.parametrize("scheme", SCHEMES)
@every_page
def test_a_page_loads_without_an_error(visits, scheme, name):
    seen = visits(scheme, name)
    assert seen.errors == []
    assert seen.missing == []


@pytest.mark.parametrize("scheme", SCHEMES)
@every_page
def test_a_page_asks_nothing_of_the_network(visits, scheme, name):
    assert visits(scheme, name).outside == []


def test_a_request_to_elsewhere_would_be_seen(context, addresses):
    page, _ = opened(context, f"{addresses['http']}/{PAGES[0]}.html")
    page.evaluate("() => fetch('https://example.org/x.js').catch(() => null)")
    page.close()
    assert context.outside == ["https://example.org/x.js"]


@pytest.mark.parametrize("scheme", SCHEMES)
@every_page
def test_formulas_are_drawn(visits, scheme, name):
    seen = visits(scheme, name)
    assert seen.raw_formulas == []
    assert seen.num_drawn == seen.num_formulas


@pytest.mark.parametrize("width", WIDTHS)
@every_page
def test_a_page_does_not_scroll_sideways(visits, name, width):
    assert visits("http", name).overflow[width] == []


def pages_with(text: str) -> list[str]:
    return [
        name
        for name in PAGES
        if (HTML / f"{name}.html").exists()
        and text in (HTML / f"{name}.html").read_text()
    ]


def test_some_page_has_a_formula(visits):
    assert any(visits("http", name).num_formulas for name in PAGES)


def first_quiz(context, addresses, scheme) -> Page:
    name = pages_with("show_questions")
    assert name, "no page has a quiz"
    page, _ = opened(context, f"{addresses[scheme]}/{name[0]}.html")
    return page


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_quiz_answers_a_click(context, addresses, scheme):
    page = first_quiz(context, addresses, scheme)
    quiz = page.locator(".Quiz").first
    assert quiz.locator(".Feedback").inner_text().strip() == ""
    quiz.locator(".MCButton").first.click()
    assert quiz.locator(".Feedback").inner_text().strip()
    page.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_quiz_answers_the_keyboard(context, addresses, scheme):
    page = first_quiz(context, addresses, scheme)
    quiz = page.locator(".Quiz").first
    quiz.locator(".MCButton input").first.focus()
    page.keyboard.press("Space")
    assert quiz.locator(".Feedback").inner_text().strip()
    page.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_search_finds_meningioma(context, addresses, scheme):
    page, seen = opened(context, f"{addresses[scheme]}/search.html?q=meningioma")
    page.wait_for_selector("#search-results ul.search li a")
    found = page.locator("#search-results ul.search li a").all_inner_texts()
    page.wait_for_timeout(500)
    page.close()
    assert len(found) >= 3
    assert seen.errors == [] and seen.missing == []


def luminance(colour: str) -> float:
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (int(v) / 255 for v in re.findall(r"\d+", colour)[:3])
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """The contrast of two rgb() colours as WCAG 2 defines it, 1 to 21."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", MODES)
@every_page
def test_text_can_be_read_in_light_and_dark(visits, name, mode):
    colours = visits("http", name).colours[mode]
    ground = luminance(colours["body"][1])
    assert (ground < 0.1) == (mode == "dark")
    assert "article p" in colours
    weak = {part: c for part, c in colours.items() if contrast(*c) < 4.5}
    assert weak == {}


def test_the_button_switches_to_dark_and_back(context, addresses):
    page, _ = opened(context, f"{addresses['http']}/{PAGES[0]}.html")
    modes = []
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        modes.append(page.evaluate("() => document.documentElement.dataset.mode"))
    page.close()
    assert sorted(modes) == ["auto", "dark", "light"]


def test_the_download_gives_the_notebook_of_its_page(context, addresses):
    name = next(n for n in PAGES if (ROOT / "chapters" / f"{n}.ipynb").exists())
    page, _ = opened(context, f"{addresses['http']}/{name}.html")
    link = page.locator(".dropdown-download-buttons a[href$='.ipynb']").first
    href = link.get_attribute("href")
    page.close()
    given = json.loads((HTML / name).parent.joinpath(href).read_text())
    ours = json.loads((ROOT / "chapters" / f"{name}.ipynb").read_text())
    sources = [
        ["".join(cell["source"]) for cell in notebook["cells"]]
        for notebook in (given, ours)
    ]
    assert sources[0] == sources[1]


def test_the_eight_questions_print_on_one_page(context, addresses):
    page = context.new_page()
    page.goto(f"{addresses['file']}/eight_questions.html")
    printed = page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1
    page.close()
