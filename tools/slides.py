"""Makes the slides and the paper sheets of a workshop: `python -m tools.slides`.

Slides are written once, in kit/slides.md, for two decks. Their figures are those of the
book that was built last, their exercises the chapters' own. Sphinx makes reveal.js
pages of them, which ask nothing of the network; with `?print-pdf` behind its address, a
page prints a slide a sheet. Paper sheets hold one exercise a page of A4.
"""

import base64
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from nbformat import NotebookNode

from tools import book, execute, workshop
from tools.dependencies import ROOT

KIT = ROOT / "kit"
TARGET = ROOT / "_build" / "teach"
DECKS = {"90": "slides_90_minutes", "half": "slides_half_day"}
PAPER = ("1.1", "1.4", "6.3", "7.4", "8.1", "8.3", "8.4")
ENDINGS = {"image/svg+xml": "svg", "image/png": "png"}
CONFIG = """
project = "Brain Tumor MRI, honestly"
extensions = ["myst_parser", "sphinx_revealjs"]
revealjs_style_theme = "white"
revealjs_css_files = ["slides.css"]
revealjs_static_path = ["_static"]
revealjs_script_plugins = [
    {"name": "RevealNotes", "src": "revealjs/plugin/notes/notes.js"},
]
revealjs_script_conf = {"hash": True, "slideNumber": "c/t", "transition": "none"}
revealjs_html_theme = "revealjs-basic"
"""


class SlidesError(Exception):
    """No slides were made; the message says why and what to do."""


@dataclass(frozen=True)
class Slide:
    """One slide: what the room sees, and what the teacher reads."""

    title: str
    decks: tuple[str, ...]
    body: str
    notes: str


def slides(text: str) -> list[Slide]:
    """Read kit/slides.md; `SlidesError` names a slide without notes or deck."""
    found = []
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, rest = part.partition("\n")
        decks = re.search(r"<!-- decks: ([\w ]+) -->", rest)
        body, _, notes = rest.partition("\nNotes: ")
        shown = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL).strip()
        notes = re.sub(r"<!--.*?-->", "", notes, flags=re.DOTALL).strip()
        known = decks and set(decks[1].split()) <= set(DECKS)
        if not (known and shown and notes):
            raise SlidesError(f"Slide {title!r} lacks a deck, a body or its notes.")
        found.append(Slide(title, tuple(decks[1].split()), shown, notes))
    return found


def outputs(name: str, identity: str) -> tuple[NotebookNode, list[dict]]:
    """Return a chapter's cell and what it showed when the book was built."""
    notebook = workshop.chapter(name)
    cell = workshop.find(notebook, name, identity)
    done = execute.valid(name, notebook)
    if done is None:
        raise SlidesError(
            f"Chapter {name} has changed since the book was built: make book"
        )
    code = [one.id for one in notebook.cells if one.cell_type == "code"]
    return cell, done.outputs[code.index(identity)]


def figure(name: str, identity: str) -> tuple[str, bytes, str]:
    """Return a cell's figure as (ending of its file, content, words for it)."""
    cell, shown = outputs(name, identity)
    words = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
    for output in shown:
        for kind, ending in ENDINGS.items():
            if kind in output.get("data", {}):
                content = "".join(output["data"][kind])
                if not words:
                    raise SlidesError(f"{name}.{identity} does not say what it shows.")
                raw = content.encode() if ending == "svg" else base64.b64decode(content)
                return ending, raw, words
    raise SlidesError(f"{name}.{identity} shows no figure.")


def words_for(file: str) -> str:
    """Return the words by which a chapter shows a drawing of chapters/_static."""
    shown = re.compile(rf"!\[([^\]]+)\]\(_static/{re.escape(file)}\)")
    for path in sorted((ROOT / "chapters").glob("*.ipynb")):
        for cell in workshop.chapter(path.stem).cells:
            if found := shown.search(cell.source):
                return found[1]
    raise SlidesError(f"No chapter shows {file}, so it has no words.")


def chapter_of(number: str) -> str:
    """Return the name of the chapter that an exercise belongs to."""
    (path,) = (ROOT / "chapters").glob(f"{int(number.split('.')[0]):02}_*.ipynb")
    return path.stem


def exercise_text(number: str) -> tuple[str, list[NotebookNode]]:
    """Return an exercise's words without its heading, and all of its cells."""
    name = chapter_of(number)
    cells = workshop.exercise(workshop.chapter(name), name, number)
    words = [c.source for c in cells if c.cell_type == "markdown"]
    text = workshop.LINK.sub(r"\1", "\n\n".join(words).partition("\n")[2].strip())
    return text, cells


