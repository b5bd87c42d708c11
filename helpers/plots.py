"""Figures of the course: readable on a phone, by colour-blind readers, on dark pages.

Every function returns the Figure. Colours are Okabe & Ito's (2008); where colour tells
classes apart, line style or position does too. Nothing depends on this module.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import (
    auc,
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    roc_curve,
)

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PINK = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
COLOURS = (BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK)  # yellow is faint on white
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
WIDTH = 6.5  # inches; a wider figure would shrink its text on a phone


def use_style() -> None:
    """Set the course's matplotlib defaults: white ground, dark text, 10 point."""
    plt.rcParams.update(
        {
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.figsize": (5.5, 3.6),
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": plt.cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10,
            "axes.labelsize": 10,
            "font.size": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "image.cmap": "gray",
        }
    )


def _panel(axes: Axes | None) -> Axes:
    return plt.subplots()[1] if axes is None else axes


def _grid(num_panels: int, columns: int) -> tuple[Figure, np.ndarray]:
    rows = -(-num_panels // columns)
    size = WIDTH / columns
    figure, grid = plt.subplots(
        rows, columns, figsize=(WIDTH, rows * (size + 0.3)), squeeze=False
    )
    for axes in grid.flat:
        axes.axis("off")
    return figure, grid.ravel()[:num_panels]


def _legend_below(axes: Axes, **options) -> None:
    # Curves may pass anywhere inside the axes, so the legend stays outside.
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.27), **options)


def _say_synthetic(figure: Figure) -> None:
    figure.supxlabel("synthetic images (phantoms), not patients", fontsize=9)


def gallery(
    data,
    indices: Sequence[int],
    titles: Sequence[str] | None = None,
    outlines: bool = False,
    columns: int = 4,
) -> Figure:
    """Show images of a `Dataset` in a grid, grey 0 to 255, each with a title.

    `indices`: which images; `titles`: one each (the class where None); `outlines`:
    draw the lesion's outline where the data has masks. Phantoms are named synthetic.
    """
    indices = np.asarray(indices)
    if titles is None:
        titles = [data.class_names[label] for label in data.labels[indices]]
    figure, grid = _grid(len(indices), columns)
    for axes, index, title in zip(grid, indices, titles, strict=True):
        axes.imshow(data.images[index], vmin=0, vmax=255)
        axes.set_title(title, fontsize=9)
        if outlines and data.masks is not None and data.masks[index].any():
            axes.contour(data.masks[index], levels=[0.5], colors=ORANGE, linewidths=1.5)
    if data.synthetic:
        _say_synthetic(figure)
    return figure


def mistakes(data, wrong: pd.DataFrame, badge: str, columns: int = 3) -> Figure:
    """Show the images that a model found hardest, in the order of `wrong`.

    `wrong`: columns file, true, predicted, probability (of the predicted class), those
    with the least probability of their own class.
    `badge`: where the model's images came from, "synthetic" or "real, ...". An image
    is drawn if `data` has it, with the lesion's outline where known; else its panel
    holds the file's name, so that one call serves readers with and without the images.
    """
    own = data.table["file"].to_numpy()
    same = badge.startswith(data.badge)  # a phantom never stands in for a real file
    figure, grid = _grid(len(wrong), columns)
    for axes, row in zip(grid, wrong.itertuples(), strict=True):
        axes.set_title(
            f"{row.true}, called\n{row.predicted} ({row.probability:.2f})", fontsize=9
        )
        found = np.flatnonzero(own == row.file) if same else []
        if len(found) == 0:
            axes.text(0.5, 0.5, row.file.replace("/", "/\n"), ha="center", va="center")
            axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[], yticks=[])
            axes.axis("on")
            axes.spines[:].set(visible=True, color="grey", linewidth=0.8)
            continue
        axes.imshow(data.images[found[0]], vmin=0, vmax=255)
        if data.masks is not None and data.masks[found[0]].any():
            axes.contour(data.masks[found[0]], [0.5], colors=ORANGE, linewidths=1.5)
    title = "Images whose own class got the least probability"
    figure.suptitle(f"{title}\n({badge})", fontsize=10)
    if badge == "synthetic":
        _say_synthetic(figure)
    return figure


