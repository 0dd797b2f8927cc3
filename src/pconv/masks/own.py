"""Masks of one's own: a folder of files, used as they are where they fit, and augmented where more are needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pconv.data.decoding import ImageError
from pconv.data.folders import Found, find_photographs
from pconv.errors import cut
from pconv.masks.convention import BINS, MaskError, border_share, border_width
from pconv.masks.drawing import file_order
from pconv.masks.files import read_hole
from pconv.masks.fitting import fit
from pconv.masks.recipes import Recipe, Task, recipes
from pconv.params import Params
from pconv.progress import Progress, say
from pconv.project import project_root

BATCH = 256  # files that are handed to the threads at once


@dataclass(frozen=True)
class OwnMasks:
    """The usable masks of a split."""

    folder: Path
    names: list[str]  # of files, by their paths in the folder, in the order in which they are used
    white: bool  # whether the hole is white in the files
    max_pixels: int
    as_is: dict[int, int]  # which masks of the split are files as they are: number of the mask -> of the file

    def read(self, number: int) -> np.ndarray:
        """Return the hole of a file: (H, W) uint8, 1 = hole. Raises MaskError as `read_hole`."""
        hole = read_hole(self.folder / self.names[number], self.max_pixels, warn=False)
        return hole if self.white else 1 - hole


def draw_own(task: Task) -> np.ndarray:
    """Return a file as it is, or the next one augmented: (size, size) uint8, 1 = hole."""
    own: OwnMasks = task.pool
    if task.index in own.as_is:
        return square(own.read(own.as_is[task.index]), task.size)
    first, count = task.index % len(own.names), len(own.names)
    try:
        return fit(task, lambda tried: own.read(int(task.rng.integers(count)) if tried else first))
    except MaskError as error:
        raise MaskError(
            f"masks.folder: {cut(own.folder, 300)}, {count:,} masks to {task.split}: {error}; add masks with smaller "
            "holes, or ones that fit as they are"
        ) from None


def square(hole: np.ndarray, size: int) -> np.ndarray:
    """Return the middle square of a hole (H, W), resized to (size, size)."""
    height, width = hole.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    hole = hole[top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(hole)
    way = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return (cv2.resize(hole * np.uint8(255), (size, size), interpolation=way) > 127).astype(np.uint8)


def find_own(params: Params, split: str) -> OwnMasks:
    """Find the masks of a split in masks.folder, look at each, and choose those that are used as they are.

    Raises MaskError if the folder is not there or lies in the project's data/, if a file is no mask, if none is left
    for the split, and if the masks have most likely the other colour for the hole than masks.hole says.
    """
    folder, key = project_root() / params.masks.folder, "masks.folder"
    try:
        found = find_photographs(folder, key, "masks")
    except ImageError as error:
        raise MaskError(str(error)) from None
    names = found.splits[split]
    names = [names[place] for place in file_order(params.seed, split, len(names))]
    white = params.masks.hole == "white" or (params.masks.hole == "published" and split == "test")
    own = OwnMasks(folder, names, white, params.data.max_pixels, {})
    looks = _look_at_all(own, params.data.size)
    usable = [place for place, look in enumerate(looks) if 0 < look.ratio < 1]
    if len(usable) < len(names):
        say(f"{len(names) - len(usable):,} masks of {split} are all hole or have none, and are not used")
    if not usable:
        raise MaskError(_none_left(folder, split, found))
    looks = [looks[place] for place in usable]
    _check_colour(own, split, params.masks.hole, looks)
    own = OwnMasks(folder, [names[place] for place in usable], white, own.max_pixels, {})
    own.as_is.update(_choose(looks, recipes(params.masks, split, params.data.size), split))
    return own


@dataclass(frozen=True)
class _Look:
    """What a file is like as it is, that is, its middle square resized."""

    ratio: float
    clear: bool  # of the border
    touches: bool  # an edge


def _look_at_all(own: OwnMasks, size: int) -> list[_Look]:
    """Look at all files in parallel, with progress. Raises MaskError with the number of bad ones and the first."""
    numbers, looks, errors = range(len(own.names)), [], []

    def look(number: int) -> _Look | MaskError:
        try:
            hole = square(own.read(number), size)
        except MaskError as error:
            return error
        width = max(1, border_width(size))
        return _Look(float(hole.mean()), border_share(hole, width) == 0, border_share(hole, 1) > 0)

    with ThreadPoolExecutor() as pool, Progress(desc="masks of your own", total=len(numbers), delay=2) as progress:
        for start in range(0, len(numbers), BATCH):
            for seen in pool.map(look, numbers[start : start + BATCH]):
                (errors if isinstance(seen, MaskError) else looks).append(seen)
                progress.update()
    if errors:
        raise MaskError(
            f"masks.folder: {len(errors):,} of {len(numbers):,} masks cannot be used, the first for this reason: "
            f"{cut(min(map(str, errors)), 400)}"
        )
    return looks


def _none_left(folder: Path, split: str, found: Found) -> str:
    count = sum(map(len, found.splits.values()))
    return (
        f"masks.folder: none of the {count:,} masks in {cut(folder, 300)} is left for {split}; add masks, or sort them "
        "into the subfolders train, val, test"
    )


def _check_colour(own: OwnMasks, split: str, colour: str, looks: Sequence[_Look]) -> None:
    """Refuse masks most of which have more hole than any bin allows, while the other colour would do."""
    ratios = np.array([look.ratio for look in looks])
    (low, _), (_, high) = BINS[0], BINS[-1]
    above = (ratios > high).mean()
    fitting = ((1 - ratios > low) & (1 - ratios <= high)).mean()
    if above > 0.5 and fitting > 0.5:
        now, other = ("white", "black") if own.white else ("black", "white")
        raise MaskError(
            f"masks.hole = {colour}: {above:.0%} of the masks to {split} in {cut(own.folder, 300)} are {now} on more "
            f"than {high:.0%} of their area, too much for a hole; most likely their holes are {other}: set masks.hole "
            f"to {other}, or invert the files (published: black to train and validate, white to test)"
        )


def _choose(looks: Sequence[_Look], planned: Sequence[Recipe], split: str) -> dict[int, int]:
    """Return which masks of a split can be files as they are, each file once, as long as there are some."""
    left = {recipe: deque(n for n, look in enumerate(looks) if _fits(look, recipe, split)) for recipe in set(planned)}
    return {index: left[recipe].popleft() for index, recipe in enumerate(planned) if left[recipe]}


def _fits(look: _Look, recipe: Recipe, split: str) -> bool:
    """Tell whether a file is as a recipe says; of test masks, those clear of the border are for that class alone."""
    if not recipe.low < look.ratio <= recipe.high:
        return False
    if recipe.border:
        return look.clear
    return look.touches if recipe.touch else split != "test" or not look.clear
