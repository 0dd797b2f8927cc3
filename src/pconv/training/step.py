"""One step of training (network, six-term loss, backward, Adam), and the losses that it leaves."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn

from pconv.hardware import Hardware
from pconv.losses import TERMS, InpaintingLoss
from pconv.params import Stage
from pconv.training import TrainingError
from pconv.training.distributed import Group
from pconv.training.signals import Stop
from pconv.training.timing import Timer

READ_SECONDS, READ_STEPS = 1, 10  # losses stay unread for about so long, and for so many steps at most


def adam(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Return Adam over what is not frozen, all weights in one pass."""
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr, fused=True)


def learning_rate(schedule: Stage, step: int) -> float:
    """Return the rate of a step on the straight line from schedule.lr, in step 0, to schedule.lr_end, in the last."""
    if schedule.lr_end is None:
        return schedule.lr
    share = step / max(1, schedule.epochs * schedule.steps - 1)
    return schedule.lr + share * (schedule.lr_end - schedule.lr)


class TrainingStep:
    """Called with a batch and a learning rate, it changes the network's weights once.

    network: channels_last, on the hardware's device, as are the loss and the batches: images (N, 3, H, W) in [0, 1] and
    masks (N, 1, H, W). Returns the loss and its terms in order, (1 + len(TERMS),), still on the device, so that a GPU
    need not be waited for.
    """

    def __init__(self, network: nn.Module, optimiser, loss: InpaintingLoss, hardware: Hardware, timer: Timer):
        self.network, self.optimiser, self.loss = network, optimiser, loss
        self.hardware, self.timer = hardware, timer

    def __call__(self, gt: Tensor, mask: Tensor, lr: float) -> Tensor:
        """Take the step. The network is given the whole image: what lies in the hole cannot reach it."""
        measure = self.timer.measure
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        with self.hardware.autocast():
            with measure("forward"):
                out = self.network(gt, mask)
            with measure("loss"):
                total, terms = self.loss(out.float(), gt, mask)
        with measure("backward"):
            self.optimiser.zero_grad(set_to_none=True)
            total.backward()
        with measure("optimiser"):
            self.optimiser.step()
        return as_row(total, terms)


def as_row(total: Tensor, terms: dict[str, Tensor]) -> Tensor:
    """Return the loss and its terms in order, 0 for those not computed: (1 + len(TERMS),) float32."""
    zero = torch.zeros_like(total)
    return torch.stack([total, *(terms.get(name, zero) for name in TERMS)]).detach().float()


class UnreadLosses:
    """Losses of the last steps, (1 + len(TERMS),) each, still on the device, because reading them makes a GPU wait.

    A process that is alone on a CPU reads them after every step, others about every READ_SECONDS. That is also how long
    a wish to stop waits in a group, whose processes all have to read at the same step.
    """

    def __init__(self, group: Group, hardware: Hardware):
        self.group = group
        self._at_once = group.size == 1 and hardware.device.type == "cpu"
        self._rows: list[Tensor] = []
        self._most = 1  # steps until the next reading; the same number in all processes
        self._last_read = time.monotonic()

    def append(self, row: Tensor) -> None:
        """Keep the losses of one more step."""
        self._rows.append(row)

    def is_time_to_read(self, stop: Stop) -> bool:
        """Whether the losses have waited long enough, or this process need not ask others whether to stop."""
        return len(self._rows) >= self._most or (stop.asked and self.group.size == 1)

    def read(self, stop: Stop) -> list[list[float]]:
        """Return the losses, oldest first, as means over the group; afterwards stop.agreed says whether to stop.

        All processes of the group have to call it at the same step.
        """
        if not self._rows:
            return []
        rows = torch.stack(self._rows)
        # Each process adds how long its steps took and whether it was asked to stop, so that all of them find the same.
        own = rows.new_tensor([[time.monotonic() - self._last_read], [stop.asked]]).expand(2, rows.shape[1])
        *means, (seconds, *_), (asked, *_) = (self.group.sum(torch.cat([rows, own])) / self.group.size).tolist()
        stop.agreed |= asked > 0
        if not self._at_once:
            self._most = max(1, min(READ_STEPS, int(READ_SECONDS / seconds * len(means))))
        self._rows.clear()
        self._last_read = time.monotonic()
        return means


def check_finite(row: list[float], when: str, stage: int, model: nn.Module, loss: InpaintingLoss) -> None:
    """Raise TrainingError, with the terms and the most likely cause, if the loss is not finite.

    row: the loss and its terms in order; when: where training is, such as "step 7".
    """
    total, *terms = row
    if math.isfinite(total):
        return
    values = ", ".join(f"{name} {value:g}" for name, value in zip(TERMS, terms, strict=True))
    raise TrainingError(f"stage {stage}, {when}: the loss is {total:g} ({values}); {_find_cause(stage, model, loss)}")


def _find_cause(stage: int, model: nn.Module, loss: InpaintingLoss) -> str:
    if loss.vgg is not None and not _is_finite(loss.vgg):
        return f"the weights of the loss network are not finite: take others than loss.vgg = {loss.vgg.source}"
    advice = f"lower train.stage{stage}.lr, or set train.precision: float32"
    return advice if _is_finite(model) else f"the network's weights are no longer finite: {advice}"


def _is_finite(module: nn.Module) -> bool:
    return all(tensor.isfinite().all() for tensor in module.state_dict().values())
