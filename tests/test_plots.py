"""Figures say what they must, in letters and colours that everybody can read."""

from types import SimpleNamespace

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from helpers import evaluation, plots

NAMES = ("glioma", "meningioma", "notumor", "pituitary")
REAL = "real, recorded on 2026-11-22"
RNG = np.random.default_rng(0)
LABELS = np.arange(80) % 4
PROBABILITIES = RNG.dirichlet(np.ones(4), 80) * 0.7 + np.eye(4)[LABELS] * 0.3
PREDICTIONS = PROBABILITIES.argmax(axis=1)


def dataset(synthetic=True):
    masks = np.zeros((80, 32, 32), np.uint8)
    masks[LABELS != 2, 10:20, 8:16] = 1
    table = pd.DataFrame(
        {
            "file": [
                f"Testing/{NAMES[label]}/{i}.jpg" for i, label in enumerate(LABELS)
            ],
            "split": np.where(np.arange(80) < 60, "Training", "Testing"),
            "class": [NAMES[label] for label in LABELS],
        }
    )
    return SimpleNamespace(
        name="phantom 1",
        images=RNG.integers(0, 256, (80, 32, 32), dtype=np.uint8),
        labels=LABELS,
        class_names=NAMES,
        masks=masks,
        synthetic=synthetic,
        badge="synthetic" if synthetic else "real",
        table=table,
    )


def hard(data):
    files = [*data.table["file"][[0, 1, 2]], "Testing/glioma/elsewhere.jpg"]
    columns = {"true": "glioma", "predicted": "pituitary", "probability": 0.98}
    return pd.DataFrame({"file": files, **columns})


FIGURES = {
    "gallery": lambda: plots.gallery(dataset(), range(6), outlines=True),
    "mistakes": lambda: plots.mistakes(dataset(), hard(dataset()), "synthetic"),
    "class_counts": lambda: plots.class_counts(dataset()),
    "confusion": lambda: plots.confusion(LABELS, PREDICTIONS, NAMES, "synthetic"),
    "roc_curves": lambda: plots.roc_curves(LABELS, PROBABILITIES, NAMES, "synthetic"),
    "precision_recall_curves": lambda: plots.precision_recall_curves(
        LABELS, PROBABILITIES, NAMES, "synthetic"
    ),
    "interval_dots": lambda: plots.interval_dots(
        {"probe": ([0.9], [0.8, 0.95]), "tuned": ([0.9, 0.92, 0.9], [0.85, 0.97])},
        "macro-F1",
        "synthetic",
    ),
    "differences": lambda: plots.differences(
        {"one": (0.01, -0.01, 0.03), "two": (-0.1, -0.2, -0.05)}, "gain", "synthetic"
    ),
    "calibration": lambda: plots.calibration(
        evaluation.calibration_bins(LABELS, PROBABILITIES), "synthetic"
    ),
    "threshold": lambda: plots.threshold(
        LABELS == 1, PROBABILITIES[:, 1], 0.5, "meningioma", "synthetic"
    ),
    "learning_curves": lambda: plots.learning_curves(
        {"loss": [1, 0.5], "val_loss": [1, 0.8], "accuracy": [0.5, 0.9]}, "synthetic"
    ),
}


@pytest.fixture(autouse=True)
def style():
    with matplotlib.rc_context():
        plots.use_style()
        yield
    plt.close("all")


def written(figure) -> list[str]:
    figure.canvas.draw()
    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


@pytest.mark.parametrize("name", FIGURES)
def test_figures_fit_a_phone_and_their_letters_are_large_enough(name):
    figure = FIGURES[name]()
    figure.canvas.draw()
    assert figure.get_figwidth() <= 6.5
    sizes = {t.get_text(): t.get_fontsize() for t in figure.findobj(Text)}
    small = {text: size for text, size in sizes.items() if text.strip() and size < 9}
    assert not small


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_phantoms_say_synthetic(name):
    assert any("synthetic" in text for text in written(FIGURES[name]()))


