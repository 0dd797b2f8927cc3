"""Holes as they are drawn: ratios and borders, and that they depend on seed and number alone."""

import random

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pconv.masks import drawing
from pconv.masks.convention import BINS, MaskError, border_share, border_width, dilate
from pconv.masks.drawing import draw_grid, draw_hole, draw_shapes, hole_rng

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(16, 160) | st.sampled_from([256, 512])


@settings(max_examples=200, deadline=None)
@given(SEEDS, SIZES, st.sampled_from(BINS), st.booleans())
def test_ratio_and_border_of_a_test_mask(seed, size, bounds, constrained):
    border = border_width(size) if constrained else 0
    hole = draw_hole(np.random.default_rng(seed), size, *bounds, border, touch=not constrained)
    assert hole.shape == (size, size) and hole.dtype == np.uint8 and set(np.unique(hole)) == {0, 1}
    assert bounds[0] < hole.sum() / size**2 <= bounds[1]
    if constrained:
        rows, columns = np.nonzero(hole)
        assert min(rows.min(), columns.min()) >= border
        assert max(rows.max(), columns.max()) < size - border
    else:
        assert np.concatenate([hole[0], hole[-1], hole[:, 0], hole[:, -1]]).any()


@settings(max_examples=100, deadline=None)
@given(SEEDS, SIZES, st.floats(0, 0.99), st.floats(1e-3, 0.3))
def test_any_range_that_holds_a_number_of_pixels_is_met(seed, size, low, width):
    high = min(low + width, 1.0)
    if int(high * size**2) <= int(low * size**2) + 1:
        return
    ratio = draw_hole(np.random.default_rng(seed), size, low, high).sum() / size**2
    assert low < ratio <= high


@pytest.mark.parametrize("size", [16, 64, 512])
def test_an_almost_full_picture_ends_too(size):
    hole = draw_hole(np.random.default_rng(0), size, 1 - 0.5 / size**2, 1.0)
    assert hole.sum() == size**2


