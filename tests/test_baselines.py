"""The baselines see the valid pixels only, leave them alone, and fill the hole sensibly."""

import numpy as np
import pytest
import torch

from pconv.baselines import METHODS, fill
from pconv.masks.drawing import draw_grid
from pconv.masks.tensors import hole_to_mask

every_method = pytest.mark.parametrize("name", METHODS)


@pytest.fixture
def image():
    """Return a smooth colour gradient with some texture, (3, 48, 40)."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 48), torch.linspace(0, 1, 40), indexing="ij")
    noise = 0.05 * torch.rand(3, 48, 40, generator=torch.Generator().manual_seed(0))
    return 0.9 * torch.stack([rows, columns, (rows + columns) / 2]) + noise


@pytest.fixture
def mask(request):
    """Return a hole in the middle, one in a corner, and one that is a pixel wide, for bicubic a grid: (1, 48, 40)."""
    if "bicubic" in request.node.name:
        return hole_to_mask(draw_grid(48, 4, 1, 2))[..., :40]
    mask = torch.ones(1, 48, 40)
    mask[:, 10:25, 8:20] = 0
    mask[:, 40:, 30:] = 0
    mask[:, 30, :] = 0
    return mask


@every_method
def test_valid_pixels_stay_exactly_as_they_are(name, image, mask):
    valid = mask.expand(3, -1, -1) == 1
    filled = fill(name, image, mask)
    assert filled.shape == image.shape and filled.dtype == torch.float32
    assert torch.equal(filled[valid], image[valid])


@every_method
@pytest.mark.parametrize("content", [0.0, 1.0, float("nan"), float("inf")])
def test_what_the_hole_holds_has_no_influence(name, content, image, mask):
    changed = torch.where(mask > 0, image, torch.tensor(content))
    assert torch.equal(fill(name, changed, mask), fill(name, image, mask))


@every_method
def test_arguments_are_left_as_they_were(name, image, mask):
    image_before, mask_before = image.clone(), mask.clone()
    fill(name, image, mask)
    assert torch.equal(image, image_before) and torch.equal(mask, mask_before)


@every_method
def test_a_constant_image_is_restored(name, mask):
    image = torch.tensor([0.2, 0.4, 0.8]).view(3, 1, 1).expand(3, 48, 40)  # multiples of 1/255, as OpenCV has 8 bits
    tolerance = 4 / 255 if name == "telea" else 1e-5  # Telea's weights lose some of the 8 bits
    torch.testing.assert_close(fill(name, image, mask), image, rtol=0, atol=tolerance)


def test_mean_fill_is_the_mean_of_the_valid_pixels(image, mask):
    filled, hole = fill("mean fill", image, mask).numpy(), mask[0].numpy() == 0
    for channel, values in zip(filled, image.double().numpy(), strict=True):
        np.testing.assert_allclose(channel[hole], values[~hole].mean(), rtol=1e-6)


@pytest.mark.parametrize("name", ["telea", "navier-stokes", "biharmonic"])
def test_structure_beats_the_mean_on_a_gradient(name, image, mask):
    error = {n: (fill(n, image, mask) - image).abs().mean() for n in (name, "mean fill")}
    assert error[name] < 0.5 * error["mean fill"]


@every_method
def test_without_a_hole_the_image_comes_back(name, image):
    filled = fill(name, image, torch.ones(1, 48, 40))
    assert torch.equal(filled, image) and filled.data_ptr() != image.data_ptr()


@every_method
def test_without_a_valid_pixel_there_is_nothing_to_fill_from(name, image):
    with pytest.raises(ValueError, match=f"{name}: no pixel of the image is valid"):
        fill(name, image, torch.zeros(1, 48, 40))


def test_one_valid_pixel_is_enough_for_mean_fill(image):
    mask = torch.zeros(1, 48, 40)
    mask[:, 5, 6] = 1
    expected = image[:, 5:6, 6:7].expand(3, 48, 40)
    assert torch.allclose(fill("mean fill", image, mask), expected)


def test_unknown_names_and_shapes_are_refused(image, mask):
    with pytest.raises(ValueError, match="no baseline is called 'Telea'; there are mean fill, telea, navier-stokes"):
        fill("Telea", image, mask)
    with pytest.raises(ValueError, match=r"image \(3, 48, 40\) and mask \(48, 40\)"):
        fill("telea", image, mask[0])


# Bicubic interpolation of a grid


def keys(distance):
    """Return Keys' cubic with a = -1/2."""
    x = abs(distance)
    if x >= 2:
        return 0.0
    return 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2


def interpolated(known, first, spacing, length):
    """Interpolate known values at first, first + spacing, ... along one side, from the definition; the ends go on."""
    found = []
    for x in range(length):
        place = (x - first) / spacing
        near = range(int(np.floor(place)) - 1, int(np.floor(place)) + 3)
        found.append(sum(keys(place - i) * known[min(max(i, 0), len(known) - 1)] for i in near))
    return np.stack(found)


GRIDS = [(2, 0, 0), (2, 1, 0), (4, 1, 1), (4, 3, 2), (3, 0, 2)]


@pytest.mark.parametrize("spacing, row, column", GRIDS)
def test_bicubic_is_interpolation_from_its_definition(spacing, row, column):
    image = torch.rand(3, 21, 21, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    filled = fill("bicubic", image, hole_to_mask(draw_grid(21, spacing, row, column)))
    known = image[:, row::spacing, column::spacing].numpy()
    for channel, values in zip(filled.numpy(), known, strict=True):
        columns = interpolated(values.T, column, spacing, 21).T
        np.testing.assert_allclose(channel, interpolated(columns, row, spacing, 21), atol=2e-6)


@pytest.mark.parametrize("spacing, row, column", GRIDS)
def test_bicubic_has_no_shift(spacing, row, column):
    """A plane, and even a parabola, is restored exactly where the kernel sees nothing but known pixels."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    image = torch.stack([y / 48, x / 48, (x - 20) ** 2 / 1000])
    filled = fill("bicubic", image, hole_to_mask(draw_grid(48, spacing, row, column)))
    inner = (..., slice(3 * spacing, -3 * spacing), slice(3 * spacing, -3 * spacing))
    torch.testing.assert_close(filled[inner], image[inner], rtol=0, atol=1e-6)


def holes_in_a_grid():
    grid = hole_to_mask(draw_grid(24, 2, 0, 1))
    one_more, one_less, uneven, half = (grid.clone() for _ in range(4))
    one_more[:, 7, 7] = 1
    one_less[:, 8, 9] = 0
    uneven[:, 12:] = hole_to_mask(draw_grid(24, 4, 0, 1))[:, 12:]
    half[..., :12] = 0
    oblong = torch.zeros_like(grid)
    oblong[:, ::2, ::4] = 1
    single = torch.zeros_like(grid)
    single[:, 3, 3] = 1
    return {"more": one_more, "less": one_less, "uneven": uneven, "half": half, "oblong": oblong, "single": single}


@pytest.mark.parametrize("which", holes_in_a_grid())
def test_bicubic_refuses_what_is_no_grid(which):
    with pytest.raises(ValueError, match="bicubic: the valid pixels are no grid.*masks.source = grid2 or grid4"):
        fill("bicubic", torch.full((3, 24, 24), 0.5), holes_in_a_grid()[which])
