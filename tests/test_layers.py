"""The partial convolution against the authors' own layer, against loops, and property by property."""

from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from pconv import layers
from pconv.errors import PConvError
from pconv.layers import MaskedError, PartialConv2d, join
from pconv.studies.layer import VARIANTS, compare, equation_1, hard_cases
from pconv.unet import PConvUNet

ORACLE = np.load(Path(__file__).parent / "data" / "partialconv2d.npz")
CASES = sorted({key.split("/")[0] for key in ORACLE})
EVERY_TIME = settings(deadline=None, max_examples=60, derandomize=True)  # the same examples each time


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_mask(*shape, valid=0.6, seed=0, dtype=torch.float64):
    """Return a mask (N, 1, H, W) of 0 and 1 with about this share of valid pixels."""
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < valid).to(dtype)


def square_hole(size, side, dtype=torch.float64):
    """Return a mask (1, 1, size, size) with a square hole in the middle."""
    mask, start = torch.ones(1, 1, size, size, dtype=dtype), (size - side) // 2
    mask[..., start : start + side, start : start + side] = 0
    return mask


def layer(*args, seed=0, dtype=torch.float64, **kwargs):
    made = PartialConv2d(*args, dtype=dtype, **kwargs)
    for i, parameter in enumerate(made.parameters()):
        parameter.data = random(*parameter.shape, seed=100 + seed + i, dtype=dtype)
    return made


def loops(x, mask, weight, bias, stride, padding, dilation):
    """Eqs. 1 and 2 pixel by pixel in numpy, with a mask value for each channel."""
    (n, channels, height, width), (kh, kw) = x.shape, weight.shape[2:]
    size = [
        (length + 2 * p - d * (k - 1) - 1) // s + 1
        for length, k, s, p, d in zip((height, width), (kh, kw), stride, padding, dilation, strict=True)
    ]
    out, new_mask = np.zeros((n, len(weight), *size)), np.zeros((n, 1, *size))
    for b, i, j in product(range(n), range(size[0]), range(size[1])):
        total, valid = np.zeros(len(weight)), 0
        for u, v in product(range(kh), range(kw)):
            y, z = i * stride[0] - padding[0] + u * dilation[0], j * stride[1] - padding[1] + v * dilation[1]
            if not (0 <= y < height and 0 <= z < width):
                continue
            for c in range(channels):
                if mask[b, c, y, z]:
                    total += weight[:, c, u, v] * x[b, c, y, z]
                    valid += 1
        if valid:
            out[b, :, i, j] = total * (channels * kh * kw / valid) + bias
            new_mask[b, 0, i, j] = 1
    return out, new_mask


# Equal to the authors' layer


