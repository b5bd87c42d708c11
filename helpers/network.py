"""A backbone with a head, cut and frozen as each stage of a plan needs it."""

from collections.abc import Callable

import keras
import numpy as np

from helpers import batches, densenet
from helpers.config import CourseError
from helpers.plan import Plan, Stage

_HEAD = 7  # the head's own stream of random numbers
_BLOCK = 512  # images whose activations are in memory at a time
_POOLED = "pooled"  # the layer behind the backbone
_POOLS = ("pool2_pool", "pool3_pool", "pool4_pool")  # where DenseNet121 can be cut


class Network:
    """A backbone and a new head, for the images that a plan is carried out on.

    `images`: uint8 [n, pixels, pixels]; `backbone`: as `densenet.backbone` returns it;
    `fit_rows`: the images whose features centre the head; `like`: another network to
    take the head's constants and all weights from. `whole` maps preprocessed images to
    probabilities; everything else shares its layers.
    """

    def __init__(
        self,
        plan: Plan,
        images: np.ndarray,
        backbone: keras.Model,
        num_classes: int,
        fit_rows: np.ndarray,
        like: "Network | None" = None,
    ):
        self.plan, self.images, self._name = plan, images, f"{plan.pixels}px"
        pooled = keras.layers.GlobalAveragePooling2D(name=_POOLED)(backbone.output)
        self.whole = keras.Model(backbone.input, pooled)
        cached = [s.boundary for s in plan.stages if self.is_cached(s)]
        names = [layer.name for layer in self.whole.layers]
        boundaries = {_POOLED, *(self._layer(b) for b in cached)}
        self.first_boundary = min(boundaries, key=names.index)
        self.centre = like.centre if like else self._centre(fit_rows)
        x, layers = pooled, keras.layers
        if self.centre:
            mean, variance = self.centre
            x = layers.Normalization(mean=mean, variance=variance, dtype="float32")(x)
        if plan.dropout:
            x = layers.Dropout(plan.dropout, seed=plan.seed, dtype="float32")(x)
        # In 32 bits even with mixed precision: probabilities near 0 and 1 need them.
        head = layers.Dense(num_classes, activation="softmax", dtype="float32")
        self.whole = keras.Model(backbone.input, head(x))
        # From NumPy, so that every backend starts from the same weights.
        limit = np.sqrt(6 / sum(head.kernel.shape))  # Glorot & Bengio 2010
        drawn = np.random.default_rng((_HEAD, plan.seed)).random(head.kernel.shape)
        head.kernel.assign(limit * (2 * drawn - 1))
        if like:
            self.whole.set_weights(like.whole.get_weights())

    def is_cached(self, stage: Stage) -> bool:
        """Tell whether a stage can train on cached activations."""
        if stage.augmentation is not None or stage.boundary == "input":
            return False
        if stage.boundary == "backbone":
            return True
        try:
            densenet.split_at(self.whole, self._layer(stage.boundary))
        except CourseError as error:
            if "is no boundary" in str(error):  # but it can be frozen up to
                return False
            raise
        return True

    def inputs(self, stage: Stage) -> np.ndarray:
        """Return what a stage trains on: cached activations or images, [n, ...]."""
        if self.is_cached(stage):
            return self._activations(self._layer(stage.boundary))
        return self.images

    def trainable(self, stage: Stage) -> keras.Model:
        """Freeze as a stage says; return the model from its inputs to probabilities."""
        boundary = self._layer(stage.boundary)
        frozen_norms = self.plan.batch_norm == "frozen"
        densenet.set_frozen(self.whole, boundary, norms_too=frozen_norms)
        if self.is_cached(stage):
            return densenet.split_at(self.whole, boundary)[1]
        if stage.augmentation is None:
            return self.joined()
        grey = self._grey()
        changes = keras.Input((len(batches.PARAMETERS),), name="changes")
        images = batches.preprocess(
            batches.augment(grey, changes), self.plan.preprocessing
        )
        return keras.Model((grey, changes), self.whole(images))

    def validation(
        self, stage: Stage, one_hot: np.ndarray, rows: np.ndarray
    ) -> tuple | None:
        """Return what a stage is validated on, not augmented; None without rows."""
        if not len(rows):
            return None
        images = self.inputs(stage)[rows]
        if stage.augmentation is not None:
            return (images, batches.unchanged(len(rows))), one_hot[rows]
        return images, one_hot[rows]

    def joined(self) -> keras.Model:
        """Return the model from grey uint8 images to probabilities."""
        grey = self._grey()
        images = batches.preprocess(grey, self.plan.preprocessing)
        return keras.Model(grey, self.whole(images))

    def portable(self, backbone: keras.Model) -> keras.Model:
        """Return what predicts, in 32 bits, of layers that any Keras can load.

        `backbone`: another one of the same kind, in 32 bits; it gets the weights. The
        conversion of grey values becomes a 1 x 1 convolution, and the head's centring
        a part of its dense layer: as constants of the graph, neither would survive an
        export to ONNX. If the plan mirrors in prediction, this averages both answers.
        """
        layers, side = keras.layers, self.plan.pixels
        black, white = (
            keras.ops.convert_to_numpy(
                batches.preprocess(np.full((1, 1, 1), value), self.plan.preprocessing)
            ).ravel()
            for value in (0, 255)
        )
        *trained, kernel, bias = self.whole.get_weights()
        backbone.set_weights(trained)
        if self.centre:
            mean, variance = self.centre
            kernel = kernel / np.sqrt(variance)[:, None]
            bias = bias - mean @ kernel
        grey = self._grey()
        numbers = layers.Rescaling(1.0)(layers.Reshape((side, side, 1))(grey))
        colour = layers.Conv2D(3, 1, name="grey_to_input")
        x = layers.GlobalAveragePooling2D()(backbone(colour(numbers)))
        head = layers.Dense(len(bias), activation="softmax", name="head")
        answer = keras.Model(grey, head(x))
        colour.set_weights([((white - black) / 255).reshape(1, 1, 1, 3), black])
        head.set_weights([kernel, bias])
        if self.plan.predicts_mirrored:
            both = [answer(grey), answer(keras.ops.flip(grey, axis=2))]
            answer = keras.Model(grey, layers.Average()(both))
        return answer

    def predictor(self, stage: Stage) -> Callable[[np.ndarray], np.ndarray]:
        """Return what predicts rows of the images: probabilities float32 [m, k]."""
        inputs, model = self.inputs(stage), self.joined()
        if self.is_cached(stage):
            model = densenet.split_at(self.whole, self._layer(stage.boundary))[1]

        def predict(rows: np.ndarray) -> np.ndarray:
            starts = range(0, len(rows), _BLOCK)
            blocks = [inputs[rows[start : start + _BLOCK]] for start in starts]
            return np.concatenate([model.predict(b, verbose=0) for b in blocks])

        return predict

    def _layer(self, boundary: str) -> str:
        """Return the name of the layer that a plan's boundary stands for."""
        if boundary == "input":
            return self.whole.layers[0].name
        return _POOLED if boundary == "backbone" else boundary

    def _grey(self):
        side = self.plan.pixels
        return keras.Input((side, side), dtype="uint8", name="grey")

    def _centre(self, fit_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the features' mean, and one variance for all of them, repeated."""
        if not self.plan.centring:
            return None
        features = self._activations(_POOLED)[fit_rows]
        mean = features.mean(axis=0)
        return mean, np.full_like(mean, features.var(axis=0).mean())

    def _activations(self, boundary: str) -> np.ndarray:
        """Return the output of a layer for every image, from the disk if it is there.

        It goes on from what the disk holds of an earlier layer, or from the earliest
        boundary that the plan caches: most of the work lies before.
        """
        names = [layer.name for layer in self.whole.layers]
        known = {self.first_boundary, *_POOLS} & {*names[: names.index(boundary)]}
        for start in sorted(known, key=names.index, reverse=True):
            if start == self.first_boundary or self._is_on_disk(start):
                first = self._activations(start)
                output = self.whole.get_layer(start).output
                between = keras.Model(output, self.whole.get_layer(boundary).output)
                return densenet.activations(between, first, self._name)
        frozen = keras.Model(self.whole.input, self.whole.get_layer(boundary).output)
        return densenet.activations(
            frozen, self.images, self._name, self.plan.preprocessing
        )

    def _is_on_disk(self, boundary: str) -> bool:
        """Tell whether the output of a layer was computed from pixels before."""
        frozen = keras.Model(self.whole.input, self.whole.get_layer(boundary).output)
        return densenet.has_activations(frozen, self.images, self.plan.preprocessing)
