"""Masks as tensors, the way from a hole to a mask and back, and the composite."""

import numpy as np
import pytest
import torch

from pconv.masks.convention import MaskError
from pconv.masks.drawing import draw_hole, hole_rng
from pconv.masks.tensors import check_binary, hole_ratio, hole_to_mask, mask_to_hole


@pytest.fixture
def hole():
    return draw_hole(hole_rng(0, "test", 0), 40, 0.2, 0.3)


def test_a_mask_is_1_where_valid(hole):
    mask = hole_to_mask(hole)
    assert mask.shape == (1, 40, 40) and mask.dtype == torch.float32
    assert np.array_equal(mask[0].numpy() == 0, hole == 1) and np.array_equal(mask[0].numpy() == 1, hole == 0)
    assert torch.equal(mask, hole_to_mask(hole.astype(bool)))
    assert mask_to_hole(mask).dtype == np.uint8


@pytest.mark.parametrize("bad", [torch.ones(4, 4), torch.ones(3, 4, 4), torch.full((1, 4, 4), 0.5)])
def test_what_is_no_mask_is_refused(bad):
    with pytest.raises(MaskError, match="a mask"):
        mask_to_hole(bad)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float32])
def test_a_binary_mask_may_be_of_any_type(dtype):
    check_binary(torch.eye(3).to(dtype))


def test_hole_ratio_counts_holes():
    batch = torch.ones(3, 1, 10, 10)
    batch[1, 0, :3] = 0
    batch[2] = 0
    assert hole_ratio(batch).tolist() == pytest.approx([0, 0.3, 1])
    with pytest.raises(MaskError, match=r"\(N, 1, H, W\)"):
        hole_ratio(batch[0])
