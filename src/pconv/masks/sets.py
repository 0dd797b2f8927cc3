"""The masks of all splits, drawn and described."""

from __future__ import annotations

import csv
import itertools
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from pconv.masks.convention import BINS, MaskError, bin_name, border_share, find_bin, grid_bin
from pconv.masks.drawing import hole_rng
from pconv.masks.files import COLUMNS, read_hole, read_index, read_index_file, write_hole
from pconv.masks.recipes import Recipe, Task, recipes
from pconv.masks.sources import POOLS, SOURCES
from pconv.params import Params
from pconv.progress import Progress, say
from pconv.project import SPLITS, mask_folder

PARTIAL = ".partial"  # folder of a split's masks while they are drawn
MANY = 4000  # masks of a split that are worth starting a process for each core, which takes seconds
CHUNK = 32  # masks that a process draws at once

Row = list  # of an index, in the order of COLUMNS


def write_masks(params: Params, cores: int | None = None) -> None:
    """Draw the masks of all splits: data/masks/{train,val,test}/00000.png ... and index.csv beside them.

    Masks of an earlier run are replaced; files that the pipeline did not make stay. Splits of MANY masks or more are
    drawn in several processes, one for each of `cores`, by default all. Each mask is a function of seed, split and
    number alone, so that their number changes nothing. Raises MaskError, before any mask is exchanged, if one cannot be
    drawn, or if a file that the pipeline did not make is in the way.
    """
    planned = {split: recipes(params.masks, split, params.data.size) for split in SPLITS}
    for split in SPLITS:
        _check_folder(mask_folder(split), len(planned[split]))
    find = POOLS.get(params.masks.source, lambda params, split: None)
    pools = {split: find(params, split) for split in SPLITS}
    for split in SPLITS:
        drawing = Drawing(params, split, planned[split], pools[split], mask_folder(split) / PARTIAL)
        _write_split(drawing, cores or usable_cores())


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # Linux only


@dataclass(frozen=True)
class Drawing:
    """What it takes to draw any mask of a split, in any process."""

    params: Params
    split: str
    planned: list[Recipe]
    pool: Any  # of the source
    folder: Path

    def draw(self, index: int) -> np.ndarray:
        """Return a hole of the split: (size, size) uint8, 1 = hole."""
        rng, size = hole_rng(self.params.seed, self.split, index), self.params.data.size
        task = Task(rng, size, self.split, index, self.planned[index], self.pool)
        return SOURCES[self.params.masks.source](task)

    def write(self, index: int) -> Row:
        """Draw and write a mask; returns its row of the index."""
        hole = self.draw(index)
        write_hole(self.folder / _name(index), hole)
        ratio = cv2.countNonZero(hole) / hole.size
        name = find_bin(ratio) if self.params.masks.spacing is None else grid_bin(ratio)
        return [_name(index), ratio, name, self.planned[index].border]