@pytest.mark.parametrize(
    "name", [name for name in FIGURES if name not in ("gallery", "mistakes")]
)
def test_diagrams_name_both_axes(name):
    for axes in FIGURES[name]().axes:
        assert axes.get_xlabel()
        assert axes.get_ylabel() or any(t.get_text() for t in axes.get_yticklabels())


def test_every_plot_function_is_looked_at_here():
    public = {n for n in vars(plots) if not n.startswith("_") and n.islower()}
    functions = {
        n
        for n in public
        if getattr(getattr(plots, n), "__module__", "") == "helpers.plots"
    }
    assert functions - {"use_style"} == set(FIGURES)


def test_real_images_are_not_called_synthetic():
    figure = plots.gallery(dataset(synthetic=False), range(4))
    assert not any("synthetic" in text for text in written(figure))


def test_a_gallery_shows_the_images_asked_for_under_their_classes():
    data = dataset()
    figure = plots.gallery(data, [5, 2, 3])
    shown = figure.axes[:3]
    assert [axes.get_title() for axes in shown] == [
        "meningioma",
        "notumor",
        "pituitary",
    ]
    for axes, index in zip(shown, [5, 2, 3], strict=True):
        assert (axes.images[0].get_array() == data.images[index]).all()
        assert axes.images[0].get_clim() == (0, 255)


def test_outlines_are_drawn_only_where_there_is_a_lesion():
    data = dataset()
    figure = plots.gallery(data, [0, 2], outlines=True)
    assert [len(axes.collections) for axes in figure.axes[:2]] == [1, 0]
    data.masks = None
    plots.gallery(data, [0, 2], outlines=True)


def test_a_file_that_is_not_here_is_shown_by_its_name():
    figure = plots.mistakes(dataset(False), hard(dataset()), REAL)
    assert [len(axes.images) for axes in figure.axes[:4]] == [1, 1, 1, 0]
    assert any("elsewhere.jpg" in text for text in written(figure))


def test_a_phantom_never_stands_in_for_a_real_file_of_the_same_name():
    figure = plots.mistakes(dataset(True), hard(dataset()), REAL)
    assert not any(axes.images for axes in figure.axes)
    assert not any("synthetic" in text for text in written(figure))


def test_a_confusion_matrix_prints_its_counts_row_by_row():
    labels, predictions = [0, 0, 0, 1, 1, 2, 3], [0, 0, 1, 1, 3, 2, 3]
    figure = plots.confusion(labels, predictions, NAMES, "small")
    cells = [text.get_text() for text in figure.axes[0].texts]
    expected = [2, 1, 0, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1]
    assert cells == [str(count) for count in expected]


def test_the_threshold_figure_states_what_the_threshold_does():
    positive = np.array([True, True, True, True, False, False])
    scores = np.array([0.9, 0.8, 0.6, 0.2, 0.7, 0.1])
    figure = plots.threshold(positive, scores, 0.6, "meningioma", "small")
    assert "sensitivity 0.750, specificity 0.500" in figure.axes[0].get_title()


def test_every_seed_is_a_dot():
    figure = FIGURES["interval_dots"]()
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in dots] == [1, 3]


def luminance(colour) -> float:
    linear = [c / 12.92 if c <= 0.04 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_class_colours_stand_out_on_white_and_differ_in_line_style():
    four = plots.COLOURS[:4]
    contrast = [1.05 / (luminance(to_rgb(colour)) + 0.05) for colour in four]
    assert min(contrast) > 2.5
    assert len(set(plots.LINES)) == len(plots.LINES) == len(plots.COLOURS)


def test_differences_mark_the_intervals_that_miss_zero():
    results = {"nothing": (0.01, -0.02, 0.03), "worse": (-0.2, -0.3, -0.1)}
    figure = plots.differences(results, "gain in macro-F1", "One change at a time")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(results)
    spans = {tuple(line.get_xdata()): line.get_color() for line in axes.lines}
    assert spans[(-0.02, 0.03)] == plots.BLUE
    assert spans[(-0.3, -0.1)] == plots.RED
    top, bottom = axes.get_ylim()[::-1]
    assert top < 0 < 1 < bottom
