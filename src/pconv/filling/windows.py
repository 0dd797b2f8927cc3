"""Which holes are filled together, in which window, and at which scale.

Holes of about the same width that lie near each other share a window; a long one is cut into several. Nothing here
grows with the photograph but a few bytes a pixel.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from pconv.filling.canvas import Box
from pconv.filling.holes import HOLE
from pconv.masks.convention import squared

LARGEST = 4_000_000  # px of the map in which holes are told apart
WIDTH = 0.09  # of a hole, of the side of a training crop: drawn masks are rarely thicker than a tenth of it
CORE = 0.45  # of the window, the middle in which holes are filled; the rest is what they are filled from


class Job(NamedTuple):
    """Holes to fill in one go: those of `factor` in `box`, looked at `factor` times smaller."""

    box: Box
    factor: int


class Plan(NamedTuple):
    """What to do, and which hole has which factor: (h, w) uint16, a cell for `grain` x `grain` px, 0 where none is."""

    jobs: list[Job]
    factors: np.ndarray
    grain: int

    def holes(self, job: Job, box: Box) -> np.ndarray:
        """Return where in a box the holes of a job may be: (h, w) bool, true of cells with any of it."""
        rows, columns = (np.arange(first, last) // self.grain for first, last in (box[:2], box[2:]))
        return self.factors[np.ix_(rows, columns)] == job.factor


def make_plan(marks: np.ndarray, side: int) -> Plan:
    """Plan what to fill, for marks (H, W) uint8 with HOLE where, by a network that was trained on crops of `side` px.

    Each hole is seen so small that it is at most WIDTH of `side` wide. Thin holes come first, since the next ones are
    filled from them as well. Seen at this scale no box is larger than CORE of `side`.
    """
    grain = max(1, math.ceil(math.sqrt(marks.size / LARGEST)))
    core = int(CORE * side)
    cells: dict[tuple[int, int, int], list[Box]] = defaultdict(list)
    hole = _reduced(marks, grain)
    factors = np.zeros(hole.shape, np.uint16)
    for cell, within, thickness in _components(hole):
        factor = max(1, math.ceil(thickness * grain / (WIDTH * side)))
        factors[cell.slices][within] = factor
        half = core * factor // 2  # boxes whose middles are in one cell of this side fit into the core together
        for part in _cut(_enlarged(cell, grain, marks.shape), core * factor):
            row, column = (part.top + part.bottom) // 2, (part.left + part.right) // 2
            key = (row // half, column // half) if max(part.shape) <= half else (row, -1 - column)
            cells[factor, *key].append(part)
    return Plan([Job(_union(boxes), key[0]) for key, boxes in sorted(cells.items())], factors, grain)


def window_of(job: Job, side: int, shape: tuple[int, int]) -> Box:
    """Return the window around a job, `side` px a side when seen at its scale, at most the photograph."""
    length = side * job.factor
    rows = _span(job.box.top, job.box.bottom, length, shape[0])
    columns = _span(job.box.left, job.box.right, length, shape[1])
    return Box(*rows, *columns)


def _span(start: int, end: int, length: int, size: int) -> tuple[int, int]:
    first = min(max(0, (start + end - length) // 2), max(0, size - length))
    return first, min(size, first + length)


def _components(hole: np.ndarray) -> Iterator[tuple[Box, np.ndarray, float]]:
    """Yield of each connected hole its box, where it is in there, and its greatest width."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(hole, connectivity=8)
    distance = cv2.distanceTransform(_closed_at_edges(hole), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    for label in range(1, count):
        left, top, columns, rows, _ = map(int, stats[label])
        box = Box(top, top + rows, left, left + columns)
        within = labels[box.slices] == label
        yield box, within, 2 * math.sqrt(squared(distance[box.slices][within].max()))


def _enlarged(cell: Box, grain: int, shape: tuple[int, int]) -> Box:
    return Box(
        cell.top * grain, min(shape[0], cell.bottom * grain), cell.left * grain, min(shape[1], cell.right * grain)
    )


def _reduced(marks: np.ndarray, grain: int) -> np.ndarray:
    """Return where cells of `grain` px a side have any hole in them: uint8."""
    hole = (marks == HOLE).astype(np.uint8)
    if grain == 1:
        return hole
    hole = cv2.copyMakeBorder(hole, 0, -hole.shape[0] % grain, 0, -hole.shape[1] % grain, cv2.BORDER_CONSTANT)
    size = (hole.shape[1] // grain, hole.shape[0] // grain)
    return (cv2.resize(255 * hole, size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)


def _closed_at_edges(hole: np.ndarray) -> np.ndarray:
    """Return a hole with one pixel around it: nothing is known beyond the photograph, so an edge ends no hole.

    Where all four sides of a hole are edges the corners end it, so that it has a width.
    """
    padded = cv2.copyMakeBorder(hole, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        padded[corner] = 0
    return padded


def _cut(box: Box, side: int) -> Iterator[Box]:
    """Cut a box into equal ones of at most `side` px a side."""
    tops, lefts = _edges(box.top, box.bottom, side), _edges(box.left, box.right, side)
    for top, bottom in zip(tops, tops[1:], strict=False):
        for left, right in zip(lefts, lefts[1:], strict=False):
            yield Box(top, bottom, left, right)


def _edges(start: int, end: int, side: int) -> list[int]:
    parts = math.ceil((end - start) / side)
    return [start + round(i * (end - start) / parts) for i in range(parts + 1)]


def _union(boxes: list[Box]) -> Box:
    tops, bottoms, lefts, rights = zip(*boxes, strict=True)
    return Box(min(tops), max(bottoms), min(lefts), max(rights))
