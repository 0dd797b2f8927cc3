"""What the paper measures (section 4.3): L1 in percent, PSNR and SSIM, one number per image.

Images are float, (N, 3, H, W), RGB in [0, 1]. A prediction is clamped to that range, and refused where it lies so far
outside that it must be on another scale; nothing is rounded to 8 bits. NaN in a prediction gives NaN. L1 and PSNR are
computed in float64, SSIM in float32 (many times faster, and right to 1e-4). Arguments that do not fit raise ValueError.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from pconv.checks import check_images, check_mask, check_range

PSNR_MAX = 100.0  # dB; identical images, whose PSNR is infinite, count as this: a JSON file holds no infinity
WINDOW = 11  # px; of SSIM
SAME_SCALE = (-1, 2)  # a prediction beyond that is not in [0, 1] but in 0..255, or standardised


def l1_percent(out: Tensor, gt: Tensor) -> Tensor:
    """Return 100 mean|out - gt| over pixels and channels: (N,) float32, in percent of the range of values."""
    out, gt = checked(out, gt)
    return 100 * (out - gt).abs().mean(dim=(1, 2, 3)).float()


def psnr(out: Tensor, gt: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio, -10 log10 mean (out - gt)^2: (N,) float32 in dB, at most PSNR_MAX."""
    out, gt = checked(out, gt)
    return (-10 * (out - gt).square().mean(dim=(1, 2, 3)).log10()).clamp(max=PSNR_MAX).float()


def ssim(out: Tensor, gt: Tensor) -> Tensor:
    """Return the structural similarity, in a Gaussian window of sigma 1.5: (N,) float32, 1 for identical images.

    Wang et al. 2004; mean over all pixels and channels, the image reflected at its edges. At least 11 x 11 px.
    """
    # Imported where it is used: it takes longer than PyTorch itself, and training has no need of it.
    from torchmetrics.functional.image import structural_similarity_index_measure

    out, gt = (image.float() for image in checked(out, gt))
    if min(out.shape[2:]) < WINDOW:
        raise ValueError(f"out: expected at least {WINDOW} x {WINDOW} px, SSIM's window, got {tuple(out.shape)}")
    values = structural_similarity_index_measure(
        out, gt, data_range=1.0, sigma=1.5, kernel_size=WINDOW, reduction="none"
    )
    return values.float()


def contrast(gt: Tensor, mask: Tensor) -> Tensor:
    """Return how much images vary around each pixel of their holes: (N,) float32, in the range of values.

    The standard deviation in a square window of about 1/16 of the shorter side, as a root mean square over the channels
    and the pixels of the hole; near an edge the window is what lies in the image. Masks are (N, 1, H, W), 1 where
    valid; without a hole the result is NaN.
    """
    check_images(gt=gt)
    check_range("gt", gt)
    check_mask(mask, gt)
    radius = min(gt.shape[2:]) // 32

    def local_mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)

    image, hole = gt.double(), 1 - mask.double()
    variance = (local_mean(image.square()) - local_mean(image).square()).clamp(min=0).mean(1, keepdim=True)
    return ((variance * hole).sum(dim=(1, 2, 3)) / hole.sum(dim=(1, 2, 3))).sqrt().float()


def checked(out: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in float64, the prediction clamped to [0, 1]. Raises ValueError for images that do not fit."""
    check_images(out=out, gt=gt)
    check_range("gt", gt)
    check_range("out", out.nan_to_num(nan=0.5, posinf=math.inf, neginf=-math.inf), *SAME_SCALE)
    return out.double().clamp(0, 1), gt.double()
