"""Irregular holes: drawing them, keeping them on disk, and the two conventions that must never be mixed up.

A hole is an array (H, W) of uint8 with 1 where pixels are missing; on disk it is a 1-bit PNG, white where pixels are
missing. A mask is a float tensor (1, H, W) with 1 where pixels are valid. `hole_to_mask` and `mask_to_hole` are the
only way from one to the other.

The shapes are those of PConv-Keras' generator: random lines, circles and elliptic arcs. Where it draws a random number
of them, `draw_hole` goes on until the hole has a given share of the picture, so that the paper's six bins of hole
ratios are filled evenly.
"""

from __future__ import annotations

import csv
import itertools
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pconv.params import Masks, Params, project_root
from pconv.progress import Progress

BINS = ((0.01, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6))  # a ratio r with low < r <= high
SPLITS = ("train", "val", "test")
LINE, CIRCLE, ELLIPSE = range(3)
CLOSE = 1 / 64  # draw_hole ends at most this share of the picture below the ratio that it aims at
PACE = 60  # shapes that cover about half of an empty picture
BLOCK = 50  # random numbers are drawn for this many shapes at once
MOST_SHAPES = 1000  # then draw_hole stops drawing and grows what is there


class MaskError(ValueError):
    """A mask or mask file that cannot be used; the message names it."""


class Recipe(NamedTuple):
    """What one mask of a split has to be."""

    low: float  # its hole ratio r: low < r <= high
    high: float
    border: int  # px kept clear along each edge
    touch: bool  # whether the hole must reach an edge


def bin_name(bounds: tuple[float, float]) -> str:
    """(0.1, 0.2) -> "0.1-0.2"."""
    return f"{bounds[0]:g}-{bounds[1]:g}"


def find_bin(ratio: float) -> str:
    """Name of the bin that a hole ratio falls into. Raises MaskError outside (0.01, 0.6]."""
    for low, high in BINS:
        if low < ratio <= high:
            return bin_name((low, high))
    raise MaskError(f"a hole ratio of {ratio:g} is outside the bins, which cover more than 0.01 and at most 0.6")


def border_width(size: int) -> int:
    """The paper's border constraint, 50 px at 512 px, for masks of `size` px."""
    return round(50 * size / 512)


def hole_rng(seed: int, split: str, index: int) -> np.random.Generator:
    """The generator of one mask: mask `index` of a split is the same however many others are drawn, in any order."""
    if split not in SPLITS:
        raise MaskError(f"no split {split!r}: masks are drawn for {', '.join(SPLITS)}")
    stream = int.from_bytes(b"hole")  # keeps holes apart from what else is drawn with the same seed
    return np.random.default_rng([seed, stream, SPLITS.index(split), index])


def draw_shapes(rng: np.random.Generator, size: int, count: int | None = None) -> np.ndarray:
    """PConv-Keras' kind of hole: (size, size) uint8, 1 = hole.

    `count` lines, `count` circles and `count` ellipses; by default 1 to 20 of each, as in PConv-Keras.
    """
    counts = rng.integers(1, 21, 3) if count is None else [count] * 3
    kinds = np.repeat((LINE, CIRCLE, ELLIPSE), counts).tolist()
    hole = np.zeros((size, size), np.uint8)
    for kind, shape in zip(kinds, _numbers(rng, size, len(kinds)), strict=True):
        _draw_shape(hole, [kind, *shape[1:]])
    return hole


def draw_hole(
    rng: np.random.Generator, size: int, low: float, high: float, border: int = 0, touch: bool = False
) -> np.ndarray:
    """A hole of shapes whose share r of the picture is low < r <= high: (size, size) uint8, 1 = hole.

    A ratio to aim at is drawn evenly from the range, then shapes until it is reached; what would go past it is undone,
    and smaller shapes follow. No hole pixel lies within `border` px of an edge; with `touch` at least one lies on an
    edge. Raises MaskError if no hole can be so.
    """
    if border < 0 or (touch and border):
        raise MaskError(f"border = {border}: at least 0, and 0 for a hole that touches the edge")
    inner = max(0, size - 2 * border)
    least, most = _pixels(low, size) + 1, min(_pixels(high, size), inner**2)
    if least > most:
        clear = f" with {border} px kept clear along each edge" if border else ""
        raise MaskError(f"no hole of {low:g} to {high:g} fits {size} x {size} px{clear}")
    target = int(rng.integers(least, most, endpoint=True))
    hole = _draw_until(rng, inner, max(least, target - int(CLOSE * size**2)), target, touch)
    return cv2.copyMakeBorder(hole, *[border] * 4, cv2.BORDER_CONSTANT, value=0) if border else hole


def _pixels(ratio: float, size: int) -> int:
    """The greatest number of pixels whose share of the picture is at most `ratio`."""
    return int(ratio * size**2 + 1e-6)


