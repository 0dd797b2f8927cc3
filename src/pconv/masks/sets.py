"""The masks of all splits, drawn and described."""

from __future__ import annotations

import csv
import shutil
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from pconv.masks.convention import BINS, bin_name, border_share, border_width, find_bin
from pconv.masks.drawing import draw_hole, hole_rng
from pconv.masks.files import read_hole, read_index, write_hole
from pconv.params import Masks, Params
from pconv.progress import Progress
from pconv.project import SPLITS, mask_folder


class Recipe(NamedTuple):
    """What one mask of a split has to be."""

    low: float  # its hole ratio r: low < r <= high
    high: float
    border: int  # px kept clear along each edge
    touch: bool  # whether the hole must reach an edge


def recipes(masks: Masks, split: str, size: int) -> list[Recipe]:
    """What each mask of a split has to be, in order.

    Training and validation masks: 1 to 60 %. Test masks: masks.test for each bin, first those that touch the edge,
    then those that keep clear of it.
    """
    if split != "test":
        return [Recipe(BINS[0][0], BINS[-1][1], border=0, touch=False)] * getattr(masks, split)
    groups = [Recipe(*bounds, border, touch=not border) for bounds in BINS for border in (0, border_width(size))]
    return [group for group in groups for _ in range(masks.test)]


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
