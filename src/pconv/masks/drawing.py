"""Drawing of holes with OpenCV.

The shapes are those of PConv-Keras' generator: random lines, circles and elliptic arcs. Where it draws a random number
of them, `draw_hole` goes on until the hole has a given share of the picture, so that the paper's six bins of hole
ratios are filled evenly.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np

from pconv.masks.convention import MaskError
from pconv.project import SPLITS

LINE, CIRCLE, ELLIPSE = range(3)
CLOSE = 1 / 64  # draw_hole ends at most this share of the picture below the ratio that it aims at
PACE = 60  # shapes that cover about half of an empty picture
BLOCK = 50  # random numbers are drawn for this many shapes at once
MOST_SHAPES = 1000  # then draw_hole stops drawing and grows what is there


def hole_rng(seed: int, split: str, index: int) -> np.random.Generator:
    """Return the generator of mask `index` of a split, which is the same however many others are drawn, in any order.

    Raises MaskError for an unknown split and for negative numbers.
    """
    if split not in SPLITS:
        raise MaskError(f"no split {split!r}: masks are drawn for {', '.join(SPLITS)}")
    if seed < 0 or index < 0:
        raise MaskError(f"seed {seed}, mask {index}: neither can be below 0")
    stream = int.from_bytes(b"hole")  # keeps holes apart from what else is drawn with the same seed
    return np.random.default_rng([seed, stream, SPLITS.index(split), index])


def file_order(seed: int, split: str, count: int) -> list[int]:
    """Return the order in which a split uses `count` files, a function of the seed."""
    stream = int.from_bytes(b"file")
    return np.random.default_rng([seed, stream, SPLITS.index(split)]).permutation(count).tolist()


def draw_shapes(rng: np.random.Generator, size: int, count: int | None = None) -> np.ndarray:
    """Draw PConv-Keras' kind of hole: (size, size) uint8, 1 = hole.

    It has `count` lines, `count` circles and `count` ellipses; by default 1 to 20 of each, as in PConv-Keras.
    """
    _check_size(size)
    if count is not None and count < 0:
        raise MaskError(f"count = {count}: at least 0 shapes of each kind")
    counts = rng.integers(1, 21, 3) if count is None else [count] * 3
    kinds = np.repeat((LINE, CIRCLE, ELLIPSE), counts).tolist()
    hole = np.zeros((size, size), np.uint8)
    for kind, shape in zip(kinds, _numbers(rng, size, len(kinds)), strict=True):
        _draw_shape(hole, [kind, *shape[1:]])
    return hole


def draw_hole(
    rng: np.random.Generator, size: int, low: float, high: float, border: int = 0, touch: bool = False
) -> np.ndarray:
    """Draw a hole of shapes whose share r of the picture is low < r <= high: (size, size) uint8, 1 = hole.

    The ratio to aim at is uniform in that range. Shapes are drawn until it is reached; those that would go past it are
    undone, and smaller ones follow. No hole pixel lies within `border` px of an edge; with `touch` at least one lies on
    an edge. Raises MaskError if there is no such hole.
    """
    inner, least, most = hole_bounds(size, low, high, border, touch)
    target = int(rng.integers(least, most, endpoint=True))
    return frame(_draw_until(rng, inner, max(least, target - int(CLOSE * size**2)), target, touch), border)


def hole_bounds(size: int, low: float, high: float, border: int, touch: bool) -> tuple[int, int, int]:
    """Return the side of the square that a hole may lie in, and the least and the greatest number of its pixels.

    The arguments are those of `draw_hole`. Raises MaskError if there is no such hole.
    """
    _check_size(size)
    if not 0 <= low < high <= 1:  # also true of NaN
        raise MaskError(f"no hole of {low:g} to {high:g}: shares of the picture are from 0 to 1, the lower one first")
    if border < 0 or (touch and border):
        raise MaskError(f"border = {border}: at least 0, and 0 for a hole that touches the edge")
    inner = max(0, size - 2 * border)
    least, most = _pixels(low, size) + 1, min(_pixels(high, size), inner**2)
    if least > most:
        clear = f" with {border} px kept clear along each edge" if border else ""
        raise MaskError(f"no hole of {low:g} to {high:g} fits {size} x {size} px{clear}")
    return inner, least, most


def frame(hole: np.ndarray, border: int) -> np.ndarray:
    """Put `border` px without a hole around a hole: (H, W) becomes (H + 2 border, W + 2 border)."""
    return cv2.copyMakeBorder(hole, *[border] * 4, cv2.BORDER_CONSTANT, value=0) if border else hole


def draw_grid(size: int, spacing: int, row: int, column: int) -> np.ndarray:
    """Draw a hole that leaves every `spacing`-th pixel of every `spacing`-th row: (size, size) uint8, 1 = hole.

    row, column: where the first known pixel is. Raises MaskError where there is no such grid.
    """
    _check_size(size)
    if spacing < 1 or not (0 <= row < spacing and 0 <= column < spacing):
        raise MaskError(f"a grid with a pixel known every {spacing} px, the first at {row}, {column}: there is none")
    hole = np.ones((size, size), np.uint8)
    hole[row::spacing, column::spacing] = 0
    return hole


def _check_size(size: int) -> None:
    if size < 1:
        raise MaskError(f"a hole in a picture of {size} px a side: at least 1")


def _pixels(ratio: float, size: int) -> int:
    """Return the greatest number of pixels whose share of the picture is at most `ratio`."""
    return int(ratio * size**2 + 1e-6)


def _draw_until(rng: np.random.Generator, size: int, least: int, most: int, touch: bool) -> np.ndarray:
    """Draw a hole of least to most pixels, (size, size) uint8.

    Counting the pixels after every shape would take longer than drawing it, so shapes come in batches. A batch aims at
    half of what is missing, because overlaps and sizes are random: one that aimed at all of it would go past the end
    half of the time and be undone. In the end a batch is one shape, drawn smaller.
    """
    hole, before = np.zeros((size, size), np.uint8), np.empty((size, size), np.uint8)
    shapes, pace, count = _shapes(rng, size), PACE, 0
    while True:
        # `pace` shapes cover about half of an empty picture, and half of the rest of one that has `count` hole pixels.
        # So this many shapes cover about half of what is missing. Below 1 it is the share of one shape's area.
        amount = pace * (most - count) / (size**2 - count)
        batch = list(itertools.islice(shapes, max(1, int(amount))))
        if not batch:
            return grow(rng, hole, least, touch)
        if touch and not count:
            batch[0] = _from_edge(batch[0], size)
        np.copyto(before, hole)
        for shape in batch:
            _draw_shape(hole, shape if amount >= 1 else _shrink(shape, amount**0.5))
        drawn = cv2.countNonZero(hole)
        if least <= drawn <= most:
            return hole
        if drawn < least:
            count, pace = drawn, PACE
        else:  # undo the batch by exchanging the two pictures; the next one is half as large
            hole, before, pace = before, hole, pace / 2


def _shapes(rng: np.random.Generator, size: int) -> Iterator[list[int]]:
    """Yield MOST_SHAPES random shapes."""
    for _ in range(MOST_SHAPES // BLOCK):
        yield from _numbers(rng, size, BLOCK)


def _numbers(rng: np.random.Generator, size: int, count: int) -> list[list[int]]:
    """Draw the numbers of `count` shapes: kind, two points, a thickness, three angles in degrees.

    The ranges are PConv-Keras' except that arcs are turned by up to 360 degrees: by up to 180, they keep to the left.
    """
    lowest, choices = _ranges(size)
    return (lowest + rng.random((count, 9)) * choices).astype(int).tolist()


@lru_cache
def _ranges(size: int) -> np.ndarray:
    """Return the least value of each number of a shape, and the number of its values: (2, 9)."""
    thickest = max(1, int(0.06 * size))
    thinnest = min(3, thickest)
    numbers = (LINE, 3), *[(0, size)] * 4, (thinnest, thickest - thinnest + 1), (0, 360), (3, 178), (3, 178)
    return np.array(numbers).T


def _draw_shape(hole: np.ndarray, shape: list[int]) -> None:
    """Draw a line between two points, a disc, or an arc whose half axes are the second point."""
    kind, x, y, x2, y2, thickness, angle, start, end = shape
    if kind == LINE:
        cv2.line(hole, (x, y), (x2, y2), 1, thickness)
    elif kind == CIRCLE:
        cv2.circle(hole, (x, y), thickness, 1, cv2.FILLED)
    else:
        cv2.ellipse(hole, (x, y), (x2, y2), angle, start, end, 1, thickness)


def _shrink(shape: list[int], scale: float) -> list[int]:
    """Return the same shape `scale` times as long and thick, with its first point where it was."""
    kind, x, y, x2, y2, thickness, *angles = shape
    x0, y0 = (x, y) if kind == LINE else (0, 0)
    x2, y2 = x0 + int((x2 - x0) * scale), y0 + int((y2 - y0) * scale)
    return [kind, x, y, x2, y2, max(1, int(thickness * scale)), *angles]


def _from_edge(shape: list[int], size: int) -> list[int]:
    """Return a line from the point of an edge that is nearest to the shape's first point, to its second point."""
    _, x, y, *rest = shape
    _, x, y = min((x, 0, y), (y, x, 0), (size - 1 - x, size - 1, y), (size - 1 - y, x, size - 1))
    return [LINE, x, y, *rest]


def grow(rng: np.random.Generator, hole: np.ndarray, count: int, touch: bool) -> np.ndarray:
    """Add pixels around the hole, in place, until it has `count`: a way out where shapes would take too long."""
    if not hole.any():
        hole[0 if touch else rng.integers(len(hole)), rng.integers(len(hole))] = 1
    while (missing := count - cv2.countNonZero(hole)) > 0:
        ring = cv2.dilate(hole, np.ones((3, 3), np.uint8)) - hole
        hole.flat[np.flatnonzero(ring)[:missing]] = 1
    return hole
