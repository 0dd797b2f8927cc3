"""The network against the paper's table of layers and against a plain rewrite with full masks."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from pconv.layers import MaskedError, PartialConv2d
from pconv.tensors import WeightsError
from pconv.unet import PConvUNet, he_init, load_model, save_model

# The paper's table: kernel, channels in, channels out, batch norm
ENCODER = [(7, 3, 64, False), (5, 64, 128, True), (5, 128, 256, True), (3, 256, 512, True)] + [(3, 512, 512, True)] * 4
DECODER = [(3, 512 + 512, 512, True)] * 4 + [
    (3, 512 + 256, 256, True),
    (3, 256 + 128, 128, True),
    (3, 128 + 64, 64, True),
    (3, 64 + 3, 3, False),
]


def small(width=4, depth=4, seed=0, dtype=torch.float32):
    """Return a small network whose batch norm, too, is not as it was born."""
    model = he_init(PConvUNet(width, depth), seed).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            tensor.uniform_(0.5, 1.5, generator=generator)
    return model


def sample(height=32, width=48, n=2, seed=0, dtype=torch.float32):
    """Images and masks whose holes go down to the third layer."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(n, 3, height, width, generator=generator).to(dtype)
    mask = (torch.rand(n, 1, height, width, generator=generator) < 0.9).to(dtype)
    mask[..., : height * 3 // 4, : width * 3 // 4] = 0
    return image, mask


# The paper's table


def test_parameters_at_full_size():
    with torch.device("meta"):
        model = PConvUNet()
    count = sum(k * k * c * o + (2 * o if norm else o) for k, c, o, norm in ENCODER + DECODER)
    assert sum(p.numel() for p in model.parameters()) == count
    assert round(count / 1e6, 1) == 32.9


def test_layers_at_full_size():
    with torch.device("meta"):
        model = PConvUNet()
    for blocks, table in ((model.encoder, ENCODER), (model.decoder, DECODER)):
        for block, (kernel, channels, out_channels, norm) in zip(blocks, table, strict=True):
            conv = block.conv
            assert isinstance(conv, PartialConv2d)
            assert (conv.kernel_size, conv.in_channels, conv.out_channels) == ((kernel,) * 2, channels, out_channels)
            assert conv.stride == ((2, 2) if blocks is model.encoder else (1, 1))
            assert (conv.bias is None) == isinstance(block.norm, nn.BatchNorm2d) == norm


def test_shapes_at_512():
    model, shapes = PConvUNet().eval(), []
    for block in (*model.encoder, *model.decoder):
        block.register_forward_hook(lambda *args: shapes.append((args[-1].shape, args[1][-1].mask.shape)))
    with torch.inference_mode():
        out = model(torch.rand(1, 3, 512, 512), torch.ones(1, 1, 512, 512))
    assert out.shape == (1, 3, 512, 512)
    sides = [256 >> i for i in range(8)] + [4 << i for i in range(8)]
    channels = [row[2] for row in ENCODER + DECODER]
    assert shapes == [((1, c, side, side), (1, 1, side, side)) for c, side in zip(channels, sides, strict=True)]


@pytest.mark.parametrize(("width", "depth"), [(1, 1), (4, 2), (4, 6), (8, 9)])
def test_width_and_depth(width, depth):
    model = PConvUNet(width, depth).eval()
    outs = [block.conv.out_channels for block in model.encoder]
    assert outs == [width * factor for factor in (1, 2, 4, 8, 8, 8, 8, 8, 8)[:depth]]
    assert [block.conv.out_channels for block in model.decoder] == [*outs[-2::-1], 3]
    side = model.smallest
    assert model(torch.rand(1, 3, side, side), torch.ones(1, 1, side, side)).shape == (1, 3, side, side)


# The same network, written as a plain function with a mask value for each channel


def full_mask_conv(x, mask, weight, bias, stride):
    padding = weight.shape[-1] // 2
    valid = F.conv2d(mask, torch.ones_like(weight[:1]), stride=stride, padding=padding)
    out = F.conv2d(x * mask, weight, stride=stride, padding=padding) * weight[0].numel() / valid.clamp(min=1)
    if bias is not None:
        out = out + bias.view(-1, 1, 1)
    new_mask = (valid > 0).to(x.dtype).expand_as(out)
    return out * new_mask, new_mask


def rewritten(state, depth, x, mask, training):
    """Sizes must be multiples of 2^depth."""

    def norm(x, at):
        if f"{at}.norm.weight" not in state:
            return x
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{at}.norm.{name}"].clone() for name in names), training=training)

    def conv(x, mask, at, stride):
        return full_mask_conv(x, mask, state[f"{at}.conv.weight"], state.get(f"{at}.conv.bias"), stride)

    skips, mask, x = [], mask.expand_as(x), 4 * (x - 0.5)
    for i in range(depth):
        skips.append((x, mask))
        x, mask = conv(x, mask, f"encoder.{i}", stride=2)
        x = norm(x, f"encoder.{i}").clamp(min=0)
    for i in range(depth):
        pairs = zip((x, mask), skips.pop(), strict=True)
        x, mask = (torch.cat([t.repeat_interleave(2, 2).repeat_interleave(2, 3), skip], 1) for t, skip in pairs)
        x, mask = conv(x, mask, f"decoder.{i}", stride=1)
        x = norm(x, f"decoder.{i}")
        if i < depth - 1:
            x = torch.where(x > 0, x, 0.2 * x)
    return 0.5 + x / 4


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("depth", [2, 4])
def test_equals_a_plain_rewrite(depth, training):
    model, (image, mask) = small(4, depth, dtype=torch.float64).train(training), sample(dtype=torch.float64)
    want = rewritten({k: v.detach().clone() for k, v in model.state_dict().items()}, depth, image, mask, training)
    torch.testing.assert_close(model(image, mask).detach(), want, rtol=1e-9, atol=1e-9)


# Any size


@pytest.mark.parametrize("size", [(37, 53), (8, 8), (8, 100), (33, 64), (64, 48), (9, 11)])
def test_any_size(size):
    """What comes out is what an image padded with hole by hand would give, cropped."""
    model, (image, mask) = small().eval(), sample(*size)
    out = model(image, mask)
    assert out.shape == image.shape and out.isfinite().all()
    border = (0, -size[1] % 16, 0, -size[0] % 16)
    padded = model(F.pad(image, border, value=torch.nan), F.pad(mask, border))
    assert torch.equal(out, padded[..., : size[0], : size[1]])


@pytest.mark.parametrize("size", [(7, 8), (8, 7), (1, 1), (7, 500)])
def test_too_small(size):
    with pytest.raises(MaskedError, match=f"an image of {size[0]} x {size[1]} is too small for depth 4: at least 8 px"):
        small()(*sample(*size))


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        ((1, 4, 37, 53), (1, 1, 37, 53), r"expected features \(N, 3, H, W\), got \(1, 4, 37, 53\)"),
        ((3, 37, 53), (1, 1, 37, 53), r"got \(3, 37, 53\)"),
        ((1, 3, 37, 53), (1, 3, 37, 53), r"expected a mask \(1, 1, 37, 53\) .* got \(1, 3, 37, 53\)"),
        ((1, 3, 37, 53), (1, 1, 37, 50), r"expected a mask \(1, 1, 37, 53\) .* got \(1, 1, 37, 50\)"),
    ],
)
def test_errors_name_the_sizes_that_were_given(image, mask, message):
    with pytest.raises(ValueError, match=message):
        small()(torch.zeros(image), torch.ones(mask))


