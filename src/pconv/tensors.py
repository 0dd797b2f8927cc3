"""Files of tensors (safetensors): one checked reader of what others made, and writing that cannot spoil.

Reading takes two steps. `read_tensors` maps a file into memory, which costs nothing however large its tensors claim to
be; `fit` compares them with what a network expects and copies only what is right.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pconv.errors import PConvError, cut
from pconv.files import open_file, write_file

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
MOST_HEADER = 2**20  # bytes, which are parsed at once; the header of the network at full size has 12,000
MOST_NAMED = 3  # tensors in a message, for each kind of problem


class WeightsError(PConvError, ValueError):
    """A file of weights that cannot be used; the message names the file and says what to do."""


def read_tensors(path: str | Path, hint: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file, by name, and its metadata.

    The tensors are views of the file and of any type: give them to `fit`. Raises WeightsError, which ends with `hint`,
    for whatever else the path leads to and for a file that is damaged or contradicts itself.
    """
    try:
        _check_header(path)
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except OSError as error:
        raise weights_error(path, error.strerror or error, hint) from None
    except (ValueError, SafetensorError) as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise weights_error(path, f"not a whole safetensors file ({cut(reason, 120)})", hint) from None
    except RuntimeError:  # of PyTorch, when it maps the file
        raise weights_error(path, "too large to be mapped into this machine's memory", hint) from None


def weights_error(path: str | Path, problem, hint: str) -> WeightsError:
    """Return an error of one line: the file, what is wrong with it, and what to do."""
    return WeightsError(f"{cut(path, 300)}: {problem}; {hint}")


def _check_header(path: str | Path) -> None:
    """Raise ValueError for what safe_open would not name, or would take a long time over."""
    with open_file(path) as file:
        head, size = file.read(9), os.fstat(file.fileno()).st_size
    length = int.from_bytes(head[:8], "little")
    if head[8:] != b"{":
        raise ValueError(_what_else(head))
    if length > size - 8:
        raise ValueError(f"it is cut short: the header alone has {length:,} bytes, the file {size:,}")
    if length > MOST_HEADER:
        raise ValueError(f"its header has {length:,} bytes, more than the {MOST_HEADER:,} that are read")


def _what_else(head: bytes) -> str:
    if head.startswith((b"PK", b"\x80")):
        return "it is a pickle or a file of torch.save; if you trust it, convert it with safetensors.torch.save_file"
    return "it holds something else" if head else "it is empty"


def fit(found: dict[str, Tensor], expected: dict[str, Tensor], path: str | Path, hint: str) -> dict[str, Tensor]:
    """Return copies of the tensors of a file, in the types that a network expects.

    `expected` is the network's state dict; its tensors may be on the meta device. Any floating-point type will do for
    another one. Raises WeightsError, which names the first tensors of each kind of problem, unless names and shapes
    are the network's, all values are finite and no convolution is all zero.
    """
    _refuse(_misfits(found, expected), path, hint)
    tensors = {name: found[name].detach().to(like.dtype, copy=True) for name, like in expected.items()}
    _refuse(_useless(tensors), path, hint)
    return tensors


def _misfits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> Iterator[tuple[str, list[str]]]:
    """Yield kinds of problems, each with the tensors that have it. No value is looked at."""
    both = [(name, found[name], like) for name, like in expected.items() if name in found]
    shapes = [(name, tuple(tensor.shape), tuple(like.shape)) for name, tensor, like in both]
    yield "missing", [name for name in expected if name not in found]
    yield "unknown", [name for name in found if name not in expected]
    yield "of another shape", [f"{name} {shape} instead of {want}" for name, shape, want in shapes if shape != want]
    yield "of another type", [f"{name} {tensor.dtype}" for name, tensor, like in both if not _converts(tensor, like)]


def _converts(found: Tensor, expected: Tensor) -> bool:
    """Whether a tensor holds numbers, and of the expected kind. One of PyTorch's files may be sparse or empty."""
    plain = found.layout == torch.strided and found.device.type == "cpu"
    return plain and (found.dtype == expected.dtype or (found.dtype in FLOATS and expected.dtype in FLOATS))


def _useless(tensors: dict[str, Tensor]) -> Iterator[tuple[str, list[str]]]:
    """Yield kinds of problems with values, each with the tensors that have it."""
    yield "not finite", [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    # A bias may be zero, as it is before training; a convolution of zeros passes nothing on.
    yield "all zero", [name for name, tensor in tensors.items() if tensor.dim() == 4 and not tensor.any()]


def _refuse(problems: Iterator[tuple[str, list[str]]], path: str | Path, hint: str) -> None:
    said = [f"{kind}: {_listed(names)}" for kind, names in problems if names]
    if said:
        raise weights_error(path, cut("; ".join(said), 400), hint)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(cut(name) for name in names[:MOST_NAMED]) + more


def write_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file whole or not at all. Give one metadata entry: the order of several would vary.

    Raises WeightsError if that cannot be done; the old file is then as it was.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        write_file(path, save(tensors, metadata))
    except OSError as error:
        hint = "free some disk space or permit writing there, then run again"
        raise weights_error(path, f"could not be written ({error.strerror})", hint) from None
