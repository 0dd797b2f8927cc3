"""Measure how many masks each source draws per second, on one core and on all, as the stage `masks` does.

    python benchmarks/sources.py                # 2,000 masks of 512 px of each source
    python benchmarks/sources.py --masks 55116 --sources strokes

Masks are drawn and written as files. On one core the time is that of the processor, so that other work on the machine
does not count; on all cores it is that of the clock, with the start of the processes. Masks of one's own are captions
and films are made up, as in notebook 01.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from contextlib import chdir
from pathlib import Path

from pconv.masks import sets
from pconv.params import Params
from pconv.studies.masks import write_captions, write_films

PLACES = {"folder": "captions", "video": "films"}  # masks.folder of the sources that draw from one
PAPER = 55_116 + 12_000  # masks to train and to test


def folder(source: str) -> str | None:
    """Make what a source draws from, in the working directory, and return masks.folder."""
    if source == "folder":
        write_captions(Path("captions"))
    elif source == "video":
        for split in ("train", "val", "test"):
            write_films(Path("films") / split, seed=0, count=20, size=512)
    return PLACES.get(source)


def measure(source: str, count: int, size: int) -> dict:
    """Return the masks per second of a source on one core and on all, and the minutes for the paper's sets on all."""
    masks = {"source": source, "folder": folder(source), "train": count, "val": 1, "test": 1, "border": "free"}
    params = Params.model_validate({"data": {"size": size}, "masks": masks})
    total, cores = count + 1 + 12, sets.usable_cores()
    began = time.process_time()
    sets.write_masks(params, cores=1)
    one = total / (time.process_time() - began)
    shutil.rmtree("data")  # or the masks would be looked at again, to remove none that somebody else has put there
    began = time.perf_counter()
    sets.write_masks(params, cores)
    every = total / (time.perf_counter() - began)
    return {"one core": round(one), f"{cores} cores": round(every), "minutes for 67,116": round(PAPER / every / 60, 1)}


def main() -> None:
    from common import record  # it imports PyTorch, which the processes that draw do without: they import this script

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=int, default=2000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--sources", nargs="+", default=["drawn", "strokes", "folder", "video"])
    options = parser.parse_args()
    sets.MANY = options.masks  # all cores for the training masks, however few
    for source in options.sources:
        with tempfile.TemporaryDirectory() as project, chdir(project):
            Path("dvc.yaml").touch()
            found = measure(source, options.masks, options.size)
        print(source, found, flush=True)
        record(f"sources, {source}", {"masks": options.masks, "size": options.size, **found})


if __name__ == "__main__":
    main()