def class_counts(data) -> Figure:
    """Draw how many images each class has in each folder of the official split."""
    counts = pd.crosstab(data.table["class"], data.table["split"])
    counts = counts.reindex(list(data.class_names), fill_value=0)
    figure, axes = plt.subplots()
    height = 0.8 / len(counts.columns)
    for place, (split, color) in enumerate(
        zip(sorted(counts, reverse=True), COLOURS, strict=False)
    ):
        bars = axes.barh(
            np.arange(len(counts)) + place * height,
            counts[split],
            height,
            color=color,
            label=split,
        )
        axes.bar_label(bars, padding=2, fontsize=9)
    axes.set_yticks(np.arange(len(counts)) + height / 2, counts.index)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(xlabel="images", title=f"Images in each class: {data.name} ({data.badge})")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def confusion(labels, predictions, class_names, title, axes: Axes | None = None):
    """Draw a confusion matrix: rows true, columns predicted, counts written in cells.

    Colour is the share of the row, so that a large class does not outshine a small one.
    """
    counts = confusion_matrix(labels, predictions, labels=np.arange(len(class_names)))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes = _panel(axes)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=color)
    ticks = np.arange(len(class_names))
    axes.set_xticks(ticks, class_names, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, class_names)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    return axes.figure


def roc_curves(
    labels,
    probabilities,
    class_names,
    title,
    axes: Axes | None = None,
    leave_out: str = "",
):
    """Draw each class' one-vs-rest ROC curve, with its area in the legend.

    `labels` [n], `probabilities` [n, k]. A dotted diagonal marks guessing. The class
    `leave_out` gets no curve of its own; its images stay among the others' rest.
    """
    axes = _panel(axes)
    for i, name in enumerate(class_names):
        if name == leave_out:
            continue
        away, found, _ = roc_curve(np.equal(labels, i), probabilities[:, i])
        style = {"color": COLOURS[i], "linestyle": LINES[i]}
        axes.plot(away, found, label=f"{name}, area {auc(away, found):.3f}", **style)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="1 − specificity", ylabel="sensitivity", title=title)
    _legend_below(axes)
    return axes.figure


def precision_recall_curves(
    labels,
    probabilities,
    class_names,
    title,
    axes: Axes | None = None,
    leave_out: str = "",
):
    """Draw each class' precision over its sensitivity (recall), one class vs the rest.

    `labels` [n], `probabilities` [n, k]. The legend gives average precision and, for
    comparison, the class' share: what guessing would score. The class `leave_out` gets
    no curve of its own.
    """
    axes = _panel(axes)
    for i, name in enumerate(class_names):
        if name == leave_out:
            continue
        true = np.equal(labels, i)
        precision, found, _ = precision_recall_curve(true, probabilities[:, i])
        score = average_precision_score(true, probabilities[:, i])
        label = f"{name}, {score:.3f} (share {true.mean():.2f})"
        style = {"color": COLOURS[i], "linestyle": LINES[i], "label": label}
        axes.plot(found, precision, drawstyle="steps-post", **style)
    axes.set(xlabel="sensitivity (recall)", ylabel="precision", title=title)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
    _legend_below(axes, title="average precision")
    return axes.figure


def interval_dots(
    results: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel, title
) -> Figure:
    """Draw one row a result: every seed as a dot, the 95 % interval as a line.

    `results`: name -> (values of the seeds, [low, high]).
    """
    figure, axes = plt.subplots(figsize=(5.5, 1.2 + 0.45 * len(results)))
    for row, (seeds, (low, high)) in enumerate(results.values()):
        first = row == 0
        interval = "95 % interval" if first else None
        axes.plot([low, high], [row, row], color=BLUE, linewidth=2, label=interval)
        # Dots sit a little apart so that equal seeds stay countable.
        heights = row + np.linspace(-0.15, 0.15, len(seeds)) * (len(seeds) > 1)
        dot = {"color": RED, "marker": "o", "markersize": 5, "linestyle": "none"}
        axes.plot(seeds, heights, **dot, label="one seed" if first else None)
    axes.set_yticks(range(len(results)), list(results))
    axes.invert_yaxis()
    axes.margins(y=0.25)
    axes.grid(axis="x", linewidth=0.4)
    axes.set(xlabel=xlabel, title=title)
    figure.legend(loc="outside lower right", ncols=2)
    return figure