@pytest.mark.parametrize("case", CASES)
def test_oracle(case):
    want = {key.split("/")[1]: torch.from_numpy(ORACLE[key]) for key in ORACLE if key.startswith(f"{case}/")}
    kh, kw, stride, ph, pw, dilation, split = want["config"].tolist()
    (out_channels, channels), x = want["weight"].shape[:2], want["x"].requires_grad_()
    conv = PartialConv2d(
        channels, out_channels, (kh, kw), stride, (ph, pw), dilation, bias="bias" in want, dtype=torch.float64
    )
    conv.load_state_dict({name: want[name] for name in ("weight", "bias") if name in want})
    mask = want["mask"].double()
    if split < 0:
        out, new_mask = conv(x, mask[:, :1])
    else:
        out, new_mask = conv(*join(x[:, :split], mask[:, :1], x[:, split:], mask[:, split : split + 1]))
    out.backward(want["grad_y"])
    got = {"y": out, "grad_x": x.grad, "grad_weight": conv.weight.grad}
    if conv.bias is not None:
        got["grad_bias"] = conv.bias.grad
    for name, value in got.items():
        torch.testing.assert_close(value, want[name], rtol=0, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")
    assert torch.equal(new_mask, want["new_mask"].double())


# Equal to loops


PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


@EVERY_TIME
@given(
    data=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=PAIR,
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=PAIR,
    bias=st.booleans(),
    valid=st.sampled_from([0, 0.1, 0.5, 0.9, 1]),
    seed=st.integers(0, 1000),
)
def test_loops(data, kernel, stride, padding, dilation, bias, valid, seed):
    n, channels, out_channels, height, width = data
    reach = [
        length + 2 * p - d * (k - 1) for length, k, p, d in zip((height, width), kernel, padding, dilation, strict=True)
    ]
    assume(min(reach) >= 1)
    x, mask = random(n, channels, height, width, seed=seed), random_mask(n, 1, height, width, valid=valid, seed=seed)
    conv = layer(channels, out_channels, kernel, stride, padding, dilation, bias, seed=seed)
    out, new_mask = conv(x, mask)
    b = 0 if conv.bias is None else conv.bias.detach().numpy()
    weight, full = conv.weight.detach().numpy(), mask.expand_as(x).numpy()
    want, want_mask = loops(x.numpy(), full, weight, b, stride, padding, dilation)
    np.testing.assert_allclose(out.detach().numpy(), want, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(new_mask.numpy(), want_mask)


@EVERY_TIME
@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([0, 0.1, 0.6, 1]),
    st.sampled_from([0, 0.3, 1]),
    st.integers(0, 99),
)
def test_joined_loops(c1, c2, valid1, valid2, seed):
    x1, x2 = random(2, c1, 6, 7, seed=seed), random(2, c2, 6, 7, seed=seed + 1)
    mask1, mask2 = (
        random_mask(2, 1, 6, 7, valid=valid1, seed=seed),
        random_mask(2, 1, 6, 7, valid=valid2, seed=seed + 1),
    )
    conv = layer(c1 + c2, 2, 3, padding=1, seed=seed)
    out, new_mask = conv(*join(x1, mask1, x2, mask2))
    full = torch.cat([mask1.expand_as(x1), mask2.expand_as(x2)], 1).numpy()
    weight, bias = (p.detach().numpy() for p in (conv.weight, conv.bias))
    want, want_mask = loops(torch.cat([x1, x2], 1).numpy(), full, weight, bias, (1, 1), (1, 1), (1, 1))
    np.testing.assert_allclose(out.detach().numpy(), want, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(new_mask.numpy(), want_mask)


@pytest.mark.parametrize(
    "kwargs",
    [dict(padding=1), dict(stride=2, padding=1, bias=False), dict(padding=2, dilation=2), dict(kernel_size=(2, 3))],
    ids=str,
)
def test_gradcheck(kwargs):
    conv = layer(2, 2, **({"kernel_size": 3} | kwargs))
    x, mask = random(1, 2, 5, 6).requires_grad_(), random_mask(1, 1, 5, 6, valid=0.4)
    assert torch.autograd.gradcheck(lambda *tensors: conv(tensors[0], mask)[0], (x, *conv.parameters()))


# Precisions, layouts, compiler


def test_float32():
    conv, x, mask = layer(8, 16, 5, 2, 2), random(2, 8, 32, 40), random_mask(2, 1, 32, 40)
    want, want_mask = conv(x, mask)
    out, new_mask = conv.float()(x.float(), mask.float())
    assert out.dtype == new_mask.dtype == torch.float32
    torch.testing.assert_close(out.double(), want, rtol=1e-4, atol=1e-4)  # sums of 200 products of about 1
    assert torch.equal(new_mask.double(), want_mask)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_autocast(dtype):
    conv, x, mask = layer(6, 4, 5, padding=2).float(), random(1, 6, 20, 20).float(), square_hole(20, 9).float()
    want, want_mask = conv(x, mask)
    with torch.autocast("cpu", dtype=dtype):
        out, new_mask = conv(x, mask)
    assert out.dtype == dtype and new_mask.dtype == torch.float32 and torch.equal(new_mask, want_mask)
    # Rounding x and W costs half an epsilon of each product; the sum, the ratio, their product and the bias half of one
    # of the result each. The sums themselves are float32.
    with torch.no_grad():
        ratio, _ = conv.window(mask)
        products = F.conv2d(x.abs() * mask, conv.weight.abs(), None, padding=2) * ratio
        bound = torch.finfo(dtype).eps / 2 * (2 * products + 4 * (want.abs() + conv.bias.abs().view(-1, 1, 1)))
    assert ((out.float() - want).abs() <= 1.01 * bound).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [True, False])
def test_ratio_is_float32_whatever_the_precision(dtype, autocast):
    """961 values of 1 / 5 and 1: neither the sum nor the fraction is a number of 8 or 11 bits."""
    conv = PartialConv2d(5, 2, 31, padding=15).to(dtype)
    ones, mask = torch.ones(1, 1, 33, 33, dtype=dtype), random_mask(1, 1, 33, 33, valid=0.7, dtype=dtype)
    _, joined = join(ones, ones, ones.repeat(1, 4, 1, 1), mask)
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        ratio, _ = conv.window(joined)
    valid = F.conv2d((1 + 4 * mask.double()) / 5, torch.ones(1, 1, 31, 31, dtype=torch.float64), padding=15)
    torch.testing.assert_close(ratio.double(), 961 / valid, rtol=1e-5, atol=0)
    assert ((961 / valid.to(dtype)).double() * valid / 961 - 1).abs().max() > 1e-4  # what that precision would give


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_mask(dtype):
    """2,601 valid pixels, which neither precision can count; from 2,048 on float16 has even numbers only."""
    mask = torch.ones(1, 1, 53, 53, dtype=dtype)
    mask[..., 51:, :] = mask[..., 51:] = 0
    ratio, new_mask = PartialConv2d(1, 1, 53).window(mask)
    assert ratio.dtype == new_mask.dtype == torch.float32
    assert ratio.item() == pytest.approx(53**2 / 51**2, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_parameters(dtype):
    conv, x = layer(6, 4, 3, padding=1).to(dtype), random(1, 6, 12, 12).to(dtype)
    out, new_mask = conv(x, square_hole(12, 7).to(dtype))
    assert out.dtype == dtype and out.isfinite().all()
    assert (out[..., 4:8, 4:8] == 0).all() and (new_mask[..., 4:8, 4:8] == 0).all()
    out.sum().backward()
    assert conv.weight.grad.isfinite().all()


def test_channels_last():
    conv, x, mask = layer(8, 16, 3, padding=1), random(2, 8, 12, 14).requires_grad_(), random_mask(2, 1, 12, 14)
    want, _ = conv(x, mask)
    grad = torch.autograd.grad(want.sum(), x)[0]
    last = dict(memory_format=torch.channels_last)
    xl = x.detach().to(**last).requires_grad_()
    out, _ = conv.to(**last)(xl, mask)
    torch.testing.assert_close(out, want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(out.sum(), xl)[0], grad, rtol=1e-12, atol=1e-12)
    joined, _ = join(xl, mask, out, mask)
    assert out.is_contiguous(**last) and joined.is_contiguous(**last)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch 2.11 warns of itself
def test_compile():
    """One graph without breaks, and the same numbers forward and backward.

    Without the last step, PyTorch's own code generation: that needs a C++ compiler, which not every machine has.
    """
    conv, x, mask = (
        layer(3, 4, 3, 2, 1, dtype=torch.float32),
        random(1, 3, 8, 8).float(),
        random_mask(1, 1, 8, 8).float(),
    )
    x[mask.expand_as(x) == 0] = torch.nan
    compiled = torch.compile(conv, fullgraph=True, backend="aot_eager")
    results = []
    for run in (conv, compiled):
        out, new_mask = run(x, mask)
        results.append((out, new_mask, *torch.autograd.grad(out.square().sum(), tuple(conv.parameters()))))
    for eager, fused in zip(*results, strict=True):
        torch.testing.assert_close(fused, eager, rtol=1e-5, atol=1e-5)


# Properties of the paper's layer


@pytest.mark.parametrize("filling", [torch.nan, torch.inf, -torch.inf, 1e30, 1.0])
@pytest.mark.parametrize("joined", [False, True])
def test_hole_content_has_no_influence(filling, joined):
    conv, mask, mask2 = layer(4 if joined else 2, 3, 3, padding=1), square_hole(11, 6), square_hole(11, 3)

    def run(value):
        x = torch.where(mask > 0, random(1, 2, 11, 11), value).requires_grad_()
        x2 = torch.where(mask2 > 0, random(1, 2, 11, 11, seed=1), value).requires_grad_()
        out, new_mask = conv(*join(x, mask, x2, mask2)) if joined else conv(x, mask)
        return out, new_mask, *torch.autograd.grad(out.square().sum(), (x, *([x2] * joined), *conv.parameters()))

    results = run(filling)
    for got, want in zip(results, run(0.0), strict=True):
        assert torch.equal(got, want)
        assert got.isfinite().all()
    assert (results[2] * (1 - mask) == 0).all() and (results[2] != 0).any()


@pytest.mark.parametrize("kwargs", [dict(), dict(stride=2), dict(dilation=2), dict(kernel_size=5)], ids=str)
def test_full_mask_gives_conv2d_inside_the_border(kwargs):
    conv = layer(3, 4, **({"kernel_size": 3, "padding": 2, "bias": False} | kwargs))
    plain = nn.Conv2d(3, 4, **({"kernel_size": 3, "padding": 2, "bias": False} | kwargs), dtype=torch.float64)
    plain.load_state_dict(conv.state_dict())
    x = random(2, 3, 16, 16)
    out, new_mask = conv(x, torch.ones(2, 1, 16, 16, dtype=torch.float64))
    inside = (..., slice(2, -2), slice(2, -2))
    assert torch.equal(out[inside], plain(x)[inside])
    assert not torch.allclose(out, plain(x))  # at the border zero padding counts as hole
    assert (new_mask == 1).all()


def test_full_mask_with_bias():
    conv, plain = layer(3, 4, 3), nn.Conv2d(3, 4, 3, dtype=torch.float64)
    plain.load_state_dict(conv.state_dict())
    x = random(2, 3, 9, 9)
    out, _ = conv(x, torch.ones(2, 1, 9, 9, dtype=torch.float64))
    torch.testing.assert_close(out, plain(x), rtol=1e-13, atol=1e-13)


def test_empty_window_gives_exactly_0():
    conv, mask = layer(2, 3, 3, padding=1), square_hole(12, 6)
    out, new_mask = conv(random(1, 2, 12, 12), mask)
    empty = F.max_pool2d(mask, 3, 1, 1) == 0
    assert empty.sum() == 16
    assert (out[empty.expand_as(out)] == 0).all()
    assert (out[~empty.expand_as(out)] != 0).all()
    assert torch.equal(new_mask, (~empty).double())


def test_no_valid_pixel_at_all():
    conv, x = layer(2, 3, 3, padding=1), random(1, 2, 6, 6).requires_grad_()
    out, new_mask = conv(x, torch.zeros(1, 1, 6, 6, dtype=torch.float64))
    out.sum().backward()
    for tensor in (out, new_mask, x.grad, conv.weight.grad, conv.bias.grad):
        assert (tensor == 0).all()


def test_one_valid_pixel_is_enough():
    conv, mask = layer(1, 1, 3, bias=False), torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    mask[..., 2, 0] = 1
    out, new_mask = conv(torch.full_like(mask, 5), mask)
    assert out.item() == pytest.approx(conv.weight[0, 0, 2, 0].item() * 5 * 9) and new_mask.item() == 1


@pytest.mark.parametrize("side", [1, 2, 8, 9])
def test_hole_shrinks_layer_by_layer(side):
    """A 3 x 3 layer takes one pixel off each side of the hole: the mask's own erosion."""
    x, mask, count = random(1, 1, 24, 24), square_hole(24, side), 0
    while (mask == 0).any():
        hole = (mask == 0)[0, 0].numpy().astype(np.uint8)
        x, mask = layer(1, 1, 3, padding=1)(x, mask)
        np.testing.assert_array_equal((mask == 0)[0, 0].numpy(), cv2.erode(hole, np.ones((3, 3), np.uint8)))
        count += 1
    assert count == (side + 1) // 2


def test_eight_layers_close_a_hole_at_512():
    """PConv-Keras' experiment: kernels 7 5 5 3 3 3 3 3 of stride 2."""
    x, mask, ratios = torch.rand(1, 3, 512, 512), square_hole(512, 256, torch.float32), []
    for i, kernel in enumerate([7, 5, 5, 3, 3, 3, 3, 3]):
        x, mask = PartialConv2d(x.shape[1], 4, kernel, stride=2, padding=kernel // 2)(x, mask)
        assert mask.shape == (1, 1, 256 >> i, 256 >> i) and x.isfinite().all()
        ratios.append(1 - mask.mean().item())
    assert all(after < before or after == 0 for before, after in zip(ratios, ratios[1:], strict=False))
    assert ratios[0] < 0.25 and ratios[-1] == 0


@pytest.mark.parametrize("valid", [0.05, 0.3, 0.9])
def test_constant_image_and_kernel(valid):
    """The output does not depend on how much of a window is valid: what the ratio is for."""
    conv, mask = (
        PartialConv2d(3, 1, 5, padding=2, bias=False, dtype=torch.float64),
        random_mask(1, 1, 20, 20, valid=valid),
    )
    nn.init.constant_(conv.weight, 0.1)
    out, new_mask = conv(torch.full((1, 3, 20, 20), 0.7, dtype=torch.float64), mask)
    torch.testing.assert_close(out[new_mask > 0], torch.full_like(out[new_mask > 0], 0.1 * 0.7 * 75))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_new_mask_is_a_mask(dtype):
    _, new_mask = layer(2, 3, 3, dtype=dtype)(
        random(2, 2, 9, 9).to(dtype), random_mask(2, 1, 9, 9, valid=0.1, dtype=dtype)
    )
    assert new_mask.dtype == dtype and set(new_mask.unique().tolist()) == {0, 1}


def test_masks_are_constants():
    x, mask = random(2, 2, 9, 9), random_mask(2, 1, 9, 9).requires_grad_()
    out, new_mask = layer(2, 3, 3)(x, mask)
    assert torch.autograd.grad(out.sum(), mask, allow_unused=True) == (None,) and not new_mask.requires_grad


def test_join():
    """Holes become 0; the mask is the share of valid channels."""
    x1, x2 = torch.full((1, 3, 1, 4), 2.0), torch.full((1, 1, 1, 4), 3.0)
    mask1, mask2 = torch.tensor([1.0, 1, 0, 0]).view(1, 1, 1, 4), torch.tensor([1.0, 0, 1, 0]).view(1, 1, 1, 4)
    x, mask = join(x1, mask1, x2, mask2)
    assert mask.flatten().tolist() == [1, 0.75, 0.25, 0]
    assert x[0, :, 0].tolist() == [[2, 2, 0, 0]] * 3 + [[3, 0, 3, 0]]


def test_rounding_of_a_fast_convolution_is_no_valid_pixel(monkeypatch):
    """Winograd and FFT convolutions, which a GPU may choose, leave about 1e-6 where a sum is 0."""
    conv, x, mask = layer(8, 2, 3, padding=1), random(1, 8, 12, 12), square_hole(12, 6)
    want, want_mask = conv(x, mask)
    plain = F.conv2d
    monkeypatch.setattr(layers.F, "conv2d", lambda t, *args: plain(t, *args) + 1e-6 * (t.shape[1] == 1))
    out, new_mask = conv(x, mask)
    assert torch.equal(new_mask, want_mask)
    torch.testing.assert_close(out, want, rtol=1e-5, atol=1e-4)


def test_one_valid_channel_of_many_counts():
    """The least that a window can hold, one channel of 1,027 at one pixel, is not taken for rounding."""
    x1, x2 = torch.ones(1, 1024, 3, 3), torch.ones(1, 3, 3, 3)
    mask2 = torch.zeros(1, 1, 3, 3)
    mask2[..., 0, 0] = 1
    out, new_mask = layer(1027, 1, 3, dtype=torch.float32)(*join(x1, torch.zeros(1, 1, 3, 3), x2, mask2))
    assert new_mask.item() == 1 and out.item() != 0


def test_state_is_that_of_conv2d():
    assert layer(3, 4, 5).state_dict().keys() == nn.Conv2d(3, 4, 5).state_dict().keys()


# Errors


def bad(x=(2, 3, 8, 8), mask=(2, 1, 8, 8), value=1.0, dtype=torch.float64, device="cpu"):
    return torch.zeros(x, dtype=torch.float64), torch.full(mask, value, dtype=dtype, device=device)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(x=(2, 4, 8, 8)), r"expected features \(N, 3, H, W\), got \(2, 4, 8, 8\)"),
        (dict(x=(3, 8, 8)), r"expected features \(N, 3, H, W\), got \(3, 8, 8\)"),
        (dict(mask=(2, 3, 8, 8)), r"expected a mask \(2, 1, 8, 8\) of one channel .* got \(2, 3, 8, 8\)"),
        (dict(mask=(1, 1, 8, 8)), r"expected a mask \(2, 1, 8, 8\) .* got \(1, 1, 8, 8\)"),
        (dict(mask=(2, 8, 8)), r"expected a mask \(2, 1, 8, 8\) .* got \(2, 8, 8\)"),
        (dict(mask=(2, 1, 8, 9)), r"expected a mask \(2, 1, 8, 8\) .* got \(2, 1, 8, 9\)"),
        (dict(value=255.0), r"from 0 \(hole\) to 1 \(valid\), got 255 to 255"),
        (dict(value=-1.0), r"from 0 \(hole\) to 1 \(valid\), got -1 to -1"),
        (dict(value=torch.nan), r"from 0 \(hole\) to 1 \(valid\), got nan"),
        (dict(value=1, dtype=torch.bool), r"floating-point mask, got torch.bool: use mask.float\(\)"),
        (dict(value=1, dtype=torch.uint8), r"floating-point mask, got torch.uint8"),
        (dict(device="meta"), "the mask is on meta, the features are on cpu"),
        (dict(x=(2, 3, 8, 2), mask=(2, 1, 8, 2)), r"a mask \(2, 1, 8, 2\) is too small, padding \(0, 0\), for 3 px"),
    ],
)
def test_errors_say_what_was_expected(kwargs, message):
    with pytest.raises(MaskedError, match=message):
        PartialConv2d(3, 4, 3, dtype=torch.float64)(*bad(**kwargs))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_features_are_floating_point_numbers(dtype):
    x, mask = bad()
    for call in (PartialConv2d(3, 4, 3), PConvUNet(2, 3), lambda x, mask: join(x, mask, x, mask)):
        with pytest.raises(MaskedError, match=f"expected floating-point features, got {dtype}: use .float") as caught:
            call(x.to(dtype), mask)
        assert isinstance(caught.value, PConvError)


