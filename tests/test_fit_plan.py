"""A plan is carried out as it says, and the same on every backend and device."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from plan_runner import FIT, PLAN, VAL, carry_out
from small_network import images_and_labels, small_backbone

from helpers import batches, training
from helpers.config import CourseError
from helpers.devices import is_out_of_memory, mixed_precision
from helpers.plan import Plan, Stage

HEAD = Stage("head", "backbone", 2, 1e-2)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What plan_runner.py printed, by backend: two processes at a time."""
    folder, processes = tmp_path_factory.mktemp("runs"), {}
    for backend in ("tensorflow", "jax"):
        ways = ("one", "two", "resumed")
        command = [sys.executable, "plan_runner.py", str(folder / backend), *ways]
        env = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
        env["BRAIN_MRI_CACHE"] = str(folder / f"{backend}-cache")
        processes[backend] = subprocess.Popen(
            command,
            cwd=Path(__file__).parent,
            env=env,
            stdout=subprocess.PIPE,
            stderr=(folder / f"{backend}.err").open("w"),
            text=True,
        )
    found = {}
    for backend, process in processes.items():
        output, _ = process.communicate(timeout=800)
        assert process.returncode == 0, (folder / f"{backend}.err").read_text()[-3000:]
        found[backend] = json.loads(output.splitlines()[-1])
    return found


def assert_same(one: dict, other: dict, tolerance: float) -> None:
    assert one["stage"] == other["stage"]
    for name in ("loss", "val_loss", "probabilities"):
        np.testing.assert_allclose(one[name], other[name], atol=tolerance)


@pytest.mark.slow
def test_tensorflow_and_jax_give_the_same_loss_curve(runs):
    one = runs["tensorflow"]["one"]
    assert len(one["loss"]) == 6 and one["loss"][0] > one["loss"][1]
    assert_same(one, runs["jax"]["one"], tolerance=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_give_the_same_loss_as_one(runs, backend):
    assert_same(runs[backend]["one"], runs[backend]["two"], tolerance=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_after_full_memory_the_message_leads_to_the_same_result(runs, backend):
    message = runs[backend]["message"]
    assert "batch_size=4 and gradient_accumulation_steps=2" in message
    assert "goes on from" in message and "3-all.npz" in message
    assert_same(runs[backend]["one"], runs[backend]["resumed"], tolerance=5e-3)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        ("ResourceExhaustedError: OOM when allocating tensor", True),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 2147483648 bytes.", True),
        ("INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory", True),
        ("INTERNAL: Failed to allocate 4096 bytes for new constant", True),
        ("RESOURCE_EXHAUSTED: run.npz; No space left on device", False),
        ("INVALID_ARGUMENT: shapes do not match", False),
        ("the room is not in the bloom", False),
    ],
)
def test_full_memory_is_told_from_other_errors(error, full):
    assert is_out_of_memory(RuntimeError(error)) is full


def test_a_memory_error_of_python_is_full_memory():
    assert is_out_of_memory(MemoryError())


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("avx2 avx512_bf16", "mixed_bfloat16"), ("avx2 avx512f", "float32")],
)
def test_a_cpu_computes_in_16_bits_if_it_has_instructions_for_them(
    monkeypatch, flags, precision
):
    monkeypatch.setattr(keras.distribution, "list_devices", lambda kind: [])
    monkeypatch.setattr(Path, "read_text", lambda path: f"flags : {flags}")
    assert mixed_precision() == precision


@pytest.mark.parametrize(
    ("capability", "precision"), [((7, 5), "mixed_float16"), ((8, 0), "mixed_bfloat16")]
)
def test_a_gpu_gets_the_16_bits_that_it_is_fast_in(monkeypatch, capability, precision):
    import tensorflow as tf

    details = {"compute_capability": capability}
    monkeypatch.setattr(keras.distribution, "list_devices", lambda kind: ["gpu:0"])
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["the GPU"])
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda gpu: details
    )
    assert mixed_precision() == precision


