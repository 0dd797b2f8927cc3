"""Filling the holes of images with a trained network."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Context

import cv2
import torch
from torch import Tensor, nn

from pconv.errors import PConvError
from pconv.masks.tensors import compose, mask_to_hole
from pconv.unet import PConvUNet

TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)  # of images


class InpaintError(PConvError, ValueError):
    """An image, a mask or weights that give no picture; the message says what was expected and what to do."""


def complete(model: PConvUNet, image: Tensor, mask: Tensor) -> Tensor:
    """Fill the holes of images (N, 3, H, W) in [0, 1]: valid pixels as they are, the prediction, clamped, in the hole.

    The mask (N, 1, H, W), of any real type, is exactly 1 (or True) where valid and 0 in the hole; there the image may
    hold anything. The result is a tensor of its own, of the image's type, without gradient. The model is used in
    evaluation mode and left as it was.

    Raises InpaintError if image and mask do not fit each other or the model, if a valid pixel is outside [0, 1] or not
    finite, if a hole is wider than the network reaches, and if the prediction is not finite.
    """
    _check_kinds(model, image, mask)
    _check_shapes(model, image, mask)
    mask = _checked_mask(mask)
    _check_values(image, mask)
    if mask.all():
        return image.detach().clone()
    _check_reach(model, mask)
    out = _predict(model, image, mask)
    if not out.isfinite().logical_or(mask > 0).all():  # before clamping, which makes 1 of infinity
        raise InpaintError(_why_not_finite(model))
    return _paste(image, out, mask)


def composite(model: nn.Module, image: Tensor, mask: Tensor) -> Tensor:
    """Fill the holes as `complete` does, for tensors that are known to fit: nothing is checked.

    What lies out of the network's reach becomes exactly the mean grey; `model.reached(mask)` tells where that is.
    """
    return _paste(image, _predict(model, image, mask), mask)


@torch.inference_mode()
def _predict(model: nn.Module, image: Tensor, mask: Tensor) -> Tensor:
    """Run the model in evaluation mode and in the type of its weights."""
    training, weights = model.training, next(model.parameters(), image)
    model.eval()
    try:
        return model(image.to(weights.dtype), mask.to(weights.dtype))
    finally:
        model.train(training)


def _paste(image: Tensor, out: Tensor, mask: Tensor) -> Tensor:
    return compose(image.detach(), out.to(image.dtype).clamp(0, 1), mask)


def _check_kinds(model, image, mask) -> None:
    if not hasattr(model, "reached"):
        raise InpaintError(f"expected a network as load_model(path) gives it, got {type(model).__name__}")
    if not (isinstance(image, Tensor) and isinstance(mask, Tensor)):
        raise InpaintError(f"expected two tensors, got {type(image).__name__} and {type(mask).__name__}")
    if image.dtype not in TYPES:
        raise InpaintError(f"expected images of floating-point numbers, got {image.dtype}: 0..255 / 255 makes them")
    for name, tensor in (("image", image), ("mask", mask)):
        if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized:
            raise InpaintError(f"expected {name}s of plain real numbers, got {tensor.layout} of {tensor.dtype}")


def _check_shapes(model: PConvUNet, image: Tensor, mask: Tensor) -> None:
    if image.dim() != 4 or image.shape[1] != 3:
        raise InpaintError(f"expected images (N, 3, H, W), got {tuple(image.shape)}")
    expected = (len(image), 1, *image.shape[2:])
    if mask.shape != expected:
        raise InpaintError(f"expected a mask {expected} for images {tuple(image.shape)}, got {tuple(mask.shape)}")
    device = next(model.parameters()).device
    for name, tensor in (("image", image), ("mask", mask)):
        if tensor.device != device:
            raise InpaintError(f'the {name} is on {tensor.device}, the network on {device}: use .to("{device}")')
    if min(image.shape[2:]) < model.smallest:
        raise InpaintError(
            f"an image of {image.shape[3]} x {image.shape[2]} px is too small for a network of depth {model.depth}, "
            f"which takes {model.smallest} px a side or more: enlarge it or use less depth"
        )


def _checked_mask(mask: Tensor) -> Tensor:
    """Return the mask in float32 if it is one and leaves something to fill from."""
    other = mask[(mask != 0) & (mask != 1)]
    if other.numel():
        raise InpaintError(f"expected a mask of 0 (hole) and 1 (valid) only, got {other[0].item():g}")
    empty = (mask == 0).flatten(1).all(1).nonzero()
    if len(empty):
        raise InpaintError(f"mask {int(empty[0])} of {len(mask)} is all hole (0), so there is nothing to fill from")
    return mask.float()


def _check_values(image: Tensor, mask: Tensor) -> None:
    valid = image.masked_select(mask > 0)
    if not valid.isfinite().all():
        count = (~valid.isfinite()).sum()
        raise InpaintError(f"{count} values of valid pixels are not finite: repair the image, or call the pixels hole")
    low, high = valid.aminmax() if valid.numel() else (0, 0)
    if low < 0 or high > 1:
        raise InpaintError(
            f"expected values from 0 to 1 in valid pixels, got {low:g} to {high:g}: divide 0..255 by 255, or clamp"
        )


def _check_reach(model: PConvUNet, mask: Tensor) -> None:
    missed = model.reached(mask) == 0
    if not missed.any():
        return
    first = int(missed.flatten(1).any(1).nonzero()[0])
    # The Chebyshev distance to the nearest valid pixel is half the width of the square that fits around a pixel. What
    # lies beyond the edge counts as hole, as it does in the network.
    distance = int(cv2.distanceTransform(mask_to_hole(mask[first]), cv2.DIST_C, 3).max())
    count = int(missed[first].sum())
    scale = Context(prec=2, rounding=ROUND_FLOOR).create_decimal_from_float(model.reach_at_edge / distance)
    raise InpaintError(
        f"the hole of mask {first} is {2 * distance} px wide in places, too wide for a network of depth {model.depth}: "
        f"it reaches {model.reach} px, and {model.reach_at_edge} px from the edge of the image, so "
        f"{count} pixels would be grey; fill a copy of at most {scale} of its size, or use more depth"
    )


def _why_not_finite(model: PConvUNet) -> str:
    bad = [name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()]
    if bad:
        return f"the weights are not finite (NaN or infinity) in {bad[0]} and {len(bad) - 1} other tensors: load others"
    return "the prediction is not finite although the weights are: they are too large or no variances; load others"
