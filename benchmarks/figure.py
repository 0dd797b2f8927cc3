"""Draw the ratios in reports/benchmarks.json as one figure, reports/benchmarks.png."""

from __future__ import annotations

import json

from common import RESULTS
from matplotlib.figure import Figure

from pconv.figures import METHODS, encode
from pconv.project import project_root


def rows(results: dict) -> list[tuple[str, float, float, str]]:
    """List (what, ratio, target, "most" or "least") for every section of the results."""
    found = []
    for section, values in results.items():
        kind, _, where = section.partition(", ")
        if kind == "network":
            for layout in ("NCHW", "channels_last"):
                for part, aim in (("layer", 1.05), ("network", 1.06)):
                    for who, ratio in values[layout][part].items():
                        name = f"{part} of {who}, time over nn.Conv2d's\n({where}, {layout})"
                        found.append((name, ratio, aim if who == "ours" else None, "most"))
            for who, ratio in values["memory"].items():
                aim = 1.1 if who == "ours" else None
                found.append((f"network of {who}, peak memory over nn.Conv2d's\n({where})", ratio, aim, "most"))
        elif kind == "step":
            aim = 2 if where.startswith("cpu") else 3
            found.append(
                (
                    f"training step, speed over straightforward\n({where})",
                    values["times the straightforward step"],
                    aim,
                    "least",
                )
            )
        elif kind == "loading":
            found.append((f"training on files, speed over memory\n({where})", values["files to memory"], 0.95, "least"))
        elif kind == "masks":
            for size in (s for s in values if s.endswith("px")):
                ratio = values[size]["draw_hole"].get("times_the_reference")
                if ratio:
                    found.append((f"drawing masks, speed over PConv-Keras'\n({size})", ratio, 1, "least"))
    return found


def draw(results: dict) -> Figure:
    found = rows(results)[::-1]
    figure = Figure(figsize=(9.5, 0.5 * len(found) + 1))
    axis = figure.subplots()
    colours = [METHODS["telea"] if aim else METHODS["mean fill"] for _, _, aim, _ in found]
    axis.barh(range(len(found)), [ratio for _, ratio, _, _ in found], color=colours, height=0.6)
    for y, (_, ratio, aim, side) in enumerate(found):
        wanted = f"  (aim: at {side} {aim:g})" if aim else ""
        axis.text(max(ratio, 1), y, f" {ratio:.2f}{wanted}", va="center", fontsize=9)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_yticks(range(len(found)), [name for name, *_ in found], fontsize=8)
    axis.set_ylim(-0.6, len(found) - 0.4)
    axis.set_xlim(0, 1.35 * max(ratio for _, ratio, _, _ in found))
    axis.set_xlabel("times the reference")
    axis.grid(axis="y", visible=False)
    return figure


if __name__ == "__main__":
    path = project_root() / RESULTS
    path.with_suffix(".png").write_bytes(encode(draw(json.loads(path.read_text()))))
