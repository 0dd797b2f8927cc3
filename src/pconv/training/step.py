"""One step of training: network, six-term loss, backward, Adam."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pconv.hardware import Hardware
from pconv.losses import TERMS, InpaintingLoss
from pconv.training.timing import Account


def adam(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Adam over what is not frozen, all weights in one pass."""
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr, fused=True)


class TrainingStep:
    """Called with a batch and a learning rate, it changes the network's weights once.

    network: in training mode, channels_last, on the hardware's device, as are the loss and the batches: images
    (N, 3, H, W) in [0, 1] and masks (N, 1, H, W). Returns the loss and its terms in order, (1 + len(TERMS),), still on
    the device, so that a GPU need not be waited for.
    """

    def __init__(self, network: nn.Module, optimiser, loss: InpaintingLoss, hardware: Hardware, account: Account):
        self.network, self.optimiser, self.loss = network, optimiser, loss
        self.hardware, self.account = hardware, account

    def __call__(self, gt: Tensor, mask: Tensor, lr: float) -> Tensor:
        """The network is given the whole image: what is in the hole cannot reach it."""
        spent_on = self.account.spent_on
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        with self.hardware.autocast():
            with spent_on("forward"):
                out = self.network(gt, mask)
            with spent_on("loss"):
                total, terms = self.loss(out.float(), gt, mask)
        with spent_on("backward"):
            self.optimiser.zero_grad(set_to_none=True)
            total.backward()
        with spent_on("optimiser"):
            self.optimiser.step()
        return as_row(total, terms)


def as_row(total: Tensor, terms: dict[str, Tensor]) -> Tensor:
    """The loss and its terms in order, 0 for those not computed: (1 + len(TERMS),) float32."""
    zero = torch.zeros_like(total)
    return torch.stack([total, *(terms.get(name, zero) for name in TERMS)]).detach().float()


def learning_rate(schedule, step: int) -> float:
    """On a straight line from lr, in step 0, to lr_end, in the last."""
    if schedule.lr_end is None:
        return schedule.lr
    share = step / max(1, schedule.epochs * schedule.steps - 1)
    return schedule.lr + share * (schedule.lr_end - schedule.lr)
