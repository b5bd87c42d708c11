"""Chapter 13's checks accept every right form and name each likely mistake."""

import numpy as np
import pytest
from PIL import Image
from told import right_and_wrong

from helpers import phantoms, scans
from helpers.checks import chapter13 as checks

SIDE = 48


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inbox")
    drawn = phantoms.generate(4, 64, progress=False).images
    for number, image in enumerate(drawn[:3]):
        Image.fromarray(image).save(folder / f"{number}.png")
    Image.fromarray(drawn[3].astype(np.uint16) * 16).save(folder / "3.tif")
    return sorted(folder.iterdir())


def eight_bits(path):
    with Image.open(path) as image:
        values = np.asarray(image, float)
    if values.max() > 255:
        low, high = values.min(), values.max()
        values = np.uint8((values - low) / (high - low) * 255)
    return Image.fromarray(np.uint8(values))


def by_hand(path):
    image = eight_bits(path).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image)


@pytest.mark.parametrize(
    "answer",
    [
        by_hand,
        lambda path: scans.read(path, SIDE).image,
        lambda path: by_hand(str(path)).astype(float),
    ],
)
def test_a_reader_that_gives_trainings_bytes_is_right(answer, files):
    assert checks.ch13_serving(answer, files, SIDE) is True


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (np.zeros((SIDE, SIDE)), "the function itself"),
        (lambda path: by_hand(path)[..., None], "one grey value a pixel"),
        (lambda path: by_hand(path) / 255, "divides by 255 itself"),
        (lambda path: np.asarray(eight_bits(path).resize((SIDE, SIDE))), "filter"),
        (
            lambda path: np.asarray(
                Image.open(path).convert("L").resize((SIDE, SIDE), Image.BILINEAR)
            ),
            "holds 16 bits",
        ),
        (lambda path: by_hand(path)[::-1], "another picture"),
        (lambda path: by_hand(path).clip(0, 200), "pixels differ"),
    ],
)
def test_a_reader_that_differs_is_told_in_what(answer, hint, files, capsys):
    assert checks.ch13_serving(answer, files, SIDE) is False
    assert hint in capsys.readouterr().out


def test_the_limit_is_right_in_every_form_and_no_near_miss_passes():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        inside = rng.gamma(9, 2, rng.integers(60, 700)) + 2
        outside = rng.gamma(9, 4, 150) + 5
        ordered, allowed = np.sort(inside), int(0.1 * len(inside))
        right = ordered[len(inside) - 1 - allowed]
        middle = (right + ordered[len(inside) - allowed]) / 2
        given = (inside, outside, 0.1)
        for answer in (right, middle):
            assert checks.ch13_limit(answer, *given) is True, seed
        wrong = (
            np.quantile(inside, 0.1),
            inside.max(),
            ordered[len(inside) - 2 - allowed],
            ordered[len(inside) - allowed],
            np.quantile(np.concatenate([inside, outside]), 0.9),
            0.9,
        )
        for answer in wrong:
            assert checks.ch13_limit(answer, *given) is False, (seed, answer)


@pytest.mark.parametrize(
    ("pick", "hint"),
    [
        (lambda i, o: 0.9, "this is a share"),
        (lambda i, o: np.quantile(i, 0.1), "other end"),
        (lambda i, o: i.max(), "only 0 of 500"),
        (lambda i, o: np.quantile(i, 0.7), "the budget allows 50"),
        (lambda i, o: np.quantile(np.concatenate([i, o]), 0.9), "both kinds together"),
    ],
)
def test_a_wrong_limit_is_told_its_mistake(pick, hint, capsys):
    rng = np.random.default_rng(0)
    inside, outside = rng.gamma(9, 2, 500) + 2, rng.gamma(9, 4, 300) + 5
    assert checks.ch13_limit(pick(inside, outside), inside, outside, 0.1) is False
    assert hint in capsys.readouterr().out


@pytest.fixture
def exports():
    reference = np.random.default_rng(0).dirichlet((3, 1, 1), 20)
    one = reference + np.array([0.002, -0.001, -0.001])
    other = reference.copy()
    low, high = reference[:, 0].argmin(), reference[:, 0].argmax()
    other[[low, high]] = reference[[high, low]]
    return reference, one, other


def facts(reference, one, other):
    apart = [float(np.abs(said - reference).max()) for said in (one, other)]
    first = reference.argmax(axis=1)
    changed = [int((said.argmax(axis=1) != first).sum()) for said in (one, other)]
    return {"largest": apart, "changed": changed, "ship": "A"}


def test_two_exports_are_compared_file_by_file(exports, capsys):
    right = facts(*exports)
    assert right["changed"] == [0, 2]
    assert checks.ch13_exports(right, *exports) is True
    rounded = [round(x, 4) for x in right["largest"]]
    assert checks.ch13_exports(right | {"largest": rounded, "ship": "a"}, *exports)
    means = [float(np.abs(said - exports[0]).mean()) for said in exports[1:]]
    for change, hint in (
        ({"largest": means}, "the mean difference"),
        ({"largest": right["largest"][::-1]}, "(A) largest"),
        ({"changed": [0, 0]}, "(B) changed"),
        ({"ship": "B"}, "each other's answer"),
        ({"ship": "both"}, '"A" or "B"'),
    ):
        capsys.readouterr()
        assert checks.ch13_exports(right | change, *exports) is False
        assert hint in capsys.readouterr().out
    assert checks.ch13_exports("A", *exports) is False


RIGHT = [(checks.ch13_card, {"a", "d", "f", "g"}), (checks.ch13_card, "GFDA")]
WRONG = [
    (checks.ch13_card, {"z"}, "choose among"),
    (checks.ch13_card, {"a", "c"}, "(c) is not missing"),
    (checks.ch13_card, {"a", "d", "g"}, "1 more to find"),
]
(
    test_a_right_answer_is_told_why,
    test_a_wrong_answer_gets_a_hint_that_names_the_mistake,
) = right_and_wrong(RIGHT, WRONG)
