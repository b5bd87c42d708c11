"""Drawings that explain a network: grids of numbers, wires between layers, maps.

Every function returns the Figure. They draw what they are told, and measure nothing.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle

from helpers.plots import BLACK, BLUE, ORANGE, RED, SKY, WIDTH

Window = tuple[int, int, int, int]


def grids(
    panels: Sequence[tuple[str, np.ndarray]], windows: dict[int, Window] | None = None
) -> Figure:
    """Draw small arrays as numbers in cells, side by side, darker where larger.

    `panels`: (title, array [rows, columns]) each; `windows`: which panel gets an orange
    frame around which cells, as {panel: (row, column, height, width)}.
    """
    sizes = [array.shape[1] + 1 for _, array in panels]
    figure, all_axes = plt.subplots(
        1, len(panels), figsize=(WIDTH, 2.3), width_ratios=sizes, squeeze=False
    )
    for number, (axes, (title, array)) in enumerate(
        zip(all_axes[0], panels, strict=True)
    ):
        largest = np.abs(array).max() or 1
        # Pale enough for black numbers, whatever their sign.
        axes.imshow(np.abs(array) / largest, cmap="Blues", vmin=0, vmax=2.2)
        for (row, column), value in np.ndenumerate(array):
            axes.text(column, row, f"{value:g}", ha="center", va="center", fontsize=10)
        if windows and number in windows:
            row, column, height, width = windows[number]
            corner = (column - 0.5, row - 0.5)
            frame = {"fill": False, "edgecolor": RED, "linewidth": 3}
            axes.add_patch(Rectangle(corner, width, height, **frame, clip_on=False))
        axes.set(title=title, xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure


def wirings(num_layers: int = 4) -> Figure:
    """Draw plain, residual and dense connections between as many layers, in rows."""
    heights = {"height_ratios": (1, 1, 1.9)}
    figure, rows = plt.subplots(3, 1, figsize=(WIDTH, 5.4), gridspec_kw=heights)
    for axes, kind in zip(rows, ("plain", "residual", "dense"), strict=True):
        _wiring(axes, kind, num_layers)
    return figure


def _wiring(axes: Axes, kind: str, num_layers: int) -> None:
    places = 2.0 * np.arange(num_layers + 1)
    for number, place in enumerate(places):
        colour = SKY if number == 0 else "white"
        box = Rectangle((place - 0.32, -0.3), 0.64, 0.6, facecolor=colour, ec=BLACK)
        axes.add_patch(box)
        axes.text(place, 0, f"$x_{number}$", ha="center", va="center")
        if number:
            axes.text(place - 1, -0.38, f"$H_{number}$", ha="center", va="top")
    for number in range(num_layers):
        arrow(axes, (places[number] + 0.34, 0), (places[number + 1] - 0.34, 0), BLACK)
        last = {"plain": number, "residual": number + 1, "dense": num_layers}[kind]
        for target in range(number + 1, last + 1):
            # One arrow a pair: the dense block's next-door wire is the straight one.
            if kind == "dense" and target == number + 1:
                continue
            end = places[target] - 0.2 * (kind == "dense")
            bend = -0.55 if target == number + 1 else -0.42
            colour = RED if kind == "residual" else BLUE
            arrow(axes, (places[number] + 0.1, 0.32), (end, 0.32), colour, bend)
    sums = {
        "plain": r"plain: $x_\ell = H_\ell(x_{\ell-1})$",
        "residual": r"residual: $x_\ell = H_\ell(x_{\ell-1}) + x_{\ell-1}$",
        "dense": r"dense: $x_\ell = H_\ell([x_0, x_1, \ldots, x_{\ell-1}])$",
    }
    axes.set(xlim=(-0.5, places[-1] + 0.5), ylim=(-0.8, 2.3 if kind == "dense" else 1))
    axes.set_title(sums[kind], loc="left")
    axes.axis("off")


def arrow(axes: Axes, start, end, colour: str, bend: float = 0.0) -> None:
    """Draw an arrow from one point to another, bent to the left by `bend`."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=10,
            color=colour,
            shrinkA=0,
            shrinkB=0,
        )
    )


def maps(steps: Sequence[tuple[str, int, int]], title: str) -> Figure:
    """Draw stacks of feature maps as boxes, one a step, joined by arrows.

    `steps`: (label, side in pixels, channels); a box is as high as the side and as wide
    as the channels, both relative to the largest.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 2.6))
    sides = max(side for _, side, _ in steps)
    most = max(channels for _, _, channels in steps)
    at = 0.0
    for number, (label, side, channels) in enumerate(steps):
        height, width = 0.25 + 0.75 * side / sides, 0.08 + 0.7 * channels / most
        slant = 0.3 * height
        low = -height / 2
        front = [(at, low), (at + width, low), (at + width, -low), (at, -low)]
        lift = np.array([slant, slant / 2])
        top = [front[3], front[2], np.add(front[2], lift), np.add(front[3], lift)]
        right = [front[1], front[2], np.add(front[2], lift), np.add(front[1], lift)]
        for corners, colour in ((front, SKY), (top, "#a9d8f5"), (right, BLUE)):
            axes.add_patch(Polygon(corners, facecolor=colour, edgecolor=BLACK, lw=0.8))
        middle = at + (width + slant) / 2
        text = f"{label}\n{side} × {side}\n× {channels}"
        axes.text(middle, -0.6, text, ha="center", va="top", fontsize=9)
        if number:
            arrow(axes, (at - 0.24, 0), (at - 0.06, 0), ORANGE)
        at += max(width + slant, 0.62) + 0.3
    axes.set(xlim=(-0.3, at), ylim=(-1.25, 0.75), title=title)
    axes.axis("off")
    return figure


def trained(
    parts: Sequence[tuple[str, float]], rows: Sequence[tuple[str, int]]
) -> Figure:
    """Draw a network's parts as a row of boxes, once for each way to train it.

    `parts`: (label, relative width) from input to output; `rows`: (label, number of
    the first part that trains). White keeps its weights, orange trains.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 * len(rows) + 0.3))
    for row, (name, first) in enumerate(rows):
        at, middle = 0.0, -1.4 * row
        for number, (label, width) in enumerate(parts):
            colour = ORANGE if number >= first else "white"
            box = Rectangle((at, middle - 0.4), width, 0.8, facecolor=colour, ec=BLACK)
            axes.add_patch(box)
            axes.text(at + width / 2, middle, label, ha="center", va="center")
            at += width + 0.35
            if number + 1 < len(parts):
                arrow(axes, (at - 0.33, middle), (at - 0.02, middle), BLACK)
        axes.text(-0.25, middle, name, ha="right", va="center")
    axes.set(xlim=(-2.2, at), ylim=(-1.4 * len(rows) + 0.8, 0.6))
    axes.axis("off")
    return figure
