"""What notebook 03 measures: right on cases with a known answer, and able to find what it looks for."""

import numpy as np
import pandas as pd
import pytest
import torch

from pconv.losses import InpaintingLoss
from pconv.params import Terms
from pconv.studies import unet
from pconv.unet import PConvUNet, he_init

PIXELS = Terms(perceptual=0.0, style=0.0)


@pytest.fixture
def model():
    return he_init(PConvUNet(width=4, depth=3), seed=0)


@pytest.fixture
def image():
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def mask():
    mask = torch.ones(1, 1, 32, 32)
    mask[..., 8:20, 10:24] = 0
    return mask


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def unchanged(model, before):
    return all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def leaking(monkeypatch):
    """Let partial convolutions see what is in the hole."""
    for module in ("layers", "unet"):
        monkeypatch.setattr(f"pconv.{module}.zero_holes", lambda x, mask: x)


# The network


def test_layer_table(model):
    table = unet.layer_table(model, 32)
    assert table.columns.tolist() == [
        *("filter", "input channels", "joined with", "size", "batch norm", "nonlinearity", "output", "parameters")
    ]
    leaky = "LeakyReLU(0.2)"
    assert table.to_numpy().tolist() == [
        ["7 x 7", "3", "", "/ 2", "", "ReLU", "4 x 16 x 16", 3 * 4 * 49 + 4],
        ["5 x 5", "4", "", "/ 2", "yes", "ReLU", "8 x 8 x 8", 4 * 8 * 25 + 2 * 8],
        ["5 x 5", "8", "", "/ 2", "yes", "ReLU", "16 x 4 x 4", 8 * 16 * 25 + 2 * 16],
        ["3 x 3", "16 + 8", "PConv2", "x 2", "yes", leaky, "8 x 8 x 8", 24 * 8 * 9 + 2 * 8],
        ["3 x 3", "8 + 4", "PConv1", "x 2", "yes", leaky, "4 x 16 x 16", 12 * 4 * 9 + 2 * 4],
        ["3 x 3", "4 + 3", "image", "x 2", "", "", "3 x 32 x 32", 7 * 3 * 9 + 3],
    ]
    assert table.index.tolist() == [f"PConv{i}" for i in range(1, 7)]
    assert model.training and not model.encoder[0]._forward_hooks


def test_mask_levels_are_those_of_the_forward_pass(model, image, mask):
    seen = []
    for block in model.encoder:
        block.register_forward_hook(lambda module, inputs, output: seen.append(inputs[-1].mask))
    model(image, mask)
    levels = unet.mask_levels(model, mask)
    assert levels[0] is mask and len(levels) == 4
    assert all(torch.equal(level, other) for level, other in zip(levels[1:], seen, strict=True))


def test_labelled_masks_name_every_layer_once(model, mask):
    down, up = unet.labelled_masks(model, mask[0])
    assert len(down) == model.depth + 1 and len(up) == model.depth
    assert [label.split("\n")[0] for label, _ in down + up] == [
        "input",
        *(f"PConv{i}" for i in range(1, 2 * model.depth + 1)),
    ]
    for (_, shown), level in zip(down, unet.mask_levels(model, mask[:1]), strict=True):
        assert torch.equal(shown, level[0])
    for label, shown in down + up:
        assert f"{shown.shape[-1]} px" in label
    assert up[-1][1].shape == mask[0].shape and up[-1][0].endswith("3 ch.")


def test_valid_shares(model):
    shares = unet.valid_shares(model, 64, seed=0, count=3)
    assert shares.index.tolist() == ["0.01-0.1", "0.1-0.2", "0.2-0.3", "0.3-0.4", "0.4-0.5", "0.5-0.6"]
    assert shares.columns.tolist() == ["input", "PConv1", "PConv2", "PConv3"]
    low, high = np.arange(6) / 10, np.arange(1, 7) / 10
    assert (shares.input < 1 - low).all() and (shares.input >= 1 - high).all()
    assert (np.diff(shares.to_numpy()) >= 0).all()  # the hole only shrinks


@pytest.mark.parametrize(
    "shares, level", [([[0.5, 1, 1], [0.2, 0.9, 1]], 2), ([[1, 1], [1, 1]], 0), ([[0.5, 0.9]], None)]
)
def test_first_full(shares, level):
    assert unet.first_full(pd.DataFrame(shares)) == level


