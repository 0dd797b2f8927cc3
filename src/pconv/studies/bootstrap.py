"""Intervals of differences by a bootstrap over photographs, and verdicts on claims from them.

Crops of one photograph are not independent, so photographs are drawn with replacement, each with all its crops, in all
runs and in both groups that are compared. The interval is that of percentiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
BLOCK = 1_000  # resamples that are drawn at once, to bound the memory
HOLDS, FAILS, OPEN, MISSING = "holds", "does not hold", "not decided at this scale", "not run yet"


class Interval(NamedTuple):
    """A mean difference with the interval that holds it at LEVEL."""

    mean: float
    low: float
    high: float


def difference(
    first: Sequence[float], photographs1: Sequence[str], second: Sequence[float], photographs2: Sequence[str]
) -> Interval:
    """Return the mean of the first values minus the mean of the second.

    photographs1, photographs2: the photograph of each value. Values of the same crops in two runs are thereby paired.
    Raises ValueError if a group is empty or a photograph is missing for a value.
    """
    if not (len(first) == len(photographs1) > 0 and len(second) == len(photographs2) > 0):
        raise ValueError(f"{len(first)} and {len(second)} values of {len(photographs1)} and {len(photographs2)} crops")
    names, places = np.unique([*photographs1, *photographs2], return_inverse=True)
    resampled, measured = 0.0, 0.0
    for sign, values, at in (
        (1, first, places[: len(first)]),
        (-1, second, places[len(first) :]),
    ):
        sums = np.bincount(at, weights=values, minlength=len(names))
        counts = np.bincount(at, minlength=len(names))
        draws = _draws(len(names))
        with np.errstate(invalid="ignore"):  # 0 / 0 where a resample holds no photograph of a group
            resampled = resampled + sign * (draws @ sums) / (draws @ counts)
        measured += sign * float(np.mean(values))
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(resampled, (tail, 1 - tail))
    return Interval(measured, float(low), float(high))


@lru_cache(maxsize=4)
def _draws(count: int) -> np.ndarray:
    """Return how often each of `count` photographs is drawn in each resample: (RESAMPLES, count) float32."""
    rng = np.random.default_rng(0)
    blocks = [rng.multinomial(count, np.full(count, 1 / count), BLOCK) for _ in range(RESAMPLES // BLOCK)]
    return np.concatenate([block.astype(np.float32) for block in blocks])


def verdict(intervals: Sequence[Interval]) -> str:
    """Return what intervals say of a claim that every one of the differences is above 0.

    It holds if all intervals lie above 0, does not hold if any lies below 0, and is not decided otherwise.
    """
    if not intervals:
        return MISSING
    if any(interval.high < 0 for interval in intervals):
        return FAILS
    return HOLDS if all(interval.low > 0 for interval in intervals) else OPEN


def verdict_of_difference(intervals: Sequence[Interval]) -> str:
    """Return what intervals say of a claim that every one of the differences is other than 0, in either direction.

    An interval that holds 0 leaves the claim undecided: no sample shows that two means are equal.
    """
    if not intervals:
        return MISSING
    return HOLDS if all(interval.low > 0 or interval.high < 0 for interval in intervals) else OPEN
