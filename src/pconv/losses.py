"""The paper's training loss, one small function per term (Liu et al. 2018, section 3.3).

Images are (N, 3, H, W) in [0, 1], masks (N, 1, H, W), 1 where valid; a prediction may leave the range. Every norm is a
mean over all elements, as the authors clarified after publication (issues of NVIDIA/partialconv). Arguments that do not
fit raise ValueError; their values are looked at on the CPU only (pconv.checks).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pconv.checks import check_floating, check_images, check_mask, check_range
from pconv.masks.tensors import compose
from pconv.params import Terms
from pconv.vgg import SMALLEST, VGGFeatures

TERMS = ("valid", "hole", "perceptual", "style", "tv")


def valid_loss(out: Tensor, gt: Tensor, mask: Tensor) -> Tensor:
    """Return L_valid = mean |M (out - gt)|, over all pixels, in the hole or not."""
    _check(out, gt, mask)
    return (mask * (out - gt)).abs().mean()


def hole_loss(out: Tensor, gt: Tensor, mask: Tensor) -> Tensor:
    """Return L_hole = mean |(1 - M) (out - gt)|, over all pixels, in the hole or not."""
    _check(out, gt, mask)
    return ((1 - mask) * (out - gt)).abs().mean()


def perceptual_loss(features: list[Tensor], features_gt: list[Tensor]) -> Tensor:
    """Return the sum over the layers of mean |F - F_gt|, for the features of one batch of images, (N, C, H, W) each.

    L_perceptual is the sum of that of out and that of comp. Several predictions of one batch may be given at once,
    (..., N, C, H, W); the result is then the mean of theirs.
    """
    return _distance(features, features_gt)


def gram(features: Tensor) -> Tensor:
    """Return the Gram matrices (..., C, C) of features (..., C, H, W), divided by C H W; in float32 at least."""
    if features.dim() < 3 or not features.numel():
        raise ValueError(f"features: expected (..., C, H, W) with pixels, got {tuple(features.shape)}")
    check_floating("features", features)
    with torch.autocast(features.device.type, enabled=False):
        flat = features.movedim(-3, -1).flatten(-3, -2)  # (..., H W, C), a view where memory is channels_last
        flat = flat.to(_at_least_float32(features))
        return flat.transpose(-1, -2) @ flat / (flat.shape[-2] * flat.shape[-1])


def style_loss(grams: list[Tensor], grams_gt: list[Tensor]) -> Tensor:
    """Return the sum over the layers of mean |G - G_gt|, for the Gram matrices of one batch of images, (N, C, C) each.

    L_style is the sum of that of out and that of comp. Several predictions may be given as to perceptual_loss.
    """
    return _distance(grams, grams_gt)


def tv_loss(comp: Tensor, mask: Tensor) -> Tensor:
    """Return L_tv: absolute differences of neighbours, across and down, that both lie in the hole dilated by 1 px.

    Each direction is a mean over all neighbours of the picture, as the other terms are means over all of its pixels.
    """
    check_images(comp=comp)
    check_mask(mask, comp)
    if min(comp.shape[2:]) < 2:
        raise ValueError(f"comp: expected at least 2 x 2 px, which have neighbours, got {tuple(comp.shape)}")
    region = F.max_pool2d(1 - mask, 3, stride=1, padding=1)  # 1 in the dilated hole
    across = (comp[..., :, 1:] - comp[..., :, :-1]).abs() * region[..., :, 1:] * region[..., :, :-1]
    down = (comp[..., 1:, :] - comp[..., :-1, :]).abs() * region[..., 1:, :] * region[..., :-1, :]
    return across.mean() + down.mean()


class InpaintingLoss(nn.Module):
    """The six terms of the paper (its two perceptual and its two style terms summed), and their weighted total.

    Terms of weight 0 are not computed. Images are (N, 3, H, W), at least 8 x 8 px where VGG is used; masks are
    (N, 1, H, W) of 0 and 1.
    """

    def __init__(self, weights: Terms, vgg: str):
        super().__init__()
        self.weights = {term: getattr(weights, term) for term in TERMS}
        needs_vgg = self.weights["perceptual"] > 0 or self.weights["style"] > 0
        self.vgg = VGGFeatures(vgg) if needs_vgg else None

    def forward(self, out: Tensor, gt: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total to minimise and each term without its weight. The gradient is that of out; gt gets none."""
        terms = self.terms(out, gt, mask)
        return sum(self.weights[name] * value for name, value in terms.items()), terms

    def terms(self, out: Tensor, gt: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return the terms whose weight is not 0, without it. Raises ValueError for arguments that do not fit."""
        _check(out, gt, mask)
        if self.vgg is not None and min(out.shape[2:]) < SMALLEST:
            raise ValueError(
                f"out: expected at least {SMALLEST} px a side, as VGG halves them thrice, got {tuple(out.shape)}"
            )
        gt = gt.detach()
        comp = compose(gt, out, mask)
        compute = {
            "valid": lambda: valid_loss(out, gt, mask),
            "hole": lambda: hole_loss(out, gt, mask),
            "tv": lambda: tv_loss(comp, mask),
        }
        terms = {name: term() for name, term in compute.items() if self.weights[name] > 0}
        return terms | (self._feature_terms(out, comp, gt) if self.vgg is not None else {})

    def _feature_terms(self, out: Tensor, comp: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """Return the two terms that look through VGG; out and comp pass it in one batch."""
        features_gt = self.vgg(gt)
        features = [f.unflatten(0, (2, -1)) for f in self.vgg(torch.cat([out, comp]))]  # (2, N, C, H, W)
        terms = {}
        # The means below run over out and comp together; the paper adds the two, hence twice the mean.
        if self.weights["perceptual"] > 0:
            terms["perceptual"] = 2 * perceptual_loss(features, features_gt)
        if self.weights["style"] > 0:
            terms["style"] = 2 * style_loss([gram(f) for f in features], [gram(f) for f in features_gt])
        return terms


def _check(out: Tensor, gt: Tensor, mask: Tensor) -> None:
    check_images(out=out, gt=gt)
    check_range("gt", gt)
    check_mask(mask, gt)


def _distance(maps: list[Tensor], maps_gt: list[Tensor]) -> Tensor:
    """Return the sum of mean |A - B| over pairs of tensors; the first of a pair may have more dimensions in front."""
    if not maps or len(maps) != len(maps_gt):
        raise ValueError(f"expected features of the same layers, one or more, got {len(maps)} and {len(maps_gt)}")
    for a, b in zip(maps, maps_gt, strict=True):
        if a.shape[a.dim() - b.dim() :] != b.shape or not a.numel():
            raise ValueError(f"expected features that are alike, got {tuple(a.shape)} and {tuple(b.shape)}")
        check_floating("features", a)
        check_floating("features of the truth", b)
    return sum(_mean_abs(a - b) for a, b in zip(maps, maps_gt, strict=True))


def _mean_abs(x: Tensor) -> Tensor:
    return x.abs().mean(dtype=_at_least_float32(x))


def _at_least_float32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
