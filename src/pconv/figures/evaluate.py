"""Figures of notebook 05: measures against hole ratio, and pictures."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from pconv.figures import METHODS, masked, picture_grid

NETWORKS = ("pconv", "published")  # methods that are not baselines


def evaluation_curves(rows, measures, borders) -> Figure:
    """Draw measures against hole ratio: a line per method, its band one standard error wide to either side.

    rows: pconv.studies.evaluate.plot_rows (method, hole_ratio, touches_border, n, each measure and its _std). measures:
    a label for each, one column of panels. borders: a title for touches_border True and False, one row of panels each.
    """
    figure = Figure(figsize=(3.5 * len(measures), 7.2))
    grid = figure.subplots(len(borders), len(measures), sharex=True, sharey="col", squeeze=False)
    for panels, (touches, title) in zip(grid, borders.items(), strict=True):
        for axis, (measure, label) in zip(panels, measures.items(), strict=True):
            for method, line in rows[rows["touches_border"] == touches].groupby("method", sort=False):
                _method_line(axis, method, line, measure)
            axis.set(xlim=(0, max(0.6, *rows["hole_ratio"])), ylabel=label, title=f"holes {title}")
            if measure in ("l1", "perceptual"):
                axis.set_ylim(bottom=0)
    for axis in grid[-1]:
        axis.set_xlabel("hole ratio")
    handles, names = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return figure


def _method_line(axis, method, line, measure) -> None:
    middle, mean = line["hole_ratio"], line[measure]
    error = (line[f"{measure}_std"] / line["n"] ** 0.5).fillna(0)
    style = {"color": METHODS[method], "zorder": 3 if method in NETWORKS else 2}
    axis.plot(middle, mean, marker="o", markersize=4, label=_method_title(method), **style)
    axis.fill_between(middle, mean - error, mean + error, alpha=0.13, linewidth=0, **style)


def evaluation_pictures(crops, comps) -> Figure:
    """Draw a row per crop: masked, baselines, networks, the truth. comps: method -> (N, 3, H, W), N crops."""
    order = sorted(comps, key=lambda method: method in NETWORKS)  # networks last, beside the truth
    rows = [[masked(c.gt, c.mask), *(comps[method][i] for method in order), c.gt] for i, c in enumerate(crops)]
    return picture_grid(rows, ["masked", *map(_method_title, order), "truth"], [c.bin for c in crops])


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
