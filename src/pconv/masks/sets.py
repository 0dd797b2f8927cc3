"""The masks of all splits, drawn and described."""

from __future__ import annotations

import csv
import shutil
import warnings
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from pconv.masks.convention import BINS, MaskError, bin_name, border_share, border_width, find_bin, grid_bin
from pconv.masks.drawing import draw_grid, draw_hole, hole_rng
from pconv.masks.files import COLUMNS, MaskWarning, read_hole, read_index, read_index_file, write_hole
from pconv.params import Masks, Params
from pconv.progress import Progress
from pconv.project import SPLITS, mask_folder

PARTIAL = ".partial"  # folder of a split's masks while they are drawn


class Recipe(NamedTuple):
    """What one mask of a split has to be."""

    low: float  # its hole ratio r: low < r <= high
    high: float
    border: int  # px kept clear along each edge
    touch: bool  # whether the hole must reach an edge


def recipes(masks: Masks, split: str, size: int) -> list[Recipe]:
    """Return what each mask of a split has to be, in order.

    Training and validation masks: 1 to 60 %. Test masks: masks.test for each bin, first those that touch the edge,
    then those that keep clear of it. Grids of known pixels have the ratio that their spacing gives them.
    """
    if split != "test" or masks.spacing is not None:
        return [Recipe(BINS[0][0], BINS[-1][1], border=0, touch=False)] * getattr(masks, split)
    groups = [Recipe(*bounds, border, touch=not border) for bounds in BINS for border in (0, border_width(size))]
    return [group for group in groups for _ in range(masks.test)]


def write_masks(params: Params) -> None:
    """Draw the masks of all splits: data/masks/{train,val,test}/00000.png ... and index.csv beside them.

    Masks of an earlier run are replaced; files that the pipeline did not make stay. Raises MaskError, before anything
    is drawn, if one of those is in the way.
    """
    planned = {split: recipes(params.masks, split, params.data.size) for split in SPLITS}
    for split in SPLITS:
        _refuse_to_overwrite(mask_folder(split), len(planned[split]))
    for split in SPLITS:
        _write_split(params, split, planned[split])


def _write_split(params: Params, split: str, planned: list[Recipe]) -> None:
    """Draw into a folder of its own; only then exchange the masks.

    Whenever that is interrupted, an index lists what is there: the old one until the exchange, then the new one.
    """
    folder = mask_folder(split)
    partial = folder / PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rows = []
    for index, recipe in enumerate(Progress(planned, desc=f"{split} masks", delay=2)):
        hole = _draw(params, split, index, recipe)
        write_hole(partial / _name(index), hole)
        ratio = cv2.countNonZero(hole) / hole.size
        rows.append(
            [_name(index), ratio, find_bin(ratio) if params.masks.spacing is None else grid_bin(ratio), recipe.border]
        )
    with open(partial / "index.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    _exchange(folder, [row[0] for row in rows])


def _draw(params: Params, split: str, index: int, recipe: Recipe) -> np.ndarray:
    """Draw mask `index` of a split. The known pixels of a grid begin anywhere, but those of test masks in one place."""
    rng, size, spacing = hole_rng(params.seed, split, index), params.data.size, params.masks.spacing
    if spacing is None:
        return draw_hole(rng, size, *recipe)
    row, column = [(spacing - 1) // 2] * 2 if split == "test" else rng.integers(spacing, size=2).tolist()
    return draw_grid(size, spacing, row, column)


def _exchange(folder: Path, names: list[str]) -> None:
    """Remove the masks of an earlier run and put the new ones in their place, their index last."""
    for name in _made(folder):
        (folder / name).unlink()
    (folder / "index.csv").unlink(missing_ok=True)
    for name in (*names, "index.csv"):  # renamed, not written over: what is there may be a link into DVC's cache
        (folder / PARTIAL / name).replace(folder / name)
    (folder / PARTIAL).rmdir()


def _refuse_to_overwrite(folder: Path, count: int) -> None:
    made = _made(folder)
    for path in (folder / _name(index) for index in range(count)):
        if path.exists() and path.name not in made:
            raise MaskError(
                f"{path}: in the way of a mask of that name, but not drawn by the pipeline; move it out of {folder} or "
                "delete it, then run `dvc repro masks`"
            )


def _made(folder: Path) -> set[str]:
    """Names of the masks in a folder that the pipeline drew: an index lists them with the hole ratio they have."""
    made = set()
    for index in (folder / "index.csv", folder / PARTIAL / "index.csv"):
        if index.is_file():
            rows = read_index_file(index)
            made |= {row.file for row in rows.itertuples() if _has_ratio(folder / row.file, row.hole_ratio)}
    return made


def _has_ratio(path: Path, ratio: float) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MaskWarning)
            hole = read_hole(path)
    except MaskError:
        return False
    return abs(cv2.countNonZero(hole) / hole.size - ratio) < 1e-9  # less than a pixel in any mask


def _name(index: int) -> str:
    return f"{index:05d}.png"


def summarise() -> dict:
    """Summarise data/masks: counts and hole ratios by split and test group, and the share of hole along the edges."""
    index = {split: read_index(split) for split in SPLITS}
    summary = {split: _describe(rows) for split, rows in index.items()}
    shares = index["train"]["bin"].value_counts(normalize=True)
    summary["train share"] = {name: float(shares.get(name, 0)) for name in map(bin_name, BINS)}
    constrained = index["test"]["border"] > 0
    width = index["test"]["border"].max()
    groups = {"touching": index["test"][~constrained], "constrained": index["test"][constrained]}
    for group, rows in groups.items() if constrained.any() else ():  # grids have no such groups
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
