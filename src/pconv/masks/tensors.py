"""Masks as tensors, and the way from a hole to a mask and back.

A mask is a float tensor (1, H, W) with 1 where pixels are valid, the opposite of a hole (pconv.masks.convention).
`hole_to_mask` and `mask_to_hole` are the only way from one to the other.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pconv.masks.convention import MaskError, check_hole


def hole_to_mask(hole: np.ndarray) -> Tensor:
    """Turn a hole (H, W) of bool or uint8, 1 = hole, into a mask (1, H, W) of float32, 1 = valid."""
    check_hole(hole)
    return torch.from_numpy(1 - hole.astype(np.float32))[None]


def mask_to_hole(mask: Tensor) -> np.ndarray:
    """Turn a mask (1, H, W) of 0 and 1, 1 = valid, into a hole (H, W) of uint8, 1 = hole."""
    _check_tensor(mask)
    if mask.ndim != 3 or mask.shape[0] != 1:
        raise MaskError(f"a mask has the shape (1, H, W), not {tuple(mask.shape)}")
    check_binary(mask)
    return (mask[0] == 0).to("cpu", torch.uint8).numpy()


def hole_ratio(mask: Tensor) -> Tensor:
    """Return the share of hole pixels of each mask (N, 1, H, W) of 0 and 1, 1 = valid: (N,) float."""
    _check_tensor(mask)
    if mask.ndim != 4 or mask.shape[1] != 1 or not mask.numel():
        raise MaskError(f"masks have the shape (N, 1, H, W) and pixels, not {tuple(mask.shape)}")
    check_binary(mask)
    return (mask == 0).flatten(1).float().mean(1)


def compose(gt: Tensor, out: Tensor, mask: Tensor) -> Tensor:
    """Return the composite: the truth where valid, the prediction in the hole.

    Images are (N, 3, H, W), masks (N, 1, H, W). Raises MaskError for other shapes, which would be repeated in silence.
    """
    if gt.shape != out.shape or mask.shape != (len(gt), 1, *gt.shape[2:]):
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in (gt, out, mask))
        raise MaskError(f"expected two images (N, 3, H, W) and their mask (N, 1, H, W), got {shapes}")
    return torch.where(mask > 0, gt, out)


def check_binary(mask: Tensor) -> None:
    """Raise MaskError unless a mask of any shape and type is 0 or 1 everywhere."""
    other = mask[(mask != 0) & (mask != 1)]
    if other.numel():
        raise MaskError(f"a mask holds 0 (hole) and 1 (valid) only, not {other[0].item():g}")


def _check_tensor(mask: Tensor) -> None:
    if not isinstance(mask, Tensor):
        raise MaskError(f"a mask is a tensor, not a {type(mask).__name__}")
