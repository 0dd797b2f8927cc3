"""Copies of a photograph in two splits: equal bytes, or the same picture encoded again or resized."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pconv.data.memory import Seen

SAME = 9.0  # grey levels, root mean square between two thumbnails; what it was chosen from: data/README.md
ROWS = 128  # compared at once; bounds the memory


def find_copies(earlier: Sequence[Seen], later: Sequence[Seen]) -> dict[int, tuple[int, str]]:
    """Find the photographs of `later` that are copies of one in `earlier`: index there -> index here, and how.

    The time grows with the product of the two numbers; photographs whose mean grey differs are not compared.
    """
    if not earlier or not later:
        return {}
    found = {j: (i, "shows the same as") for j, i in _alike(_flat(earlier), _flat(later)).items()}
    places = {seen.sha256: i for i, seen in reversed(list(enumerate(earlier)))}
    return found | {j: (places[s.sha256], "equal to") for j, s in enumerate(later) if s.sha256 in places}


def _flat(photographs: Sequence[Seen]) -> np.ndarray:
    return np.stack([seen.thumbnail.ravel() for seen in photographs])


def _alike(earlier: np.ndarray, later: np.ndarray) -> dict[int, int]:
    """For each thumbnail of `later` (M, P) that is nearer than SAME to one of `earlier` (N, P), the nearest there.

    Two thumbnails are never nearer than their means, so that only those with about the same mean are compared.
    """
    order = np.argsort(earlier.mean(1), kind="stable")
    means, found = earlier.mean(1)[order], {}
    ranks = np.argsort(later.mean(1), kind="stable")
    for rows in np.split(ranks, range(ROWS, len(ranks), ROWS)):
        low, high = later[rows[0]].mean() - SAME, later[rows[-1]].mean() + SAME
        near = order[np.searchsorted(means, low) : np.searchsorted(means, high, side="right")]
        if len(near):
            distance = _distances(later[rows], earlier[near])
            best = distance.argmin(1)
            found |= {int(rows[k]): int(near[best[k]]) for k in np.flatnonzero(distance.min(1) < SAME)}
    return found


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the root mean squares of all differences between rows of a (M, P) and of b (N, P), (M, N)."""
    a, b = a.astype(np.float32) - 128, b.astype(np.float32) - 128  # smaller numbers, so that float32 is exact enough
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0) / a.shape[1])
