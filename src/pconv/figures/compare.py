"""Figures of notebook 06: metric against parameter, and a row of pictures per experiment."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.figure import Figure

from pconv.figures import COLOURS, gallery

COLUMNS = 4  # panels side by side
SLANTED = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
MARKERS = "os^Dv"  # one after the other, once all colours are used


def metric_against_parameter(changes: pd.DataFrame, results: pd.DataFrame) -> Figure:
    """Draw a row of panels per metric, a column per changed parameter and a point per experiment; the first is ringed.

    changes: parameters as text, results: metrics; both with a row per experiment. More than COLUMNS parameters continue
    below. If no parameter changed, the panels show the experiments in turn. NaN draws no point.
    """
    if changes.columns.empty:
        changes = pd.DataFrame({"experiment": changes.index}, index=changes.index)
    metrics = [column for column in results if not column.startswith("over")]
    parts = [changes.iloc[:, i : i + COLUMNS] for i in range(0, len(changes.columns), COLUMNS)]
    width = 3.2 + 3.4 * min(COLUMNS, len(changes.columns))
    names = [textwrap.fill(str(name), 24) for name in changes.index]
    height = max(2.4 * len(metrics) * len(parts), 0.5 + 0.24 * sum(name.count("\n") + 1 for name in names))
    figure = Figure(figsize=(width, height))
    for block, part in zip(figure.subfigures(len(parts), 1, squeeze=False)[:, 0], parts, strict=True):
        grid = block.subplots(len(metrics), len(parts[0].columns), squeeze=False, sharey="row", sharex="col")
        for row, metric in zip(grid, metrics, strict=True):
            row[0].set_ylabel(metric)
            for axis, parameter in zip(row, part, strict=False):
                _points(axis, part[parameter], results[metric])
        for axis, parameter in zip(grid[-1], part, strict=False):
            axis.set_xlabel(textwrap.fill(parameter, 30))
        for axis in grid[:, len(part.columns) :].flat:
            axis.remove()
    points = [line for line in grid[0][0].lines if line.get_fillstyle() != "none"]  # without the ring
    figure.legend(points, names, loc="outside right upper")
    return figure


def _points(axis, values: pd.Series, results: pd.Series) -> None:
    """Draw results against values (text, one place for each different one) into one panel."""
    levels = sorted(values.unique(), key=_numbers_first)
    for i, (value, result) in enumerate(zip(values, results, strict=True)):
        x, marker = levels.index(value), MARKERS[i // len(COLOURS) % len(MARKERS)]
        axis.plot(x, result, marker, color=COLOURS[i % len(COLOURS)])
        if i == 0:
            axis.plot(x, result, "o", markersize=12, fillstyle="none", color="black")
    texts = [level if len(level) <= 24 else f"...{level[-21:]}" for level in levels]
    long = max(map(len, texts)) > 24 / len(texts)  # would run into each other side by side
    axis.set_xticks(range(len(levels)), texts, **(SLANTED if long else {}))
    axis.set_xlim(-0.5, len(levels) - 0.5)


def _numbers_first(level: str) -> tuple[bool, float]:
    """Order numbers by size and leave other values, after them, in the order in which they came."""
    try:
        return False, float(level)
    except ValueError:
        return True, 0.0


def experiment_rows(rows) -> Figure:
    """Draw titled rows of pixels, (title, (H, W, 3) uint8) each, one above the other."""
    titles, pictures = zip(*rows, strict=True)
    return gallery(pictures, titles, columns=1)