def _draw_until(rng: np.random.Generator, size: int, least: int, most: int, touch: bool) -> np.ndarray:
    """A hole of least to most pixels, (size, size) uint8.

    Counting pixels after every shape would take longer than drawing, so shapes come in batches that should cover about
    half of what is missing; in the end a batch is one shape, drawn smaller.
    """
    hole, before = np.zeros((size, size), np.uint8), np.empty((size, size), np.uint8)
    shapes, pace, count = _shapes(rng, size), PACE, 0
    while True:
        amount = pace * (most - count) / (size**2 - count)
        batch = list(itertools.islice(shapes, max(1, int(amount))))
        if not batch:
            return _grow(rng, hole, least, touch)
        if touch and not count:
            batch[0] = _from_edge(batch[0], size)
        np.copyto(before, hole)
        for shape in batch:
            _draw_shape(hole, shape if amount >= 1 else _shrink(shape, amount**0.5))
        drawn = cv2.countNonZero(hole)
        if least <= drawn <= most:
            return hole
        if drawn < least:
            count, pace = drawn, PACE
        else:  # undo the batch; the next one is half as large
            hole, before, pace = before, hole, pace / 2


def _shapes(rng: np.random.Generator, size: int) -> Iterator[list[int]]:
    """MOST_SHAPES random shapes."""
    for _ in range(MOST_SHAPES // BLOCK):
        yield from _numbers(rng, size, BLOCK)


def _numbers(rng: np.random.Generator, size: int, count: int) -> list[list[int]]:
    """What makes a shape, `count` times: kind, two points, a thickness, three angles in degrees.

    Ranges are PConv-Keras', but arcs are turned all the way round: up to 180 degrees, they would keep to the left.
    """
    lowest, choices = _ranges(size)
    return (lowest + rng.random((count, 9)) * choices).astype(int).tolist()


@lru_cache
def _ranges(size: int) -> np.ndarray:
    """The least value of each number of a shape, and how many values it has: (2, 9)."""
    thickest = max(1, int(0.06 * size))
    thinnest = min(3, thickest)
    numbers = (LINE, 3), *[(0, size)] * 4, (thinnest, thickest - thinnest + 1), (0, 360), (3, 178), (3, 178)
    return np.array(numbers).T


def _draw_shape(hole: np.ndarray, shape: list[int]) -> None:
    """Draw a line between two points, a disc, or an arc whose half axes are the second point."""
    kind, x, y, x2, y2, thickness, angle, start, end = shape
    if kind == LINE:
        cv2.line(hole, (x, y), (x2, y2), 1, thickness)
    elif kind == CIRCLE:
        cv2.circle(hole, (x, y), thickness, 1, cv2.FILLED)
    else:
        cv2.ellipse(hole, (x, y), (x2, y2), angle, start, end, 1, thickness)


def _shrink(shape: list[int], scale: float) -> list[int]:
    """The same shape, `scale` times as long and thick, its first point where it was."""
    kind, x, y, x2, y2, thickness, *angles = shape
    x0, y0 = (x, y) if kind == LINE else (0, 0)
    x2, y2 = x0 + int((x2 - x0) * scale), y0 + int((y2 - y0) * scale)
    return [kind, x, y, x2, y2, max(1, int(thickness * scale)), *angles]


def _from_edge(shape: list[int], size: int) -> list[int]:
    """A line from the edge nearest to the shape's first point, to its second point."""
    _, x, y, *rest = shape
    _, x, y = min((x, 0, y), (y, x, 0), (size - 1 - x, size - 1, y), (size - 1 - y, x, size - 1))
    return [LINE, x, y, *rest]


def _grow(rng: np.random.Generator, hole: np.ndarray, count: int, touch: bool) -> np.ndarray:
    """Add pixels around the hole until it has `count`: the way out where shapes would take too long."""
    if not hole.any():
        hole[0 if touch else rng.integers(len(hole)), rng.integers(len(hole))] = 1
    while (missing := count - cv2.countNonZero(hole)) > 0:
        ring = cv2.dilate(hole, np.ones((3, 3), np.uint8)) - hole
        hole.flat[np.flatnonzero(ring)[:missing]] = 1
    return hole


def dilate(hole: np.ndarray, width: int) -> np.ndarray:
    """The hole widened by a square kernel of `width` px: (H, W) uint8."""
    return cv2.dilate(hole, np.ones((width, width), np.uint8))


def write_hole(path: str | Path, hole: np.ndarray) -> None:
    """Write a hole (H, W) of 0 and 1 as a 1-bit PNG, white = hole."""
    _check_hole(hole)
    settings = [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 1]
    ok, encoded = cv2.imencode(".png", hole.astype(np.uint8) * 255, settings)
    assert ok
    Path(path).write_bytes(encoded.tobytes())


def read_hole(path: str | Path) -> np.ndarray:
    """Read a mask file, 1-bit, grey or colour, white (> 127) = hole: (H, W) uint8, 1 = hole.

    Raises MaskError with the path if there is no such file or it is not an image.
    """
    try:
        encoded = np.fromfile(path, np.uint8)
    except OSError as error:
        raise MaskError(f"{path}: {error.strerror}; `dvc repro masks` draws the masks of data/masks") from None
    grey = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE) if encoded.size else None
    if grey is None:
        raise MaskError(f"{path}: not an image that OpenCV can read; a mask is a PNG, white where the hole is")
    return (grey > 127).astype(np.uint8)


