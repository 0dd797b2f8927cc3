"""From a prediction at the network's scale to the photograph's own resolution.

Known pixels are averaged in blocks, which the hole has no part in; the prediction is enlarged by cubic interpolation,
and a membrane, the harmonic function that continues into the hole what is missing at its edge, makes the seam
disappear.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from pconv.filling.canvas import Box, Canvas
from pconv.filling.holes import HOLE, KNOWN
from pconv.filling.windows import Job, Plan

STRIP = 2**21  # px that are read at a time
TILE = 512  # px a side of what is written at a time
MARGIN = 32  # px around it from which the membrane starts
ROUNDS = 20  # of relaxation at each level of the membrane
NEIGHBOURS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4


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


def paste(canvas: Canvas, marks: np.ndarray, plan: Plan, job: Job, window: Box, low: np.ndarray) -> None:
    """Fill the holes of a job from what is predicted for a window, `low` (h, w, planes), and mark them as known."""
    for tile in _tiles(job.box, TILE):
        hole = plan.holes(job, tile) & (marks[tile.slices] == HOLE)
        if hole.any():
            around = tile.widened(MARGIN, marks.shape).within(window)
            values = _enlarged(low, around, window, job.factor)
            missing = canvas.read(around) - values
            values += harmonic(missing, marks[around.slices] == KNOWN)
            canvas.write(tile, values[tile.relative_to(around).slices], hole)
            marks[tile.slices][hole] = KNOWN


def _tiles(box: Box, side: int) -> Iterator[Box]:
    for top in range(box.top, box.bottom, side):
        for left in range(box.left, box.right, side):
            yield Box(top, min(top + side, box.bottom), left, min(left + side, box.right))


def _enlarged(low: np.ndarray, box: Box, window: Box, factor: int) -> np.ndarray:
    """Return a box of the photograph from a window that is `factor` times smaller, by cubic interpolation."""
    if factor == 1:
        return low[box.relative_to(window).slices].copy()
    inner = box.relative_to(window)
    reach = 2  # px of the small window that a pixel is interpolated from, to each side
    part = Box(inner.top // factor, -(-inner.bottom // factor), inner.left // factor, -(-inner.right // factor))
    part = part.widened(reach, low.shape[:2])
    size = ((part.right - part.left) * factor, (part.bottom - part.top) * factor)
    large = cv2.resize(low[part.slices], size, interpolation=cv2.INTER_CUBIC).reshape(*size[::-1], -1)
    return large[inner.relative_to(Box(*(factor * edge for edge in part))).slices].copy()


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
