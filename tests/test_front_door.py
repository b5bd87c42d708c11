"""Setup, packing and publishing do what they say, and say what fails."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from helpers.config import ROOT
from tools import (
    colab,
    colab_test,
    environment,
    pack,
    publish_config,
)
from tools.run_tests import Counts, closing, counts
from tools.sync_bootstrap import first_code_cell, master, sync


def requirements() -> list[str]:
    lines = (ROOT / "requirements.in").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def name_of(line: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", line)[0].lower()


def pins() -> dict[str, list[str]]:
    """Package to lines of the lock; some packages have one for each Python."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            found.setdefault(name_of(line), []).append(line)
    return found


def make(*arguments: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["make", *arguments],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the course's own files, without what was made here."""
    made_here = shutil.ignore_patterns(
        ".venv", "_build", ".git", "cache", "downloads", "__pycache__", "_offline", ".*"
    )
    return shutil.copytree(ROOT, tmp_path / "copy", ignore=made_here)


# --- what is installed ----------------------------------------------------------------


def test_every_dependency_has_its_reason():
    without = [line for line in requirements() if not re.search(r"  # \S.{5,}", line)]
    assert without == []


def test_every_dependency_is_locked():
    assert [r for r in requirements() if name_of(r) not in pins()] == []


def test_the_lock_pins_one_version_for_every_python():
    loose = [line for lines in pins().values() for line in lines if "==" not in line]
    assert loose == []


def test_conda_installs_what_the_lock_pins():
    content = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = content["dependencies"]
    assert pip == {"pip": ["-r requirements.lock"]}
    python, other = conda
    minor = int(re.fullmatch(r"python=3\.(\d+)", python)[1])
    assert (3, minor) >= environment.SUPPORTED[0]
    assert (3, minor) <= environment.SUPPORTED[1]
    assert other == "pip"


def test_the_installed_packages_are_the_locked_ones():
    if not environment.STAMP.exists():
        pytest.skip("this environment was not made by make")
    wanted = hashlib.sha256(environment.LOCK.read_bytes()).hexdigest()
    assert environment.STAMP.read_text().split()[0] == wanted


def test_pips_settings_reach_uv():
    listed = (
        "global.index-url='https://mirror.example/simple'\n"
        "install.index-url='https://nearer.example/simple'\n"
        ":env:.extra-index-url='https://a.example https://b.example'\n"
        "global.find-links='/wheels /more'\n"
        "global.timeout='60'\n"
    )
    assert environment.uv_settings(listed, {}) == {
        "UV_DEFAULT_INDEX": "https://nearer.example/simple",
        "UV_INDEX": "https://a.example https://b.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/wheels,/more",
    }


def test_uvs_own_settings_win_over_pips():
    listed = "global.index-url='https://mirror.example/simple'\n"
    assert environment.uv_settings(listed, {"UV_DEFAULT_INDEX": "https://own"}) == {}


# --- make -----------------------------------------------------------------------------


def test_make_help_lists_every_target():
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.M)[1]
    shown = make("help").stdout
    assert set(re.findall(r"^make (\S+) +\S", shown, re.M)) == set(targets.split())


def test_make_alone_helps():
    assert make().stdout == make("help").stdout


def test_no_python_of_a_right_version_is_said_in_two_lines(tmp_path):
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        old = tmp_path / name
        old.write_text("#!/bin/sh\nexit 1\n")
        old.chmod(0o755)
    answer = make("setup", PATH=f"{tmp_path}:/usr/bin:/bin")
    if (
        "No Python" not in answer.stderr
    ):  # /usr/bin comes later and may hold a right one
        answer = make("setup", f"PYTHON={tmp_path}/python3")
    assert answer.returncode == 2
    assert "No Python 3.11, 3.12 or 3.13 found" in answer.stderr
    assert "make book PYTHON=" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_no_network_at_setup_is_said_with_the_way_out(copy):
    answer = make(
        "setup",
        f"PYTHON={sys.executable}",
        cwd=copy,
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_RETRIES="0",
        PIP_FIND_LINKS="",
        PIP_NO_CACHE_DIR="1",
    )
    assert answer.returncode == 2
    assert "Without network there is no first setup" in answer.stderr
    assert "PIP_INDEX_URL" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (copy / ".venv" / "course-lock").exists()


# --- the bootstrap cell ---------------------------------------------------------------

