"""Figures of notebook 03: the network with its masks, overfitting one photograph, sizes of the loss terms."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from pconv.figures import COLOURS, WIDTH, log_scale, mask_picture

ARROW = {"arrowstyle": "-|>", "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}


def network(image: np.ndarray, down: list[tuple[str, Tensor]], up: list[tuple[str, Tensor]]) -> Figure:
    """Draw the U-Net from left to right and back: the input, then the mask after each layer, a row per size.

    image: what the network is given, (H, W, 3). down: for the input and each encoder layer a label and its mask
    (1, H, W); up: the same for each decoder layer, from the smallest to the full size.
    """
    figure = Figure(figsize=(WIDTH, 1.32 * len(down)), layout="none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, WIDTH), ylim=(-1.32 * len(down), 0))
    axis.set_axis_off()
    left, right = 2.1, WIDTH - 2.1
    for level, (label, mask) in enumerate(down):
        picture = image if level == 0 else mask_picture(mask)
        _thumbnail(axis, picture, left, level)
        axis.text(left - 0.62, _row(level), label, ha="right", va="center")
        if level:
            axis.annotate("", (left, _row(level) + 0.55), (left, _row(level - 1) - 0.55), arrowprops=ARROW)
    for level, (label, mask) in zip(reversed(range(len(up))), up, strict=True):
        _thumbnail(axis, mask_picture(mask), right, level)
        axis.text(right + 0.62, _row(level), label, ha="left", va="center")
        skip = ARROW | {"color": COLOURS[1], "linestyle": "--"}
        axis.annotate("", (right - 0.6, _row(level)), (left + 0.6, _row(level)), arrowprops=skip)
        text = "image and mask join" if level == 0 else "features and mask join"
        axis.text(WIDTH / 2, _row(level) + 0.06, text, color=COLOURS[1], ha="center", va="bottom", fontsize=11)
        if level < len(up) - 1:
            axis.annotate("", (right, _row(level) - 0.55), (right, _row(level + 1) + 0.55), arrowprops=ARROW)
    start, end = (left + 0.6, _row(len(up))), (right - 0.1, _row(len(up) - 1) - 0.55)
    axis.annotate("", end, start, arrowprops=ARROW | {"connectionstyle": "angle3,angleA=0,angleB=90"})
    return figure


def _row(level: int) -> float:
    return -1.32 * (level + 0.5)


def _thumbnail(axis, picture: np.ndarray, x: float, level: int) -> None:
    """Draw a picture one inch wide around x in the row of a level, framed, as its pixels are."""
    y = _row(level)
    axis.imshow(picture, extent=(x - 0.5, x + 0.5, y - 0.5, y + 0.5), aspect="auto", interpolation="nearest")
    axis.plot(
        [x - 0.5, x + 0.5, x + 0.5, x - 0.5, x - 0.5], [y - 0.5, y - 0.5, y + 0.5, y + 0.5, y - 0.5], "0.3", lw=0.8
    )


def valid_shares(tables: dict) -> Figure:
    """Draw the share of valid pixels in percent, hole-ratio bins x encoder levels, one panel per table."""
    figure = Figure(figsize=(WIDTH, 3.1 * len(tables)))
    axes = figure.subplots(len(tables), 1, squeeze=False)[:, 0]
    for axis, (title, table) in zip(axes, tables.items(), strict=True):
        shown = axis.imshow(100 * table.to_numpy(), cmap="viridis", vmin=40, vmax=100, aspect="auto")
        axis.set(title=title, ylabel="hole ratio", xlabel="after layer")
        axis.set(xticks=range(table.shape[1]), yticks=range(table.shape[0]))
        axis.set_xticklabels([name.removeprefix("PConv") for name in table.columns])
        axis.set_yticklabels(table.index)
        axis.grid(False)
        for (i, j), share in np.ndenumerate(table.to_numpy()):
            text = "100" if share == 1 else f"{np.floor(1000 * share) / 10:.1f}"  # 100 only where the mask is full
            axis.text(j, i, text, ha="center", va="center", color="black" if share > 0.8 else "white")
    figure.colorbar(shown, ax=axes, label="valid pixels, %")
    return figure


def overfit_curves(history, switch: int) -> Figure:
    """Draw weighted terms and the PSNR in the hole over the steps; from step `switch` on all terms are trained on."""
    figure = Figure(figsize=(WIDTH, 6))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1.6, 1))
    for name in history.columns.drop(["psnr", "step"]):
        style = {"color": "black", "linewidth": 2.4} if name == "total" else {}
        upper.plot(history.step, history[name], label=name, **style)
    upper.set_ylabel("weight x term")
    log_scale(upper)
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
    figure = Figure(figsize=(WIDTH, 3.6 * len(sizes) + 0.4))
    axes = figure.subplots(len(sizes), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (source, table) in zip(axes, sizes.items(), strict=True):
        for i, (moment, row) in enumerate(table.iterrows()):
            places = np.arange(len(row)) + 0.27 * (i - (len(table) - 1) / 2)
            bars = axis.barh(places, row, height=0.25, color=COLOURS[i], label=moment)
            axis.bar_label(bars, [f"{float(f'{value:.2g}'):g}" for value in row], fontsize=11, padding=3)
        axis.set(title=f"VGG weights: {source}", yticks=range(len(row)))
        axis.set_yticklabels(table.columns)
        axis.invert_yaxis()
        axis.grid(False, axis="y")
        axis.margins(x=0.1)
        log_scale(axis, "x")
    axes[-1].set_xlabel("weight x term")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure
