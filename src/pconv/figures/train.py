"""Figures of notebook 04: training samples, curves, and samples over time."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pconv.figures import TRAINING, VALIDATION, WIDTH, log_scale, masked, picture_grid

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
    """Draw the same validation crops as the network fills them at several steps: masked, each step, truth."""
    image, mask = truth
    rows = [
        [masked(gt / 255, m), *(comps[i] / 255 for comps in samples.values()), gt / 255]
        for i, (gt, m) in enumerate(zip(image, mask.float(), strict=True))
    ]
    return picture_grid(rows, ["masked", *(f"step {step}" for step in samples), "truth"])
