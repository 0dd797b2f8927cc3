"""The trainer: what a run leaves, the steps it takes, its second stage, and what stops it with an error."""

import json
import os
import random
import shutil
from itertools import count

import numpy as np
import pytest
import torch
from conftest import results
from runs import Killed, command, run_main, same, small_files
from safetensors import safe_open
from safetensors.torch import load_file

from pconv.files import sha256
from pconv.losses import TERMS, InpaintingLoss
from pconv.params import NEUTRAL, ParamsError
from pconv.tensors import WeightsError
from pconv.train import train
from pconv.training import TrainingError
from pconv.training.checkpoint import load_newest
from pconv.training.loading import TrainingCrops
from pconv.training.resume import Checkpoints
from pconv.training.step import TrainingStep
from pconv.training.trainer import Trainer
from pconv.unet import PConvUNet, he_init


def batches(params, stage=1):
    """Return the images (N, 3, H, W) and masks of each step, as the network gets them."""
    crops, size = TrainingCrops(params, stage, 1000), params.train.batch
    for first in range(0, 1000, size):
        image, mask = (torch.stack(part).float() for part in zip(*(crops[first + i] for i in range(size)), strict=True))
        yield image / 255, mask


# What a run leaves


@pytest.mark.parametrize("stage", [1, 2])
def test_metrics_and_timings(trained, stage):
    result = trained.results[stage]
    rows = {row["step"]: row for row in result.history if "val/loss" in row}
    best = min(rows.values(), key=lambda row: row["val/loss"])
    steps = {1: 10, 2: 4}[stage]
    names = ["loss", *TERMS]
    assert result.metrics == {
        "vgg": "random",
        "precision": "float32",
        "device": "cpu",
        "parameters": sum(p.numel() for p in PConvUNet(4, 3).parameters()),
        "steps": steps,
        "best_step": best["step"],
        "best": {name: best[f"val/{name}"] for name in (*names, "l1", "psnr")},
        "last": {
            "train": {name: result.history[-2][f"train/{name}"] for name in names},
            "val": {name: rows[steps][f"val/{name}"] for name in (*names, "l1", "psnr")},
        },
    }
    assert json.loads(json.dumps(result.metrics)) == result.metrics
    assert all(seconds > 0 for seconds in result.timings.values())
    activities = {"data", "forward", "loss", "backward", "optimiser", "validation", "checkpoints"}
    assert set(result.timings) == {"images_per_second", *activities}


def test_history_has_a_row_for_each_tenth_of_an_epoch_and_each_validation(trained, tiny):
    assert [row["step"] for row in trained.results[1].history] == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10]
    result = train(tiny.set(train__stage1__epochs=1, train__stage1__steps=25), 1)
    assert [row["step"] for row in result.history] == [*range(2, 25, 2), 25, 25]


@pytest.mark.parametrize("stage", [1, 2])
def test_the_loss_is_the_weighted_sum_of_its_terms(trained, stage):
    weights = trained.params.loss.terms(stage)
    for row in trained.results[stage].history:
        kind = "val" if "val/loss" in row else "train"
        total = sum(getattr(weights, term) * row[f"{kind}/{term}"] for term in TERMS)
        assert row[f"{kind}/loss"] == pytest.approx(total, rel=1e-5)


