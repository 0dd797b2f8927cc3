"""The inpainting network: a U-Net of partial convolutions (Liu et al. 2018, section 3.2 and its Table)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from pconv.errors import cut
from pconv.layers import MaskedError, PartialConv2d, PlainConv2d, Window, check_masked, join_masks, zero_holes
from pconv.params import Model
from pconv.tensors import fit, read_tensors, weights_error, write_tensors

LEAK = 0.2  # negative slope of the decoder's LeakyReLU
MEAN, STD = 0.5, 0.25  # of an image's values, about; inside the network they are 0 and 1
FILLS = {"black": 0.0, "grey": MEAN, "white": 1.0}
HINT = "train a network with `dvc repro`, or give another file that training wrote"


class Down(nn.Module):
    """An encoder layer: convolution of stride 2, partial or plain, batch norm (but in the first layer), ReLU."""

    def __init__(self, convolution: Callable, in_channels: int, out_channels: int, kernel: int, norm: bool = True):
        super().__init__()
        self.conv = convolution(in_channels, out_channels, kernel, stride=2, padding=kernel // 2, bias=not norm)
        self.norm = nn.BatchNorm2d(out_channels) if norm else nn.Identity()

    def forward(self, x: Tensor, window: Window | None) -> Tensor:
        return F.relu(normalise(self.norm, self.conv.convolve(x, window), window), inplace=True)


class Up(nn.Module):
    """A decoder layer: nearest upsampling, joining, 3 x 3 convolution, batch norm, LeakyReLU.

    It joins the upsampled map with the encoder's map of the same size. The last layer has neither batch norm nor
    activation.
    """

    def __init__(
        self, convolution: Callable, in_channels: int, skip_channels: int, out_channels: int, last: bool = False
    ):
        super().__init__()
        self.conv = convolution(in_channels + skip_channels, out_channels, 3, padding=1, bias=last)
        self.norm = nn.Identity() if last else nn.BatchNorm2d(out_channels)
        self.channels, self.last = in_channels, last

    def forward(self, x: Tensor, skip: Tensor, window: Window | None) -> Tensor:
        x = self.conv.convolve(torch.cat([upsample(x), skip], dim=1), window)
        x = normalise(self.norm, x, window)
        return x if self.last else F.leaky_relu(x, LEAK, inplace=True)


def normalise(norm: nn.Module, x: Tensor, window: Window | None) -> Tensor:
    """Normalise features that are 0 in the hole and keep them 0 there, where batch norm would add its shift."""
    x = norm(x)
    return x if window is None or isinstance(norm, nn.Identity) else x.mul_(window.mask.to(x.dtype))


def fill_holes(image: Tensor, mask: Tensor, fill: str) -> Tensor:
    """Put a colour into the holes of images (N, 3, H, W): the mean of the valid pixels of each, or one of FILLS.

    mask: (N, 1, H, W), 1 valid, 0 hole. An image without a valid pixel becomes black.
    """
    known = zero_holes(image, mask) * mask
    if fill == "mean":
        colour = known.sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=1)
    else:
        colour = FILLS[fill]
    return known + (1 - mask) * colour


def upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


class PConvUNet(nn.Module):
    """The paper's network: forward(image, mask) -> out, all (N, 3, H, W) but the mask (N, 1, H, W).

    `width` is the number of channels of the first encoder layer (64 in the paper), `depth` the number of encoder layers
    (8), each of which halves the sides of the image. The channels double three times, then stay as many; the decoder
    mirrors the encoder.

    `layer` is "partial", or "plain" for the paper's comparison: the same network of ordinary convolutions, which sees
    no mask and finds in the hole what `fill` says, the "mean" colour of the valid pixels, "black", "grey" or "white".
    `scale` is what partial convolutions multiply with, a key of pconv.layers.SCALES.
    """

    def __init__(
        self, width: int = 64, depth: int = 8, layer: str = "partial", fill: str = "mean", scale: str = "paper"
    ):
        super().__init__()
        self.width, self.depth, self.layer, self.fill, self.scale = width, depth, layer, fill, scale
        convolution = {"partial": partial(PartialConv2d, scale=scale), "plain": PlainConv2d}[layer]
        channels = [3] + [width * 2 ** min(level, 3) for level in range(depth)]
        kernels = [7, 5, 5] + [3] * depth
        self.encoder = nn.ModuleList(
            Down(convolution, channels[i], channels[i + 1], kernels[i], norm=i > 0) for i in range(depth)
        )
        self.decoder = nn.ModuleList(
            Up(convolution, channels[i + 1], channels[i], channels[i], last=i == 0) for i in reversed(range(depth))
        )
        self.encoder_frozen = False

    @property
    def smallest(self) -> int:
        """The least height and width that forward takes: half of the side that the encoder reduces to one pixel."""
        return 2 ** (self.depth - 1)

    @property
    def reach(self) -> float:
        """The width of the widest square hole, px, that is filled wherever it lies among valid pixels.

        Plain convolutions have no such limit: they also compute where they see nothing but hole.

        A unit of the innermost map sees `radius` px to each side of a pixel, and its neighbours' pixels are 2^depth px
        away. The decoder closes a hole of one unit, since each layer doubles its width and takes one off either side;
        a hole of 2 x 2 units stays. So every hole is filled in which the square that 2 x 2 units see does not fit.
        """
        return 2 * self._radius + 2**self.depth if self.layer == "partial" else math.inf

    @property
    def reach_at_edge(self) -> float:
        """The same for a hole along the image's edge: all beyond it is hole, so no unit may see nothing but hole."""
        return self._radius if self.layer == "partial" else math.inf

    @property
    def _radius(self) -> int:
        return sum(down.conv.padding[0] * 2**level for level, down in enumerate(self.encoder))

    def reached(self, mask: Tensor) -> Tensor:
        """Tell for a mask (N, 1, H, W) of 0 and 1 where forward has anything to predict from: 1 there, else 0.

        No weight is involved. Where it is 0 the prediction is exactly the mean grey, whatever the image.
        """
        if self.layer == "plain":
            return torch.ones_like(mask)
        height, width = mask.shape[-2:]
        return self.windows(F.pad(mask, self._padding(height, width)))[-1].mask[..., :height, :width]

    def _padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return what is missing for both sides to be multiples of 2^depth, in F.pad's form."""
        step = 2**self.depth
        return 0, -width % step, 0, -height % step

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Predict an image (N, 3, H, W) from one in [0, 1] and its mask (N, 1, H, W), 1 where valid, 0 in the hole.

        The prediction is not clamped. Any H, W >= self.smallest: the image is padded with hole to a multiple of
        2^depth inside. Raises MaskedError for smaller images and for masks that do not fit.
        """
        check_masked(image, mask, channels=3)
        height, width = image.shape[-2:]
        if min(height, width) < self.smallest:
            raise MaskedError(
                f"an image of {height} x {width} is too small for depth {self.depth}: at least {self.smallest} px a "
                "side; enlarge the image or use a network of smaller depth"
            )
        padding = self._padding(height, width)
        if self.layer == "plain":
            image = fill_holes(image, mask, self.fill)
        image, mask = F.pad((image - MEAN) / STD, padding), F.pad(mask, padding)
        windows = iter(self.windows(mask))
        x, skips = zero_holes(image, mask) if self.layer == "partial" else image, []
        for down in self.encoder:
            skips.append(x)
            x = down(x, next(windows))
        for up in self.decoder:
            x = up(x, skips.pop(), next(windows))
        return x[..., :height, :width] * STD + MEAN

    @torch.no_grad()
    def windows(self, mask: Tensor) -> list[Window | None]:
        """Follow a mask (N, 1, H, W), with sides that are multiples of 2^depth, through the encoder and the decoder.

        Returns a window for each layer, None if it is plain. No weight is involved, so this is done once, ahead of the
        features.
        """
        if self.layer == "plain":
            return [None] * (2 * self.depth)
        windows, masks = [], []
        for down in self.encoder:
            masks.append(mask)
            windows.append(down.conv.window(mask))
            mask = windows[-1].mask
        for up in self.decoder:
            skip_channels = up.conv.in_channels - up.channels
            joined = join_masks(upsample(mask), up.channels, masks.pop(), skip_channels)
            windows.append(up.conv.window(joined))
            mask = windows[-1].mask
        return windows

    def freeze_encoder_norm(self) -> PConvUNet:
        """Hold the encoder's batch norm fixed, statistics and affine parameters (the second stage of training)."""
        self.encoder_frozen = True
        for norm in self._encoder_norms():
            norm.requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> PConvUNet:
        super().train(mode)
        if self.encoder_frozen:
            for norm in self._encoder_norms():
                norm.eval()
        return self

    def _encoder_norms(self):
        return [m for m in self.encoder.modules() if isinstance(m, nn.BatchNorm2d | nn.SyncBatchNorm)]


