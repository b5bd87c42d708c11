"""Draws the front page's figure from the records: `python -m tools.figures`.

It is committed, since the front page is no notebook; a test draws it once more.
"""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from helpers import recorded
from helpers.config import ROOT

PLACE = ROOT / "chapters" / "_static" / "two_tests.svg"
# What is compared: its record on the official test, and on folds without copies.
METHODS = {
    "copying the nearest image": ("copying-mirrored-official", "copying-twin-free"),
    "the border of the picture": ("border-official", "border-twin-free"),
    "linear classifier": ("linear-probe-official", "linear-probe-twin-free"),
    "half a block, fine-tuned": ("recipe-official", "recipe-leak-free"),
    "the tutorial's recipe": ("seed-recipe", "seed-recipe-leak-free"),
}
COLOURS = ("#b35900", "#1f5fa8")


def accuracies() -> dict[str, tuple[float, float]]:
    """Return each method's share right, 0 to 1, on both tests."""
    return {
        name: tuple(recorded.info(run)["metrics"]["accuracy"] for run in runs)
        for name, runs in METHODS.items()
    }


def draw(path: Path = PLACE) -> None:
    """Write the figure: two dots a method, joined by a line, in lettering of 13 px."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the course's own style has set
        matplotlib.rcParams |= {"svg.hashsalt": "course", "svg.fonttype": "none"}
        matplotlib.rcParams["font.size"] = 13
        figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
        for row, (official, folds) in enumerate(reversed(accuracies().values())):
            axes.plot([folds, official], [row, row], color="#999999", zorder=1)
            axes.plot(official, row, "o", color=COLOURS[0], markersize=10)
            axes.plot(folds, row, "s", color=COLOURS[1], markersize=10)
        axes.set_yticks(range(len(METHODS)), list(reversed(METHODS)))
        axes.set(xlim=(0.6, 1.0), xlabel="share right (real images, recorded)")
        axes.plot([], [], "s", color=COLOURS[1], label="folds without copies")
        axes.plot([], [], "o", color=COLOURS[0], label="official test")
        axes.legend(loc="lower left", frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(figure)


if __name__ == "__main__":
    draw()
    print("wrote", PLACE.relative_to(ROOT))