# What lies in the hole


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("filling", [torch.nan, torch.inf, -1e30, 0.5])
def test_hole_content_has_no_influence(filling, training):
    image, mask = sample(37, 53)
    results = []
    for value in (0.0, filling):
        model, x = small().train(training), torch.where(mask > 0, image, value).requires_grad_()
        out = model(x, mask)
        grads = torch.autograd.grad(out.square().mean(), (x, *model.parameters()))
        assert (grads[0] * (1 - mask) == 0).all()
        results.append((out, *grads, *model.buffers()))
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second) and first.isfinite().all()


def test_no_valid_pixel_at_all():
    model, (image, mask) = small().eval(), sample()
    last = model.decoder[-1].conv
    nn.init.constant_(last.bias, 0.25)
    out = model(image * torch.nan, torch.zeros_like(mask))
    assert (out == 0.5).all()  # no window is valid, so not even the bias gets through: a mean image


# Batch norm frozen in the encoder


def step(model, steps=2):
    """Take a few steps with momentum; returns the names of the tensors that moved."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for seed in range(steps):
        optimiser.zero_grad()
        model(*sample(seed=seed)).square().mean().backward()
        optimiser.step()
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def encoder_norms(model):
    return {name for name in model.state_dict() if name.startswith("encoder.") and ".norm." in name}


def test_all_tensors_move_in_stage_1():
    model = small(8).train()
    assert step(model) == set(model.state_dict())


def test_frozen_encoder_norm_stays_and_all_else_moves():
    model = small(8).train().freeze_encoder_norm()
    frozen = encoder_norms(model)
    assert len(frozen) == 3 * 5  # weight, bias, mean, variance, count of layers 2 to 4
    assert step(model) == set(model.state_dict()) - frozen


def test_frozen_encoder_norm_survives_evaluation():
    model = small(8).freeze_encoder_norm()
    model.eval().train()
    assert model.training and model.decoder[0].norm.training
    assert not step(model) & encoder_norms(model)


def test_freezing_keeps_evaluation_mode():
    model = small().eval().freeze_encoder_norm()
    assert not any(module.training for module in model.modules())


# Initialisation


def test_he_init_is_reproducible():
    state = torch.get_rng_state()
    first = he_init(PConvUNet(4, 4), 5).state_dict()
    torch.manual_seed(123)
    second, other = he_init(PConvUNet(4, 4), 5).state_dict(), he_init(PConvUNet(4, 4), 6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if name.endswith("conv.weight"))
    torch.set_rng_state(state)


def test_he_init_draws_nothing_from_the_global_generator():
    model, state = PConvUNet(4, 4), torch.get_rng_state()
    he_init(model, 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_he_variance():
    """2 / ((1 + a^2) C k^2) for a rectifier of negative slope a, to four standard errors."""
    model = he_init(PConvUNet(16, 5), 0)
    for blocks, slope in ((model.encoder, 0), (model.decoder, 0.2)):
        for weight in (block.conv.weight.detach() for block in blocks):
            wanted = 2 / ((1 + slope**2) * weight[0].numel())
            assert weight.var().item() == pytest.approx(wanted, rel=4 * (2 / weight.numel()) ** 0.5)
    for conv in (model.encoder[0].conv, model.decoder[-1].conv):
        assert (conv.bias == 0).all()


# Precision and layout


def test_bfloat16_autocast():
    """The bound is loose: eight layers, each to 8 bits."""
    model, (image, mask) = small(8).eval(), sample()
    with torch.no_grad():
        want = model(image, mask)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(image, mask)
    assert out.dtype == torch.bfloat16
    assert (out.float() - want).norm() < 0.05 * want.norm()


def test_channels_last():
    model, (image, mask) = small(dtype=torch.float64), sample(dtype=torch.float64)
    want = model(image, mask)
    last = dict(memory_format=torch.channels_last)
    out = model.to(**last)(image.to(**last), mask)
    assert out.is_contiguous(**last)
    torch.testing.assert_close(out, want, rtol=1e-9, atol=1e-9)


# Files


def test_save_and_load(tmp_path):
    model, inputs = small(4, 3).eval(), sample()
    about = {"params": {"model": {"width": 4, "depth": 3}}, "epoch": 2}
    save_model(tmp_path / "a", model.state_dict(), about)
    save_model(tmp_path / "b", model.state_dict(), dict(reversed(about.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = load_model(tmp_path / "a")
    assert not loaded.training and torch.equal(loaded(*inputs), model(*inputs))


def test_save_model_keeps_its_bytes(tmp_path):
    """They are what safetensors' own writer makes of the tensors and one sorted metadata entry."""
    tensors, about = small(4, 3).state_dict(), {"params": {"model": {"width": 4, "depth": 3}}, "epoch": 2}
    save_model(tmp_path / "ours", tensors, about)
    metadata = {"pconv": '{"epoch": 2, "params": {"model": {"depth": 3, "width": 4}}}'}
    save_file(tensors, tmp_path / "theirs", metadata=metadata)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("scale", ["keras", "sum"])
