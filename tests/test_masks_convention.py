"""Holes: ratios, bins, borders and thickness."""

import cv2
import numpy as np
import pytest

from pconv.masks.convention import (
    BINS,
    MaskError,
    bin_name,
    border_share,
    border_width,
    dilate,
    find_bin,
    squared,
    thickness,
)


@pytest.mark.parametrize("size, width", [(512, 50), (256, 25), (128, 12), (1024, 100), (16, 2)])
def test_border_width_is_50_px_at_512(size, width):
    assert border_width(size) == width


def test_dilation_by_hand():
    hole = np.zeros((9, 9), np.uint8)
    hole[4, 4] = 1
    assert dilate(hole, 1).sum() == 1
    assert dilate(hole, 3).sum() == 9 and dilate(hole, 3)[3:6, 3:6].all()
    assert dilate(hole, 5).sum() == 25


def test_border_share_by_hand():
    hole = np.zeros((10, 10), np.uint8)
    hole[0, :6] = hole[5, 5] = 1
    assert border_share(hole, 1) == 6 / 36
    assert border_share(hole, 2) == 6 / 64
    assert border_share(hole, 5) == 7 / 100


@pytest.mark.parametrize("width", [1, 2, 3, 4, 9, 10])
def test_thickness_of_a_strip_is_its_width_up_to_an_even_number(width):
    hole = np.zeros((40, 30), np.uint8)
    hole[10 : 10 + width] = 1
    assert thickness(hole) == thickness(hole.T.astype(bool)) == width + width % 2


def test_thickness_is_that_of_the_widest_place():
    """The nearest valid pixel, searched for one by one; the widest place is an edge, beyond which nothing is known."""
    hole = np.zeros((24, 30), np.uint8)
    hole[4:7], hole[:, 20:26], hole[15:, :9] = 1, 1, 1
    valid = np.argwhere(hole == 0)
    nearest = [np.sqrt(((valid - pixel) ** 2).sum(1).min()) for pixel in np.argwhere(hole)]
    assert thickness(hole) == pytest.approx(2 * max(nearest), rel=1e-6)
    assert thickness(hole) == 18  # 9 px from the left edge


def test_squares_of_distances_are_whole():
    rows, columns = np.mgrid[:600, :600]
    wanted = rows**2 + columns**2
    roots = np.sqrt(wanted).astype(np.float32)
    for wrong in (np.inf, -np.inf):
        assert np.array_equal(squared(np.nextafter(roots, np.float32(wrong))), wanted)


def test_thickness_does_not_hang_on_the_last_bit_of_a_root(monkeypatch):
    """On one processor it came out different in two runs of six."""
    hole = np.zeros((40, 40), np.uint8)
    hole[5:30, 8:31] = 1
    hole[12, 25] = hole[24, 17] = 0
    exact, transform = thickness(hole), cv2.distanceTransform
    for wrong in (0, 100):
        monkeypatch.setattr(cv2, "distanceTransform", lambda *a, w=wrong: np.nextafter(transform(*a), np.float32(w)))
        assert thickness(hole) == exact


def test_thickness_is_zero_without_a_hole_and_unknown_without_valid_pixels():
    assert thickness(np.zeros((5, 5), np.uint8)) == 0
    for hole in (np.ones((5, 5), np.uint8), np.zeros((0, 5), np.uint8)):
        with pytest.raises(MaskError, match="without valid pixels"):
            thickness(hole)
    with pytest.raises(MaskError, match="not 255"):
        thickness(np.full((5, 5), 255, np.uint8))


def test_bins_are_the_papers():
    assert [bin_name(b) for b in BINS] == ["0.01-0.1", "0.1-0.2", "0.2-0.3", "0.3-0.4", "0.4-0.5", "0.5-0.6"]


@pytest.mark.parametrize("low, high", BINS)
def test_a_bin_leaves_out_its_low_end_and_keeps_its_high_end(low, high):
    assert find_bin(high) == bin_name((low, high))
    assert find_bin(np.nextafter(low, 1)) == bin_name((low, high))
    if low == 0.01:
        with pytest.raises(MaskError, match=r"0\.01"):
            find_bin(low)
    else:
        assert find_bin(low) != bin_name((low, high))


@pytest.mark.parametrize("ratio", [0.0, 0.6000001, 1.0, float("nan")])
def test_ratios_outside_the_bins_are_refused(ratio):
    with pytest.raises(MaskError, match="outside the bins"):
        find_bin(ratio)
