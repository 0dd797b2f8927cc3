"""Measure how long the playground takes to fill a hole in a photograph of 256 px: the network beside Telea, in turns.

    OMP_NUM_THREADS=2 python benchmarks/playground.py

The network has random weights, which takes as long as trained ones. The hole covers 19 to 20 % of the picture. Beside
the median time stands the processor's, summed over threads, which other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from common import machine, ratio, record, turns

from pconv import baselines
from pconv.data.tensors import to_tensor
from pconv.masks.drawing import draw_hole, hole_rng
from pconv.masks.tensors import hole_to_mask
from pconv.playground.filling import to_device
from pconv.playground.network import fill
from pconv.playground.photographs import SIZE, choices, read_packaged
from pconv.unet import PConvUNet, he_init


def processor_seconds(call, count: int) -> float:
    """Return the median time of the processor, summed over its threads, that a call takes."""
    spent = []
    for _ in range(count):
        began = time.process_time()
        call()
        spent.append(time.process_time() - began)
    return float(np.median(spent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--depth", type=int, default=7)
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    model = he_init(PConvUNet(options.width, options.depth), 0).eval().to(memory_format=torch.channels_last)
    image = to_tensor(read_packaged(choices()[0]["name"]))
    mask = hole_to_mask(draw_hole(hole_rng(0, "test", 0), SIZE, 0.19, 0.2))
    candidates = {
        "network": lambda: fill(model, *to_device(model, image, mask)),
        "telea": lambda: baselines.fill("telea", image, mask),
    }
    device = torch.device("cpu")
    seconds = turns(candidates, options.turns, device)
    record(
        f"playground, cpu, {SIZE} px, width {options.width}",
        {
            "machine": machine(device),
            "depth": options.depth,
            "turns": options.turns,
            "milliseconds": {name: 1000 * float(np.median(values)) for name, values in seconds.items()},
            "milliseconds of the processor": {
                name: 1000 * processor_seconds(call, options.turns) for name, call in candidates.items()
            },
            "network to telea": ratio(seconds, "network", "telea"),
        },
    )


if __name__ == "__main__":
    main()
