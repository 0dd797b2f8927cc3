"""What each mask of a split has to be, and what a source is given to draw it from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pconv.masks.convention import BINS, bin_name, border_width
from pconv.params import Masks


class Recipe(NamedTuple):
    """What one mask of a split has to be."""

    low: float  # its hole ratio r: low < r <= high
    high: float
    border: int  # px kept clear along each edge
    touch: bool  # whether the hole must reach an edge

    def __str__(self) -> str:
        """Return its words in a message."""
        place = f", {self.border} px clear of the edge" if self.border else ", reaching the edge" if self.touch else ""
        return f"hole ratio {bin_name((self.low, self.high))}{place}"


class Task(NamedTuple):
    """One mask to be drawn: a source returns a hole (size, size) uint8, 1 = hole, that is as the recipe says."""

    rng: np.random.Generator  # of this mask alone: all that is random comes from it
    size: int  # px
    split: str
    index: int  # of the mask in its split
    recipe: Recipe
    pool: Any  # what the source has to draw from, as POOLS made it; None for most


def recipes(masks: Masks, split: str, size: int) -> list[Recipe]:
    """Return what each mask of a split has to be, in order.

    Training and validation masks: 1 to 60 %. Test masks: masks.test for each bin, first those without border
    constraint, which masks.border may force to touch the edge, then those that keep clear of it. Grids of known pixels
    have the ratio that their spacing gives them.
    """
    if split != "test" or masks.spacing is not None:
        return [Recipe(BINS[0][0], BINS[-1][1], border=0, touch=False)] * getattr(masks, split)
    forced = masks.border == "forced"
    groups = [
        Recipe(*bounds, border, touch=forced and not border) for bounds in BINS for border in (0, border_width(size))
    ]
    return [group for group in groups for _ in range(masks.test)]