def _write_split(drawing: Drawing, cores: int) -> None:
    """Draw into a folder of its own; only then exchange the masks.

    Whenever that is interrupted, the index lists what is there: the old one until its masks are removed, then the new
    one, which comes before its masks. So the next run knows them, however often it is interrupted itself.
    """
    shutil.rmtree(drawing.folder, ignore_errors=True)
    drawing.folder.mkdir(parents=True)
    with Progress(desc=f"{drawing.split} masks", total=len(drawing.planned), delay=2) as progress:
        rows = []
        for row in _write_all(drawing, cores):
            rows.append(row)
            progress.update()
    with open(drawing.folder / "index.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    _exchange(drawing.folder.parent, [row[0] for row in rows])


def _write_all(drawing: Drawing, cores: int) -> Iterator[Row]:
    """Yield the rows of the index as the masks are written, in order."""
    count = len(drawing.planned)
    if cores == 1 or count < MANY:
        yield from map(drawing.write, range(count))
        return
    chunks = [range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    context = multiprocessing.get_context("spawn")  # a notebook has threads, which do not survive a fork
    with ProcessPoolExecutor(cores, context, _start_process, (drawing,)) as pool:
        try:
            yield from itertools.chain.from_iterable(pool.map(_write_chunk, chunks))
        except BaseException:  # also where the reader of the rows stops
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_drawing: Drawing  # of a process that draws


def _start_process(drawing: Drawing) -> None:
    """Prepare a process that draws: interrupts are for the one that started it, without which it ends."""
    global _drawing
    _drawing = drawing
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(parent) -> None:
    parent.join()
    os._exit(1)


def _write_chunk(indices: Sequence[int]) -> list[Row]:
    return [_drawing.write(index) for index in indices]


def _exchange(folder: Path, names: list[str]) -> None:
    """Remove the masks of an earlier run and put the new ones in their place, their index first."""
    for name in _made(folder):
        (folder / name).unlink()
    for name in ("index.csv", *names):  # renamed, not written over: what is there may be a link into DVC's cache
        (folder / PARTIAL / name).replace(folder / name)
    (folder / PARTIAL).rmdir()


def _check_folder(folder: Path, count: int) -> None:
    """Refuse files of others where masks are to be written, and say of all others that they are not used."""
    made = _made(folder)
    for path in (folder / _name(index) for index in range(count)):
        if path.exists() and path.name not in made:
            raise MaskError(
                f"{path}: in the way of a mask of that name, but not drawn by the pipeline; move it out of {folder} or "
                "delete it, then run `dvc repro masks`"
            )
    others = {path.name for path in folder.glob("[!.]*")} - made - {"index.csv"}
    if others:
        say(
            f"{folder}: {len(others):,} files that the pipeline did not make are not used; keep masks of your own in a "
            "folder outside of data/, and name it in masks.folder"
        )


def _made(folder: Path) -> set[str]:
    """Names of the masks in a folder that the pipeline drew: an index lists them with the hole ratio they have."""
    index = folder / "index.csv"
    if not index.is_file():
        return set()
    rows = read_index_file(index)
    return {row.file for row in rows.itertuples() if _has_ratio(folder / row.file, row.hole_ratio)}


def _has_ratio(path: Path, ratio: float) -> bool:
    try:
        hole = read_hole(path, warn=False)
    except MaskError:
        return False
    return abs(cv2.countNonZero(hole) / hole.size - ratio) < 1e-9  # less than a pixel in any mask


def _name(index: int) -> str:
    return f"{index:05d}.png"


def summarise(params: Params) -> dict:
    """Summarise data/masks: counts and hole ratios by split and test group, and the share of hole along the edges."""
    index = {split: read_index(split) for split in SPLITS}
    summary = {split: _describe(rows) for split, rows in index.items()}
    shares = index["train"]["bin"].value_counts(normalize=True)
    summary["train share"] = {name: float(shares.get(name, 0)) for name in map(bin_name, BINS)}
    constrained = index["test"]["border"] > 0
    width = index["test"]["border"].max()
    groups = {group_name(params): index["test"][~constrained], "constrained": index["test"][constrained]}
    for group, rows in groups.items() if constrained.any() else ():  # grids have no such groups
        summary |= {f"test {group} {name}": _describe(part) for name, part in rows.groupby("bin")}
        holes = [read_hole(mask_folder("test") / name) for name in rows["file"]]
        summary[f"test {group}"] = {
            "masks_touching": float(np.mean([border_share(hole, 1) > 0 for hole in holes])),
            "hole_share_of_border": float(np.mean([border_share(hole, width) for hole in holes])),
        }
    return summary


def group_name(params: Params) -> str:
    """Return what test masks without border constraint are called in metrics: touching (the edge), or free."""
    return {"forced": "touching", "free": "free"}[params.masks.border]


def _describe(rows: pd.DataFrame) -> dict:
    ratios = rows["hole_ratio"]
    return {"count": len(ratios), "mean": ratios.mean(), "min": ratios.min(), "max": ratios.max()}
