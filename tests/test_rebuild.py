"""The book executes again exactly what a change touches: a small course is changed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from helpers.config import ROOT
from tools import dependencies, publish_config
from tools.execute import tidy

SCRIPT = """
import json
from tools.execute import execute_all
done = execute_all(["one", "two"])
print("OUTPUTS", json.dumps({n: d.outputs[-1][0]["text"] for n, d in done.items()}))
"""


def notebook(*sources: str) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_markdown_cell("# Title")]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A course of two notebooks: one uses shapes, two uses colours and a record."""
    root = tmp_path_factory.mktemp("small") / "course"
    helpers, chapters = root / "helpers", root / "chapters"
    for folder in (helpers, chapters, root / "data" / "recorded", root / "data/cache"):
        folder.mkdir(parents=True)
    shutil.copytree(ROOT / "tools", root / "tools")
    (root / "requirements.lock").write_text("numpy==1\n")
    (helpers / "__init__.py").write_text("")
    shutil.copy(ROOT / "helpers" / "config.py", helpers)  # reads the settings
    (helpers / "shapes.py").write_text("SIDES = 3\n")
    (helpers / "names.py").write_text("WORD = 'red'\n")
    (helpers / "colours.py").write_text(
        "import json\nfrom pathlib import Path\n"
        "DATA = Path(__file__).parent.parent / 'data'\n"
        "def colour():\n"
        "    from .names import WORD\n"
        "    (DATA / 'cache' / 'seen').write_text('made here')\n"
        "    run = json.loads((DATA / 'recorded' / 'run.json').read_text())\n"
        "    return WORD, run['n'], (DATA / 'cache' / 'seen').read_text()\n"
    )
    (root / "data" / "recorded" / "run.json").write_text('{"n": 1}')
    (root / "data" / "recorded" / "other.json").write_text('{"n": 1}')
    start = "import sys; sys.path.insert(0, '..')"
    use = "from helpers import shapes\nprint(shapes.SIDES)"
    nbformat.write(notebook(start, use), chapters / "one.ipynb")
    use = "from helpers.colours import colour\nprint(colour())"
    nbformat.write(notebook(start, use), chapters / "two.ipynb")
    return root


def build(course: Path, **env: str) -> tuple[set[str], dict[str, str]]:
    """Bring the small course up to date; return what was executed, and the outputs."""
    clean = {k: v for k, v in os.environ.items() if k not in dependencies.VARIABLES}
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=course,
        env={**clean, "PYTHONPATH": str(course), **env},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    ran = {line.split(": ")[1] for line in lines if line.startswith("  executing")}
    return ran, json.loads(lines[-1].removeprefix("OUTPUTS "))


def test_each_change_executes_what_uses_it_and_nothing_else(course):
    assert build(course)[0] == {"one", "two"}
    assert build(course)[0] == set()

    (course / "helpers" / "shapes.py").write_text("SIDES = 4\n")
    ran, outputs = build(course)
    assert (ran, outputs["one"]) == ({"one"}, "4\n")

    (course / "helpers" / "names.py").write_text("WORD = 'blue'\n")
    ran, outputs = build(course)
    assert (ran, outputs["two"]) == ({"two"}, "('blue', 1, 'made here')\n")

    (course / "data" / "recorded" / "run.json").write_text('{"n": 2}')
    (course / "data" / "recorded" / "other.json").write_text('{"n": 2}')
    ran, outputs = build(course)
    assert (ran, outputs["two"]) == ({"two"}, "('blue', 2, 'made here')\n")

    prose = nbformat.read(course / "chapters" / "one.ipynb", 4)
    prose.cells[0].source = "# Another title"
    nbformat.write(prose, course / "chapters" / "one.ipynb")
    assert build(course)[0] == set()

    (course / "requirements.lock").write_text("numpy==2\n")
    assert build(course)[0] == {"one", "two"}


@pytest.mark.parametrize("name", dependencies.VARIABLES)
def test_a_changed_setting_executes_everything(monkeypatch, name):
    cells = notebook("1 + 1")
    monkeypatch.delenv(name, raising=False)
    before = dependencies.key(cells)
    monkeypatch.setenv(name, "other")
    assert dependencies.key(cells) != before


def test_a_changed_folder_of_images_executes_everything(monkeypatch, tmp_path):
    cells = notebook("1 + 1")
    (tmp_path / "a.jpg").write_bytes(b"1")
    monkeypatch.setenv("BRAIN_MRI_DATA", str(tmp_path))
    before = dependencies.key(cells)
    (tmp_path / "b.jpg").write_bytes(b"2")
    assert dependencies.key(cells) != before


