"""What is done to the pages after Sphinx has made them: small rules on their HTML.

The theme's pages ask for scripts that this book does not need, leave formulas to a
script, and name neither a description nor a size for figures. Every rule takes the text
of a page and returns it changed; `finish` applies them to every page of a folder.
"""

import html
import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bs4 import BeautifulSoup
from latex2mathml.converter import convert

from tools.execute import DOTS_AN_INCH

TITLE = "Brain Tumor MRI, honestly"
# CSS pixels of an image's width, below which its smallest lettering (9 points) is under
# 10 pixels high: a share of the width it was drawn at.
LEGIBLE = 10 / 12
CSS_PIXELS_AN_INCH = 96
OWN_SCAN = "own-scan"  # where the index answers whoever comes with a scan


@dataclass(frozen=True)
class Site:
    """Where the book will be: `url` ends in a slash, or is empty before that."""

    folder: Path
    url: str = ""


@dataclass(frozen=True)
class Page:
    """One page: its name in the table of contents, and how far down it lies."""

    name: str
    site: Site

    @property
    def up(self) -> str:
        """The way to the book's first folder, as links on this page need it."""
        return "../" * self.name.count("/")


Rule = Callable[[str, Page], str]

# The theme's scripts and hints that only cost: fonts fetched ahead in a way that pages
# opened from files may not, thebe (unused), MathJax (formulas are MathML here), and the
# script of an icon font whose style sheet draws the same icons.
NOT_WANTED = re.compile(
    r'<link rel="preload" as="font"[^>]*>\s*'
    r"|<script[^>]*sphinx-thebe[^>]*></script>\s*"
    r"|<link[^>]*sphinx-thebe[^>]*>\s*"
    r"|<script>const THEBE_JS_URL.*?</script>\s*"
    r'|<script type="text/x-thebe-config">.*?</script>\s*'
    r"|<script>kernelName = .*?</script>\s*"
    r"|<script[^>]*fontawesome[^>]*></script>\s*"
    r"|<script>window.MathJax = .*?</script>\s*"
    r"|<script[^>]*(mathjax|/tex-svg)[^>]*></script>\s*",
    re.DOTALL | re.IGNORECASE,
)
# Solutions are looked up, not read in a row: no page leads on to them, nor they on.
NEXT = re.compile(r'<a class="right-next".*?</a>', re.DOTALL)
AROUND = re.compile(r'<div class="prev-next-area">.*?</div>\s*(?=</footer>)', re.DOTALL)


def unwanted(text: str, page: Page) -> str:
    """Take out what no page of this book needs, and ways that lead into solutions."""
    text = NOT_WANTED.sub("", text)
    onwards = NEXT.search(text)
    if page.name.startswith("solutions/"):
        return AROUND.sub("", text)
    return NEXT.sub("", text) if onwards and "solutions/" in onwards[0] else text


MATH = re.compile(
    r'(<(?P<tag>span|div) class="math notranslate nohighlight">\s*)'
    r"\\[(\[](?P<latex>.*?)\\[)\]](?P<end>\s*</(?P=tag)>)",
    re.DOTALL,
)


def formulas(text: str, page: Page) -> str:
    """Write every formula as MathML, which browsers draw and read out by themselves."""

    def mathml(found: re.Match) -> str:
        latex = html.unescape(found["latex"]).strip()
        display = "block" if found["tag"] == "div" else "inline"
        drawn = convert(latex, display=display)
        if display == "block":  # scrolls on a phone, and is reached by keyboard
            drawn = drawn.replace("<math ", '<math tabindex="0" ', 1)
        return found[1] + drawn + found["end"]

    return MATH.sub(mathml, text)


def tables(text: str, page: Page) -> str:
    """Make plain cells of empty headers; what may scroll is reached by keyboard."""
    text = text.replace("<table ", '<table tabindex="0" ')
    return re.sub(r"<th>\s*</th>", "<td></td>", text)


def folds(text: str, page: Page) -> str:
    """Let what folds be called by its own words, not by one label for all."""
    return text.replace('<summary aria-label="Toggle hidden content">', "<summary>")