def test_another_scale_is_the_papers_network_with_smaller_weights(scale, tmp_path):
    """1/C or 1/(C k^2) of each convolution's weights give the same; weights files keep which scale they are for."""
    image, mask = sample()
    model, papers = PConvUNet(4, 4, scale=scale), small()
    model.load_state_dict(papers.state_dict())
    path = tmp_path / "scaled.safetensors"
    save_model(path, model.state_dict(), {"params": {"model": {"width": 4, "depth": 4, "scale": scale}}})
    for block in [*papers.encoder, *papers.decoder]:
        weight = block.conv.weight.data
        weight /= weight[0].numel() if scale == "sum" else weight.shape[1]
    loaded = load_model(path)
    assert loaded.scale == scale
    with torch.no_grad():
        out, expected = (
            loaded.double()(image.double(), mask.double()),
            papers.eval().double()(image.double(), mask.double()),
        )
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-7)


def test_a_loaded_network_learns_and_draws_nothing(tmp_path):
    save_model(tmp_path / "a", small(8, 4).state_dict(), {"params": {"model": {"width": 8, "depth": 4}}})
    state = torch.get_rng_state()
    model = load_model(tmp_path / "a").train()
    assert torch.equal(torch.get_rng_state(), state)
    assert step(model) == set(model.state_dict())
    assert torch.equal(load_file(tmp_path / "a")["decoder.3.conv.bias"], torch.zeros(3))  # the file is as it was


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_taken(dtype, tmp_path):
    halved = {n: t.to(dtype) if t.is_floating_point() else t for n, t in small(4, 3).state_dict().items()}
    save_model(tmp_path / "a", halved, {"params": {"model": {"width": 4, "depth": 3}}})
    for name, tensor in load_model(tmp_path / "a").state_dict().items():
        assert torch.equal(tensor, halved[name].to(tensor.dtype)) and tensor.dtype in (torch.float32, torch.int64)


