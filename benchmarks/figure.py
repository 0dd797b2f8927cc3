"""Draw the ratios in reports/benchmarks.json as one figure, reports/benchmarks.png."""

from __future__ import annotations

import json
from typing import NamedTuple

from common import RESULTS
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pconv.figures import COLOURS, WIDTH, encode
from pconv.project import project_root

PANELS = {
    "less": "time and memory over the reference: less is better",
    "more": "speed over the reference: more is better",
}
KINDS = {  # whether a ratio has an aim and meets it: marker and colour, which say the same
    "aim met": ("o", COLOURS[1]),
    "aim missed": ("X", COLOURS[0]),
    "another implementation, no aim": ("|", "0.35"),
}
ROW = 0.3  # inches


class Ratio(NamedTuple):
    """A measured ratio to a reference, and what it should be: `aim` at most, or at least where more is better."""

    name: str
    better: str  # "less" or "more"
    value: float
    aim: float | None

    @property
    def kind(self) -> str:
        """The key of KINDS. A value counts as the figure prints it, with two digits."""
        if self.aim is None:
            return "another implementation, no aim"
        value = round(self.value, 2)
        return "aim met" if (value <= self.aim if self.better == "less" else value >= self.aim) else "aim missed"


def ratios(results: dict) -> list[Ratio]:
    """List the ratios of every section of the results."""
    found = []
    for section, values in results.items():
        kind, _, where = section.partition(", ")
        place = where.removeprefix("cpu, ").removeprefix("float32, ")
        if kind == "network":
            for layout in ("NCHW", "channels_last"):
                for part, aim in (("layer", 1.05), ("network", 1.06)):
                    for who, ratio in values[layout][part].items():
                        wanted = aim if who == "ours" else None
                        found.append(Ratio(f"{part}, {who}: time, {place}, {layout}", "less", ratio, wanted))
            for who, ratio in values["memory"].items():
                wanted = 1.1 if who == "ours" else None
                found.append(Ratio(f"network, {who}: peak memory, {place}", "less", ratio, wanted))
        elif kind == "step":
            aim = 2 if where.startswith("cpu") else 3
            found.append(Ratio(f"training step, {place}", "more", values["times the straightforward step"], aim))
        elif kind == "loading":
            found.append(Ratio(f"training from files, {place}", "more", values["files to memory"], 0.95))
        elif kind == "masks":
            for size in (s for s in values if s.endswith("px")):
                if ratio := values[size]["draw_hole"].get("times_the_reference"):
                    found.append(Ratio(f"drawing masks, {size}", "more", ratio, 1))
    return found


def draw(results: dict) -> Figure:
    """Draw a panel where less is better and one where more is, a line per ratio, from 1 to its value."""
    found = ratios(results)
    parts = {better: [ratio for ratio in found if ratio.better == better] for better in PANELS}
    parts = {better: rows for better, rows in parts.items() if rows}
    heights = [ROW * len(rows) + 0.7 for rows in parts.values()]
    figure = Figure(figsize=(WIDTH + 1.4, sum(heights) + 0.6))
    axes = figure.subplots(len(parts), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (better, rows) in zip(axes, parts.items(), strict=True):
        _panel(axis, rows)
        axis.set_title(PANELS[better], loc="right")
    axes[-1].set_xlabel("times the reference")
    handles = [Line2D([], [], marker=marker, color=colour, linestyle="") for marker, colour in KINDS.values()]
    figure.legend(handles, KINDS, loc="outside upper center", ncols=3)
    return figure


def _panel(axis, rows: list[Ratio]) -> None:
    for y, row in enumerate(rows):
        marker, colour = KINDS[row.kind]
        axis.plot([1, row.value], [y, y], color=colour, linewidth=2.5)
        axis.plot(row.value, y, marker, color=colour, markersize=9, markeredgewidth=2 if marker == "|" else 0)
        sign = "at most" if row.better == "less" else "at least"
        wanted = "" if row.aim is None else f" ({sign} {row.aim:g}{'' if row.kind == 'aim met' else ': missed'})"
        axis.text(max(row.value, 1), y, f"   {row.value:.2f}{wanted}", va="center", fontsize=11)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=11)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(0.8, 1.45 * max(row.value for row in rows))
    axis.grid(axis="y", visible=False)


if __name__ == "__main__":
    path = project_root() / RESULTS
    path.with_suffix(".png").write_bytes(encode(draw(json.loads(path.read_text()))))
