"""Checks for chapter 6, Feed the network."""

from collections.abc import Callable

import numpy as np

from .common import Hint, NotYet, dictionary, exercise, named, number

__all__ = ["ch6_augmentation", "ch6_order", "ch6_preprocess", "ch6_rate"]

# ImageNet's mean and standard deviation, as in `densenet.preprocess_input`.
MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])

HONEST = {"a", "c", "e"}
AUGMENTATION_HINTS = {
    "a": "a: patients do not lie equally straight. Is a small turn a lie?",
    "b": "b: in every archive the head's top points up. Would a scanner's console "
    "ever deliver this picture?",
    "c": "c: MRI intensities have no unit, and scanners scale them as they like.",
    "d": "d: on this split, what lies in the test folder for many training images?",
    "e": "e: this is the noise that the physics of the scanner makes.",
    "f": "f: the lesion's outline is what tells these classes apart. After this "
    "change, is the label still known to be right?",
}


def _run(function: Callable, *arguments):
    """Call a reader's function; a stub that returns nothing is not yet an answer."""
    if not callable(function):
        raise Hint("give the function itself, without brackets behind its name.")
    result = function(*arguments)
    if result is ... or result is None:
        raise NotYet("let the function return your result.")
    return np.asarray(result)


@exercise
def ch6_preprocess(answer: Callable) -> str:
    """Exercise 6.1: a function from grey uint8 [n, h, w] to DenseNet's [n, h, w, 3]."""
    images = np.random.default_rng(6).integers(0, 256, (5, 7, 6), dtype=np.uint8)
    given = images.copy()
    result = _run(answer, images)
    if not np.array_equal(images, given):
        raise Hint("your function changed the images that it was given; copy first.")
    if result.shape != (5, 7, 6, 3):
        raise Hint(
            f"for images of shape (5, 7, 6) the result has shape {result.shape}; "
            "expected (5, 7, 6, 3), the three equal channels last."
        )
    scaled = np.repeat(images[..., None] / 255, 3, axis=-1)
    expected = (scaled - MEAN) / STD
    own_mean = scaled.mean(axis=(1, 2), keepdims=True)
    grey = images[..., None].astype(float)
    mistakes = {
        "this is 1/255 alone. Subtract the mean, then divide by the deviation.": scaled,
        "mean and deviation belong to values from 0 to 1: divide by 255 first.": (
            255 * scaled - MEAN
        )
        / STD,
        "the mean is gone, but the spread is unchanged: divide by the deviation.": (
            scaled - MEAN
        ),
        "you divide first and subtract afterwards; the mean comes off first.": (
            scaled / STD - MEAN
        ),
        "this multiplies by the deviation. Divide by it.": (scaled - MEAN) * STD,
        "the mean belongs to values from 0 to 1, and was subtracted from bytes: divide "
        "by 255 before that.": (grey - MEAN) / 255 / STD,
        "// rounds down, so nearly every grey became 0. Divide with /.": (
            grey // 255 - MEAN
        )
        / STD,
        "this divides by 256. The largest grey is 255, and should become 1.": (
            grey / 256 - MEAN
        )
        / STD,
        "one mean and one deviation for all: each channel has its own.": (
            scaled - MEAN.mean()
        )
        / STD.mean(),
        "the channels are in the order blue, green, red; DenseNet's is the other.": (
            scaled - MEAN[::-1]
        )
        / STD[::-1],
        "this runs from -1 to 1, the scaling of other networks.": 2 * scaled - 1,
        "you used each image's own mean. ImageNet's is the one that was trained on.": (
            scaled - own_mean
        )
        / scaled.std(axis=(1, 2), keepdims=True),
        "you used the mean of these images. ImageNet's is the one that was trained "
        "on.": (scaled - scaled.mean()) / scaled.std(),
    }
    if not np.allclose(result, expected, atol=1e-4):
        for hint, mistake in mistakes.items():
            if np.allclose(result, mistake, atol=1e-4):
                raise Hint(hint)
        if np.issubdtype(result.dtype, np.integer):
            raise Hint(
                f"the result is {result.dtype}, which wraps around or rounds. "
                "Convert to float32 before you calculate."
            )
        if np.allclose(result, expected, atol=0.01):
            raise Hint(f"nearly right: {result.dtype} is too coarse. Use float32.")
        back = np.asarray(result, float) * STD + MEAN
        if np.allclose(np.sort(back.ravel()), np.sort(scaled.ravel()), atol=1e-3):
            raise Hint(
                "all greys are there, but not in their places: reshape and tile read "
                "row by row. Each pixel's grey should stand in its own three channels: "
                "np.stack([x, x, x], axis=-1), or images[..., None]."
            )
        worst = np.abs(result - expected).max()
        raise Hint(f"the largest difference from Keras' own result is {worst:.2f}.")
    if result.dtype != np.float32:
        raise Hint(
            f"the numbers are right, and {result.dtype}; 32 bits are asked for: "
            '.astype("float32").'
        )
    return "three lines, and the first layer sees what it was trained on."