@pytest.mark.parametrize(
    ("size", "steps", "says"),
    [
        (32, 1, "batch_size=16 and gradient_accumulation_steps=2"),
        (15, 2, "batch_size=5 and gradient_accumulation_steps=6"),
        (7, 1, "batch_size=1 and gradient_accumulation_steps=7"),
        (1, 32, "smaller images"),
    ],
)
def test_the_message_on_full_memory_keeps_the_images_a_step(size, steps, says):
    labels = np.zeros(64)
    stream = batches.ImageBatches(
        labels, labels, range(64), size, 0, gradient_accumulation_steps=steps
    )
    assert says in training._way_out(stream, Path("none"))


# --- what a plan says ---------------------------------------------------------------


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero():
    rate = training.learning_rate(Stage("a", "backbone", 1, 0.5, warmup=0.2), 10)
    rates = [float(rate(step)) for step in range(11)]
    np.testing.assert_allclose(rates[:3], [0, 0.25, 0.5])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    np.testing.assert_allclose(rates[6], 0.25)
    np.testing.assert_allclose(rates[10], 0, atol=1e-7)


def test_with_accumulation_the_learning_rate_counts_steps_and_not_batches():
    stage = Stage("a", "backbone", 1, 0.5, warmup=0.0)
    one, four = (training.learning_rate(stage, 10, n) for n in (1, 4))
    for batch in range(40):
        np.testing.assert_allclose(float(four(batch)), float(one(batch // 4)))


def test_a_constant_learning_rate_is_a_number():
    assert training.learning_rate(Stage("a", "input", 1, 0.1, "constant"), 9) == 0.1


def test_an_image_counts_one_over_the_size_of_its_group_in_the_rows_to_fit():
    plan = Plan((HEAD,), weighting="group")
    groups = np.array([4, 4, 9, 7, 4])  # the last is not fitted
    weights = training._sample_weights(plan, np.arange(4), groups)
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 4 / 3, 4 / 3, 0])


def only_head(**changes) -> Plan:
    return dataclasses.replace(PLAN, **({"stages": (HEAD,), "mixup": 0.0} | changes))


def weights_of(model: keras.Model) -> dict[str, np.ndarray]:
    return {w.path: keras.ops.convert_to_numpy(w) for w in model.weights}


@pytest.mark.parametrize(
    ("boundary", "batch_norm", "changed"),
    [
        ("backbone", "frozen", set()),
        ("first_pool", "frozen", {"second_conv/kernel", "second_conv/bias"}),
        (
            "inside",  # another path goes around it, so nothing is cached
            "training",
            {"first_conv/kernel", "first_conv/bias"}
            | {"second_conv/kernel", "second_conv/bias"}
            | {f"second_bn/{n}" for n in ("gamma", "beta")}
            | {f"second_bn/moving_{n}" for n in ("mean", "variance")},
        ),
    ],
)
def test_a_stage_changes_what_lies_behind_its_boundary(
    tmp_path, boundary, batch_norm, changed
):
    stage = Stage("a", boundary, 1, 1e-2, "constant")
    plan = only_head(stages=(stage,), batch_norm=batch_norm, ema=None)
    trained = carry_out(plan, tmp_path)
    before, after = weights_of(small_backbone()), weights_of(trained.model)
    found = {name for name, w in before.items() if (w != after[name]).any()}
    assert found == changed


def test_the_average_of_the_weights_is_validated_and_kept(tmp_path, monkeypatch):
    """With momentum near 1, the average stays near the weights after one step."""
    plan = only_head(centring=False, label_smoothing=0.0, weighting="none")
    stage = dataclasses.replace(HEAD, num_epochs=4, schedule="constant", patience=4)
    plain = carry_out(
        dataclasses.replace(plan, stages=(stage,), ema=None), tmp_path / "1"
    )
    slow = carry_out(
        dataclasses.replace(plan, stages=(stage,), ema=0.9999), tmp_path / "2"
    )
    np.testing.assert_array_equal(plain.history["loss"][0], slow.history["loss"][0])
    assert np.ptp(slow.history["val_loss"]) < 0.01 * np.ptp(plain.history["val_loss"])
    labels = images_and_labels()[1][VAL]
    own = -np.log(slow.predict(VAL)[np.arange(len(VAL)), labels]).mean()
    np.testing.assert_allclose(own, min(slow.history["val_loss"]), rtol=1e-4)


def test_the_preprocessing_of_a_plan_reaches_training_and_prediction(tmp_path):
    plain = carry_out(only_head(), tmp_path / "1")
    other = carry_out(only_head(preprocessing="0 to 1"), tmp_path / "2")
    images = images_and_labels()[0][VAL]
    for trained in (plain, other):
        np.testing.assert_allclose(
            trained.predict(VAL), trained.model.predict(images, verbose=0), atol=1e-5
        )
    assert np.abs(plain.predict(VAL) - other.predict(VAL)).max() > 1e-3


def test_a_mirrored_prediction_is_the_mean_of_both_ways(tmp_path):
    trained = carry_out(only_head(mirror="in prediction"), tmp_path)
    images = images_and_labels()[0][VAL]
    ways = [trained.model.predict(i, verbose=0) for i in (images, images[:, :, ::-1])]
    np.testing.assert_allclose(trained.predict(VAL), np.mean(ways, 0), atol=1e-5)
    assert np.abs(ways[0] - ways[1]).max() > 1e-3


def test_training_mirrored_is_drawing_from_an_image_and_its_mirror_image(tmp_path):
    plan = only_head(weighting="none", mirror="in training")
    found = carry_out(plan, tmp_path / "1")
    images, labels = images_and_labels()
    both = np.concatenate([images, images[:, :, ::-1]])
    plan = dataclasses.replace(plan, weighting="draw", mirror=None)
    rows, groups = np.concatenate([FIT, FIT + len(images)]), np.arange(120) % 60
    by_hand = training.fit_plan(
        plan,
        both,
        np.tile(labels, 2),
        rows,
        VAL,
        tmp_path / "2",
        groups,
        "none",
        build=small_backbone,
    )
    assert found.history == by_hand.history
    np.testing.assert_array_equal(found.predict(VAL), by_hand.predict(VAL))


@pytest.mark.parametrize(
    "change",
    [{}, {"preprocessing": "0 to 1", "centring": False}, {"mirror": "in both"}],
)
def test_the_portable_model_answers_as_the_training_does(tmp_path, change):
    weighting = "draw" if "mirror" in change else PLAN.weighting
    trained = carry_out(only_head(weighting=weighting, **change), tmp_path)
    model = trained.portable()
    images = images_and_labels()[0][VAL]
    said = model.predict(images, verbose=0)
    np.testing.assert_allclose(said, trained.predict(VAL), atol=1e-5)
    assert model.input.dtype == "uint8" and np.ptp(said, axis=0).min() > 1e-3
    kinds = {type(layer).__module__.split(".")[0] for layer in model.layers}
    assert kinds == {"keras"} and not any("Lambda" in str(x) for x in model.layers)


def test_the_steps_that_are_timed_are_those_of_the_stage_on_pixels():
    images, labels = images_and_labels()
    plan = dataclasses.replace(PLAN, mixup=0.0, weighting="none", ema=None)
    first, later = training.step_seconds(plan, images, labels, FIT, small_backbone)
    assert first > 5 * later > 0  # the first one compiles
    plan = only_head(weighting="none")
    assert training.step_seconds(plan, images, labels, FIT, small_backbone) is None


def test_memory_that_is_full_while_timing_is_told_with_half_the_batch(monkeypatch):
    from plan_runner import memory_error

    def fill(self, *arguments, **named):
        raise memory_error()

    monkeypatch.setattr(keras.Model, "fit", fill)
    images, labels = images_and_labels()
    with pytest.raises(CourseError, match="out of memory with batch_size=8") as told:
        training.step_seconds(PLAN, images, labels, FIT, small_backbone)
    assert told.value.half == 4


def test_a_plan_in_mixed_precision_trains_and_leaves_the_setting_as_it_was(tmp_path):
    stages = (HEAD, Stage("tail", "first_pool", 2, 1e-3, patience=2))
    plan = only_head(stages=stages, precision="mixed_float16")
    trained = carry_out(plan, tmp_path)
    assert keras.config.dtype_policy().name == "float32"
    assert trained.predict(VAL).dtype == np.float32
    full = carry_out(dataclasses.replace(plan, precision="float32"), tmp_path / "full")
    np.testing.assert_allclose(trained.predict(VAL), full.predict(VAL), atol=0.02)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"pixels": 64}, {}, r"of shape \(32, 32\); the plan expects uint8 of .*64"),
        ({"weighting": "group"}, {"groups": None}, 'weighting is "group": set groups'),
        (
            {},
            {"devices": ["cpu:0", "cpu:1", "cpu:2"]},
            "8 cannot be shared .* 3 devices",
        ),
    ],
)
def test_data_that_do_not_fit_the_plan_are_named(tmp_path, change, options, message):
    with pytest.raises(CourseError, match=message):
        carry_out(only_head(**change), tmp_path, **options)


