"""Figures of notebook 02: how a hole closes."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure


def shrinking(closed_by, ratios: dict[str, list[float]]) -> Figure:
    """Draw how a hole closes: a map (H, W) of the layer that first sees each pixel, and the hole ratio after each."""
    figure = Figure(figsize=(10, 4.2))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    shown = left.imshow(np.where(closed_by > 0, closed_by, np.nan), cmap="viridis")
    left.set(xticks=[], yticks=[], title="3 x 3, stride 1: where the hole closes")
    left.grid(False)
    figure.colorbar(shown, ax=left, label="layer", shrink=0.9)
    for (name, values), marker in zip(ratios.items(), ".o", strict=True):
        right.plot(range(len(values)), [100 * value for value in values], marker=marker, label=name)
    right.set(xlabel="layers", ylabel="hole ratio, %", ylim=(0, None), xlim=(0, None))
    right.legend()
    return figure
