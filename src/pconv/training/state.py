"""All that changes while a stage trains: what a checkpoint holds."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pconv.unet import PConvUNet

NUMBERS = ("step", "losses", "history", "best_row")


@dataclass
class State:
    """Weights, Adam's moments and what was logged, of a stage that has come to `step`."""

    model: PConvUNet
    optimiser: torch.optim.Optimizer
    step: int = 0
    losses: list[list[float]] = field(default_factory=list)  # total and terms of the steps since the last logged row
    history: list[dict] = field(default_factory=list)  # logged rows {step, train/... | val/...}
    samples: dict[int, Tensor] = field(default_factory=dict)  # by step: composites (n, 3, H, W) uint8
    best: dict[str, Tensor] = field(default_factory=dict)  # the weights of the lowest validation loss,
    best_row: dict = field(default_factory=dict)  # and its row

    def tensors(self) -> dict[str, Tensor]:
        found = {f"model.{name}": t for name, t in self.model.state_dict().items()}
        for i, slots in self.optimiser.state_dict()["state"].items():
            found |= {f"optimiser.{i}.{name}": t for name, t in slots.items()}
        found |= {f"best.{name}": t for name, t in self.best.items()}
        return found | {f"samples.{step}": t for step, t in self.samples.items()}

    def numbers(self) -> dict:
        return {name: getattr(self, name) for name in NUMBERS}

    def restore(self, tensors: dict[str, Tensor], numbers: dict) -> None:
        groups = defaultdict(dict)
        for name, tensor in tensors.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = tensor
        self.model.load_state_dict(groups["model"])
        slots = defaultdict(dict)
        for name, tensor in groups["optimiser"].items():
            i, slot = name.split(".")  # laid out as its weight: the fused Adam pairs them by their place in memory
            slots[int(i)][slot] = tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
        param_groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": dict(slots), "param_groups": param_groups})
        self.best = groups["best"]
        self.samples = {step: groups["samples"][str(step)] for step in sorted(map(int, groups["samples"]))}
        for name in NUMBERS:
            setattr(self, name, numbers[name])
