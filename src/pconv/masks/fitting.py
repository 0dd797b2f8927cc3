"""From any hole to one of a wanted ratio: PConv-Keras' augmentation, aimed at the paper's bins.

PConv-Keras turns a mask by any angle, widens its holes and cuts out a square, each at random. Here the widening is what
brings a hole to its ratio, so that every bin is filled exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from pconv.masks.convention import MaskError, border_share, squared
from pconv.masks.drawing import frame, hole_bounds
from pconv.masks.recipes import Task

TRIES = 200  # cuts of random masks, before a bin is taken for one that cannot be filled
WIDEST = 1 / 16  # of the picture's side, the margin that widening adds
ZOOM = 0.5  # a cut has at least this share of the side of the largest square that fits


def fit(task: Task, raw: Callable[[int], np.ndarray]) -> np.ndarray:
    """Return a hole that is as the task's recipe says, cut out of another: (size, size) uint8, 1 = hole.

    raw: makes the hole (H, W) that is tried next, given how many were tried before. Holes are turned, cut out and
    widened, never narrowed: of one that is too large, other parts are tried. Where half of the tries would not do, cuts
    may reach beyond the mask, and the margin may be wider. Raises MaskError, which names the recipe, if none of TRIES
    holes will do.
    """
    recipe = task.recipe
    inner, least, most = hole_bounds(task.size, *recipe)
    target = int(task.rng.integers(least, most, endpoint=True))
    for tried in range(TRIES):
        easy = tried < TRIES / 2
        hole = cut_out(task.rng, raw(tried), inner, beyond=not easy)
        if not 0 < cv2.countNonZero(hole) <= most:
            continue
        hole = widen(hole, target, WIDEST * task.size if easy else np.inf)
        if hole is not None and (not recipe.touch or border_share(hole, 1) > 0):
            return frame(hole, recipe.border)
    raise MaskError(
        f"{task.split} mask {task.index} ({recipe}): none of {TRIES} cuts of random masks can be widened to it"
    )


def cut_out(rng: np.random.Generator, hole: np.ndarray, size: int, beyond: bool = False) -> np.ndarray:
    """Return a random square of a hole (H, W), turned by any angle and mirrored or not: (size, size) uint8.

    It lies in the mask, or with `beyond` only a part of it; what is outside is no hole.
    """
    height, width = hole.shape
    angle, zoom, flip = rng.uniform(0, 2 * np.pi), rng.uniform(ZOOM, 1), rng.choice((-1, 1))
    reach = abs(np.cos(angle)) + abs(np.sin(angle))  # of a turned square, as a share of its side
    side = zoom * min(height, width) / reach
    margin = (-1 if beyond else 1) * side * reach / 2
    centre = [margin + rng.random() * (length - 2 * margin) - 0.5 for length in (width, height)]
    grey = hole * np.uint8(255)
    if side > 2 * size:  # or thin holes would fall between the pixels
        factor = size / side
        grey = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        side, centre = size, [(place + 0.5) * factor - 0.5 for place in centre]
    scale, middle = side / size, (size - 1) / 2
    turn = scale * np.array(((flip * np.cos(angle), -np.sin(angle)), (flip * np.sin(angle), np.cos(angle))))
    moved = np.array(centre) - turn @ (middle, middle)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(grey, np.column_stack((turn, moved)), (size, size), flags=flags)
    return (cut > 127).astype(np.uint8)


def widen(hole: np.ndarray, count: int, margin: float = np.inf) -> np.ndarray | None:
    """Return a hole (H, W) that is not empty, widened evenly to `count` pixels; as it is if it has as many already.

    Pixels are added by their Euclidean distance to the hole, of equally distant ones the upper ones first. Returns None
    if one would be farther away than `margin` px.
    """
    missing = count - cv2.countNonZero(hole)
    if missing <= 0:
        return hole
    distance = squared(cv2.distanceTransform(1 - hole, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
    last = np.partition(distance[hole == 0], missing - 1)[missing - 1]
    if last > margin**2:
        return None
    wider = (distance < last).astype(np.uint8)
    ring = np.flatnonzero(distance == last)
    wider.flat[ring[: count - cv2.countNonZero(wider)]] = 1
    return wider
