"""What a page shows to those who read: which code is folded, which is left out."""

import nbformat.v4 as nb
import pytest

from tools import reading

FIGURE = nb.new_output("display_data", {"image/png": "..."})
TABLE = nb.new_output("display_data", {"text/plain": "..."})


def staged(source: str, *outputs, tags=()) -> nb.nbbase.NotebookNode:
    cell = nb.new_code_cell(source, outputs=list(outputs), metadata={"tags": [*tags]})
    reading.prepare(nb.new_notebook(cells=[cell]))
    return cell


@pytest.mark.parametrize(
    ("source", "outputs"),
    [
        ("import numpy as np\nfrom helpers import plots", []),
        ("assert a == b\nassert c", []),
        ("axes = plt.subplots()[1]\naxes.plot(x)", [FIGURE]),
    ],
)
def test_code_that_can_wait_is_folded(source, outputs):
    assert "hide-input" in staged(source, *outputs).metadata.tags


@pytest.mark.parametrize("source", ["x = f(1)\nx", "%matplotlib inline", "assert a\nb"])
def test_code_that_teaches_stays_open(source):
    assert staged(source, TABLE).metadata.tags == []


@pytest.mark.parametrize(
    "source", ["widgets.quiz(questions)", 'q = [widgets.choice("?", ("yes", "why"))]']
)
def test_the_code_of_a_quiz_which_holds_its_answers_is_left_out(source):
    assert staged(source, TABLE).metadata.tags == ["remove-input"]


@pytest.mark.parametrize(
    "source", ["helpers.start()", 'if "google.colab" in sys.modules:\n    fetch()']
)
def test_what_only_gets_a_notebook_going_is_left_out(source):
    cell = staged(source, TABLE, tags=["hide-input"])
    assert cell.metadata.tags == ["remove-input"]


def test_an_exercise_without_an_answer_sends_to_the_notebook():
    asked = nb.new_output("stream", text="Not yet: replace the ... with your answer.\n")
    cell = staged("checks.ch1_count(answer);", asked)
    assert cell.outputs[0].text == reading.IN_THE_NOTEBOOK
    kept = nb.new_output("stream", text="Right: 7\n")
    assert staged("checks.ch1_count(7);", kept).outputs[0].text == "Right: 7\n"
