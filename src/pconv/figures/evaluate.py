"""Figures of notebook 05: measures against hole ratio, and pictures."""

from __future__ import annotations

import textwrap
from pathlib import Path

from matplotlib.figure import Figure

from pconv.figures import METHODS, WIDTH, gallery, masked, picture_grid

NETWORKS = ("pconv", "published")  # methods that are not baselines
LESS = ("l1", "perceptual")  # measures of which less is better
MARKERS = dict(zip(METHODS, "oDxs^vP", strict=True))  # the same in shape, for whoever sees no colours


def evaluation_curves(rows, measures, borders) -> Figure:
    """Draw measures against hole ratio: a line per method, its band one standard error wide to either side.

    rows: pconv.studies.evaluate.plot_rows (method, hole_ratio, touches_border, n, each measure and its _std). measures:
    a label for each, one row of panels. borders: a title for touches_border True and False, a column of panels each.
    Panels side by side have one scale.
    """
    figure = Figure(figsize=(WIDTH, 2.5 * len(measures) + 0.9))
    grid = figure.subplots(len(measures), len(borders), sharex=True, sharey="row", squeeze=False)
    for panels, (measure, label) in zip(grid, measures.items(), strict=True):
        for axis, touches in zip(panels, borders, strict=True):
            for method, line in rows[rows["touches_border"] == touches].groupby("method", sort=False):
                _method_line(axis, method, line, measure)
            axis.set(xlim=(0, max(0.6, *rows["hole_ratio"])))
        panels[0].set_ylabel(f"{label}\n({'less' if measure in LESS else 'more'} is better)")
        if measure in LESS:
            panels[0].set_ylim(bottom=0)
    for axis, title in zip(grid[0], borders.values(), strict=True):
        axis.set_title(f"holes {title}")
    for axis in grid[-1]:
        axis.set_xlabel("hole ratio")
    handles, names = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure


def _method_line(axis, method, line, measure) -> None:
    middle, mean = line["hole_ratio"], line[measure]
    error = (line[f"{measure}_std"] / line["n"] ** 0.5).fillna(0)
    style = {"color": METHODS[method], "zorder": 3 if method in NETWORKS else 2}
    axis.plot(middle, mean, marker=MARKERS[method], markersize=5, label=_method_title(method), **style)
    axis.fill_between(middle, mean - error, mean + error, alpha=0.13, linewidth=0, **style)


def protocol(crop, comp) -> Figure:
    """Draw how a crop is measured: the truth, what a method is given, its composite (3, H, W), four times the error."""
    pictures = [crop.gt, masked(crop.gt, crop.mask), comp, 4 * (comp - crop.gt).abs()]
    return gallery(pictures, ["I_gt", "given", "I_comp", "error x 4"], columns=4)


def evaluation_pictures(crops, comps) -> Figure:
    """Draw a row per crop: masked, baselines, networks, the truth. comps: method -> (N, 3, H, W), N crops."""
    order = sorted(comps, key=lambda method: method in NETWORKS)  # networks last, beside the truth
    rows = [[masked(c.gt, c.mask), *(comps[method][i] for method in order), c.gt] for i, c in enumerate(crops)]
    titles = ["masked", *(textwrap.fill(_method_title(method), 10) for method in order), "truth"]
    return picture_grid(rows, titles, [c.bin for c in crops])


def evaluation_cases(cases, crops, comps) -> Figure:
    """Draw a row per case of studies.evaluate.best_and_worst: masked, the best baseline, networks, the truth.

    crops and comps (method -> (N, 3, H, W)) belong to the cases, one each.
    """
    networks = [method for method in comps if method in NETWORKS]
    rows, labels = [], []
    for i, case in enumerate(cases.itertuples()):
        crop = crops[i]
        filled = [comps[method][i] for method in (case.baseline, *networks)]
        rows.append([masked(crop.gt, crop.mask), *filled, crop.gt])
        labels.append(
            f"{Path(case.photograph).stem}, hole ratio {case.hole_ratio:.2f}\n{case.baseline} {case.theirs:.1f} dB\n"
            f"pconv {case.ours:.1f} dB: {case.gain:+.1f} dB"
        )
    return picture_grid(rows, ["masked", "best baseline", *map(_method_title, networks), "truth"], labels)


def _method_title(method: str) -> str:
    return "pconv (ours)" if method == "pconv" else method
