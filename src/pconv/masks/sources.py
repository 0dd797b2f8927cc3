"""The sources of masks, by the value of masks.source: each is a function from a task to a hole.

docs/extending.md adds one of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pconv.masks.drawing import draw_grid, draw_hole
from pconv.masks.own import draw_own, find_own
from pconv.masks.recipes import Task
from pconv.masks.strokes import draw_strokes
from pconv.masks.video import draw_video, find_frames
from pconv.params import Params

Source = Callable[[Task], np.ndarray]  # a hole (size, size) uint8, 1 = hole, a function of the task alone


def drawn(task: Task) -> np.ndarray:
    """Draw lines, circles and arcs, as PConv-Keras does, to the wanted ratio."""
    return draw_hole(task.rng, task.size, *task.recipe)


def strokes(task: Task) -> np.ndarray:
    """Draw brush strokes to the wanted ratio."""
    return draw_strokes(task.rng, task.size, *task.recipe)


def grid(spacing: int) -> Source:
    """Return the source of grids of known pixels, which begin anywhere, but in test masks in one place."""

    def draw(task: Task) -> np.ndarray:
        fixed = [(spacing - 1) // 2] * 2
        row, column = fixed if task.split == "test" else task.rng.integers(spacing, size=2).tolist()
        return draw_grid(task.size, spacing, row, column)

    return draw


SOURCES: dict[str, Source] = {
    "drawn": drawn,
    "strokes": strokes,
    "folder": draw_own,
    "video": draw_video,
    "grid2": grid(2),
    "grid4": grid(4),
}

# What some sources draw from is looked for once for each split: a task's `pool`, which travels between processes.
POOLS: dict[str, Callable[[Params, str], Any]] = {"folder": find_own, "video": find_frames}