NOTEBOOKS = sorted((ROOT / "chapters").rglob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_carries_the_bootstrap_cell(path):
    cell = first_code_cell(json.loads(path.read_text()))
    assert "".join(cell["source"]) == master()


def test_the_bootstrap_cell_is_short():
    code = [line for line in master().splitlines() if line and line[0] != "#"]
    assert len(code) <= 12


def run_cell(folder: Path, *after: str) -> list:
    """Run the bootstrap cell, then others, in a folder; return all outputs."""
    cells = [nbformat.v4.new_code_cell(source) for source in (master(), *after)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(notebook, resources={"metadata": {"path": str(folder)}})
    try:
        client.execute()
    except CellExecutionError:
        return [cell.outputs for cell in cells]
    return [cell.outputs for cell in cells]


def test_a_downloaded_notebook_says_in_one_message_what_it_needs(tmp_path):
    first, second = run_cell(tmp_path, "print('went on')")
    assert [output["output_type"] for output in first] == ["stream"]
    assert first[0]["text"] == (
        "UsageError: needs the course: open it in a clone or in the workshop zip.\n"
    )
    assert second == []


def test_in_colab_the_uploaded_zip_is_unpacked_and_used(tmp_path):
    with zipfile.ZipFile(tmp_path / "course.zip", "w") as archive:
        archive.writestr("course/helpers/config.py", "WHERE = 'the zip'\n")
        archive.writestr("course/helpers/__init__.py", "")
        archive.writestr("course/tools/colab.py", "print('installed what was missing')")
    pretend = "import sys, types; sys.modules['google.colab'] = types.ModuleType('c')\n"
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(source)
            for source in (pretend, master(), "import helpers.config as c; c.WHERE")
        ]
    )
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert "installed what was missing" in notebook.cells[1].outputs[0]["text"]
    assert notebook.cells[2].outputs[0]["data"]["text/plain"] == "'the zip'"


def test_colab_keeps_the_packages_it_brings(monkeypatch):
    asked = []

    def run(command):
        constraints = Path(command[command.index("--constraint") + 1]).read_text()
        asked.append((command[-2:], constraints))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(colab, "find_spec", lambda name: name == "kagglehub" or None)
    monkeypatch.setattr(colab.subprocess, "run", run)
    assert colab.main() == 0
    ((packages, constraints),) = asked
    assert packages == ["jupyterquiz", "nilearn"]
    assert re.search(r"^numpy==\d", constraints, re.M)
    assert not {"tensorflow", "keras", "numpy"} & set(colab.NEEDED)


def test_the_trial_of_colab_has_the_versions_that_setup_names():
    page = (ROOT / "chapters" / "setup.md").read_text()
    names = {"TensorFlow": "tensorflow", "Keras": "keras", "NumPy": "numpy"}
    names |= {name: name for name in ("pandas", "scikit-learn")}
    pinned = colab_test.pins(colab_test.PINS.read_text())
    assert pinned["tensorflow-cpu"] == pinned["tensorflow"]
    for said, package in names.items():
        version = re.search(rf"{said} (\d+\.\d+)", page.split("In August 2026")[1])[1]
        assert pinned[package].startswith(f"{version}."), package


def test_the_trial_of_colab_notices_a_package_that_was_replaced():
    wanted = {"numpy": "2.1.3", "keras": "3.13.2", "tensorflow": "2.20.0"}
    found = {"numpy": "2.1.3", "keras": "3.14.0", "nilearn": "0.13"}
    assert colab_test.changed(wanted, found) == ["keras 3.13.2 became 3.14.0"]


# --- publishing -----------------------------------------------------------------------


