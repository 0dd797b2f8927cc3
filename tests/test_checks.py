"""Checks of tensors: hostile arguments are tried by benchmarks/hostile/tensors.py; here is what they must let pass."""

import pytest
import torch

from pconv.checks import check_images, check_mask, check_range


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_kind_of_floating_point_passes(dtype):
    image, mask = torch.rand(2, 3, 4, 5).to(dtype), torch.ones(2, 1, 4, 5, dtype=dtype)
    check_images(out=image, gt=image.double())
    check_mask(mask, image)
    check_range("gt", image)


@pytest.mark.parametrize("device", ["cpu", "meta"])  # meta, which has no values, stands for a GPU
def test_values_are_looked_at_on_the_cpu_only(device):
    image, mask = (torch.full((1, channels, 4, 4), 7.0, device=device) for channels in (3, 1))
    for check in (lambda: check_range("gt", image), lambda: check_mask(mask, image)):
        if device == "cpu":
            with pytest.raises(ValueError, match="7"):
                check()
        else:
            check()


def test_a_range_includes_its_ends_and_excludes_nan():
    check_range("gt", torch.tensor([0.0, 1.0]))
    for value in (-1e-6, 1 + 1e-6, torch.nan):
        with pytest.raises(ValueError, match="gt: expected values from 0 to 1"):
            check_range("gt", torch.tensor([0.5, value]))
