"""Validation: the loss, L1 and PSNR of the same crops after every epoch, and some of them to look at."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from pconv.losses import TERMS, InpaintingLoss
from pconv.masks.tensors import compose
from pconv.metrics import l1_percent, psnr
from pconv.params import Params
from pconv.training.distributed import Group
from pconv.training.loading import Loader, ValidationCrops
from pconv.training.signals import Stop
from pconv.training.step import as_row
from pconv.unet import PConvUNet

MEASURES = ("loss", *TERMS, "l1", "psnr")
SAMPLES = 4  # crops to look at


class Validation:
    """Measures a network on validation crops, of which each process of a group takes its share."""

    def __init__(self, params: Params, loss: InpaintingLoss, loader: Loader, group: Group):
        self.crops = ValidationCrops(params)
        self.loss, self.loader, self.group = loss, loader, group
        self.batch = params.train.batch // group.size

    @torch.inference_mode()
    def measure(self, model: PConvUNet, stop: Stop) -> dict[str, float] | None:
        """Return the means of MEASURES over all crops, by name; L1 and PSNR are those of the composites.

        Returns None if it was given up because a process was asked to stop; then stop.agreed is set.
        """
        self.group.copy_buffers(model)
        model.eval()
        sums = torch.zeros(len(MEASURES), dtype=torch.float64, device=self.loader.hardware.device)
        ours = range(self.group.rank, len(self.crops), self.group.size)
        batches = (ours[i : i + self.batch] for i in range(0, len(ours), self.batch))
        for gt, mask in self.loader.load(self.crops, batches):
            if stop.asked:
                break
            sums += self._measure_batch(model, gt, mask)
        *sums, asked = self.group.sum(torch.cat([sums, sums.new_tensor([stop.asked])])).tolist()
        stop.agreed |= asked > 0
        return None if asked else {name: value / len(self.crops) for name, value in zip(MEASURES, sums, strict=True)}

    def _measure_batch(self, model: PConvUNet, gt: Tensor, mask: Tensor) -> Tensor:
        """Return the sums of MEASURES over a batch, (len(MEASURES),) float64."""
        with self.loader.hardware.autocast():
            out = model(gt, mask).float()
            total, terms = self.loss(out, gt, mask)
        comp = compose(gt, out, mask).clamp(0, 1)
        losses = as_row(total, terms).double() * len(gt)
        return torch.cat([losses, l1_percent(comp, gt).sum()[None], psnr(comp, gt).sum()[None]])

    @torch.inference_mode()
    def fill_samples(self, model: PConvUNet) -> Tensor:
        """Return the composites of the samples, (SAMPLES or fewer, 3, H, W) uint8."""
        model.eval()
        gt, mask = self.loader.hardware.load(self.samples)
        with self.loader.hardware.autocast():
            out = model(gt, mask).float()
        return (compose(gt, out, mask).clamp(0, 1) * 255).round().byte().cpu()

    @cached_property
    def samples(self) -> tuple[Tensor, Tensor]:
        """The images (n, 3, H, W) and masks (n, 1, H, W) of the first crops, uint8."""
        crops = [self.crops[n] for n in range(min(SAMPLES, len(self.crops)))]
        return tuple(torch.stack(part) for part in zip(*crops, strict=True))
