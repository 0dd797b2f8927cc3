"""Training: what a run leaves, that stopping and killing it changes nothing, and what stops it with an error."""

import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from conftest import Project, results
from repository import PATIENCE
from safetensors import safe_open
from safetensors.torch import load_file

from pconv.data.decoding import ImageError
from pconv.losses import TERMS, InpaintingLoss
from pconv.masks.convention import compose
from pconv.metrics import l1_percent, psnr
from pconv.params import load_params
from pconv.tensors import WeightsError
from pconv.train import finish, main, train
from pconv.training import checkpoint, trainer
from pconv.training.checkpoint import list_checkpoints, load_newest, locked
from pconv.training.loading import TrainingCrops, ValidationCrops
from pconv.training.step import learning_rate
from pconv.training.trainer import Trainer, TrainingError
from pconv.unet import PConvUNet, he_init, load_model

SOURCE = Path(__file__).parents[1] / "src"


class Killed(BaseException):
    """Stands for SIGKILL where a test cannot have a process of its own: nothing in training catches it."""


def same(a, b):
    """Whether two Results are equal but for their timings."""
    return (
        a.history == b.history
        and a.metrics == b.metrics
        and list(a.samples) == list(b.samples)
        and all(a.samples[step].equal(b.samples[step]) for step in a.samples)
        and all(x.equal(y) for x, y in zip(a.truth, b.truth, strict=True))
    )


def batches(params, stage=1):
    """The images (N, 3, H, W) and masks of each step, as the network gets them."""
    crops, size = TrainingCrops(params, stage, 1000), params.train.batch
    for first in range(0, 1000, size):
        image, mask = (torch.stack(part).float() for part in zip(*(crops[first + i] for i in range(size)), strict=True))
        yield image / 255, mask


@pytest.fixture(scope="module")
def trained(tiny_project, tmp_path_factory):
    """A project in which both stages were trained without a break: what they left and returned. Not to be changed."""
    project = Project(tmp_path_factory.mktemp("trained") / "tiny")
    shutil.copytree(tiny_project, project.folder)
    with chdir(project.folder):
        params = load_params()
        one = train(params, 1)
        two = train(params, 2)
    return SimpleNamespace(project=project, params=params, results={1: one, 2: two})


@pytest.fixture
def killed_at(monkeypatch):
    """killed_at(3, 5): the next runs are killed when they come to step 3, then when they come to step 5."""
    step = Trainer._train_step

    def arrange(*steps):
        left = list(steps)

        def train_step(self, *batch):
            if left and self.state.step == left[0]:
                left.pop(0)
                raise Killed
            return step(self, *batch)

        monkeypatch.setattr(Trainer, "_train_step", train_step)

    return arrange


def train_until_done(params, stage=1):
    """Run again after each kill; returns the result and the number of kills."""
    for kills in range(1000):
        try:
            return train(params, stage), kills
        except Killed:
            shutil.rmtree(f"reports/plots/stage{stage}", ignore_errors=True)  # as DVC does
            shutil.rmtree(f"models/stage{stage}", ignore_errors=True)


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
    weights = trained.params.loss
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
        params = trained.params.model_dump(
            exclude={"train": {"workers", "checkpoint_seconds"}}
        )  # they change no result
        assert about == {"params": params, "stage": stage, "step": step}


@pytest.mark.parametrize("stage", [1, 2])
def test_validation_measures_the_weights_that_are_kept(trained, stage, monkeypatch):
    """L1, PSNR and loss of best and last weights, crop by crop, from the files."""
    monkeypatch.chdir(trained.project.folder)
    loss = InpaintingLoss(trained.params.loss)
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
    assert list(result.samples) == {1: [0, 1, 3, 10], 2: [0, 1, 4]}[stage]
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
    loss, weights = InpaintingLoss(params.loss), dict(model.named_parameters())
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


