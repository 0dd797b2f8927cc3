"""Measure what checkpoints cost at the paper's settings: seconds to save and to load one, and the share of training.

    python benchmarks/checkpoints.py

A checkpoint holds the network of params/paper-places2.yaml, Adam's moments and the best weights so far. It is written
to the project's models/.
"""

from __future__ import annotations

import argparse
import shutil
from itertools import count

import numpy as np
import torch
from common import machine, record, turns

from pconv.params import load_params
from pconv.project import project_root
from pconv.training import checkpoint
from pconv.training.state import State
from pconv.training.step import adam
from pconv.unet import PConvUNet, he_init


def full_state(params) -> State:
    """Return a state that is as large as it gets, as after a first step and a first validation."""
    model = he_init(PConvUNet(params.model.width, params.model.depth), 0)
    state = State(model, adam(model, 1e-4))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    state.optimiser.step()
    state.best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default="params/paper-places2.yaml")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    params = load_params(options.params)
    state, folder = full_state(params), project_root() / "models" / "state" / "benchmark"
    tensors, steps, device = state.tensors(), count(), torch.device("cpu")
    calls = {
        "save": lambda: checkpoint.save(folder, next(steps), tensors, state.numbers()),
        "load": lambda: checkpoint.load_newest(folder),
    }
    seconds = {name: float(np.median(values)) for name, values in turns(calls, options.turns, device).items()}
    size = sum(file.stat().st_size for file in checkpoint.list_checkpoints(folder)[-1].iterdir())
    shutil.rmtree(folder)
    every = params.train.checkpoint_seconds
    record(
        "checkpoints",
        {
            "machine": machine(device),
            "bytes": size,
            "seconds to save": seconds["save"],
            "seconds to load": seconds["load"],
            "seconds between": every,
            "share of training": seconds["save"] / every,
        },
    )


if __name__ == "__main__":
    main()
