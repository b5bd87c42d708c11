"""The checks of chapter 4 name typical mistakes; its records rest on what they say."""

import keras
import numpy as np
import pytest
from keras import layers

from helpers import checks
from helpers.experiments import architectures

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


def the_sources_shape(source, target, images):
    return transplant(source, target, images)[:, 0]


@pytest.mark.parametrize(
    ("answer", "result", "says"),
    [
        (..., None, "Not yet"),
        (lambda source, target, images: ..., None, "old weights, and nothing"),
        (transplant, True, "same weights, same answer"),
        (3, False, "the function itself"),
        (backwards, False, "Copy the other way round"),
        (trainable_only, False, "moving mean and variance were left behind"),
        (training_mode, False, "BatchNormalization ran in training mode"),
        (by_name, False, "Pair them by position"),
        (only_copied, False, "the function returns nothing"),
        (first_layer_only, False, "differs from the source's"),
        (lambda source, target, images: source(images), False, "old weights"),
        (the_sources_shape, False, "not the target's output"),
    ],
)
def test_the_check_of_the_transplant_names_the_mistake(answer, result, says, capsys):
    assert checks.ch4_transplant(answer) is result
    assert says in capsys.readouterr().out


# --- what the chapter's records rest on -----------------------------------------------


@pytest.mark.parametrize("family", architectures.FAMILIES)
def test_the_families_differ_in_their_wires_and_not_in_their_3x3_convolutions(family):
    model = architectures.build(family, 4, 48)
    convolutions = [x for x in model.layers if isinstance(x, layers.Conv2D)]
    assert sum(x.kernel.shape[0] == 3 for x in convolutions) == 13
    kinds = {type(x).__name__ for x in model.layers}
    assert ("Add" in kinds) is (family == "residual")
    assert ("Concatenate" in kinds) is (family == "dense")


def test_multiply_adds_are_weights_times_places():
    inputs = keras.Input((8, 8, 2))
    maps = layers.Conv2D(5, 3, strides=2, padding="same")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(maps)))
    expected = 3 * 3 * 2 * 5 * 16 + 5 * 16 * 3
    assert architectures.multiply_adds(model) == expected


def test_the_second_run_of_a_network_starts_as_if_it_were_the_first(
    tmp_path, monkeypatch
):
    rng = np.random.default_rng(0)
    data = {
        "images": rng.random((32, 16, 16, 1), np.float32),
        "labels": np.arange(32) % 4,
        "part": np.arange(32) % 2,
        "fingerprint": "noise",
    }
    plan = {"pixels": 16, "num_epochs": 1, "batch_size": 8}
    found = []
    for runs in ([(0.01, 0)], [(0.03, 1), (0.01, 0)]):
        monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / str(len(runs))))
        found.append(architectures.trained(data, plan, "plain", 2, runs, part=1))
    assert found[1][1] == pytest.approx(found[0][0], abs=1e-6)
    assert not np.allclose(found[1][0], found[0][0], atol=1e-4)


def test_feature_reuse_puts_each_weight_at_its_source():
    model = keras.applications.DenseNet121(weights=None, include_top=False)
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            layer.kernel.assign(keras.ops.zeros(layer.kernel.shape))
    kernel = np.zeros((1, 1, 64 + 32 * 3, 128), np.float32)
    kernel[:, :, 64 + 32 : 64 + 64] = -2  # the fourth layer reads the second one's maps
    model.get_layer("conv2_block4_1_conv").kernel.assign(kernel)
    model.get_layer("conv2_block4_0_bn").gamma.assign(np.full(160, 3))
    tables = architectures.feature_reuse(model)
    assert [kernels.shape for kernels, _ in tables] == [
        (7, 7),
        (13, 13),
        (25, 25),
        (17, 16),
    ]
    kernels, scaled = tables[0]
    assert kernels[2, 3] == 2 and scaled[2, 3] == 6
    assert np.nansum(kernels) == 2 and np.isnan(kernels[4, 3])
