"""Figures of notebook 06: metric against parameter, and a row of pictures per experiment."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pconv.figures import COLOURS, draw_tiles

LESS = ("L1, %", "perceptual distance")  # metrics of which less is better
ROW, HEAD = 0.3, 0.55  # inches for a run and for a panel's title and margins
LINE = 26  # characters of a run's name and value in one line


def metric_against_parameter(changes: pd.DataFrame, results: pd.DataFrame) -> Figure:
    """Draw a row of panels per parameter that differs, a column per metric, and a point for each run, by its name.

    changes: parameters as text, results: metrics; both with a row per run. A parameter's panels show the first run,
    ringed, and those that differ from it in that parameter. Parameters that always change together share their panels.
    All panels of a metric have one scale. NaN draws no point.
    """
    metrics = [column for column in results if not column.startswith("over")]
    parts = [(names, _lines(changes, names)) for names in _groups(changes)]
    heights = [HEAD + ROW * sum(name.count("\n") + 1 for name in lines.values()) for _, lines in parts]
    figure = Figure(figsize=(8.4, sum(heights) + 0.6))
    grid = figure.subplots(len(parts), len(metrics), squeeze=False, sharex="col", sharey="row", height_ratios=heights)
    for panels, (names, lines) in zip(grid, parts, strict=True):
        for axis, metric in zip(panels, metrics, strict=True):
            _points(axis, results[metric].iloc[list(lines)], results[metric].iloc[0])
        panels[0].set_yticks(range(len(lines)), lines.values())
        panels[0].set_ylim(len(lines) - 0.4, -0.6)  # the first run above
        title = textwrap.fill(", ".join(names) or "no parameter differs", 60)
        panels[0].set_title(title, loc="left", fontweight="bold").set_in_layout(False)  # it may be wider than a panel
    for axis, metric in zip(grid[-1], metrics, strict=True):
        axis.set_xlabel(f"{textwrap.fill(metric, 12)}\n({'less' if metric in LESS else 'more'} is\nbetter)")
        axis.margins(x=0.25)
        low, high = axis.get_xlim()
        ticks = [tick for tick in MaxNLocator(3).tick_values(low, high) if low <= tick <= high]
        ends = [ticks[0], ticks[-1]] if ticks[-1] - ticks[0] > 0.65 * (high - low) else ticks[:1]
        axis.set_xticks(ends, [f"{tick:g}" for tick in ends])  # more would run into each other
    return figure


def _groups(changes: pd.DataFrame) -> list[list[str]]:
    """Return the parameters, those together that split the runs in the same way: they cannot be told apart."""
    found: dict[tuple, list[str]] = {}
    for name in changes:
        found.setdefault(tuple(pd.factorize(changes[name])[0]), []).append(name)
    return list(found.values()) or [[]]


def _lines(changes: pd.DataFrame, names: Sequence[str]) -> dict[int, str]:
    """Return for each run that a panel shows, by its place in the table, its name and its values; the first leads.

    Where a value is a number, the others follow in order of size.
    """
    values = changes[list(names)]
    differs = (values != values.iloc[0]).any(axis=1) if names else pd.Series(True, changes.index)
    others = [place for place in range(1, len(changes)) if differs.iloc[place]]
    if names:
        others.sort(key=lambda place: _numbers_first(values.iloc[place, 0]))
    return {place: _name(changes.index[place], values.iloc[place]) for place in (0, *others)}


def _name(run: str, values: pd.Series) -> str:
    told = ", ".join(value if len(value) <= 24 else f"...{value[-21:]}" for value in values)
    return textwrap.fill(f"{run}: {told}" if told else str(run), LINE)


def _numbers_first(level: str) -> tuple[bool, float]:
    """Order numbers by size and leave other values, after them, in the order in which they came."""
    try:
        return False, float(level)
    except ValueError:
        return True, 0.0


def _points(axis, values: pd.Series, first: float) -> None:
    """Draw the values of some runs, the first of them ringed, and a line at its value."""
    axis.plot(values, range(len(values)), "o", color=COLOURS[1])
    axis.plot(values.iloc[:1], [0], "o", markersize=12, fillstyle="none", color="black")
    if pd.notna(first):
        axis.axvline(first, color="0.5", linestyle=":", linewidth=1.2)
    axis.grid(axis="y", visible=False)


def experiment_rows(rows) -> Figure:
    """Draw rows of pictures, (name, pictures (H, W, 3) uint8, a title for each) each, one below the other."""
    names, pictures, titles = zip(*rows, strict=True)
    return draw_tiles(pictures, titles, [textwrap.fill(name, 18) for name in names], 128)
