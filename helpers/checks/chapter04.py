"""Checks for chapter 4, DenseNet from scratch."""

import numpy as np

from .common import Hint, NotYet, check_choice, exercise

__all__ = ["ch4_block", "ch4_field", "ch4_follows", "ch4_transplant"]

# DenseNet121's longest path, as (kernel, stride): the stem, then in each block a 1x1
# and a 3x3 convolution a layer, with a 1x1 convolution and 2x2 pooling between blocks.
LONGEST = [(7, 2), (3, 2)]
for number, num_layers in enumerate((6, 12, 24, 16)):
    LONGEST += [(1, 1), (2, 2)] * (number > 0) + [(1, 1), (3, 1)] * num_layers

FIELDS = (
    # layers, size, what other sizes give away
    ([(3, 1)], 3, {2: "a kernel of 3 adds 2 to a start of 1.", 4: "start from 1."}),
    ([(1, 1)], 1, {2: "a 1x1 convolution sees nothing beside its own pixel."}),
    (
        [(3, 1), (3, 1)],
        5,
        {
            6: "neighboring windows overlap; they do not lie side by side.",
            9: "neighboring windows overlap; they do not lie side by side.",
            3: "only the last layer is counted.",
        },
    ),
    ([(5, 1), (3, 1)], 7, {5: "the largest kernel alone is not enough."}),
    (
        [(3, 2), (3, 1)],
        7,
        {
            5: "after a stride of 2, one step on the map is two pixels of the image.",
            9: "a layer's own stride does not widen what the layer itself sees.",
        },
    ),
    (
        [(3, 1), (3, 2)],
        5,
        {7: "a layer's own stride does not widen what the layer itself sees."},
    ),
    (
        [(2, 2), (2, 2), (3, 1)],
        12,
        {
            8: "strides multiply: after two strides of 2, one step is four pixels.",
            10: "strides multiply: after two strides of 2, one step is four pixels.",
        },
    ),
)


@exercise
def ch4_field(answer) -> str:
    """Exercise 4.1: a function from a list of (kernel, stride) to a side in pixels."""
    if not callable(answer):
        raise Hint("the answer is the function itself: answer = receptive_field.")
    for layers, size, mistakes in FIELDS:
        found = answer(layers)
        if found is None or found is ...:
            raise NotYet("the function returns nothing yet.")
        if found != size:
            why = mistakes.get(found, "follow r and j through the layers by hand.")
            raise Hint(f"for {layers} it says {found}, expected {size}: {why}")
    if (found := answer(LONGEST)) != 2071:
        raise Hint(f"for the longest path of DenseNet121 it says {found}.")
    return (
        "and the longest path through DenseNet121 sees 2,071 pixels, nine times the "
        "side of an image of 224."
    )


CHANNELS = {
    4: "this is the last layer's output alone. All earlier maps belong to the result.",
    9: "only x0 and the last layer's output are joined. Each layer takes *all* earlier "
    "outputs, and all of them belong to the result.",
    12: "x0, the block's own input, is missing.",
    13: "one layer is missing: count the turns of the loop.",
    21: "there is one layer too many: count the turns of the loop.",
    40: "each layer doubled the maps. It should add growth_rate of them, no more.",
}


@exercise
def ch4_block(answer) -> str:
    """Exercise 4.2: a function (x, num_layers, growth_rate) that builds a dense block.

    It is built on 4 input channels first, where a wrong axis or a sum goes through
    without an error, and then on 5, where channels can be told apart.
    """
    if not callable(answer):
        raise Hint("the answer is the function itself: answer = dense_block.")
    import keras  # eight seconds, and only two of the checks need it

    def built(channels):
        inputs = keras.Input((6, 6, channels))
        outputs = answer(inputs, 3, 4)
        if outputs is None or outputs is ...:
            raise NotYet("the function returns nothing yet.")
        if isinstance(outputs, list | tuple):
            raise Hint("it returns a list; join the maps into one tensor.")
        return keras.Model(inputs, outputs)

    shape = built(4).output.shape[1:]
    if shape[:2] != (6, 6):
        raise Hint(
            f"maps of 6 x 6 became {shape[0]} x {shape[1]}: they were joined along "
            "height or width. Channels are the last axis, -1. (Or a convolution lacks "
            'padding="same".)'
        )
    if shape[2] == 4:
        raise Hint(
            "4 channels went in and 4 came out. Either the new maps were added to the "
            "old ones, as in a residual network, or only the last maps are returned. "
            "Join them."
        )
    model = built(5)
    count = model.output.shape[-1]
    if count != 17:
        why = CHANNELS.get(count, "x0 has 5, and each layer adds 4.")
        raise Hint(f"5 channels and 3 layers of 4 make 17; this makes {count}: {why}")
    # The weights tell, however the layers are wrapped: in a model, or in a Layer.
    seen = sorted(w.shape[2] for w in model.trainable_weights if len(w.shape) == 4)
    if seen != [5, 9, 13]:
        raise Hint(
            f"the number of channels is right, but the convolutions see {seen} of "
            "them, not [5, 9, 13]. Each layer takes everything before it, not only "
            "what the layer before made."
        )
    norms = [w for w in model.weights if w.path.endswith("moving_mean")]
    if len(norms) != 3:
        raise Hint(f"there are {len(norms)} BatchNormalizations in 3 layers. Use H.")
    images = np.random.default_rng(0).normal(size=(4, 6, 6, 5)).astype(np.float32)
    together, alone = (np.array(model(part)) for part in (images, images[:1]))
    if not np.allclose(together[:1], alone, atol=1e-4):
        raise Hint(
            "an image comes out differently in other company: a BatchNormalization "
            "is fixed in training mode. Leave `training` out."
        )
    if not np.allclose(together[..., :5], images):
        raise Hint(
            "the first channels should be x0, untouched, then x1, x2, x3. In another "
            "order, weights from elsewhere would meet the wrong maps."
        )
    return "5 + 3 x 4 = 17 channels, and the layers see 5, 9 and 13 of them."


