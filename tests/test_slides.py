"""The slides and paper sheets are made of the book, and need no network."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import MARKS

from helpers.config import ROOT
from tools import slides, workshop

TOLD = slides.slides((ROOT / "kit" / "slides.md").read_text())
FIGURE = re.compile(r"^figure: (\w+)\.([\w-]+)$", re.MULTILINE)
SHOWS_IMAGES = ("gallery", "twins-figure", "augmented-figure", "planes")


def on_paper(page, address: str, **options) -> int:
    """Return how many sheets a page takes when it is printed."""
    page.goto(address)
    page.wait_for_load_state("networkidle")
    return len(re.findall(rb"/Type\s*/Page\b", page.pdf(**options)))


# --- what is written ------------------------------------------------------------------


@pytest.mark.parametrize("name", slides.DECKS)
def test_a_deck_has_12_to_20_slides_with_notes(name):
    chosen = [slide for slide in TOLD if name in slide.decks]
    assert 12 <= len(chosen) <= 20
    assert all(len(slide.notes.split()) > 10 for slide in chosen)


def test_a_slide_without_notes_is_named():
    with pytest.raises(slides.SlidesError, match="'Alone'"):
        slides.slides("## Alone\n<!-- decks: 90 -->\n\nA body.\n")


def test_slides_of_the_90_minutes_follow_the_steps_in_order():
    chosen = [slide for slide in TOLD if "90" in slide.decks]
    steps = [
        int(number)
        for slide in chosen
        for number in re.findall(r"^(?:Still )?Steps? (\d+)", slide.notes)
    ]
    assert steps == sorted(steps)
    asked = {s["number"] for part in workshop.plan()["parts"] for s in part["steps"]}
    mentioned = re.findall(
        r"Steps? (\d+)(?: and (\d+))?", str([s.notes for s in chosen])
    )
    assert {int(n) for pair in mentioned for n in pair if n} <= {1, *asked}


def test_no_slide_shows_an_image_that_is_not_called_synthetic():
    for slide in TOLD:
        for chapter, cell in FIGURE.findall(slide.body):
            found = workshop.find(workshop.chapter(chapter), chapter, cell)
            assert found.metadata["mystnb"]["image"]["alt"]
            if cell in SHOWS_IMAGES:
                assert "synthetic" in slide.body.lower(), slide.title


def test_real_images_make_no_slides(monkeypatch, tmp_path):
    monkeypatch.setattr(slides.book, "real_data", lambda: True)
    with pytest.raises(slides.SlidesError, match="env -u BRAIN_MRI_DATA make slides"):
        slides.build(tmp_path / "teach")
    assert not (tmp_path / "teach").exists()


def test_a_book_that_is_out_of_date_is_not_shown(monkeypatch):
    monkeypatch.setattr(slides.execute, "valid", lambda name, notebook: None)
    with pytest.raises(slides.SlidesError, match="make book"):
        slides.figure("01_meet_the_data", "gallery")


# --- what is made ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    # The book's own settings, from which outputs follow, and not those of the tests.
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COURSE_PROFILE", raising=False)
        return slides.build(tmp_path_factory.mktemp("made") / "teach")


@pytest.fixture
def page(browser):
    """A page without a network; what it asked for and complained of is kept."""
    tab = browser.new_page(viewport={"width": 1280, "height": 720})
    tab.context.set_offline(True)
    tab.asked, tab.wrong = [], []
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.on("console", lambda m: tab.wrong.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: tab.wrong.append(str(error)))
    yield tab
    tab.close()


@MARKS[0]
@MARKS[1]
@pytest.mark.parametrize(("short", "name"), slides.DECKS.items())
def test_every_slide_shows_and_fits_without_a_network(made, page, short, name):
    chosen = [slide for slide in TOLD if short in slide.decks]
    page.goto((made / f"{name}.html").as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    assert page.evaluate("Reveal.getTotalSlides()") == len(chosen)
    height = page.evaluate("Reveal.getConfig().height")
    for slide in chosen:
        current = page.evaluate(
            """() => { const s = Reveal.getCurrentSlide();
            const images = [...s.querySelectorAll('img')];
            return {title: s.querySelector('h1, h2').innerText, tall: s.scrollHeight,
              notes: s.querySelector('aside.notes')?.innerText || '',
              drawn: images.every(i => i.complete && i.naturalWidth > 0 && i.alt),
              images: images.length}; }"""
        )
        plain = slide.title.replace("`", "")
        assert current["title"].strip() == plain
        assert current["tall"] <= height, plain
        assert current["drawn"], plain
        pictures = len(re.findall(r"^(?:figure|file): ", slide.body, re.MULTILINE))
        assert current["images"] == pictures, plain
        page.keyboard.press("Space")
    notes = page.locator("aside.notes")
    assert notes.count() == len(chosen)
    assert not [url for url in page.asked if not url.startswith(("file:", "data:"))]
    assert page.wrong == []
    found = Axe().run(page).response["violations"]
    assert not [v["id"] for v in found if v["impact"] in ("serious", "critical")]


@MARKS[0]
@MARKS[1]
@pytest.mark.parametrize(("short", "name"), slides.DECKS.items())
def test_a_deck_prints_a_slide_a_sheet(made, page, short, name):
    chosen = [slide for slide in TOLD if short in slide.decks]
    address = f"{(made / f'{name}.html').as_uri()}?print-pdf"
    options = {"prefer_css_page_size": True, "print_background": True}
    assert on_paper(page, address, **options) == len(chosen)


@MARKS[0]
@MARKS[1]
def test_paper_sheets_hold_one_exercise_a_page_of_a4(made, page):
    address = (made / "paper_sheets.html").as_uri()
    assert on_paper(page, address, format="A4") == len(slides.PAPER)
    told = page.inner_text("body")
    for number in slides.PAPER:
        assert f"Exercise {number}" in told
        words = slides.exercise_text(number)[0].split("\n")[0]
        assert re.sub(r"[*`]", "", words)[:40] in told
    assert page.locator("img").count() == 1


@MARKS[0]
@MARKS[1]
def test_the_handout_prints_on_two_pages(page):
    handout = ROOT / "_build" / "html" / "teach" / "handout.html"
    assert handout.exists(), "no built book; run make book first"
    assert on_paper(page, handout.as_uri(), format="A4") == 2
