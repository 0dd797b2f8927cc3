"""A perceptual distance of two images: LPIPS without its learnt weights, through the packaged VGG-16.

Zhang et al. 2018 ("The Unreasonable Effectiveness of Deep Features as a Perceptual Metric") compare images by the
features of a network that was trained to classify, and weight each channel as people judged pairs of pictures. Those
weights are left out here, and the features are those of pool1 to pool3. So the numbers are comparable with each other,
but not with LPIPS as published.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pconv.hardware import exact_convolutions
from pconv.metrics import checked
from pconv.vgg import SMALLEST, VGGFeatures

EPSILON = 1e-10  # as in LPIPS: where no feature answers, as may be in flat black, the distance is 0 and not NaN


class PerceptualDistance(nn.Module):
    """Mean over pool1, pool2 and pool3 of the squared distance between channel-normalised features.

    The features are those of the packaged VGG-16 whatever the loss looks through (`loss.vgg`), so that all runs are
    measured by one rule.
    """

    def __init__(self):
        super().__init__()
        self.vgg = VGGFeatures("packaged")

    def forward(self, out: Tensor, gt: Tensor) -> Tensor:
        """Return the distance of each image from the truth: (N,) float32, 0 for identical images, at most 2.

        Images are as in `pconv.metrics` and at least 8 x 8 px, on this module's device. At each pixel of a layer the
        feature vectors, over the channels, are scaled to length 1; their squared differences are summed over the
        channels and averaged over the pixels. Everything is computed in float32. NaN in a prediction gives NaN. Raises
        ValueError for arguments that do not fit.
        """
        out, gt = checked(out, gt)
        if min(out.shape[2:]) < SMALLEST:
            raise ValueError(f"out: expected at least {SMALLEST} x {SMALLEST} px for VGG, got {tuple(out.shape)}")
        return between(self.features(out), self.features(gt))

    def features(self, image: Tensor) -> list[Tensor]:
        """Return the channel-normalised features of images (N, 3, H, W): (N, C, H', W') for each of the layers.

        They serve for several comparisons with the same truth (`between`).
        """
        image = image.float().contiguous(memory_format=torch.channels_last)  # faster on a CPU
        with exact_convolutions(), torch.autocast(image.device.type, enabled=False):
            return [features / (features.norm(dim=1, keepdim=True) + EPSILON) for features in self.vgg(image)]


def between(features: list[Tensor], features_gt: list[Tensor]) -> Tensor:
    """Return the distance of images whose features `PerceptualDistance.features` gave: (N,)."""
    layers = [(a - b).square().sum(1).mean(dim=(1, 2)) for a, b in zip(features, features_gt, strict=True)]
    return torch.stack(layers).mean(0)
