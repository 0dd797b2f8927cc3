"""Compute the days of the paper's training on 1, 8 and 64 GPUs from the speed of one: the table of docs/scaling.md.

    python benchmarks/scaling.py --images-per-second 30 --link 100

Nothing is trained. A step processes a GPU's share of the batch at the given images/s, and then the gradients go round a
ring: each GPU sends 2 (n - 1) / n times their bytes over its link. PyTorch sends some of them while it computes others,
so the result is an upper bound.
"""

from __future__ import annotations

import argparse

import torch

from pconv.params import Params, load_params
from pconv.project import project_root
from pconv.unet import PConvUNet

SETS = {"Places2 (the paper)": "paper-places2", "ImageNet (PConv-Keras)": "paper-imagenet"}


def gradient_bytes(params: Params) -> int:
    with torch.device("meta"):
        model = PConvUNet(params.model.width, params.model.depth)
    return sum(4 * p.numel() for p in model.parameters())  # float32, as the weights


def days(params: Params, gpus: int, images_per_second: float, gigabits: float) -> float:
    """Return the days of both stages, with train.batch images a step on each GPU, and as many in all as on one GPU."""
    images = sum(s.epochs * s.steps for s in (params.train.stage1, params.train.stage2)) * params.train.batch
    compute = params.train.batch / images_per_second
    ring = 2 * (gpus - 1) / gpus * gradient_bytes(params) / (gigabits * 1e9 / 8)
    steps = images / (params.train.batch * gpus)
    return steps * (compute + ring) / 86400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images-per-second", type=float, required=True, help="of one GPU: benchmarks/step.py says it")
    parser.add_argument("--link", type=float, default=100, help="of a GPU to the next, Gbit/s")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    options = parser.parse_args()
    print("| | gradients of a step |" + "".join(f" days on {n} |" for n in options.gpus))
    print("|---|---|" + "---|" * len(options.gpus))
    for name, file in SETS.items():
        params = load_params(project_root() / "params" / f"{file}.yaml")
        cells = [f"{gradient_bytes(params) / 1e6:.0f} MB"]
        cells += [f"{days(params, n, options.images_per_second, options.link):.2g}" for n in options.gpus]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
