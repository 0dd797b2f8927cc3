"""Every term of the loss by hand and against numpy in float64; their sum, its gradient, its precision."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pconv import losses
from pconv.losses import TERMS, InpaintingLoss, gram, hole_loss, perceptual_loss, style_loss, tv_loss, valid_loss
from pconv.masks.tensors import compose
from pconv.params import Terms
from pconv.studies.unet import reference_terms

PAPER = {"valid": 1, "hole": 6, "perceptual": 0.05, "style": 120, "tv": 0.1}
NOTHING = dict.fromkeys(PAPER, 0.0)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_mask(*shape, valid=0.7, seed=0):
    return (random(*shape, seed=seed) < valid).double()


def picture(height, width, value=0.0):
    return torch.full((1, 3, height, width), value, dtype=torch.float64)


def hole_at(height, width, rows, columns):
    """Return a mask (1, 1, height, width) with one rectangular hole."""
    mask = torch.ones(1, 1, height, width, dtype=torch.float64)
    mask[..., rows, columns] = 0
    return mask


def batch(height=24, width=20, valid=0.7, seed=0):
    """Two predictions near their photographs, the photographs, and masks of scattered holes."""
    gt = random(2, 3, height, width, seed=seed)
    out = gt + 0.4 * (random(2, 3, height, width, seed=seed + 1) - 0.5)
    return out, gt, random_mask(2, 1, height, width, valid=valid, seed=seed + 2)


@pytest.fixture(scope="module")
def loss():
    """With the paper's weights and the packaged VGG, in float64."""
    return InpaintingLoss(Terms(), "packaged").double()


@pytest.fixture(scope="module")
def loss32():
    return InpaintingLoss(Terms(), "packaged")


# Each term, worked out by hand


def test_composite():
    gt, out, mask = picture(1, 2, 0.2), picture(1, 2, 0.9), torch.tensor([[[[1.0, 0.0]]]])
    assert compose(gt, out, mask)[0, :, 0].tolist() == [[0.2, 0.9]] * 3


def test_composite_of_a_prediction_that_is_not_finite_where_nobody_looks():
    out = torch.tensor([torch.nan, 0.9]).expand(1, 3, 1, 2)
    assert compose(picture(1, 2, 0.2).float(), out, torch.tensor([[[[1.0, 0.0]]]])).isfinite().all()


def test_valid_and_hole_of_a_constant_error():
    """20 pixels, 6 of them hole, each wrong by 0.1."""
    gt, mask = picture(4, 5, 0.5), hole_at(4, 5, slice(0, 2), slice(1, 4))
    assert valid_loss(gt + 0.1, gt, mask).item() == pytest.approx(0.1 * 14 / 20)
    assert hole_loss(gt + 0.1, gt, mask).item() == pytest.approx(0.1 * 6 / 20)


@pytest.mark.parametrize("sign", [1, -1])
def test_valid_and_hole_of_one_wrong_value(sign):
    """One of 3 channels of one of 16 pixels is wrong by 0.8; first in the hole, then beside it."""
    gt, mask = picture(4, 4, 0.5), hole_at(4, 4, 2, 1)
    for place, valid, hole in (((0, 1, 2, 1), 0, 0.8 / 48), ((0, 1, 2, 2), 0.8 / 48, 0)):
        out = gt.clone()
        out[place] += sign * 0.8
        assert valid_loss(out, gt, mask).item() == pytest.approx(valid)
        assert hole_loss(out, gt, mask).item() == pytest.approx(hole)


@pytest.mark.parametrize("row, column, across, down", [(2, 2, 2, 2), (0, 0, 1, 1), (0, 2, 2, 1), (4, 4, 1, 1)])
def test_tv_of_one_bright_pixel(row, column, across, down):
    """A hole of one pixel, 1 in a picture of 0: its neighbours differ by 1. 5 x 4 pairs of neighbours each way."""
    comp, mask = picture(5, 5), hole_at(5, 5, row, column)
    comp[..., row, column] = 1
    assert tv_loss(comp, mask).item() == pytest.approx((across + down) / 20)


