"""Chapter 7 as a reader runs it who keeps its folder where it stays."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.config import ROOT

CHAPTER = ROOT / "chapters" / "07_fine_tune.ipynb"
FORGOTTEN = "folder = Path(tempfile.mkdtemp())"  # as the chapter tells to replace it
REPORT = """import json
kept = sorted((folder / "plan").glob("*.npz"))
print(json.dumps([carried_out.history, carried_out.predict(val).tolist(),
    [(str(path), path.stat().st_mtime_ns) for path in kept]]))"""


def run_all(folder: Path) -> list:
    """Run every cell with a folder that stays; return where it ended."""
    notebook = nbformat.read(CHAPTER, as_version=4)
    places = [cell for cell in notebook.cells if FORGOTTEN in cell.source]
    code, told = (
        [cell for cell in places if cell.cell_type == kind]
        for kind in ("code", "markdown")
    )
    assert len(code) == len(told) == 1
    code[0].source = code[0].source.replace(
        FORGOTTEN, f"folder = Path({str(folder)!r})"
    )
    notebook.cells.append(nbformat.v4.new_code_cell(REPORT))
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(CHAPTER.parent)}},
    ).execute()
    return json.loads(notebook.cells[-1].outputs[0].text)


@pytest.mark.slow
def test_run_all_a_second_time_with_a_folder_that_stays_ends_in_the_same_place(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))
    first, again = (run_all(tmp_path / "Drive" / "chapter-07") for _ in range(2))
    assert first[2] and first == again