def refuse(path, *parts):
    """Check that loading gives one short line with the file's path, the parts, and what to do."""
    with pytest.raises(WeightsError) as caught:
        load_model(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and len(said.splitlines()) == 1 and len(said) < len(str(path)) + 500
    for part in (*parts, "; train a network with `dvc repro`, or give another file that training wrote"):
        assert part in said


def test_what_is_no_weights_file_is_refused(tmp_path):
    refuse(tmp_path / "gone.safetensors", "No such file or directory")
    refuse(tmp_path, "a folder")
    (tmp_path / "text").write_bytes(b"not weights\n")
    refuse(tmp_path / "text", "not a whole safetensors file")


SIZES = {
    "not JSON": ("x", "no params.model"),
    "an empty list": ("[]", "no params.model"),
    "nothing": ("{}", "no params.model"),
    "a number": ('{"params": 3}', "no params.model"),
    "another number": ('{"params": {"model": 3}}', "params.model: "),
    "brackets": ("[" * 100_000, "no params.model"),
    "no depth": ('{"params": {"model": {"width": 4}}}', "width and depth are not both there"),
    "width true": ('{"params": {"model": {"width": true, "depth": 3}}}', "params.model.width: "),
    "width null": ('{"params": {"model": {"width": null, "depth": 3}}}', "params.model.width: "),
    "width -1": ('{"params": {"model": {"width": -1, "depth": 3}}}', "params.model.width: "),
    "width 4.0": ('{"params": {"model": {"width": 4.0, "depth": 3}}}', "params.model.width: "),
    "width 10^9": ('{"params": {"model": {"width": 1000000000, "depth": 3}}}', "params.model.width: "),
    "depth 10^9": ('{"params": {"model": {"width": 4, "depth": 1000000000}}}', "params.model.depth: "),
    "5000 digits": (f'{{"params": {{"model": {{"width": {"1" * 5000}, "depth": 3}}}}}}', "no params.model"),
    "more keys": ('{"params": {"model": {"width": 4, "depth": 3, "x": 1}}}', "params.model.x: "),
    "a long key": (f'{{"params": {{"model": {{"width": 4, "depth": 3, "{"x" * 5000}": 1}}}}}}', "params.model.xxx"),
    "another width": (
        '{"params": {"model": {"width": 5, "depth": 3}}}',
        "of another shape: encoder.0.conv.weight (4, 3, 7, 7) instead of (5, 3, 7, 7), encoder.0.conv.bias",
    ),
    "another depth": ('{"params": {"model": {"width": 4, "depth": 4}}}', "missing: encoder.3.conv.weight"),
    "the greatest size": ('{"params": {"model": {"width": 1024, "depth": 9}}}', "missing: encoder.3.conv.weight"),
}


@pytest.mark.parametrize("case", SIZES)
def test_metadata_that_give_no_size_or_a_wrong_one_are_refused(case, tmp_path):
    text, said = SIZES[case]
    save_file(small(4, 3).state_dict(), tmp_path / "a", metadata={"pconv": text})
    refuse(tmp_path / "a", said)


def test_a_file_without_metadata_is_refused(tmp_path):
    save_file(small(4, 3).state_dict(), tmp_path / "a")
    refuse(tmp_path / "a", "no metadata of this project, so its width and depth are unknown")


TENSORS = {
    "a tensor too few": (lambda s: s.pop("decoder.0.norm.bias"), "missing: decoder.0.norm.bias"),
    "a tensor too many": (lambda s: s.update(more=torch.zeros(1)), "unknown: more"),
    "a wrong shape": (
        lambda s: s.update({"decoder.2.conv.bias": torch.zeros(4)}),
        "of another shape: decoder.2.conv.bias (4,) instead of (3,)",
    ),
    "integers": (
        lambda s: s.update({"decoder.2.conv.bias": torch.zeros(3).int()}),
        "of another type: decoder.2.conv.bias torch.int32",
    ),
    "NaN": (lambda s: s["encoder.1.norm.bias"].fill_(torch.nan), "not finite: encoder.1.norm.bias"),
    "infinity": (lambda s: s["decoder.2.conv.bias"].fill_(torch.inf), "not finite: decoder.2.conv.bias"),
    "zeros": (lambda s: s["encoder.1.conv.weight"].zero_(), "all zero: encoder.1.conv.weight"),
    "a variance below 0": (
        lambda s: s["encoder.1.norm.running_var"].sub_(9),
        "encoder.1.norm.running_var is a variance and has values below 0",
    ),
}


@pytest.mark.parametrize("case", TENSORS)
def test_weights_that_are_not_the_networks_are_refused(case, tmp_path):
    change, said = TENSORS[case]
    state = small(4, 3).state_dict()
    change(state)
    save_model(tmp_path / "a", state, {"params": {"model": {"width": 4, "depth": 3}}})
    refuse(tmp_path / "a", said)
