"""Filling: what comes back, that nothing else changes, and what is refused in one clear line."""

import numpy as np
import pytest
import torch

from pconv.completion import InpaintError, complete, composite
from pconv.errors import PConvError
from pconv.unet import PConvUNet, he_init


def network(depth=3, dtype=torch.float32):
    return he_init(PConvUNet(4, depth), 0).to(dtype)


def sample(height=37, width=53, n=2, dtype=torch.float32):
    """Images and masks with a square hole and single pixels of hole."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(n, 3, height, width, generator=generator).to(dtype)
    mask = (torch.rand(n, 1, height, width, generator=generator) < 0.9).to(dtype)
    mask[..., 10:25, 12:30] = 0
    return image, mask


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_complete(training, frozen):
    model, (image, mask) = network(), sample()
    if frozen:
        model.freeze_encoder_norm()
    model.train(training)
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    comp = complete(model, torch.where(mask > 0, image, torch.nan), mask)
    assert torch.equal(comp * mask, image * mask)
    assert comp.min() >= 0 and comp.max() <= 1 and comp.dtype == torch.float32
    hole = mask.expand_as(image) == 0
    assert torch.equal(comp[hole], model.eval()(image, mask).detach().clamp(0, 1)[hole])
    assert comp[hole].unique().numel() > 100
    model.train(training)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_leaves_the_mode_after_an_error(monkeypatch):
    model, (image, mask) = network().train(), sample()
    monkeypatch.setattr(model, "encoder", None)
    with pytest.raises(TypeError):
        composite(model, image, mask)
    assert model.training


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_a_mask_of_any_type_is_taken(dtype):
    model, (image, mask) = network(), sample()
    assert torch.equal(complete(model, image, mask.to(dtype)), complete(model, image, mask))


@pytest.mark.parametrize("image_type", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("weight_type", [torch.float32, torch.float64])
def test_the_result_has_the_images_type_and_its_valid_pixels(image_type, weight_type):
    model, (image, mask) = network(dtype=weight_type), sample(dtype=image_type)
    comp = complete(model, image, mask)
    assert comp.dtype == image_type and torch.equal(comp * mask, image * mask)
    expected = complete(network(), image.float(), mask)
    torch.testing.assert_close(comp.float(), expected, atol=0.01, rtol=0)


def test_without_a_hole_the_image_comes_back():
    model, (image, mask) = network(), sample()
    comp = complete(model, image, torch.ones_like(mask))
    assert torch.equal(comp, image) and comp.data_ptr() != image.data_ptr()
    mask[1] = 1
    assert torch.equal(complete(model, image, mask)[1], image[1])
    assert complete(model, image[:0], mask[:0]).shape == (0, 3, 37, 53)


@pytest.mark.parametrize("hole", [True, False])
def test_the_result_is_an_ordinary_tensor(hole):
    """Without a gradient, although the image has one, and free to be changed in place."""
    _, (image, mask) = network(), sample()
    image.requires_grad_()
    comp = complete(network(), image, mask if hole else torch.ones_like(mask))
    assert not comp.requires_grad
    comp.mul_(255)
    assert image.max() <= 1


def change(tensor, value, where=(0, 0, 0, 0)):
    tensor = tensor.clone()
    tensor[where] = value
    return tensor


IMAGE, MASK = sample()
MASK[0, 0, 0, 0] = 1
WRONG = {
    "values to 255": (255 * IMAGE, MASK, r"values from 0 to 1 in valid pixels, got .* to 25\d.*: divide 0..255 by 255"),
    "a value below 0": (change(IMAGE, -0.25), MASK, "got -0.25 to"),
    "bytes": ((255 * IMAGE).byte(), MASK, "floating-point numbers, got torch.uint8: 0..255 / 255"),
    "integers": ((255 * IMAGE).long(), MASK, "got torch.int64"),
    "eight bits": (IMAGE.to(torch.float8_e4m3fn), MASK, "got torch.float8_e4m3fn"),
    "a sparse image": (IMAGE.to_sparse(), MASK, "expected images of plain real numbers, got torch.sparse_coo"),
    "a sparse mask": (IMAGE, MASK.to_sparse(), "expected masks of plain real numbers, got torch.sparse_coo"),
    "a complex mask": (IMAGE, MASK.to(torch.complex64), "expected masks of plain real numbers, got .* torch.complex64"),
    "complex numbers": (IMAGE.to(torch.complex64), MASK, "got torch.complex64"),
    "NaN in a valid pixel": (change(IMAGE, torch.nan), MASK, "1 values of valid pixels are not finite"),
    "infinity in a valid pixel": (change(IMAGE, torch.inf), MASK, "1 values of valid pixels are not finite"),
    "one channel": (IMAGE[:, :1], MASK, r"images \(N, 3, H, W\), got \(2, 1, 37, 53\)"),
    "four channels": (IMAGE[:, [0, 1, 2, 0]], MASK, r"got \(2, 4, 37, 53\)"),
    "channels last": (IMAGE.permute(0, 2, 3, 1), MASK, r"got \(2, 37, 53, 3\)"),
    "no batch": (IMAGE[0], MASK[0], r"got \(3, 37, 53\)"),
    "an array": (IMAGE.numpy(), MASK, "expected two tensors, got ndarray and Tensor"),
    "a mask as an array": (IMAGE, MASK.numpy().astype(np.uint8), "got Tensor and ndarray"),
    "a mask of three channels": (
        IMAGE,
        MASK.expand(-1, 3, -1, -1),
        r"expected a mask \(2, 1, 37, 53\).*\(2, 3, 37, 53",
    ),
    "a mask of another size": (IMAGE, MASK[..., :50], r"expected a mask \(2, 1, 37, 53\) .* got \(2, 1, 37, 50\)"),
    "one mask for two images": (IMAGE, MASK[:1], r"got \(1, 1, 37, 53\)"),
    "a mask on another device": (IMAGE, MASK.to("meta"), r'the mask is on meta, the network on cpu: use .to\("cpu"\)'),
    "an image on another device": (IMAGE.to("meta"), MASK, "the image is on meta"),
    "a mask of 255": (IMAGE, 255 * MASK, r"a mask of 0 \(hole\) and 1 \(valid\) only, got 255"),
    "a grey mask": (IMAGE, MASK / 2, "only, got 0.5"),
    "a mask of -1": (IMAGE, -MASK, "only, got -1"),
    "a mask with NaN": (IMAGE, change(MASK, torch.nan), "only, got nan"),
    "all hole": (IMAGE, torch.cat([MASK[:1], 0 * MASK[:1]]), r"mask 1 of 2 is all hole \(0\)"),
    "a small image": (IMAGE[..., :3], MASK[..., :3], "an image of 3 x 37 px is too small .* depth 3, which takes 4 px"),
    "no pixel": (IMAGE[..., :0], MASK[..., :0], "0 x 37 px is too small"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused(case):
    image, mask, message = WRONG[case]
    with pytest.raises(InpaintError, match=message) as caught:
        complete(network(), image, mask)
    assert isinstance(caught.value, PConvError | ValueError) and len(str(caught.value)) < 200


@pytest.mark.parametrize("model", ["models/stage2/best.safetensors", None, torch.nn.Conv2d(3, 3, 1), IMAGE])
def test_what_is_no_network_is_refused(model):
    with pytest.raises(
        InpaintError, match=r"expected a network as load_model\(path\) gives it, got (str|None|Conv|Tens)"
    ):
        complete(model, IMAGE, MASK)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["decoder.1.conv.weight", "decoder.2.conv.bias"])
def test_weights_that_are_not_finite_are_named(name, value):
    """Also the last bias: an infinite prediction is not to be clamped to white or black."""
    model = network()
    model.get_parameter(name).data.flatten()[0] = value
    with pytest.raises(InpaintError, match=rf"not finite \(NaN or infinity\) in {name} and 0 other tensors"):
        complete(model, IMAGE, MASK)


def test_weights_that_overflow_are_said_to_be_too_large():
    model = network()
    with torch.no_grad():
        for block in model.encoder:
            block.conv.weight.mul_(1e20)
    with pytest.raises(InpaintError, match="not finite although the weights are: they are too large or no variances"):
        complete(model, IMAGE, MASK)
    model = network()
    model.encoder[1].norm.running_var.fill_(-1)
    with pytest.raises(InpaintError, match="too large or no variances; load others"):
        complete(model, IMAGE, MASK)


def centred(width, size=512):
    mask = torch.ones(1, 1, size, size)
    start = (size - width) // 2
    mask[..., start : start + width, start : start + width] = 0
    return mask


def test_a_hole_within_reach_is_filled_and_a_wider_one_is_refused():
    model, image = network(depth=6), torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    comp = complete(model, image, centred(268))
    assert not (comp == 0.5).all(1).any()
    with pytest.raises(InpaintError, match="the hole of mask 0 is 270 px wide .* depth 6: it reaches 206 px") as caught:
        complete(model, image, centred(270))
    assert "71 px from the edge of the image, so 4 pixels would be grey" in str(caught.value)
    assert "fill a copy of at most 0.52 of its size" in str(caught.value)


@pytest.mark.parametrize("edge", ["left", "right", "top", "bottom"])
def test_the_size_that_an_error_asks_for_is_small_enough(edge):
    """Also for holes at an edge, where the network reaches less."""
    model, size = network(depth=3), 128
    mask = torch.ones(1, 1, size, size)
    {"left": mask[..., :40], "right": mask[..., -40:], "top": mask[..., :40, :], "bottom": mask[..., -40:, :]}[
        edge
    ].zero_()
    image = torch.full((1, 3, size, size), 0.25)
    with pytest.raises(InpaintError, match=r"is 80 px wide in places.* at most 0\.37 of its size"):
        complete(model, image, mask)
    smaller = torch.nn.functional.interpolate(mask, scale_factor=0.37, mode="nearest")
    assert complete(model, image[..., : smaller.shape[2], : smaller.shape[3]], smaller).isfinite().all()


def test_a_very_wide_hole_is_not_asked_to_be_scaled_to_nothing():
    model = network(depth=2)
    mask = torch.zeros(1, 1, 8, 3000)
    mask[..., :10] = 1
    with pytest.raises(InpaintError, match=r"fill a copy of at most 0\.0\d*[1-9]"):
        complete(model, torch.full((1, 3, 8, 3000), 0.25), mask)
