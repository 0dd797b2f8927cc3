"""Every figure of every notebook, in one style: data in, a matplotlib Figure out.

Pictures are drawn pixel by pixel (no smoothing), and holes have one colour throughout.
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
from IPython.display import Image, display
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

HOLE = (0.93, 0.35, 0.16)  # the colour of a hole, in every picture
METHODS = {  # the colour of a method, in every plot
    "pconv": "#d1421f",
    "mean fill": "#8c8c8c",
    "telea": "#2a6f97",
    "navier-stokes": "#61a5c2",
    "biharmonic": "#3d7a45",
}
COLOURS = ("#d1421f", "#2a6f97", "#3d7a45", "#c79a1e", "#7a4f9a", "#61a5c2", "#8c8c8c")

mpl.rcParams.update(
    {
        "figure.dpi": 110,
        "savefig.dpi": 110,
        "figure.constrained_layout.use": True,
        "font.size": 11,
        "axes.titlesize": 11,
        "axes.labelsize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "axes.prop_cycle": mpl.cycler(color=COLOURS),
        "image.interpolation": "none",
        "legend.frameon": False,
        "lines.linewidth": 1.8,
    }
)


def show(figure: Figure, name: str) -> None:
    """Save a figure as reports/figures/`name`.png and display that file's pixels in the notebook."""
    path = Path("reports/figures") / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    display(Image(data=path.read_bytes()))


def to_picture(image) -> np.ndarray:
    """A float tensor (3, H, W) or (1, H, W) in [0, 1], or a uint8 array, as (H, W, 3) for imshow."""
    if isinstance(image, np.ndarray):
        return image
    picture = image.detach().float().clamp(0, 1).cpu().numpy().transpose(1, 2, 0)
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def masked(image, mask) -> np.ndarray:
    """An image (3, H, W) with the hole of its mask (1, H, W) painted in the hole colour."""
    valid = to_picture(mask)
    return np.where(valid > 0.5, to_picture(image), np.array(HOLE))


def picture_grid(rows, columns=(), labels=(), cell=1.5) -> Figure:
    """Rows of pictures with a title above each column and a label before each row; `cell` is a side in inches."""
    count = max(len(row) for row in rows)
    left = 0.11 * max((len(line) for label in labels for line in label.split("\n")), default=0)
    figure = Figure(figsize=(count * cell + left, len(rows) * cell + 0.35 * bool(columns)))
    axes = figure.subplots(len(rows), count, squeeze=False)
    for i, row in enumerate(rows):
        for j, axis in enumerate(axes[i]):
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(False)
            axis.spines[:].set_visible(False)
            if j < len(row) and row[j] is not None:
                axis.imshow(to_picture(row[j]))
    for axis, title in zip(axes[0], columns, strict=False):
        axis.set_title(title)
    for row, label in zip(axes, labels, strict=False):
        row[0].set_ylabel(label, rotation=0, ha="right", va="center")
    return figure


# 04-train


def training_samples(samples) -> Figure:
    """Training samples (image, mask), uint8, in two rows, the hole painted."""
    pictures = [masked(image / 255, mask) for image, mask in samples]
    half = (len(pictures) + 1) // 2
    return picture_grid([pictures[:half], pictures[half:]])


def training_curves(history) -> Figure:
    """Loss over steps, each weighted or unweighted term over steps, and PSNR of the composite, training and validation.

    history: rows {step, train/..., val/...} of pconv.train.Result.
    """
    terms = [key.removeprefix("val/") for key in history[-1] if key.startswith("val/")]
    figure = Figure(figsize=(11, 5.2))
    for axis, term in zip(figure.subplots(2, 4).flat, terms, strict=True):
        for split, style in (("train", "-"), ("val", "o-")):
            points = [(row["step"], row[f"{split}/{term}"]) for row in history if f"{split}/{term}" in row]
            if points:
                axis.plot(*zip(*points, strict=True), style, label=split, markersize=4)
        axis.set_title({"l1": "L1 of the composite, %", "psnr": "PSNR of the composite, dB"}.get(term, term))
        if term not in ("psnr", "l1"):
            axis.set_yscale("log")
        axis.set_xlabel("step")
    figure.axes[0].legend()
    return figure


def samples_over_time(samples: dict, truth) -> Figure:
    """The same validation crops as the network fills them at several steps: masked, each step, truth."""
    image, mask = truth
    rows = [
        [masked(gt / 255, m), *(comps[i] / 255 for comps in samples.values()), gt / 255]
        for i, (gt, m) in enumerate(zip(image, mask.float(), strict=True))
    ]
    return picture_grid(rows, ["masked", *(f"step {step}" for step in samples), "truth"])


# 05-evaluate


