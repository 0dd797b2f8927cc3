"""Figures of notebook 03: masks in the encoder, overfitting one photograph, sizes of the loss terms."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from pconv.figures import COLOURS


def valid_shares(tables: dict) -> Figure:
    """Draw the share of valid pixels in percent, hole-ratio bins x encoder levels, one panel per table."""
    figure = Figure(figsize=(9, 3.4 * len(tables)))
    axes = figure.subplots(len(tables), 1, squeeze=False)[:, 0]
    for axis, (title, table) in zip(axes, tables.items(), strict=True):
        shown = axis.imshow(100 * table.to_numpy(), cmap="viridis", vmin=40, vmax=100, aspect="auto")
        axis.set(title=title, ylabel="hole ratio", xticks=range(table.shape[1]), yticks=range(table.shape[0]))
        axis.set_xticklabels(table.columns)
        axis.set_yticklabels(table.index)
        axis.grid(False)
        for (i, j), share in np.ndenumerate(table.to_numpy()):
            text = "100" if share == 1 else f"{np.floor(1000 * share) / 10:.1f}"  # 100 only where the mask is full
            axis.text(j, i, text, ha="center", va="center", color="black" if share > 0.8 else "white")
    figure.colorbar(shown, ax=axes, label="valid pixels, %")
    return figure


def overfit_curves(history, switch: int) -> Figure:
    """Draw weighted terms and the PSNR in the hole over the steps; from step `switch` on all terms are trained on."""
    figure = Figure(figsize=(9, 6))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1.6, 1))
    for name in history.columns.drop(["psnr", "step"]):
        style = {"color": "black", "linewidth": 2.4} if name == "total" else {}
        upper.plot(history.step, history[name], label=name, **style)
    upper.set(yscale="log", ylabel="weight x term")
    upper.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    lower.plot(history.step, history.psnr, color="black")
    lower.set(xlabel="step", ylabel="PSNR in the hole, dB", xlim=(0, history.step.max()))
    for axis in (upper, lower):
        axis.axvline(switch, color="0.4", linestyle=":")
    lower.annotate(
        "perceptual and style join",
        (switch, 0.06),
        (-6, 0),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right",
    )
    return figure


def term_bars(sizes: dict) -> Figure:
    """Draw weighted terms, one panel per source of VGG: a group of bars is a term, a bar of it a moment (row)."""
    figure = Figure(figsize=(9, 3.6 * len(sizes)))
    axes = figure.subplots(len(sizes), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (source, table) in zip(axes, sizes.items(), strict=True):
        for i, (moment, row) in enumerate(table.iterrows()):
            places = np.arange(len(row)) + 0.27 * (i - (len(table) - 1) / 2)
            bars = axis.barh(places, row, height=0.25, color=COLOURS[i], label=moment)
            axis.bar_label(bars, [f"{float(f'{value:.2g}'):g}" for value in row], fontsize=9, padding=3)
        axis.set(title=f"VGG weights: {source}", xscale="log", yticks=range(len(row)))
        axis.set_yticklabels(table.columns)
        axis.invert_yaxis()
        axis.grid(False, axis="y")
        axis.margins(x=0.1)
    axes[0].legend(loc="upper left", bbox_to_anchor=(1, 1))
    axes[-1].set_xlabel("weight x term")
    return figure
