"""Checks of image and mask tensors, in one wording, for the functions that compute with them.

Shapes and types cost nothing. Values are looked at on the CPU only, where that takes a thousandth of a training step: a
GPU would have to finish all its work before each answer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pconv.masks.tensors import check_binary


def check_images(**images: Tensor) -> None:
    """Raise ValueError, naming the argument, unless all are (N, 3, H, W) in floating point, of one shape and device."""
    (reference, like), *_ = images.items()
    for name, image in images.items():
        if not isinstance(image, Tensor):
            raise ValueError(f"{name}: expected a tensor (N, 3, H, W), got {type(image).__name__}")
        if image.dim() != 4 or image.shape[1] != 3 or not image.numel():
            raise ValueError(f"{name}: expected images (N, 3, H, W) with pixels, got {tuple(image.shape)}")
        check_floating(name, image)
        if image.shape != like.shape:
            raise ValueError(
                f"{name} is {tuple(image.shape)}, {reference} is {tuple(like.shape)}: expected equal shapes"
            )
        check_device(name, image, reference, like)


def check_floating(name: str, tensor: Tensor) -> None:
    """Raise ValueError unless a tensor holds floating-point numbers: others wrap around where they are subtracted."""
    if not tensor.is_floating_point():
        raise ValueError(f"{name}: expected floating point, got {tensor.dtype}: use .float(), and divide 0..255 by 255")


def check_device(name: str, tensor: Tensor, reference: str, like: Tensor) -> None:
    """Raise ValueError unless two tensors are on one device."""
    if tensor.device != like.device:
        raise ValueError(f"{name} is on {tensor.device}, {reference} is on {like.device}: move one of them")


def check_mask(mask: Tensor, image: Tensor) -> None:
    """Raise ValueError unless a floating-point mask (N, 1, H, W) of 0 and 1 fits images (N, 3, H, W)."""
    if not isinstance(mask, Tensor):
        raise ValueError(f"mask: expected a tensor (N, 1, H, W), got {type(mask).__name__}")
    expected = (len(image), 1, *image.shape[2:])
    if mask.shape != expected:
        raise ValueError(f"mask: expected {expected} for images {tuple(image.shape)}, got {tuple(mask.shape)}")
    check_floating("mask", mask)
    check_device("mask", mask, "the image", image)
    if _has_values(mask):
        check_binary(mask)


def check_range(name: str, image: Tensor, low: float = 0, high: float = 1) -> None:
    """Raise ValueError if a value lies outside [low, high] or is NaN."""
    if not _has_values(image):
        return
    least, most = (value.item() for value in image.detach().aminmax())
    if not (least >= low and most <= high):  # also true of NaN
        raise ValueError(
            f"{name}: expected values from 0 to 1, got {least:g} to {most:g}: divide 0..255 by 255, or clamp"
        )


def _has_values(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()
