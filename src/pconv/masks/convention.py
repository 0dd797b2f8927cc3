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
    """Return the name of a bin: "0.1-0.2" for (0.1, 0.2)."""
    return f"{bounds[0]:g}-{bounds[1]:g}"


def find_bin(ratio: float) -> str:
    """Return the name of the bin that a hole ratio falls into. Raises MaskError outside (0.01, 0.6]."""
    for low, high in BINS:
        if low < ratio <= high:
            return bin_name((low, high))
    raise MaskError(f"a hole ratio of {ratio:g} is outside the bins, which cover more than 0.01 and at most 0.6")


def grid_bin(ratio: float) -> str:
    """Return the name of the bin that masks with a grid of known pixels share, all of one hole ratio: "0.75"."""
    return f"{ratio:g}"


def border_width(size: int) -> int:
    """Return the paper's border constraint, 50 px at 512 px, for masks of `size` px."""
    return round(50 * size / 512)


def dilate(hole: np.ndarray, width: int) -> np.ndarray:
    """Widen a hole by a square kernel of `width` px: (H, W) uint8."""
    check_hole(hole)
    _check_width(width)
    return cv2.dilate(hole.astype(np.uint8), np.ones((width, width), np.uint8))


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


def check_hole(hole: np.ndarray) -> None:
    """Raise MaskError unless a hole is an array (H, W) of bool or uint8 with no other values than 0 and 1."""
    if not isinstance(hole, np.ndarray):
        raise MaskError(f"a hole is an array (H, W) of bool or uint8, not a {type(hole).__name__}")
    if hole.ndim != 2 or hole.dtype not in (np.bool_, np.uint8):
        raise MaskError(f"a hole is an array (H, W) of bool or uint8, not {hole.shape} of {hole.dtype}")
    if hole.size and hole.max() > 1:
        raise MaskError(f"a hole holds 0 and 1 (hole) only, not {hole.max()}; read_hole makes one of a picture")


def hole_ratio(mask: Tensor) -> Tensor:
    """Return the share of hole pixels of each mask (N, 1, H, W) of 0 and 1, 1 = valid: (N,) float."""
    _check_tensor(mask)
    if mask.ndim != 4 or mask.shape[1] != 1 or not mask.numel():
        raise MaskError(f"masks have the shape (N, 1, H, W) and pixels, not {tuple(mask.shape)}")
    check_binary(mask)
    return (mask == 0).flatten(1).float().mean(1)


def border_share(hole: np.ndarray, width: int) -> float:
    """Return the share of hole among the pixels within `width` px of an edge; `hole` is (H, W), 1 = hole."""
    check_hole(hole)
    _check_width(width)
    inner = hole[width:-width, width:-width]
    return float((hole.sum() - inner.sum()) / (hole.size - inner.size))


def thickness(hole: np.ndarray) -> float:
    """Return the largest width of a hole (H, W), 1 = hole, in px: twice the greatest distance to a valid pixel.

    The distance is the Euclidean one between the centres of pixels, so a straight strip comes out right if it is an
    even number of pixels wide, and one pixel too wide otherwise. Nothing is known outside the image: a hole that
    touches an edge can be filled from one side only and is as hard as one twice as wide in the middle. Raises
    MaskError if all is hole, which has no width.
    """
    check_hole(hole)
    if not hole.size or hole.all():
        raise MaskError("a hole without valid pixels has no width")
    return 2 * float(cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max())


def _check_width(width: int) -> None:
    if width < 1:
        raise MaskError(f"a width of {width} px: at least 1")


def _check_tensor(mask: Tensor) -> None:
    if not isinstance(mask, Tensor):
        raise MaskError(f"a mask is a tensor, not a {type(mask).__name__}")


def check_binary(mask: Tensor) -> None:
    """Raise MaskError unless a mask of any shape and type is 0 or 1 everywhere."""
    other = mask[(mask != 0) & (mask != 1)]
    if other.numel():
        raise MaskError(f"a mask holds 0 (hole) and 1 (valid) only, not {other[0].item():g}")


def compose(gt: Tensor, out: Tensor, mask: Tensor) -> Tensor:
    """Return the composite: the truth where valid, the prediction in the hole.

    Images are (N, 3, H, W), masks (N, 1, H, W). Raises MaskError for other shapes, which would be repeated in silence.
    """
    if gt.shape != out.shape or mask.shape != (len(gt), 1, *gt.shape[2:]):
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in (gt, out, mask))
        raise MaskError(f"expected two images (N, 3, H, W) and their mask (N, 1, H, W), got {shapes}")
    return torch.where(mask > 0, gt, out)
