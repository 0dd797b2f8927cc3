"""Random crops are squares of the photograph, as large as asked for; other colours keep what is to be seen."""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import position

from pconv.data.crops import random_crop, recolour
from pconv.data.decoding import read_image, write_image


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 64), st.floats(0.01, 1), st.integers(0, 2**32 - 1))
def test_a_crop_is_a_square_inside_the_photograph(height, width, size, share, seed):
    square = random_crop(position(height, width), size, [share, 1.0], np.random.default_rng(seed))
    assert square.shape == (size, size, 3) and square.dtype == np.uint8
    assert square[..., 0].max() < height and square[..., 1].max() < width


@settings(max_examples=100, deadline=None)
@given(st.integers(20, 200), st.integers(20, 200), st.floats(0.1, 1), st.integers(0, 2**32 - 1))
def test_the_share_is_of_the_shorter_side(height, width, share, seed):
    side = round(share * min(height, width))
    square = random_crop(position(height, width), side, [share, share], np.random.default_rng(seed))
    rows, columns = square[:, 0, 0].astype(int), square[0, :, 1].astype(int)
    assert np.array_equal(rows, np.arange(rows[0], rows[0] + side))  # not resized: each row and column once
    assert np.array_equal(columns, np.arange(columns[0], columns[0] + side))


def test_crops_reach_every_edge_and_both_ends_of_the_share():
    image, rng = position(60, 90), np.random.default_rng(0)
    squares = [random_crop(image, 20, [1 / 3, 1 / 3], rng) for _ in range(2000)]
    tops, lefts = {int(s[0, 0, 0]) for s in squares}, {int(s[0, 0, 1]) for s in squares}
    assert tops == set(range(41)) and lefts == set(range(71))

    whole = [random_crop(image, 60, [0.2, 1.0], rng) for _ in range(2000)]
    spans = [float(np.ptp(s[..., 0].astype(int)) + 1) for s in whole]
    assert min(spans) < 14 and max(spans) > 58 and 34 < np.mean(spans) < 38  # 12 to 60 px, evenly


def test_the_whole_of_a_square_photograph():
    image = np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)
    assert np.array_equal(random_crop(image, 32, [1.0, 1.0], np.random.default_rng(0)), image)
    shrunk = random_crop(image, 16, [1.0, 1.0], np.random.default_rng(0))
    assert np.array_equal(shrunk, cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA))


def test_a_crop_depends_on_its_generator_alone():
    image = position(50, 70)
    first, again, other = (random_crop(image, 16, [0.3, 0.8], np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_crops_leave_the_photograph_as_it_was(tmp_path):
    write_image(tmp_path / "a.png", position(30, 30))
    square = random_crop(read_image(tmp_path / "a.png"), 30, [1.0, 1.0], np.random.default_rng(0))
    square[:] = 0
    assert np.array_equal(read_image(tmp_path / "a.png"), position(30, 30))


# Other colours


def test_recolour_maps_each_channel_through_one_rising_curve():
    """Channels change places; the curve is the same for all three, never falls and keeps a fifth of the range."""
    ramp = np.arange(256, dtype=np.uint8)
    image = np.stack([ramp, ramp[::-1], np.full(256, 100, np.uint8)], axis=1)[None]
    orders, curves = set(), []
    for seed in range(60):
        found = recolour(image, np.random.default_rng(seed))
        assert found.dtype == np.uint8 and found.shape == image.shape
        rising, falling, flat = (
            next(i for i in range(3) if kind(np.diff(found[0, :, i].astype(int))))
            for kind in (lambda d: d.sum() > 0, lambda d: d.sum() < 0, lambda d: not d.any())
        )
        curve = found[0, :, rising]
        assert (np.diff(curve.astype(int)) >= 0).all() and int(curve[-1]) - int(curve[0]) >= 51
        assert (found[0, :, falling] == curve[::-1]).all() and (found[0, :, flat] == curve[100]).all()
        orders.add((rising, falling, flat))
        curves.append(curve)
    assert len(orders) == 6
    assert np.ptp([curve[0] for curve in curves]) > 80 and np.ptp([curve[128] for curve in curves]) > 60
