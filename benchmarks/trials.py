"""Find the default that gives the best pictures in ten minutes: train each candidate, measure on validation crops.

    python benchmarks/trials.py --seconds 300 [--seeds 0 1 2] [--only NAME ...]

Every candidate changes the keys of params.yaml that CANDIDATES names, and trains both stages for as many steps as fit
into the same time at the speed of the fastest step of a warm-up, so that a busy machine favours none. The test
photographs play no part. The results go to reports/trials.csv, with one row for each candidate and seed, and crops to
reports/trials.jpg.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from common import changed

from pconv.baselines import fill
from pconv.figures import encode, masked, picture_grid
from pconv.hardware import keep_memory
from pconv.masks.tensors import compose
from pconv.metrics import l1_percent, psnr, ssim
from pconv.params import Params, load_params
from pconv.perceptual import PerceptualDistance
from pconv.project import project_root
from pconv.train import finish
from pconv.training.loading import ValidationCrops
from pconv.training.trainer import Trainer


class Candidate(NamedTuple):
    """Changes to params.yaml, and the share of the time that stage 2 gets."""

    changes: dict = {}
    stage2: float = 0.2


def both_stages(**weights: float) -> dict:
    """Return weights of loss terms as changes to both stages."""
    return {f"loss.stage{stage}.{term}": weight for stage in (1, 2) for term, weight in weights.items()}


CANDIDATES = {
    "all terms in both stages": Candidate(both_stages(perceptual=0.02, style=1.0), 0.3),
    "pixel terms first": Candidate(),  # the default
    "pixel terms only": Candidate(both_stages(perceptual=0.0, style=0.0)),
    "half the time in stage 2": Candidate(stage2=0.5),
    "half the learning rate": Candidate({"train.stage1.lr": 0.002, "train.stage1.lr_end": 0.0005}),
    "lower rate at the end": Candidate({"train.stage1.lr_end": 0.0002}),
    "batch 8": Candidate({"train.batch": 8}),
    "width 24": Candidate({"model.width": 24}),
    "width 48": Candidate({"model.width": 48}),
    "depth 5": Candidate({"model.depth": 5}),
    "crops of half the photograph or more": Candidate({"data.crop": [0.5, 1.0]}),
    "colours as they are": Candidate({"train.recolour": False}),
}
EPOCHS = {1: 7, 2: 3}


def seconds_per_step(params: Params, stage: int, steps: int = 12) -> float:
    """Return the time of the fastest of a few training steps with the loss of a stage.

    It is the processor's time, divided by the threads that share it, which other work on the machine hardly changes.
    """
    terms = getattr(params.loss, f"stage{stage}").model_dump()
    trainer = Trainer(changed(params, {f"loss.stage1.{term}": weight for term, weight in terms.items()}), 1)
    batches, fastest = trainer.batches(), float("inf")
    for _ in range(steps):
        batch = next(batches)
        start = time.process_time()
        trainer.train_step(*batch, trainer.plan.schedule.lr)
        fastest = min(fastest, time.process_time() - start)
    return fastest / torch.get_num_threads()


def with_steps(params: Params, seconds: dict[int, float]) -> Params:
    """Return the parameters with as many steps in each stage as its seconds allow."""
    changes = {}
    for stage, epochs in EPOCHS.items():
        steps = seconds[stage] / seconds_per_step(params, stage)
        changes |= {f"train.stage{stage}.epochs": epochs, f"train.stage{stage}.steps": max(1, int(steps / epochs))}
    return changed(params, changes)


def project(folder: Path, root: Path) -> None:
    """Make a project of its own, with the data of the one at `root`, which leaves the pipeline's models alone."""
    (folder / "dvc.yaml").touch()
    (folder / "data").symlink_to(root / "data")


def validation_batch(params: Params):
    """Return all validation crops: images (N, 3, H, W) in [0, 1] and masks (N, 1, H, W)."""
    crops = ValidationCrops(params)
    image, mask = (torch.stack(part).float() for part in zip(*(crops[n] for n in range(len(crops))), strict=True))
    return image / 255, mask


@torch.inference_mode()
def measure(model, params: Params) -> tuple[dict, torch.Tensor]:
    """Return the means of all measures of the composites, the PSNR relative to two baselines, and the composites."""
    gt, mask = validation_batch(params)
    comp = compose(gt, model.float().eval()(gt, mask).clamp(0, 1), mask)
    row = {"PSNR": psnr(comp, gt), "SSIM": ssim(comp, gt), "L1 %": l1_percent(comp, gt)}
    row["perceptual distance"] = PerceptualDistance()(comp, gt)
    for name in ("mean fill", "telea"):
        filled = torch.stack([fill(name, image, m) for image, m in zip(gt, mask, strict=True)])
        row[f"dB over {name}"] = row["PSNR"] - psnr(filled, gt)
    return {name: values.mean().item() for name, values in row.items()}, comp


def trial(params: Params, candidate: Candidate, seed: int, seconds: float) -> tuple[dict, torch.Tensor]:
    """Train a candidate for so long, and measure it; returns its row and the composites."""
    params = changed(params, candidate.changes | {"seed": seed})
    shares = {1: 1 - candidate.stage2, 2: candidate.stage2}
    params = with_steps(params, {stage: seconds * share for stage, share in shares.items()})
    for stage in shares:
        finish(stage)
        trainer = Trainer(params, stage)
        trainer.run()
        finish(stage)
    row, comp = measure(trainer.state.model, params)
    steps = {f"steps {n}": s.epochs * s.steps for n, s in ((1, params.train.stage1), (2, params.train.stage2))}
    return {**steps, **row}, comp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    options = parser.parse_args()
    keep_memory()
    root, params = project_root(), load_params()
    target = root / "reports"
    with tempfile.TemporaryDirectory() as scratch:
        project(Path(scratch), root)
        os.chdir(scratch)
        gt, mask = validation_batch(params)
        rows, pictures = [], {"truth": gt, "masked": [masked(g, m) for g, m in zip(gt[:8], mask, strict=False)]}
        for name in options.only:
            for seed in options.seeds:
                row, comp = trial(params, CANDIDATES[name], seed, options.seconds)
                rows.append({"candidate": name, "seed": seed, **row})
                pictures.setdefault(name, comp)
                table = pd.DataFrame(rows).round(4)
                table.to_csv(target / "trials.csv", index=False)
                figure = picture_grid([list(row[:8]) for row in pictures.values()], labels=list(pictures))
                (target / "trials.jpg").write_bytes(encode(figure, photographs=True))
                print(table.to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
