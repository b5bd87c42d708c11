"""The checks of chapter 4 accept solutions, and name typical mistakes."""

import keras
import pytest
from keras import layers

from helpers import checks

# --- a receptive-field counter --------------------------------------------------------


def field(sizes_and_strides):
    r, j = 1, 1
    for size, stride in sizes_and_strides:
        r, j = r + (size - 1) * j, j * stride
    return r


def without_strides(sizes_and_strides):
    return 1 + sum(size - 1 for size, _ in sizes_and_strides)


def own_stride_too(sizes_and_strides):
    r, j = 1, 1
    for size, stride in sizes_and_strides:
        j *= stride
        r += (size - 1) * j
    return r


def strides_not_multiplied(sizes_and_strides):
    r, j = 1, 1
    for size, stride in sizes_and_strides:
        r, j = r + (size - 1) * j, stride
    return r


def sum_of_sizes(sizes_and_strides):
    return sum(size for size, _ in sizes_and_strides)


def from_zero(sizes_and_strides):
    return sum(size - 1 for size, _ in sizes_and_strides)


@pytest.mark.parametrize(
    ("answer", "result", "says"),
    [
        (..., None, "Not yet"),
        (lambda sizes: ..., None, "returns nothing yet"),
        (lambda sizes: None, None, "returns nothing yet"),
        (field, True, "2,071 pixels"),
        (5, False, "the function itself"),
        (without_strides, False, "one step on the map is two pixels"),
        (own_stride_too, False, "own stride does not widen"),
        (strides_not_multiplied, False, "strides multiply"),
        (sum_of_sizes, False, "overlap"),
        (from_zero, False, "adds 2 to a start of 1"),
        (lambda sizes: max(size for size, _ in sizes), False, "only the last layer"),
    ],
)
def test_the_check_of_the_receptive_field_names_the_mistake(
    answer, result, says, capsys
):
    assert checks.ch4_field(answer) is result
    assert says in capsys.readouterr().out


# --- a dense block --------------------------------------------------------------------


def composite(x, k, training=None):
    x = layers.BatchNormalization()(x, training=training)
    return layers.Conv2D(k, 3, padding="same", use_bias=False)(layers.ReLU()(x))


def join(*maps, axis=-1):
    return layers.Concatenate(axis=axis)(list(maps))


def block(x, num_layers, k):
    for _ in range(num_layers):
        x = join(x, composite(x, k))
    return x


def one_too_few(x, num_layers, k):
    return block(x, num_layers - 1, k)


def one_too_many(x, num_layers, k):
    return block(x, num_layers + 1, k)


def wrong_axis(x, num_layers, k):
    for _ in range(num_layers):
        x = join(x, composite(x, k), axis=1)
    return x


def residual(x, num_layers, k):
    for _ in range(num_layers):
        x = layers.Add()([x, composite(x, k)])
    return x


def without_input(x, num_layers, k):
    return block(x, num_layers, k)[..., x.shape[-1] :]


def last_only(x, num_layers, k):
    for _ in range(num_layers):
        new = composite(x, k)
        x = join(x, new)
    return new


def in_models(x, num_layers, k):
    for _ in range(num_layers):
        inputs = keras.Input(x.shape[1:])
        x = keras.Model(inputs, join(inputs, composite(inputs, k)))(x)
    return x


class Wrapped(keras.layers.Layer):
    def __init__(self, k):
        super().__init__()
        self.norm, self.relu = layers.BatchNormalization(), layers.ReLU()
        self.conv = layers.Conv2D(k, 3, padding="same", use_bias=False)

    def call(self, x, training=None):
        new = self.conv(self.relu(self.norm(x, training=training)))
        return keras.ops.concatenate([x, new], -1)


def in_layers(x, num_layers, k):
    for _ in range(num_layers):
        x = Wrapped(k)(x)
    return x


def first_and_last(x, num_layers, k):
    new = x
    for _ in range(num_layers):
        new = join(x, composite(new, k))
    return new


def plain_then_joined(x, num_layers, k):
    maps = [x]
    for _ in range(num_layers):
        maps.append(composite(maps[-1], k))
    return join(*maps)


def doubling(x, num_layers, k):
    for _ in range(num_layers):
        x = join(x, composite(x, x.shape[-1]))
    return x


def new_maps_first(x, num_layers, k):
    for _ in range(num_layers):
        x = join(composite(x, k), x)
    return x


