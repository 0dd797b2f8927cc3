"""The perceptual distance against NumPy in float64, and the properties of a distance."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from scipy.ndimage import gaussian_filter
from skimage import data

from pconv.metrics import psnr
from pconv.perceptual import PerceptualDistance
from pconv.vgg import PACKAGED, PACKAGED_INPUT


@pytest.fixture(scope="module")
def distance():
    return PerceptualDistance()


@pytest.fixture(scope="module")
def gt():
    """Return three crops of photographs, (3, 3, 48, 40)."""
    crops = [data.astronaut()[60:108, 200:240], data.coffee()[100:148, 300:340], data.chelsea()[90:138, 150:190]]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) / 255


@pytest.fixture(scope="module")
def noise(gt):
    return torch.randn(gt.shape, generator=torch.Generator().manual_seed(0))


def noisy(gt, noise, strength):
    return (gt + strength * noise).clamp(0, 1)


def blurred(image, sigma):
    return torch.from_numpy(gaussian_filter(image.numpy(), sigma, axes=(2, 3)))


def features64(image):
    """Return pool1, pool2 and pool3 of the packaged VGG-16 for one image (3, H, W), by NumPy in float64."""
    weights = {name: value.astype(np.float64) for name, value in load_file(PACKAGED).items()}
    convolutions = iter(sorted({int(name.split(".")[1]) for name in weights}))
    mean, std = (np.reshape(values, (3, 1, 1)) for values in PACKAGED_INPUT)
    x, pooled = (image - mean) / std, []
    for count in (2, 2, 3):
        for number in (next(convolutions) for _ in range(count)):
            kernels, bias = weights[f"features.{number}.weight"], weights[f"features.{number}.bias"]
            windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (1, 1), (1, 1))), (3, 3), (1, 2))
            x = np.maximum(np.einsum("chwij,kcij->khw", windows, kernels, optimize=True) + bias[:, None, None], 0)
        height, width = x.shape[1] // 2, x.shape[2] // 2
        x = x[:, : 2 * height, : 2 * width].reshape(-1, height, 2, width, 2).max(axis=(2, 4))
        pooled.append(x)
    return pooled


def reference(out, gt):
    """Return the distance of one image from another, pixel by pixel: 2 - 2 cos where both feature vectors answer."""
    layers = []
    for a, b in zip(features64(out.double().numpy()), features64(gt.double().numpy()), strict=True):
        lengths = np.sqrt((a * a).sum(0)), np.sqrt((b * b).sum(0))
        assert min(length.min() for length in lengths) > 0
        layers.append(np.mean(2 - 2 * (a * b).sum(0) / (lengths[0] * lengths[1])))
    return np.mean(layers)


def test_it_equals_an_independent_computation_in_float64(distance, gt, noise):
    out = noisy(gt, noise, 0.1)[:2, :, :19, :16]  # an odd side, of which pooling leaves out the rest
    truth = gt[:2, :, :19, :16]
    expected = [reference(a, b) for a, b in zip(out, truth, strict=True)]
    np.testing.assert_allclose(distance(out, truth), expected, rtol=1e-4)
    assert expected[0] != pytest.approx(expected[1], rel=0.05)  # else the order could be wrong


def test_it_is_zero_for_equal_images_and_symmetric(distance, gt, noise):
    out = noisy(gt, noise, 0.1)
    assert (distance(gt, gt) == 0).all()
    assert (distance(out, gt) > 0).all()
    torch.testing.assert_close(distance(out, gt), distance(gt, out), rtol=1e-6, atol=0)


def test_it_grows_with_noise_and_blur_and_keeps_below_two(distance, gt, noise):
    for worse in (
        [noisy(gt, noise, strength) for strength in (0.01, 0.03, 0.1, 0.3)],
        [blurred(gt, sigma) for sigma in (0.5, 1, 2, 4)],
    ):
        distances = torch.stack([distance(out, gt) for out in worse])
        assert (distances.diff(dim=0) > 0).all() and (distances < 2).all()


def test_lost_texture_counts_for_more_than_colours_that_are_off(distance, gt):
    """At the same PSNR, a blur lies further from the truth than another brightness."""
    middle = 0.25 + gt / 2
    blur = blurred(middle, 1.5)
    shift = (blur - middle).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    brighter = middle + shift
    torch.testing.assert_close(psnr(blur, middle), psnr(brighter, middle), rtol=1e-5, atol=0)
    assert (distance(blur, middle) > 1.5 * distance(brighter, middle)).all()


def test_each_image_is_measured_alone(distance, gt, noise):
    out = noisy(gt, noise, 0.1)
    together = distance(out, gt)
    assert together.shape == (3,) and together.dtype == torch.float32
    alone = torch.cat([distance(out[i : i + 1], gt[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=0)
    torch.testing.assert_close(distance(out.flip(0), gt.flip(0)).flip(0), together, rtol=1e-5, atol=0)


def test_it_is_the_same_twice_and_in_any_precision_of_the_rest(distance, gt, noise):
    out = noisy(gt, noise, 0.1)
    first = distance(out, gt)
    assert torch.equal(distance(out, gt), first)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(distance(out, gt), first)
    torch.testing.assert_close(distance(out.double(), gt.double()), first, rtol=1e-6, atol=0)


def test_flat_black_where_few_features_answer(distance):
    black = torch.zeros(1, 3, 16, 16)
    assert distance(black, black).item() == 0
    assert 0 < distance(black, black + 1).item() < 2


def test_nan_in_a_prediction_gives_nan_for_that_image_alone(distance, gt):
    out = gt.clone()
    out[1, 2, 7, 5] = float("nan")
    assert distance(out, gt).isnan().tolist() == [False, True, False]


def test_a_prediction_is_clamped(distance, gt):
    wild = torch.where(gt > 0.5, gt + 0.9, gt)
    assert torch.equal(distance(wild, gt), distance(wild.clamp(max=1), gt))


@pytest.mark.parametrize(
    ("out", "gt", "message"),
    [
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9), r"gt is \(1, 3, 8, 9\), out is \(1, 3, 8, 8\)"),
        (torch.zeros(3, 16, 16), torch.zeros(3, 16, 16), r"out: expected images \(N, 3, H, W\)"),
        (torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16), r"out: expected images \(N, 3, H, W\)"),
        (torch.zeros(1, 3, 7, 16), torch.zeros(1, 3, 7, 16), r"at least 8 x 8 px for VGG, got \(1, 3, 7, 16\)"),
        (torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 255.0), "gt: expected values from 0 to 1, got 255"),
        (torch.full((1, 3, 8, 8), 255.0), torch.zeros(1, 3, 8, 8), "out: expected values from 0 to 1, got 255"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 3, 8, 8), "out: expected floating point"),
    ],
)
def test_what_does_not_fit_is_refused(distance, out, gt, message):
    with pytest.raises(ValueError, match=message):
        distance(out, gt)