def texts(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_publishing_settings_go_in_again_and_out_without_a_trace(copy):
    for path in (copy / "chapters").rglob("*.ipynb"):
        nbformat.write(nbformat.read(path, as_version=4), path)
    sync(copy)
    before = texts(copy)
    publish_config.write("someone/brain-mri", "main", copy)
    once = texts(copy)
    publish_config.write("someone/brain-mri", "main", copy)
    assert texts(copy) == once
    publish_config.write("none", "main", copy)
    assert texts(copy) == before


def test_publishing_settings_reach_every_place(copy):
    publish_config.write("someone/brain-mri", "course", copy)
    url = "https://github.com/someone/brain-mri"
    config = yaml.safe_load((copy / "_config.yml").read_text())
    assert config["repository"]["url"] == url
    assert config["repository"]["branch"] == "course"
    assert config["launch_buttons"]["colab_url"]
    assert config["launch_buttons"]["binderhub_url"]
    assert yaml.safe_load((copy / "CITATION.cff").read_text())["repository-code"] == url
    for path in sorted((copy / "chapters").rglob("*.ipynb")):
        cell = "".join(first_code_cell(json.loads(path.read_text()))["source"])
        assert f'COURSE = "--branch course {url}"' in cell


@pytest.mark.parametrize(
    "repository, branch",
    [("", "main"), ("brain-mri", "main"), ("a/b; rm -rf x", "main"), ("a/b", "x y")],
)
def test_a_wrong_repository_changes_nothing(copy, repository, branch):
    before = texts(copy)
    with pytest.raises(publish_config.ConfigError, match="expected"):
        publish_config.write(repository, branch, copy)
    assert texts(copy) == before


def test_nothing_links_to_a_repository_before_it_is_published():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    if config["repository"]["url"]:
        pytest.skip("this course is published")
    assert 'COURSE = ""' in master()
    assert config["launch_buttons"]["colab_url"] == ""
    assert config["launch_buttons"]["binderhub_url"] == ""
    assert "repository-code" not in (ROOT / "CITATION.cff").read_text()


# --- packing --------------------------------------------------------------------------


@pytest.fixture
def clone(copy) -> Path:
    """A copy that git knows, as a clone."""
    git = ["git", "-C", str(copy), "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True)
    return copy


def test_the_course_zip_runs_where_it_is_unpacked(clone, tmp_path):
    (clone / "data" / "downloads").mkdir()
    (clone / "data" / "downloads" / "real.jpg").write_bytes(b"not for others")
    with zipfile.ZipFile(pack.course(clone)) as archive:
        archive.extractall(tmp_path / "unpacked")
    course = tmp_path / "unpacked" / "course"
    assert not list(course.rglob("real.jpg"))
    assert not (course / "tests").exists()
    for name in ("Makefile", "requirements.lock", "LICENSE", "tools/colab.py"):
        assert (course / name).is_file()
    outputs = run_cell(
        course / "chapters",
        "import helpers; print(helpers.__file__)",
        "helpers.start()",
    )
    assert outputs[1][0]["text"].strip() == str(course / "helpers" / "__init__.py")
    assert "profile" in outputs[2][0]["text"]


def test_the_same_course_makes_the_same_zip(clone):
    first = pack.course(clone).read_bytes()
    assert pack.course(clone).read_bytes() == first


def test_a_book_with_real_images_is_not_packed(tmp_path, monkeypatch, capsys):
    record = {"real_data": True, "settings": {"BRAIN_MRI_DATA": "/my/images"}}
    monkeypatch.setattr(pack.book, "last_record", lambda: record)
    (tmp_path / "html").mkdir()
    with pytest.raises(pack.PackError, match=r"/my/images.*must not be published"):
        pack.site(tmp_path / "html")
    assert not (tmp_path / "site.zip").exists()
    assert pack.main(["site"]) == 2
    assert "env -u BRAIN_MRI_DATA" in capsys.readouterr().err


# --- the closing line of make test ----------------------------------------------------

CASE = '<testcase classname="tests.{}" name="{}">{}</testcase>'


def junit(tmp_path, *cases: str) -> Counts:
    file = tmp_path / "junit.xml"
    file.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return counts(file)


def test_skipped_browser_tests_are_named_in_the_last_line(tmp_path):
    found = junit(
        tmp_path,
        CASE.format("test_audit", "test_a", ""),
        CASE.format("test_browser", "test_search[http]", "<skipped/>"),
        CASE.format("test_browser", "test_search[file]", "<skipped/>"),
    )
    assert found == Counts(1, 0, ("test_search",))
    assert closing(found).startswith("Not run, for want of Chromium: test_search.")


def test_a_run_of_everything_says_so(tmp_path):
    found = junit(tmp_path, CASE.format("test_browser", "test_search", ""))
    assert closing(found) == "All 1 tests ran, 1 of them in the browser."


def test_no_report_means_that_no_test_ran(tmp_path):
    assert counts(tmp_path / "none.xml") == Counts(0, 0, ())


def test_what_is_required_is_used_where_its_reason_says():
    """Each line of requirements.in is imported, started or named by our own files."""
    lines = (ROOT / "requirements.in").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert all("  # " in line for line in wanted)  # each with its reason
    names = [re.match(r"[\w-]+", line)[0] for line in wanted]
    imported_as = {
        "pillow": "PIL",
        "scikit-learn": "sklearn",
        "beautifulsoup4": "bs4",
        "pyyaml": "yaml",
        "jupyter-book": "jupyter_book",
        "tensorflow-cpu": "tensorflow",
        "pytest-timeout": "timeout = ",
        "pytest-xdist": '"-n"',
        "pydata-sphinx-theme": "bd-article",
        "sphinx-book-theme": "article-header-buttons",
        "ipykernel": "kernel_name",
        "axe-playwright-python": "axe_playwright_python",
        "ai-edge-litert": "ai_edge_litert",
        "markdown-it-py": "markdown_it",
        "sphinx-revealjs": "sphinx_revealjs",
    }
    ours = [
        path
        for pattern in ("helpers/**/*.py", "tools/**/*.py", "tests/*.py", "Makefile")
        for path in ROOT.glob(pattern)
        if path != Path(__file__)
    ]
    ours += [*ROOT.glob("chapters/_static/*.[cj]s*"), ROOT / "pyproject.toml"]
    text = "\n".join(path.read_text() for path in ours)
    unused = [name for name in names if imported_as.get(name, name) not in text]
    assert not unused