def evaluation_curves(rows, published, measures, borders) -> Figure:
    """Measures against hole ratio: a line per method, its band one standard error wide to either side.

    rows: pconv.evaluate.plot_rows (method, hole_ratio, border, n, each measure and its _std). published: who,
    hole_ratio and each measure, drawn as hollow grey markers beside holes clear of the border, for which they hold.
    measures: a label for each measure, one column of panels each. borders: a title for border False and True, one row.
    """
    figure = Figure(figsize=(10.5, 7.2))
    grid = figure.subplots(len(borders), len(measures), sharex=True, sharey="col", squeeze=False)
    for panels, (border, title) in zip(grid, borders.items(), strict=True):
        for axis, (measure, label) in zip(panels, measures.items(), strict=True):
            for method, line in rows[rows["border"] == border].groupby("method", sort=False):
                _method_line(axis, method, line, measure)
            if border:
                _published_markers(axis, published, measure)
            axis.set(xlim=(0, 0.6), ylabel=label, title=f"holes {title}")
            if measure == "l1":
                axis.set_ylim(bottom=0)
    for axis in grid[-1]:
        axis.set_xlabel("hole ratio")
    _evaluation_legend(figure, *grid[-1][0].get_legend_handles_labels())
    return figure


def _evaluation_legend(figure, handles, names) -> None:
    """Below the panels, in columns of three: methods, then the published figures in a column of their own."""
    methods = [(h, n) for h, n in zip(handles, names, strict=True) if h.get_linestyle() != "None"]
    published = [(h, n) for h, n in zip(handles, names, strict=True) if h.get_linestyle() == "None"]
    blank = [(Line2D([], [], linestyle="none"), "")] * (-len(methods) % 3)
    entries = methods + blank + published
    figure.legend(*zip(*entries, strict=True), loc="outside lower center", ncols=math.ceil(len(entries) / 3))


def _method_line(axis, method, line, measure) -> None:
    middle, mean = line["hole_ratio"], line[measure]
    error = (line[f"{measure}_std"] / line["n"] ** 0.5).fillna(0)
    style = {"color": METHODS[method], "zorder": 3 if method == "pconv" else 2}
    axis.plot(middle, mean, marker="o", markersize=4, label=_method_title(method), **style)
    axis.fill_between(middle, mean - error, mean + error, alpha=0.13, linewidth=0, **style)


def _published_markers(axis, published, measure) -> None:
    for marker, (who, points) in zip("s^D", published.groupby("who", sort=False), strict=True):
        style = {"linestyle": "none", "markerfacecolor": "none", "color": "0.45", "markersize": 7}
        label = f"{who}, Places2 (another data set)"
        axis.plot(points["hole_ratio"], points[measure], marker=marker, label=label, zorder=4, **style)


def evaluation_pictures(crops, comps) -> Figure:
    """A row per crop: masked, each baseline, the network, the truth. comps: method -> (N, 3, H, W), N crops."""
    order = sorted(comps, key=lambda method: method == "pconv")  # the network last, beside the truth
    rows = [[masked(c.gt, c.mask), *(comps[method][i] for method in order), c.gt] for i, c in enumerate(crops)]
    return picture_grid(rows, ["masked", *map(_method_title, order), "truth"], [c.bin for c in crops])


def evaluation_cases(cases, crops, comps) -> Figure:
    """A row per case of pconv.evaluate.best_and_worst: masked, the best baseline, the network, the truth.

    crops and comps (method -> (N, 3, H, W)) belong to the cases, one each.
    """
    rows, labels = [], []
    for i, case in enumerate(cases.itertuples()):
        crop = crops[i]
        rows.append([masked(crop.gt, crop.mask), comps[case.baseline][i], comps["pconv"][i], crop.gt])
        labels.append(
            f"{Path(case.photograph).stem}, hole ratio {case.hole_ratio:.2f}\n{case.baseline} {case.theirs:.1f} dB\n"
            f"pconv {case.ours:.1f} dB: {case.gain:+.1f} dB"
        )
    return picture_grid(rows, ["masked", "best baseline", _method_title("pconv"), "truth"], labels, cell=1.7)


def _method_title(method: str) -> str:
    return "pconv (ours)" if method == "pconv" else method


# 02-partial-convolution


def gallery(pictures, titles, columns=5, cell=2.1) -> Figure:
    """Pictures in rows of `columns`, each below its own title; `cell` is a side in inches."""
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(columns * cell, rows * (cell + 0.45)), layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (picture, title) in zip(axes, zip(pictures, titles, strict=True), strict=False):
        axis.imshow(to_picture(picture))
        axis.set_title(title)
    return figure


def mask_picture(mask) -> np.ndarray:
    """A mask (1, H, W) alone: valid pixels in light grey, the hole in its colour."""
    return masked(mask.new_full((3, *mask.shape[1:]), 0.92), mask)


def shrinking(closed_by, ratios: dict[str, list[float]]) -> Figure:
    """How a hole closes: a map (H, W) of the layer that first sees each pixel, and the hole ratio after each layer."""
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


