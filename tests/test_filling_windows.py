"""Every hole is planned, at a scale at which it is narrow, in a window of the side that the network knows."""

import cv2
import numpy as np
import pytest

from pconv.filling import windows
from pconv.filling.canvas import Box
from pconv.filling.holes import HOLE, UNKNOWN
from pconv.filling.windows import CORE, WIDTH, Job, make_plan, window_of

SIDE = 128


def marked(shape, *boxes):
    marks = np.zeros(shape, np.uint8)
    for top, bottom, left, right in boxes:
        marks[top:bottom, left:right] = HOLE
    return marks


def covered(plan, shape):
    """Return how many jobs fill each pixel."""
    count = np.zeros(shape, int)
    for job in plan.jobs:
        count[job.box.slices] += plan.holes(job, job.box)
    return count


def test_each_hole_is_seen_narrow_enough():
    boxes = {4: (10, 14, 10, 200), 40: (100, 140, 100, 160), 200: (300, 500, 400, 700)}
    marks = marked((600, 900), *boxes.values())
    plan = make_plan(marks, SIDE)
    assert [job.factor for job in plan.jobs] == sorted(job.factor for job in plan.jobs)
    for thickness, corners in boxes.items():
        factors = {job.factor for job in plan.jobs if plan.holes(job, Box(*corners)).any()}
        assert len(factors) == 1
        assert max(factors) == 1 or WIDTH * SIDE / 2 < thickness / max(factors) <= WIDTH * SIDE + 1
    for job in plan.jobs:
        assert max(job.box.shape) <= int(CORE * SIDE) * job.factor


@pytest.mark.parametrize("seed", range(4))
def test_every_pixel_of_every_hole_is_filled(seed):
    rng = np.random.default_rng(seed)
    marks = np.zeros((500, 700), np.uint8)
    for _ in range(12):
        start, end = rng.integers(0, 700, 2), rng.integers(0, 700, 2)
        cv2.line(marks, start.tolist(), end.tolist(), HOLE, int(rng.integers(1, 50)))
    marks[rng.random(marks.shape) < 0.001] = HOLE
    marks[:20, :20] = UNKNOWN
    count = covered(make_plan(marks, SIDE), marks.shape)
    assert (count[marks == HOLE] >= 1).all()


def test_many_specks_share_windows():
    rng = np.random.default_rng(0)
    marks = (rng.random((800, 800)) < 0.002).astype(np.uint8)
    plan = make_plan(marks, SIDE)
    assert marks.sum() > 1000 and len(plan.jobs) < 1000
    assert (covered(plan, marks.shape)[marks > 0] >= 1).all()


def test_a_hole_that_ends_at_the_edge_counts_as_wider():
    inside = make_plan(marked((400, 400), (180, 220, 180, 220)), SIDE).jobs[0]
    at_edge = make_plan(marked((400, 400), (0, 40, 180, 220)), SIDE).jobs[0]
    everywhere = make_plan(np.where(np.arange(400 * 400).reshape(400, 400) > 0, HOLE, 0).astype(np.uint8), SIDE).jobs
    assert inside.factor <= at_edge.factor and all(np.isfinite(job.factor) for job in everywhere)


def test_large_photographs_are_planned_on_a_coarser_map(monkeypatch):
    marks = marked((600, 900), (10, 14, 10, 200), (100, 140, 100, 160), (597, 600, 890, 900))
    monkeypatch.setattr(windows, "LARGEST", 30_000)
    plan = make_plan(marks, SIDE)
    assert plan.grain > 1 and plan.factors.size <= 30_000 * 1.1
    assert (covered(plan, marks.shape)[marks == HOLE] >= 1).all()


@pytest.mark.parametrize("box", [Box(0, 5, 0, 5), Box(290, 300, 380, 400), Box(140, 160, 190, 210)])
@pytest.mark.parametrize("factor", [1, 2, 5])
def test_windows_have_the_side_that_the_network_knows(box, factor):
    window = window_of(Job(box, factor), SIDE, (300, 400))
    assert window.shape == (min(300, SIDE * factor), min(400, SIDE * factor))
    assert box.within(window) == box and window.within(Box(0, 300, 0, 400)) == window
