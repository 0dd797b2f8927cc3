"""Filling a photograph: what `pconv.inpaint` and the command `pconv fill` do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pconv.data.decoding import ImageError
from pconv.files import write_file
from pconv.filling.batch import Task
from pconv.filling.blending import View, harmonic, paste, reduce
from pconv.filling.canvas import Canvas
from pconv.filling.encoding import encode
from pconv.filling.holes import HOLE, KNOWN, find_hole
from pconv.filling.network import DEFAULT, load_pretrained, predict, side_of
from pconv.filling.photo import check_values, open_photo, result
from pconv.filling.windows import make_plan, window_of
from pconv.progress import Progress
from pconv.unet import PConvUNet


def inpaint(photo, hole=None, model: PConvUNet | str | Path = DEFAULT):
    """Fill the hole of a photograph at its own size and return what was given: an image, an array or a tensor.

    photo: a path, a PIL image, an array (H, W), (H, W, 3) or (H, W, 4) of uint8, uint16 or floats in [0, 1], or a
    tensor (C, H, W) or (1, C, H, W); it is not changed. A path gives a PIL image, upright, or an array of uint16 if
    the file has 16 bits. hole: a path, a PIL image, an array or a tensor, white (255, 1, True) where something is to
    be filled in; without it, what is transparent in the photograph. model: a network, or the name or path that
    `load_pretrained` takes.

    Pixels outside the hole keep their exact values. Raises PConvError in one line for what cannot be filled.
    """
    photo = open_photo(photo)
    marks = find_hole(photo, hole)
    check_values(photo, marks == KNOWN)
    if (marks == HOLE).any():
        fill(photo.canvas, marks, load_pretrained(model) if isinstance(model, str | Path) else model)
    return result(photo)


def fill_file(task: Task, model: PConvUNet, label: str) -> None:
    """Fill a photograph from a file into a file of its format, or into a PNG if that is the result's suffix.

    Progress is shown with the label. Raises PConvError; nothing is then written.
    """
    photo = open_photo(task.photo)
    marks = find_hole(photo, task.mask)
    fill(photo.canvas, marks, model, label)
    content = encode(photo, "PNG" if task.output.suffix == ".png" else None)
    try:
        task.output.parent.mkdir(parents=True, exist_ok=True)
        write_file(task.output, content)
    except OSError as error:
        raise ImageError(f"{task.output}: {error.strerror}; choose another --output, or make room there") from None


def fill(canvas: Canvas, marks: np.ndarray, model: PConvUNet, label: str | None = None) -> None:
    """Fill what is marked as HOLE, (H, W) uint8, and mark it as known. With a label, show progress."""
    side = side_of(model)
    plan = make_plan(marks, side)
    for job in Progress(plan.jobs, desc=label, disable=label is None):
        window = window_of(job, side, canvas.shape)
        low, known = reduce(canvas, marks, window, job.factor)
        # In holes that are narrow at full size the membrane alone is nearer the truth (benchmarks/README.md).
        out = predict(model, low, known) if job.factor > 1 else harmonic(low, known)
        low = np.where(known[..., None], low, out)
        paste(canvas, marks, plan, job, View(window, job.factor, low, known))