def differences(
    results: Mapping[str, tuple[float, float, float]],
    xlabel: str,
    title: str,
    axes: Axes | None = None,
) -> Figure:
    """Draw one row a change: its difference as a dot, the 95 % interval as a line.

    `results`: name -> (difference, low, high). Blue, filled: the interval holds zero.
    Red, hollow: it does not.
    """
    if axes is None:
        axes = plt.subplots(figsize=(5.5, 1.2 + 0.3 * len(results)))[1]
    for row, (difference, low, high) in enumerate(results.values()):
        within = low <= 0 <= high
        colour, face = (BLUE, BLUE) if within else (RED, "white")
        axes.plot([low, high], [row, row], color=colour, linewidth=2)
        axes.plot(difference, row, "o", color=colour, markerfacecolor=face)
    axes.axvline(0, color=BLACK, linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(results)), list(results))
    # Panels that share their rows would turn them over twice.
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.grid(axis="x", linewidth=0.4)
    axes.set(xlabel=xlabel, title=title)
    return axes.figure


def calibration(bins: pd.DataFrame, title, axes: Axes | None = None):
    """Draw accuracy over confidence in bins; dots on the diagonal are calibrated.

    `bins`: from `evaluation.calibration_bins`. A dot's area grows with its images.
    """
    axes = _panel(axes)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    area = 12 + 250 * bins.images / bins.images.sum()
    dots = {"color": BLUE, "alpha": 0.8, "clip_on": False}  # whole, also at the edge
    axes.scatter(bins.confidence, bins.accuracy, s=area, **dots)
    axes.set(xlabel="confidence (mean of the bin)", ylabel="accuracy", title=title)
    axes.set(xlim=(0, 1), ylim=(-0.03, 1))
    return axes.figure


def threshold(positive, scores, cut: float, name: str, title: str) -> Figure:
    """Draw the probabilities of one class and a threshold that splits them.

    `positive` bool [n]: which images are of class `name`; `scores` [n]: its
    probability; `cut`: images at or above are called `name`.
    """
    positive, scores = np.asarray(positive), np.asarray(scores)
    sensitivity = (scores[positive] >= cut).mean()
    specificity = (scores[~positive] < cut).mean()
    figure, axes = plt.subplots()
    bins = np.linspace(0, 1, 21)
    axes.hist(scores[~positive], bins, color=SKY, label="other classes")
    hollow = {"histtype": "step", "color": RED, "linewidth": 1.8}
    axes.hist(scores[positive], bins, **hollow, label=name)
    axes.axvline(cut, color=BLACK, linestyle="--", label=f"threshold {cut:.2f}")
    axes.set_yscale("symlog", linthresh=10)
    axes.set(xlim=(0, 1), xlabel=f"probability of {name}", ylabel="images")
    axes.set_title(
        f"{title}\nsensitivity {sensitivity:.3f}, specificity {specificity:.3f}"
    )
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def learning_curves(history: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Draw loss and accuracy of every epoch, training and validation.

    `history`: Keras' `History.history`, keys loss, accuracy, val_loss, val_accuracy;
    missing ones are left out.
    """
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3))
    for axes, metric, unit in zip(
        panels, ("loss", "accuracy"), ("loss (nats)", "accuracy"), strict=True
    ):
        for key, label, style in (
            (metric, "training", "-"),
            (f"val_{metric}", "validation", "--"),
        ):
            if key in history:
                epochs = np.arange(1, len(history[key]) + 1)
                axes.plot(epochs, history[key], style, marker=".", label=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel="epoch", ylabel=unit)
        axes.legend()
    figure.suptitle(title, fontsize=10)
    return figure
