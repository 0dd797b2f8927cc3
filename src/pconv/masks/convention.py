"""Holes as arrays, and the bins of hole ratios.

A hole is an array (H, W) of uint8 with 1 where pixels are missing; on disk it is white there. A network
is given the opposite, a mask: see pconv.masks.tensors. This module does without PyTorch, because every process that
draws masks imports it.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from pconv.errors import PConvError

BINS = ((0.01, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6))  # a ratio r with low < r <= high


class MaskError(PConvError, ValueError):
    """A mask or mask file that cannot be used; the message names it."""


def bin_name(bounds: tuple[float, float]) -> str:
    """Return the name of a bin: "0.1-0.2" for (0.1, 0.2)."""
    return f"{bounds[0]:g}-{bounds[1]:g}"


def find_bin(ratio: float) -> str:
    """Return the name of the bin that a hole ratio falls into. Raises MaskError outside (0.01, 0.6]."""
    for low, high in BINS:
        if low < ratio <= high:
            return bin_name((low, high))
    raise MaskError(f"a hole ratio of {ratio:g} is outside the bins, which cover more than 0.01 and at most 0.6")


def grid_bin(ratio: float) -> str:
    """Return the name of the bin that masks with a grid of known pixels share, all of one hole ratio: "0.75"."""
    return f"{ratio:g}"


def border_width(size: int) -> int:
    """Return the paper's border constraint, 50 px at 512 px, for masks of `size` px."""
    return round(50 * size / 512)


def dilate(hole: np.ndarray, width: int) -> np.ndarray:
    """Widen a hole by a square kernel of `width` px: (H, W) uint8."""
    check_hole(hole)
    _check_width(width)
    return cv2.dilate(hole.astype(np.uint8), np.ones((width, width), np.uint8))


def check_hole(hole: np.ndarray) -> None:
    """Raise MaskError unless a hole is an array (H, W) of bool or uint8 with no other values than 0 and 1."""
    if not isinstance(hole, np.ndarray):
        raise MaskError(f"a hole is an array (H, W) of bool or uint8, not a {type(hole).__name__}")
    if hole.ndim != 2 or hole.dtype not in (np.bool_, np.uint8):
        raise MaskError(f"a hole is an array (H, W) of bool or uint8, not {hole.shape} of {hole.dtype}")
    if hole.size and hole.max() > 1:
        raise MaskError(f"a hole holds 0 and 1 (hole) only, not {hole.max()}; read_hole makes one of a picture")


def border_share(hole: np.ndarray, width: int) -> float:
    """Return the share of hole among the pixels within `width` px of an edge; `hole` is (H, W), 1 = hole."""
    check_hole(hole)
    _check_width(width)
    inner = hole[width:-width, width:-width]
    return float((hole.sum() - inner.sum()) / (hole.size - inner.size))


def thickness(hole: np.ndarray) -> float:
    """Return the largest width of a hole (H, W), 1 = hole, in px: twice the greatest distance to a valid pixel.

    The distance is the Euclidean one between the centres of pixels, so a straight strip comes out right if it is an
    even number of pixels wide, and one pixel too wide otherwise. Nothing is known outside the image: a hole that
    touches an edge can be filled from one side only and is as hard as one twice as wide in the middle. Raises
    MaskError if all is hole, which has no width.
    """
    check_hole(hole)
    if not hole.size or hole.all():
        raise MaskError("a hole without valid pixels has no width")
    distance = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return 2 * math.sqrt(squared(distance.max()))


def squared(distance: np.ndarray | np.float32) -> np.ndarray | np.float64:
    """Return the squares of OpenCV's Euclidean distances between pixels, float64: whole numbers, up to 2,000 px.

    The distances themselves cannot be relied on to be equal: on some processors the last bit of one and the same root
    depends on where in memory it is taken.
    """
    return np.rint(np.square(distance, dtype=np.float64))


def _check_width(width: int) -> None:
    if width < 1:
        raise MaskError(f"a width of {width} px: at least 1")