def he_init(model: PConvUNet, seed: int) -> PConvUNet:
    """Draw all convolution weights from He et al.'s normal distribution, from a generator of their own."""
    generator = torch.Generator().manual_seed(seed)
    for block in model.modules():
        if isinstance(block, Down | Up):
            slope = 0 if isinstance(block, Down) else LEAK
            nn.init.kaiming_normal_(block.conv.weight, a=slope, nonlinearity="leaky_relu", generator=generator)
            if block.conv.bias is not None:
                nn.init.zeros_(block.conv.bias)
    return model


def save_model(path: Path, tensors: dict[str, Tensor], about: dict) -> None:
    """Write a network's state dict as safetensors, with `about` (JSON values) in its metadata: whole or not at all.

    about["params"]["model"] must give width and depth. Raises WeightsError if the file cannot be written.
    """
    write_tensors(path, tensors, {"pconv": json.dumps(about, sort_keys=True)})


def load_model(path: str | Path) -> PConvUNet:
    """Return the network in a file that save_model wrote, in evaluation mode.

    Width and depth come from the metadata. Nothing is allocated before they and all tensors' names and shapes are known
    to be right. Raises WeightsError, which names the file and says what is wrong with it.
    """
    tensors, metadata = read_tensors(path, HINT)
    size = _size(path, metadata)
    with torch.device("meta"):  # shapes without memory
        model = PConvUNet(**size.model_dump())
    weights = fit(tensors, model.state_dict(), path, HINT)
    if negative := [name for name, tensor in weights.items() if name.endswith("running_var") and (tensor < 0).any()]:
        raise weights_error(path, f"{negative[0]} is a variance and has values below 0", HINT)
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _size(path: str | Path, metadata: dict[str, str]) -> Model:
    """Read a network's width and depth, within the limits of params.yaml, from what save_model wrote about it."""
    if "pconv" not in metadata:
        raise weights_error(path, "it has no metadata of this project, so its width and depth are unknown", HINT)
    try:
        size = Model.model_validate(json.loads(metadata["pconv"])["params"]["model"])
        if {"width", "depth"} <= size.model_fields_set:
            return size
        problem = "params.model: width and depth are not both there"
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{'.'.join(('params', 'model', *map(str, first['loc'])))}: {first['msg']}"
    except (KeyError, TypeError, ValueError, RecursionError):
        problem = "no params.model"
    raise weights_error(path, f"its metadata cannot be used ({cut(problem, 120)})", HINT)
