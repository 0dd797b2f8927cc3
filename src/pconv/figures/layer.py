"""Figures of notebook 02: one window in numbers, and how a hole closes."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from pconv.figures import HOLE, WIDTH


def window_in_numbers(picture: np.ndarray, mask: np.ndarray, kernel: np.ndarray, bias: float = 0.0) -> Figure:
    """Draw eq. 1 for one window of one channel, (3, 3) arrays: picture x mask x kernel, the sum, the ratio, the result.

    picture: values in [0, 1]; mask: 1 where valid, of which there is at least one.
    """
    product = picture * mask * kernel
    total, ratio = product.sum(), mask.size / mask.sum()
    parts = {"picture X": picture, "mask M": mask, "kernel W": kernel, "X M W": product}
    figure = Figure(figsize=(WIDTH, 3.1))
    upper, lower = figure.subfigures(2, 1, height_ratios=(2.5, 1))
    for axis, (title, values), sign in zip(
        upper.subplots(1, 4), parts.items(), ("\u00d7", "\u00d7", "=", ""), strict=True
    ):
        known = np.ones_like(mask) if title == "kernel W" else mask
        _numbers(axis, values, known, shade=title == "picture X", digits="g" if title == "mask M" else ".2f")
        axis.set_title(title)
        axis.text(1.12, 0.5, sign, transform=axis.transAxes, ha="center", va="center", fontsize=18)
    lower.text(
        0.5,
        0.55,
        f"x' = sum(X M W) \u00d7 sum(1) / sum(M) + b = {total:.3f} \u00d7 {mask.size:g} / {mask.sum():g} + {bias:.2f} "
        f"= {total * ratio + bias:.3f}\nwithout the ratio: {total + bias:.3f}",
        ha="center",
        va="center",
        fontsize=13,
        linespacing=1.6,
    )
    return figure


def _numbers(axis, values: np.ndarray, mask: np.ndarray, shade: bool, digits: str) -> None:
    """Draw numbers in squares, grey as the picture where `shade`, and in the hole's colour where nothing is known."""
    grey = values if shade else np.full(values.shape, 0.95)
    axis.imshow(np.where(mask[..., None] > 0, grey[..., None].repeat(3, axis=2), np.array(HOLE)), vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(values):
        dark = (mask[i, j] == 0) or (shade and value < 0.5)
        axis.text(j, i, f"{value:{digits}}", ha="center", va="center", color="white" if dark else "black", fontsize=12)
    axis.set(xticks=[], yticks=[])
    axis.grid(False)


def shrinking(closed_by, ratios: dict[str, list[float]]) -> Figure:
    """Draw how a hole closes: a map (H, W) of the layer that first sees each pixel, and the hole ratio after each."""
    figure = Figure(figsize=(WIDTH, 3.6))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    shown = left.imshow(np.where(closed_by > 0, closed_by, np.nan), cmap="viridis")
    left.set(xticks=[], yticks=[], title="where the hole closes")
    left.grid(False)
    figure.colorbar(shown, ax=left, label="layer", shrink=0.9)
    for (name, values), marker in zip(ratios.items(), ".o", strict=True):
        right.plot(range(len(values)), [100 * value for value in values], marker=marker, label=name)
    right.set(xlabel="layers", ylabel="hole ratio, %", ylim=(0, None), xlim=(0, None))
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