def test_tv_region_is_the_hole_and_its_eight_neighbours():
    """A hole of one pixel at (2, 3) in 5 x 7; its region is 3 x 3.

    0.1 more from column to column: 3 rows of 2 pairs in the region, 5 x 6 pairs in the picture. 0.1 more from row to
    row: 3 columns of 2 pairs, 4 x 7 pairs in the picture.
    """
    rows, columns = torch.meshgrid(torch.arange(5), torch.arange(7), indexing="ij")
    mask = hole_at(5, 7, 2, 3)
    assert tv_loss(0.1 * columns.double().expand(1, 3, 5, 7), mask).item() == pytest.approx(3 * 2 * 0.1 / 30)
    assert tv_loss(0.1 * rows.double().expand(1, 3, 5, 7), mask).item() == pytest.approx(3 * 2 * 0.1 / 28)


def test_tv_counts_pairs_with_both_pixels_in_the_region():
    """The pixel two columns beside the hole is outside: what it holds has no influence."""
    comp, mask = picture(5, 7), hole_at(5, 7, 2, 3)
    comp[..., 5] = 1
    assert tv_loss(comp, mask).item() == 0
    comp[..., 4] = 1  # now an edge between columns 3 and 4, over the region's 3 rows
    assert tv_loss(comp, mask).item() == pytest.approx(3 / 30)


def test_tv_without_a_hole_and_of_a_picture_that_is_all_hole():
    """Columns of 0 and 1 in turn: each of the pairs across differs by 1."""
    comp = (torch.arange(6) % 2).double().expand(1, 3, 4, 6)
    assert tv_loss(comp, torch.ones(1, 1, 4, 6)).item() == 0
    assert tv_loss(comp, torch.zeros(1, 1, 4, 6)).item() == pytest.approx(1)


@pytest.mark.parametrize("height, width", [(5, 6), (1, 1), (32, 3)])
def test_gram_of_constant_features(height, width):
    """Channels of 1 and 2: the products of channels, over C = 2, whatever H and W."""
    features = torch.tensor([1.0, 2.0]).view(2, 1, 1).expand(2, height, width)
    torch.testing.assert_close(gram(features), torch.tensor([[1.0, 2.0], [2.0, 4.0]]) / 2)


def test_gram_of_features_that_never_meet():
    """Two channels, 3 in one pixel of 2 x 2 each, not the same: 9 / (2 x 4) on the diagonal."""
    features = torch.zeros(2, 2, 2)
    features[0, 0, 0] = features[1, 1, 1] = 3
    torch.testing.assert_close(gram(features), torch.eye(2) * 9 / 8)


def test_gram_by_loops():
    features = random(2, 3, 4, 5) - 0.5
    want = np.zeros((2, 3, 3))
    for n, c, d, i, j in product(range(2), range(3), range(3), range(4), range(5)):
        want[n, c, d] += features[n, c, i, j].item() * features[n, d, i, j].item() / (3 * 4 * 5)
    np.testing.assert_allclose(gram(features).numpy(), want, rtol=1e-12)


def test_perceptual_and_style_of_constant_features():
    """Two layers of 4 and 8 channels; 2 and 5 against 1. Their Gram matrices are 2 x 2 / 4 and 5 x 5 / 8 everywhere."""
    features = [torch.full((2, 4, 6, 6), 2.0), torch.full((2, 8, 3, 3), 5.0)]
    features_gt = [torch.ones(2, 4, 6, 6), torch.ones(2, 8, 3, 3)]
    assert perceptual_loss(features, features_gt).item() == pytest.approx((2 - 1) + (5 - 1))
    grams = [[gram(f) for f in maps] for maps in (features, features_gt)]
    assert style_loss(*grams).item() == pytest.approx((4 - 1) / 4 + (25 - 1) / 8)


def test_every_layer_has_to_be_given():
    with pytest.raises(ValueError):
        perceptual_loss([torch.ones(1, 1, 1, 1)], [])


class Pixels(nn.Module):
    """In place of VGG: an image is its own features, so that all terms can be worked out by hand."""

    def forward(self, image):
        return [image]


def test_all_terms_by_hand():
    """8 x 8 px of 0.5, a hole of 4 x 4 in the middle, a prediction of 0.6 everywhere.

    A quarter of comp is as wrong as out, and so is a quarter of its Gram matrix, whose entries are mean squares over
    3 channels. The hole's edge crosses 8 of the 8 x 7 pairs of neighbours each way.
    """
    gt, mask = picture(8, 8, 0.5), hole_at(8, 8, slice(2, 6), slice(2, 6))
    want = {
        "valid": 0.1 * 48 / 64,
        "hole": 0.1 * 16 / 64,
        "perceptual": 0.1 + 0.1 / 4,
        "style": (0.36 - 0.25) / 3 + (0.36 - 0.25) / 3 / 4,
        "tv": 2 * 8 * 0.1 / (8 * 7),
    }
    loss = InpaintingLoss(Terms(), "random")
    loss.vgg = Pixels()
    total, terms = loss(gt + 0.1, gt, mask)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(want)
    assert total.item() == pytest.approx(0.075 + 6 * 0.025 + 0.05 * 0.125 + 120 * 0.1375 / 3 + 0.1 * 1.6 / 56)
    assert reference_terms(gt + 0.1, gt, mask, loss.vgg) == pytest.approx(want)


