"""The one style of all figures, and what several notebooks draw: data in, a matplotlib Figure out.

Each notebook has a module of its own here, so that a change to its figures makes no other stage run again.

Pictures are drawn pixel by pixel (no smoothing), and holes have one colour throughout.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from IPython.display import Image, display
from matplotlib.figure import Figure

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
