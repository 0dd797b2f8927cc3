"""Figures of notebook 07: differences with their intervals, and the pictures of claim 4."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pconv.figures import COLOURS, HOLE, WIDTH, gallery
from pconv.studies.bootstrap import ALL, FAILS, HOLDS, OPEN, UNNAMED

STYLES = {  # colour and marker of a difference that speaks for a claim, against it, and for neither
    1: (COLOURS[1], "o"),
    -1: (COLOURS[0], "s"),
    0: (COLOURS[6], "D"),
}
ROW = 0.29  # inches


def intervals(parts: Sequence[tuple[str, pd.DataFrame]], unit: str) -> Figure:
    """Draw differences with their intervals, a panel for each titled table, a line for each row.

    Tables have the columns comparison, holes, mean, low, high, seeds_low, seeds_high and speaks; a thin line spans the
    seeds, and `speaks` chooses the style.
    unit: what the differences are, below the last panel.
    """
    heights = [0.75 + ROW * len(table) for _, table in parts]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.3))
    blocks = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=heights)[:, 0]
    for block, (title, table) in zip(blocks, parts, strict=True):
        block.suptitle(textwrap.fill(title, 80), x=0.01, ha="left", fontsize=12)
        _panel(block.subplots(), table)
    figure.supxlabel(f"difference, {unit} (thick: 95 % interval, thin: the seeds)", fontsize=12)
    return figure


def verdict_examples() -> Figure:
    """Draw three differences that were made up, one for each verdict."""
    spans = {HOLDS: (0.5, 0.2, 0.8, 1), OPEN: (0.1, -0.2, 0.4, 0), FAILS: (-0.4, -0.7, -0.1, -1)}
    rows = [
        {"comparison": verdict, "holes": ALL, "mean": mean, "low": low, "high": high, "speaks": speaks}
        | {"seeds_low": mean - 0.2, "seeds_high": mean + 0.2}
        for verdict, (mean, low, high, speaks) in spans.items()
    ]
    return intervals([("made up", pd.DataFrame(rows))], "dB")


def _panel(axis, table: pd.DataFrame) -> None:
    places = np.arange(len(table))[::-1]
    for y, row in zip(places, table.itertuples(), strict=True):
        colour, marker = STYLES[row.speaks]
        axis.plot([row.seeds_low, row.seeds_high], [y, y], color=colour, linewidth=0.8)
        axis.plot([row.low, row.high], [y, y], color=colour, linewidth=3.2, solid_capstyle="butt")
        axis.plot(row.mean, y, marker, color=colour, markersize=6.5, markeredgecolor="white")
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(places, [_label(row) for row in table.itertuples()], fontsize=11)
    axis.set_ylim(-0.7, len(table) - 0.3)
    axis.grid(axis="y", visible=False)


def _label(row) -> str:
    named = row.holes in UNNAMED or row.holes in row.comparison
    return row.comparison if named else f"{row.comparison}, {row.holes}"


def picture_rows(truth: np.ndarray, holes: np.ndarray, rows: dict[str, np.ndarray]) -> Figure:
    """Draw strips of pictures below each other: the truth with its holes painted, each result, the truth.

    All are (H, W, 3) uint8; holes are white where something is missing.
    """
    painted = np.where(holes > 127, np.rint(255 * np.array(HOLE)).astype(np.uint8), truth)
    titles, pictures = ["with holes", *rows, "truth"], [painted, *rows.values(), truth]
    return gallery(pictures, titles, columns=1, cell=128)
