"""VGG-16 up to pool3, the network that the perceptual and the style loss look through (`loss.vgg`).

Four sources of weights, each with its own standardisation of the input. The scale of the features matters: the
perceptual term grows with it and the style term with its square, so that the paper's loss weights mean something only
at about the scale of torchvision's weights, or of the packaged ones (unit root mean square in each layer).
"""

from __future__ import annotations

from http.client import HTTPException
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pconv.errors import PConvError

SOURCES = ("packaged", "imagenet", "random")
PACKAGED = files("pconv") / "weights" / "vgg16_pool3.safetensors"
PACKAGED_INPUT = ((0.48235, 0.45882, 0.40784), (1.0, 1.0, 1.0))
IMAGENET_INPUT = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision's, as its weights ask


class WeightsError(PConvError, ValueError):
    """VGG weights that cannot be used; the message names the file and says what to do."""


class VGGFeatures(nn.Module):
    """The outputs of pool1, pool2 and pool3 of a frozen VGG-16 (Simonyan & Zisserman 2014).

    source: packaged, imagenet (torchvision's, downloaded once), random (He's initialisation from a fixed seed) or the
    path of a safetensors file or a state dict with torchvision's keys. Raises WeightsError.
    """

    def __init__(self, source: str = "packaged"):
        super().__init__()
        layers, channels = [], 3
        for width in (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool"):
            if width == "pool":
                layers.append(nn.MaxPool2d(2))
            else:
                # "meta": no weights yet, so none are drawn from the global generator
                layers += [nn.Conv2d(channels, width, 3, padding=1, device="meta"), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*layers)  # numbered as in torchvision
        weights, (mean, std) = load_weights(source, self.features.state_dict())
        self.features.load_state_dict(weights, assign=True)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        self.source = source
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features of images (N, 3, H, W) in [0, 1]: (N, 64, H/2, W/2), (N, 128, H/4, W/4), (N, 256, H/8, W/8)."""
        x, pooled = (image - self.mean) / self.std, []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(x)
        return pooled


def load_weights(source: str, expected: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple]:
    """Weights for the layers `expected` names, in float32, and the (mean, std) that their input is to be given."""
    if source == "packaged":
        return _matching(load_file(str(PACKAGED)), expected, PACKAGED), PACKAGED_INPUT
    if source == "imagenet":
        return _matching(_torchvision_weights(), expected, "torchvision's VGG16"), IMAGENET_INPUT
    if source == "random":
        return _random_weights(expected), IMAGENET_INPUT
    path = Path(source)
    if not path.is_file():
        raise WeightsError(f"loss.vgg = {source}: no such file; one of {', '.join(SOURCES)}, or the path of a file")
    return _matching(_read(path), expected, path), IMAGENET_INPUT


def _matching(found: dict[str, Tensor], expected: dict[str, Tensor], where) -> dict[str, Tensor]:
    """Pick the expected layers out of a state dict, with torchvision's prefix `features.` or without."""
    weights = {}
    for key, like in expected.items():
        value = found.get(f"features.{key}", found.get(key))
        if value is None:
            raise WeightsError(f"{where}: no features.{key}; expected the keys of torchvision's vgg16")
        if value.shape != like.shape:
            raise WeightsError(f"{where}: features.{key} is {tuple(value.shape)}, expected {tuple(like.shape)}")
        weights[key] = value.float()
    return weights


def _read(path: Path) -> dict[str, Tensor]:
    """A state dict from safetensors or from torch.save, without running any code that the file may hold."""
    try:
        if path.suffix == ".safetensors":
            return load_file(str(path))
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the readers raise nearly anything
        raise WeightsError(
            f"{path}: neither safetensors nor a plain state dict of tensors ({_reason(error)})"
        ) from None
    return _state_dict(found, path)


def _state_dict(found, where) -> dict[str, Tensor]:
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(f"{where}: expected a state dict, names to tensors")
    return found


def _reason(error: Exception) -> str:
    first_line, *_ = str(error).split("\n")
    return f"{type(error).__name__}: {first_line}"


def _torchvision_weights() -> dict[str, Tensor]:
    from torchvision.models import VGG16_Weights

    weights = VGG16_Weights.IMAGENET1K_V1
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / Path(weights.url).name
    try:
        found = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, HTTPException) as error:
        raise WeightsError(
            f"loss.vgg = imagenet: could not download {weights.url} ({error}); put that file into {folder}, or use "
            "loss.vgg: packaged, which needs no download"
        ) from None
    except Exception as error:  # a damaged file, or one whose checksum is wrong
        raise WeightsError(
            f"loss.vgg = imagenet: {file} is not torchvision's VGG16 ({_reason(error)}); remove it if it is there, "
            f"so that {weights.url} is downloaded again, or use loss.vgg: packaged"
        ) from None
    return _state_dict(found, file)


def _random_weights(expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """He's initialisation from a fixed seed (cf. Liu et al., CVPR 2021, on random networks as perceptual loss)."""
    generator, weights = torch.Generator().manual_seed(0), {}
    for key, like in expected.items():
        weights[key] = torch.zeros(like.shape)
        if like.dim() == 4:
            nn.init.kaiming_normal_(weights[key], nonlinearity="relu", generator=generator)
    return weights