def test_patience_without_a_validation_part_is_named(tmp_path):
    stage = dataclasses.replace(HEAD, patience=1)
    images, labels = images_and_labels()
    plan = only_head(stages=(stage,), weighting="none")
    with pytest.raises(CourseError, match="'head' has patience, but there is no valid"):
        training.fit_plan(plan, images, labels, FIT, VAL[:0], tmp_path, weights="none")


def test_a_folder_of_another_plan_is_named_with_what_differs(tmp_path):
    carry_out(only_head(), tmp_path)
    other = only_head(stages=(dataclasses.replace(HEAD, learning_rate=0.5),))
    with pytest.raises(CourseError, match=r"has head: learning_rate 0\.01; asked for"):
        carry_out(other, tmp_path)


def other_weights(weights: str, pixels: int) -> keras.Model:
    """The same network under the same name, with other weights in it."""
    model = small_backbone(weights, pixels)
    model.set_weights([w + 0.1 for w in model.get_weights()])
    return model


def test_weights_of_the_same_name_and_other_content_are_another_run(tmp_path):
    carry_out(only_head(), tmp_path)
    images, labels = images_and_labels()
    groups, rows = np.arange(60) // 3, (FIT, VAL, tmp_path)
    with pytest.raises(
        CourseError, match=r"another run: it has weights_sha256 \w{16};"
    ):
        training.fit_plan(
            only_head(), images, labels, *rows, groups, "none", build=other_weights
        )