def _size(path: Path) -> tuple[float, float] | None:
    """Return a figure's width and height in CSS pixels, as it was drawn, or None."""
    if path.suffix == ".png":
        width, height = struct.unpack(">II", path.read_bytes()[16:24])
        return tuple(n * CSS_PIXELS_AN_INCH / DOTS_AN_INCH for n in (width, height))
    found = re.search(r'<svg[^>]*?width="([\d.]+)pt"', path.read_text()[:2000])
    tall = re.search(r'<svg[^>]*?height="([\d.]+)pt"', path.read_text()[:2000])
    if not found or not tall:
        return None
    return float(found[1]) * 4 / 3, float(tall[1]) * 4 / 3


def figures(text: str, page: Page) -> str:
    """Give figures their size, so that nothing jumps, and load those far down late.

    On a phone a figure keeps the width at which its lettering can be read, and scrolls
    inside its box.
    """
    above = True
    here = (page.site.folder / page.name).parent

    def one(found: re.Match) -> str:
        nonlocal above
        tag, src = found[0], found[1]
        size = _size(here / src) if (here / src).suffix in (".png", ".svg") else None
        kind = "drawing" if src.endswith(".svg") else "slices"
        more = f' class="{kind}"' if "class=" not in tag else ""
        if size:
            width, height = (round(n) for n in size)
            more += f' width="{width}" height="{height}"'
            more += f' style="--legible: {width * LEGIBLE:.0f}px"'
        more += "" if above else ' loading="lazy"'
        above = False
        shown = f"{tag[:-1].rstrip().rstrip('/').rstrip()}{more} />"
        # What scrolls sideways can be reached by keyboard.
        return f'<div class="figure" tabindex="0" role="group">{shown}</div>'

    start = text.find("<article")
    body = re.sub(r'<img [^>]*?src="([^"]+)"[^>]*>', one, text[start:])
    return text[:start] + body


def description(text: str) -> str:
    """Return a page's first paragraph as plain words, 300 characters at most."""
    article = text[text.find("<article") :]
    for found in re.finditer(r"<p>(.*?)</p>", article, re.DOTALL):
        words = html.unescape(re.sub(r"<[^>]+>", "", found[1]))
        words = re.sub(r"\s+", " ", words).strip()
        if len(words) > 40:
            return (
                words if len(words) <= 300 else words[:297].rsplit(" ", 1)[0] + " ..."
            )
    return TITLE


def head(text: str, page: Page) -> str:
    """Say in a page's head what it is called, what it is about, and where it stands."""
    if page.name == "index":
        text = re.sub(r"<title>.*?</title>", f"<title>{TITLE}</title>", text, count=1)
    title = html.unescape(re.search(r"<title>(.*?)</title>", text, re.DOTALL)[1])
    about = description(text)
    said = {
        'name="description"': about,
        'property="og:title"': title,
        'property="og:description"': about,
        'property="og:type"': "article",
        'property="og:site_name"': TITLE,
    }
    lines = []
    if page.site.url:
        url = f"{page.site.url}{page.name}.html"
        card = f"{page.site.url}_static/social_card.png"
        said |= {
            'property="og:url"': url,
            'property="og:image"': card,
            'name="twitter:card"': "summary_large_image",
        }
        if 'rel="canonical"' not in text:
            lines.append(f'<link rel="canonical" href="{html.escape(url)}" />')
    lines += [f'<meta {key} content="{html.escape(v)}" />' for key, v in said.items()]
    return text.replace("</title>", "</title>\n    " + "\n    ".join(lines), 1)


def own_scan(text: str, page: Page) -> str:
    """Lead whoever came with a scan of their own to the box that answers them."""
    if page.name == "index" or not re.match(r"(\d\d_|\w+_in_15)", page.name):
        return text
    line = (
        f'<p class="own-scan"><a href="{page.up}index.html#{OWN_SCAN}">Is this about '
        "your own scan, or that of someone close to you?</a></p>"
    )
    return re.sub(r"(<article.*?</h1>)", rf"\1\n{line}", text, count=1, flags=re.DOTALL)


LINK = re.compile(
    r'<p><a class="reference internal" href="solutions/[^"]*\.html">'
    r"<span[^>]*>Solution</span></a></p>"
)


