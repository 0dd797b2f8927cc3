"""The two conventions for holes, and the bins of hole ratios.

A hole is an array (H, W) of uint8 with 1 where pixels are missing; on disk it is white there. A mask is a float tensor
(1, H, W) with 1 where pixels are valid. `hole_to_mask` and `mask_to_hole` are the only way from one to the other.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from pconv.errors import PConvError

BINS = ((0.01, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6))  # a ratio r with low < r <= high


class MaskError(PConvError, ValueError):
    """A mask or mask file that cannot be used; the message names it."""


def bin_name(bounds: tuple[float, float]) -> str:
    """(0.1, 0.2) -> "0.1-0.2"."""
    return f"{bounds[0]:g}-{bounds[1]:g}"


def find_bin(ratio: float) -> str:
    """Name of the bin that a hole ratio falls into. Raises MaskError outside (0.01, 0.6]."""
    for low, high in BINS:
        if low < ratio <= high:
            return bin_name((low, high))
    raise MaskError(f"a hole ratio of {ratio:g} is outside the bins, which cover more than 0.01 and at most 0.6")


def border_width(size: int) -> int:
    """The paper's border constraint, 50 px at 512 px, for masks of `size` px."""
    return round(50 * size / 512)


def dilate(hole: np.ndarray, width: int) -> np.ndarray:
    """The hole widened by a square kernel of `width` px: (H, W) uint8."""
    _check_width(width)
    return cv2.dilate(hole, np.ones((width, width), np.uint8))


def hole_to_mask(hole: np.ndarray) -> Tensor:
    """(H, W) of bool or uint8, 1 = hole -> (1, H, W) float32, 1 = valid."""
    check_hole(hole)
    return torch.from_numpy(1 - hole.astype(np.float32))[None]


def mask_to_hole(mask: Tensor) -> np.ndarray:
    """(1, H, W) of 0 and 1, 1 = valid -> (H, W) uint8, 1 = hole."""
    if mask.ndim != 3 or mask.shape[0] != 1:
        raise MaskError(f"a mask has the shape (1, H, W), not {tuple(mask.shape)}")
    if not ((mask == 0) | (mask == 1)).all():
        raise MaskError("a mask holds 0 (hole) and 1 (valid) only")
    return (mask[0] == 0).to("cpu", torch.uint8).numpy()


def check_hole(hole: np.ndarray) -> None:
    if hole.ndim != 2 or hole.dtype not in (np.bool_, np.uint8):
        raise MaskError(f"a hole is an array (H, W) of bool or uint8, not {hole.shape} of {hole.dtype}")
    if hole.size and hole.max() > 1:
        raise MaskError(f"a hole holds 0 and 1 (hole) only, not {hole.max()}; read_hole makes one of a picture")


def hole_ratio(mask: Tensor) -> Tensor:
    """Share of hole pixels of each mask: (N, 1, H, W), 1 = valid -> (N,) float."""
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise MaskError(f"masks have the shape (N, 1, H, W), not {tuple(mask.shape)}")
    return (mask < 0.5).flatten(1).float().mean(1)


def border_share(hole: np.ndarray, width: int) -> float:
    """Share of hole among the pixels within `width` px of an edge; `hole` is (H, W), 1 = hole."""
    _check_width(width)
    inner = hole[width:-width, width:-width]
    return float((hole.sum() - inner.sum()) / (hole.size - inner.size))


def _check_width(width: int) -> None:
    if width < 1:
        raise MaskError(f"a width of {width} px: at least 1")


def compose(gt: Tensor, out: Tensor, mask: Tensor) -> Tensor:
    """The composite: the truth where valid, the prediction in the hole."""
    return torch.where(mask > 0, gt, out)