def test_growing_reaches_the_count_exactly(monkeypatch):
    monkeypatch.setattr(drawing, "MOST_SHAPES", 0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert draw_hole(rng, 32, 0.3, 0.30098).sum() == 308  # of 1024 px
        small = draw_hole(rng, 32, 0.002, 0.003, touch=True)
        assert small.sum() == 3 and border_share(small, 1) > 0


@pytest.mark.parametrize("spacing", [1, 2, 4])
def test_a_grid_leaves_every_so_many_th_pixel(spacing):
    for row in range(spacing):
        for column in range(spacing):
            hole = draw_grid(16, spacing, row, column)
            known = {(y, x) for y, x in np.argwhere(hole == 0).tolist()}
            assert known == {(y, x) for y in range(row, 16, spacing) for x in range(column, 16, spacing)}


@pytest.mark.parametrize("arguments", [(0, 2, 0, 0), (16, 0, 0, 0), (16, 2, 2, 0), (16, 2, 0, -1)])
def test_a_grid_that_is_none_is_refused(arguments):
    with pytest.raises(MaskError):
        draw_grid(*arguments)


def test_what_cannot_be_drawn_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(MaskError, match=r"no hole of 0.5 to 0.6 fits 64 x 64 px with 12 px"):
        draw_hole(rng, 64, 0.5, 0.6, border=12)
    with pytest.raises(MaskError, match="no hole of 0.3 to 0.2"):
        draw_hole(rng, 64, 0.3, 0.2)
    with pytest.raises(MaskError, match="no hole of 0.5 to 0.6"):
        draw_hole(rng, 64, 0.5, 0.6, border=40)
    for border, touch in ((5, True), (-1, False)):
        with pytest.raises(MaskError, match="border"):
            draw_hole(rng, 64, 0.1, 0.2, border, touch)


@pytest.mark.parametrize(
    "size, low, high, border, message",
    [
        (0, 0.1, 0.2, 0, "0 px a side: at least 1"),
        (-8, 0.1, 0.2, 0, "-8 px a side"),
        (64, float("nan"), 0.2, 0, "no hole of nan to 0.2"),
        (64, 0.1, float("nan"), 0, "no hole of 0.1 to nan"),
        (64, 0.1, float("inf"), 0, "no hole of 0.1 to inf"),
        (64, -0.1, 0.2, 0, "no hole of -0.1 to 0.2"),
        (64, 0.1, 1.1, 0, "from 0 to 1"),
        (64, 0.2, 0.2, 0, "the lower one first"),
        (64, 0.1, 0.2, 10**9, "no hole of 0.1 to 0.2 fits 64 x 64 px with 1000000000 px"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(size, low, high, border, message):
    with pytest.raises(MaskError, match=message):
        draw_hole(np.random.default_rng(0), size, low, high, border)


def test_so_are_those_of_what_stands_around_drawing():
    rng, hole = np.random.default_rng(0), np.zeros((8, 8), np.uint8)
    for call, message in (
        (lambda: draw_shapes(rng, 0), "0 px a side"),
        (lambda: draw_shapes(rng, 8, -1), "count = -1"),
        (lambda: hole_rng(-1, "train", 0), "seed -1, mask 0: neither can be below 0"),
        (lambda: hole_rng(0, "train", -1), "seed 0, mask -1"),
        (lambda: dilate(hole, 0), "a width of 0 px"),
        (lambda: border_share(hole, 0), "a width of 0 px"),
    ):
        with pytest.raises(MaskError, match=message):
            call()


def test_training_ratios_are_spread_evenly():
    ratios = [draw_hole(hole_rng(0, "train", i), 64, 0.01, 0.6).mean() for i in range(1200)]
    counts, _ = np.histogram(ratios, np.linspace(0.01, 0.6, 7))
    assert counts.min() > 150 and counts.max() < 250  # 200 each; four standard deviations are 52
    assert 0.01 < min(ratios) and max(ratios) <= 0.6


def test_counted_shapes_pile_up_as_in_pconv_keras():
    ratios = np.array([draw_shapes(hole_rng(0, "train", i), 512).mean() for i in range(400)])
    assert ((ratios > 0.1) & (ratios <= 0.4)).mean() > 0.8
    assert (ratios > 0.5).mean() < 0.02


def test_more_shapes_make_a_larger_hole():
    few, many = (np.mean([draw_shapes(np.random.default_rng(i), 128, n).mean() for i in range(20)]) for n in (2, 12))
    assert 0 < few < many < 1
    assert draw_shapes(np.random.default_rng(0), 64, 0).sum() == 0


def test_all_three_kinds_of_shape_are_drawn(monkeypatch):
    drawn = []
    for name in ("line", "circle", "ellipse"):
        monkeypatch.setattr(cv2, name, lambda *_, name=name: drawn.append(name))
    draw_shapes(np.random.default_rng(0), 64, 5)
    assert [drawn.count(name) for name in ("line", "circle", "ellipse")] == [5, 5, 5]


def test_a_mask_is_a_function_of_seed_split_and_number():
    def draw(seed=5, split="train", index=3):
        return draw_hole(hole_rng(seed, split, index), 64, 0.1, 0.5)

    first = draw()
    [draw(index=i) for i in (9, 1)]
    assert np.array_equal(first, draw())
    for other in (draw(seed=6), draw(split="val"), draw(index=4)):
        assert not np.array_equal(first, other)


def test_a_mask_stays_what_it_was():
    """Another drawing here means other masks, and other results, for every run: only ever on purpose."""
    hole = draw_hole(hole_rng(0, "train", 1), 16, 0.01, 0.6)
    assert ["".join(".#"[pixel] for pixel in row) for row in hole] == [
        "#..#...#.##.....",
        "##....#...###...",
        "##.####..#......",
        ".#...#.######...",
        ".#...#.#...#.###",
        "..#..##...###...",
        "...###.....#....",
        "...#.#..........",
        "..#...##........",
        ".#......##....#.",
        "#......##....###",
        "......#.......#.",
        "##..##..........",
        "####.##.........",
        ".#.....###......",
        "......###.......",
    ]


def global_state():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def test_no_global_random_state():
    before = global_state()
    hole = draw_hole(hole_rng(0, "train", 0), 64, 0.1, 0.2)
    draw_shapes(hole_rng(0, "train", 0), 64)
    assert global_state() == before
    random.seed(1)
    np.random.seed(1)
    assert np.array_equal(draw_hole(hole_rng(0, "train", 0), 64, 0.1, 0.2), hole)


def test_an_unknown_split_is_refused():
    with pytest.raises(MaskError, match="'training': masks are drawn for train, val, test"):
        hole_rng(0, "training", 0)


@pytest.mark.parametrize("low, high", BINS)
def test_bins_end_exactly_at_their_edges(low, high):
    """At 100 px the edges of the bins are whole numbers of pixels."""
    counts = {int(draw_hole(np.random.default_rng(s), 100, high - 2e-4, high).sum()) for s in range(12)}
    assert counts == {round(high * 10_000) - 1, round(high * 10_000)}
