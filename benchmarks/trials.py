"""Find the default that gives the best pictures in ten minutes: train each candidate, measure on validation crops.

    python benchmarks/trials.py --seconds 400 [--only NAME ...]

Every candidate changes the keys of params.yaml that CANDIDATES names, and trains both stages for as many steps as fit
into the same time at the speed of the fastest step of a warm-up, so that a busy machine favours none. The test
photographs play no part. The results go to reports/trials.csv, with one row for each candidate, and crops to
reports/trials.jpg.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from common import changed

from pconv.baselines import fill
from pconv.figures import encode, masked, picture_grid
from pconv.hardware import keep_memory
from pconv.losses import InpaintingLoss
from pconv.masks.convention import compose
from pconv.metrics import l1_percent, psnr, ssim
from pconv.params import Params, Terms, load_params
from pconv.project import project_root
from pconv.train import finish
from pconv.training.loading import ValidationCrops
from pconv.training.trainer import Trainer


def both_stages(**weights: float) -> dict:
    """Return weights of loss terms as changes to both stages."""
    return {f"loss.stage{stage}.{term}": weight for stage in (1, 2) for term, weight in weights.items()}


CANDIDATES = {
    "default": {},
    "colours as they are": {"train.recolour": False},
    "half the learning rate": {"train.stage1.lr": 0.002},
    "batch 8": {"train.batch": 8},
    "width 24": {"model.width": 24},
    "width 48": {"model.width": 48},
    "depth 5": {"model.depth": 5},
    "style 120 (the paper)": both_stages(style=120.0),
    "style 10": both_stages(style=10.0),
    "perceptual 0.05 (the paper)": both_stages(perceptual=0.05),
    "L1 and tv only": both_stages(perceptual=0.0, style=0.0),
    "random VGG": {"loss.vgg": "random"},
    "float32": {"train.precision": "float32"},
}
STAGE1_SHARE = 0.7  # of the steps
EPOCHS = (7, 3)


def seconds_per_step(params: Params, steps: int = 12) -> float:
    """Return the time of the fastest of a few training steps, which other work on the machine disturbs least."""
    trainer, fastest = Trainer(params, 1), float("inf")
    batches = trainer.batches()
    for _ in range(steps):
        batch = next(batches)
        start = time.perf_counter()
        trainer.train_step(*batch, trainer.plan.schedule.lr)
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def with_steps(params: Params, steps: int) -> Params:
    """Return the parameters with a number of steps divided among stages and epochs."""
    shares = (STAGE1_SHARE, 1 - STAGE1_SHARE)
    per_epoch = [max(1, round(steps * share / epochs)) for share, epochs in zip(shares, EPOCHS, strict=True)]
    return changed(
        params,
        {f"train.stage{i + 1}.steps": per_epoch[i] for i in (0, 1)}
        | {f"train.stage{i + 1}.epochs": EPOCHS[i] for i in (0, 1)},
    )


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
    """Return metrics and unweighted loss terms (with the packaged VGG) of the composites, and the composites."""
    gt, mask = validation_batch(params)
    out = model.float().eval()(gt, mask).clamp(0, 1)
    comp = compose(gt, out, mask)
    filled = torch.stack([fill("mean fill", image, m) for image, m in zip(gt, mask, strict=True)])
    terms = InpaintingLoss(Terms(), "packaged").terms(out, gt, mask)
    gain = psnr(comp, gt).mean() - psnr(filled, gt).mean()
    row = {"L1 %": l1_percent(comp, gt).mean(), "PSNR": psnr(comp, gt).mean(), "SSIM": ssim(comp, gt).mean()}
    row |= {"dB over mean fill": gain, "perceptual": terms["perceptual"], "style": terms["style"]}
    return {name: value.item() for name, value in row.items()}, comp


def trial(params: Params, seconds: float) -> tuple[dict, torch.Tensor]:
    """Train a candidate for so long, and measure it; returns its row and the composites."""
    pace = seconds_per_step(params)
    params = with_steps(params, int(seconds / pace))
    for stage in (1, 2):
        finish(stage)
        trainer = Trainer(params, stage)
        trainer.run()
        finish(stage)
    row, comp = measure(trainer.state.model, params)
    steps = sum(s.epochs * s.steps for s in (params.train.stage1, params.train.stage2))
    return {"steps": steps, "ms per step": round(1000 * pace), **row}, comp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=400)
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    options = parser.parse_args()
    keep_memory()
    root, params = project_root(), load_params()
    target = root / "reports"
    with tempfile.TemporaryDirectory() as scratch:
        project(Path(scratch), root)
        os.chdir(scratch)
        gt, mask = validation_batch(params)
        rows, pictures = {}, [list(gt[:8]), [masked(g, m) for g, m in zip(gt[:8], mask, strict=False)]]
        for name in options.only:
            candidate = changed(params, CANDIDATES[name])
            rows[name], comp = trial(candidate, options.seconds)
            pictures.append(list(comp[:8]))
            table = pd.DataFrame.from_dict(rows, orient="index").round(4)
            table.to_csv(target / "trials.csv", index_label="candidate")
            figure = picture_grid(pictures, labels=["truth", "masked", *rows])
            (target / "trials.jpg").write_bytes(encode(figure, photographs=True))
            print(table.to_string(), flush=True)


if __name__ == "__main__":
    main()
