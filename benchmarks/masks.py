"""Measure how many masks one core draws per second: ours against PConv-Keras' generator, in one run.

    git clone https://github.com/MathiasGruber/PConv-Keras
    python benchmarks/masks.py --pconv-keras PConv-Keras/libs/util.py

The generators take turns, a batch each, so that other work on the machine affects them alike. The results are the
median of CPU time over the batches and of the ratios within the turns. Without the reference, ours are measured alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from common import load_reference, record

from pconv.masks.convention import BINS
from pconv.masks.drawing import draw_hole, draw_shapes, hole_rng

REFERENCE = "PConv-Keras"
Draw = Callable[[int], np.ndarray]  # mask number -> mask


def generators(size: int, reference) -> dict[str, Draw]:
    """Return the generators to measure, by name; the reference, if there is one, comes first."""
    found = {}
    if reference:
        three = reference(
            size, size, 3, rand_seed=1
        )  # three equal channels are its default, and what its network needs
        one = reference(size, size, 1, rand_seed=1)
        found |= {REFERENCE: lambda n: three.sample(), f"{REFERENCE}, 1 channel": lambda n: one.sample()}
    found["draw_shapes"] = lambda n: draw_shapes(hole_rng(0, "train", n), size)
    found["draw_hole"] = lambda n: draw_hole(hole_rng(0, "train", n), size, BINS[0][0], BINS[-1][1])
    return found


def masks_per_second(draw: Draw, numbers: range) -> float:
    began = time.process_time()
    for n in numbers:
        draw(n)
    return len(numbers) / (time.process_time() - began)


def measure(draws: dict[str, Draw], repeats: int, batch: int) -> dict:
    """Masks per CPU second, the ratio to the reference, and the mean hole ratio of each generator."""
    turns = []
    for turn in range(repeats + 1):
        numbers = range(turn * batch, (turn + 1) * batch)
        turns.append({name: masks_per_second(draw, numbers) for name, draw in draws.items()})
    turns = turns[1:]  # the first warms up
    result = {}
    for name, draw in draws.items():
        rates = [turn[name] for turn in turns]
        result[name] = {"masks_per_second": round(float(np.median(rates)))}
        if REFERENCE in draws:
            ratios = [turn[name] / turn[REFERENCE] for turn in turns]
            result[name]["times_the_reference"] = round(float(np.median(ratios)), 2)
        mean = float(np.mean([draw(n).mean() for n in range(200)]))
        result[name]["mean_hole_ratio"] = round(1 - mean if name.startswith(REFERENCE) else mean, 3)  # there 1 is valid
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pconv-keras", type=Path, metavar="PATH", help="PConv-Keras' libs/util.py")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 256], metavar="PX")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--batch", type=int, default=100, help="masks per generator and turn")
    options = parser.parse_args()
    reference = load_reference(options.pconv_keras, "MaskGenerator", "libs/util.py of a clone of PConv-Keras")
    cv2.setNumThreads(1)
    sizes = {f"{s} px": measure(generators(s, reference), options.repeats, options.batch) for s in options.sizes}
    results = {"opencv": cv2.__version__, "numpy": np.__version__, "threads": 1, **sizes}
    if reference:
        record("masks", results)
    else:
        print(json.dumps(results, indent=2))
        print("PConv-Keras is missing: give --pconv-keras PATH (see --help). Nothing was written.", file=sys.stderr)


if __name__ == "__main__":
    main()
