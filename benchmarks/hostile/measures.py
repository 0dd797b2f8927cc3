"""Tensors given to the loss, the metrics, the baselines and the functions of masks."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from hostile import right, tensors
from hostile.tensors import (
    HALF,
    IMAGE,
    INF,
    MASK,
    MASK_TYPES,
    MASKS,
    NAN,
    OTHER_MASKS,
    OTHERS,
    SHAPES,
    TRUTH,
    TURNED,
    TYPES,
    VALUES,
    empty,
    with_first,
)
from pconv import baselines, losses, metrics
from pconv.data.tensors import to_tensor
from pconv.masks import convention
from pconv.masks.tensors import compose, hole_ratio, hole_to_mask, mask_to_hole
from pconv.params import Terms
from pconv.perceptual import PerceptualDistance

refusals = partial(tensors.refusals, __name__)


# The loss


LOSS = "tensors for the loss"


@cache
def whole_loss() -> losses.InpaintingLoss:
    """Return the loss with all terms, seen through random features."""
    return losses.InpaintingLoss(Terms(), "random")


def loss(*tensors: Tensor) -> tuple[Tensor, dict]:
    """Compute all terms of the loss."""
    return whole_loss()(*tensors)


TRIPLE = (IMAGE, TRUTH, MASK)
WRONG = OTHERS | SHAPES | TYPES, OTHERS | SHAPES | TYPES | VALUES, OTHER_MASKS | MASKS | MASK_TYPES | HALF
SMALL = {"7 px": (IMAGE[..., :7], TRUTH[..., :7], MASK[..., :7], r"8 px")}
refusals(LOSS, "all terms", loss, TRIPLE, *WRONG, others=SMALL | empty(*TRIPLE))
refusals(LOSS, "the valid term", losses.valid_loss, TRIPLE, *WRONG, others=empty(*TRIPLE))
refusals(LOSS, "the hole term", losses.hole_loss, TRIPLE, *WRONG, others=empty(*TRIPLE))
COLUMN = {"1 px wide": (IMAGE[..., :1], MASK[..., :1], r"2 x 2 px")}
refusals(LOSS, "the tv term", losses.tv_loss, (IMAGE, MASK), WRONG[0], WRONG[2], others=COLUMN | empty(IMAGE, MASK))

FEATURES = torch.ones(2, 4, 8, 8)
LAYERS = {
    "no layer": ([], [], r"one or more, got 0"),
    "a layer too few": ([FEATURES], [FEATURES] * 2, r"1 and 2"),
    "another batch": ([FEATURES], [FEATURES[:1]], r"\(1, 4, 8, 8\)"),
    "other channels": ([FEATURES], [FEATURES[:, :1]], r"\(2, 1, 8, 8\)"),
    "other sides": ([FEATURES], [FEATURES[..., :1]], r"\(2, 4, 8, 1\)"),
    "fewer dimensions": ([FEATURES[0, 0]], [FEATURES], r"\(8, 8\)"),
    "bytes": ([FEATURES.byte()], [FEATURES.byte()], r"uint8"),
    "no column": ([FEATURES[..., :0]], [FEATURES[..., :0]], r"\(2, 4, 8, 0\)"),
}
MAPS = {
    "bytes": (FEATURES.byte(), r"uint8"),
    "one map": (FEATURES[0, 0], r"\(8, 8\)"),
    "no column": (FEATURES[..., :0], r"\(2, 4, 8, 0\)"),
}
refusals(LOSS, "features", losses.perceptual_loss, (), others=LAYERS)
refusals(LOSS, "Gram matrices", losses.style_loss, (), others=LAYERS)
refusals(LOSS, "gram", losses.gram, (), others=MAPS)


@right(LOSS, "a prediction far out of range")
def _(folder):
    total, terms = loss(IMAGE * 1000, TRUTH, MASK)
    assert total.isfinite() and terms["hole"] > 1


@right(LOSS, "a prediction with NaN has no loss")
def _(folder):
    assert loss(with_first(IMAGE, NAN), TRUTH, MASK)[0].isnan()


@right(LOSS, "memory in another order")
def _(folder):
    assert torch.allclose(loss(TURNED, TRUTH, MASK)[0], loss(TURNED.contiguous(), TRUTH, MASK)[0])


for value, share in ((0.0, 1), (1.0, 0)):

    @right(LOSS, f"a mask all {value:g}")
    def _(folder, value=value, share=share):
        _, terms = loss(IMAGE, TRUTH, torch.full_like(MASK, value))
        assert torch.isclose(terms["hole"], torch.tensor(0.25 * share))
        assert torch.isclose(terms["valid"], torch.tensor(0.25 * (1 - share)))


# What is measured


MEASURED = "tensors to measure"
FAR = {name: VALUES[name] for name in ("0..255", "infinity")} | {"standardised": (IMAGE - 2.5, r"-2")}
TOO_SMALL = {
    "SSIM": {"10 px": (IMAGE[..., :10], TRUTH[..., :10], r"11 x 11 px")},
    "perceptual distance": {"7 px": (IMAGE[..., :7], TRUTH[..., :7], r"8 x 8 px")},
}


@cache
def perceptual() -> PerceptualDistance:
    """Return the distance with its network, which is read once."""
    return PerceptualDistance()


MEASURES = {
    "L1": metrics.l1_percent,
    "PSNR": metrics.psnr,
    "SSIM": metrics.ssim,
    "perceptual distance": lambda out, gt: perceptual()(out, gt),
}
for name, measure in MEASURES.items():
    images, small = OTHERS | SHAPES | TYPES, TOO_SMALL.get(name, {})
    refusals(MEASURED, name, measure, (IMAGE, TRUTH), images | FAR, images | VALUES, others=small | empty(IMAGE, TRUTH))

    @right(MEASURED, f"{name}: one of two predictions holds NaN")
    def _(folder, measure=measure):
        assert measure(with_first(IMAGE, NAN), TRUTH).isnan().tolist() == [True, False]

    @right(MEASURED, f"{name}: half precision")
    def _(folder, measure=measure):
        assert torch.allclose(measure(IMAGE.half(), TRUTH.half()), measure(IMAGE, TRUTH))

    @right(MEASURED, f"{name}: memory in another order")
    def _(folder, measure=measure):
        assert torch.allclose(measure(TURNED, TRUTH), measure(TURNED.contiguous(), TRUTH))


refusals(
    MEASURED, "contrast", metrics.contrast, (TRUTH, MASK), OTHERS | SHAPES | TYPES | VALUES, OTHER_MASKS | MASKS | HALF
)


# Baselines


def first(tensors: dict) -> dict:
    """Turn wrong batches into wrong single images, where those are wrong, too."""
    alone = {name: row for name, row in tensors.items() if name not in ("one image", "one mask", "another batch")}
    return {name: (t[0] if torch.is_tensor(t) else t, m.replace(r"\(2, ", r"\(")) for name, (t, m) in alone.items()}


BASELINES = "tensors for baselines"
for name in (name for name in baselines.METHODS if name != "bicubic"):  # whose mask has to be a grid
    singles = {name: row for name, row in first(OTHERS | SHAPES | TYPES | VALUES).items() if name != "another device"}
    masks = {name: row for name, row in first(OTHER_MASKS | MASKS | HALF).items() if name != "another device"}
    hopeless = {
        "a batch": (IMAGE, MASK, r"\(2, 3, 32, 32\)"),
        "a mask all hole": (IMAGE[0], 0 * MASK[0], r"no pixel"),
        "no column": (IMAGE[0, ..., :0], MASK[0, ..., :0], r"no pixel"),
    }
    refusals(
        BASELINES,
        name,
        lambda *given, name=name: baselines.fill(name, *given),
        (IMAGE[0], MASK[0]),
        singles,
        masks,
        others=hopeless,
    )

    @right(BASELINES, f"{name}: NaN and infinity in the hole")
    def _(folder, name=name):
        for value in (NAN, INF):
            filled = baselines.fill(name, TURNED[0].masked_fill(MASK[0] == 0, value), MASK[0])
            assert torch.equal(filled, baselines.fill(name, TURNED[0], MASK[0]))

    for dtype in (torch.float16, torch.bfloat16, torch.float64):

        @right(BASELINES, f"{name}: an image of {dtype}")
        def _(folder, name=name, dtype=dtype):
            image = TURNED[0].to(dtype)
            filled = baselines.fill(name, image, MASK[0])
            assert filled.dtype == torch.float32
            assert torch.allclose(filled, baselines.fill(name, image.float(), MASK[0]), atol=1 / 255)

    @right(BASELINES, f"{name}: a mask of bool, an image with a gradient, one valid pixel")
    def _(folder, name=name):
        mask = torch.zeros_like(MASK[0], dtype=torch.bool)
        mask[0, 3, 4] = True
        filled = baselines.fill(name, TURNED[0].clone().requires_grad_(), mask)
        assert not filled.requires_grad and filled.isfinite().all()
        assert torch.equal(filled[:, 3, 4], TURNED[0, :, 3, 4])


# Masks in memory


HELD = "masks in memory"
HOLE = np.zeros((8, 8), np.uint8)
HOLES = {
    "a batch": (HOLE[None], r"\(1, 8, 8\)"),
    "0 and 255": (HOLE + 255, r"not 255"),
    "numbers with a point": (HOLE.astype(np.float32), r"float32"),
    "a tensor": (torch.zeros(8, 8), r"a Tensor"),
    "a list": ([[0, 1]], r"a list"),
}
refusals(HELD, "hole_to_mask", hole_to_mask, (), others=HOLES)
refusals(HELD, "dilate", lambda hole: convention.dilate(hole, 3), (), others=HOLES)
refusals(HELD, "thickness", convention.thickness, (), others=HOLES | {"all hole": (HOLE + 1, r"valid pixels")})
refusals(HELD, "border_share", lambda hole: convention.border_share(hole, 1), (), others=HOLES)
SINGLE_MASKS = {
    "a batch": (MASK, r"\(2, 1, 32, 32\)"),
    "no channel": (MASK[0, 0], r"\(32, 32\)"),
    "0..255": (MASK[0] * 255, r"0 \(hole\) and 1 \(valid\) only"),
    "a half": (HALF["a half"][0][0], r"0 \(hole\) and 1 \(valid\) only"),
    "NaN": (MASKS["NaN"][0][0], r"0 \(hole\) and 1 \(valid\) only"),
    "an array": (MASK[0].numpy(), r"ndarray"),
}
BATCHES = {
    "one mask": (MASK[0], r"\(1, 32, 32\)"),
    "three channels": MASKS["three channels"],
    "0..255": (MASK * 255, r"255"),
    "a half": HALF["a half"],
    "NaN": MASKS["NaN"],
    "an array": OTHER_MASKS["an array"],
    "no pixel": (MASK[..., :0], r"\(2, 1, 32, 0\)"),
}
refusals(HELD, "mask_to_hole", mask_to_hole, (), others=SINGLE_MASKS)
refusals(HELD, "hole_ratio", hole_ratio, (), others=BATCHES)

COMPOSED = {name: SHAPES[name] for name in ("one image", "one channel", "a single column", "another batch")}
SHAPED = {name: MASKS[name] for name in ("one mask", "three channels", "a single column", "another batch")}
refusals(HELD, "compose", compose, TRIPLE, COMPOSED, COMPOSED, SHAPED)


# Images in memory


PIXELS = np.zeros((8, 6, 3), np.uint8)
IMAGES = {
    "numbers from 0 to 1": (PIXELS.astype(np.float32), r"float32"),
    "16 bits": (PIXELS.astype(np.uint16), r"uint16"),
    "whole numbers": (PIXELS.astype(int), r"int64"),
    "bool": (PIXELS.astype(bool), r"bool"),
    "grey": (PIXELS[..., 0], r"\(8, 6\)"),
    "grey with a channel": (PIXELS[..., :1], r"\(8, 6, 1\)"),
    "alpha": (np.zeros((8, 6, 4), np.uint8), r"\(8, 6, 4\)"),
    "channels first": (PIXELS.transpose(2, 0, 1), r"\(3, 8, 6\)"),
    "a batch": (PIXELS[None], r"\(1, 8, 6, 3\)"),
    "no pixel": (PIXELS[:0], r"\(0, 6, 3\)"),
    "a tensor": (torch.zeros(8, 6, 3, dtype=torch.uint8), r"Tensor"),
    "a list": ([[[0, 0, 0]]], r"list"),
}
MEMORY = "images in memory"
refusals(MEMORY, "to_tensor", to_tensor, (), others=IMAGES)


@right(MEMORY, "memory in another order")
def _(folder):
    image = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    for other in (image[::-1, ::2], image.transpose(1, 0, 2), np.asfortranarray(image)):
        expected = torch.tensor(other.tolist()).permute(2, 0, 1) / 255
        assert torch.equal(to_tensor(other), expected)


@right(MEMORY, "an image that cannot be written to is left as it is, and so is one that can")
def _(folder):
    for writeable in (True, False):
        image = np.full((8, 6, 3), 51, np.uint8)
        image.flags.writeable = writeable
        to_tensor(image).zero_()
        assert (image == 51).all()
