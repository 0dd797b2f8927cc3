"""Validation: it measures the weights that are kept, and its samples are the same crops at several moments."""

import os
import signal

import numpy as np
import pytest
import torch
from conftest import results
from runs import run_main, same

from pconv.losses import InpaintingLoss
from pconv.masks.tensors import compose
from pconv.metrics import l1_percent, psnr
from pconv.params import load_params
from pconv.train import train
from pconv.training.checkpoint import load_newest
from pconv.training.loading import ValidationCrops
from pconv.unet import load_model


@pytest.mark.parametrize("stage", [1, 2])
def test_validation_measures_the_weights_that_are_kept(trained, stage, monkeypatch):
    """L1, PSNR and loss of best and last weights, crop by crop, from the files."""
    monkeypatch.chdir(trained.project.folder)
    loss = InpaintingLoss(trained.params.loss.stage1, trained.params.loss.vgg)
    for name in ("best", "last"):
        model, measured = load_model(f"models/stage{stage}/{name}.safetensors"), []
        for image, mask in ValidationCrops(trained.params):
            gt, mask = image[None] / 255, mask[None].float()
            with torch.no_grad():
                out = model(gt, mask)
                comp = compose(gt, out, mask).clamp(0, 1)
                total, terms = loss(out, gt, mask)
            measured.append([total.item(), l1_percent(comp, gt).item(), psnr(comp, gt).item(), terms["hole"].item()])
            if len(measured) == trained.params.train.validation:
                break
        metrics = trained.results[stage].metrics
        row = metrics["best"] if name == "best" else metrics["last"]["val"]
        expected = [row[key] for key in ("loss", "l1", "psnr", "hole")]
        np.testing.assert_allclose(np.mean(measured, axis=0), expected, rtol=1e-4)


@pytest.mark.parametrize("stage", [1, 2])
def test_samples_are_the_same_crops_at_several_moments(trained, stage, monkeypatch):
    monkeypatch.chdir(trained.project.folder)
    result = trained.results[stage]
    assert list(result.samples) == {1: [0, 1, 2, 3, 5, 8, 10], 2: [0, 1, 2, 3, 4]}[stage]
    image, mask = result.truth
    assert image.shape == (3, 3, 32, 32) and mask.shape == (3, 1, 32, 32)
    for n, (crop, hole) in enumerate(ValidationCrops(trained.params)[i] for i in range(3)):
        assert image[n].equal(crop) and mask[n].equal(hole)
    valid = mask.expand_as(image) == 1
    for comp in result.samples.values():
        assert comp.dtype == torch.uint8 and comp[valid].equal(image[valid])
    model = load_model(f"models/stage{stage}/last.safetensors")
    with torch.no_grad():
        out = model(image / 255, mask.float()).clamp(0, 1) * 255
    last = result.samples[result.metrics["steps"]]
    assert (last.float() - torch.where(valid, image.float(), out)).abs().max() <= 0.51
    assert not result.samples[0].equal(last)


def test_a_signal_in_validation_gives_it_up_until_training_goes_on(tiny, trained, monkeypatch, capfd):
    seen, loss = [], InpaintingLoss.forward

    def interrupted(self, *batch):
        if torch.is_inference_mode_enabled():
            seen.append(len(seen))
            if len(seen) == 3:  # the first batch of the second validation, which has two
                os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, *batch)

    tiny.set()
    with monkeypatch.context() as patch:
        patch.setattr(InpaintingLoss, "forward", interrupted)
        status, said = run_main(monkeypatch, capfd)
    assert status == 128 + signal.SIGINT and "stopped at step 10; run again to go on from there" in said
    assert len(seen) == 3
    history = load_newest(tiny / "models/state/stage1")[1]["history"]
    assert history[-1]["step"] == 10 and "val/loss" not in history[-1]
    assert same(train(load_params(), 1), trained.results[1])
    assert results(tiny) == results(trained.project)
