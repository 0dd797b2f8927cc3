"""The partial convolution as others publish it, rewritten here for the table of notebook 02; nothing else uses it.

Every variant takes features x (N, C, H, W), a mask of the same shape (1 where valid; each channel has its own), a
weight (C', C, k, k) and a bias (C') or None. With stride 1 and a padding of k // 2 zeros it returns (N, C', H, W).
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from pconv.layers import PartialConv2d, precise, zero_holes

EPSILON = 1e-8  # what PConv-Keras and NVIDIA add to sum(M), so as not to divide by 0


def equation_1(x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply the paper's equation 1 window by window: W^T (X * M) * sum(1) / sum(M) + b where sum(M) > 0, else 0."""
    windows, valid = (F.unfold(t, weight.shape[-2:], padding=weight.shape[-1] // 2) for t in (x * mask, mask))
    total = valid.sum(1, keepdim=True)  # sum(M), over C k^2 values
    out = weight.flatten(1) @ windows * (valid.shape[1] / total)
    if bias is not None:
        out = out + bias.view(-1, 1)
    return torch.where(total > 0, out, 0).unflatten(2, x.shape[2:])


def this_project(x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply PartialConv2d, whose mask is the fraction of valid channels."""
    channels, size = weight.shape[1::-1], weight.shape[-1]
    conv = PartialConv2d(*channels, size, padding=size // 2, bias=bias is not None)
    parameters = {"weight": weight} | ({} if bias is None else {"bias": bias})
    inputs = zero_holes(x, mask), precise(mask).mean(1, keepdim=True)
    return torch.func.functional_call(conv, parameters, inputs)[0]


def plain(x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve the image with its hole set to 0, without normalisation."""
    return _conv(x * mask, weight) + _column(bias)


def pconv_keras(x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Do as MathiasGruber/PConv-Keras: k^2 over a sum(M) that includes the channels; the bias is never masked."""
    total = _sum(mask, weight)
    ratio = weight.shape[-1] ** 2 / (total + EPSILON) * total.clamp(0, 1)
    return _conv(x * mask, weight) * ratio + _column(bias)


def naoto0804(x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Do as naoto0804/pytorch-inpainting-with-partial-conv: divide by sum(M), without the factor C k^2."""
    total = _sum(mask, weight)
    out = _conv(x * mask, weight) / torch.where(total > 0, total, 1) + _column(bias)
    return torch.where(total > 0, out, 0)


def nvidia(x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Do as NVIDIA/partialconv, multi-channel: C k^2 / (sum(M) + epsilon), summed in the precision of the features."""
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
    """Compare each output with the expected one: a row per output.

    scale: the factor by which the expected output comes closest to this one. error: |output - expected| / |expected| in
    Euclidean norms. error after batch norm: the same after batch norm, with its usual epsilon of 1e-5, of both.
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
    """Try a variant on empty windows with a bias of 1, on NaN in the hole, and in float16.

    Returns the mean output of the empty windows, and the share of NaN in the output of the other two. float16 cannot
    represent an epsilon of 1e-8.
    """
    empty = _sum(mask, weight).expand(-1, len(weight), -1, -1) == 0
    half = variant(*(t.half() for t in (x, mask, weight)))
    return {
        "empty window, b = 1": variant(x, mask, weight, weight.new_ones(len(weight)))[empty].mean().item(),
        "NaN from the hole": _share_of_nan(variant(torch.where(mask > 0, x, torch.nan), mask, weight)),
        "NaN in float16": _share_of_nan(half),
    }


def relative_error(out: Tensor, expected: Tensor) -> float:
    """Return |out - expected| / |expected| in Euclidean norms."""
    return ((out - expected).norm() / expected.norm()).item()


def _share_of_nan(x: Tensor) -> float:
    return x.isnan().float().mean().item()


def _normalised(x: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, training=True)
