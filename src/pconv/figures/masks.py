"""Figures of notebook 01: hole ratios, dilation and the border constraint."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from pconv.figures import COLOURS, WIDTH, to_picture


def hole_ratios(ratios: dict, edges) -> Figure:
    """Draw how often each hole ratio occurs, one panel per generator, with the share of each bin between `edges`."""
    figure = Figure(figsize=(WIDTH, 2.3 * len(ratios) + 0.4))
    axes = figure.subplots(len(ratios), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axis, (name, values), colour in zip(axes, ratios.items(), COLOURS[1:3], strict=False):
        axis.hist(values, np.arange(0, 1.01, 0.02), weights=np.full(len(values), 100 / len(values)), color=colour)
        axis.margins(y=0.3)
        axis.set(title=name, ylabel="masks, %", xlim=(0, 0.65))
        axis.set_xticks(edges)
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            share = ((values > low) & (values <= high)).mean()
            axis.text((low + high) / 2, 0.9, f"{share:.0%}", ha="center", transform=axis.get_xaxis_transform())
    axes[-1].set_xlabel("hole ratio; grid lines are the edges of the paper's bins")
    return figure


def dilation(widths, pictures, ratios: dict) -> Figure:
    """Draw one hole under growing kernels, and below it the hole ratio of several against the kernel's width."""
    figure = Figure(figsize=(max(WIDTH, 1.3 * len(widths)), 5.2))
    upper, lower = figure.subfigures(2, 1, height_ratios=(1, 1.3))
    for axis, width, picture in zip(upper.subplots(1, len(widths)), widths, pictures, strict=True):
        axis.imshow(to_picture(picture))
        axis.set_axis_off()
        axis.set_title(f"{width} px" if width > 1 else "as drawn")
    axis = lower.subplots()
    for name, values in ratios.items():
        axis.plot(widths, values, marker="o", label=name)
    axis.set(xlabel="width of the square kernel, px", ylabel="hole ratio", ylim=(0, 1), xticks=widths)
    axis.axhline(0.6, color="0.4", linestyle=":", label="0.6, the last bin's end")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="ratio as drawn")
    return figure


def hole_frequency(shares: dict) -> Figure:
    """Draw maps (H, W) of how often each pixel is hole, on one colour scale."""
    figure = Figure(figsize=(WIDTH, 3))
    axes = figure.subplots(1, len(shares))
    highest = max(share.max() for share in shares.values())
    for axis, (name, share) in zip(axes, shares.items(), strict=True):
        shown = axis.imshow(100 * share, cmap="viridis", vmin=0, vmax=100 * highest)
        axis.set(title=name, xticks=[], yticks=[])
        axis.grid(False)
    figure.colorbar(shown, ax=axes, label="hole in % of masks", shrink=0.8)
    return figure