def test_a_row_is_the_mean_since_the_row_before(trained, tiny):
    """The same run logged every second step."""
    single = trained.results[1].history
    result = train(tiny.set(train__stage1__steps=20, train__stage1__epochs=1, train__stage1__lr_end=None), 1)
    again = train(tiny.set(train__stage1__steps=5, train__stage1__epochs=4, train__stage1__lr_end=None), 1)
    single = {row["step"]: row for row in again.history if "train/loss" in row}
    for row in result.history[:-1]:
        step = row["step"]
        expected = (single[step - 1]["train/loss"] + single[step]["train/loss"]) / 2
        assert row["train/loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("stage", [1, 2])
def test_weights_hold_their_parameters_and_step(trained, stage):
    result = trained.results[stage]
    for name, step in (("best", result.metrics["best_step"]), ("last", result.metrics["steps"])):
        with safe_open(trained.project / f"models/stage{stage}/{name}.safetensors", "pt") as file:
            about = json.loads(file.metadata()["pconv"])
        params = trained.params.model_dump(exclude=NEUTRAL)
        start = sha256(trained.project / "models/stage1/best.safetensors") if stage == 2 else None
        assert about == {"params": params, "stage": stage, "step": step, "start": start}


@pytest.mark.parametrize("stage", [1, 2])
def test_curves_are_written_by_dvclive(trained, stage):
    folder, history = trained.project / f"reports/plots/stage{stage}", trained.results[stage].history
    names = sorted({name for row in history for name in row} - {"step"})
    before = trained.results[1].metrics["steps"] if stage == 2 else 0  # stage 2 is drawn after stage 1
    found = {str(path.relative_to(folder / "plots/metrics")): path for path in folder.rglob("*.tsv")}
    assert sorted(found) == sorted(f"{name}.tsv" for name in names)
    for name in names:
        header, *lines = [line.split("\t") for line in found[f"{name}.tsv"].read_text().splitlines()]
        assert header == ["step", name.rpartition("/")[2]]
        assert [(int(step), float(value)) for step, value in lines] == [
            (before + row["step"], row[name]) for row in history if name in row
        ]
    summary = json.loads((folder / "metrics.json").read_text())
    last = {key: value for row in history for key, value in row.items()}
    assert {name: summary["train"][name] for name in TERMS} == {name: last[f"train/{name}"] for name in TERMS}
    assert summary["val"]["psnr"] == last["val/psnr"] and summary["step"] == before + last["step"]


def test_nothing_else_is_written(trained):
    assert (trained.project / "dvc.yaml").read_bytes() == b""
    names = {path.name for path in trained.project.folder.iterdir() if not path.name.startswith(".")}
    assert names == {"data", "dvc.yaml", "models", "params.yaml", "photographs", "reports"}
    assert {path.name for path in (trained.project / "reports").iterdir()} == {"plots"}


# The steps


def test_the_network_starts_from_he_initialisation_of_the_seed(tiny):
    for seed in (0, 1):
        weights = Trainer(tiny.set(seed=seed), 1).state.model.state_dict()
        expected = he_init(PConvUNet(4, 3), seed).state_dict()
        assert all(weights[name].equal(expected[name]) for name in expected)


def plain_adam(params, model, lr_end, steps):
    """Adam from its paper's algorithm, (losses, weights); lr falls on a straight line."""
    loss, weights = InpaintingLoss(params.loss.stage1, params.loss.vgg), dict(model.named_parameters())
    m = {name: torch.zeros_like(w) for name, w in weights.items()}
    v = {name: torch.zeros_like(w) for name, w in weights.items()}
    losses, batch = [], batches(params)
    lr = params.train.stage1.lr
    model.train()
    for t in range(1, steps + 1):
        gt, mask = next(batch)
        total, _ = loss(model(gt, mask), gt, mask)
        losses.append(total.item())
        gradients = torch.autograd.grad(total, list(weights.values()))
        rate = lr + (lr_end - lr) * (t - 1) / (steps - 1)
        with torch.no_grad():
            for (name, w), g in zip(weights.items(), gradients, strict=True):
                m[name] = 0.9 * m[name] + 0.1 * g
                v[name] = 0.999 * v[name] + 0.001 * g**2
                w -= rate * (m[name] / (1 - 0.9**t)) / ((v[name] / (1 - 0.999**t)).sqrt() + 1e-8)
    return losses, model.state_dict()


def test_steps_are_those_of_adam(tiny):
    params = tiny.set(
        train__stage1__epochs=1, train__stage1__steps=4, train__stage1__lr=1e-3, train__stage1__lr_end=1e-4
    )
    result = train(params, 1)
    before = he_init(PConvUNet(4, 3), 0).state_dict()
    losses, expected = plain_adam(params, he_init(PConvUNet(4, 3), 0), 1e-4, 4)
    logged = [row["train/loss"] for row in result.history if "train/loss" in row]
    assert logged[0] == pytest.approx(losses[0], rel=1e-6)
    assert logged == pytest.approx(losses, rel=1e-3)
    rates = [row["lr"] for row in result.history if "lr" in row]
    assert rates == pytest.approx([1e-3, 7e-4, 4e-4, 1e-4])
    found = load_file(tiny / "models/stage1/last.safetensors")
    for name, value in expected.items():
        moved, error = (value - before[name]).abs(), (found[name] - value).abs()
        assert error.double().mean() <= 0.01 * moved.double().mean(), name


def test_the_first_step_moves_each_weight_by_the_learning_rate(tiny):
    """Adam's first step is lr g / |g|."""
    train(tiny.set(train__stage1__epochs=1, train__stage1__steps=1), 1)
    before = he_init(PConvUNet(4, 3), 0).state_dict()
    after = load_file(tiny / "models/stage1/last.safetensors")
    moved = (after["decoder.2.conv.weight"] - before["decoder.2.conv.weight"]).abs()
    assert moved.median().item() == pytest.approx(0.01, rel=1e-3)


def test_bfloat16_trains_float32_weights(tiny, trained):
    result = train(tiny.set(train__precision="bfloat16"), 1)
    assert result.metrics["precision"] == "bfloat16"
    weights = load_file(tiny / "models/stage1/last.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.float32, torch.int64}
    first = trained.results[1].history[0]["train/loss"]
    assert result.history[0]["train/loss"] == pytest.approx(first, rel=0.02)
    assert result.history[0]["train/loss"] != first


def test_two_runs_are_equal_whatever_the_global_random_state(tiny, trained):
    torch.manual_seed(12345), random.seed(12345), np.random.seed(12345)
    assert same(train(tiny.set(), 1), trained.results[1])
    assert results(tiny) == results(trained.project)


# The second stage


def norm_of_encoder(name):
    return name.startswith("encoder.") and ".norm." in name


def test_stage_2_starts_from_the_best_weights_of_stage_1(trained, tiny):
    shutil.copytree(trained.project / "models/stage1", tiny / "models/stage1")
    best = tiny / "models/stage1/best.safetensors"
    (tiny / "models/stage1/last.safetensors").unlink()
    model = Trainer(trained.params, 2).state.model
    expected = load_file(best)
    assert all(value.equal(expected[name]) for name, value in model.state_dict().items())


def test_stage_2_leaves_the_encoders_batch_norm_as_it_was(trained):
    before = load_file(trained.project / "models/stage1/best.safetensors")
    after = load_file(trained.project / "models/stage2/last.safetensors")
    frozen = {name for name in before if before[name].equal(after[name])}
    assert frozen == {name for name in before if norm_of_encoder(name)}
    assert len(frozen) == 2 * 5


def test_stage_1_trains_all(trained):
    before = he_init(PConvUNet(4, 3), 0).state_dict()
    after = load_file(trained.project / "models/stage1/last.safetensors")
    assert not {name for name in before if before[name].equal(after[name])}


def test_stage_2_without_stage_1(tiny):
    with pytest.raises(WeightsError, match=rf"{tiny / 'models/stage1/best.safetensors'}: No such file"):
        train(tiny.set(), 2)


def test_stage_2_of_another_network_than_stage_1(trained, tiny):
    shutil.copytree(trained.project / "models/stage1", tiny / "models/stage1")
    for changes, asked in (({"model__width": 6}, "width 6 and depth 3"), ({"model__depth": 4}, "width 4 and depth 4")):
        said = rf"best.safetensors: .*, width 4 and depth 3, .*, {asked}; train stage 1 first"
        with pytest.raises(TrainingError, match=said):
            train(tiny.set(**changes), 2)


def test_stage_2_from_a_file_that_was_cut_short(trained, tiny):
    shutil.copytree(trained.project / "models/stage1", tiny / "models/stage1")
    best = tiny / "models/stage1/best.safetensors"
    os.truncate(best, 5000)
    with pytest.raises(ValueError, match=rf"{best}: not a whole safetensors file"):
        train(tiny.set(), 2)


def test_there_is_no_stage_3(tiny):
    with pytest.raises(ParamsError, match="stage = 3: 1 or 2"):
        train(tiny.set(), 3)


# Errors


def poisoned(value, step):
    """Return a training step that puts `value` among the weights, so that the next loss is not finite."""
    take, taken = TrainingStep.__call__, count()

    def poisoned_step(self, *batch):
        row = take(self, *batch)
        if next(taken) == step:
            with torch.no_grad():
                self.network.decoder[-1].conv.bias[0] = value
        return row

    return poisoned_step


@pytest.mark.parametrize(
    "value, step, said",
    [
        (torch.nan, 2, "stage 1, step 3: the loss is nan (valid nan, hole nan, perceptual nan, style nan, tv nan)"),
        (torch.inf, 2, "stage 1, step 3: the loss is "),
        (-torch.inf, 0, "stage 1, step 1: the loss is "),
        (torch.nan, 4, "stage 1, validation after step 5: the loss is nan (valid nan, "),
        (torch.nan, 9, "stage 1, validation after step 10: the loss is nan (valid nan, "),
    ],
)
def test_a_loss_that_is_not_finite_stops_with_step_and_terms(tiny, monkeypatch, capfd, value, step, said):
    tiny.set()
    monkeypatch.setattr(TrainingStep, "__call__", poisoned(value, step))
    status, error = run_main(monkeypatch, capfd)
    (line,) = [line for line in error.splitlines() if "Error" in line]
    assert status == 1 and line.startswith(f"TrainingError: {said}")
    assert line.endswith("lower train.stage1.lr, or set train.precision: float32")
    assert "nan" in line and "Traceback" not in error
    assert not (tiny / "models/stage1").exists()


def test_the_terms_that_are_finite_are_shown_too(tiny, monkeypatch):
    forward = InpaintingLoss.forward

    def without_style(self, *images):
        total, terms = forward(self, *images)
        return total * torch.inf, terms | {"style": torch.tensor(torch.inf)}

    monkeypatch.setattr(InpaintingLoss, "forward", without_style)
    with pytest.raises(TrainingError, match=r"the loss is inf \(valid 0\.\d+, hole 0\.\d+, .*style inf, tv 0\.\d+\)"):
        train(tiny.set(), 1)


def test_a_full_disk_stops_with_what_to_do(tiny, monkeypatch, capfd, killed_at):
    killed_at(3)
    with pytest.raises(Killed):
        train(tiny.set(train__checkpoint_seconds=0), 1)
    save = Checkpoints.save

    def save_on_a_small_disk(*arguments):
        with small_files(20_000):
            save(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_on_a_small_disk)
        status, said = run_main(monkeypatch, capfd)
    assert status == 1 and "Traceback" not in said
    assert f"CheckpointError: {tiny / 'models/state/stage1/step-00000004'}: could not be written (" in said
    assert "free some disk space and run again" in said
    assert load_newest(tiny / "models/state/stage1")[1]["step"] == 3
    status, said = run_main(monkeypatch, capfd)
    assert status == 0 and "going on from step 3 of 10\n" in said


def test_weights_that_cannot_be_written_are_named(tiny, monkeypatch, capfd):
    tiny.set()
    (tiny / "models/stage1/best.safetensors").mkdir(parents=True)
    status, said = run_main(monkeypatch, capfd)
    assert status == 1 and "Traceback" not in said
    assert f"WeightsError: {tiny / 'models/stage1/best.safetensors'}: could not be written (" in said
    shutil.rmtree(tiny / "models/stage1")
    status, said = run_main(monkeypatch, capfd)
    assert status == 0 and "going on from step 10 of 10\n" in said


@pytest.mark.parametrize(
    "missing, said",
    [
        ("data/masks", "data/masks/train/index.csv: no such file; `dvc repro masks` draws the masks"),
        ("data/images", "data/images/train.csv: no such file; `dvc repro images` writes it"),
        ("photographs", "photographs/val/0.png: No such file or directory"),
    ],
)
def test_missing_data_is_named(tiny, monkeypatch, capfd, missing, said):
    tiny.set()
    shutil.rmtree(tiny / missing)
    status, error = run_main(monkeypatch, capfd)
    assert status == 1 and said in error and "Traceback" not in error


def test_masks_of_another_size_are_named(tiny, monkeypatch, capfd):
    tiny.set(data__size=48)
    status, error = run_main(monkeypatch, capfd)
    assert status == 1 and "masks are 32 px, crops 48 px: run `dvc repro masks` first" in error


def test_command_with_wrong_parameters_says_so_and_does_nothing(tiny):
    text = (tiny / "params.yaml").read_text()
    (tiny / "params.yaml").write_text(text.replace("lr: 0.01", "lr: 10"))
    done = command(tiny.folder, "--stage", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"ParamsError: {tiny / 'params.yaml'}: train.stage1.lr = 10: input should be less than or equal to 1\n"
    )
    assert not (tiny / "models").exists() and not (tiny / "reports").exists()