def test_a_failing_cell_is_named_with_its_notebook(course):
    path = course / "chapters" / "one.ipynb"
    whole = path.read_text()
    broken = nbformat.reads(whole, 4)
    broken.cells[-1].source = "raise ValueError('the reason')"
    nbformat.write(broken, path)
    code = SCRIPT.replace("done = execute_all", "execute_all").split("print")[0]
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=course,
        env={**os.environ, "PYTHONPATH": str(course)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    path.write_text(whole)
    assert answer.returncode != 0
    assert "chapters/one.ipynb failed" in answer.stderr
    assert "the reason" in answer.stderr


# --- the pages ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_book(course) -> Path:
    """The small course with what pages need: configuration, styles, an index."""
    shutil.copytree(ROOT / "assets_extra", course / "assets_extra")
    shutil.copy(ROOT / "_config.yml", course)
    looks = course / "chapters" / "_static"
    shutil.copytree(ROOT / "chapters" / "_static", looks, dirs_exist_ok=True)
    toc = "format: jb-book\nroot: index\nparts:\n- caption: All\n  chapters:\n"
    (course / "_toc.yml").write_text(toc + "  - file: one\n  - file: two\n")
    (course / "chapters" / "index.md").write_text("# Index\n\n[One](one.ipynb)\n")
    return course


def tool(course: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if k not in dependencies.VARIABLES}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=course,
        env={**clean, **env},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_book_of_real_images_says_so_on_every_page_and_is_not_packed(small_book):
    images = small_book / "data" / "downloads"
    images.mkdir()
    answer = tool(small_book, "tools.book", BRAIN_MRI_DATA=str(images))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "do not publish it" in answer.stdout.splitlines()[-1]
    for page in ("index", "one", "two"):
        text = (small_book / "_build" / "html" / f"{page}.html").read_text()
        assert "Built with real images" in text
    refused = tool(small_book, "tools.pack", "site")
    assert refused.returncode == 2
    assert str(images) in refused.stderr
    assert not (small_book / "_build" / "site.zip").exists()


def test_a_broken_link_fails_the_build_and_leaves_the_last_book(small_book):
    assert tool(small_book, "tools.book").returncode == 0
    page = small_book / "_build" / "html" / "index.html"
    before = page.read_bytes()
    assert b"Built with real images" not in before
    index = small_book / "chapters" / "index.md"
    whole = index.read_text()
    index.write_text("# Index\n\n[Gone](gone.md)\n")
    answer = tool(small_book, "tools.book")
    index.write_text(whole)
    assert answer.returncode == 1
    assert "gone.md" in answer.stderr and "index.md" in answer.stderr
    assert "The book was not built" in answer.stderr
    assert page.read_bytes() == before
    assert "Nothing changed" in tool(small_book, "tools.book").stdout
    assert tool(small_book, "tools.pack", "site").returncode == 0


def test_a_published_book_offers_its_own_notebooks(small_book, tmp_path, monkeypatch):
    course = shutil.copytree(small_book, tmp_path / "published")
    shutil.copy(ROOT / "CITATION.cff", course)
    monkeypatch.setattr(publish_config, "sync", lambda root: [])
    publish_config.write("someone/brain-mri", "course", course)
    answer = tool(course, "tools.book")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    page = (course / "_build" / "html" / "one.html").read_text()
    where = "someone/brain-mri/blob/course/chapters/one.ipynb"
    assert f"https://colab.research.google.com/github/{where}" in page
    binder = r"https://mybinder\.org/v2/gh/someone/brain-mri/course\?[^\"]*one\.ipynb"
    assert re.search(binder, page)
    assert "executablebooks/jupyter-book" not in page


# --- what a notebook's code imports ---------------------------------------------------


def test_imports_are_followed_through_packages_and_functions(tmp_path):
    for folder in ("helpers", "helpers/sub"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("")
    (tmp_path / "helpers/a.py").write_text("def f():\n    from .sub import b\n")
    (tmp_path / "helpers/sub/b.py").write_text("from ..c import x\nimport numpy\n")
    (tmp_path / "helpers/c.py").write_text("")
    (tmp_path / "helpers/unused.py").write_text("")
    found = dependencies.closure(["from helpers import a"], tmp_path)
    assert sorted(found) == [
        "helpers",
        "helpers.a",
        "helpers.c",
        "helpers.sub",
        "helpers.sub.b",
    ]


def test_of_gathered_checks_only_the_used_ones_count(tmp_path):
    checks = tmp_path / "helpers" / "checks"
    checks.mkdir(parents=True)
    (tmp_path / "helpers" / "__init__.py").write_text("")
    (checks / "__init__.py").write_text(
        '"""All."""\nfrom .one import *\nfrom .two import *\n'
    )
    (checks / "common.py").write_text("")
    (checks / "one.py").write_text("from . import common\ndef first(): ...\n")
    (checks / "two.py").write_text("def second(): ...\n")
    cells = ["from helpers import checks", "checks.first(1)"]
    found = dependencies.closure(cells, tmp_path)
    assert "helpers.checks.one" in found and "helpers.checks.common" in found
    assert "helpers.checks.two" not in found
    everything = dependencies.closure(cells, tmp_path, used_only=False)
    assert "helpers.checks.two" in everything


def test_a_module_that_no_import_names_is_reported():
    report = {"modules": ["helpers", "helpers.config"], "opened": [], "hdf5": False}
    assert dependencies.unseen(report, notebook("1 + 1")) == report["modules"]
    assert dependencies.unseen(report, notebook("import helpers.config")) == []


def test_bars_and_greetings_leave_no_trace_and_warnings_stay():
    stream = {"output_type": "stream", "name": "stderr"}
    bar = {**stream, "text": "\r 50%|##  | 1/2"}
    end = {**stream, "text": "\r100%|####| 2/2\nWarning: look\n"}
    greeting = {**stream, "text": "I0000 00:00:1795353286.04 16976 port.cc:153] on\n"}
    assert tidy([bar, greeting, end]) == [{**stream, "text": "Warning: look\n"}]
    assert tidy([bar, greeting]) == []
