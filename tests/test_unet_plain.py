"""The network of plain convolutions, with which the paper compares partial ones."""

import math

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from pconv.completion import complete
from pconv.unet import PConvUNet, fill_holes, he_init, load_model, save_model

FILLS = {"black": 0.0, "grey": 0.5, "white": 1.0}


def plain(fill="mean", width=4, depth=3):
    return he_init(PConvUNet(width, depth, "plain", fill), 0).double().eval()


def example(height=24, width=32):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, height, width, generator=generator, dtype=torch.float64)
    mask = torch.ones(2, 1, height, width, dtype=torch.float64)
    mask[0, :, 4:15, 6:20] = 0
    mask[1, :, :9, 11:] = 0
    return image, mask


def by_hand(model, image):
    """Run the U-Net of ordinary convolutions from a state dict alone; sides are multiples of 2^depth."""
    weights = model.state_dict()

    def norm(x, name):
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        scale = weights[f"{name}.weight"] / (variance + 1e-5).sqrt()
        return (x - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + weights[f"{name}.bias"].view(-1, 1, 1)

    x, skips = (image - 0.5) / 0.25, []
    for level in range(model.depth):
        skips.append(x)
        kernel = weights[f"encoder.{level}.conv.weight"]
        x = F.conv2d(x, kernel, weights.get(f"encoder.{level}.conv.bias"), stride=2, padding=kernel.shape[-1] // 2)
        x = F.relu(norm(x, f"encoder.{level}.norm") if level else x)
    for level in range(model.depth):
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        name = f"decoder.{level}"
        x = torch.cat([x, skips.pop()], 1)
        x = F.conv2d(x, weights[f"{name}.conv.weight"], weights.get(f"{name}.conv.bias"), padding=1)
        if level < model.depth - 1:
            x = F.leaky_relu(norm(x, f"{name}.norm"), 0.2)
    return x * 0.25 + 0.5


def filled_by_hand(image, mask, fill):
    """Each image with its hole filled, pixel by pixel."""
    found = image.clone()
    for one, m in zip(found, mask[:, 0] == 1, strict=True):
        for channel in one:
            channel[~m] = channel[m].mean() if fill == "mean" else FILLS[fill]
    return found


@pytest.mark.parametrize("fill", ["mean", *FILLS])
def test_it_is_the_same_network_of_ordinary_convolutions(fill):
    model, (image, mask) = plain(fill), example()
    expected = by_hand(model, filled_by_hand(image, mask, fill))
    torch.testing.assert_close(model(image, mask), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("fill", ["mean", *FILLS])
def test_what_the_image_holds_in_the_hole_is_not_seen(fill):
    image, mask = example()
    other = torch.where(mask == 1, image, math.nan)
    assert fill_holes(image, mask, fill).equal(fill_holes(other, mask, fill))
    assert plain(fill)(image, mask).equal(plain(fill)(other, mask))


def test_the_prediction_depends_on_the_fill():
    image, mask = example()
    outs = [plain(fill)(image, mask) for fill in ("mean", *FILLS)]
    for i, a in enumerate(outs):
        for b in outs[:i]:
            assert (a - b).abs().max() > 1e-3


def test_an_image_without_a_valid_pixel_is_filled_with_black():
    image, mask = torch.ones(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    assert fill_holes(image, mask, "mean").equal(torch.zeros(1, 3, 8, 8))


def test_it_starts_from_the_same_weights_as_the_partial_network():
    ours, other = (he_init(PConvUNet(4, 3, layer), 7).state_dict() for layer in ("partial", "plain"))
    assert list(ours) == list(other) and all(ours[name].equal(other[name]) for name in ours)


def test_without_a_hole_only_the_border_differs_from_the_partial_network():
    """A partial convolution rescales where its window leaves the image, and only there."""
    image = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    partial = he_init(PConvUNet(4, 2), 0).double().eval()
    found, other = (model(image, torch.ones(1, 1, 96, 96).double()) for model in (plain(depth=2), partial))
    inner = (..., slice(24, 72), slice(24, 72))
    torch.testing.assert_close(found[inner], other[inner], rtol=0, atol=1e-12)
    assert (found - other).abs().max() > 1e-3


def test_it_computes_in_a_hole_of_any_size():
    model = plain(depth=2).float()
    image, mask = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)), torch.ones(1, 1, 128, 128)
    mask[..., 16:112, 16:112] = 0
    assert model.reach == model.reach_at_edge == math.inf
    assert model.reached(mask).equal(torch.ones_like(mask))
    filled = complete(model, image, mask)
    assert filled[..., 64, 64].std() > 1e-3  # not grey, which is all that a partial network has there


def test_a_saved_network_keeps_its_layers_and_its_fill(tmp_path):
    path, model = tmp_path / "plain.safetensors", plain("white").float()
    settings = {"layer": "plain", "fill": "white", "width": 4, "depth": 3}
    save_model(path, model.state_dict(), {"params": {"model": settings}})
    found = load_model(path)
    assert {name: getattr(found, name) for name in settings} == settings
    image, mask = (part.float() for part in example())
    assert found(image, mask).equal(model(image, mask))
    assert all(found.state_dict()[name].equal(tensor) for name, tensor in load_file(path).items())


def test_a_file_without_its_kind_of_layer_holds_a_partial_network(tmp_path):
    """Such files were written before there was a choice."""
    path = tmp_path / "old.safetensors"
    save_model(path, PConvUNet(4, 3).state_dict(), {"params": {"model": {"width": 4, "depth": 3}}})
    assert (load_model(path).layer, load_model(path).fill) == ("partial", "mean")
