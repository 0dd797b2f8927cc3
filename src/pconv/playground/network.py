"""The network of the playground: which weights, and one pass over the whole picture, which is the quickest."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pconv.completion import complete
from pconv.errors import PConvError
from pconv.filling.network import DEFAULT, find_weights, load_pretrained
from pconv.masks.tensors import compose
from pconv.project import model_folder
from pconv.tensors import WeightsError
from pconv.unet import PConvUNet


class NoWeightsError(PConvError, FileNotFoundError):
    """There is no trained network yet; the message says how to get one."""


def load_network() -> PConvUNet:
    """Return the published network if it is there, else the one that this project's last run trained.

    Raises NoWeightsError if there is neither, and WeightsError if the file is no network's.
    """
    try:
        path = find_weights(DEFAULT)
    except WeightsError:
        path = model_folder(2) / "best.safetensors"
        if not path.is_file():
            message = "there are no trained weights yet: run `make repro`, which trains a network in minutes"
            raise NoWeightsError(message) from None
    return load_pretrained(path)


def fill(model: PConvUNet, image: Tensor, mask: Tensor) -> Tensor:
    """Fill the hole of an image (1, 3, H, W) as `pconv.completion.complete` does, even where it is too wide for that.

    The mask (1, 1, H, W) is 1 where valid, 0 in the hole. Where a hole is wider than the network reaches, a copy of
    half the size is filled, or of a quarter, and enlarged. Raises InpaintError where even the smallest copy that the
    network takes has too wide a hole.
    """
    too_small = min(image.shape[2:]) // 2 < model.smallest
    if too_small or model.reached(mask).all():
        return complete(model, image, mask)
    coarse = fill(model, *halve(image, mask))
    return compose(image, F.interpolate(coarse, image.shape[2:], mode="bilinear").clamp(0, 1), mask)


def halve(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return an image (N, 3, H, W) and its mask (N, 1, H, W) at half the size.

    A pixel is the mean of the valid pixels among the 2 x 2 that it stands for, and hole if there is none.
    """
    valid = F.avg_pool2d(mask, 2)
    mean = F.avg_pool2d(image * mask, 2) / valid.clamp(min=0.25)
    return mean.clamp(0, 1), (valid > 0).to(mask.dtype)
