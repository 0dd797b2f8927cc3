"""What notebook 04 says of a finished stage."""

from __future__ import annotations

import json
import re

import torch
from torch import Tensor

from pconv.data.manifest import read_manifest
from pconv.params import Params
from pconv.project import metric_folder, model_folder
from pconv.tensors import read_tensors, write_tensors
from pconv.training.result import Result


def read_stage1() -> dict:
    """Return the metrics of stage 1, as its notebook wrote them."""
    return json.loads((metric_folder() / "stage1.json").read_text())


def write_samples(result: Result, stage: int) -> None:
    """Write models/stage{stage}/samples.safetensors: the filled samples by step, for the film of both stages."""
    path = model_folder(stage) / "samples.safetensors"
    write_tensors(path, {f"step {step}": pictures for step, pictures in result.samples.items()}, {})


def read_samples(stage: int) -> dict[int, Tensor]:
    """Return the filled samples (n, 3, H, W) uint8 of a stage, by step. Raises WeightsError for a damaged file."""
    tensors, _ = read_tensors(model_folder(stage) / "samples.safetensors", "train the stage again")
    return dict(sorted((int(re.sub(r"\D", "", name)), pictures) for name, pictures in tensors.items()))


def film(result: Result, params: Params) -> list[tuple[str, Tensor]]:
    """Return titled pictures (3, H, W) uint8: the last sample as both stages filled it, at the end of stage 2."""
    steps = params.train.stage1.epochs * params.train.stage1.steps
    filled = read_samples(1) | {steps + step: pictures for step, pictures in result.samples.items() if step > 0}
    return [(f"step {step:,}", pictures[-1].to(torch.uint8)) for step, pictures in filled.items()]


def validation(params: Params) -> str:
    """Return what a stage is validated on, in words."""
    count = len(read_manifest(params.data, "val"))
    photographs = "1 photograph" if count == 1 else f"{count} photographs"
    return f"{params.train.validation} crops of {photographs}"


def conclusion(result: Result, stage: int, params: Params, before: dict | None = None) -> str:
    """Return what a stage reached, in words, as Markdown. before: for stage 2, the metrics of stage 1."""
    first = next(row for row in result.history if "val/psnr" in row)
    metrics, best, last = result.metrics, result.metrics["best"], result.metrics["last"]["val"]
    text = (
        f"In {metrics['steps']} steps ({metrics['precision']}, {metrics['device']}) the validation loss, over "
        f"{validation(params)}, fell from {first['val/loss']:.3f} after the first epoch to {last['loss']:.3f} after "
        f"the last. Its minimum, {best['loss']:.3f}, was reached at step {metrics['best_step']}; with the weights of "
        f"that step the filled validation crops have a PSNR of {best['psnr']:.2f} dB (after the first epoch: "
        f"{first['val/psnr']:.2f} dB) and an L1 error of {best['l1']:.2f} %. These weights are in "
        f"`models/stage{stage}/best.safetensors`, beside those of the last step."
    )
    return text if before is None else f"{text}\n\n{_gain(best, before['best'])}"


def _gain(best: dict, start: dict) -> str:
    """Compare stage 2 with the weights that it started from, which filled the same crops."""
    better = best["psnr"] - start["psnr"]
    return (
        f"Stage 2 {'gained' if better > 0 else 'lost'} **{abs(better):.2f} dB**: the weights that it started from, the "
        f"best of stage 1, fill the same crops with {start['psnr']:.2f} dB and an L1 error of {start['l1']:.2f} %."
    )