def test_one_wrong_mask_value_is_enough():
    x, mask = bad()
    mask[1, 0, 3, 5] = 1.5
    with pytest.raises(MaskedError, match="got 1 to 1.5"):
        PartialConv2d(3, 4, 3, dtype=torch.float64)(x, mask)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (2, 3, 8, 9), (2, 3, 4, 8)])
def test_join_of_different_sizes(shape):
    other, mask = bad(shape, (shape[0], 1, *shape[2:]))
    with pytest.raises(MaskedError, match=r"cannot join feature maps \(2, 3, 8, 8\) and"):
        join(*bad(), other, mask)


def test_join_checks_both_masks():
    with pytest.raises(MaskedError, match="got 255 to 255"):
        join(*bad(), *bad(value=255.0))
    with pytest.raises(MaskedError, match="got 255 to 255"):
        join(*bad(value=255.0), *bad())


@pytest.mark.parametrize("kwargs", [dict(padding="same"), dict(padding_mode="reflect", padding=1), dict(groups=3)])
def test_what_conv2d_takes_but_this_layer_does_not(kwargs):
    with pytest.raises(ValueError, match="zero padding, as a number or a pair, and groups=1"):
        PartialConv2d(3, 6, 3, **kwargs)


# The published variants, for the table in notebook 02


