"""What the ladder's methods see of the images, and what each of them predicts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from helpers import probes
from helpers.datasets import thumbnails

from .real import RealData, features_of


@dataclass(frozen=True)
class Seen:
    """What the methods see of the images; everything is computed when first needed."""

    real: RealData
    plan: dict

    @property
    def modes(self) -> np.ndarray:
        return self.real.data.table["mode"].to_numpy(str)

    @cached_property
    def border(self) -> np.ndarray:
        return probes.border_numbers(self.real.data.images)

    @cached_property
    def histogram(self) -> np.ndarray:
        return probes.grey_histograms(self.real.data.images, self.plan["bins"])

    @cached_property
    def tiny(self) -> np.ndarray:
        small = thumbnails(self.real.data.images, self.plan["forest_side"])
        return small.reshape(len(small), -1)

    @cached_property
    def small(self) -> np.ndarray:
        return thumbnails(self.real.data.images, self.plan["copying_side"])

    @cached_property
    def distances(self) -> np.ndarray:
        """Squared distances between thumbnails, float32 [n, n]."""
        return squared_distances(self.small, self.small)

    @cached_property
    def distances_mirrored(self) -> np.ndarray:
        """The same to each thumbnail or its mirror image, whichever is nearer."""
        flipped = squared_distances(self.small, self.small[:, :, ::-1])
        return np.minimum(self.distances, flipped)

    @cached_property
    def medium(self) -> np.ndarray:
        return thumbnails(self.real.data.images, self.plan["side"])

    @cached_property
    def orientations(self) -> np.ndarray:
        return probes.oriented_gradients(self.medium)

    @cached_property
    def features(self) -> np.ndarray:
        return features_of(self.real)


# Every method: what it sees, labels [n] from 0 on, files fitted, files scored, seed.
Method = Callable[[Seen, np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]


def majority(seen, labels, train, test, seed) -> np.ndarray:
    """Return the class shares of the training part for every file."""
    shares = np.bincount(labels[train], minlength=labels.max() + 1) / len(train)
    return np.tile(shares, (len(test), 1))


def colour_mode(seen, labels, train, test, seed) -> np.ndarray:
    """Return the class shares of the training files in the same colour mode."""
    return probes.mode_probabilities(seen.modes, labels, train, test)


def _forest(see: Callable[[Seen], np.ndarray]) -> Method:
    def method(seen, labels, train, test, seed):
        trees = seen.plan["trees"]
        return probes.forest_probabilities(see(seen), labels, train, test, trees, seed)

    return method


def squared_distances(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return squared distances between images [n, h, w] and [m, h, w], float32 [n, m].

    Once for all rungs: then copying from any training part is one look-up.
    """
    ours = ours.reshape(len(ours), -1).astype(np.float64)
    theirs = theirs.reshape(len(theirs), -1).astype(np.float64)
    lengths = (theirs**2).sum(axis=1)
    found = np.empty((len(ours), len(theirs)), np.float32)
    for start in range(0, len(ours), 512):
        some = ours[start : start + 512]
        found[start : start + 512] = (
            (some**2).sum(axis=1, keepdims=True) + lengths - 2 * some @ theirs.T
        )
    return found


def _copying(see: Callable[[Seen], np.ndarray]) -> Method:
    def method(seen, labels, train, test, seed):
        near = see(seen)[np.ix_(test, train)].argmin(axis=1)
        return np.eye(labels.max() + 1)[labels[train[near]]]

    return method


def linear_probe(seen, labels, train, test, seed) -> np.ndarray:
    """Return a logistic regression's probabilities, on ImageNet features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=seen.plan["C"], max_iter=5000)
    )
    probe.fit(seen.features[train], labels[train])
    return probe.predict_proba(seen.features[test])


def _softmax(values: np.ndarray) -> np.ndarray:
    values = np.exp(values - values.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def pca_svm(seen, labels, train, test, seed) -> np.ndarray:
    """Return a softmax of the decision values of an RBF machine on 64 x 64 thumbnails.

    Thumbnails are reduced to principal components of the training part. Rows sum to 1
    and have the machine's order, but they are not calibrated.
    """
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    plan = seen.plan
    pixels = seen.medium.reshape(len(seen.medium), -1) / 255
    machine = make_pipeline(
        PCA(plan["components"], random_state=seed), SVC(C=plan["C_rbf"])
    )
    machine.fit(pixels[train], labels[train])
    return _softmax(machine.decision_function(pixels[test]))


def hog_svm(seen, labels, train, test, seed) -> np.ndarray:
    """Return a softmax of the decision values of a linear machine on gradients."""
    from sklearn.svm import LinearSVC

    machine = LinearSVC(C=seen.plan["C_linear"], random_state=seed, max_iter=5000)
    machine.fit(seen.orientations[train], labels[train])
    return _softmax(machine.decision_function(seen.orientations[test]))


def small_cnn(seen, labels, train, test, seed) -> np.ndarray:
    """Return the probabilities of a small network trained from scratch at 64 px.

    Four convolutions with BatchNorm, about 98,000 parameters, Adam, a fixed number of
    epochs, no augmentation, nothing held back.
    """
    import keras

    plan = seen.plan
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    pixels = seen.medium[..., None]
    layers = [keras.Input(pixels.shape[1:]), keras.layers.Rescaling(1 / 255)]
    for width, stride in zip(plan["widths"], plan["strides"], strict=True):
        layers += [
            keras.layers.Conv2D(width, 3, stride, padding="same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        ]
    layers += [
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(int(labels.max()) + 1, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.compile(
        keras.optimizers.Adam(plan["learning_rate"]), "sparse_categorical_crossentropy"
    )
    model.fit(
        pixels[train],
        labels[train],
        batch_size=plan["batch_size"],
        epochs=plan["num_epochs"],
        verbose=0,
    )
    return model.predict(pixels[test], verbose=0)


METHODS: dict[str, Method] = {
    "majority": majority,
    "colour-mode": colour_mode,
    "border": _forest(lambda seen: seen.border),
    "histogram": _forest(lambda seen: seen.histogram),
    "thumbnail-forest": _forest(lambda seen: seen.tiny),
    "copying": _copying(lambda seen: seen.distances),
    "copying-mirrored": _copying(lambda seen: seen.distances_mirrored),
    "linear-probe": linear_probe,
    "pca-svm": pca_svm,
    "hog-svm": hog_svm,
    "small-cnn": small_cnn,
}
# Those that differ from seed to seed.
SEEDED = ("border", "histogram", "thumbnail-forest", "small-cnn")
