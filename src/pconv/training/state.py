"""Everything that changes while a stage trains, which is what a checkpoint holds."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pconv.unet import PConvUNet

NUMBERS = ("step", "losses", "history", "best_row")


@dataclass
class State:
    """Weights, Adam's moments and what was logged, of a stage in which `step` steps have been taken."""

    model: PConvUNet
    optimiser: torch.optim.Optimizer
    step: int = 0
    losses: list[list[float]] = field(default_factory=list)  # total and terms of the steps since the last logged row
    history: list[dict] = field(default_factory=list)  # logged rows {step, train/... | val/...}
    samples: dict[int, Tensor] = field(default_factory=dict)  # by step: composites (n, 3, H, W) uint8
    best: dict[str, Tensor] = field(default_factory=dict)  # the weights of the lowest validation loss,
    best_row: dict = field(default_factory=dict)  # and its row

    @property
    def validated(self) -> bool:
        """Whether the weights of this step have been validated."""
        last = self.history[-1] if self.history else {}
        return last.get("step") == self.step and "val/loss" in last

    def take_mean_losses(self) -> list[float]:
        """Return the means of loss and terms over the steps since the last logged row, and start over."""
        means = [sum(values) / len(self.losses) for values in zip(*self.losses, strict=True)]
        self.losses.clear()
        return means

    def keep_if_best(self, row: dict) -> None:
        """Keep a copy of the weights if the row of their validation has the lowest loss so far."""
        if not self.best_row or row["val/loss"] < self.best_row["val/loss"]:
            self.best_row = row
            self.best = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that is a tensor, by flat names."""
        found = {f"model.{name}": t for name, t in self.model.state_dict().items()}
        for i, slots in self.optimiser.state_dict()["state"].items():
            found |= {f"optimiser.{i}.{name}": t for name, t in slots.items()}
        found |= {f"best.{name}": t for name, t in self.best.items()}
        return found | {f"samples.{step}": t for step, t in self.samples.items()}

    def numbers(self) -> dict:
        """Return everything else, as JSON values."""
        return {name: getattr(self, name) for name in NUMBERS}

    def restore(self, tensors: dict[str, Tensor], numbers: dict) -> None:
        """Become the state that tensors() and numbers() described."""
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
