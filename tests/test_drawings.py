"""The drawings show the numbers, the wires and the sizes that they are given."""

import matplotlib

matplotlib.use("agg")

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle

from helpers import drawings


def texts(axes):
    return [text.get_text() for text in axes.texts]


def arrows(axes):
    return [p for p in axes.patches if isinstance(p, FancyArrowPatch)]


def test_a_grid_prints_its_numbers_and_frames_the_window():
    panels = [("a", np.array([[1, 2.5], [0, -3]])), ("b", np.zeros((1, 1)))]
    figure = drawings.grids(panels, {0: (0, 1, 2, 1)})
    first, second = figure.axes
    assert texts(first) == ["1", "2.5", "0", "-3"] and texts(second) == ["0"]
    frame = next(p for p in first.patches if isinstance(p, Rectangle))
    assert frame.get_bbox().bounds == (0.5, -0.5, 1, 2)
    assert not second.patches


def test_dense_wiring_has_a_connection_for_each_pair():
    plain, residual, dense = drawings.wirings(4).axes
    assert len(arrows(plain)) == 4
    assert len(arrows(residual)) == 4 + 4
    assert len(arrows(dense)) == 4 * 5 / 2


def test_maps_are_as_high_as_their_side_and_as_wide_as_their_channels():
    figure = drawings.maps([("in", 56, 256), ("out", 28, 128)], "halved")
    (axes,) = figure.axes
    assert texts(axes) == ["in\n56 × 56\n× 256", "out\n28 × 28\n× 128"]
    boxes = [p for p in axes.patches if isinstance(p, Polygon)]
    (width, height), (narrow, low) = (np.ptp(boxes[i].get_xy(), axis=0) for i in (0, 3))
    assert narrow < width and low < height
    assert len(arrows(axes)) == 1


def test_what_trains_is_orange_and_the_rest_white():
    parts, rows = (("a", 2), ("b", 1), ("c", 1)), (("last", 2), ("all", 0))
    (axes,) = drawings.trained(parts, rows).axes
    boxes = [p for p in axes.patches if isinstance(p, Rectangle)]
    orange = [to_hex(b.get_facecolor()).upper() == drawings.ORANGE for b in boxes]
    assert orange == [False, False, True, True, True, True]
    assert texts(axes) == ["a", "b", "c", "last", "a", "b", "c", "all"]