def _worked(page: Page) -> dict[str, str]:
    """Return the worked solutions of a chapter as HTML, by the exercise's anchor."""
    path = page.site.folder / "solutions" / f"{page.name}.html"
    if not path.is_file():
        return {}
    soup = BeautifulSoup(path.read_text(), "html.parser")
    found = {}
    for section in soup.find_all("section", id=re.compile(r"^exercise-\d")):
        number = re.match(r"exercise-\d+-\d+", section["id"])[0]
        section.find(re.compile(r"h\d")).decompose()
        for tag in section.find_all(id=True):
            del tag["id"]
        for tag in section.find_all(href=re.compile("^#")):
            tag["href"] = f"solutions/{page.name}.html{tag['href']}"
        inside = section.decode_contents()
        found[number] = re.sub(r'(href|src)="\.\./', r'\1="', inside)
    return found


def solutions(text: str, page: Page) -> str:
    """Put each worked solution into a fold below its exercise, in place of a link."""
    if not LINK.search(text):
        return text
    worked = _worked(page)

    def fold(found: re.Match) -> str:
        number = re.findall(r'id="(exercise-\d+-\d+)', text[: found.start()])[-1]
        if number not in worked:
            return found[0]
        label = number.removeprefix("exercise-").replace("-", ".")
        summary = f"<summary>Solution to exercise {label}</summary>"
        return f'<details class="solution">{summary}{worked[number]}</details>'

    return LINK.sub(fold, text)


RULES: tuple[Rule, ...] = (
    unwanted,
    formulas,
    tables,
    folds,
    figures,
    head,
    own_scan,
    solutions,
)


# What people search for in words that no page has all of: where it is answered.
SEARCHED = {
    "how do i use my own images": ("setup", "your-own-images"),
    "my own images": ("setup", "your-own-images"),
    "my gpu": ("setup", "your-gpu"),
    "grad-cam": ("11_explain", "grad-cam-written-out"),
    "out of memory": ("07_fine_tune", "when-the-memory-is-full"),
    "gpu out of memory": ("07_fine_tune", "when-the-memory-is-full"),
}


def searched(index: str) -> str:
    """Return Sphinx's search index with `SEARCHED` among the entries of its index.

    An entry that holds all of what was typed comes before pages that hold its words.
    """
    start, end = index.index("(") + 1, index.rindex(")")
    content = json.loads(index[start:end])
    for words, (name, anchor) in SEARCHED.items():
        if name not in content["docnames"]:  # a smaller book, as in tests
            continue
        place = [content["docnames"].index(name), anchor, True]
        content["indexentries"].setdefault(words, []).append(place)
    return index[:start] + json.dumps(content) + index[end:]


def sitemap(names: list[str], url: str) -> str:
    """Return a sitemap of pages, as sitemaps.org describes it."""
    rows = "".join(f"<url><loc>{html.escape(url + n)}.html</loc></url>" for n in names)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="'
        f'http://www.sitemaps.org/schemas/sitemap/0.9">{rows}</urlset>\n'
    )


NOT_FOUND = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Page not found</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body {{ font: 1.1rem/1.5 sans-serif; margin: 15vh auto; max-width: 34rem;
padding: 0 1rem }}</style></head>
<body><h1>There is no such page</h1>
<p>It may have moved. <a href="{url}index.html">The first page</a> lists every chapter,
and the <a href="{url}search.html">search</a> looks through all of them.</p>
</body></html>
"""


def finish(folder: Path, names: list[str], url: str = "") -> None:
    """Apply every rule to the pages in `folder`; write what a published site has more.

    `names`: the pages of the table of contents. `url`: where the book will be, ending
    in a slash; without one there is no sitemap and no page for what is not found.
    """
    site = Site(folder, url)
    # Solutions first: chapters take them in as they are then.
    for path in sorted(folder.rglob("*.html"), key=lambda p: p.parent == folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        text = path.read_text()
        for rule in RULES if name in names else (unwanted,):
            text = rule(text, Page(name, site))
        path.write_text(text)
    index = folder / "searchindex.js"
    index.write_text(searched(index.read_text()))
    if url:
        (folder / "sitemap.xml").write_text(sitemap(names, url))
        (folder / "404.html").write_text(NOT_FOUND.format(url=html.escape(url)))
        (folder / "robots.txt").write_text(f"Sitemap: {url}sitemap.xml\n")
