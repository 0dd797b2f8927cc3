"""The membrane against Laplace's equation solved exactly, block means against brute force, detail from its like."""

import numpy as np
import pytest
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from pconv.filling.blending import View, harmonic, paste, reduce
from pconv.filling.canvas import ArrayCanvas, Box
from pconv.filling.detail import BLOCK, find_copies, weights_of
from pconv.filling.holes import HOLE, KNOWN, UNKNOWN
from pconv.filling.windows import make_plan


def laplace(values, known):
    """Solve Laplace's equation in float64: each unknown pixel is the mean of its neighbours, mirrored at the edges."""
    height, width = known.shape
    matrix, right = lil_matrix((known.size, known.size)), np.zeros(known.size)
    for y in range(height):
        for x in range(width):
            here = y * width + x
            matrix[here, here] = 1
            if known[y, x]:
                right[here] = values[y, x]
                continue
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                row, column = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
                matrix[here, row * width + column] -= 0.25
    return spsolve(matrix.tocsr(), right).reshape(height, width)


@pytest.mark.parametrize(
    "place", [np.s_[5:17, 8:25], np.s_[0:9, 3:14], np.s_[20:30, 30:40]], ids=["inside", "edge", "corner"]
)
def test_the_membrane_solves_laplaces_equation(place):
    y, x = np.mgrid[:30, :40]
    values = np.sin(y / 9) + np.cos(x / 7) * y / 30
    known = np.ones((30, 40), bool)
    known[place] = False
    found = harmonic(values[..., None].astype(np.float32), known)[..., 0]
    expected = laplace(values, known)
    assert np.array_equal(found[known], values[known].astype(np.float32))
    assert np.abs(found - expected).max() < 0.02 * np.ptp(values)


def test_the_membrane_of_a_plane_is_the_plane_and_of_nothing_is_0():
    y, x = np.mgrid[:40, :40]
    plane = (y + 2 * x).astype(np.float32)[..., None] / 120
    known = np.ones((40, 40), bool)
    known[10:30, 10:30] = False
    assert np.abs(harmonic(plane, known) - plane).max() < 0.005
    assert not harmonic(plane, 0 * known > 0).any()
    assert np.array_equal(harmonic(plane, known | True), plane)


@pytest.mark.parametrize("factor", [1, 2, 3, 7])
@pytest.mark.parametrize("shape", [(42, 42), (40, 61)])
def test_blocks_are_means_of_what_is_known(factor, shape):
    rng = np.random.default_rng(0)
    pixels = rng.random((*shape, 3)).astype(np.float32)
    marks = rng.choice([KNOWN, HOLE, UNKNOWN], size=shape, p=[0.6, 0.3, 0.1]).astype(np.uint8)
    pixels[marks != KNOWN] = np.nan
    means, known = reduce(ArrayCanvas(pixels), marks, Box(0, shape[0], 0, shape[1]), factor)
    for row in range(means.shape[0]):
        for column in range(means.shape[1]):
            block = np.s_[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
            good = marks[block] == KNOWN
            assert known[row, column] == (good.mean() >= 0.5)
            if good.any():
                np.testing.assert_allclose(means[row, column], pixels[block][good].mean(0), atol=1e-5)


def test_a_view_shows_a_plane_where_it_is():
    y, x = np.mgrid[:64, :96]
    pixels = np.stack([y / 64, x / 96, (x + y) / 160], -1).astype(np.float32)
    window = Box(0, 64, 0, 96)
    low, known = reduce(ArrayCanvas(pixels), np.zeros((64, 96), np.uint8), window, 4)
    view = View(window, 4, low, known)
    for box in (Box(13, 45, 17, 70), Box(20, 24, 40, 44)):
        assert np.abs(view.enlarged(box) - pixels[box.slices]).max() < 0.004  # a pixel is 0.006 to 0.016
    assert view.block(2, 3) == Box(8, 8 + 4 * BLOCK, 12, 12 + 4 * BLOCK)


def test_detail_comes_from_where_the_small_picture_looks_alike():
    """Dark to the left, light to the right: each half of a hole takes from its own side."""
    low = np.zeros((40, 40, 3), np.float32)
    low[:, 20:] = 1
    low += np.random.default_rng(0).normal(0, 0.01, low.shape).astype(np.float32)
    known = np.ones((40, 40), bool)
    known[15:25, 5:35] = False
    copies = find_copies(low, known, ~known)
    assert copies
    for copy in copies:
        assert known[copy.from_row : copy.from_row + BLOCK, copy.from_column : copy.from_column + BLOCK].all()
        if copy.column + BLOCK < 19:
            assert copy.from_column + BLOCK <= 20
        if copy.column > 21:
            assert copy.from_column >= 20
    assert find_copies(low, known, known & ~known) == [] and find_copies(low, ~known & known, ~known) == []
    assert find_copies(low[:3], known[:3], ~known[:3]) == []


def test_overlapping_blocks_count_equally_everywhere():
    side = 8
    weights = weights_of(side)
    total = sum(np.roll(weights, (dy, dx), (0, 1)) for dy in (0, side // 2) for dx in (0, side // 2))
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_grain_goes_on_in_the_hole():
    """On a grey wall with grain the hole gets grain of about the strength it was given, and no step at its edge."""
    rng = np.random.default_rng(0)
    pixels = (0.5 + rng.normal(0, 0.05, (300, 300, 3))).astype(np.float32)
    marks = np.zeros((300, 300), np.uint8)
    marks[120:180, 120:180] = HOLE
    canvas, plan = ArrayCanvas(pixels.copy()), make_plan(marks, 64)
    (job,) = plan.jobs
    window = Box(0, 300, 0, 300)
    low, known = reduce(canvas, marks, window, job.factor)
    low = np.where(known[..., None], low, 0.5).astype(np.float32)
    paste(canvas, marks, plan, job, View(window, job.factor, low, known))
    assert (marks == KNOWN).all()
    inside = canvas.pixels[125:175, 125:175]
    assert abs(inside.mean() - 0.5) < 0.01 and 0.015 < inside.std() < 0.05
    untouched = np.ones((300, 300), bool)
    untouched[120:180, 120:180] = False
    assert np.array_equal(canvas.pixels[untouched], pixels[untouched])