def variant_inputs(c1=4, c2=3):
    x1, x2 = random(1, c1, 14, 14), random(1, c2, 14, 14, seed=1)
    mask1, mask2 = square_hole(14, 5), square_hole(14, 9)
    conv = layer(c1 + c2, 6, 3, padding=1)
    full = torch.cat([mask1.expand_as(x1), mask2.expand_as(x2)], 1)
    return conv, join(x1, mask1, x2, mask2), (torch.cat([x1, x2], 1), full, conv.weight, conv.bias)


def test_equation_1_equals_the_layer():
    conv, joined, inputs = variant_inputs()
    torch.testing.assert_close(equation_1(*inputs), conv(*joined)[0], rtol=1e-10, atol=1e-10)


def test_variants_differ_from_equation_1_as_published():
    *inputs, _ = variant_inputs()[2]
    table = compare({name: f(*inputs) for name, f in VARIANTS.items()}, equation_1(*inputs))
    ours, nvidia, keras, naoto, plain = table.index
    assert table.scale[ours] == pytest.approx(1) and table.error[ours] < 1e-10
    assert table.scale[nvidia] == pytest.approx(1) and 1e-12 < table.error[nvidia] < 1e-8
    assert table.scale[keras] == pytest.approx(1 / 7) and table.error[keras] == pytest.approx(6 / 7)
    assert table.scale[naoto] == pytest.approx(1 / 63) and table.error[naoto] == pytest.approx(62 / 63)
    assert table.scale[plain] < 1 and 0.1 < table.error[plain] < 1
    normed = table["error after batch norm"]
    assert normed[nvidia] < normed[keras] < normed[naoto] < 1e-3 < 0.1 < normed[plain]


