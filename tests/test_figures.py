"""The front page's figure says what the records say today."""

import re

from tools import figures


def places(path) -> list[str]:
    """Return where a figure draws its dots: what the numbers decide, and no font."""
    return re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', path.read_text())


def test_the_committed_figure_is_the_one_that_the_records_give(tmp_path):
    figures.draw(tmp_path / "again.svg")
    drawn = places(tmp_path / "again.svg")
    assert len(drawn) > 2 * len(figures.METHODS)
    assert places(figures.PLACE) == drawn


def test_every_method_is_there_on_both_tests():
    found = figures.accuracies()
    assert found["copying the nearest image"][0] > 0.98
    assert all(official > folds for official, folds in found.values())
