"""What the paper measures (section 4.3): L1 in percent, PSNR and SSIM, one number per image.

Images are float, (N, 3, H, W), RGB in [0, 1]; what lies outside that range is clamped, nothing is rounded to 8 bits.
L1 and PSNR are computed in float64, SSIM in float32 (many times faster, and right to 1e-4).
"""

from __future__ import annotations

from torch import Tensor

PSNR_MAX = 100.0  # dB; identical images, whose PSNR is infinite, count as this: a JSON file holds no infinity


def l1_percent(out: Tensor, gt: Tensor) -> Tensor:
    """100 mean|out - gt| over pixels and channels: (N,) float32, in percent of the range of values."""
    out, gt = _checked(out, gt)
    return 100 * (out - gt).abs().mean(dim=(1, 2, 3)).float()


def psnr(out: Tensor, gt: Tensor) -> Tensor:
    """Peak signal-to-noise ratio, -10 log10 mean (out - gt)^2: (N,) float32 in dB, at most PSNR_MAX."""
    out, gt = _checked(out, gt)
    return (-10 * (out - gt).square().mean(dim=(1, 2, 3)).log10()).clamp(max=PSNR_MAX).float()


def ssim(out: Tensor, gt: Tensor) -> Tensor:
    """Structural similarity with a Gaussian window (sigma 1.5, 11 px): (N,) float32, 1 for identical images.

    Wang et al. 2004; mean over all pixels and channels, the image reflected at its edges. At least 11 x 11 px.
    """
    # Imported where it is used: it takes longer than PyTorch itself, and training has no need of it.
    from torchmetrics.functional.image import structural_similarity_index_measure

    out, gt = (image.float() for image in _checked(out, gt))
    values = structural_similarity_index_measure(out, gt, data_range=1.0, sigma=1.5, kernel_size=11, reduction="none")
    return values.float()


def _checked(out: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64 and within [0, 1]. Raises ValueError for other shapes."""
    if out.shape != gt.shape or out.dim() != 4:
        raise ValueError(f"images of shapes {tuple(out.shape)} and {tuple(gt.shape)}: both have to be (N, 3, H, W)")
    return out.double().clamp(0, 1), gt.double().clamp(0, 1)
