"""The backbone: its weights by name, its cut and joint, its cached activations.

Here too, since it needs Keras: the check of exercise 7.3.
"""

import errno
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from helpers import batches, checks, densenet
from helpers.checks import chapter07
from helpers.config import CourseError
from helpers.files import whole_file

rng = np.random.default_rng(3)
IMAGES = rng.integers(0, 256, (5, 64, 64), np.uint8)


@pytest.fixture(autouse=True)
def empty_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("BRAIN_MRI_WEIGHTS", raising=False)


def norms(model):
    return [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


@pytest.fixture(scope="module")
def whole():
    """DenseNet121 with BatchNormalization statistics as a trained one has them."""
    model = densenet.backbone("none", pixels=64)
    for norm in norms(model):
        size = norm.gamma.shape
        norm.gamma.assign(rng.uniform(0.5, 1.5, size))
        norm.beta.assign(rng.normal(0, 0.3, size))
        norm.moving_mean.assign(rng.normal(0, 0.3, size))
        norm.moving_variance.assign(rng.uniform(0.5, 2, size))
    return model


def num_trainable(model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.parametrize("boundary", ["pool2_pool", "pool4_pool"])
def test_the_joined_model_equals_the_whole_to_1e_5_of_the_largest_activation(
    whole, boundary
):
    expected = np.asarray(whole(batches.preprocess(IMAGES)))
    frozen, tail = densenet.split_at(whole, boundary)
    joined = densenet.join(frozen, tail)
    assert joined.input.dtype == "uint8"
    largest = np.abs(expected).max()
    assert largest > 1  # or the tolerance below would mean nothing
    found = joined.predict(IMAGES, verbose=0)
    assert np.abs(found - expected).max() <= 1e-5 * largest
    cached = densenet.activations(frozen, IMAGES, "test")
    found = tail.predict(np.asarray(cached), verbose=0)
    assert np.abs(found - expected).max() <= 1e-5 * largest


@pytest.mark.parametrize(
    ("layer", "reason"),
    [("conv5_block3_1_conv", "is no boundary"), ("pool9", "is not a layer")],
)
def test_a_cut_that_cannot_be_made_is_named(whole, layer, reason):
    with pytest.raises(CourseError, match=f"'{layer}' {reason} .*pool4_pool"):
        densenet.split_at(whole, layer)


def test_what_is_frozen_and_every_batch_statistic_survive_training(whole):
    _, tail = densenet.split_at(whole, "pool4_pool")
    densenet.set_frozen(whole, "pool4_pool")
    pooled = keras.layers.GlobalAveragePooling2D()(tail.output)
    model = keras.Model(tail.input, keras.layers.Dense(2)(pooled))
    model.compile("sgd", "mse")
    inputs = rng.normal(size=(4, 2, 2, 512)).astype(np.float32)
    before = [w.numpy() for w in tail.weights]
    model.train_on_batch(inputs, np.ones((4, 2)))
    changed = {
        weight.path.split("/")[-1]
        for weight, old in zip(tail.weights, before, strict=True)
        if not np.array_equal(weight.numpy(), old)
    }
    assert changed == {"kernel"}
    for weight, old in zip(tail.weights, before, strict=True):
        weight.assign(old)


def test_the_numbers_of_exercise_2_are_those_of_keras(whole):
    densenet.set_frozen(whole, "pool3_pool")
    assert num_trainable(whole) == chapter07.BEHIND_POOL3
    behind = [layer.name for layer in whole.layers].index("pool3_pool")
    for layer in norms(keras.Sequential(whole.layers[behind + 1 :])):
        layer.trainable = True
    assert num_trainable(whole) - chapter07.BEHIND_POOL3 == chapter07.NORMS_BEHIND_POOL3
    densenet.set_frozen(whole, "pool4_pool")
    assert num_trainable(whole) == chapter07.BEHIND_POOL4
    assert whole.count_params() == chapter07.ALL
    densenet.set_frozen(whole, "relu")
    assert num_trainable(whole) == 0
    with pytest.raises(CourseError, match="'pool9' is not a layer"):
        densenet.set_frozen(whole, "pool9")


# --- cached activations ---------------------------------------------------------------


@pytest.fixture
def frozen():
    """A frozen part that is quick to run."""
    inputs = keras.Input((64, 64, 3))
    return keras.Model(inputs, keras.layers.Conv2D(2, 32, strides=32)(inputs))


def test_activations_are_computed_once_for_the_same_images_and_weights(
    frozen, monkeypatch
):
    computed = []
    compute = densenet._predict_blocks
    monkeypatch.setattr(
        densenet,
        "_predict_blocks",
        lambda *a, **k: computed.append(1) or compute(*a, **k),
    )
    images = rng.integers(0, 256, (70, 64, 64), np.uint8)  # more than two batches
    first = densenet.activations(frozen, images, "test")
    assert first.shape == (70, 2, 2, 2) and not first.flags.writeable
    expected = np.asarray(frozen(batches.preprocess(images)))
    np.testing.assert_allclose(first, expected, rtol=1e-4, atol=1e-5)
    densenet.activations(frozen, images, "test")
    assert len(computed) == 1
    densenet.activations(frozen, images[::-1], "test")
    frozen.layers[-1].bias.assign([1.0, 1.0])
    np.testing.assert_allclose(
        densenet.activations(frozen, images, "test"), first + 1, rtol=1e-4, atol=1e-5
    )
    assert len(computed) == 3


def cached_files() -> list[Path]:
    return list((Path(os.environ["BRAIN_MRI_CACHE"]) / "activations").iterdir())


def test_a_damaged_cache_of_activations_is_computed_again(frozen, capsys):
    first = np.array(densenet.activations(frozen, IMAGES, "test"))
    (path,) = cached_files()
    path.write_bytes(path.read_bytes()[:-20])
    np.testing.assert_array_equal(densenet.activations(frozen, IMAGES, "test"), first)
    assert "is damaged; computing it again" in capsys.readouterr().out


def one_bit(stored: bytes) -> bytes:
    return stored[:200] + bytes([stored[200] ^ 1]) + stored[201:]


def as_array(change) -> Callable[[bytes], bytes]:
    """Change the array, and save it as NumPy does: a whole file of other content."""

    def changed(stored: bytes) -> bytes:
        file = io.BytesIO()
        np.save(file, change(np.load(io.BytesIO(stored))))
        return file.getvalue()

    return changed


@pytest.mark.parametrize(
    "change",
    [
        one_bit,
        lambda stored: stored[:200] + bytes(len(stored) - 232) + stored[-32:],
        as_array(lambda array: array[:-1]),
        as_array(lambda array: array.astype(np.float64)),
        as_array(lambda array: array[..., None]),
    ],
    ids=["a bit", "zeros", "a row less", "other numbers", "another shape"],
)
def test_changed_activations_are_noticed_and_computed_again(frozen, change, capsys):
    first = np.array(densenet.activations(frozen, IMAGES, "test"))
    (path,) = cached_files()
    path.write_bytes(change(path.read_bytes()))
    np.testing.assert_array_equal(densenet.activations(frozen, IMAGES, "test"), first)
    assert "is damaged; computing it again" in capsys.readouterr().out


def test_activations_from_before_the_fingerprint_are_used(frozen, capsys):
    first = np.array(densenet.activations(frozen, IMAGES, "test"))
    (path,) = cached_files()
    np.save(path, first + 1)
    again = densenet.activations(frozen, IMAGES, "test")
    np.testing.assert_array_equal(again, first + 1)
    assert "damaged" not in capsys.readouterr().out


def test_a_read_only_disk_does_not_hide_its_message(tmp_path, monkeypatch):
    read_only = OSError(errno.EROFS, "Read-only file system")

    def refuse(*arguments, **named):
        raise read_only

    for name in ("open", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    message = r"cannot be written: Read-only file system\. Make its folder writable"
    with pytest.raises(CourseError, match=message), whole_file(tmp_path / "x"):
        pass


def test_what_killed_runs_left_a_day_ago_is_removed_and_what_is_new_stays(tmp_path):
    old, new = tmp_path / "a.npz.123.tmp", tmp_path / "b.npz.124.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    with whole_file(tmp_path / "c.npz") as file:
        file.write(b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, "c.npz"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.weights (1).h5", b"x", r"rename it to model\.weights\.h5"),
        ("model (2).h5", b"x", r"rename it to model\.weights\.h5"),
        ("a.weights.h5", b"version https://git-lfs.github.com/spec", "git lfs pull"),
        ("a.weights.h5", b"<!DOCTYPE html><html>", "a web page: the download went"),
        ("a.weights.h5", b"x", "Fetch the file again"),
    ],
)
def test_a_file_that_is_no_weights_says_what_it_is(
    whole, tmp_path, name, content, message
):
    (tmp_path / name).write_bytes(content)
    kept = whole.get_weights()
    with pytest.raises(CourseError, match=message):
        densenet._load_weights(whole, tmp_path / name)
    whole.set_weights(kept)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full (Linux)")
def test_a_full_disk_while_caching_activations_is_one_message(frozen):
    densenet.activations(frozen, IMAGES, "test")
    (path,) = cached_files()
    path.unlink()
    path.with_name(f"{path.name}.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(CourseError, match=r"cannot be written: No space left .*CACHE"):
        densenet.activations(frozen, IMAGES, "test")
    assert cached_files() == []


# --- weights --------------------------------------------------------------------------


def test_random_weights_are_the_same_on_every_machine(whole):
    kernel = whole.get_layer("conv1_conv").kernel.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / (7 * 7 * 3)), rel=0.02)
    assert kernel[0, 0, 0, :3] == pytest.approx(
        [0.130362, -0.161798, -0.049756], abs=1e-6
    )
    assert densenet.weights_name("none") == "random (seed 0)"


def test_auto_means_the_setting_then_the_bundled_file_then_random(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(densenet, "ROOT", tmp_path)
    assert densenet.weights_name() == "random (seed 0)"
    folder = tmp_path / "data" / "weights"
    folder.mkdir(parents=True)
    (folder / densenet.HASHES_FILE).touch()
    assert densenet.weights_name() == "bundled"
    monkeypatch.setenv("BRAIN_MRI_WEIGHTS", "imagenet")
    assert densenet.weights_name() == "imagenet"
    monkeypatch.setenv("BRAIN_MRI_WEIGHTS", "none")
    assert densenet.weights_name() == "random (seed 0)"
    assert densenet.weights_name("bundled") == "bundled"
    (tmp_path / "own.weights.h5").touch()
    monkeypatch.setenv("BRAIN_MRI_WEIGHTS", str(tmp_path / "own.weights.h5"))
    assert densenet.weights_name() == "own.weights.h5"
    monkeypatch.setenv("BRAIN_MRI_WEIGHTS", str(tmp_path / "gone.weights.h5"))
    with pytest.raises(CourseError, match=r"no weights file at .*gone\.weights\.h5"):
        densenet.weights_name()


BUNDLED = densenet.ROOT / "data" / "weights" / densenet.BUNDLED_FILE
HASHES = BUNDLED.with_name(densenet.HASHES_FILE)


@pytest.mark.skipif(not HASHES.exists(), reason="this copy bundles no weights")
def test_the_bundled_file_is_small_and_fills_every_weight():
    model = densenet.backbone("bundled", pixels=32)
    assert BUNDLED.stat().st_size <= 16e6
    assert {w.dtype for w in model.weights} == {"float32"}
    # Trained: no BatchNormalization keeps the mean 0 and variance 1 it starts with.
    for norm in norms(model):
        assert np.abs(norm.moving_mean).max() > 0.01
        assert np.abs(np.asarray(norm.moving_variance) - 1).max() > 0.01


@pytest.fixture
def bundled(tmp_path, monkeypatch, built):
    """A bundled file of the small network, with its hash beside it."""
    monkeypatch.setattr(densenet, "ROOT", tmp_path)
    folder = tmp_path / "data" / "weights"
    folder.mkdir(parents=True)
    path = saved(folder / densenet.BUNDLED_FILE, channels=4)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / densenet.HASHES_FILE).write_text(f"{digest}  {path.name}\n")
    return path


def test_the_bundled_file_is_loaded_when_its_hash_is_the_committed_one(bundled):
    assert (densenet.backbone("bundled").get_weights()[0] == 0.5).all()


@pytest.mark.parametrize("fault", ["a byte", "gone", "no hash", "no list"])
def test_a_damaged_bundled_file_is_named_with_ways_out(bundled, built, fault):
    hashes = bundled.with_name(densenet.HASHES_FILE)
    if fault == "a byte":
        content = bytearray(bundled.read_bytes())
        content[len(content) // 2] ^= 1
        bundled.write_bytes(content)
    elif fault == "gone":
        bundled.unlink()
    elif fault == "no hash":
        hashes.write_text("")
    else:
        hashes.unlink()
    says = rf"{bundled.name}, a part of .*git checkout -- data/weights.*BRAIN_MRI"
    with pytest.raises(CourseError, match=says):
        densenet.backbone("bundled" if fault == "no list" else "auto")
    assert built == []


@pytest.fixture
def built(monkeypatch):
    """Let `backbone` build a small network, and count how often it does."""
    calls = []

    def build(**options):
        calls.append(options)
        inputs = keras.Input((64, 64, 3))
        return keras.Model(inputs, keras.layers.Conv2D(4, 3, name="conv")(inputs))

    monkeypatch.setattr(keras.applications, "DenseNet121", build)
    return calls


def saved(path: Path, channels: int, value: float = 0.5, name: str = "conv") -> Path:
    inputs = keras.Input((64, 64, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(channels, 3, name=name)(inputs))
    model.set_weights([np.full_like(w, value) for w in model.get_weights()])
    model.save_weights(path)
    return path


def test_weights_are_loaded_from_a_path(tmp_path, built):
    path = saved(tmp_path / "own.weights.h5", channels=4)
    assert (densenet.backbone(str(path)).get_weights()[0] == 0.5).all()


@pytest.mark.parametrize(
    "fault", ["truncated", "text", "other network", "not a number"]
)
def test_a_weights_file_that_cannot_be_used_is_named(tmp_path, built, fault):
    path = tmp_path / "bad.weights.h5"
    saved(
        path, 5 if fault == "other network" else 4, np.nan if "number" in fault else 1
    )
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:500])
    if fault == "text":
        path.write_text("these are not weights")
    with pytest.raises(
        CourseError, match=r"bad\.weights\.h5 does not hold the weights"
    ):
        densenet.backbone(str(path))


@pytest.mark.parametrize("in_cache", [None, b"half a download"])
def test_without_network_imagenet_fails_before_building_and_names_ways_out(
    tmp_path, built, monkeypatch, in_cache
):
    monkeypatch.setattr(densenet, "IMAGENET_URL", "http://127.0.0.1:9/closed.h5")
    if in_cache:
        (tmp_path / "keras" / "models").mkdir(parents=True)
        (tmp_path / "keras" / "models" / densenet.IMAGENET_FILE).write_bytes(in_cache)
    with pytest.raises(CourseError, match=r"go online once; put .* BRAIN_MRI_WEIGHTS"):
        densenet.backbone("imagenet")
    assert built == []


# --- the check that needs Keras -------------------------------------------------------


def solution(model, boundary):
    behind = False
    for layer in model.layers:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = behind and not is_norm
        behind = behind or layer.name == boundary


def colleague(model, boundary):
    for layer in model.layers:
        layer.trainable = False
        if layer.name == boundary:
            break


def colleague_and_norms(model, boundary):
    colleague(model, boundary)
    for layer in norms(model):
        layer.trainable = False


def one_too_few(model, boundary):
    solution(model, boundary)
    model.get_layer(boundary).trainable = True


def all_at_once(model, boundary):
    model.trainable = False


@pytest.mark.parametrize(
    ("answer", "result", "says"),
    [
        (..., None, "Not yet"),
        (lambda model, boundary: None, None, "freezes nothing"),
        (solution, True, "Right"),
        (densenet.set_frozen, True, "Right"),
        (colleague, False, "first call, up to 'conv_2', 'norm_2' stays trainable"),
        (colleague_and_norms, False, "second call, up to 'conv_1', 'conv_2' is frozen"),
        (one_too_few, False, "'conv_2' is trainable, but lies before the boundary"),
        (all_at_once, False, "as a whole"),
        ("freeze", False, "the function itself"),
    ],
)
def test_the_check_of_exercise_3_tells_what_is_wrong(answer, result, says, capsys):
    assert checks.ch7_freeze(answer) is result
    assert says in capsys.readouterr().out