def _where_two_runs_meet(answer: Callable) -> tuple | None:
    """Return two far pairs of seed and epoch with one order, None if none was found.

    They exist where one number is made of two: by 100 * seed + epoch, say, seed 1 in
    epoch 0 and seed 0 in epoch 100; or by writing one behind the other.
    """
    far = (*range(2, 10_001), 2**14, 2**15, 2**16, 10**5, 10**6, 2**20)
    for fixed, moved in (((1, 0), lambda n: (0, n)), ((0, 1), lambda n: (n, 0))):
        order = _run(answer, 50, *fixed)
        for number_of in far:
            if (_run(answer, 50, *moved(number_of)) == order).all():
                return moved(number_of), fixed
    if (_run(answer, 50, 1, 11) == _run(answer, 50, 11, 1)).all():
        return (1, 11), (11, 1)
    return None


@exercise
def ch6_order(answer: Callable) -> str:
    """Exercise 6.2: a function (num_images, seed, epoch) -> order of the images."""
    state = np.random.get_state()[1].copy()
    orders = {
        (seed, epoch): _run(answer, 50, seed, epoch)
        for seed in range(3)
        for epoch in range(3)
    }
    for order in orders.values():
        if order.shape != (50,) or set(order.tolist()) != set(range(50)):
            raise Hint("each of the 50 images must come exactly once an epoch.")
    if all((order == np.arange(50)).all() for order in orders.values()):
        raise Hint("nothing is shuffled: the order is 0, 1, 2 ... in each epoch.")
    if not all((_run(answer, 50, *key) == orders[key]).all() for key in orders):
        raise Hint("asked twice for one epoch, it gives two orders: who seeds it?")
    if (orders[0, 0] == orders[0, 1]).all():
        raise Hint("all epochs have the same order: use `epoch` too.")
    if (orders[0, 1] == orders[1, 1]).all():
        raise Hint("all seeds have the same order: use `seed` too.")
    if (orders[0, 1] == orders[1, 0]).all():
        raise Hint(
            "seed 0 in epoch 1 has the order of seed 1 in epoch 0. A sum mixes them "
            "up: runs with other seeds would be one run, shifted."
        )
    if len({tuple(order) for order in orders.values()}) < len(orders):
        raise Hint("some pairs of seed and epoch share one order: keep both apart.")
    if not (np.random.get_state()[1] == state).all():
        raise Hint(
            "right orders, but your function seeds NumPy for the whole program. "
            "Use a generator of its own: np.random.default_rng(...)."
        )
    if met := _where_two_runs_meet(answer):
        one, other = met
        raise Hint(
            f"seed {one[0]} in epoch {one[1]} has the order of seed {other[0]} in "
            f"epoch {other[1]}. A factor only moves the place where two runs meet: "
            "keep the two numbers apart."
        )
    return "no state is left behind, so any epoch can be made again, alone."


@exercise
def ch6_augmentation(answer) -> str:
    """Exercise 6.3: the letters of the honest augmentations, as a set."""
    letters = named(answer, AUGMENTATION_HINTS)
    wrong = sorted(letters ^ HONEST)
    if wrong:
        raise Hint(f"look at {AUGMENTATION_HINTS[wrong[0]]}")
    return "each of the three could have come from a scanner, with the same label."


@exercise
def ch6_rate(answer: dict) -> str:
    """Exercise 6.4: images/s of three pipelines: 4 ms of reading, 2 ms of training."""
    expected = {"one after the other": 1000 / 6, "prefetch": 250.0, "cache": 500.0}
    hints = {
        "one after the other": "an image is read, then trained on: add the times, "
        "then ask how many fit into a second.",
        "prefetch": "reading and training run side by side, so the slower sets the "
        "pace, and the faster waits.",
        "cache": "reading costs almost nothing now. Who is the slower one?",
    }
    answer = dictionary(answer, expected, "...")
    for name, rate in expected.items():
        given = number(answer[name], repr(name))
        if np.isclose(given, rate / 1000, rtol=0.02):
            raise Hint(f"{name!r} is in images a millisecond; give images a second.")
        if np.isclose(given, 750, rtol=0.02):
            raise Hint(f"{name!r}: rates do not add up here. {hints[name]}")
        if not np.isclose(given, rate, rtol=0.02):
            raise Hint(f"{name!r} is not {given:g} images a second: {hints[name]}")
    return "overlap hides the faster of the two; only less work helps the slower."