def hole_to_mask(hole: np.ndarray) -> Tensor:
    """(H, W) of bool or uint8, 1 = hole -> (1, H, W) float32, 1 = valid."""
    _check_hole(hole)
    return torch.from_numpy(1 - hole.astype(np.float32))[None]


def mask_to_hole(mask: Tensor) -> np.ndarray:
    """(1, H, W) of 0 and 1, 1 = valid -> (H, W) uint8, 1 = hole."""
    if mask.ndim != 3 or mask.shape[0] != 1:
        raise MaskError(f"a mask has the shape (1, H, W), not {tuple(mask.shape)}")
    if not ((mask == 0) | (mask == 1)).all():
        raise MaskError("a mask holds 0 (hole) and 1 (valid) only")
    return (mask[0] == 0).to("cpu", torch.uint8).numpy()


def _check_hole(hole: np.ndarray) -> None:
    if hole.ndim != 2 or hole.dtype not in (np.bool_, np.uint8):
        raise MaskError(f"a hole is an array (H, W) of bool or uint8, not {hole.shape} of {hole.dtype}")
    if hole.size and hole.max() > 1:
        raise MaskError(f"a hole holds 0 and 1 (hole) only, not {hole.max()}; read_hole makes one of a picture")


def hole_ratio(mask: Tensor) -> Tensor:
    """Share of hole pixels of each mask: (N, 1, H, W), 1 = valid -> (N,) float."""
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise MaskError(f"masks have the shape (N, 1, H, W), not {tuple(mask.shape)}")
    return (mask < 0.5).flatten(1).float().mean(1)


def recipes(masks: Masks, split: str, size: int) -> list[Recipe]:
    """What each mask of a split has to be, in order.

    Training and validation masks: 1 to 60 %. Test masks: masks.test for each bin, first those that touch the edge,
    then those that keep clear of it.
    """
    if split != "test":
        return [Recipe(BINS[0][0], BINS[-1][1], border=0, touch=False)] * getattr(masks, split)
    groups = [Recipe(*bounds, border, touch=not border) for bounds in BINS for border in (0, border_width(size))]
    return [group for group in groups for _ in range(masks.test)]


def mask_folder(split: str) -> Path:
    return project_root() / "data" / "masks" / split


def write_masks(params: Params) -> None:
    """Draw the masks of all splits: data/masks/{train,val,test}/00000.png ... and index.csv beside them."""
    for split in SPLITS:
        _write_split(params, split)


def _write_split(params: Params, split: str) -> None:
    folder, size = mask_folder(split), params.data.size
    if folder.exists():  # removed, not written over: its files may be links into DVC's cache
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    rows = []
    planned = recipes(params.masks, split, size)
    for index, recipe in enumerate(Progress(planned, desc=f"{split} masks", delay=2)):
        hole = draw_hole(hole_rng(params.seed, split, index), size, *recipe)
        name = f"{index:05d}.png"
        write_hole(folder / name, hole)
        ratio = cv2.countNonZero(hole) / hole.size
        rows.append([name, ratio, find_bin(ratio), recipe.border])
    with open(folder / "index.csv", "w", newline="") as file:  # last, so that a folder with an index is complete
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "hole_ratio", "bin", "border"])
        writer.writerows(rows)


def read_index(split: str) -> pd.DataFrame:
    """The masks of a split: columns file, hole_ratio, bin and border (px kept clear along each edge)."""
    path = mask_folder(split) / "index.csv"
    if not path.is_file():
        raise MaskError(f"{path}: no such file; `dvc repro masks` draws the masks")
    return pd.read_csv(path)


def border_share(hole: np.ndarray, width: int) -> float:
    """Share of hole among the pixels within `width` px of an edge; `hole` is (H, W), 1 = hole."""
    inner = hole[width:-width, width:-width]
    return float((hole.sum() - inner.sum()) / (hole.size - inner.size))


def summarise() -> dict:
    """What data/masks holds: counts and hole ratios by split and test group, and the share of hole along the edges."""
    index = {split: read_index(split) for split in SPLITS}
    summary = {split: _describe(rows) for split, rows in index.items()}
    shares = index["train"]["bin"].value_counts(normalize=True)
    summary["train share"] = {name: float(shares.get(name, 0)) for name in map(bin_name, BINS)}
    constrained = index["test"]["border"] > 0
    width = index["test"]["border"].max()
    for group, rows in (("touching", index["test"][~constrained]), ("constrained", index["test"][constrained])):
        summary |= {f"test {group} {name}": _describe(part) for name, part in rows.groupby("bin")}
        holes = [read_hole(mask_folder("test") / name) for name in rows["file"]]
        summary[f"test {group}"] = {
            "masks_touching": float(np.mean([border_share(hole, 1) > 0 for hole in holes])),
            "hole_share_of_border": float(np.mean([border_share(hole, width) for hole in holes])),
        }
    return summary


def _describe(rows: pd.DataFrame) -> dict:
    ratios = rows["hole_ratio"]
    return {"count": len(ratios), "mean": ratios.mean(), "min": ratios.min(), "max": ratios.max()}
