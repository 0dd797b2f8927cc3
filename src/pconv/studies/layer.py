"""The partial convolution as others publish it, in our own code, for the table of notebook 02. Nothing else uses it.

Every function takes features x (N, C, H, W), a mask of the same shape (1 where valid, each channel has its own), a
weight (C', C, k, k) and a bias (C') or None. Stride 1 and a padding of k // 2 zeros give (N, C', H, W).
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from pconv.layers import PartialConv2d, hide, precise

EPSILON = 1e-8  # what PConv-Keras and NVIDIA add to sum(M), so as not to divide by 0


def equation_1(x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The paper's equation, window by window: W^T (X * M) * sum(1) / sum(M) + b where sum(M) > 0, else 0."""
    windows, valid = (F.unfold(t, weight.shape[-2:], padding=weight.shape[-1] // 2) for t in (x * mask, mask))
    total = valid.sum(1, keepdim=True)  # sum(M), over C k^2 values
    out = weight.flatten(1) @ windows * (valid.shape[1] / total)
    if bias is not None:
        out = out + bias.view(-1, 1)
    return torch.where(total > 0, out, 0).unflatten(2, x.shape[2:])


def this_project(x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """PartialConv2d, given the fraction of valid channels as its mask."""
    channels, size = weight.shape[1::-1], weight.shape[-1]
    conv = PartialConv2d(*channels, size, padding=size // 2, bias=bias is not None)
    parameters = {"weight": weight} | ({} if bias is None else {"bias": bias})
    inputs = hide(x, mask), precise(mask).mean(1, keepdim=True)
    return torch.func.functional_call(conv, parameters, inputs)[0]


def plain(x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A convolution of the image with its hole set to 0, not normalised."""
    return _conv(x * mask, weight) + _column(bias)


def pconv_keras(x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """MathiasGruber/PConv-Keras: the window counts k^2, sum(M) runs over the channels too; the bias is never masked."""
    total = _sum(mask, weight)
    ratio = weight.shape[-1] ** 2 / (total + EPSILON) * total.clamp(0, 1)
    return _conv(x * mask, weight) * ratio + _column(bias)


def naoto0804(x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """naoto0804/pytorch-inpainting-with-partial-conv: divided by sum(M), without C k^2."""
    total = _sum(mask, weight)
    out = _conv(x * mask, weight) / torch.where(total > 0, total, 1) + _column(bias)
    return torch.where(total > 0, out, 0)


def nvidia(x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """NVIDIA/partialconv, multi-channel: C k^2 / (sum(M) + epsilon), summed in the precision of the features."""
    total = _sum(mask, weight)
    valid = total.clamp(0, 1)
    ratio = weight[0].numel() / (total + EPSILON) * valid
    return (_conv(x * mask, weight) * ratio + _column(bias)) * valid


VARIANTS = {
    "this project": this_project,
    "NVIDIA": nvidia,
    "PConv-Keras": pconv_keras,
    "naoto0804": naoto0804,
    "plain convolution": plain,
}


def _conv(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, padding=weight.shape[-1] // 2)


def _sum(mask: Tensor, weight: Tensor) -> Tensor:
    """sum(M) over the channels and the k x k window: (N, 1, H, W)."""
    return _conv(mask, torch.ones_like(weight[:1]))


def _column(bias: Tensor | None) -> Tensor | float:
    return 0.0 if bias is None else bias.view(-1, 1, 1)


def compare(outputs: dict[str, Tensor], expected: Tensor) -> pd.DataFrame:
    """Each output against the expected one, one row each.

    scale: the factor that brings the expected output closest to this one. error: |output - expected| / |expected|, in
    Euclidean norms. error after batch norm: the same after both went through a batch norm with its usual epsilon, 1e-5.
    """
    rows = {
        name: {
            "scale": ((out * expected).sum() / expected.square().sum()).item(),
            "error": relative_error(out, expected),
            "error after batch norm": relative_error(_normalised(out), _normalised(expected)),
        }
        for name, out in outputs.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def hard_cases(variant, x: Tensor, mask: Tensor, weight: Tensor) -> dict[str, float]:
    """What a variant makes of an empty window with a bias of 1, of NaN in the hole, and of float16.

    The last two are shares of NaN in the output. float16 cannot hold an epsilon of 1e-8.
    """
    empty = _sum(mask, weight).expand(-1, len(weight), -1, -1) == 0
    half = variant(*(t.half() for t in (x, mask, weight)))
    return {
        "empty window, b = 1": variant(x, mask, weight, weight.new_ones(len(weight)))[empty].mean().item(),
        "NaN from the hole": _share_of_nan(variant(torch.where(mask > 0, x, torch.nan), mask, weight)),
        "NaN in float16": _share_of_nan(half),
    }


def relative_error(out: Tensor, expected: Tensor) -> float:
    """|out - expected| / |expected|, in Euclidean norms."""
    return ((out - expected).norm() / expected.norm()).item()


def _share_of_nan(x: Tensor) -> float:
    return x.isnan().float().mean().item()


def _normalised(x: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, training=True)
