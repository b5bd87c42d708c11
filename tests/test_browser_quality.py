"""How a page is to use: for everybody (axe), light, with figures that can be read.

Every page is opened twice, as on a phone in dark mode and as on a desktop in light
mode; one test a page lists all that is wrong with it.
"""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import MARKS, PAGES

pytestmark = MARKS
WAYS = ((390, "dark"), (1440, "light"))
GRAVE = {"serious", "critical"}
HEAVIEST = {"index": 1_000_000}  # bytes, decoded, without figures
HEAVIEST_CHAPTER = 3_000_000

# Figures that are narrower than their lettering allows.
SMALL = """() => [...document.querySelectorAll('article .figure img')].filter(i => {
  const least = parseFloat(getComputedStyle(i).getPropertyValue('--legible'));
  return least && i.getBoundingClientRect().width < least - 1;
}).map(i => i.alt.slice(0, 60))"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_for_everybody_light_and_legible(context, addresses, name):
    faults, size = [], 0
    page = context.new_page()

    def weigh(response):
        nonlocal size
        if response.request.resource_type not in ("image", "media"):
            size += len(response.body())

    page.on("response", weigh)
    for width, mode in WAYS:
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"{addresses['http']}/{name}.html", wait_until="load")
        page.evaluate(f"() => document.documentElement.dataset.theme = '{mode}'")
        page.wait_for_timeout(300)
        page.remove_listener("response", weigh) if (width, mode) == WAYS[0] else None
        for found in Axe().run(page).response["violations"]:
            if found["impact"] in GRAVE:
                where = [node["html"][:100] for node in found["nodes"][:3]]
                faults.append((width, mode, found["id"], len(found["nodes"]), where))
        faults += [
            (width, "lettering is too small", alt) for alt in page.evaluate(SMALL)
        ]
    page.close()
    if size > HEAVIEST.get(name, HEAVIEST_CHAPTER):
        faults.append(("weight", size))
    assert faults == []


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("how do I use my own images", "setup.html#your-own-images"),
        ("my GPU", "setup.html#your-gpu"),
        ("Grad-CAM", "11_explain.html#grad-cam-written-out"),
        ("out of memory", "07_fine_tune.html#when-the-memory-is-full"),
    ],
)
def test_search_answers_a_question_with_the_place_that_answers_it(
    context, addresses, query, first
):
    page = context.new_page()
    page.goto(f"{addresses['http']}/search.html?q={query.replace(' ', '+')}")
    page.wait_for_selector("#search-results ul.search li a")
    page.wait_for_timeout(500)
    link = page.locator("#search-results ul.search li a").first.get_attribute("href")
    page.close()
    assert re.sub(r"\?[^#]*", "", link) == first