def filled(body: str, folder: Path) -> str:
    """Return a slide's body with its figures, files and exercise put in.

    Pictures are written into `folder`.
    """

    def put_figure(found: re.Match) -> str:
        ending, content, words = figure(found[1], found[2])
        (folder / f"{found[1]}-{found[2]}.{ending}").write_bytes(content)
        return f"![{words}]({found[1]}-{found[2]}.{ending})"

    def put_file(found: re.Match) -> str:
        shutil.copy(ROOT / "chapters" / "_static" / found[1], folder)
        return f"![{words_for(found[1])}]({found[1]})"

    rules: dict[str, Callable[[re.Match], str]] = {
        r"^figure: (\w+)\.([\w-]+)$": put_figure,
        r"^file: ([\w.]+)$": put_file,
        r"^Exercise ([\d.]+)$": lambda found: exercise_text(found[1])[0],
    }
    for pattern, put in rules.items():
        body = re.sub(pattern, put, body, flags=re.MULTILINE)
    return body


def deck(chosen: list[Slide], folder: Path) -> str:
    """Return a deck as Markdown for Sphinx: a title, and a section for each slide."""
    parts = [f"# {chosen[0].title}\n\n{filled(chosen[0].body, folder)}"]
    parts[0] += f"\n\n```{{revealjs-notes}}\n{chosen[0].notes}\n```"
    for slide in chosen[1:]:
        notes = f"```{{revealjs-notes}}\n{slide.notes}\n```"
        parts.append(f"## {slide.title}\n\n{filled(slide.body, folder)}\n\n{notes}")
    return "\n\n".join(parts) + "\n"


def on_paper(number: str) -> str:
    """Return an exercise as HTML: its words, figures and tables, without its code."""
    name, parts = chapter_of(number), []
    markdown = MarkdownIt("commonmark").enable("table")
    for cell in exercise_text(number)[1]:
        if cell.cell_type == "markdown":
            text = workshop.LINK.sub(r"\1", cell.source).replace("### ", "# ", 1)
            parts.append(markdown.render(text))
        elif "plt." in cell.source:
            ending, content, words = figure(name, cell.id)
            kind = next(kind for kind, end in ENDINGS.items() if end == ending)
            coded = base64.b64encode(content).decode()
            parts.append(f'<img alt="{words}" src="data:{kind};base64,{coded}">')
        elif cell.source.startswith("pd.DataFrame("):
            shown = "".join(outputs(name, cell.id)[1][0]["data"]["text/html"])
            parts.append(re.sub(r"<style.*?</style>", "", shown, flags=re.DOTALL))
    return "".join(parts)


def paper() -> str:
    """Return the paper sheets as one HTML page, an exercise a sheet."""
    answer = '<p class="answer">Answer:</p>'
    sheets = [f"<section>{on_paper(number)}{answer}</section>" for number in PAPER]
    return (KIT / "paper.html").read_text().replace("{sheets}", "\n".join(sheets))


def build(target: Path = TARGET) -> Path:
    """Make both decks and the paper sheets; return their folder.

    `SlidesError` for a book that is out of date or shows real images.
    """
    if book.real_data():
        raise SlidesError(
            "BRAIN_MRI_DATA is set, so figures would show real images. Make slides "
            "without it: env -u BRAIN_MRI_DATA make slides"
        )
    work = target.with_name(target.name + ".work")
    shutil.rmtree(work, ignore_errors=True)
    source = work / "source"
    (source / "_static").mkdir(parents=True)
    shutil.copy(KIT / "slides.css", source / "_static")
    (source / "conf.py").write_text(CONFIG)
    told = slides((KIT / "slides.md").read_text())
    for short, name in DECKS.items():
        chosen = [slide for slide in told if short in slide.decks]
        (source / f"{name}.md").write_text(deck(chosen, source))
    other = f"---\norphan: true\n---\n{(source / 'slides_half_day.md').read_text()}"
    (source / "slides_half_day.md").write_text(other)
    html = work / "html"
    command = [sys.executable, "-m", "sphinx", "-b", "revealjs", "-q", "-W"]
    command += ["-D", f"root_doc={DECKS['90']}", str(source), str(html)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise SlidesError(f"Sphinx made no slides:\n{run.stderr.strip()}")
    (html / "paper_sheets.html").write_text(paper())
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(html, target)
    shutil.rmtree(work)
    return target


def main() -> int:
    """Make slides and paper sheets and say where they are; return an exit status."""
    try:
        target = build()
    except (SlidesError, workshop.PlanError) as error:
        print(error, file=sys.stderr)
        return 2
    names = ", ".join(f"{name}.html" for name in (*DECKS.values(), "paper_sheets"))
    print(f"Made {names} in {target}. Press S for notes; add ?print-pdf to print.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
