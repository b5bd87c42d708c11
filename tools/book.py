"""Builds the book: `python -m tools.book` fills _build/html, or says it is up to date.

The steps: execute what is out of date (`execute`), stage the pages with their outputs
in _build/source, let jupyter-book make HTML of them with every warning an error, and
put the result in place in one move. A build that fails or is stopped leaves the last
book as it was.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import yaml

from tools import dependencies, finish, reading
from tools.dependencies import ROOT, digest
from tools.execute import Executed, ExecutionError, execute_all, plain, write

CHAPTERS = ROOT / "chapters"
BUILD = ROOT / "_build"
HTML = BUILD / "html"
SOURCE = BUILD / "source"
RECORD = BUILD / "book.json"
TIMINGS = BUILD / "timings.json"
TIMINGS_MARK = "<!-- timings -->"

# Files that decide how pages look, besides the pages themselves.
FORM = (
    *("_config.yml", "_toc.yml", "requirements.lock"),
    *("tools/book.py", "tools/finish.py", "tools/reading.py"),
)
SHOWN = re.compile(r"WARNING|ERROR|Error|Traceback|warning:|CRITICAL")


class BookError(Exception):
    """The book could not be built; the message says what to do."""


@dataclass(frozen=True)
class Page:
    """One page of the table of contents: its name and the file it is written in."""

    name: str
    path: Path

    @property
    def is_notebook(self) -> bool:
        return self.path.suffix == ".ipynb"


def pages(toc: Path = ROOT / "_toc.yml", chapters: Path = CHAPTERS) -> list[Page]:
    """Return the pages that _toc.yml names, in its order.

    Raises `BookError` naming every page that has no file.
    """
    if not toc.exists():
        raise BookError("This copy holds the workshop only: make lab opens it.")
    content = yaml.safe_load(toc.read_text())
    names = [content["root"]]
    for part in content.get("parts", []):
        names += [entry["file"] for entry in part["chapters"]]
    found, missing = [], []
    for name in names:
        files = [chapters / f"{name}{end}" for end in (".md", ".ipynb")]
        there = [file for file in files if file.is_file()]
        if len(there) == 1:
            found.append(Page(name, there[0]))
        else:
            missing.append(name)
    if missing:
        raise BookError(
            f"{toc.name} names {', '.join(missing)}: each needs exactly one file in "
            f"{chapters.name}/, either .md or .ipynb."
        )
    return found


def real_data() -> bool:
    """Tell whether the setting asks for real images instead of phantoms."""
    return dependencies.settings()["BRAIN_MRI_DATA"] not in ("", "phantom")


def config() -> dict:
    """Return _config.yml, with a banner on every page if the images are real."""
    content = yaml.safe_load((ROOT / "_config.yml").read_text())
    if real_data():
        content["sphinx"]["config"]["html_theme_options"]["announcement"] = (
            "Built with real images: for your own eyes. The licence of these images is "
            "not settled; do not publish or pass on this copy."
        )
    return content


def timings(done: dict[str, Executed]) -> dict:
    """Return the seconds each notebook took, and on what."""
    return {
        "profile": dependencies.settings()["COURSE_PROFILE"] or "quick",
        "data": dependencies.settings()["BRAIN_MRI_DATA"] or "phantom",
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "seconds": {name: run.seconds for name, run in done.items()},
        "date": {name: run.date for name, run in done.items()},
    }


def timings_table(record: dict, titles: dict[str, str]) -> str:
    """Return the timings as a Markdown table, one row a notebook and a sum."""
    rows = ["| Page | Seconds | Measured on |", "|---|---:|---|"]
    for name, seconds in record["seconds"].items():
        link = f"[{titles[name]}]({name}.ipynb)"
        rows.append(f"| {link} | {seconds:.0f} | {record['date'][name]} |")
    total = sum(record["seconds"].values())
    rows.append(f"| All | {total:.0f} | |")
    where = (
        f"Profile {record['profile']}, data {record['data']}, {record['cores']} CPU "
        f"cores, Python {record['python']}."
    )
    return f"{where}\n\n" + "\n".join(rows)


def title(page: Page) -> str:
    """Return a page's first heading."""
    text = page.path.read_text()
    if page.is_notebook:
        text = "".join(json.loads(text)["cells"][0]["source"])
    return re.search(r"^# (.+)$", text, re.MULTILINE).group(1).strip()