@exercise
def ch4_transplant(answer) -> str:
    """Exercise 4.3: a function (source, target, images) that copies, then answers.

    It should put the source's weights into the target, and return the target's output
    for the images in inference mode.
    """
    if not callable(answer):
        raise Hint("the answer is the function itself: answer = transplant.")
    import keras

    rng = np.random.default_rng(0)

    def small(slope=0.0):
        layers = keras.layers
        model = keras.Sequential(
            [
                keras.Input((6, 6, 2)),
                layers.Conv2D(3, 3, use_bias=False),
                layers.BatchNormalization(),
                layers.ReLU(negative_slope=slope),
                layers.Conv2D(4, 1),
            ]
        )
        model.set_weights([rng.uniform(0.5, 2, w.shape) for w in model.get_weights()])
        return model

    # The slope is no weight: with the same weights, the two answer differently, and
    # it shows which of them was asked.
    source, target, twin = small(), small(0.3), small(0.3)
    wanted = source.get_weights()
    before = target.get_weights()
    twin.set_weights(wanted)
    images = rng.normal(size=(5, 6, 6, 2)).astype(np.float32)
    expected = np.array(twin(images, training=False))
    sources = np.array(source(images, training=False))
    batch_mode = np.array(twin(images, training=True))
    try:
        found = answer(source, target, images)
    except ValueError as error:
        if "No such layer" in str(error):
            raise Hint(
                "the two models' layers have different names. Pair them by position."
            ) from None
        if "weight" in str(error):
            raise Hint(f"a layer was given weights of another layer: {error}") from None
        raise
    if not _equal(source.get_weights(), wanted):
        raise Hint("the source has changed. Copy the other way round.")
    now = target.get_weights()
    if _equal(now, before):
        if found is None or found is ...:
            raise NotYet("the target has its old weights, and nothing is returned.")
        raise Hint("the target still has its old weights.")
    if found is None or found is ...:
        raise Hint("the weights are changed, but the function returns nothing.")
    if np.shape(found) == batch_mode.shape and np.allclose(
        found, batch_mode, atol=1e-4
    ):
        raise Hint(
            "the weights are right, but BatchNormalization ran in training mode: it "
            "used the mean and variance of these five images."
        )
    if not _equal(now, wanted):
        names = [weight.path for weight in target.weights]
        wrong = [
            n for n, a, b in zip(names, now, wanted, strict=True) if (a != b).any()
        ]
        if all("moving" in name for name in wrong):
            raise Hint(
                "the moving mean and variance were left behind. They are not trained, "
                "but they are weights."
            )
        raise Hint(f"after copying, {wrong[0]} differs from the source's.")
    if np.shape(found) == sources.shape and np.allclose(found, sources, atol=1e-4):
        raise Hint(
            "the weights are right, but it is the source that answers. Return what the "
            "target says."
        )
    if np.shape(found) != expected.shape or not np.allclose(found, expected, atol=1e-4):
        raise Hint(
            "the weights are right; what is returned is not the target's output."
        )
    return "same weights, though no layer has the same name, and the target answers."


FOLLOWS = {"c", "d", "f"}
STATEMENTS = {
    "a": "think of two layers that change places.",
    "b": "the gradient was measured before any training. What is known of learning?",
    "c": "look at the right end of block 4 in the heat map, and at its top row.",
    "d": "what of the three goes with the area, and how many times does 64 x 64 fit?",
    "e": "which images did the networks of this chapter see?",
    "f": "what did the third call give, after the one in training mode?",
}


@exercise
def ch4_follows(answer: set) -> str:
    """Exercise 4.4: which sentences follow from what the chapter measured."""
    check_choice(answer, STATEMENTS, FOLLOWS, "does not follow")
    return "each of the three was measured here; the others would need other measuring."


def _equal(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all((a == b).all() for a, b in zip(first, second, strict=True))
