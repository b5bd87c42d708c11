"""`make check` tells a reader whether the installation is right; it changes nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.config import ROOT, CourseError
from tools import check, environment

AS_GIVEN = ("it's here", "$(shell touch pwned)", "`touch pwned`", "a; touch pwned")
AS_GIVEN += ("'; touch pwned; '", "a$$b$x", '"q" \\ #', "größe")


@pytest.mark.parametrize("way", ["environment", "argument"])
def test_make_hands_a_setting_on_as_it_stands(way, tmp_path):
    """The real Makefile, with one more target that prints what a recipe sees."""
    text = (ROOT / "Makefile").read_text() + "\nshow:\n\tprintenv BRAIN_MRI_DATA\n"
    (tmp_path / "Makefile").write_text(text)
    for value in AS_GIVEN:
        setting = {"BRAIN_MRI_DATA": value}
        arguments = [f"BRAIN_MRI_DATA={value}"] if way == "argument" else []
        answer = subprocess.run(
            ["make", "-s", "show", *arguments],
            cwd=tmp_path,
            env=os.environ | (setting if way == "environment" else {}),
            capture_output=True,
            text=True,
        )
        assert (answer.stdout, answer.stderr) == (f"{value}\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]


def test_make_keeps_other_packages_and_other_places_out(tmp_path):
    text = (ROOT / "Makefile").read_text() + "\nshow:\n\tenv\n"
    (tmp_path / "Makefile").write_text(text)
    kept_out = {"PYTHONPATH": "/old/numpy", "PIP_TARGET": "/elsewhere"}
    answer = subprocess.run(
        ["make", "-s", "show"],
        cwd=tmp_path,
        env=os.environ | kept_out | {"PIP_INDEX_URL": "https://mirror"},
        capture_output=True,
        text=True,
    )
    names = {line.split("=")[0] for line in answer.stdout.splitlines()}
    assert not names & set(kept_out) and "PIP_INDEX_URL" in names


@pytest.mark.parametrize(
    ("head", "moved"),
    [
        ("#!{bin}/python\n", False),
        ('#!/bin/sh\n\'\'\'exec\' "{bin}/python3.11" "$0" "$@"\n', False),
        ("#!/old place/.venv/bin/python\n", True),
        ('#!/bin/sh\n\'\'\'exec\' "/old place/.venv/bin/python" "$0" "$@"\n', True),
        (None, False),
    ],
)
def test_an_environment_that_was_moved_is_noticed(head, moved, tmp_path, monkeypatch):
    folder = tmp_path / "my course" / ".venv" / "bin"
    folder.mkdir(parents=True)
    if head:
        (folder / "pip").write_text(head.format(bin=folder) + "import pip\n")
    monkeypatch.setattr(environment, "VENV", folder.parent)
    assert environment.moved() is moved


def test_setup_makes_a_moved_environment_anew_although_its_stamp_is_right(
    tmp_path, monkeypatch
):
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "pip").write_text("#!/old/.venv/bin/python\n")
    (venv / "bin" / "python").symlink_to(sys.executable)
    lock = environment.hashlib.sha256(environment.LOCK.read_bytes()).hexdigest()
    (venv / "course-lock").write_text(lock)
    for name, value in {"VENV": venv, "PYTHON": venv / "bin" / "python"}.items():
        monkeypatch.setattr(environment, name, value)
    monkeypatch.setattr(environment, "STAMP", venv / "course-lock")
    made = []
    monkeypatch.setattr(environment, "run", lambda *c, **n: made.append(c) or 0)
    assert environment.main([]) == 0
    assert made[0][1:4] == ("-m", "venv", "--clear")
    (venv / "bin" / "pip").write_text(f"#!{venv}/bin/python\n")
    assert environment.main([]) == 0
    assert sum("venv" in command for command in made) == 1


def test_the_book_is_built_without_programs_that_name_their_old_place():
    source = (ROOT / "tools" / "book.py").read_text()
    assert "with_name(" not in source


def test_a_build_folder_that_is_read_only_is_one_message(monkeypatch, capsys):
    from tools import book

    def build():
        raise OSError(30, "Read-only file system", "_build/source")

    monkeypatch.setattr(book, "build", build)
    assert book.main() == 1
    said = capsys.readouterr().err.strip()
    assert said == (
        "_build/source: Read-only file system. Free some space, or make the folder "
        "writable. The book was not built."
    )


@pytest.mark.parametrize(("user", "added"), [("0", True), ("1000", False)])
def test_lab_starts_for_root_too(user, added, tmp_path):
    """In a container everybody is root, and Jupyter would only refuse."""
    (tmp_path / "id").write_text(f"#!/bin/sh\necho {user}\n")
    (tmp_path / "id").chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["make", "-n", "lab"]
    told = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert ("--allow-root" in told.stdout) is added


def test_what_is_wrong_is_told_in_one_line_each_and_the_rest_is_looked_at(capsys):
    def right() -> str:
        return "all of it"

    def wrong() -> str:
        raise CourseError("x is missing. Run: make setup")

    def broken() -> str:
        raise ImportError("No module named 'keras'")

    assert check.main((right, wrong, broken, right)) == 1
    assert capsys.readouterr().out.splitlines() == [
        "right  all of it",
        "WRONG  x is missing. Run: make setup",
        "WRONG  ImportError: No module named 'keras'. Run: make setup",
        "right  all of it",
        "2 of 4 are not right; chapters/troubleshooting.md has more.",
    ]
    assert check.main((right,)) == 0
    assert "Your installation is right." in capsys.readouterr().out


@pytest.fixture(autouse=True)
def own_place(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))


def test_this_installation_is_right_in_what_is_quick_to_see():
    quick = (check.the_environment, check.the_packages, check.the_settings)
    assert check.main((*quick, check.the_room, check.the_files)) == 0


def test_a_package_from_elsewhere_is_named_with_its_place(tmp_path, monkeypatch):
    about = tmp_path / "numpy-1.16.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.16")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CourseError, match=r"numpy is 1\.16 from .*Unset PYTHONPATH"):
        check.the_packages()


def test_settings_that_name_nothing_are_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAIN_MRI_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(CourseError, match="nowhere is not a folder"):
        check.the_settings()


@pytest.mark.parametrize("fault", ["a file in its place", "a full disk"])
def test_a_cache_that_cannot_be_written_is_wrong(fault, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("") if fault.startswith("a file") else None
    usage = shutil.disk_usage(tmp_path)
    if fault == "a full disk":
        full = usage._replace(free=5_000_000)
        monkeypatch.setattr(check.shutil, "disk_usage", lambda folder: full)
    said = "has 5 MB left" if fault == "a full disk" else r"cache cannot be written \("
    with pytest.raises(CourseError, match=said):
        check.the_room()


def test_a_notebook_that_does_not_find_the_course_is_wrong(monkeypatch):
    monkeypatch.setattr(check, "START", "import helpers_that_are_not_there")
    with pytest.raises(CourseError, match=r"a notebook does not run: .*not_there"):
        check.a_notebook()


def test_troubleshooting_sends_readers_to_check_and_not_to_the_authors_tests():
    page = (Path(ROOT) / "chapters" / "troubleshooting.md").read_text()
    assert "make check" in page and "make test" not in page
