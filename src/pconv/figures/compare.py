"""Figures of notebook 06: metric against parameter, and a row of pictures per experiment."""

from __future__ import annotations

from matplotlib.figure import Figure

from pconv.figures import COLOURS, gallery


def metric_against_parameter(changes, results) -> Figure:
    """A row per metric (columns of `results`), a column per changed parameter, a labelled point per experiment."""
    metrics = [column for column in results if not column.startswith("over")]
    figure = Figure(figsize=(2.6 + 3.4 * len(changes.columns), 2.3 * len(metrics)))
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
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right upper")
    return figure


def experiment_rows(rows) -> Figure:
    """Named rows of pixels, (H, W, 3) uint8 each, one above the other."""
    return gallery(list(rows.values()), list(rows), columns=1)