def test_a_checkpoint_from_before_the_weights_were_hashed_goes_on_and_says_so(
    tmp_path, capsys
):
    def noted(change: Callable[[dict], None] = lambda run: None) -> dict:
        with np.load(tmp_path / "1-head.npz") as file:
            arrays = dict(file)
        info = json.loads(str(arrays["info"]))
        change(info["run"])
        arrays["info"] = np.array(json.dumps(info))
        np.savez(tmp_path / "1-head.npz", **arrays)
        return info["run"]

    whole = carry_out(only_head(), tmp_path).predict(VAL)
    assert noted()["weights_sha256"]
    noted(lambda run: run.pop("weights_sha256"))
    capsys.readouterr()
    again = carry_out(only_head(), tmp_path).predict(VAL)
    np.testing.assert_array_equal(whole, again)
    said = capsys.readouterr().err
    assert said.count("older than the noting of the weights' content") == 1
    assert "goes on with random (seed 0)" in said
    assert "weights_sha256" not in noted()  # it still cannot say
    noted(lambda run: run.update(seed=99))
    with pytest.raises(CourseError, match="is of another run: it has seed 99"):
        carry_out(only_head(), tmp_path)


def test_a_folder_below_home_is_not_named_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    carry_out(only_head(), "~/runs")
    assert (tmp_path / "runs" / "1-head.npz").exists()
    assert not (tmp_path / "~").exists()


def test_a_log_for_tensorboard_is_written_on_request(tmp_path):
    from tensorflow.compat.v1.train import summary_iterator

    trained = carry_out(only_head(), tmp_path / "run", tensorboard=tmp_path / "log")
    files = (tmp_path / "log" / "head" / "train").glob("events*")
    events = [
        v for f in files for e in summary_iterator(str(f)) for v in e.summary.value
    ]
    import tensorflow as tf

    losses = [float(tf.make_ndarray(v.tensor)) for v in events if v.tag == "epoch_loss"]
    np.testing.assert_allclose(losses, trained.history["loss"], rtol=1e-6)


def test_a_log_without_tensorboard_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    with pytest.raises(CourseError, match="needs the packages tensorboard and"):
        carry_out(only_head(), tmp_path / "run", tensorboard=tmp_path / "log")