# Against numpy in float64


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.integers(8, 17), st.integers(8, 17), st.sampled_from([0, 0.02, 0.5, 0.97, 1]), st.integers(0, 999))
def test_terms_equal_the_reference(loss, height, width, valid, seed):
    images = batch(height, width, valid, seed)
    terms = loss.terms(*images)
    assert set(terms) == set(TERMS) == set(PAPER)
    want = reference_terms(*images, loss.vgg)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(want, rel=1e-10, abs=1e-14)


def test_terms_in_float32_equal_the_reference(loss32):
    out, gt, mask = (image.float() for image in batch())
    terms = {name: value.item() for name, value in loss32.terms(out, gt, mask).items()}
    assert terms == pytest.approx(reference_terms(out, gt, mask, loss32.vgg), rel=1e-5)


# Where a prediction is wrong


def test_a_perfect_prediction_leaves_the_total_variation_alone(loss):
    _, gt, mask = batch()
    terms = loss.terms(gt, gt, mask)
    assert all(terms[name] == 0 for name in PAPER if name != "tv")
    assert terms["tv"] == tv_loss(gt, mask) > 0


def test_an_error_in_the_hole_alone(loss):
    """Then comp is out: valid is 0, and the feature terms count the same difference twice."""
    out, gt, mask = batch()
    out = compose(gt, out, mask)
    terms, features, features_gt = loss.terms(out, gt, mask), loss.vgg(out), loss.vgg(gt)
    assert terms["valid"] == 0 and terms["hole"] > 0
    torch.testing.assert_close(terms["perceptual"], 2 * perceptual_loss(features, features_gt))
    grams = [[gram(f) for f in maps] for maps in (features, features_gt)]
    torch.testing.assert_close(terms["style"], 2 * style_loss(*grams))


def test_an_error_outside_the_hole_alone(loss):
    """Then comp is the truth: hole is 0, the total variation is that of the truth, the feature terms count once."""
    out, gt, mask = batch()
    out = compose(out, gt, mask)
    terms, features, features_gt = loss.terms(out, gt, mask), loss.vgg(out), loss.vgg(gt)
    assert terms["hole"] == 0 and terms["valid"] > 0
    assert terms["tv"] == tv_loss(gt, mask)
    torch.testing.assert_close(terms["perceptual"], perceptual_loss(features, features_gt))
    grams = [[gram(f) for f in maps] for maps in (features, features_gt)]
    torch.testing.assert_close(terms["style"], style_loss(*grams))


def test_terms_of_a_batch_are_the_means_of_its_images(loss):
    images = batch()
    whole = loss.terms(*images)
    single = [loss.terms(*(image[i : i + 1] for image in images)) for i in range(2)]
    for name, value in whole.items():
        torch.testing.assert_close(value, (single[0][name] + single[1][name]) / 2)


# The sum


def test_the_weights_are_the_papers_unless_said_otherwise(loss):
    assert loss.weights == PAPER


def test_total_is_the_weighted_sum(loss):
    total, terms = loss(*batch())
    want = sum(weight * terms[name].item() for name, weight in PAPER.items())
    assert total.item() == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("name", PAPER)
def test_one_term_alone(name, loss):
    """With the weight 2 for one term and 0 for the others, nothing else is computed, and its value is the same."""
    alone = InpaintingLoss(Terms(**NOTHING | {name: 2.0}), "packaged").double()
    images = batch()
    total, terms = alone(*images)
    assert list(terms) == [name]
    torch.testing.assert_close(total, 2 * terms[name], rtol=0, atol=0)
    torch.testing.assert_close(terms[name], loss.terms(*images)[name])


FUNCTIONS = {"valid": valid_loss, "hole": hole_loss, "perceptual": perceptual_loss, "style": gram, "tv": tv_loss}


