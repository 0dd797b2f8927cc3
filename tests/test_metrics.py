"""The measures against NumPy in float64, scikit-image, and values worked out by hand."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from pconv.masks.convention import MaskError
from pconv.metrics import PSNR_MAX, contrast, l1_percent, psnr, ssim


@pytest.fixture
def pair():
    """Three smooth images and noisy versions of them, each noisier than the one before."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(3, 3, 6, 5, generator=generator)
    gt = torch.nn.functional.interpolate(coarse, (40, 33), mode="bicubic").clamp(0, 1)
    noise = torch.randn(gt.shape, generator=generator) * torch.tensor([0.01, 0.05, 0.2]).view(3, 1, 1, 1)
    return (gt + noise).clamp(0, 1), gt


def numpy64(images):
    return images.double().numpy()


def test_l1_is_the_mean_absolute_difference_in_percent(pair):
    out, gt = pair
    expected = 100 * np.abs(numpy64(out) - numpy64(gt)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(l1_percent(out, gt), expected, rtol=1e-6)


def test_l1_by_hand():
    gt = torch.zeros(1, 3, 4, 4)
    out = gt.clone()
    out[0, 0, 0, :2] = torch.tensor([0.5, 1.0])  # 1.5 over 48 values
    assert l1_percent(out, gt).item() == pytest.approx(100 * 1.5 / 48)


def test_psnr_is_that_of_each_image(pair):
    out, gt = pair
    error = ((numpy64(out) - numpy64(gt)) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(psnr(out, gt), -10 * np.log10(error), rtol=1e-6)


def test_psnr_by_hand():
    gt = torch.full((2, 3, 8, 8), 0.5)
    out = gt + torch.tensor([0.1, 0.01]).view(2, 1, 1, 1)
    np.testing.assert_allclose(psnr(out, gt), [20, 40], rtol=1e-5)


def test_psnr_of_identical_images_is_a_finite_cap(pair):
    _, gt = pair
    assert psnr(gt, gt).tolist() == [PSNR_MAX] * 3
    assert psnr(gt.double() + 1e-7, gt.double()).max() <= PSNR_MAX


def test_ssim_equals_scikit_image(pair):
    """scikit-image averages the inner pixels only; reflected edges outside make them the whole image.

    Both in float64 with the same window: what is left is the rounding of the result to float32.
    """
    out, gt = pair
    for one, result in zip(range(3), ssim(out, gt), strict=True):
        padded = [np.pad(numpy64(x[one]), ((0, 0), (10, 10), (10, 10)), mode="reflect") for x in (out, gt)]
        _, pixels = structural_similarity(
            *padded,
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=0,
            full=True,
        )
        assert result.item() == pytest.approx(pixels[:, 10:-10, 10:-10].mean(), abs=1e-6)


def test_ssim_falls_with_noise_and_is_one_for_identical_images(pair):
    out, gt = pair
    first, second, third = ssim(out, gt).tolist()
    assert 1 > first > second > third
    assert ssim(gt, gt).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("measure", [l1_percent, psnr, ssim])
def test_each_image_is_measured_alone(measure, pair):
    out, gt = pair
    together = measure(out, gt)
    assert together.shape == (3,) and together.dtype == torch.float32
    for i in range(3):
        alone = measure(out[i : i + 1], gt[i : i + 1])
        assert alone.shape == (1,)
        assert alone.item() == pytest.approx(together[i].item(), rel=1e-6)


@pytest.mark.parametrize("measure", [l1_percent, psnr, ssim])
def test_values_outside_the_range_are_clamped(measure, pair):
    out, gt = pair
    wild = out + (out == 0) * -0.7 + (out == 1) * 0.3
    assert not torch.equal(wild, out)
    assert torch.equal(measure(wild, gt), measure(out, gt))


@pytest.mark.parametrize("measure", [l1_percent, psnr, ssim])
def test_other_shapes_are_refused(measure):
    with pytest.raises(ValueError, match=r"gt is \(1, 3, 8, 9\), out is \(1, 3, 8, 8\): expected equal shapes"):
        measure(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))
    with pytest.raises(ValueError, match=r"out: expected images \(N, 3, H, W\)"):
        measure(torch.zeros(3, 16, 16), torch.zeros(3, 16, 16))


# Contrast


@pytest.fixture
def holes(pair):
    """Return masks of three holes: one in the middle, one at a corner, single pixels."""
    mask = torch.ones(3, 1, 40, 33)
    mask[0, :, 10:20, 12:20] = 0
    mask[1, :, 30:, :9] = 0
    mask[2, :, ::7, ::5] = 0
    return mask


def test_contrast_is_the_deviation_in_a_window_around_each_pixel_of_the_hole(pair, holes):
    """Windows of 3 x 3 px, since 33 // 32 = 1, one by one in float64 and cut off at the edges of the image."""
    _, gt = pair
    for image, mask, found in zip(numpy64(gt), holes[:, 0].numpy(), contrast(gt, holes), strict=True):
        windows = [image[:, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] for y, x in np.argwhere(mask == 0)]
        expected = np.sqrt(np.mean([window.var(axis=(1, 2)) for window in windows]))
        assert found.item() == pytest.approx(expected, rel=1e-6)


def test_contrast_does_not_depend_on_brightness_and_grows_in_proportion(pair, holes):
    _, gt = pair
    soft = contrast(0.2 + gt / 4, holes)
    torch.testing.assert_close(4 * soft, contrast(gt, holes), rtol=1e-5, atol=0)
    assert (contrast(torch.full_like(gt, 0.3), holes) < 1e-7).all()


def test_contrast_without_a_hole_is_unknown(pair, holes):
    _, gt = pair
    holes[1] = 1
    assert contrast(gt, holes).isnan().tolist() == [False, True, False]


def test_contrast_refuses_what_does_not_fit(pair, holes):
    _, gt = pair
    with pytest.raises(ValueError, match=r"mask: expected \(3, 1, 40, 33\)"):
        contrast(gt, holes[..., 1:])
    with pytest.raises(MaskError, match="0 \\(hole\\) and 1"):
        contrast(gt, holes / 2)
    with pytest.raises(ValueError, match="gt: expected values from 0 to 1"):
        contrast(255 * gt, holes)
