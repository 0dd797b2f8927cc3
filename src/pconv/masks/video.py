"""Masks as the paper makes them: what becomes hidden, and what comes into view, between two frames of a film.

A pixel is hidden in the other frame if following the optical flow there and back does not lead to where it started
(Sundaram, Brox and Keutzer, ECCV 2010, which the paper cites). The flow is OpenCV's DIS.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pconv.data.cache import ArrayCache
from pconv.data.decoding import ImageError, read_image
from pconv.data.folders import find_photographs
from pconv.errors import cut
from pconv.masks.convention import MaskError
from pconv.masks.drawing import file_order
from pconv.masks.fitting import fit
from pconv.masks.recipes import Task
from pconv.params import Params
from pconv.project import SPLITS, project_root

SLOPE, OFFSET = 0.01, 0.5  # |there + back|^2 > SLOPE (|there|^2 + |back|^2) + OFFSET, px^2: Sundaram et al., eq. 5
SIDE = 512  # px; larger frames are scaled down to it, by their shorter side
SPECKLE = 5  # px, of a median filter: single pixels are errors of the flow
SHARE = 20  # one in so many pairs of frames of a film validates, and one tests
REUSED = 4  # masks in a row that are cut out of the same pair, and cuts that are tried before another: flow takes long
SEEN = ArrayCache(2**28)  # holes of pairs of frames; at 512 x 512 px a thousand


@dataclass(frozen=True)
class Frames:
    """The pairs of consecutive frames of a split."""

    folder: Path
    pairs: list[tuple[str, str]]  # paths in the folder, in the order in which they are used
    max_pixels: int

    def hole(self, number: int) -> np.ndarray:
        """Return what is hidden in either frame of a pair: (H, W) uint8, 1 = hole."""
        paths = [self.folder / name for name in self.pairs[number]]
        return SEEN.get(tuple(map(str, paths)), lambda: self._compare(*paths))

    def _compare(self, *paths: Path) -> np.ndarray:
        try:
            first, second = (_grey(read_image(path, self.max_pixels)) for path in paths)
        except ImageError as error:
            raise MaskError(f"masks.folder: {error}") from None
        if first.shape != second.shape:
            raise MaskError(f"masks.folder: {cut(paths[0], 300)} and {cut(paths[1].name)}: frames of different sizes")
        return occlusion(first, second) | occlusion(second, first)


def draw_video(task: Task) -> np.ndarray:
    """Return the holes of the next pair of frames, augmented: (size, size) uint8, 1 = hole."""
    frames: Frames = task.pool
    count, first = len(frames.pairs), task.index // REUSED % len(frames.pairs)
    try:
        return fit(task, lambda tried: frames.hole(first if tried < REUSED else int(task.rng.integers(count))))
    except MaskError as error:
        if str(error).startswith("masks.folder"):  # a frame that cannot be read
            raise
        raise MaskError(
            f"masks.folder: {cut(frames.folder, 300)}, {count:,} pairs of frames to {task.split}: {error}; add films "
            "with more that moves in front of something else"
        ) from None


def occlusion(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return which pixels of a grey frame (H, W) uint8 are hidden in a second one: (H, W) uint8, 1 = hidden.

    What leaves the picture does not count: nothing is known of it.
    """
    there, back = flow(first, second), flow(second, first)
    height, width = first.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + there[..., 0], y + there[..., 1]
    returned = cv2.remap(back, x, y, cv2.INTER_LINEAR)
    gap, motion = ((there + returned) ** 2).sum(2), (there**2).sum(2) + (returned**2).sum(2)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return cv2.medianBlur(((gap > SLOPE * motion + OFFSET) & inside).astype(np.uint8), SPECKLE)


def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the optical flow from a grey frame (H, W) uint8 to another: (H, W, 2) float32, px right and down."""
    first, second = map(np.ascontiguousarray, (first, second))
    with _one_thread():  # DIS cuts frames into a strip per thread, which changes its result
        return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, None)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _grey(frame: np.ndarray) -> np.ndarray:
    factor = SIDE / min(frame.shape[:2])
    if factor < 1:
        frame = cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def find_frames(params: Params, split: str) -> Frames:
    """Find the pairs of consecutive frames of a split in masks.folder, where each film has a folder of its own.

    Subfolders called train, val and test are the splits; otherwise the first nine tenths of each film train. Raises
    MaskError as `pconv.masks.own.find_own` does for the folder, and if no pair is left for the split.
    """
    folder = project_root() / params.masks.folder
    try:
        found = find_photographs(folder, "masks.folder", "frames")
    except ImageError as error:
        raise MaskError(str(error)) from None
    if found.folders and "val" not in found.folders:
        raise MaskError(
            f"masks.folder: {cut(folder, 300)} holds {' and '.join(found.folders.values())}; films need a folder for "
            "each of train, val and test, or none"
        )
    if found.folders:
        pairs = [pair for film in _films(found.splits[split]) for pair in itertools.pairwise(film)]
    else:
        names = [name for names in found.splits.values() for name in names]
        pairs = [pair for film in _films(names) for pair in _part(list(itertools.pairwise(film)), split)]
    if not pairs:
        raise MaskError(
            f"masks.folder: {cut(folder, 300)} holds {sum(map(len, found.splits.values())):,} frames, and no pair of "
            f"them is left for {split}; a film is a folder of pictures named in their order, as `ffmpeg -i film.mp4 "
            "film/%06d.png` makes them"
        )
    order = file_order(params.seed, split, len(pairs))
    return Frames(folder, [pairs[place] for place in order], params.data.max_pixels)


def _films(names: list[str]) -> list[list[str]]:
    """Return the frames of each folder in the order of the numbers in their names: 2.png before 10.png."""
    films: dict[str, list[str]] = {}
    for name in sorted(names, key=_by_number):
        films.setdefault(os.path.dirname(name), []).append(name)
    return list(films.values())


def _by_number(name: str) -> list[str | int]:
    parts: list[str | int] = list(re.split(r"([0-9]+)", name))
    parts[1::2] = map(int, parts[1::2])
    return parts


def _part(pairs: list[tuple[str, str]], split: str) -> list[tuple[str, str]]:
    """Return a split's part of the pairs of a film, neighbours in time: the first nine tenths train."""
    few = max(1, len(pairs) // SHARE) if len(pairs) >= len(SPLITS) else 0
    ends = [0, len(pairs) - 2 * few, len(pairs) - few, len(pairs)]
    place = SPLITS.index(split)
    return pairs[ends[place] : ends[place + 1]]
