"""Tensors given to the layer, to the network, and to be filled."""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import Tensor

from hostile import right, tensors
from hostile.tensors import (
    HALF,
    IMAGE,
    MASK,
    MASK_TYPES,
    MASKS,
    NAN,
    OTHER_MASKS,
    OTHERS,
    SHAPES,
    TURNED,
    TYPES,
    VALUES,
)
from pconv.completion import complete
from pconv.layers import PartialConv2d, join
from pconv.unet import PConvUNet, he_init

refusals = partial(tensors.refusals, __name__)


# The layer


LAYER = "tensors for layer and network"


def layer(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Apply a 3 x 3 partial convolution."""
    torch.manual_seed(0)
    return PartialConv2d(3, 4, 3, padding=1)(x, mask)


refusals(LAYER, "a layer", layer, (IMAGE, MASK), SHAPES | TYPES, MASKS | MASK_TYPES)
ANY_CHANNELS = {name: SHAPES[name] for name in ("one image", "a single column", "another batch")}
refusals(LAYER, "join", join, (IMAGE, MASK, IMAGE, MASK), ANY_CHANNELS | TYPES, {}, {}, MASKS | MASK_TYPES)


@right(LAYER, "NaN in the hole, forward and backward")
def _(folder):
    image = IMAGE.masked_fill(MASK == 0, NAN).requires_grad_()
    out, _ = layer(image, MASK)
    out.sum().backward()
    assert torch.equal(out, layer(IMAGE, MASK)[0])
    assert image.grad.isfinite().all() and not image.grad.masked_select(MASK == 0).any()


@right(LAYER, "memory in another order")
def _(folder):
    assert torch.allclose(layer(TURNED, MASK.transpose(2, 3))[0], layer(TURNED.contiguous(), MASK)[0], atol=1e-6)


@right(LAYER, "a mask all hole")
def _(folder):
    out, mask = layer(IMAGE, torch.zeros_like(MASK))
    assert not out.any() and not mask.any()


# The network, and the filling of holes


FILL = "tensors to fill"


@cache
def network() -> PConvUNet:
    """Return a network that takes 4 px a side or more."""
    return he_init(PConvUNet(2, 3), 0).eval()


TINY = {
    "no column": (IMAGE[..., :0], MASK[..., :0], r"too small"),
    "3 px": (IMAGE[..., :3, :3], MASK[..., :3, :3], r"3 x 3.* 4 px"),
}
ALL_HOLE = {
    "a mask all hole": (IMAGE, torch.zeros_like(MASK), r"all hole"),
    "a hole out of reach": (
        IMAGE,
        (torch.arange(32) < 2).expand(2, 1, 32, 32).float(),
        r"hole of mask 0 is \d+ px wide",
    ),
}
refusals(
    LAYER,
    "a network",
    lambda *given: network()(*given),
    (IMAGE, MASK),
    SHAPES | TYPES,
    MASKS | MASK_TYPES,
    others=TINY,
)
refusals(FILL, "complete", lambda *given: complete(network(), *given), (IMAGE, MASK), OTHERS | SHAPES | TYPES | VALUES,
    OTHER_MASKS | MASKS | HALF, others=TINY | ALL_HOLE,
)  # fmt: skip


for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64):

    @right(FILL, f"a mask of {dtype}")
    def _(folder, dtype=dtype):
        assert torch.equal(complete(network(), IMAGE, MASK.to(dtype)), complete(network(), IMAGE, MASK))


for dtype in (torch.float16, torch.bfloat16, torch.float64):

    @right(FILL, f"images of {dtype}")
    def _(folder, dtype=dtype):
        comp = complete(network(), IMAGE.to(dtype), MASK)
        assert comp.dtype == dtype and torch.allclose(comp.float(), complete(network(), IMAGE, MASK), atol=0.02)


@right(FILL, "no image")
def _(folder):
    for fill in (network(), partial(complete, network())):
        assert fill(IMAGE[:0], MASK[:0]).shape == (0, 3, 32, 32)


@right(FILL, "NaN in the hole")
def _(folder):
    comp = complete(network(), IMAGE.masked_fill(MASK == 0, NAN), MASK)
    assert torch.equal(comp, complete(network(), IMAGE, MASK))


@right(FILL, "no hole")
def _(folder):
    assert torch.equal(complete(network(), IMAGE, torch.ones_like(MASK)), IMAGE)


@right(FILL, "memory in another order")
def _(folder):
    assert torch.allclose(complete(network(), TURNED, MASK), complete(network(), TURNED.contiguous(), MASK), atol=1e-6)
