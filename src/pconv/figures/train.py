"""Figures of notebook 04: training samples, curves, and samples over time."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image as Picture

from pconv.figures import (
    TRAINING,
    VALIDATION,
    WIDTH,
    draw,
    draw_tiles,
    gallery,
    log_scale,
    mask_picture,
    masked,
    picture_grid,
)

COLUMNS = 5  # moments of the training side by side
PAUSE, LAST_PAUSE = 500, 3000  # milliseconds that a picture of the film stays

SPLITS = {
    "train": {"name": "training", "line": {"color": TRAINING, "linewidth": 1.2}},
    "val": {"name": "validation", "line": {"color": VALIDATION, "marker": "o", "markersize": 5}},
}


def training_samples(samples) -> Figure:
    """Draw training samples (image, mask), uint8, in two rows, the hole painted."""
    pictures = [masked(image / 255, mask) for image, mask in samples]
    half = (len(pictures) + 1) // 2
    return picture_grid([pictures[:half], pictures[half:]])


def training_curves(history) -> Figure:
    """Draw the loss, its unweighted terms and the composite's L1 and PSNR over the steps, training and validation.

    history: rows {step, train/..., val/...} of pconv.training.trainer.Result. Terms of weight 0, which are not computed
    and 0 throughout, are left out.
    """
    last = history[-1]
    terms = [key.removeprefix("val/") for key in last if key.startswith("val/") and last[key] != 0]
    rows = (len(terms) + 1) // 2
    figure = Figure(figsize=(WIDTH, 1.9 * rows + 0.5))
    axes = list(figure.subplots(rows, 2, sharex=True, squeeze=False).flat)
    for axis, term in zip(axes, terms, strict=False):
        for split, style in SPLITS.items():
            points = [(row["step"], row[f"{split}/{term}"]) for row in history if f"{split}/{term}" in row]
            if points:
                axis.plot(*zip(*points, strict=True), label=style["name"], **style["line"])
        axis.set_title({"l1": "composite: L1, %", "psnr": "composite: PSNR, dB"}.get(term, term))
        axis.tick_params(labelbottom=True)
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if term in ("psnr", "l1"):
            axis.yaxis.set_major_locator(MaxNLocator(4))
        else:
            log_scale(axis)
    for axis in axes[len(terms) :]:
        axis.remove()
    figure.supxlabel("step", fontsize=12)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def samples_over_time(samples: dict, truth) -> Figure:
    """Draw the same validation crops as the network fills them at several steps: masked, COLUMNS steps, truth."""
    image, mask = truth
    steps = list(samples)
    count = min(COLUMNS, len(steps))
    shown = [steps[i * (len(steps) - 1) // max(1, count - 1)] for i in range(count)]
    rows = [
        [masked(gt / 255, m), *(samples[step][i] / 255 for step in shown), gt / 255]
        for i, (gt, m) in enumerate(zip(image, mask.float(), strict=True))
    ]
    return picture_grid(rows, ["masked", *(f"step\n{step:,}" for step in shown), "truth"])


def one_step(gt, mask, out) -> Figure:
    """Draw what a training step computes with: the photograph, its mask, what the network sees, predicts and fills.

    gt and out are (3, H, W) in [0, 1], mask is (1, H, W), 1 where valid.
    """
    comp = torch.where(mask > 0, gt, out)
    pictures = [gt, mask_picture(mask), masked(gt, mask), out, comp]
    return gallery(pictures, ["I_gt", "M", "what the\nnetwork sees", "I_out", "I_comp"])


def write_film(frames, truth, path: Path) -> None:
    """Write an animated WebP: the crop with its hole, each titled picture (3, H, W) uint8 in turn, the photograph.

    truth: image (3, H, W) and mask (1, H, W), uint8. Equal pictures give equal bytes.
    """
    image, mask = truth
    start = masked(image / 255, mask.float())
    rows = [[start, picture / 255, image / 255] for _, picture in frames]
    titles = [["with holes", title, "photograph"] for title, _ in frames]
    drawn = [
        Picture.fromarray(draw(draw_tiles([row], [names], (), 192))) for row, names in zip(rows, titles, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pauses = [PAUSE] * (len(drawn) - 1) + [LAST_PAUSE]
    drawn[0].save(path, save_all=True, append_images=drawn[1:], duration=pauses, loop=0, quality=80, method=6)