def test_size_table(model, image, mask):
    table = unet.size_table(model, image, mask, [(32, 32), (9, 21), (4, 4)])
    assert table.index.tolist() == ["32 x 32", "9 x 21", "4 x 4"]
    assert table.inside.tolist() == ["32 x 32", "16 x 24", "8 x 8"]
    assert table.output.tolist() == ["3 x 32 x 32", "3 x 9 x 21", "3 x 4 x 4"]
    assert (table["difference from padding by hand"] == 0).all()


def test_size_table_finds_padding_that_counts(model, image, mask, monkeypatch):
    leaking(monkeypatch)
    table = unet.size_table(model, image, mask, [(9, 21)])
    assert (table["difference from padding by hand"] > 0).all()


def test_content_changes(model, image, mask):
    before = state(model)
    changes = unet.content_changes(model, image, mask, seed=0)
    assert len(changes) == 7 and (changes.filter(like="hole") == 0).all() and changes["valid pixels: noise"] > 0.01
    assert model.training and unchanged(model, before)


def test_content_changes_finds_a_leak(model, image, mask, monkeypatch):
    leaking(monkeypatch)
    assert (unet.content_changes(model, image, mask, seed=0) > 0).all()


def test_step_changes(model, image, mask):
    before, loss = state(model), InpaintingLoss(PIXELS, "random")
    free = unet.step_changes(model, loss, image, mask)
    frozen = unet.step_changes(model.freeze_encoder_norm(), loss, image, mask)
    assert len(free) == 6 and (free > 0).all()
    norms = ["encoder, statistics of batch norm", "encoder, affine parameters of batch norm"]
    assert (frozen[norms] == 0).all() and (frozen.drop(norms) > 0).all()
    assert unchanged(model, before)


def test_hole_psnr():
    """A hole of one of 4 pixels, wrong by 0.1, beside pixels that are wrong by more: -10 log10 0.01."""
    gt, mask = torch.full((1, 3, 2, 2), 0.5), torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])
    out = torch.where(mask > 0, gt + 0.4, gt + 0.1)
    assert unet.hole_psnr(out, gt, mask) == pytest.approx(20, abs=1e-4)
    white = torch.ones(1, 3, 2, 2)
    assert unet.hole_psnr(white + 7, white - 0.01, mask) == pytest.approx(40, abs=1e-3)  # clamped to 1


def test_overfit(model, image, mask):
    loss, optimiser = InpaintingLoss(PIXELS, "random"), torch.optim.Adam(model.parameters(), lr=0.01)
    first = model(image, mask).detach()
    history, predictions = unet.overfit(model, optimiser, loss, image, mask, 30, [0, 30])
    assert len(history) == 31 and list(predictions) == [0, 30]
    assert torch.equal(predictions[0], first)  # before any step
    assert history.total.iloc[-1] < 0.5 * history.total.iloc[0] and history.psnr.iloc[-1] > history.psnr.iloc[0]
    np.testing.assert_allclose(history[["valid", "hole", "tv"]].sum(axis=1), history.total, rtol=1e-5)
    total, terms = loss(predictions[30], image, mask)
    assert history.total.iloc[-1] == pytest.approx(total.item())
    assert history.hole.iloc[-1] == pytest.approx(6 * terms["hole"].item())
    assert torch.equal(model(image, mask), predictions[30])  # what the last step left


# The loss


def test_term_table_and_the_scale_of_the_features(image, mask):
    loss = InpaintingLoss(Terms(), "random")
    outs = {"black": torch.zeros_like(image), "truth": image}
    table = unet.term_table(loss, outs, image, mask)
    assert table.index.tolist() == ["black", "truth"] and table.columns.tolist() == list(loss.weights)
    want = loss.terms(outs["black"], image, mask)
    assert table.loc["black"].to_dict() == pytest.approx({name: value.item() for name, value in want.items()})
    assert (table.loc["truth", ["valid", "hole", "perceptual", "style"]] < 1e-5).all()
    larger = unet.term_table(loss, outs, image, mask, scale=10).loc["black"] / table.loc["black"]
    assert larger.to_dict() == pytest.approx({"valid": 1, "hole": 1, "tv": 1, "perceptual": 10, "style": 100}, rel=1e-4)
    assert not loss.vgg._forward_hooks


def test_feature_scale():
    assert unet.feature_scale(lambda image: [image, torch.tensor([3.0, 4.0])], torch.full((2, 2), -2.0)) == [
        2.0,
        pytest.approx(12.5**0.5),
    ]