CONSTANTS = {"paper": 1, "keras": 1 / 7, "sum": 1 / 63}  # of eq. 1, for the 7 channels and 3 x 3 px of variant_inputs


@pytest.mark.parametrize("scale", CONSTANTS)
def test_a_scale_leaves_out_its_constant_of_equation_1(scale):
    conv, (features, mask), inputs = variant_inputs()
    scaled = PartialConv2d(7, conv.out_channels, 3, padding=1, scale=scale).double()
    scaled.load_state_dict(conv.state_dict())
    out, new_mask = scaled(features, mask)
    *inputs, bias = inputs
    expected = CONSTANTS[scale] * equation_1(*inputs) + bias.view(-1, 1, 1) * new_mask
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    assert new_mask.equal(conv(features, mask)[1])


@pytest.mark.parametrize("scale, published", [("keras", "PConv-Keras"), ("sum", "naoto0804")])
def test_a_scale_is_that_of_the_published_layer_it_is_named_after(scale, published):
    conv, (features, mask), (*inputs, _) = variant_inputs()
    scaled = PartialConv2d(7, conv.out_channels, 3, padding=1, bias=False, scale=scale).double()
    scaled.weight = conv.weight
    torch.testing.assert_close(scaled(features, mask)[0], VARIANTS[published](*inputs), rtol=1e-7, atol=1e-7)


