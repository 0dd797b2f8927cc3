"""Figures of notebook 04: training samples, curves, and samples over time."""

from __future__ import annotations

from matplotlib.figure import Figure

from pconv.figures import masked, picture_grid


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
    columns = (len(terms) + 1) // 2
    figure = Figure(figsize=(2.75 * columns, 5.2))
    axes = list(figure.subplots(2, columns).flat)
    for axis in axes[len(terms) :]:
        axis.remove()
    for axis, term in zip(axes, terms, strict=False):
        for split, style in (("train", "-"), ("val", "o-")):
            points = [(row["step"], row[f"{split}/{term}"]) for row in history if f"{split}/{term}" in row]
            if points:
                axis.plot(*zip(*points, strict=True), style, label=split, markersize=4)
        axis.set_title({"l1": "composite: L1, %", "psnr": "composite: PSNR, dB"}.get(term, term))
        if term not in ("psnr", "l1"):
            axis.set_yscale("log")
        axis.set_xlabel("step")
    figure.axes[0].legend()
    return figure


def samples_over_time(samples: dict, truth) -> Figure:
    """Draw the same validation crops as the network fills them at several steps: masked, each step, truth."""
    image, mask = truth
    rows = [
        [masked(gt / 255, m), *(comps[i] / 255 for comps in samples.values()), gt / 255]
        for i, (gt, m) in enumerate(zip(image, mask.float(), strict=True))
    ]
    return picture_grid(rows, ["masked", *(f"step {step}" for step in samples), "truth"])
