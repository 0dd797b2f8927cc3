"""From a prediction at the network's scale to the photograph's own resolution.

Known pixels are averaged in blocks, which the hole has no part in; the prediction is enlarged by cubic interpolation,
and a membrane, the harmonic function that continues into the hole what is missing at its edge, makes the seam
disappear.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from pconv.filling.canvas import Box, Canvas
from pconv.filling.detail import BLOCK, Copy, find_copies, weights_of
from pconv.filling.holes import HOLE, KNOWN
from pconv.filling.windows import Job, Plan

STRIP = 2**21  # px that are read at a time
TILE = 512  # px a side of what is written at a time
MARGIN = 32  # px around it from which the membrane starts
DETAIL = 0.6  # of the strength that detail has where it is copied from: all of it costs PSNR (benchmarks/README.md)
ROUNDS = 20  # of relaxation at each level of the membrane
NEIGHBOURS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4


class View(NamedTuple):
    """A window as the network sees it, filled: `low` (h, w, planes), `factor` times smaller, and what of it is
    known."""

    window: Box
    factor: int
    low: np.ndarray
    known: np.ndarray

    def block(self, row: int, column: int) -> Box:
        """Return the box in the photograph of BLOCK x BLOCK pixels of the view."""
        top, left = self.window.top + row * self.factor, self.window.left + column * self.factor
        return Box(top, top + BLOCK * self.factor, left, left + BLOCK * self.factor)

    def enlarged(self, box: Box) -> np.ndarray:
        """Return a box of the photograph as the view shows it, by cubic interpolation: (h, w, planes)."""
        inner = box.relative_to(self.window)
        if self.factor == 1:
            return self.low[inner.slices].copy()
        part = Box(*(edge // self.factor for edge in inner))
        part = Box(part.top, -(-inner.bottom // self.factor), part.left, -(-inner.right // self.factor))
        part = part.widened(2, self.low.shape[:2])  # px that the kernel reaches
        size = ((part.right - part.left) * self.factor, (part.bottom - part.top) * self.factor)
        large = _planes(cv2.resize(self.low[part.slices], size, interpolation=cv2.INTER_CUBIC))
        return large[inner.relative_to(Box(*(self.factor * edge for edge in part))).slices].copy()


def reduce(canvas: Canvas, marks: np.ndarray, box: Box, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a window as the network sees it, `factor` times smaller: (h, w, planes) float32, and where it is known.

    Each pixel is the mean of the known ones in a block of factor x factor px; it is known if half of the block is.
    """
    rows = max(1, STRIP // (box.right - box.left) // factor) * factor
    parts = [
        _block_means(canvas, marks, Box(top, min(box.bottom, top + rows), box.left, box.right), factor)
        for top in range(box.top, box.bottom, rows)
    ]
    means, known = zip(*parts, strict=True)
    return np.concatenate(means), np.concatenate(known)


def _block_means(canvas: Canvas, marks: np.ndarray, box: Box, factor: int) -> tuple[np.ndarray, np.ndarray]:
    known = (marks[box.slices] == KNOWN).astype(np.float32)
    values = np.where(known[..., None] > 0, canvas.read(box), 0)  # a hole may hold NaN
    if factor == 1:
        return values, known > 0
    height, width = box.shape
    around = (0, -height % factor, 0, -width % factor)
    size = ((width + around[3]) // factor, (height + around[1]) // factor)
    values, known, inside = (
        cv2.resize(cv2.copyMakeBorder(part, *around, cv2.BORDER_CONSTANT), size, interpolation=cv2.INTER_AREA)
        for part in (values, known, np.ones_like(known))
    )
    values = values.reshape(*known.shape, -1) / np.maximum(known, 1e-6)[..., None]
    return values, known >= inside / 2


def paste(canvas: Canvas, marks: np.ndarray, plan: Plan, job: Job, view: View) -> None:
    """Fill the holes of a job from what is predicted for its window, and mark them as known."""
    copies = find_copies(view.low, view.known, ~view.known) if job.factor > 1 else []
    for tile in _tiles(job.box, TILE):
        hole = plan.holes(job, tile) & (marks[tile.slices] == HOLE)
        if hole.any():
            around = tile.widened(MARGIN, marks.shape).within(view.window)
            values = view.enlarged(around)
            missing = canvas.read(around) - values
            values += harmonic(missing, marks[around.slices] == KNOWN)
            values = values[tile.relative_to(around).slices] + DETAIL * _detail(canvas, marks, tile, view, copies)
            canvas.write(tile, values, hole)
            marks[tile.slices][hole] = KNOWN


def _detail(canvas: Canvas, marks: np.ndarray, tile: Box, view: View, copies: list[Copy]) -> np.ndarray:
    """Return the detail of a tile, copied from known blocks: (h, w, planes), of the strength that it has there."""
    total = np.zeros((*tile.shape, canvas.planes), np.float32)
    squares = np.zeros(tile.shape, np.float32)
    side = BLOCK * view.factor
    weights = weights_of(side)
    for copy in copies:
        block, source = view.block(copy.row, copy.column), view.block(copy.from_row, copy.from_column)
        shared = block.within(tile)
        if min(shared.shape) <= 0 or source.within(view.window) != source:
            continue
        part, place = shared.relative_to(block), shared.relative_to(tile).slices
        source = part.moved(source.top, source.left)
        known = marks[source.slices] == KNOWN
        detail = np.where(known[..., None], canvas.read(source) - view.enlarged(source), 0)
        total[place] += weights[part.slices][..., None] * detail
        squares[place] += weights[part.slices] ** 2
    return total / np.sqrt(np.maximum(squares, 1e-6))[..., None]  # so that independent blocks keep their variance


def _tiles(box: Box, side: int) -> Iterator[Box]:
    for top in range(box.top, box.bottom, side):
        for left in range(box.left, box.right, side):
            yield Box(top, min(top + side, box.bottom), left, min(left + side, box.right))


def harmonic(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Continue values (h, w, C) float32 into where they are not known, so that each is the mean of its neighbours.

    Beyond the edge lies what is at the edge. Where nothing is known at all the result is 0. Laplace's equation is
    solved by relaxation, coarse to fine: each level starts from the one of half the size.
    """
    values = np.where(known[..., None], values, 0).astype(np.float32)
    if known.all() or not known.any():
        return values
    if min(known.shape) > 2:
        size = (-(-known.shape[1] // 2), -(-known.shape[0] // 2))
        share = cv2.resize(known.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        halved = _planes(cv2.resize(values, size, interpolation=cv2.INTER_AREA)) / np.maximum(share, 1e-6)[..., None]
        start = cv2.resize(harmonic(halved, share > 1e-6), known.shape[::-1], interpolation=cv2.INTER_LINEAR)
        values = np.where(known[..., None], values, _planes(start))
    for _ in range(ROUNDS):
        values = np.where(
            known[..., None], values, _planes(cv2.filter2D(values, -1, NEIGHBOURS, borderType=cv2.BORDER_REPLICATE))
        )
    return values


def _planes(values: np.ndarray) -> np.ndarray:
    """Give back the axis that OpenCV drops where it has length 1."""
    return values if values.ndim == 3 else values[..., None]
