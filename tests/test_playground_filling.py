"""A hole filled by several methods: their pixels, PSNR in the hole, and problems."""

import numpy as np
import pytest
import torch

from pconv import baselines
from pconv.completion import complete
from pconv.masks.convention import MaskError
from pconv.metrics import PSNR_MAX
from pconv.playground import filling
from pconv.playground.filling import OURS, QUICK, SLOW, Methods, in_words, psnr
from pconv.playground.network import NoWeightsError
from pconv.playground.photographs import SIZE
from pconv.unet import PConvUNet, he_init

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(256, size=(48, 64, 3), dtype=np.uint8)
HOLE = np.zeros((48, 64), np.uint8)
HOLE[10:20, 30:45] = 1


@pytest.fixture
def network(monkeypatch):
    model = he_init(PConvUNet(4, 3), 0).eval()
    monkeypatch.setattr(filling, "load_network", lambda: model)
    return model


def test_psnr_is_that_of_the_pixels_given():
    out, truth = RNG.integers(256, size=(2, 50, 3), dtype=np.uint8)
    errors = [(int(a) - int(b)) ** 2 / 255**2 for a, b in zip(out.flat, truth.flat, strict=True)]
    assert psnr(out, truth) == pytest.approx(-10 * np.log10(sum(errors) / len(errors)), abs=1e-9)
    assert psnr(out, out) == PSNR_MAX
    assert psnr(out * 0, out * 0 + 255) == 0


def test_every_method_fills_the_hole_as_it_does_elsewhere(network):
    found = Methods().fill(IMAGE, HOLE, [*QUICK, *SLOW])
    tensor = torch.from_numpy(IMAGE).permute(2, 0, 1) / 255
    mask = 1 - torch.from_numpy(HOLE)[None].float()
    expected = {}
    for name in set(filling.TITLES) - {OURS}:
        out = baselines.fill(name, tensor, mask).permute(1, 2, 0).numpy()
        expected[name] = np.rint(255 * out).astype(np.uint8)
    out = complete(network, tensor[None], mask[None])[0].permute(1, 2, 0).numpy()
    expected[OURS] = np.rint(255 * out).astype(np.uint8)
    assert [one.method for one in found] == list(filling.TITLES)
    for one in found:
        difference = one.colours.astype(int) - expected[one.method][HOLE == 1]
        assert np.abs(difference).max() <= (one.method == OURS), one.method  # the network in another memory layout
        assert one.psnr == psnr(one.colours, IMAGE[HOLE == 1]) and one.seconds > 0 and not one.problem


def test_a_hole_wider_than_the_network_reaches_is_filled_without_grey(network):
    wide = np.zeros((SIZE, SIZE), np.uint8)
    wide[20:-20, 20:-20] = 1
    assert not network.reached(1 - torch.from_numpy(wide)[None, None].float()).all()
    image = np.full((SIZE, SIZE, 3), (200, 30, 60), np.uint8)
    (ours,) = Methods().fill(image, wide, [OURS])
    assert not ours.problem and len(ours.colours) == wide.sum()
    grey = (np.abs(ours.colours.astype(int) - 128) <= 1).all(axis=1)
    assert grey.mean() < 0.01


def test_without_weights_the_others_go_on(monkeypatch):
    def none():
        raise NoWeightsError("no weights: run this")

    monkeypatch.setattr(filling, "load_network", none)
    ours, *others = Methods().fill(IMAGE, HOLE, QUICK)
    assert ours.problem == "no weights: run this" and ours.colours.shape == (0, 3)
    assert len(others) == 2 and not any(one.problem for one in others)
    assert "- this network: no weights: run this\n- Telea: " in in_words(0.1, [ours, *others])


def test_weights_are_read_once(network, monkeypatch):
    methods = Methods()
    methods.fill(IMAGE, HOLE, [OURS])
    monkeypatch.setattr(filling, "load_network", None)
    assert not methods.fill(IMAGE, HOLE, [OURS])[0].problem


def test_no_hole_and_nothing_but_hole(network):
    assert Methods().fill(IMAGE, 0 * HOLE, QUICK) == []
    with pytest.raises(MaskError, match="covers the whole picture"):
        Methods().fill(IMAGE, 0 * HOLE + 1, QUICK)


def test_in_words(network):
    words = in_words(HOLE.mean(), Methods().fill(IMAGE, HOLE, ["telea"]))
    assert words.startswith("The hole covers 4.9% of the picture.\n\n- Telea: ") and " dB in the hole, in " in words
