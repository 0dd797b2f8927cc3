"""How wide a hole the network fills: the geometry that `reach` states, against the walk of masks through all layers."""

import pytest
import torch
from torch.nn import functional as F

from pconv.unet import PConvUNet

CENTRED = {3: 44, 4: 76, 5: 140, 6: 268, 7: 524, 8: 1036}  # widest square hole filled at an image's middle, measured


def filled(model, start, width):
    """Whether a hole of all rows, which stands for a square's one side, is filled: the walk separates by axes."""
    unit = 2**model.depth
    mask = torch.ones(1, 1, unit, 8 * unit)
    mask[..., start : start + width] = 0
    return bool(model.reached(mask).all())


def worst_place(model):
    """Where a hole begins with all that a unit of the innermost map sees."""
    return 3 * 2**model.depth - model.reach_at_edge


@pytest.mark.parametrize("depth", range(1, 10))
def test_a_hole_as_wide_as_the_reach_is_filled_and_one_wider_by_a_unit_is_not(depth):
    model, unit = PConvUNet(1, depth), 2**depth
    worst = worst_place(model)
    assert filled(model, worst, model.reach) and not filled(model, worst, model.reach + 1)
    assert filled(model, worst + 1, model.reach + unit - 1) and not filled(model, worst + 1, model.reach + unit)


@pytest.mark.parametrize("depth", range(1, 6))
def test_no_place_is_worse_or_better(depth):
    model, unit = PConvUNet(1, depth), 2**depth
    for place in range(2 * unit, 3 * unit):
        assert filled(model, place, model.reach) and not filled(model, place, model.reach + unit)


@pytest.mark.parametrize("depth", range(1, 10))
def test_at_the_edge_it_reaches_less(depth):
    model, length = PConvUNet(1, depth), 8 * 2**depth
    edge = model.reach_at_edge
    assert filled(model, 0, edge) and not filled(model, 0, edge + 1)
    assert filled(model, length - edge, edge)
    assert 2 * edge < model.reach


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_squares_go_like_bands(depth):
    model, unit = PConvUNet(1, depth), 2**depth
    for width in (model.reach, model.reach + 1, model.reach + unit):
        for place in range(2 * unit, 3 * unit):
            mask = torch.ones(1, 1, 8 * unit, 8 * unit)
            mask[..., place : place + width, place : place + width] = 0
            assert bool(model.reached(mask).all()) == filled(model, place, width)


@pytest.mark.parametrize("depth", CENTRED)
def test_centred_holes_as_measured(depth):
    model, length = PConvUNet(1, depth), 8 * 2**depth
    width = CENTRED[depth]
    assert filled(model, (length - width) // 2, width)
    assert not filled(model, (length - width) // 2 - 1, width + 2)


@pytest.mark.parametrize("size", [(37, 53), (64, 64), (71, 45)])
def test_what_is_not_reached_is_exactly_grey_and_all_else_is_not(size):
    model = PConvUNet(4, 3).eval()
    torch.nn.init.constant_(model.decoder[-1].conv.bias, 0.25)  # reached by every window that is not empty
    mask = torch.ones(1, 1, *size)
    mask[..., 2:, 3:] = 0
    reached = model.reached(mask)
    assert reached.shape == mask.shape and set(reached.unique().tolist()) == {0, 1}
    with torch.no_grad():
        out = model(torch.rand(1, 3, *size), mask)
    assert torch.equal((out == 0.5).all(1, keepdim=True), reached == 0)


def test_irregular_holes_are_filled_that_leave_valid_pixels_near_everywhere():
    """If there is a valid pixel within reach_at_edge of every pixel, in either direction, all is filled."""
    model, near = PConvUNet(1, 3), 0
    for seed in range(40):
        valid = torch.rand(1, 1, 160, 160, generator=torch.Generator().manual_seed(seed)) < 0.001 * (1 + seed)
        within = F.max_pool2d(valid.float(), 2 * model.reach_at_edge + 1, 1, padding=model.reach_at_edge)
        if within.all():
            near += 1
            assert model.reached(valid.float()).all()
    assert near > 5
    assert not model.reached(torch.zeros(1, 1, 160, 160)).any()
