"""The network of the playground: which weights it takes, and holes that are wider than it reaches."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pconv.completion import InpaintError, complete
from pconv.filling import network
from pconv.playground.network import NoWeightsError, fill, halve, load_network
from pconv.tensors import WeightsError
from pconv.unet import PConvUNet, he_init, save_model


def write(path, width):
    path.parent.mkdir(parents=True)
    save_model(path, he_init(PConvUNet(width, 3), 0).state_dict(), {"params": {"model": {"width": width, "depth": 3}}})


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Create a project in which nothing has been trained or published, and go there."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(network, "FOLDERS", (tmp_path / "published",))
    return tmp_path


def test_published_weights_come_before_those_of_the_run(project):
    with pytest.raises(NoWeightsError, match="`make repro`"):
        load_network()
    write(project / "models/stage2/best.safetensors", 5)
    assert load_network().width == 5 and not load_network().training
    write(project / "published/photos-256/partial.safetensors", 4)
    assert load_network().width == 4


def test_damaged_published_weights_are_named_and_not_passed_over(project):
    write(project / "models/stage2/best.safetensors", 5)
    published = project / "published/photos-256/partial.safetensors"
    published.parent.mkdir(parents=True)
    published.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="photos-256/partial.safetensors"):
        load_network()


@pytest.fixture(scope="module")
def model():
    return he_init(PConvUNet(4, 3), 0).eval()  # reaches 44 px


def photograph(size):
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))


def square_hole(size, width):
    mask = torch.ones(1, 1, size, size)
    start = (size - width) // 2
    mask[..., start : start + width, start : start + width] = 0
    return mask


def test_a_hole_within_reach_is_filled_as_always(model):
    image, mask = photograph(96), square_hole(96, 40)
    assert fill(model, image, mask).equal(complete(model, image, mask))


@pytest.mark.parametrize("width, times", [(60, 2), (100, 4)])
def test_a_wider_hole_is_filled_on_a_smaller_copy(model, width, times):
    image, mask = photograph(128), square_hole(128, width)
    with pytest.raises(InpaintError, match="too wide"):
        complete(model, image, mask)
    filled = fill(model, image, mask)
    valid = mask.bool().expand_as(image)
    assert filled[valid].equal(image[valid]) and filled.aminmax().max <= 1 and filled.aminmax().min >= 0
    small, small_mask = image, mask
    for _ in range(int(np.log2(times))):
        small, small_mask = (part.float() for part in halved(small, small_mask))
    coarse = complete(model, small, small_mask)
    steps = [F.interpolate(coarse, scale_factor=2, mode="bilinear")]
    if times == 4:  # valid pixels of the copy between are its own
        between, between_mask = (part.float() for part in halved(image, mask))
        steps.append(F.interpolate(torch.where(between_mask > 0, between, steps[0]), scale_factor=2, mode="bilinear"))
    torch.testing.assert_close(filled[~valid], steps[-1][~valid], rtol=0, atol=1e-5)


def halved(image, mask):
    """Halve an image and its mask by the definition, pixel by pixel, in float64."""
    count, size = mask.double(), image.shape[2] // 2
    small, small_mask = torch.zeros(1, 3, size, size, dtype=torch.double), torch.zeros(1, 1, size, size)
    for y in range(size):
        for x in range(size):
            window = (..., slice(2 * y, 2 * y + 2), slice(2 * x, 2 * x + 2))
            valid = count[window][0, 0].bool()
            if valid.any():
                small[0, :, y, x] = image.double()[window][0][:, valid].mean(1)
                small_mask[0, 0, y, x] = 1
    return small, small_mask.double()


def test_half_the_size_is_the_mean_of_what_is_valid():
    image = photograph(16)
    mask = (torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(2)) > 0.7).float()
    small, small_mask = halve(image.where(mask > 0, torch.tensor(9.0)), mask)  # what is in the hole does not count
    expected, expected_mask = halved(image, mask)
    assert small_mask.double().equal(expected_mask) and 0 < small_mask.mean() < 1
    torch.testing.assert_close(small.double(), expected, rtol=0, atol=1e-6)


def test_a_picture_that_is_all_hole_is_refused(model):
    with pytest.raises(InpaintError, match="all hole"):
        fill(model, photograph(64), torch.zeros(1, 1, 64, 64))
