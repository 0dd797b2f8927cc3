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
ABOVE, BELOW, APART = "above 0", "below 0", "other than 0"  # where a claim has a difference
ALL, GRID = "all", "grid"  # the holes of a difference: of every kind, or those between the known pixels of a grid
UNNAMED = (ALL, GRID)  # beside a comparison, only other holes are worth a name
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


def speaks(interval: Interval, claimed: str) -> int:
    """Return 1 if an interval speaks for a claim about its difference, -1 if against it, and 0 if it decides nothing.

    claimed: where the difference should lie, ABOVE, BELOW or APART. No interval speaks against APART, since no sample
    shows that two means are equal.
    """
    above, below = int(interval.low > 0), int(interval.high < 0)
    return {ABOVE: above - below, BELOW: below - above, APART: above + below}[claimed]


def verdict(answers: Sequence[int]) -> str:
    """Return the verdict on a claim that needs several differences, from what each of them says (`speaks`)."""
    if not answers:
        return MISSING
    if min(answers) < 0:
        return FAILS
    return HOLDS if min(answers) > 0 else OPEN
