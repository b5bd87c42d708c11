"""What `make tidy` promises: a chapter saved in Lab is in the committed form again."""

import nbformat
import pytest
import yaml
from notebook_form import outputs as complaints

from helpers.config import ROOT
from tools import tidy

NOTEBOOKS = sorted(ROOT.glob("chapters/**/*.ipynb"))


def as_lab_saves_it(path) -> None:
    """Write a notebook with a checked cell and another, run and saved in Lab."""
    new = nbformat.v4
    picture = {"image/png": "aGVhZA==", "text/plain": "3"}
    result = new.new_output("execute_result", picture, execution_count=7)
    stray = new.new_output("stream", name="stderr", text="a warning\n")
    checked = new.new_code_cell(
        "1 + 2", id="sum", outputs=[stray, result], execution_count=7
    )
    checked.metadata = {"tags": ["nbval-check-output"], "scrolled": True}
    other = new.new_code_cell(
        "print('seen')",
        id="print",
        execution_count=8,
        outputs=[new.new_output("stream", name="stdout", text="seen\n")],
    )
    other.metadata = {"execution": {"iopub.execute_input": "2026"}}
    metadata = {"language_info": {"name": "python", "version": "3.12.1"}, "widgets": {}}
    cells = [new.new_markdown_cell("# One", id="title"), checked, other]
    nbformat.write(new.new_notebook(cells=cells, metadata=metadata), path)


@pytest.mark.parametrize("arguments", [["--form"], []])
def test_a_notebook_saved_in_lab_is_in_form_again(tmp_path, arguments):
    path = tmp_path / "one.ipynb"
    as_lab_saves_it(path)
    assert complaints(nbformat.read(path, 4))
    assert tidy.main([*arguments, str(path)]) == (1 if arguments else 0)
    notebook = nbformat.read(path, 4)
    assert complaints(notebook) == []
    assert notebook.cells[1].outputs[0].data == {"text/plain": "3"}
    assert notebook.cells[1].metadata == {"tags": ["nbval-check-output"]}
    assert notebook.cells[2].metadata == {}
    assert notebook.metadata.language_info == {"name": "python"}
    assert tidy.main(["--form", str(path)]) == 0


def test_a_notebook_that_fails_is_left_as_it_is(tmp_path, capsys):
    path = tmp_path / "one.ipynb"
    cell = nbformat.v4.new_code_cell("1 / 0", id="fails", execution_count=3)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    before = path.read_bytes()
    assert tidy.main([str(path)]) == 1
    assert path.read_bytes() == before
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_every_committed_notebook_is_as_tidy_writes_it():
    untidy = [
        path.name
        for path in NOTEBOOKS
        if tidy.normal(nbformat.read(path, 4)) != path.read_text()
    ]
    assert untidy == []


def test_the_hooks_need_no_network():
    known = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in known["repos"]] == ["local"]
    hooks = known["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert [hook["entry"].split()[2] for hook in hooks] == [
        "ruff",
        "ruff",
        "tools.tidy",
    ]