def stage(all_pages: list[Page], done: dict[str, Executed], source: Path) -> None:
    """Write what Sphinx reads: pages with outputs, timings, configuration."""
    shutil.rmtree(source, ignore_errors=True)
    record = timings(done)
    titles = {page.name: title(page) for page in all_pages if page.is_notebook}
    for page in all_pages:
        target = source / page.path.relative_to(CHAPTERS)
        target.parent.mkdir(parents=True, exist_ok=True)
        if page.is_notebook:
            notebook = nbformat.read(page.path, as_version=4)
            code = [cell for cell in notebook.cells if cell.cell_type == "code"]
            for cell, outputs in zip(code, done[page.name].outputs, strict=True):
                cell.outputs = [nbformat.from_dict(output) for output in outputs]
            reading.prepare(notebook)
            nbformat.write(notebook, target)
        else:
            table = timings_table(record, titles)
            target.write_text(page.path.read_text().replace(TIMINGS_MARK, table))
    for folder in sorted(CHAPTERS.rglob("_static")):
        shutil.copytree(folder, source / folder.relative_to(CHAPTERS))
    (source / "_config.yml").write_text(yaml.safe_dump(config(), sort_keys=False))
    shutil.copy(ROOT / "_toc.yml", source / "_toc.yml")
    write(TIMINGS, json.dumps(record, indent=1))


def state(folder: Path) -> str:
    """Return a digest of every file below a folder, by name and content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest(*(f"{p.relative_to(folder)} {digest(p.read_bytes())}" for p in files))


def key() -> str:
    """Return what the HTML follows from: staged pages, and their form."""
    form = [digest((ROOT / name).read_bytes()) for name in FORM]
    return digest(state(SOURCE), *form)


def sphinx(source: Path) -> Path:
    """Run jupyter-book with every warning an error; return the folder of pages.

    jupyter-book may report a failure and still exit with 0, so what it prints is read
    as well. Raises `BookError` with the lines that matter.
    """
    work = BUILD / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    # Not the program jupyter-book, whose first line names where it was installed.
    program = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command = [*program, "build", source, "--path-output", work, "--all"]
    command += ["-W", "--keep-going"]
    log = BUILD / "sphinx.log"
    lines = []
    with (
        subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
        ) as process,
        log.open("w") as file,
    ):
        for line in process.stdout:
            lines.append(plain(line))
            file.write(lines[-1])
            if re.match(r"(reading sources|writing output)", lines[-1]):
                print("   ", lines[-1].split("\r")[-1].rstrip(), flush=True)
    html = work / "_build" / "html"
    problems = [line.rstrip() for line in lines if SHOWN.search(line)]
    if process.returncode or problems or not (html / "index.html").exists():
        shown = "\n".join(problems or [line.rstrip() for line in lines[-30:]])
        raise BookError(f"{shown}\n\nThe pages have problems (all of it: {log}).")
    return html


def last_record() -> dict:
    """Return what the last complete build wrote about itself, or nothing."""
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def complete(all_pages: list[Page]) -> bool:
    """Tell whether every page of the book is there."""
    return all((HTML / f"{page.name}.html").is_file() for page in all_pages)


def build() -> bool:
    """Build the book if anything it follows from has changed; return whether it did."""
    all_pages = pages()
    done = execute_all([page.name for page in all_pages if page.is_notebook])
    stage(all_pages, done, SOURCE)
    wanted = key()
    if complete(all_pages) and last_record().get("key") == wanted:
        return False
    print("  making the pages", flush=True)
    html = sphinx(SOURCE)
    finish.finish(html, [page.name for page in all_pages], config()["html"]["baseurl"])
    old = BUILD / "old"
    shutil.rmtree(old, ignore_errors=True)
    RECORD.unlink(missing_ok=True)
    if HTML.exists():
        os.replace(HTML, old)
    os.replace(html, HTML)
    shutil.rmtree(old, ignore_errors=True)
    record = {
        "key": wanted,
        "real_data": real_data(),
        "settings": dependencies.settings(),
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write(RECORD, json.dumps(record, indent=1))
    return True


def main() -> int:
    """Build and say where the book is; return an exit status."""
    try:
        built = build()
    except (BookError, ExecutionError) as error:
        print(f"\n{error}\n\nThe book was not built.", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"\n{error.filename or BUILD}: {error.strerror or error}. Free some space, "
            "or make the folder writable. The book was not built.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("\nStopped; `make book` goes on from here.", file=sys.stderr)
        return 130
    what = "The book is in" if built else "Nothing changed; the book is in"
    print(f"{what} {HTML / 'index.html'}")
    if real_data():
        print("It shows real images: do not publish it.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
