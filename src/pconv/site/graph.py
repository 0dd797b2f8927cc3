"""The pipeline's graph, drawn from dvc.yaml as an SVG with links to the notebooks that its stages run."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from ruamel.yaml import YAML

BOX, GAP = (170, 56), (26, 54)  # width and height of a stage's box, and the space between boxes, px


def read_stages(root: Path) -> dict[str, dict]:
    """Return the stages of dvc.yaml by name."""
    return YAML(typ="safe").load(root / "dvc.yaml")["stages"]


def paths(entries: list) -> list[str]:
    """Return the paths of a stage's deps or outs, which may carry options."""
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def made(stage: dict) -> list[str]:
    """Return what a stage makes."""
    return paths([*stage.get("outs", []), *stage.get("metrics", [])])


def edges(stages: dict[str, dict]) -> list[tuple[str, str]]:
    """Return the pairs (first, then) of stages of which the second reads what the first makes."""
    return [
        (first, then)
        for first, maker in stages.items()
        for then, reader in stages.items()
        if any(_within(dep, out) for dep in paths(reader.get("deps", [])) for out in made(maker))
    ]


def _within(path: str, folder: str) -> bool:
    """Whether one of two paths lies in the other, or is it."""
    return path == folder or path.startswith(f"{folder}/") or folder.startswith(f"{path}/")


def levels(names: list[str], pairs: list[tuple[str, str]]) -> dict[str, int]:
    """Return how many stages, at most, have to run before each stage."""
    found = dict.fromkeys(names, 0)
    for _ in names:  # no way through the graph is longer
        for first, then in pairs:
            found[then] = max(found[then], found[first] + 1)
    return found


def direct(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the pairs that no detour over a third stage implies: these are drawn."""
    reach = set(pairs)
    for _ in pairs:
        reach |= {(a, d) for a, b in reach for c, d in reach if b == c}
    middles = {(a, d) for a, b in reach for c, d in reach if b == c}
    return [pair for pair in pairs if pair not in middles]


def draw_pipeline(root: Path, pages: list[str]) -> str:
    """Return the graph as SVG. A stage links to the page of the notebook that it writes, if `pages` names it."""
    stages = read_stages(root)
    pairs = edges(stages)
    level = levels(list(stages), pairs)
    rows = [[name for name in stages if level[name] == i] for i in range(max(level.values()) + 1)]
    width = max(map(len, rows)) * (BOX[0] + GAP[0]) + GAP[0]
    height = len(rows) * (BOX[1] + GAP[1]) + 10
    places = {
        name: ((width - len(row) * (BOX[0] + GAP[0]) + GAP[0]) / 2 + i * (BOX[0] + GAP[0]), 5 + y * (BOX[1] + GAP[1]))
        for y, row in enumerate(rows)
        for i, name in enumerate(row)
    }
    lines = [_arrow(places[first], places[then]) for first, then in direct(pairs)]
    boxes = [_box(name, stages[name], places[name], pages) for name in stages]
    words = "; ".join(f"{first} before {then}" for first, then in direct(pairs))
    return (
        f'<svg class="graph" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(words)}">'
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L10 5L0 10z" fill="currentColor"/></marker></defs>{"".join(lines + boxes)}</svg>'
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1, x2, y2 = start[0] + BOX[0] / 2, start[1] + BOX[1], end[0] + BOX[0] / 2, end[1]
    middle = (y1 + y2) / 2
    return f'<path d="M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}" class="edge" marker-end="url(#tip)"/>'


def _box(name: str, stage: dict, place: tuple[float, float], pages: list[str]) -> str:
    (x, y), (width, height) = place, BOX
    notebook = re.search(r"([\w-]+)\.ipynb\s*(-p|$)", stage["cmd"])
    page = notebook[1] if notebook else None
    text = f'<text x="{x + width / 2}" y="{y + 23}" class="name">{escape(name)}</text>'
    runs = page or stage["cmd"].rpartition("python -m ")[2]
    text += f'<text x="{x + width / 2}" y="{y + 42}">{escape(runs)}</text>'
    box = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>{text}'
    return f'<a href="{page}.html">{box}</a>' if page in pages else box