# 06-compare


def metric_against_parameter(changes, results) -> Figure:
    """A row per metric (columns of `results`), a column per changed parameter, a labelled point per experiment."""
    metrics = [column for column in results if not column.startswith("over")]
    figure = Figure(figsize=(0.6 + 3.4 * len(changes.columns), 2.3 * len(metrics)))
    axes = figure.subplots(len(metrics), len(changes.columns), squeeze=False, sharey="row", sharex="col")
    for row, metric in zip(axes, metrics, strict=True):
        for axis, parameter in zip(row, changes, strict=True):
            values = changes[parameter]
            levels = sorted(set(values), key=lambda v: (isinstance(v, str), v))
            for i, (name, value) in enumerate(values.items()):
                point = (levels.index(value), results.loc[name, metric])
                axis.plot(*point, "o", color=COLOURS[i % len(COLOURS)], label=name)
                if i == 0:
                    axis.plot(*point, "o", markersize=12, fillstyle="none", color="black")
            names = [f"{level:g}" if isinstance(level, float) else level for level in levels]
            axis.set_xticks(range(len(levels)), names)
            axis.set_xlim(-0.5, len(levels) - 0.5)
        row[0].set_ylabel(metric)
    for axis, parameter in zip(axes[-1], changes, strict=True):
        axis.set_xlabel(parameter)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=len(changes))
    return figure


def experiment_rows(rows) -> Figure:
    """Named rows of pixels, (H, W, 3) uint8 each, one above the other."""
    width, height = 8, 8 * next(iter(rows.values())).shape[0] / next(iter(rows.values())).shape[1]
    figure = Figure(figsize=(width + 0.11 * max(map(len, rows)), 1.03 * height * len(rows)))
    for axis, (name, pixels) in zip(np.atleast_1d(figure.subplots(len(rows), 1)), rows.items(), strict=True):
        axis.imshow(pixels)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


# 01-masks


def hole_ratios(ratios: dict, edges) -> Figure:
    """How often each hole ratio is drawn, one panel per generator; each bin between `edges` tells its share."""
    figure = Figure(figsize=(8.5, 2.3 * len(ratios) + 0.4))
    axes = figure.subplots(len(ratios), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, values), colour in zip(axes, ratios.items(), (COLOURS[6], COLOURS[0]), strict=False):
        axis.hist(values, np.arange(0, 1.01, 0.02), weights=np.full(len(values), 100 / len(values)), color=colour)
        axis.margins(y=0.3)
        axis.set(title=name, ylabel="masks, %", xlim=(0, 0.65))
        axis.set_xticks(edges)
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            share = ((values > low) & (values <= high)).mean()
            axis.text((low + high) / 2, 0.9, f"{share:.1%}", ha="center", transform=axis.get_xaxis_transform())
    axes[-1].set_xlabel("hole ratio; grid lines are the edges of the paper's bins")
    return figure


def dilation(widths, pictures, ratios: dict) -> Figure:
    """One hole under growing kernels above, and the hole ratio against the kernel's width for several holes below."""
    figure = Figure(figsize=(max(8, 2.0 * len(widths)), 5.4))
    upper, lower = figure.subfigures(2, 1, height_ratios=(1, 1.3))
    for axis, width, picture in zip(upper.subplots(1, len(widths)), widths, pictures, strict=True):
        axis.imshow(to_picture(picture))
        axis.set_axis_off()
        axis.set_title(f"{width} px" if width > 1 else "as drawn")
    axis = lower.subplots()
    for name, values in ratios.items():
        axis.plot(widths, values, marker="o", label=name)
    axis.set(xlabel="width of the square kernel, px", ylabel="hole ratio", ylim=(0, 1), xticks=widths)
    axis.axhline(0.6, color="0.4", linestyle=":", label="upper end of the last bin")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="as drawn")
    return figure


def hole_frequency(shares: dict) -> Figure:
    """Maps (H, W) of how often each pixel is hole, on one colour scale."""
    figure = Figure(figsize=(3.4 * len(shares) + 1, 3.6))
    axes = figure.subplots(1, len(shares))
    highest = max(share.max() for share in shares.values())
    for axis, (name, share) in zip(axes, shares.items(), strict=True):
        shown = axis.imshow(100 * share, cmap="viridis", vmin=0, vmax=100 * highest)
        axis.set(title=name, xticks=[], yticks=[])
        axis.grid(False)
    figure.colorbar(shown, ax=axes, label="hole in % of the masks", shrink=0.85)
    return figure


# 03-unet


def valid_shares(tables: dict) -> Figure:
    """Share of valid pixels in percent, hole-ratio bins x encoder levels, one panel per table."""
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
    """Weighted terms and PSNR in the hole over the steps; from step `switch` on all terms are trained on."""
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
    """Weighted terms, one panel per source of VGG: groups of bars are terms, bars of a group the moments (rows)."""
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
