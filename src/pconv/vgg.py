"""VGG-16 up to pool3, the network whose features the perceptual and the style loss compare (`loss.vgg`).

Four sources of weights, each with its own standardisation of the input. The scale of the features matters: the
perceptual term grows with it and the style term with its square, so that the paper's loss weights mean something only
at about the scale of torchvision's weights, or of the packaged ones (unit root mean square in each layer).
"""

from __future__ import annotations

import zipfile
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor, nn

from pconv.files import open_file
from pconv.params import NAMED_VGG
from pconv.project import ProjectError, project_root
from pconv.tensors import WeightsError, fit, read_tensors, weights_error

PACKAGED = Path(files("pconv") / "weights" / "vgg16_pool3.safetensors")
PACKAGED_INPUT = ((0.48235, 0.45882, 0.40784), (1.0, 1.0, 1.0))
IMAGENET_INPUT = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision's, as its weights ask
ALLOWED = f"one of {', '.join(NAMED_VGG)}, or the path of a file"
SMALLEST = 8  # px a side that leave the third pooling a pixel
HINT = f"loss.vgg is {ALLOWED} with the keys of torchvision's vgg16"


class VGGFeatures(nn.Module):
    """The outputs of pool1, pool2 and pool3 of a frozen VGG-16 (Simonyan & Zisserman 2014).

    `source` is packaged, imagenet (torchvision's, downloaded once), random (He's initialisation from a fixed seed) or
    the path of a file with torchvision's keys: safetensors, or a state dict that torch.save wrote. A relative path
    starts at the project's root. Raises WeightsError, which names the file, for weights that cannot be used.
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
        """Return the features of images (N, 3, H, W) in [0, 1].

        Their shapes are (N, 64, H/2, W/2), (N, 128, H/4, W/4) and (N, 256, H/8, W/8), rounded down.
        """
        x, pooled = (image - self.mean) / self.std, []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(x)
        return pooled


def load_weights(source: str, expected: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple]:
    """Return float32 weights for the layers that `expected` names, and the (mean, std) to standardise their input with.

    Raises WeightsError unless all are there, finite and of the right shape, and no convolution is all zero.
    """
    if source == "random":
        return _random_weights(expected), IMAGENET_INPUT
    if source == "imagenet":
        return _matching(_torchvision_weights(), expected, "torchvision's VGG16"), IMAGENET_INPUT
    path = weights_file(source)
    return _matching(_read(path, source), expected, path), PACKAGED_INPUT if source == "packaged" else IMAGENET_INPUT


def weights_file(source: str) -> Path:
    """Return the file that `packaged` or a path stands for. A relative path starts at the project's root, if any."""
    if source == "packaged":
        return PACKAGED
    try:
        return project_root() / source
    except ProjectError:
        return Path(source)


def _matching(found: dict[str, Tensor], expected: dict[str, Tensor], where) -> dict[str, Tensor]:
    """Pick the expected layers out of a state dict, with torchvision's prefix `features.` or without."""
    full = {f"features.{key}": like for key, like in expected.items()}
    picked = {name: found.get(name, found.get(name.removeprefix("features."))) for name in full}
    weights = fit({name: value for name, value in picked.items() if value is not None}, full, where, HINT)
    return {name.removeprefix("features."): value for name, value in weights.items()}


def _read(path: Path, source: str) -> dict[str, Tensor]:
    """Read a state dict from a file of safetensors or of torch.save, without running any code that it may hold."""
    try:
        file = open_file(path)
    except (OSError, ValueError) as error:
        problem = "no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", error)
        raise weights_error(f"loss.vgg = {source}", problem, ALLOWED) from None
    with file:
        return read_tensors(path, HINT)[0] if path.suffix == ".safetensors" else _unpickle(file, path)


def _unpickle(file: BinaryIO, path: Path) -> dict[str, Tensor]:
    """Read a state dict that torch.save wrote; its own unpickler makes tensors and plain containers, nothing else."""
    try:
        if zipfile.is_zipfile(file) and any(entry.compress_type for entry in zipfile.ZipFile(file).infolist()):
            raise ValueError("torch.save compresses nothing, and a small file could become a large one")
        file.seek(0)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # a damaged file makes the readers raise nearly anything, with advice to trust it
        problem = "neither a whole file of torch.save, tensors only, nor safetensors, whose names end in .safetensors"
        raise weights_error(path, problem, HINT) from None
    return _state_dict(found, path)


def _state_dict(found, where) -> dict[str, Tensor]:
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise weights_error(where, "not a state dict, names to tensors", HINT)
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
    """Draw He's initialisation from a fixed seed (cf. Liu et al., CVPR 2021, on random networks as perceptual loss)."""
    generator, weights = torch.Generator().manual_seed(0), {}
    for key, like in expected.items():
        weights[key] = torch.zeros(like.shape)
        if like.dim() == 4:
            nn.init.kaiming_normal_(weights[key], nonlinearity="relu", generator=generator)
    return weights
