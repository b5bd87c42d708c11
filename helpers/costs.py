"""What a freeze boundary costs, and what the filters of a first layer look like."""

import keras
import numpy as np
import pandas as pd

from helpers.config import CourseError

BYTES = 4  # of a float32
GRID = 32  # points of the Fourier transform of a filter, a side


def layer_costs(model: keras.Model) -> pd.DataFrame:
    """Return what each layer of a model holds and does for one image.

    One row a layer in the model's order, index its name; columns parameters (without
    BatchNormalization's: frozen in this course), multiply_adds (of convolutions, as in
    He et al. 2016), outputs (numbers it puts out), kept (numbers that the way back
    needs, counted as in chapter 4: the image, what enters a BatchNormalization, what
    leaves a ReLU; a BatchNormalization that is frozen can do without the second).
    """
    rows = []
    for layer in model.layers:
        shape = layer.output.shape[1:]
        outputs, weights, kept = int(np.prod(shape)), 0, 0
        if isinstance(layer, keras.layers.Conv2D):
            weights = int(np.prod(layer.kernel.shape))
        elif isinstance(layer, keras.layers.InputLayer) or _is_relu(layer):
            kept = outputs
        elif isinstance(layer, keras.layers.BatchNormalization):
            kept = int(np.prod(layer.input.shape[1:]))
        # A kernel is applied once at every place of the output.
        work = weights * int(np.prod(shape[:2]))
        rows.append((layer.name, weights, work, outputs, kept))
    columns = ["layer", "parameters", "multiply_adds", "outputs", "kept"]
    return pd.DataFrame(rows, columns=columns).set_index("layer")


def _is_relu(layer: keras.layers.Layer) -> bool:
    """Tell whether a layer is a ReLU, which Keras also writes as an activation."""
    return getattr(layer, "activation", None) is keras.activations.relu or isinstance(
        layer, keras.layers.ReLU
    )


def freeze_costs(
    model: keras.Model, boundary: str, num_epochs: int, pixels: int
) -> dict[str, float]:
    """Return what training behind a boundary costs, for one image of this size.

    Keys: trainable (parameters), stored_megabytes (the boundary's output, kept once for
    all epochs), training_megabytes (what backpropagation needs of the layers behind
    it, `kept` in `layer_costs`), billion_multiply_adds (of `num_epochs` epochs on
    stored activations: once through the frozen part, then three times a forward pass
    through the rest, since backward costs about two), share (of the multiply-adds with
    nothing frozen).
    Outputs and work are scaled from the model's own image size, exactly for multiples
    of 32. Raises `CourseError` for a layer that is not there.
    """
    costs = layer_costs(model)
    if boundary not in costs.index:
        raise CourseError(
            f"{boundary!r} is not a layer of {model.name}; for DenseNet121 expected "
            "conv1_relu, pool2_pool, pool3_pool, pool4_pool, relu, or another."
        )
    larger = (pixels / model.input_shape[1]) ** 2
    place = costs.index.get_loc(boundary)
    before, behind = costs.iloc[: place + 1], costs.iloc[place + 1 :]
    work = 3 * num_epochs * behind["multiply_adds"].sum()
    work += before["multiply_adds"].sum()
    return {
        "trainable": int(behind["parameters"].sum()),
        "stored_megabytes": larger * BYTES * costs.loc[boundary, "outputs"] / 1e6,
        "training_megabytes": larger * BYTES * behind["kept"].sum() / 1e6,
        "billion_multiply_adds": larger * work / 1e9,
        "share": work / (3 * num_epochs * costs["multiply_adds"].sum()),
    }


def filter_table(kernel: np.ndarray) -> pd.DataFrame:
    """Describe the filters of a first layer, one row each.

    `kernel` float [height, width, 3, n]. Columns: norm (of all weights); grey (share
    of the squared weights that is left after averaging over the three colours, which
    is all that a grey image can meet: 1 for a filter without colour, 1/3 on average
    for random numbers, 0 for one that only compares colours); of that grey filter,
    frequency (cycles a pixel, where its power spectrum is highest, 0 for a blob),
    orientation (degrees from horizontal of its stripes, 0 to 180) and oriented (0: no
    direction stands out, 1: all power in one).
    """
    grey = kernel.mean(axis=2)
    squares = (kernel**2).sum(axis=(0, 1, 2))
    power = np.abs(np.fft.fft2(grey, (GRID, GRID), axes=(0, 1))) ** 2
    step = np.fft.fftfreq(GRID)
    down, right = np.meshgrid(step, step, indexing="ij")
    flat = power.reshape(GRID**2, -1)
    peak = flat.argmax(axis=0)
    # Stripes run across the direction in which the brightness changes. Rows grow
    # downwards, so the angle's sign is turned.
    angle = np.degrees(np.arctan2(-down.ravel()[peak], right.ravel()[peak])) + 90
    turns = np.exp(2j * np.arctan2(-down, right)).ravel()
    turns[0] = 0  # brightness itself has no direction
    return pd.DataFrame(
        {
            "norm": np.sqrt(squares),
            "grey": 3 * (grey**2).sum(axis=(0, 1)) / squares,
            "frequency": np.hypot(down, right).ravel()[peak],
            "orientation": angle % 180,
            "oriented": np.abs(turns @ flat) / np.maximum(flat.sum(axis=0), 1e-30),
        }
    )
