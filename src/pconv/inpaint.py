"""Filling of holes with a trained network."""

from __future__ import annotations

import torch
from torch import Tensor

from pconv.unet import PConvUNet


@torch.inference_mode()
def inpaint(model: PConvUNet, image: Tensor, mask: Tensor) -> Tensor:
    """Fill the holes of images (N, 3, H, W): the composite of what is valid and the prediction, in [0, 1].

    The mask (N, 1, H, W) must be exactly 0 or 1. The model is used in evaluation mode and left as it was.
    """
    other = mask[(mask != 0) & (mask != 1)]
    if other.numel():
        raise ValueError(f"expected a mask of 0 (hole) and 1 (valid) only, got {other[0].item():g}")
    training = model.training
    model.eval()
    try:
        out = model(image, mask).float().clamp(0, 1)
    finally:
        model.train(training)
    return torch.where(mask > 0, image, out)
