"""Brush strokes: random walks of a round brush, the free-form masks of later work on inpainting.

A stroke starts anywhere and takes a few steps. At each it turns a little or goes back on itself, as a hand does that
rubs something out; its width stays. Strokes follow each other until the hole has the ratio that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from pconv.masks.drawing import CLOSE, frame, grow, hole_bounds

WIDTHS = (0.03, 0.12)  # of a brush, as a share of the picture's side
LENGTHS = (0.05, 0.25)  # of a step
STEPS = (4, 12)  # of a stroke
TURN = 0.6  # radians, the standard deviation of the turn between two steps
BACK = 0.3  # the probability of going back instead
MOST_STROKES = 500  # then the hole grows pixel by pixel

Step = tuple[tuple[int, int], tuple[int, int], int]  # two points (x, y) and a width, px


def draw_strokes(
    rng: np.random.Generator, size: int, low: float, high: float, border: int = 0, touch: bool = False
) -> np.ndarray:
    """Draw a hole of brush strokes whose share r of the picture is low < r <= high: (size, size) uint8, 1 = hole.

    All else, and what is raised, is as in `pconv.masks.drawing.draw_hole`.
    """
    inner, least, most = hole_bounds(size, low, high, border, touch)
    target = int(rng.integers(least, most, endpoint=True))
    return frame(_draw_until(rng, inner, max(least, target - int(CLOSE * size**2)), target, touch), border)


def _draw_until(rng: np.random.Generator, size: int, least: int, most: int, touch: bool) -> np.ndarray:
    """Draw a hole of least to most pixels, (size, size) uint8; a step that would go past the end is made smaller."""
    hole = np.zeros((size, size), np.uint8)
    for _ in range(MOST_STROKES):
        for step in _stroke(rng, size, from_edge=touch and not hole.any()):
            hole = _add(hole, step, most)
            if cv2.countNonZero(hole) >= least:
                return hole
    return grow(rng, hole, least, touch)


def _stroke(rng: np.random.Generator, size: int, from_edge: bool) -> Iterator[Step]:
    """Yield the steps of one stroke."""
    point = rng.random(2) * size
    if from_edge:
        point[rng.integers(2)] = rng.integers(2) * (size - 1)
    heading, width = rng.uniform(0, 2 * np.pi), max(1, round(rng.uniform(*WIDTHS) * size))
    for _ in range(rng.integers(*STEPS, endpoint=True)):
        length = rng.uniform(*LENGTHS) * size
        end = np.clip(point + length * np.array((np.cos(heading), np.sin(heading))), 0, size - 1)
        yield tuple(point.astype(int).tolist()), tuple(end.astype(int).tolist()), width
        heading += np.pi * (rng.random() < BACK) + rng.normal(0, TURN)
        point = end


def _add(hole: np.ndarray, step: Step, most: int) -> np.ndarray:
    """Return the hole with a step, made half as long and wide until there are at most `most` pixels.

    In the end it is one pixel, for which there is room as long as strokes are drawn at all.
    """
    (x, y), (x2, y2), width = step
    while True:
        drawn = cv2.line(hole.copy(), (x, y), (x2, y2), 1, width)  # OpenCV rounds the ends of a thick line
        if cv2.countNonZero(drawn) <= most:
            return drawn
        x2, y2, width = x + int((x2 - x) / 2), y + int((y2 - y) / 2), max(1, width // 2)
