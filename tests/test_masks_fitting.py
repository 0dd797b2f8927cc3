"""From any hole to one of a wanted ratio: bins, borders, widening pixel by pixel, and cuts against a slow reference."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pconv.masks.convention import BINS, MaskError, border_share, border_width
from pconv.masks.fitting import cut_out, fit, widen
from pconv.masks.recipes import Recipe, Task

SEEDS = st.integers(0, 2**32 - 1)


def task(seed, size, recipe):
    return Task(np.random.default_rng(seed), size, "test", 7, recipe, None)


def lines(height=90, width=120):
    hole = np.zeros((height, width), np.uint8)
    hole[10::20, 5:-5] = hole[11::20, 5:-5] = 1
    return hole


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(32, 128), st.sampled_from(BINS), st.sampled_from(["free", "clear", "touch"]))
def test_every_recipe_is_met(seed, size, bounds, kind):
    border = border_width(size) if kind == "clear" else 0
    hole = fit(task(seed, size, Recipe(*bounds, border, kind == "touch")), lambda tried: lines())
    assert hole.shape == (size, size) and hole.dtype == np.uint8 and set(np.unique(hole)) == {0, 1}
    assert bounds[0] < hole.sum() / size**2 <= bounds[1]
    assert kind != "clear" or border_share(hole, border) == 0
    assert kind != "touch" or border_share(hole, 1) > 0


def test_what_cannot_be_fitted_is_named_with_its_bin():
    recipe = Recipe(0.1, 0.2, 6, touch=False)
    with pytest.raises(
        MaskError, match=r"test mask 7 \(hole ratio 0\.1-0\.2, 6 px clear of the edge\): none of 200 cuts"
    ):
        fit(task(0, 64, recipe), lambda tried: np.zeros((64, 64), np.uint8))


@pytest.mark.parametrize("bounds", BINS)
def test_a_mask_that_is_much_too_full_is_cut_beyond_its_edge(bounds):
    for border, touch in ((0, True), (6, False)):
        hole = fit(task(0, 64, Recipe(*bounds, border, touch)), lambda tried: np.ones((64, 64), np.uint8))
        assert bounds[0] < hole.mean() <= bounds[1]


def test_other_masks_are_tried_where_the_first_is_too_large():
    asked = []

    def raw(tried):
        asked.append(tried)
        return lines() if tried >= 5 else np.ones((64, 64), np.uint8)

    fit(task(0, 64, Recipe(0.1, 0.4, 0, touch=False)), raw)
    assert asked[:6] == [0, 1, 2, 3, 4, 5] and len(asked) < 20


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 200))
def test_widening_adds_the_nearest_pixels(seed, count):
    rng = np.random.default_rng(seed)
    hole = (rng.random((14, 15)) < 0.03).astype(np.uint8)
    hole[rng.integers(14), rng.integers(15)] = 1
    wider = widen(hole, count)
    assert wider.sum() == max(count, hole.sum()) and (wider >= hole).all()
    places = np.argwhere(hole)
    distance = np.array([[((places - (y, x)) ** 2).sum(1).min() ** 0.5 for x in range(15)] for y in range(14)])
    if not wider.all():
        assert distance[wider == 1].max() <= distance[wider == 0].min() + 1e-4


def test_widening_does_not_hang_on_the_last_bit_of_a_root(monkeypatch):
    hole = np.zeros((48, 48), np.uint8)
    hole[20, 9:13] = hole[30:33, 40] = 1
    transform, noise = cv2.distanceTransform, np.random.default_rng(0).choice([0, 100], (48, 48)).astype(np.float32)
    for count in range(50, 1200, 50):
        with monkeypatch.context() as patch:
            patch.setattr(cv2, "distanceTransform", lambda *a: np.nextafter(transform(*a), noise))
            noisy = widen(hole, count)
        assert np.array_equal(noisy, widen(hole, count))


def test_widening_stops_at_its_margin():
    hole = np.zeros((31, 31), np.uint8)
    hole[15, 15] = 1
    assert widen(hole, 29, 2.0) is None and widen(hole, 13, 2.0).sum() == 13  # a disc of radius 2 has 13 pixels


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(20, 200), st.integers(20, 200), st.integers(16, 64))
def test_a_cut_lies_within_the_mask_whatever_its_angle(seed, height, width, size):
    """What is hole everywhere is so in every cut: nothing from outside comes in."""
    rng = np.random.default_rng(seed)
    assert cut_out(rng, np.ones((height, width), np.uint8), size).all()


def test_cuts_keep_the_ratio_on_average_and_differ():
    hole = (np.random.default_rng(0).random((30, 40)) < 0.4).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    cuts = [cut_out(np.random.default_rng(seed), hole, 64) for seed in range(80)]
    assert np.mean(cuts) == pytest.approx(hole.mean(), abs=0.02)
    assert len({cut.tobytes() for cut in cuts}) == 80


def test_holes_that_are_thin_survive_being_scaled_down():
    hole = np.zeros((2000, 2000), np.uint8)
    hole[::100] = hole[1::100] = 1  # 2 % of it
    cuts = [cut_out(np.random.default_rng(seed), hole.repeat(1, 0), 512).mean() for seed in range(10)]
    assert np.mean(cuts) > 0.005
