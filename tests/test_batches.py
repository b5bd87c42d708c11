"""Order, augmentation and preprocessing are functions of (seed, epoch, index)."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.applications import densenet
from record_form import INFO_KEYS
from scipy import ndimage

from helpers import recorded
from helpers.batches import (
    PARAMETERS,
    RECIPES,
    ImageBatches,
    augment,
    augmentation_parameters,
    epoch_order,
    preprocess,
    unchanged,
)
from helpers.config import CourseError

RECIPE = "pose, exposure and mirror"
seeds = st.integers(0, 2**31)
epochs = st.integers(0, 500)
rows = st.lists(st.integers(0, 10_000), min_size=1, max_size=20)


def parameters(**changes):
    """Return one row of parameters that changes nothing but what is named."""
    row = unchanged(1)
    for name, value in changes.items():
        row[0, PARAMETERS.index(name)] = value
    return row


def augmented(images, row):
    return keras.ops.convert_to_numpy(augment(images, np.repeat(row, len(images), 0)))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(5).integers(0, 256, (12, 24, 20), dtype=np.uint8)


@given(st.integers(1, 300), seeds, epochs)
def test_an_epoch_visits_every_image_once(num_images, seed, epoch):
    order = epoch_order(num_images, seed, epoch)
    assert sorted(order) == list(range(num_images))
    assert np.array_equal(order, epoch_order(num_images, seed, epoch))


def test_another_seed_or_epoch_is_another_order():
    orders = {
        tuple(epoch_order(50, seed, epoch)) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(orders) == 4


@settings(deadline=None)
@given(rows, seeds, epochs, st.sampled_from(sorted(RECIPES)), st.randoms())
def test_parameters_do_not_depend_on_the_rest_of_the_batch(
    indices, seed, epoch, recipe, random
):
    together = augmentation_parameters(indices, seed, epoch, recipe)
    places = list(range(len(indices)))
    random.shuffle(places)
    shuffled = augmentation_parameters(
        [indices[place] for place in places], seed, epoch, recipe
    )
    assert np.array_equal(shuffled, together[places])
    alone = augmentation_parameters(indices[-1:], seed, epoch, recipe)
    assert np.array_equal(alone[0], together[-1])


@settings(deadline=None)
@given(rows, seeds, epochs, st.sampled_from(sorted(RECIPES)))
def test_parameters_stay_within_their_recipe(indices, seed, epoch, recipe):
    drawn = augmentation_parameters(indices, seed, epoch, recipe)
    values = dict(zip(PARAMETERS, drawn.T, strict=True))
    limit = RECIPES[recipe]
    slack = 1 + 1e-6
    assert np.all(np.abs(values["rotation"]) <= limit.rotation * slack)
    assert np.all(np.abs(values["shift_x"]) <= limit.shift * slack)
    assert np.all(np.abs(values["shift_y"]) <= limit.shift * slack)
    for name in ("zoom", "gain", "gamma"):
        assert np.all(
            np.abs(np.log(values[name])) <= np.log(getattr(limit, name)) + 1e-6
        )
    assert np.all((values["noise"] >= 0) & (values["noise"] <= limit.noise * slack))
    assert np.all(np.isin(values["mirror"], (0, 1)))


def test_only_the_recipe_that_names_the_mirror_mirrors():
    share = {
        name: augmentation_parameters(range(1000), 0, 0, name)[:, 4].mean()
        for name in RECIPES
    }
    assert 0.45 < share.pop("pose, exposure and mirror") < 0.55
    assert set(share.values()) == {0.0}


def test_image_zero_is_not_augmented_with_the_numbers_of_the_epoch_order():
    # SeedSequence((seed, epoch)) and SeedSequence((seed, epoch, 0)) are one stream.
    same = np.random.default_rng((3, 4)).random(), np.random.default_rng((3, 4, 0))
    assert same[0] == same[1].random()
    ranks = np.argsort(augmentation_parameters([0], 3, 4, RECIPE)[0])
    assert not np.array_equal(ranks, epoch_order(len(PARAMETERS), 3, 4))


def test_an_unknown_recipe_is_named_with_the_known_ones():
    with pytest.raises(CourseError, match="'flips'; expected one of pose, "):
        augmentation_parameters([0], 0, 0, "flips")


def test_neutral_parameters_change_nothing(images):
    assert np.array_equal(augmented(images, parameters()), images)


def test_the_mirror_swaps_left_and_right_exactly(images):
    assert np.array_equal(augmented(images, parameters(mirror=1)), images[:, :, ::-1])


def test_a_shift_moves_right_and_down_and_leaves_black(images):
    moved = augmented(images, parameters(shift_x=3 / 20, shift_y=2 / 24))
    assert np.array_equal(moved[:, 2:, 3:], images[:, :-2, :-3])
    assert moved[:, :2].max() == 0
    assert moved[:, :, :3].max() == 0


def test_a_quarter_turn_is_counter_clockwise(images):
    square = images[:, :20]
    turned = augmented(square, parameters(rotation=90)).astype(int)
    inner = np.rot90(square, axes=(1, 2)).astype(int)[:, 1:-1, 1:-1]
    assert np.abs(turned[:, 1:-1, 1:-1] - inner).max() <= 1


def test_zoom_enlarges_about_the_centre():
    square = np.zeros((1, 41, 41), np.uint8)
    square[:, 15:26, 15:26] = 255
    area = (augmented(square, parameters(zoom=1.5)) > 127).sum() / (square > 127).sum()
    assert area == pytest.approx(1.5**2, rel=0.1)


def test_gain_and_gamma_are_what_they_say(images):
    changed = augmented(images, parameters(gain=0.9, gamma=1.2))
    expected = 255 * 0.9 * (images / 255) ** 1.2
    assert np.abs(changed - expected).max() <= 0.51


def test_noise_is_rician():
    black, grey = np.zeros((1, 64, 64), np.uint8), np.full((1, 64, 64), 128, np.uint8)
    row = parameters(noise=0.1)
    rayleigh_mean = 255 * 0.1 * np.sqrt(np.pi / 2)
    assert augmented(black, row).mean() == pytest.approx(rayleigh_mean, rel=0.03)
    assert augmented(grey, row).std() == pytest.approx(25.5, rel=0.05)
    elsewhere = parameters(noise=0.1, noise_x=0.5, noise_y=0.25)
    assert np.mean(augmented(grey, row) == augmented(grey, elsewhere)) < 0.1


def test_the_whole_augmentation_is_what_scipy_makes_of_the_same_parameters():
    """A reference for every backend, written from the definition with SciPy."""
    grid = np.indices((48, 40)).sum(0)[None]
    images = (2 * grid + np.arange(16)[:, None, None]).astype(np.uint8)
    drawn = augmentation_parameters(range(16), 0, 0, RECIPE)
    drawn[:, PARAMETERS.index("noise")] = 0
    ours = keras.ops.convert_to_numpy(augment(images, drawn)).astype(float)
    centre = np.array([47, 39]) / 2
    for image, row, made in zip(images, drawn, ours, strict=True):
        value = dict(zip(PARAMETERS, row, strict=True))
        angle = np.deg2rad(value["rotation"])
        turn = np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )  # forward, in (row, column): counter-clockwise with rows pointing down
        forward = value["zoom"] * turn @ np.diag([1, 1 - 2 * value["mirror"]])
        shift = np.array([48 * value["shift_y"], 40 * value["shift_x"]])
        back = np.linalg.inv(forward)
        pixels = ndimage.affine_transform(
            image.astype(float), back, centre - back @ (centre + shift), order=1
        )
        expected = 255 * np.clip(value["gain"] * (pixels / 255) ** value["gamma"], 0, 1)
        # SciPy has no half pixel outside the frame, so the frame's edge may differ.
        inside = ndimage.minimum_filter(pixels, 5) > 0
        assert inside.mean() > 0.5
        assert np.abs(made - expected)[inside].max() <= 1


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 8, 8, 1)])
def test_preprocess_is_densenets_own(shape):
    grey = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    colour = np.repeat(grey.reshape(4, 8, 8, 1), 3, axis=-1)
    ours = keras.ops.convert_to_numpy(preprocess(grey))
    assert ours.dtype == np.float32
    # Keras' own NumPy path subtracts and divides channel by channel, in place.
    assert np.array_equal(ours, densenet.preprocess_input(colour.astype(np.float32)))


def test_a_model_takes_grey_bytes_and_augments_inside(images):
    grey = keras.Input((24, 20), dtype="uint8")
    drawn = keras.Input((len(PARAMETERS),))
    model = keras.Model([grey, drawn], preprocess(augment(grey, drawn)))
    drawn_now = augmentation_parameters(range(12), 1, 2, "pose and exposure")
    inside = model([images, drawn_now])
    outside = preprocess(augment(images, drawn_now))
    assert np.allclose(inside, outside, atol=1e-6)


def test_batches_cover_their_rows_and_no_others(images):
    labels = np.arange(100, 112)
    batches = ImageBatches(images, labels, [1, 3, 5, 7, 9, 11], 3, seed=4)
    assert batches.per_epoch == 2
    (first, first_labels), (second, second_labels) = batches[0], batches[1]
    visited = np.concatenate([first_labels, second_labels]) - 100
    assert sorted(visited) == [1, 3, 5, 7, 9, 11]
    assert first.dtype == np.uint8
    assert np.array_equal(np.concatenate([first, second]), images[visited])


@settings(deadline=None)
@given(st.integers(3, 40), st.integers(1, 3), st.integers(0, 30), seeds)
def test_a_stream_started_late_continues_the_same_stream(count, size, late, seed):
    images, labels = np.zeros((count, 2, 2), np.uint8), np.arange(count)
    whole = ImageBatches(images, labels, range(count), size, seed, recipe=RECIPE)
    epoch, batch = whole.position(late)
    resumed = ImageBatches(
        images, labels, range(count), size, seed, epoch, batch, recipe=RECIPE
    )
    for item in range(3):
        (_, drawn), shown = whole[late + item]
        (_, drawn_again), shown_again = resumed[item]
        assert np.array_equal(shown, shown_again)
        assert np.array_equal(drawn, drawn_again)


def test_fit_sees_the_promised_order_across_epochs():
    seen = []

    class Spy(keras.Model):
        def train_step(self, data):
            seen.append(data[1].numpy().tolist())
            return {"loss": 0.0}

    images, labels = np.zeros((20, 2, 2), np.uint8), np.arange(20)
    batches = ImageBatches(images, labels, range(20), 3, seed=9)
    spy = Spy()
    spy.compile(run_eagerly=True)
    spy.fit(
        batches, steps_per_epoch=batches.per_epoch, epochs=3, shuffle=False, verbose=0
    )
    assert seen == [batches[item][1].tolist() for item in range(18)]


def test_too_few_images_for_one_batch_is_said():
    with pytest.raises(CourseError, match="5 images cannot fill one batch of 8"):
        ImageBatches(np.zeros((5, 2, 2)), np.zeros(5), range(5), 8, seed=0)


def test_the_bench_measures_every_variant_from_phantom_files(monkeypatch, capsys):
    from tools import bench_input

    monkeypatch.delenv("BRAIN_MRI_DATA", raising=False)
    run = bench_input.bench(num_files=32, repeats=1)
    assert not {*INFO_KEYS} - run.info.keys()
    rates = run.info["images_per_second"]
    assert len(rates) == 8
    assert run.info["ratio"]["later_epochs"]["median"] == pytest.approx(
        rates["ours, later epochs"]["median"] / rates["ImageDataGenerator"]["median"],
        rel=0.05,
    )
    bench_input.show(run.info)
    shown = capsys.readouterr().out
    assert "32 files, in the median 224 x 224" in shown
    assert "ours, first epoch / ImageDataGenerator" in shown


def test_the_recorded_benchmark_follows_from_its_rates():
    from tools import bench_input

    run = recorded.load(bench_input.NAME)
    summary = bench_input.summary(run.arrays)
    assert summary == {key: run.info[key] for key in summary}


def test_a_record_is_not_made_of_phantoms(monkeypatch, capsys):
    from tools import bench_input

    monkeypatch.delenv("BRAIN_MRI_DATA", raising=False)
    assert bench_input.main(["--record"]) == 2
    assert "records are of real images" in capsys.readouterr().err


def test_the_bench_names_a_folder_that_is_not_there(monkeypatch, capsys):
    from tools import bench_input

    monkeypatch.setenv("BRAIN_MRI_DATA", "nowhere")
    assert bench_input.main([]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err


def numbers(num_images: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Return images that hold their own number, and labels of two classes, one-hot."""
    images = np.tile(np.arange(num_images, dtype=np.uint8)[:, None, None], (1, 2, 2))
    return images, np.eye(2, dtype=np.float32)[np.arange(num_images) % 2]


