"""Draws the front page's figure and the card for links: `python -m tools.figures`.

Both follow from the records, and are committed, since the front page is no notebook; a
test draws them once more.
"""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from helpers import recorded
from helpers.config import ROOT

PLACE = ROOT / "chapters" / "_static" / "two_tests.svg"
CARD = PLACE.with_name("social_card.png")
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


def draw_card(path: Path = CARD) -> None:
    """Write what is shown beside a link to the course: 1200 x 630 pixels."""
    copied, probe = (accuracies()[name] for name in list(METHODS)[:3:2])
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = plt.figure(figsize=(12, 6.3), dpi=100, facecolor="#0b2545")
        figure.text(0.06, 0.8, "Brain Tumor MRI, honestly", color="white", size=44)
        words = {"color": "white", "size": 24}
        figure.text(0.06, 0.68, "Same images, two ways to test. Share right:", **words)
        axes = figure.add_axes((0.4, 0.14, 0.52, 0.44), facecolor="none")
        for row, (official, folds) in enumerate((probe, copied)):
            axes.plot([folds, official], [row, row], color="#8da9c4", linewidth=4)
            axes.plot(official, row, "o", color="#e69f00", markersize=20)
            axes.plot(folds, row, "s", color="#56b4e9", markersize=18)
            for share, side in ((folds, "right"), (official, "left")):
                gap = 0.015 if side == "left" else -0.015
                label = f"{100 * share:.1f} %"
                axes.text(share + gap, row, label, ha=side, va="center", **words)
        names = ["linear classifier\non a frozen network", "copying the\nnearest image"]
        axes.set_yticks([0, 1], names, color="white", size=22)
        axes.set(xlim=(0.6, 1.1), ylim=(-0.4, 1.6), xticks=[])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        legend = (("#56b4e9", "■ without copies"), ("#e69f00", "● official test"))
        for place, (colour, name) in enumerate(legend):
            figure.text(0.44 + 0.27 * place, 0.06, name, color=colour, size=22)
        figure.savefig(path, metadata={"Software": None})
        plt.close(figure)


if __name__ == "__main__":
    draw()
    draw_card()
    print(f"wrote {PLACE.name} and {CARD.name} in {PLACE.parent.relative_to(ROOT)}")
