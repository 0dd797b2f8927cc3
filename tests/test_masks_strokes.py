"""Brush strokes: ratio, border and edge of every hole, and that it depends on its generator alone."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pconv.masks.convention import BINS, MaskError, border_share, border_width
from pconv.masks.drawing import hole_rng
from pconv.masks.strokes import draw_strokes

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(16, 160) | st.just(512)


@settings(max_examples=100, deadline=None)
@given(SEEDS, SIZES, st.sampled_from(BINS), st.sampled_from(["free", "clear", "touch"]))
def test_ratio_and_border_are_as_asked(seed, size, bounds, kind):
    border = border_width(size) if kind == "clear" else 0
    hole = draw_strokes(np.random.default_rng(seed), size, *bounds, border, touch=kind == "touch")
    assert hole.shape == (size, size) and hole.dtype == np.uint8 and set(np.unique(hole)) == {0, 1}
    assert bounds[0] < hole.sum() / size**2 <= bounds[1]
    if kind == "clear":
        assert border_share(hole, border) == 0
    if kind == "touch":
        assert border_share(hole, 1) > 0


@pytest.mark.parametrize("size", [16, 64])
def test_an_almost_full_picture_ends_too(size):
    assert draw_strokes(np.random.default_rng(0), size, 1 - 0.5 / size**2, 1.0).all()


def test_the_range_of_ratios_is_used_evenly():
    ratios = [draw_strokes(hole_rng(0, "train", i), 64, 0.01, 0.6).mean() for i in range(600)]
    counts, _ = np.histogram(ratios, np.linspace(0.01, 0.6, 7))
    assert counts.min() > 63 and counts.max() < 137  # 100 each; four standard deviations are 37


def test_without_being_asked_to_not_every_hole_touches_the_edge():
    touching = [border_share(draw_strokes(hole_rng(0, "test", i), 64, 0.1, 0.2), 1) > 0 for i in range(60)]
    assert 0 < np.mean(touching) < 1


def test_a_hole_is_a_few_strokes():
    """Parts that hang together, unlike noise: fewer than one for each step of a brush."""
    parts = [cv2.connectedComponents(draw_strokes(hole_rng(0, "train", i), 256, 0.2, 0.3))[0] - 1 for i in range(20)]
    assert np.mean(parts) < 8


def test_equal_generators_draw_equal_holes():
    one, two, other = (draw_strokes(hole_rng(0, "val", n), 64, 0.1, 0.5) for n in (3, 3, 4))
    assert np.array_equal(one, two) and not np.array_equal(one, other)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(MaskError, match="no hole of 0.5 to 0.6 fits 64 x 64 px with 12 px"):
        draw_strokes(np.random.default_rng(0), 64, 0.5, 0.6, border=12)
