"""Grain and edges at the photograph's own resolution, which the network's small window cannot hold.

What a known part of the photograph has more than its small picture, enlarged, is its detail. The hole takes detail from
where the small picture looks alike, in overlapping blocks: Freeman et al. 2002 ("Example-Based Super-Resolution"), with
the photograph itself for examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BLOCK = 4  # px of the small window: side of a block; blocks overlap by half
RIM = 1  # px around it that have to look alike, too
CHOICE = 8  # of the most similar blocks one is taken at random: always the best one makes a pattern
CHUNK = 64  # blocks that are compared at a time with all known ones


class Copy(NamedTuple):
    """A block of a window's hole and the known one whose detail it takes: their first rows and columns."""

    row: int
    column: int
    from_row: int
    from_column: int


def find_copies(low: np.ndarray, known: np.ndarray, wanted: np.ndarray) -> list[Copy]:
    """Return where the blocks of a hole take their detail from, for a window (h, w, planes) that is filled already.

    `known` (h, w) bool says where the photograph is known, `wanted` (h, w) bool where detail is missing.
    """
    side = BLOCK + 2 * RIM
    if min(known.shape) < side:
        return []
    # Windows of each pixel: (rows, columns, planes, side, side).
    views = np.lib.stride_tricks.sliding_window_view(low, (side, side), axis=(0, 1))
    whole = np.lib.stride_tricks.sliding_window_view(known, (side, side)).all((2, 3))
    rows, columns = np.nonzero(whole)
    targets = [(row, column) for row, column in _grid(known.shape, side) if _inner(wanted, row, column).any()]
    if not len(rows) or not targets:
        return []
    examples = views[rows, columns].reshape(len(rows), -1)
    half_norms = np.square(examples).sum(1) / 2
    copies, rng, count = [], np.random.default_rng(0), min(CHOICE, len(rows))
    for start in range(0, len(targets), CHUNK):
        some = targets[start : start + CHUNK]
        looks = np.stack([views[place].ravel() for place in some])
        likeness = looks @ examples.T - half_norms  # the larger, the less the squared difference
        best = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        best = best[np.arange(len(some)), rng.integers(count, size=len(some))]
        copies += [
            Copy(row + RIM, column + RIM, int(rows[i]) + RIM, int(columns[i]) + RIM)
            for (row, column), i in zip(some, best, strict=True)
        ]
    return copies


def _grid(shape: tuple[int, int], side: int) -> Iterator[tuple[int, int]]:
    for row in range(0, shape[0] - side + 1, BLOCK // 2):
        for column in range(0, shape[1] - side + 1, BLOCK // 2):
            yield row, column


def _inner(pixels: np.ndarray, row: int, column: int) -> np.ndarray:
    return pixels[row + RIM : row + RIM + BLOCK, column + RIM : column + RIM + BLOCK]


def weights_of(side: int) -> np.ndarray:
    """Return how much a block of `side` px counts at each of its pixels, less towards its edges: (side, side)."""
    along = np.sin(np.pi * (np.arange(side) + 0.5) / side, dtype=np.float32) ** 2
    return np.outer(along, along)
