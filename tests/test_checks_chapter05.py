"""Every check of chapter 5 says not yet, right, or what the mistake probably was."""

import keras
import pytest

from helpers import checks, recorded
from helpers.checks import chapter05
from helpers.checks.chapter05 import AUGMENT, curve_answer
from helpers.evaluation import paired_bootstrap

NEXT = curve_answer()["more patients"] + 0.01  # the next number of two decimals
BatchNormalization = keras.layers.BatchNormalization


def said(capsys) -> str:
    return capsys.readouterr().out.strip()


def freeze_norms(model):
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            freeze_norms(layer)
        elif isinstance(layer, BatchNormalization):
            layer.trainable = False


def freeze_top_only(model):
    for layer in model.layers:
        if isinstance(layer, BatchNormalization):
            layer.trainable = False


def freeze_one_level_down(model):
    for layer in model.layers:
        freeze_top_only(layer) if isinstance(layer, keras.Model) else None
    freeze_top_only(model)


def freeze_inner_models(model):
    freeze_top_only(model)
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            layer.trainable = False


def freeze_everything(model):
    model.trainable = False


def freeze_layers(model):
    for layer in model.layers:
        layer.trainable = False


def unfreeze_the_rest(model):
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            unfreeze_the_rest(layer)
        else:
            layer.trainable = not isinstance(layer, BatchNormalization)


def freeze_nothing(model):
    pass


@pytest.mark.parametrize("name", chapter05.__all__)
def test_an_empty_stub_is_told_not_yet(name, capsys):
    assert getattr(checks, name)(...) is None
    assert said(capsys).startswith("Not yet: ")


def test_the_stub_function_is_told_not_yet(capsys):
    assert checks.ch5_freeze_norms(freeze_nothing) is None
    assert said(capsys).startswith("Not yet: ")


def test_a_function_that_calls_itself_passes(capsys):
    assert checks.ch5_freeze_norms(freeze_norms) is True
    assert said(capsys).startswith("Right: ")


@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (0.5, "the function itself"),
        (freeze_everything, "frozen as a whole"),
        (freeze_layers, "the convolution"),
        (freeze_top_only, "a model inside a model, 1 of 2 norms"),
        (freeze_one_level_down, "a model inside a model inside a model, 2 of 3 norms"),
        (unfreeze_the_rest, "Leave all other layers as they are"),
        (freeze_inner_models, "is frozen with all that is in it"),
    ],
)
def test_a_wrong_freezing_is_told_where(mistake, hint, capsys):
    assert checks.ch5_freeze_norms(mistake) is False
    assert hint in said(capsys)


def test_the_readings_of_the_recorded_curves_pass(capsys):
    assert checks.ch5_curve(curve_answer()) is True
    out = said(capsys)
    assert out.startswith("Right: ")
    assert "with 15: in pairs, over patients, the difference's interval holds" in out
    run = recorded.load("layer-probe-imagenet")

    def scored(name, arm):
        arrays = recorded.load(name).arrays
        row = (arrays["arms"] == arm).argmax(), (arrays["conditions"] == "15").argmax()
        return arrays["scored"][row].astype(float)

    frozen = scored("transfer-frozen-imagenet", "frozen")
    tuned = scored("transfer-tuned-imagenet", "fine-tuned")
    gain = paired_bootstrap("macro_f1", run.labels, frozen, tuned, run.groups)
    assert gain.low < 0 < gain.difference < gain.high


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"random needs": 7}, "walk along"),
        ({"tuning first helps": 1}, "size by size"),
        ({"more patients": "a lot"}, "should be a number"),
        ({"more patients": 5.0}, "0 to 1"),
        ({"more patients": 0.9}, "90 minus 36"),
        ({"more patients": NEXT}, "90 minus 36"),
    ],
)
def test_a_wrong_reading_is_told_where_to_look(change, hint, capsys):
    assert checks.ch5_curve(curve_answer() | change) is False
    assert hint in said(capsys)


def test_a_half_filled_curve_is_told_not_yet(capsys):
    assert checks.ch5_curve(curve_answer() | {"more patients": ...}) is None
    assert said(capsys).startswith("Not yet: ")


def test_the_verdicts_on_augmentations_pass(capsys):
    assert checks.ch5_augment(AUGMENT) is True
    assert said(capsys).startswith("Right: ")


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"a": "leaks"}, "look at a again: its mirror twin"),
        ({"b": "fine"}, "count again"),
        ({"d": "fine"}, "where is the neck"),
        ({"e": "fine"}, "a grey pixel"),
        ({"f": "sure"}, "f is 'sure'; choose among"),
    ],
)
def test_a_wrong_verdict_is_told_what_to_ask(change, hint, capsys):
    assert checks.ch5_augment(AUGMENT | change) is False
    assert hint in said(capsys)