@pytest.mark.parametrize(
    "lr_end, steps, expected",
    [
        (None, 10, [1.0] * 10),
        (0.1, 10, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        (0.5, 2, [1, 0.5]),
        (0.5, 1, [1]),
    ],
)
def test_learning_rate(lr_end, steps, expected):
    for epochs in {1, steps}:
        schedule = SimpleNamespace(lr=1.0, lr_end=lr_end, epochs=epochs, steps=steps // epochs)
        assert [learning_rate(schedule, step) for step in range(steps)] == pytest.approx(expected)


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
        with pytest.raises(TrainingError, match=rf"best.safetensors: a network of width 4 and depth 3, .* {asked}"):
            train(tiny.set(**changes), 2)


def test_stage_2_from_a_file_that_was_cut_short(trained, tiny):
    shutil.copytree(trained.project / "models/stage1", tiny / "models/stage1")
    best = tiny / "models/stage1/best.safetensors"
    os.truncate(best, 5000)
    with pytest.raises(ValueError, match=rf"{best}: not a whole safetensors file"):
        train(tiny.set(), 2)


def test_there_is_no_stage_3(tiny):
    with pytest.raises(ValueError, match="stage = 3: 1 or 2"):
        train(tiny.set(), 3)


# Stopping, killing, going on


@pytest.mark.parametrize("stage", [1, 2])
def test_a_run_killed_at_every_step_ends_as_one_never_killed(tiny, trained, killed_at, capfd, stage):
    if stage == 2:
        shutil.copytree(trained.project / "models/stage1", tiny / "models/stage1")
    steps = {1: 10, 2: 4}[stage]
    killed_at(*range(steps))
    params = tiny.set(train__checkpoint_seconds=0)
    result, kills = train_until_done(params, stage)
    assert kills == steps
    assert same(result, trained.results[stage])
    assert results(tiny, stage) == results(trained.project, stage)
    said = capfd.readouterr().err
    for step in range(1, steps):
        assert f"stage {stage}: going on from step {step} of {steps}\n" in said


@pytest.mark.parametrize("changes", [{"train__precision": "bfloat16"}, {"train__workers": 2}])
def test_so_it_does_in_bfloat16_and_with_loader_processes(tiny, killed_at, changes):
    params = tiny.set(**changes)
    whole, expected = train(params, 1), results(tiny)
    finish(1)
    killed_at(2, 5, 8)
    result, kills = train_until_done(tiny.set(train__checkpoint_seconds=0, **changes))
    assert kills == 3
    assert same(result, whole) and results(tiny) == expected


def test_checkpoints_lie_checkpoint_seconds_apart(tiny, monkeypatch):
    now, saved = 0, []
    step, save = Trainer._train_step, Trainer._save_checkpoint

    def step_of_a_second(self, *batch):
        nonlocal now
        now += 1
        return step(self, *batch)

    monkeypatch.setattr(trainer.time, "monotonic", lambda: now)
    monkeypatch.setattr(Trainer, "_train_step", step_of_a_second)
    monkeypatch.setattr(Trainer, "_save_checkpoint", lambda self: saved.append(self.state.step) or save(self))
    train(tiny.set(train__checkpoint_seconds=3.5), 1)
    assert saved == [4, 8, 10]


DOING = ("loading", "a step", "validation", "a checkpoint")


def background_main(folder, output, doing):
    """`python -m pconv.train --stage 1` in a process of its own, which writes what it says to a file.

    `doing` shows what it is doing, also after it was killed: a number of DOING.
    """
    descriptor = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1), os.dup2(descriptor, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # loader processes are started as they would be without tests

    def shown(owner, name):
        method = getattr(owner, name[0])

        def call(*arguments, **options):
            before, doing.value = doing.value, DOING.index(name[1])
            try:
                return method(*arguments, **options)
            finally:
                doing.value = before

        setattr(owner, name[0], call)

    shown(Trainer, ("_train_step", "a step"))
    shown(Trainer, ("_validate", "validation"))
    shown(checkpoint, ("save", "a checkpoint"))
    os.chdir(folder)
    sys.argv = ["train", "--stage", "1"]
    main()


@pytest.fixture
def start_training(background, tiny):
    """Start a run of stage 1 in the background; it has a process group of its own."""
    processes = []

    def start():
        doing = background.RawValue("i", 0)  # a lock could die with the process
        process = background.Process(target=background_main, args=(tiny.folder, tiny / "output.txt", doing))
        process.start()
        process.doing = doing
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.join()


def wait_for(condition, process):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end and process.is_alive()
        time.sleep(0.002)


def halt_in(process, wanted, moments):
    """Stop a process at a random moment of DOING[wanted]: a busy machine makes it try again, not miss."""
    of_system = psutil.Process(process.pid)
    while True:
        wait_for(lambda: process.doing.value == wanted, process)
        time.sleep(moments.uniform(0, 0.005))
        of_system.suspend()
        wait_for(lambda: of_system.status() == psutil.STATUS_STOPPED, process)
        if process.doing.value == wanted:
            return
        of_system.resume()


def newest(project):
    """Step of the newest checkpoint, 0 if there is none."""
    return max((int(path.name[5:]) for path in list_checkpoints(project / "models/state/stage1")), default=0)


def test_a_run_killed_with_sigkill_ends_as_one_never_killed(tiny, start_training):
    """At 20 random moments, in steps, validations and checkpoints; the last run is the command itself."""
    tiny.set(train__checkpoint_seconds=0, train__stage1__epochs=40, train__stage1__steps=3)
    whole, expected = train(load_params(), 1), results(tiny)
    for folder in ("models", "reports"):
        shutil.rmtree(tiny / folder)
    moments, killed_in = random.Random(0), []
    for number in range(20):
        process, least = start_training(), newest(tiny) + 1 + moments.randrange(3)
        wait_for(lambda least=least: newest(tiny) >= least, process)
        halt_in(process, 1 + number % 3, moments)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        killed_in.append(DOING[process.doing.value])
        shutil.rmtree(tiny / "reports")
    assert [killed_in.count(what) for what in DOING] == [0, 7, 7, 6]
    reached = newest(tiny)
    assert 20 <= reached < 120
    done = command(tiny.folder, "--stage", "1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"stage 1: going on from step \d+ of 120", done.stderr)
    assert results(tiny) == expected
    printed = json.loads(done.stdout)
    assert printed.pop("timings")["images_per_second"] > 0
    assert printed == whole.metrics
    assert not (tiny / "models/state/stage1").exists()


def command(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, "-m", "pconv.train", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def run_main(monkeypatch, capfd, stage=1):
    """Exit status and messages of `python -m pconv.train`, in this process."""
    monkeypatch.setattr(sys, "argv", ["train", "--stage", str(stage)])
    try:
        main()
        status = 0
    except SystemExit as stopped:
        status = stopped.code
    said = capfd.readouterr().err
    return (1, f"{said}{status}\n") if isinstance(status, str) else (status, said)  # as Python does


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_saves_and_says_so(tiny, trained, monkeypatch, capfd, number):
    step = Trainer._train_step

    def interrupted(self, *batch):
        if self.state.step == 3:
            os.kill(os.getpid(), number)
        return step(self, *batch)

    tiny.set()
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", interrupted)
        status, said = run_main(monkeypatch, capfd)
    assert status == 130
    assert "stopped at step 4; run again to go on from there\n" in said and "Traceback" not in said
    assert newest(tiny) == 4
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    status, said = run_main(monkeypatch, capfd)
    assert status == 0 and "stage 1: going on from step 4 of 10\n" in said
    assert results(tiny) == results(trained.project)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_loader_processes_too_saves(tiny, start_training, number):
    """As Ctrl-C and batch systems send it: to the whole process group."""
    tiny.set(train__workers=2, train__checkpoint_seconds=0, train__stage1__epochs=10_000)
    process = start_training()
    wait_for(lambda: newest(tiny) >= 2, process)
    os.killpg(process.pid, number)
    process.join(PATIENCE)
    said = (tiny / "output.txt").read_text()
    assert process.exitcode == 130, said
    assert f"stopped at step {newest(tiny)}; run again to go on from there" in said and "Traceback" not in said


def test_a_loader_process_that_dies_ends_training_with_what_to_do(tiny, start_training):
    tiny.set(train__workers=2, train__checkpoint_seconds=0, train__stage1__epochs=10_000)
    process = start_training()
    wait_for(lambda: newest(tiny) >= 2, process)
    psutil.Process(process.pid).children()[-1].kill()
    process.join(PATIENCE)
    said = (tiny / "output.txt").read_text()
    assert process.exitcode == 1 and "Traceback" not in said, said
    assert re.search(r"TrainingError: stage 1, step \d+: a loader process died \(DataLoader worker .*killed", said), (
        said
    )
    assert "lower train.workers or train.batch" in said and newest(tiny) >= 2


@pytest.mark.parametrize("workers", [0, 1])
def test_a_photograph_that_disappears_is_named(tiny, killed_at, workers):
    params = tiny.set(train__checkpoint_seconds=0, train__workers=workers)
    killed_at(3)
    with pytest.raises(Killed):
        train(params, 1)
    gone = tiny / "photographs/train/1.png"
    gone.unlink()
    with pytest.raises(
        ImageError, match=rf"^{gone}: No such file or directory; run `dvc repro --force images`"
    ) as error:
        train(params, 1)
    assert "\n" not in str(error.value)
    assert newest(tiny) >= 3


def test_a_run_killed_with_loader_processes_can_go_on_at_once(tiny, start_training):
    """Its loader processes live on for some seconds."""
    tiny.set(train__workers=2, train__checkpoint_seconds=0, train__stage1__epochs=10_000)
    process = start_training()
    wait_for(lambda: newest(tiny) >= 1, process)
    process.kill()
    process.join()
    with locked(tiny / "models/state/stage1"):
        pass


def test_a_second_run_is_refused_while_one_trains(tiny, start_training, monkeypatch, capfd):
    tiny.set(train__checkpoint_seconds=0, train__stage1__epochs=10_000)
    process = start_training()
    wait_for(lambda: newest(tiny) >= 1, process)
    status, said = run_main(monkeypatch, capfd)
    assert status == 1
    assert f"CheckpointError: {tiny / 'models/state/stage1'}: process {process.pid} is training here" in said
    assert process.is_alive() and not (tiny / "models/stage1").exists()


def test_a_finished_stage_gives_its_result_again_until_it_is_told_to_finish(tiny, trained, killed_at, capfd):
    params = tiny.set()
    train(params, 1)
    shutil.rmtree(tiny / "models/stage1"), shutil.rmtree(tiny / "reports")
    killed_at(*range(10))  # no step is taken
    assert same(train(params, 1), trained.results[1])
    assert results(tiny) == results(trained.project)
    assert "stage 1: going on from step 10 of 10\n" in capfd.readouterr().err
    finish(1)
    assert not (tiny / "models/state/stage1").exists()
    with pytest.raises(Killed):
        train(params, 1)


def test_a_damaged_checkpoint_is_passed_over(tiny, trained, killed_at, capfd):
    params = tiny.set(train__checkpoint_seconds=0)
    killed_at(6)
    with pytest.raises(Killed):
        train(params, 1)
    damaged = tiny / "models/state/stage1/step-00000006"
    os.truncate(damaged / "tensors.safetensors", 3000)
    assert same(train(params, 1), trained.results[1])
    said = capfd.readouterr().err
    assert f"{damaged}: damaged (" in said and "stage 1: going on from step 5 of 10\n" in said


def test_nothing_is_unpickled_to_go_on(tiny, killed_at, monkeypatch):
    params = tiny.set(train__checkpoint_seconds=0)
    killed_at(6)
    with pytest.raises(Killed):
        train(params, 1)
    import pickle

    def refuse(*arguments, **options):
        raise AssertionError("unpickled")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    trainer = Trainer(params, 1)
    trainer._resume()
    assert trainer.state.step == 6


def test_another_number_of_threads_is_said_to_change_the_last_bits(tiny, killed_at, capfd):
    params = tiny.set(train__checkpoint_seconds=0)
    killed_at(2)
    with pytest.raises(Killed):
        train(params, 1)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        train(params, 1)
    finally:
        torch.set_num_threads(before)
    expected = f"{before + 1} threads now, {before} before: the last bits of the weights will differ\n"
    assert expected in capfd.readouterr().err


# Never from other parameters or data


@pytest.fixture
def resumed_after(tiny, killed_at, capfd, monkeypatch):
    """What a run with changed parameters says when it finds the checkpoint of one that was killed at step 2."""

    def resumed_after(**changes):
        killed_at(2)
        with pytest.raises(Killed):
            train(tiny.set(train__checkpoint_seconds=0), 1)
        capfd.readouterr()
        trainer = Trainer(tiny.set(**changes), 1)
        trainer._resume()
        return trainer.state.step, capfd.readouterr().err

    return resumed_after


@pytest.mark.parametrize(
    "key, value",
    [
        ("seed", 1),
        ("data__crop", [0.4, 0.9]),
        ("data__folder", "./photographs"),
        ("model__width", 6),
        ("model__depth", 2),
        ("loss__vgg", "packaged"),
        ("loss__valid", 2.0),
        ("loss__hole", 2.0),
        ("loss__perceptual", 2.0),
        ("loss__style", 2.0),
        ("loss__tv", 2.0),
        ("train__batch", 3),
        ("train__validation", 2),
        ("train__stage1__lr", 0.02),
        ("train__stage1__lr_end", None),
        ("train__stage1__epochs", 3),
        ("train__stage1__steps", 6),
    ],
)
def test_a_checkpoint_of_other_parameters_is_not_used(resumed_after, key, value):
    step, said = resumed_after(**{key: value})
    assert step == 0
    name = key.replace("__", ".")
    assert said == f"stage 1: starting afresh, not from step 2: changed {name}\n"


def test_a_checkpoint_of_another_precision_is_not_used(resumed_after):
    step, said = resumed_after(train__precision="bfloat16")
    assert (step, said) == (0, "stage 1: starting afresh, not from step 2: changed precision\n")


@pytest.mark.parametrize(
    "key, value",
    [
        ("train__workers", 1),
        ("train__checkpoint_seconds", 7),
        ("train__stage2__lr", 0.1),
        ("evaluate__baselines", ["telea"]),
    ],
)
def test_what_changes_no_result_starts_nothing_afresh(resumed_after, key, value):
    assert resumed_after(**{key: value}) == (2, "stage 1: going on from step 2 of 10\n")


@pytest.mark.parametrize(
    "file, name",
    [
        ("data/images/manifest.csv", "photographs"),
        ("data/masks/train/index.csv", "train masks"),
        ("data/masks/val/index.csv", "val masks"),
    ],
)
def test_a_checkpoint_of_other_data_is_not_used(tiny, killed_at, capfd, file, name):
    params = tiny.set(train__checkpoint_seconds=0)
    killed_at(2)
    with pytest.raises(Killed):
        train(params, 1)
    *lines, _ = (tiny / file).read_text().splitlines()  # one photograph or mask less
    (tiny / file).write_text("\n".join(lines) + "\n")
    trainer = Trainer(params, 1)
    trainer._resume()
    assert trainer.state.step == 0
    assert capfd.readouterr().err.endswith(f"stage 1: starting afresh, not from step 2: changed {name}\n")


def test_a_checkpoint_of_other_vgg_weights_is_not_used(tiny, killed_at, capfd):
    file = tiny / "vgg.safetensors"
    shutil.copy(SOURCE / "pconv/weights/vgg16_pool3.safetensors", file)
    params = tiny.set(train__checkpoint_seconds=0, loss__vgg=str(file))
    killed_at(2)
    with pytest.raises(Killed):
        train(params, 1)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    Trainer(params, 1)._resume()
    assert capfd.readouterr().err.endswith("not from step 2: changed loss.vgg's file\n")


def test_stage_2_does_not_go_on_after_another_stage_1(tiny, trained, killed_at, capfd):
    shutil.copytree(trained.project / "models/stage1", tiny / "models/stage1")
    params = tiny.set(train__checkpoint_seconds=0)
    killed_at(2)
    with pytest.raises(Killed):
        train(params, 2)
    best = tiny / "models/stage1/best.safetensors"
    content = bytearray(best.read_bytes())
    content[-1] ^= 1
    best.write_bytes(content)
    trainer = Trainer(params, 2)
    trainer._resume()
    assert trainer.state.step == 0
    assert capfd.readouterr().err.endswith("stage 2: starting afresh, not from step 2: changed stage 1's weights\n")


def test_a_fresh_start_is_not_forgotten_when_it_is_killed_too(tiny, killed_at, capfd):
    """The checkpoints of the run before, further on, must not stand in its way."""
    killed_at(8, 3)
    with pytest.raises(Killed):
        train(tiny.set(train__checkpoint_seconds=0), 1)
    other = tiny.set(train__checkpoint_seconds=0, train__stage1__lr=0.02)
    with pytest.raises(Killed):
        train(other, 1)
    result = train(other, 1)
    said = capfd.readouterr().err
    assert "starting afresh, not from step 8: changed train.stage1.lr\n" in said
    assert "stage 1: going on from step 3 of 10\n" in said
    finish(1)
    assert same(result, train(other, 1))


# Errors


def poisoned(value, step):
    """A step of training that leaves `value` among the weights that it makes, so that the next loss is not finite."""
    train_step = Trainer._train_step

    def poisoned_step(self, *batch):
        train_step(self, *batch)
        if self.state.step == step:
            with torch.no_grad():
                self.state.model.decoder[-1].conv.bias[0] = value

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
    monkeypatch.setattr(Trainer, "_train_step", poisoned(value, step))
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
    save = Trainer._save_checkpoint

    def save_on_a_small_disk(self):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        try:
            save(self)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save_checkpoint", save_on_a_small_disk)
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
        ("data/images", "data/images/manifest.csv: no such file; `dvc repro images` writes it"),
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