def in_training_mode(x, num_layers, k):
    for _ in range(num_layers):
        x = join(x, composite(x, k, training=True))
    return x


def without_norm(x, num_layers, k):
    for _ in range(num_layers):
        x = join(x, layers.Conv2D(k, 3, padding="same")(x))
    return x


@pytest.mark.parametrize(
    ("answer", "result", "says"),
    [
        (..., None, "Not yet"),
        (lambda x, num_layers, k: ..., None, "returns nothing yet"),
        (block, True, "5 + 3 x 4 = 17"),
        (in_models, True, "5 + 3 x 4 = 17"),
        (in_layers, True, "5 + 3 x 4 = 17"),
        (first_and_last, False, "only x0 and the last layer's output"),
        ("block", False, "the function itself"),
        (one_too_few, False, "one layer is missing"),
        (one_too_many, False, "one layer too many"),
        (wrong_axis, False, "along height or width"),
        (residual, False, "added to the old ones"),
        (last_only, False, "only the last maps are returned"),
        (without_input, False, "x0, the block's own input, is missing"),
        (plain_then_joined, False, "see [4, 4, 5] of them"),
        (doubling, False, "doubled the maps"),
        (new_maps_first, False, "first channels should be x0"),
        (in_training_mode, False, "fixed in training mode"),
        (without_norm, False, "0 BatchNormalizations"),
        (lambda x, num_layers, k: [x], False, "it returns a list"),
    ],
)
def test_the_check_of_the_dense_block_names_the_mistake(answer, result, says, capsys):
    assert checks.ch4_block(answer) is result
    assert says in capsys.readouterr().out


# --- a transplant ---------------------------------------------------------------------


def transplant(source, target, images):
    for old, new in zip(source.layers, target.layers, strict=True):
        new.set_weights(old.get_weights())
    return target(images, training=False)


def backwards(source, target, images):
    return transplant(target, source, images)


def trainable_only(source, target, images):
    for old, new in zip(
        source.trainable_weights, target.trainable_weights, strict=True
    ):
        new.assign(old)
    return target(images)


def training_mode(source, target, images):
    transplant(source, target, images)
    return target(images, training=True)


def by_name(source, target, images):
    for layer in source.layers:
        target.get_layer(layer.name).set_weights(layer.get_weights())
    return target(images)


def only_copied(source, target, images):
    transplant(source, target, images)


def first_layer_only(source, target, images):
    target.layers[0].set_weights(source.layers[0].get_weights())
    return target(images)


def source_answers(source, target, images):
    transplant(source, target, images)
    return source(images, training=False)


def the_sources_shape(source, target, images):
    return transplant(source, target, images)[:, 0]


@pytest.mark.parametrize(
    ("answer", "result", "says"),
    [
        (..., None, "Not yet"),
        (lambda source, target, images: ..., None, "old weights, and nothing"),
        (transplant, True, "same weights, though no layer"),
        (3, False, "the function itself"),
        (backwards, False, "Copy the other way round"),
        (trainable_only, False, "moving mean and variance were left behind"),
        (training_mode, False, "BatchNormalization ran in training mode"),
        (by_name, False, "Pair them by position"),
        (only_copied, False, "the function returns nothing"),
        (first_layer_only, False, "differs from the source's"),
        (lambda source, target, images: source(images), False, "old weights"),
        (source_answers, False, "it is the source that answers"),
        (the_sources_shape, False, "not the target's output"),
    ],
)
def test_the_check_of_the_transplant_names_the_mistake(answer, result, says, capsys):
    assert checks.ch4_transplant(answer) is result
    assert says in capsys.readouterr().out


# --- what follows ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "result", "says"),
    [
        (..., None, "Not yet"),
        ({"c", "d", "f"}, True, "Right"),
        (["C", "d", "F"], True, "Right"),
        ("cdf", True, "Right"),
        ({"a", "c", "d", "f"}, False, "(a) does not follow"),
        ({"b", "c", "d", "f"}, False, "before any training"),
        ({"c", "d", "e", "f"}, False, "which images"),
        ({"d", "f"}, False, "1 more to find. One of them: look at the right end"),
        (set(), False, "3 more to find"),
        ({"x"}, False, "choose among a, b"),
    ],
)
def test_the_check_of_what_follows_names_the_sentence(answer, result, says, capsys):
    assert checks.ch4_follows(answer) is result
    assert says in capsys.readouterr().out