@pytest.mark.parametrize("name", PAPER)
def test_a_term_of_weight_0_is_not_computed(name, monkeypatch):
    def fail(*args):
        raise AssertionError(f"{name} was computed")

    monkeypatch.setattr(losses, FUNCTIONS[name].__name__, fail)
    loss = InpaintingLoss(Terms(**PAPER | {name: 0.0}), "random").double()
    assert name not in loss.terms(*batch())
    with pytest.raises(AssertionError, match=name):
        InpaintingLoss(Terms(), "random").double().terms(*batch())


@pytest.mark.parametrize("weights, loaded", [({}, False), ({"perceptual": 0.1}, True), ({"style": 0.1}, True)])
def test_vgg_is_loaded_only_where_a_term_needs_it(weights, loaded, monkeypatch):
    sources = []
    monkeypatch.setattr(losses, "VGGFeatures", lambda source: sources.append(source) or Pixels())
    InpaintingLoss(Terms(**NOTHING | {"valid": 1.0} | weights), "somewhere")
    assert sources == ["somewhere"] * loaded


def test_arguments_are_left_as_they_were(loss):
    images = batch()
    before = [image.clone() for image in images]
    loss(*images)
    assert all(torch.equal(image, other) for image, other in zip(images, before, strict=True))


# Gradients


def test_gradient_is_that_of_the_prediction_alone(loss):
    out, gt, mask = batch()
    loss(out.requires_grad_(), gt.requires_grad_(), mask)[0].backward()
    assert out.grad.isfinite().all() and (out.grad != 0).any(1).all()  # some of each pixel, valid or not
    assert gt.grad is None
    assert all(p.grad is None for p in loss.vgg.parameters())


@pytest.mark.parametrize("name", PAPER)
def test_gradient_of_each_term_is_the_slope_of_the_reference(name, loss):
    """Along a random direction, by central differences of the numpy reference."""
    out, gt, mask = (image[:1] for image in batch(9, 10))
    direction, step = random(*out.shape, seed=9) - 0.5, 1e-6
    high, low = (reference_terms(out + s * direction, gt, mask, loss.vgg)[name] for s in (step, -step))
    out = out.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss.terms(out, gt, mask)[name], out)
    assert (slope * direction).sum().item() == pytest.approx((high - low) / (2 * step), rel=1e-5)


# Precisions and memory layouts


@pytest.mark.parametrize("autocast", [True, False])
def test_gram_is_float32_in_half_precision(autocast):
    """1 + 1/128 is a bfloat16, its square 1 + 1/64 + 1/16384 is not."""
    features = torch.full((1, 2, 30, 30), 1 + 1 / 128, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        matrix = gram(features)
    square = (1 + 1 / 128) ** 2
    assert torch.tensor(square).bfloat16().item() != square
    assert matrix.dtype == torch.float32
    torch.testing.assert_close(matrix, torch.full((1, 2, 2), square / 2), rtol=1e-6, atol=0)


def test_gram_of_float32_features_under_autocast():
    features = random(1, 3, 40, 40, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        matrix = gram(features)
    torch.testing.assert_close(matrix.double(), gram(features.double()), rtol=1e-5, atol=0)


def test_feature_terms_are_means_in_float32():
    """100 x 100 differences of 1 + 1/128, halved: a bfloat16 mean would be rounded."""
    features = [torch.full((1, 1, 100, 100), 1 + 1 / 128, dtype=torch.bfloat16)]
    features[0][..., :50] = 0
    value = perceptual_loss(features, [torch.zeros_like(features[0])])
    assert value.dtype == torch.float32 and value.item() == pytest.approx((1 + 1 / 128) / 2, rel=1e-6)


def test_autocast_is_near_float32(loss32):
    """The terms that compare pixels are float32 all the same; VGG's 8 bits may cost the others a percent or two."""
    out, gt, mask = (image.float() for image in batch(64, 48))
    want = loss32.terms(out, gt, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, terms = loss32(out, gt, mask)
    assert total.dtype == torch.float32 and all(value.dtype == torch.float32 for value in terms.values())
    for name, value in want.items():
        tolerance = 0.03 if name in ("perceptual", "style") else 1e-6
        assert terms[name].item() == pytest.approx(value.item(), rel=tolerance), name


def test_memory_layout_changes_nothing(loss):
    images = batch()
    other = InpaintingLoss(Terms(), "packaged").double().to(memory_format=torch.channels_last)
    turned = [image.contiguous(memory_format=torch.channels_last) for image in images]
    for name, value in loss.terms(*images).items():
        torch.testing.assert_close(other.terms(*turned)[name], value, rtol=1e-12, atol=0)
