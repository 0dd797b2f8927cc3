"""The sources of masks side by side, for notebook 01, and how well occlusion is found where it is known."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from pconv.data.decoding import write_image
from pconv.masks.convention import border_share, thickness
from pconv.masks.drawing import hole_rng
from pconv.masks.files import write_hole
from pconv.masks.recipes import Recipe, Task
from pconv.masks.sources import POOLS, SOURCES
from pconv.masks.video import occlusion
from pconv.params import Params

WORDS = ("caption", "8:45 pm", "inpainting", "irregular", "preview", "sample")  # what is written over photographs


class Scene(NamedTuple):
    """Two frames of an object that moves before a background, and what of each the object hides in the other."""

    frames: tuple[np.ndarray, np.ndarray]  # (size, size) uint8, grey
    hidden: tuple[np.ndarray, np.ndarray]  # (size, size) uint8, 1 where a pixel of a frame is hidden in the other


def draw_masks(params: Params, source: str, planned: Sequence[Recipe], folder: Path | None = None) -> list[np.ndarray]:
    """Draw training masks of a source that need not be that of the parameters: (size, size) uint8 each, 1 = hole.

    They are numbered after those of the split, so that no file is used as it is. folder: what masks.folder is for the
    sources folder and video.
    """
    masks = params.masks.model_copy(update={"source": source, "folder": folder and str(folder), "hole": "white"})
    params = params.model_copy(update={"masks": masks})
    pool = POOLS[source](params, "train") if source in POOLS else None
    size = params.data.size
    tasks = (
        Task(hole_rng(params.seed, "train", index), size, "train", index, recipe, pool)
        for index, recipe in enumerate(planned, params.masks.train)
    )
    return [SOURCES[source](task) for task in tasks]


def describe(holes: Iterable[np.ndarray]) -> dict[str, float]:
    """Return the means over holes (H, W), 1 = hole: ratio, its largest connected part, thickness, whether it touches.

    The largest part is a share of the picture, the thickness is in px.
    """
    rows = [
        {
            "hole ratio": hole.mean(),
            "largest hole": cv2.connectedComponentsWithStats(hole)[2][1:, cv2.CC_STAT_AREA].max() / hole.size,
            "thickness": thickness(hole),
            "touching the border": border_share(hole, 1) > 0,
        }
        for hole in holes
    ]
    return pd.DataFrame(rows).mean().to_dict()


class Transfer(NamedTuple):
    """What networks that were trained with masks of one source reach on those of all, by benchmarks/transfer.py."""

    psnr: pd.DataFrame  # dB, means over seeds: a row for each source to train with, a column for each to measure with
    losses: pd.DataFrame  # dB, to the network that was trained with the column's masks
    spread: float  # dB, the largest standard deviation over seeds
    about: dict  # sizes and numbers


def read_transfer(path: Path) -> Transfer:
    """Read reports/transfer.json."""
    about = json.loads(path.read_text(encoding="utf-8"))
    each = pd.DataFrame(about.pop("psnr")).T  # lists over the seeds
    psnr = each.map(np.mean).rename_axis(index="trained with", columns="measured with")
    spread = each.map(lambda values: np.std(values, ddof=1)).to_numpy().max()
    return Transfer(psnr, np.diag(psnr) - psnr, float(spread), about)


def describe_transfer(transfer: Transfer) -> str:
    """Say what training with masks of another source costs, and with what budget that was measured."""
    losses, sources, about = transfer.losses, transfer.losses.columns, transfer.about
    pairs = [(float(losses.loc[a, b]), a, b) for a in sources for b in sources if a != b]
    (least, *best), (most, *worst) = min(pairs), max(pairs)
    words = "trained with {} and measured with {}"
    other = f"gains up to {-least:.2f} dB" if least < 0 else f"costs {least:.2f} dB at the least"
    return (
        f"Each network, of width {about['width']} and depth {about['depth']}, has seen {about['training crops']:,} "
        f"crops of {about['size']} px, and is measured on {about['test crops']}. Another source than the one it is "
        f"measured with costs up to {most:.2f} dB ({words.format(*worst)}) and {other} ({words.format(*best)}). Over "
        f"the {len(about['seeds'])} seeds a figure varies by at most {transfer.spread:.2f} dB (standard deviation)."
    )


def write_captions(folder: Path, size: int = 512) -> None:
    """Write masks as a user may bring them: words, as they stand on photographs and are to be removed, as the hole."""
    for split in ("train", "val", "test"):
        (folder / split).mkdir(parents=True)
        for number, word in enumerate(WORDS):
            hole = np.zeros((size, size), np.uint8)
            for line in range(1, 5):
                place = (size // 20, line * size // 4 - size // 12)
                cv2.putText(hole, word, place, cv2.FONT_HERSHEY_DUPLEX, size / 200, 1, max(1, size // 70))
            write_hole(folder / split / f"{number}.png", hole)


def write_films(folder: Path, seed: int, count: int, size: int = 256) -> None:
    """Write `count` pairs of frames, each a film of its own, of the scenes of a seed."""
    for number in range(count):
        (folder / f"{number}").mkdir(parents=True)
        for place, frame in enumerate(scene(np.random.default_rng((seed, number)), size).frames):
            write_image(folder / f"{number}" / f"{place}.png", cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB))


def scene(rng: np.random.Generator, size: int) -> Scene:
    """Draw a scene: a textured blob before a textured background, both of which move by whole pixels."""
    most = size // 24
    back, ahead = _texture(rng, size + 2 * most), _texture(rng, size)
    shape = _blob(rng, size)
    pan, move = rng.integers(-most // 2, most // 2, 2), rng.integers(most // 2, most, 2) * rng.choice((-1, 1), 2)
    backs = [back[most - dy : most - dy + size, most - dx : most - dx + size] for dx, dy in ((0, 0), pan.tolist())]
    shapes = [shape, _shift(shape, move)]
    aheads = [ahead, _shift(ahead, move)]
    frames = tuple(np.where(s, a, b).astype(np.uint8) for s, a, b in zip(shapes, aheads, backs, strict=True))
    hidden = (
        (shapes[0] == 0) & (_shift(shapes[1], -pan) == 1),  # background that goes where the object will be
        (shapes[1] == 0) & (_shift(shapes[0], pan) == 1),
    )
    return Scene(frames, tuple(one.astype(np.uint8) for one in hidden))


def score(scenes: Iterable[Scene]) -> dict[str, float]:
    """Return precision and recall of the occlusion that is found in scenes, over all their pixels."""
    found = true = both = 0
    for one in scenes:
        for (first, second), hidden in zip((one.frames, one.frames[::-1]), one.hidden, strict=True):
            seen = occlusion(first, second)
            found, true, both = found + int(seen.sum()), true + int(hidden.sum()), both + int((seen & hidden).sum())
    return {"precision": both / found, "recall": both / true}


def _texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw smooth noise with details of all sizes: (size, size) uint8."""
    octaves = [2**n for n in range(2, 8)]
    coarse = (cv2.resize(rng.random((n, n)), (size, size), interpolation=cv2.INTER_CUBIC) / n**0.3 for n in octaves)
    total = sum(coarse)
    return cv2.normalize(total, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def _blob(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a smooth closed shape in the middle: (size, size) uint8, 1 inside."""
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    radius = 0.22 + sum(rng.normal(0, 0.03) * np.cos(n * angles + rng.uniform(0, 2 * np.pi)) for n in (1, 2, 3, 4))
    outline = size * (0.5 + radius * np.array((np.cos(angles), np.sin(angles))))
    return cv2.fillPoly(np.zeros((size, size), np.uint8), [outline.T.astype(np.int32)], 1)


def _shift(picture: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Move a picture right and down by whole pixels; what comes in at the edges is 0."""
    dx, dy = map(float, by)
    return cv2.warpAffine(picture, np.array(((1, 0, dx), (0, 1, dy))), picture.shape[::-1], flags=cv2.INTER_NEAREST)
