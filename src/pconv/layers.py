"""The partial convolution (Liu et al. 2018, section 3.1) and the joining of two masked feature maps.

A mask has one channel, (N, 1, H, W): the fraction of a pixel's feature channels that are valid. It is 0 or 1 for an
image or for the output of one layer, and between them only where two feature maps with different masks were joined.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pconv.errors import PConvError

# The types of features, each with an integer of as many bytes.
BITS = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}

# What eq. 1 multiplies with, times sum(M) / C, for C channels and a kernel of so many pixels. Published implementations
# leave out constants, which batch norm takes back where it follows; the paper's is the default, the others are for
# comparison.
SCALES = {
    "paper": lambda channels, pixels: pixels,  # C k^2 / sum(M)
    "keras": lambda channels, pixels: pixels / channels,  # k^2 / sum(M), as PConv-Keras
    "sum": lambda channels, pixels: 1 / channels,  # 1 / sum(M), as naoto0804
}


class MaskedError(PConvError, ValueError):
    """Features and a mask that do not fit each other or the layer; the message says what was expected."""


class Window(NamedTuple):
    """What a mask means to one partial convolution, window by window: two tensors (N, 1, H', W')."""

    ratio: Tensor  # C k^2 / sum(M), or what else SCALES has; 0 for an empty window
    mask: Tensor  # the mask of the result: 1 where the window is not empty, else 0


class PartialConv2d(nn.Conv2d):
    """Convolve the valid pixels of each window, and tell where the result is valid.

    With X the features of a window, M their validity (zero padding counts as hole), C input channels and a k x k
    kernel (eqs. 1 and 2 of the paper):

        x' = W^T (X * M) * C k^2 / sum(M) + b   where sum(M) > 0, else 0
        m' = 1                                  where sum(M) > 0, else 0

    Arguments are those of nn.Conv2d with zero padding, a number or a pair, and groups=1; `scale`, a key of SCALES,
    replaces the factor C k^2 / sum(M).

    Reference for the multi-channel form that this equals: NVIDIA/partialconv.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        bias=True,
        *,
        scale="paper",
        **factory,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=bias, **factory)
        if isinstance(padding, str) or self.padding_mode != "zeros" or self.groups != 1:
            raise ValueError("PartialConv2d takes zero padding, as a number or a pair, and groups=1")
        self._numerator = SCALES[scale](self.in_channels, math.prod(self.kernel_size))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve features x (N, C, H, W) under mask (N, 1, H, W), values in [0, 1].

        Returns the features (N, C', H', W') and their mask (N, 1, H', W'), 0 or 1. What x holds where the mask is 0,
        NaN and infinity included, changes neither the result nor any gradient.
        Raises MaskedError for shapes, channels, types, devices or mask values that do not fit.
        """
        check_masked(x, mask, self.in_channels)
        window = self.window(mask)
        return self.convolve(zero_holes(x, mask), window), window.mask

    def convolve(self, x: Tensor, window: Window) -> Tensor:
        """Apply eq. 1 to features that are 0 in the hole, given their mask's window; the result is 0 in the new hole.

        The result is scaled in place, since a copy of it would take longer than the arithmetic.
        """
        x = F.conv2d(x, self.weight, None, self.stride, self.padding, self.dilation)
        x = x.mul_(window.ratio.to(x.dtype))
        if self.bias is not None:
            x = x.addcmul_(self.bias.to(x.dtype).view(-1, 1, 1), window.mask.to(x.dtype))
        return x

    @torch.no_grad()
    def window(self, mask: Tensor) -> Window:
        """Reduce a mask (N, 1, H, W) to what eqs. 1 and 2 need of it, window by window; no weight is involved.

        It is computed in float32, or in the mask's own float64, whatever the precision of the features: half precision
        cannot hold the sums of a large window.
        """
        vertical, horizontal = self.padding
        valid = F.pad(precise(mask), (horizontal, horizontal, vertical, vertical))
        # A window's sum is the sum of its rows' sums, so one side is summed after the other: that takes a fifth of the
        # time of a convolution with ones. `unfold` cuts a side into overlapping pieces along a new last dimension,
        # without a copy; a dilated kernel sees every `dilation`-th value of a piece.
        for side, size, stride, dilation in zip((2, 3), self.kernel_size, self.stride, self.dilation, strict=True):
            reach = dilation * (size - 1) + 1
            if valid.shape[side] < reach:
                raise MaskedError(f"a mask {tuple(mask.shape)} is too small, padding {self.padding}, for {reach} px")
            valid = valid.unfold(side, reach, stride)[..., ::dilation].sum(-1)
        # The mask has one channel for all C of the features, so `valid` is sum(M) / C, and C cancels out of the ratio.
        new_mask = valid.sign()
        return Window(self._numerator * new_mask / valid.clamp(min=torch.finfo(valid.dtype).tiny), new_mask)


class PlainConv2d(nn.Conv2d):
    """An ordinary convolution, called as PartialConv2d is: the same network without masks, for comparison."""

    def convolve(self, x: Tensor, window: None) -> Tensor:
        """Convolve features (N, C, H, W), whether valid or not."""
        return self(x)


def zero_holes(x: Tensor, mask: Tensor) -> Tensor:
    """Set features to exactly 0 where the mask is 0, whatever they held there, and their gradient too."""
    # -1 has all bits set and keeps a number; 0 has none and makes it 0, even if it was NaN.
    return _ZeroHoles.apply(x, -mask.ceil().to(BITS[x.dtype]))


class _ZeroHoles(torch.autograd.Function):
    """Combine numbers with a pattern of bits by AND. torch.where does the same in ten times the time on a CPU."""

    @staticmethod
    def forward(ctx, x: Tensor, keep: Tensor) -> Tensor:
        ctx.save_for_backward(keep)
        return (x.view(keep.dtype) & keep).view(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return _ZeroHoles.apply(grad, keep), None


def precise(mask: Tensor) -> Tensor:
    """Return the mask in float32, or in its own float64."""
    return mask.to(torch.promote_types(mask.dtype, torch.float32))


def join(x1: Tensor, mask1: Tensor, x2: Tensor, mask2: Tensor) -> tuple[Tensor, Tensor]:
    """Concatenate two feature maps with masks of their own, for one partial convolution over both.

    x1 (N, C1, H, W), x2 (N, C2, H, W), masks (N, 1, H, W) of 0 and 1. Returns the maps with their holes set to 0,
    (N, C1 + C2, H, W), and the fraction of valid channels per pixel, (C1 mask1 + C2 mask2) / (C1 + C2). Since a mask
    is the same for all channels of one map, PartialConv2d of these equals the layer with full multi-channel masks.
    Raises MaskedError for maps or masks that do not fit.
    """
    check_masked(x1, mask1)
    check_masked(x2, mask2)
    if x1.shape[0] != x2.shape[0] or x1.shape[2:] != x2.shape[2:]:
        raise MaskedError(f"cannot join feature maps {tuple(x1.shape)} and {tuple(x2.shape)}: N, H and W must be equal")
    joined = torch.cat([zero_holes(x1, mask1), zero_holes(x2, mask2)], dim=1)
    return joined, join_masks(mask1, x1.shape[1], mask2, x2.shape[1])


def join_masks(mask1: Tensor, channels1: int, mask2: Tensor, channels2: int) -> Tensor:
    """Return the fraction of valid channels per pixel where two feature maps of so many channels are joined."""
    return (channels1 * precise(mask1) + channels2 * precise(mask2)) / (channels1 + channels2)


def check_masked(x: Tensor, mask: Tensor, channels: int | None = None) -> None:
    """Raise MaskedError, which says what was expected, unless mask (N, 1, H, W) fits features x (N, C, H, W).

    Values are checked on the CPU only: on a GPU that would make every layer wait for the device.
    """
    if x.dim() != 4 or (channels is not None and x.shape[1] != channels):
        raise MaskedError(f"expected features (N, {channels or 'C'}, H, W), got {tuple(x.shape)}")
    if x.dtype not in BITS:
        raise MaskedError(f"expected floating-point features, got {x.dtype}: use .float(), and divide 0..255 by 255")
    expected = (x.shape[0], 1, *x.shape[2:])
    if mask.shape != expected:
        raise MaskedError(
            f"expected a mask {expected} of one channel for features {tuple(x.shape)}, got {tuple(mask.shape)}"
        )
    if mask.device != x.device:
        raise MaskedError(f"the mask is on {mask.device}, the features are on {x.device}: move one of them")
    if not mask.is_floating_point():
        raise MaskedError(f"expected a floating-point mask, got {mask.dtype}: use mask.float()")
    if mask.device.type == "cpu" and not torch.compiler.is_compiling() and mask.numel():
        check_mask_values(mask)


def check_mask_values(mask: Tensor) -> None:
    """Raise MaskedError unless every value of the mask is in [0, 1]."""
    low, high = (v.item() for v in torch.aminmax(mask.detach()))
    if not (low >= 0 and high <= 1):  # also true for NaN
        raise MaskedError(f"expected mask values from 0 (hole) to 1 (valid), got {low:g} to {high:g}")
