"""One hole filled by several methods, each with its time and its PSNR in the hole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pconv import baselines
from pconv.data.tensors import to_tensor
from pconv.errors import PConvError
from pconv.masks.convention import MaskError
from pconv.masks.tensors import hole_to_mask
from pconv.metrics import PSNR_MAX
from pconv.playground.network import fill, load_network
from pconv.unet import PConvUNet

OURS = "pconv"
TITLES = {OURS: "this network", "telea": "Telea", "navier-stokes": "Navier-Stokes", "biharmonic": "biharmonic"}
QUICK = (OURS, "telea", "navier-stokes")
SLOW = ("biharmonic",)


class Filling(NamedTuple):
    """What one method made of a hole."""

    method: str  # a key of TITLES
    colours: np.ndarray  # (pixels of the hole, 3) uint8, row by row; none where there was a problem
    psnr: float  # dB, over the pixels of the hole
    seconds: float
    problem: str  # one line, empty where the hole was filled


class Methods:
    """The network and the classical methods, on equal terms: photographs (H, W, 3) and holes (H, W), both uint8."""

    def __init__(self):
        self._network: PConvUNet | None = None

    def fill(self, image: np.ndarray, hole: np.ndarray, methods: Iterable[str]) -> list[Filling]:
        """Fill the hole by each method. Raises MaskError if nothing is left to fill it from."""
        if hole.all():
            raise MaskError("the hole covers the whole picture: leave something to fill it from")
        return [self._fill_by(method, image, hole) for method in methods] if hole.any() else []

    def _fill_by(self, method: str, image: np.ndarray, hole: np.ndarray) -> Filling:
        try:
            call, tensor, mask = self._call(method), to_tensor(image), hole_to_mask(hole)
            began = time.perf_counter()
            out = call(tensor, mask)
            seconds = time.perf_counter() - began
        except PConvError as error:
            return Filling(method, np.zeros((0, 3), np.uint8), float("nan"), 0.0, str(error))
        colours = (255 * out).round().to(torch.uint8).permute(1, 2, 0).numpy()[hole == 1]
        return Filling(method, colours, psnr(colours, image[hole == 1]), seconds, "")

    def _call(self, method: str) -> Callable[[Tensor, Tensor], Tensor]:
        """Return what fills an image (3, H, W) with a mask (1, H, W); the network is loaded when it is first needed."""
        if method != OURS:
            return partial(baselines.fill, method)
        if self._network is None:
            self._network = load_network()
        return lambda image, mask: fill(self._network, *to_device(self._network, image, mask))[0].cpu()


def to_device(network: PConvUNet, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Return an image and a mask as batches of one where the network is, in the layout in which it is fastest."""
    device = next(network.parameters()).device
    return tuple(tensor[None].to(device, memory_format=torch.channels_last) for tensor in tensors)


def psnr(out: np.ndarray, truth: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio over some pixels (n, 3) uint8, in dB, at most PSNR_MAX."""
    error = np.square((out.astype(float) - truth) / 255).mean()
    return min(PSNR_MAX, -10 * float(np.log10(error))) if error else PSNR_MAX


def in_words(ratio: float, fillings: Iterable[Filling]) -> str:
    """Say in Markdown how large the hole is, a share of the picture, and how near each method came to the truth."""
    rows = [
        f"- {TITLES[f.method]}: {f.problem or f'{f.psnr:.1f} dB in the hole, in {1000 * f.seconds:.0f} ms'}"
        for f in fillings
    ]
    return "\n".join([f"The hole covers {ratio:.1%} of the picture.", "", *rows])
