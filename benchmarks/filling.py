"""Measure how well holes in large photographs are filled, how fast, and in how much memory.

python benchmarks/filling.py quality --photographs FOLDER    # beside OpenCV's methods and the network at full size
python benchmarks/filling.py resources                       # 1, 12 and 50 megapixels, each in a process of its own
python benchmarks/filling.py figure                          # docs/figures/filling.jpg, before and after

Quality: in each photograph holes of growing width, discs, bent strokes and rectangles at random places, are filled
one by one, and compared with what was there: PSNR over the pixels of the hole, and the perceptual distance of the
rectangle around it. All methods see a window around the hole, wider than any of them looks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from common import record
from PIL import Image

from pconv.completion import composite
from pconv.data.decoding import read_image
from pconv.data.packages import packaged_photographs
from pconv.filling.batch import PHOTOS
from pconv.filling.blending import harmonic
from pconv.filling.fill import inpaint
from pconv.filling.network import DEFAULT, load_pretrained
from pconv.masks.tensors import hole_to_mask
from pconv.perceptual import PerceptualDistance
from pconv.progress import Progress
from pconv.project import project_root
from pconv.unet import PConvUNet

WIDTHS = (5, 10, 20, 40, 80, 150, 250, 400)  # px
WIDE = 40  # px: the least width of a hole whose perceptual distance is measured
CONTEXT = 300  # px around a hole in the window, and three times its width
LARGEST = 320  # px a side of what the perceptual distance is measured on
REACH = 150  # px around a hole that the network sees at full size
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]  # window (h, w, 3) uint8, hole (h, w) of 0 and 1 -> window


class Hole(NamedTuple):
    """A hole in a photograph: the window around it."""

    width: int
    image: np.ndarray  # (h, w, 3) uint8
    hole: np.ndarray  # (h, w) uint8, 1 = hole


def shape_of(width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a disc, a bent stroke or a rectangle `width` px wide: (h, w) uint8, as small as it fits."""
    kind = rng.choice(["disc", "stroke", "rectangle"])
    side = 8 * width + 8
    canvas = np.zeros((side, side), np.uint8)
    point, angle = np.array([side / 2, side / 2]), rng.uniform(0, 2 * np.pi)
    if kind == "disc":
        cv2.circle(canvas, (side // 2, side // 2), width // 2, 1, -1)
    elif kind == "rectangle":
        lengths = [width, int(width * rng.uniform(1, 2.5))]
        rng.shuffle(lengths)
        canvas[: lengths[0], : lengths[1]] = 1
    else:
        for _ in range(4):
            end = point + 0.75 * width * np.array([np.cos(angle), np.sin(angle)])
            cv2.line(canvas, [round(x) for x in point], [round(x) for x in end], 1, width)
            point, angle = end, angle + rng.uniform(-0.7, 0.7)
    rows, columns = np.nonzero(canvas)
    return canvas[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def holes_of(photograph: np.ndarray, rng: np.random.Generator) -> Iterator[Hole]:
    """Yield a hole of each width that is at most a quarter of the shorter side, somewhere in a photograph."""
    height, width = photograph.shape[:2]
    for wide in WIDTHS:
        shape = shape_of(wide, rng)
        if wide > min(height, width) / 4 or shape.shape[0] > height or shape.shape[1] > width:
            continue
        top, left = (
            int(rng.integers(0, size - side + 1)) for size, side in zip((height, width), shape.shape, strict=True)
        )
        margin = max(CONTEXT, 3 * wide)
        rows = slice(max(0, top - margin), top + shape.shape[0] + margin)
        columns = slice(max(0, left - margin), left + shape.shape[1] + margin)
        hole = np.zeros((height, width), np.uint8)
        hole[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
        yield Hole(wide, photograph[rows, columns], hole[rows, columns])


def methods(model: PConvUNet, full_size: bool) -> dict[str, Method]:
    """Return what is compared, by name."""
    slow = {"the network at full size": lambda image, hole: at_full_size(model, image, hole)} if full_size else {}
    return slow | {
        "pconv.inpaint": lambda image, hole: inpaint(image, hole, model),
        "Telea": lambda image, hole: cv2.inpaint(image, hole, 3, cv2.INPAINT_TELEA),
        "Navier-Stokes": lambda image, hole: cv2.inpaint(image, hole, 3, cv2.INPAINT_NS),
        "membrane": membrane,
    }


def membrane(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Fill with the harmonic function alone, which is what half of a filling is."""
    near = around(hole, 2)
    out = image.copy()
    out[near] = rounded(harmonic(image[near] / np.float32(255), hole[near] == 0))
    return out


def around(hole: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Return the rectangle around a hole, wider by a margin."""
    rows, columns = (np.flatnonzero(hole.any(axis=axis)) for axis in (1, 0))
    return np.s_[
        max(0, rows[0] - margin) : rows[-1] + 1 + margin, max(0, columns[0] - margin) : columns[-1] + 1 + margin
    ]


def at_full_size(model: PConvUNet, image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Fill as `pconv.completion.composite` does, which is what there was before: grey where nothing is reached."""
    near = around(hole, REACH)
    tensor = torch.from_numpy(image[near]).permute(2, 0, 1)[None] / 255
    out = image.copy()
    out[near] = rounded(composite(model, tensor, hole_to_mask(hole[near])[None])[0].permute(1, 2, 0).numpy())
    return out


def rounded(values: np.ndarray) -> np.ndarray:
    return np.rint(255 * values.clip(0, 1)).astype(np.uint8)


def psnr(out: np.ndarray, hole: Hole) -> float:
    """Return the PSNR over the pixels of a hole, dB."""
    difference = (out.astype(np.float64) - hole.image)[hole.hole > 0] / 255
    return float(-10 * np.log10(max(np.square(difference).mean(), 1e-10)))


def distance(measure: PerceptualDistance, out: np.ndarray, hole: Hole) -> float:
    """Return the perceptual distance of the rectangle around a hole, a tenth wider, or of its middle if it is large."""
    box = tuple(_middle(part, LARGEST) for part in around(hole.hole, hole.width // 10))
    images = (
        torch.from_numpy(np.ascontiguousarray(part[box])).permute(2, 0, 1)[None] / 255 for part in (out, hole.image)
    )
    with torch.inference_mode():
        return float(measure(*images))


def _middle(part: slice, length: int) -> slice:
    spare = max(0, part.stop - part.start - length) // 2
    return slice(part.start + spare, part.stop - spare)


def quality(folder: Path, compared: dict[str, Method], seed: int) -> dict:
    """Measure all methods on all holes; medians per method, for holes below WIDE and from there on, and per width."""
    measure, rows, seconds = PerceptualDistance(), defaultdict(list), defaultdict(float)
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTOS)
    pixels = []
    for index, path in enumerate(Progress(paths, desc="photograph")):
        photograph = read_image(path)
        pixels.append(photograph.shape[0] * photograph.shape[1])
        for hole in holes_of(photograph, np.random.default_rng([seed, index])):
            emptied = np.where(hole.hole[..., None] > 0, 0, hole.image).astype(np.uint8)
            for name, method in compared.items():
                began = time.process_time()
                out = np.where(hole.hole[..., None] > 0, method(emptied, hole.hole), hole.image)
                seconds[name] += time.process_time() - began
                far = distance(measure, out, hole) if hole.width >= WIDE else np.nan
                rows[name].append((hole.width, psnr(out, hole), far))
    table = {name: np.array(found) for name, found in rows.items()}
    return {
        "photographs": len(paths),
        "megapixels": [round(min(pixels) / 1e6, 1), round(max(pixels) / 1e6, 1)],
        "holes": len(next(iter(table.values()))),
        "methods": {name: summary(values) | {"CPU seconds": round(seconds[name], 1)} for name, values in table.items()},
    }


def summary(values: np.ndarray) -> dict:
    """Return the medians of rows (width, PSNR, distance)."""
    thin, wide = values[values[:, 0] < WIDE], values[values[:, 0] >= WIDE]
    by_width = {
        f"{width:g} px": round(float(np.median(values[values[:, 0] == width, 1])), 2)
        for width in np.unique(values[:, 0])
    }
    return {
        "psnr, thin": round(float(np.median(thin[:, 1])), 2),
        "psnr": round(float(np.median(wide[:, 1])), 2),
        "mean psnr": round(float(wide[:, 1].mean()), 2),
        "perceptual": round(float(np.median(wide[:, 2])), 4),
        "mean perceptual": round(float(wide[:, 2].mean()), 4),
        "psnr by width": by_width,
    }


TELEA = """
import sys, cv2
photo, mask, out = sys.argv[1:]
cv2.setNumThreads(1)
cv2.imwrite(out, cv2.inpaint(cv2.imread(photo), cv2.imread(mask, 0), 3, cv2.INPAINT_TELEA))
"""


def mosaic(megapixels: float) -> np.ndarray:
    """Return a picture 3 : 2 of that size: packaged photographs side by side, each enlarged four times, with grain."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    canvas = np.zeros((height, round(1.5 * height), 3), np.uint8)
    names = (files(each.package) / each.file for each in packaged_photographs() if each.package == "pconv")
    for top in range(0, canvas.shape[0], 1152):
        for left in range(0, canvas.shape[1], 1152):
            part = cv2.resize(read_image(next(names)), None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
            place = canvas[top : top + 1152, left : left + 1152]
            place[:] = np.tile(part, (2, 2, 1))[: place.shape[0], : place.shape[1]]
    for row in canvas:  # one at a time: the picture is large
        grain = np.random.default_rng(0).normal(0, 3, row.shape)
        row[:] = np.rint(row + grain).clip(0, 255)
    return canvas


def scattered_holes(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a mask with one hole of each width: (H, W) uint8, white in the hole."""
    mask = np.zeros(shape, np.uint8)
    for width in WIDTHS:
        one = shape_of(min(width, min(shape) // 4), rng)[: shape[0], : shape[1]]
        top, left = (int(rng.integers(0, size - side + 1)) for size, side in zip(shape, one.shape, strict=True))
        mask[top : top + one.shape[0], left : left + one.shape[1]][one > 0] = 255
    return mask


def resources(weights: str, sizes: list[float]) -> dict:
    """Measure `pconv fill`, and OpenCV's Telea, in processes of their own: seconds and peak memory by megapixels."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in Progress(sizes, desc="megapixels"):
            photo, mask = Path(folder, "photo.jpg"), Path(folder, "hole.png")
            picture = mosaic(size)
            Image.fromarray(picture).save(photo, quality=92)
            Image.fromarray(scattered_holes(picture.shape[:2], np.random.default_rng(1))).save(mask)
            del picture
            to = ["--output", Path(folder, "out"), "--overwrite", "--weights", weights]
            fill = ["-m", "pconv", "fill", photo, "--mask", mask, *to]
            ours, telea = measured(fill), measured(["-c", TELEA, photo, mask, Path(folder, "telea.jpg")])
            ratio = ours["CPU seconds"] / telea["CPU seconds"]
            rounded = [{name: round(value, 2) for name, value in each.items()} for each in (ours, telea)]
            found[f"{size:g} MP"] = dict(zip(("pconv fill", "Telea"), rounded, strict=True))
            found[f"{size:g} MP"]["CPU time, times Telea's"] = round(ratio, 1)
    return found


# A child of this process would count its memory as its own; one of a small process does not.
WATCH = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
status = subprocess.run([sys.executable, *sys.argv[1:]], stderr=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9]))
"""


def measured(arguments: list) -> dict:
    """Run Python with arguments and return seconds, seconds of CPU, and the most memory it held, GB."""
    command = [sys.executable, "-c", WATCH, *map(str, arguments)]
    status, seconds, processor, memory = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    if status:
        sys.exit(f"{' '.join(map(str, arguments))}: ended with status {status}")
    return {"seconds": seconds, "CPU seconds": processor, "GB": memory}


SHOWN = ("sklearn/datasets/images/china.jpg", "sklearn/datasets/images/flower.jpg", "skimage/data/rocket.jpg")


def figure(model: PConvUNet) -> None:
    """Write docs/figures/filling.jpg: three photographs with holes, and below each what it is filled with."""
    columns = []
    for index, name in enumerate(SHOWN):
        package, _, inside = name.partition("/")
        photograph = read_image(files(package) / inside)[:420, :640]
        hole, rng = np.zeros(photograph.shape[:2], np.uint8), np.random.default_rng([7, index])
        for width in (3, 3, 12, 12, 24, 24, 40):
            shape = shape_of(width, rng)
            top, left = (int(rng.integers(0, size - side)) for size, side in zip(hole.shape, shape.shape, strict=True))
            hole[top : top + shape.shape[0], left : left + shape.shape[1]] |= shape
        emptied = np.where(hole[..., None] > 0, 255, photograph).astype(np.uint8)
        columns.append(np.vstack([emptied, inpaint(photograph, hole, model)]))
    path = project_root() / "docs/figures/filling.jpg"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.hstack(columns)).save(path, quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["quality", "resources", "figure"])
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help="photographs of 1 megapixel and more")
    parser.add_argument("--full-size", action="store_true", help="also the network at full size, which takes minutes")
    parser.add_argument("--weights", default=DEFAULT, help="published weights by name, or a path")
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 12, 24, 50], metavar="MP")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.part == "resources":
        record("filling, resources", resources(options.weights, options.sizes))
    elif options.part == "figure":
        figure(load_pretrained(options.weights))
    elif options.photographs is None:
        parser.error("quality is measured on photographs of yours: --photographs FOLDER")
    else:
        section = "filling, quality, with the network at full size" if options.full_size else "filling, quality"
        compared = methods(load_pretrained(options.weights), options.full_size)
        record(section, quality(options.photographs, compared, options.seed))


if __name__ == "__main__":
    main()