def test_a_window_without_a_valid_pixel_gives_0_at_any_scale():
    x, mask = random(1, 3, 14, 14), square_hole(14, 9)
    for scale in layers.SCALES:
        out, new_mask = layer(3, 6, 3, padding=1, scale=scale)(x, mask)
        assert (new_mask == 0).any() and (out[(new_mask == 0).expand_as(out)] == 0).all()


def test_variants_in_hard_cases():
    x, mask, weight = (
        random(1, 3, 14, 14).float(),
        square_hole(14, 9).float().repeat(1, 3, 1, 1),
        random(6, 3, 3, 3).float(),
    )
    with torch.no_grad():
        cases = {name: hard_cases(f, x, mask, weight) for name, f in VARIANTS.items()}
    assert {name: case["empty window, b = 1"] for name, case in cases.items()} == {
        "this project": 0,
        "NVIDIA": 0,
        "PConv-Keras": 1,
        "naoto0804": 0,
        "plain convolution": 1,
    }
    assert cases.pop("this project") == {"empty window, b = 1": 0, "NaN from the hole": 0, "NaN in float16": 0}
    reached, empty = 11**2 / 14**2, 7**2 / 14**2  # windows that see the hole, windows that see nothing else
    wanted = {"NVIDIA": reached, "PConv-Keras": reached, "naoto0804": reached - empty, "plain convolution": reached}
    for name, case in cases.items():
        assert case["NaN from the hole"] == pytest.approx(wanted[name])
        assert case["NaN in float16"] == pytest.approx(empty if name in ("NVIDIA", "PConv-Keras") else 0)
