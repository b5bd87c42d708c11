"""Every check of chapter 6 says not yet, right, or what the mistake probably was."""

import itertools

import numpy as np
import pytest

from helpers import checks
from helpers.checks.chapter06 import AUGMENTATION_HINTS, HONEST, MEAN, STD


def said(capsys) -> str:
    return capsys.readouterr().out.strip()


def colour(images):
    return np.repeat(images[..., None], 3, axis=-1) / 255


def preprocessed(images):
    return ((colour(images) - MEAN) / STD).astype("float32")


def test_the_reference_is_keras_own():
    from keras.applications import densenet

    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    keras_own = densenet.preprocess_input(255 * colour(images).astype("float32"))
    assert np.allclose(preprocessed(images), keras_own, atol=1e-6)


def test_the_right_preprocessing_passes(capsys):
    assert checks.ch6_preprocess(preprocessed) is True
    assert said(capsys).startswith("Right: ")


def changes_its_input(images):
    result = preprocessed(images)
    images //= 2
    return result


@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (changes_its_input, "changed the images"),
        (lambda x: preprocessed(x)[..., 0], "has shape (5, 7, 6); expected"),
        (lambda x: np.moveaxis(preprocessed(x), -1, 1), "channels last"),
        (colour, "1/255 alone"),
        (lambda x: (255 * colour(x) - MEAN) / STD, "divide by 255 first"),
        (lambda x: colour(x) - MEAN, "spread is unchanged"),
        (lambda x: colour(x) / STD - MEAN, "the mean comes off first"),
        (lambda x: (colour(x) - MEAN[::-1]) / STD[::-1], "blue, green, red"),
        (lambda x: 2 * colour(x) - 1, "from -1 to 1"),
        (
            lambda x: (
                (colour(x) - colour(x).mean((1, 2), keepdims=True))
                / colour(x).std((1, 2), keepdims=True)
            ),
            "each image's own mean",
        ),
        (lambda x: np.repeat((x - np.uint8(124))[..., None], 3, -1), "wraps around"),
        (lambda x: (colour(x) - MEAN) / STD, "the numbers are right, and float64"),
        (lambda x: preprocessed(x).astype("float16"), "float16 is too coarse"),
        (lambda x: (colour(x) - MEAN) * STD, "multiplies by the deviation"),
        (lambda x: (x[..., None] - MEAN) / 255 / STD, "subtracted from bytes"),
        (lambda x: (x[..., None] // 255 - MEAN) / STD, "rounds down"),
        (lambda x: (x[..., None] / 256 - MEAN) / STD, "divides by 256"),
        (lambda x: (colour(x) - MEAN.mean()) / STD.mean(), "each channel has its own"),
        (lambda x: (colour(x) - colour(x).mean()) / colour(x).std(), "of these images"),
        (
            lambda x: (np.stack([x] * 3).reshape(5, 7, 6, 3) / 255 - MEAN) / STD,
            "not in their places",
        ),
        (lambda x: preprocessed(x) + 0.5, "largest difference from Keras' own"),
        ("preprocessed", "give the function itself"),
    ],
)
def test_a_wrong_preprocessing_gets_its_own_hint(mistake, hint, capsys):
    assert checks.ch6_preprocess(mistake) is False
    assert hint in said(capsys)


def order(num_images, seed, epoch):
    return np.random.default_rng((seed, epoch)).permutation(num_images)


def seeds_the_program(num_images, seed, epoch):
    np.random.seed(1000 * seed + epoch)
    return np.random.permutation(num_images)


def test_the_right_order_passes(capsys):
    assert checks.ch6_order(order) is True
    mixed = np.random.SeedSequence
    assert checks.ch6_order(
        lambda n, s, e: np.random.default_rng(mixed(s, spawn_key=(e,))).permutation(n)
    )
    assert said(capsys).count("Right: ") == 2


def test_a_counter_as_hidden_state_is_found(capsys):
    calls = itertools.count()
    assert checks.ch6_order(lambda n, s, e: order(n, s, next(calls))) is False
    assert "asked twice for one epoch" in said(capsys)


@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (lambda n, s, e: order(n, s, e)[:40], "exactly once"),
        (lambda n, s, e: order(n, s, e) % 49, "exactly once"),
        (lambda n, s, e: np.arange(n), "nothing is shuffled"),
        (lambda n, s, e: np.random.default_rng().permutation(n), "asked twice"),
        (lambda n, s, e: order(n, s, 0), "use `epoch` too"),
        (lambda n, s, e: order(n, 0, e), "use `seed` too"),
        (lambda n, s, e: order(n, s + e, 0), "A sum mixes them up"),
        (lambda n, s, e: order(n, s * (e + 1), e % 2), "keep both apart"),
        (lambda n, s, e: order(n, 100 * s + e, 0), "seed 0 in epoch 100 has the order"),
        (lambda n, s, e: order(n, s + 1000 * e, 0), "seed 1000 in epoch 0 has the"),
        (lambda n, s, e: order(n, int(f"1{s}{e}"), 0), "seed 1 in epoch 11"),
        (lambda n, s, e: order(n, 7919 * s + e, 0), "seed 0 in epoch 7919"),
        (seeds_the_program, "seeds NumPy for the whole program"),
    ],
)
def test_a_wrong_order_gets_its_own_hint(mistake, hint, capsys):
    assert checks.ch6_order(mistake) is False
    assert hint in said(capsys)


@pytest.mark.parametrize("check", [checks.ch6_preprocess, checks.ch6_order])
@pytest.mark.parametrize("nothing", [..., None])
def test_a_function_that_returns_nothing_is_not_yet_an_answer(check, nothing, capsys):
    assert check(lambda *arguments: nothing) is None
    assert said(capsys).startswith("Not yet: ")


def test_exactly_the_honest_augmentations_pass(capsys):
    for size in range(len(AUGMENTATION_HINTS) + 1):
        for letters in itertools.combinations(AUGMENTATION_HINTS, size):
            passed = checks.ch6_augmentation(set(letters))
            assert passed is (set(letters) == HONEST)
            assert said(capsys).startswith("Right" if passed else "Not quite: look at ")
    assert checks.ch6_augmentation({"a", "z"}) is False
    assert "'z' is none of them" in said(capsys)


RATES = {"one after the other": 166.7, "prefetch": 250, "cache": 500}


def test_the_right_rates_pass(capsys):
    assert checks.ch6_rate(RATES) is True
    assert said(capsys).startswith("Right: ")


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"one after the other": 750}, "rates do not add up"),
        ({"one after the other": 0.1667}, "images a millisecond"),
        ({"prefetch": 500}, "the slower sets the pace"),
        ({"cache": 250}, "Who is the slower one?"),
    ],
)
def test_a_wrong_rate_gets_its_own_hint(change, hint, capsys):
    assert checks.ch6_rate(RATES | change) is False
    assert hint in said(capsys)


def test_a_missing_rate_is_named(capsys):
    assert checks.ch6_rate({"prefetch": 250, "cache": 500}) is False
    assert "'one after the other'" in said(capsys)
