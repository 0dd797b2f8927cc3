"""Tensors that users hand to the functions of the package: other shapes, types, ranges, and what is not a number.

A function is tried with good arguments of which one is exchanged for each wrong one in turn. It has to raise a
ValueError that says what is wrong.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hostile import table

NAN, INF = torch.nan, torch.inf


def square(*shape: int) -> Tensor:
    """Return a mask with a hole of 4 x 4 px in the middle."""
    mask = torch.ones(shape)
    middle = shape[-1] // 2
    mask[..., middle - 2 : middle + 2, middle - 2 : middle + 2] = 0
    return mask


def with_first(tensor: Tensor, value: float) -> Tensor:
    """Return the tensor with its first value changed, which belongs to a valid pixel."""
    tensor = tensor.clone()
    tensor.flatten()[0] = value
    return tensor


IMAGE, TRUTH, MASK = torch.full((2, 3, 32, 32), 0.5), torch.full((2, 3, 32, 32), 0.25), square(2, 1, 32, 32)
TURNED = torch.rand(2, 32, 3, 32, generator=torch.Generator().manual_seed(0)).transpose(1, 2)  # not contiguous

# What is wrong -> the tensor in place of IMAGE or MASK, and what has to be said of it
OTHERS = {"an array": (IMAGE.numpy(), r"ndarray"), "a number": (0.5, r"float")}
SHAPES = {
    "one image": (IMAGE[0], r"\(3, 32, 32\)"),
    "one channel": (IMAGE[:, :1], r"\(2, 1, 32, 32\)"),
    "alpha": (torch.ones(2, 4, 32, 32), r"\(2, 4, 32, 32\)"),
    "channels last": (IMAGE.permute(0, 2, 3, 1), r"\(2, 32, 32, 3\)"),
    "a single column": (IMAGE[..., :1], r"\(2, 3, 32, 1\)"),
    "another batch": (IMAGE[:1], r"\(1, 3, 32, 32\)|\(2, 1, 32, 32\)"),
}
TYPES = {
    "bytes": ((IMAGE * 255).byte(), r"uint8"),
    "integers": (IMAGE.long(), r"int64"),
    "bool": (IMAGE.bool(), r"bool"),
    "another device": (IMAGE.to("meta"), r"meta"),
}
VALUES = {
    "0..255": (IMAGE * 255, r"127\.5.*255"),
    "standardised": (IMAGE - 2, r"-1\.5"),
    "NaN": (with_first(IMAGE, NAN), r"nan|not finite"),
    "infinity": (with_first(IMAGE, INF), r"inf|not finite"),
}
OTHER_MASKS = {"an array": (MASK.numpy(), r"ndarray")}
MASKS = {
    "one mask": (MASK[0], r"\(1, 32, 32\)"),
    "three channels": (MASK.expand(-1, 3, -1, -1), r"\(2, 3, 32, 32\)"),
    "a single column": (MASK[..., :1], r"\(2, 1, 32, 1\)"),
    "another batch": (MASK[:1], r"\(1, 1, 32, 32\)"),
    "another device": (MASK.to("meta"), r"meta"),
    "0..255": (MASK * 255, r"255"),
    "-1 and 1": (MASK * 2 - 1, r"-1"),
    "NaN": (with_first(MASK, NAN), r"nan"),
}
MASK_TYPES = {"bool": (MASK.bool(), r"bool"), "bytes": (MASK.byte(), r"uint8"), "integers": (MASK.long(), r"int64")}
HALF = {"a half": (with_first(MASK, 0.5), r"0\.5")}
EMPTY = {"no image": slice(0), "no column": (..., slice(0))}
NO_PIXELS = r"\(0, 3, 32, 32\)|\(2, 3, 32, 0\)"


def refusals(module: str, kind: str, what: str, function, arguments: tuple, *wrong: dict, others: dict | None = None):
    """Register cases of a function: wrong[i] takes the place of argument i; others: name -> arguments, message."""
    rows = {f"{what}: {name}": row for name, row in (others or {}).items()}
    for place, tensors in enumerate(wrong):
        for name, (tensor, message) in tensors.items():
            given = *arguments[:place], tensor, *arguments[place + 1 :]
            rows[f"{what}, argument {place + 1}: {name}"] = (*given, message)
    table(kind, lambda folder, *given: function(*given), rows, ValueError, module)


def empty(*arguments: Tensor) -> dict:
    """Return the same arguments without any pixel."""
    return {name: (*(tensor[part] for tensor in arguments), NO_PIXELS) for name, part in EMPTY.items()}