def test_mixup_mixes_images_and_labels_in_the_same_share():
    images, labels = numbers()
    images = 10 * images
    stream = ImageBatches(images, labels, range(20), 10, 3, mixup=1.0)
    order = epoch_order(20, 3, 0)
    mixed, mixed_labels = stream[0]
    one, other = order[:10], order[1:11]
    share = (mixed[:, 0, 0] - 10.0 * other) / (10.0 * one - 10.0 * other)
    assert mixed.dtype == np.uint8
    same = one % 2 == other % 2
    np.testing.assert_allclose(mixed_labels[same], labels[one[same]], atol=1e-6)
    rounding = 0.6 / np.abs(10 * one - 10 * other)[~same]
    shares = mixed_labels[np.arange(10), one % 2][~same]
    assert (np.abs(shares - share[~same]) < rounding).all() and len(shares) > 2


def test_mixup_does_not_depend_on_the_batch_size():
    images, labels = numbers()
    large = ImageBatches(images, labels, range(20), 20, 3, mixup=0.4)[0]
    small = ImageBatches(images, labels, range(20), 5, 3, mixup=0.4)
    for part in range(2):
        parts = np.concatenate([small[k][part] for k in range(4)])
        np.testing.assert_array_equal(parts, large[part])


def test_weights_come_with_their_images():
    images, labels = numbers()
    weights = np.arange(20, dtype=np.float32)
    stream = ImageBatches(
        images, labels, range(20), 5, 3, recipe="pose", weights=weights
    )
    (batch, changes), _, served = stream[1]
    np.testing.assert_array_equal(served, batch[:, 0, 0])
    assert changes.shape == (5, len(PARAMETERS))


def test_with_accumulation_an_epoch_is_a_whole_number_of_steps():
    images, labels = numbers()
    steps = {"gradient_accumulation_steps": 3}
    assert ImageBatches(images, labels, range(20), 2, 0, **steps).per_epoch == 9
    with pytest.raises(CourseError, match="20 images cannot fill one batch of 21"):
        ImageBatches(images, labels, range(20), 7, 0, **steps)


def test_an_epoch_shows_each_group_once_and_its_images_equally_often():
    rows = np.arange(8)
    groups = np.array([5, 2, 5, 9, 5, 9, 1, 1])
    stream = ImageBatches(rows, rows, rows[:6], 3, seed=0, groups=groups)
    drawn = np.array([stream[epoch][0] for epoch in range(600)])
    assert all(set(groups[one]) == {2, 5, 9} for one in drawn)  # 1 is not to be seen
    counts = np.bincount(drawn.ravel(), minlength=8)
    assert counts[1] == 600
    assert np.abs(counts[[0, 2, 4]] - 200).max() < 40
    assert np.abs(counts[[3, 5]] - 300).max() < 40
    again = ImageBatches(rows, rows, rows[:6], 3, seed=0, epoch=5, groups=groups)
    assert list(again[0][0]) == list(drawn[5])
