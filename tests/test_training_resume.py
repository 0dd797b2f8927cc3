"""Going on from a checkpoint: to the bit what an unbroken run gives, and never from other parameters, data or code."""

import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from conftest import results
from repository import ROOT, closure
from runs import Killed, resume, same, train_until_done

from pconv import vgg
from pconv.masks.convention import MaskError
from pconv.masks.files import read_hole, write_hole
from pconv.train import finish, train
from pconv.training import resume as module
from pconv.training.resume import CODE, Checkpoints
from pconv.training.step import TrainingStep
from pconv.training.trainer import Trainer


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
    take, save = TrainingStep.__call__, Checkpoints.save

    def step_of_a_second(*arguments):
        nonlocal now
        now += 1
        return take(*arguments)

    def noted_save(self, state, timer):
        saved.append(state.step)
        save(self, state, timer)

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(TrainingStep, "__call__", step_of_a_second)
    monkeypatch.setattr(Checkpoints, "save", noted_save)
    train(tiny.set(train__checkpoint_seconds=3.5), 1)
    assert saved == [4, 8, 10]


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

    for owner, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(owner, name, refuse)
    assert resume(Trainer(params, 1)) == 6


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
    expected = f"threads: {before + 1} now, {before} before; the last bits of the weights will differ\n"
    assert expected in capfd.readouterr().err


# Never from other parameters, data or code


@pytest.fixture
def resumed_after(tiny, killed_at, capfd, monkeypatch):
    """Return what a changed run says when it finds the checkpoint of one that was killed at step 2."""

    def resumed_after(kill=True, **changes):
        if kill:
            killed_at(2)
            with pytest.raises(Killed):
                train(tiny.set(train__checkpoint_seconds=0), 1)
        capfd.readouterr()
        return resume(Trainer(tiny.set(**changes), 1)), capfd.readouterr().err

    return resumed_after


@pytest.mark.parametrize(
    "key, value",
    [
        ("seed", 1),
        ("data__crop", [0.4, 0.9]),
        ("data__folder", "./photographs"),
        ("model__width", 6),
        ("model__depth", 2),
        ("model__layer", "plain"),
        ("model__scale", "keras"),
        ("loss__vgg", "packaged"),
        ("loss__stage1__valid", 2.0),
        ("loss__stage1__hole", 2.0),
        ("loss__stage1__perceptual", 2.0),
        ("loss__stage1__style", 2.0),
        ("loss__stage1__tv", 2.0),
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
    also = ", loss.vgg's file" if name == "loss.vgg" else ""
    assert said == f"stage 1: starting afresh, not from step 2: changed {name}{also}\n"


def test_a_checkpoint_of_another_precision_is_not_used(resumed_after):
    step, said = resumed_after(train__precision="bfloat16")
    assert (step, said) == (0, "stage 1: starting afresh, not from step 2: changed precision\n")


@pytest.mark.parametrize(
    "key, value",
    [
        ("train__workers", 1),
        ("train__checkpoint_seconds", 7),
        ("data__check", "decode"),
        ("data__min_side", 2),
        ("data__max_pixels", 2**21),
        ("data__max_rejected", 0.5),
        ("train__stage2__lr", 0.1),
        ("evaluate__baselines", ["telea"]),
    ],
)
def test_what_changes_no_result_starts_nothing_afresh(resumed_after, key, value):
    assert resumed_after(**{key: value}) == (2, "stage 1: going on from step 2 of 10\n")


@pytest.mark.parametrize(
    "file, name",
    [
        ("data/images/train.csv", "train photographs"),
        ("data/images/val.csv", "val photographs"),
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
    assert resume(Trainer(params, 1)) == 0
    assert capfd.readouterr().err.endswith(f"stage 1: starting afresh, not from step 2: changed {name}\n")


def test_a_checkpoint_of_masks_that_look_alike_in_their_index_is_not_used(tiny, killed_at, capfd):
    params = tiny.set(train__checkpoint_seconds=0)
    killed_at(2)
    with pytest.raises(Killed):
        train(params, 1)
    path = tiny / "data/masks/train/00000.png"
    write_hole(path, read_hole(path)[::-1])
    assert resume(Trainer(params, 1)) == 0
    assert capfd.readouterr().err.endswith("stage 1: starting afresh, not from step 2: changed train masks\n")
    path.unlink()
    with pytest.raises(MaskError, match=r"data/masks/train/00000\.png: No such file.*`dvc repro masks`"):
        Trainer(params, 1)


@pytest.mark.parametrize("source", ["packaged", "vgg.safetensors"])  # a relative path starts at the project's root
def test_a_checkpoint_of_other_vgg_weights_is_not_used(tiny, killed_at, capfd, monkeypatch, source):
    file = tiny / "vgg.safetensors"
    shutil.copy(vgg.PACKAGED, file)
    monkeypatch.setattr(vgg, "PACKAGED", file)
    params = tiny.set(train__checkpoint_seconds=0, loss__vgg=source)
    killed_at(2)
    with pytest.raises(Killed):
        train(params, 1)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    monkeypatch.chdir("data")
    assert resume(Trainer(params, 1)) == 0
    assert capfd.readouterr().err.endswith("not from step 2: changed loss.vgg's file\n")


# What the trainer imports and what decides no weight and no logged number: it says, shows, stores, times or checks.
DECIDES_NOTHING = {
    "checks.py",
    "data/__init__.py",
    "data/fetching.py",
    "data/shards.py",
    "errors.py",
    "files.py",
    "masks/__init__.py",
    "params.py",
    "progress.py",
    "project.py",
    "training/__init__.py",
    "training/checkpoint.py",
    "training/curves.py",
    "training/result.py",
    "training/resume.py",
    "training/signals.py",
    "training/timing.py",
    "yaml.py",
}


def test_all_code_that_the_trainer_imports_is_in_the_fingerprint_or_decides_nothing():
    package = ROOT / "src" / "pconv"
    imported = {str(path.relative_to(package)) for path in closure(package / "training" / "trainer.py")}
    assert not set(CODE) & DECIDES_NOTHING
    assert set(CODE) | DECIDES_NOTHING == imported | {"training/trainer.py"}


@pytest.mark.parametrize("name", CODE)
def test_a_checkpoint_of_other_code_is_not_used(tiny, killed_at, capfd, tmp_path, monkeypatch, name):
    params = tiny.set(train__checkpoint_seconds=0)
    killed_at(2)
    with pytest.raises(Killed):
        train(params, 1)
    other = Path(shutil.copytree(ROOT / "src" / "pconv", tmp_path / "pconv"))
    with open(other / name, "ab") as file:
        file.write(b"\n")
    capfd.readouterr()
    monkeypatch.setattr(module, "files", lambda package: other)
    assert resume(Trainer(params, 1)) == 0
    assert capfd.readouterr().err == f"stage 1: starting afresh, not from step 2: changed src/pconv/{name}\n"


def test_another_version_of_pytorch_is_said_to_change_the_last_bits(resumed_after, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.11.0")
    resumed_after()
    monkeypatch.setattr(torch, "__version__", "2.15.0")
    assert resumed_after(kill=False) == (
        2,
        "stage 1: version of PyTorch: 2.15.0 now, 2.11.0 before; the last bits of the weights will differ\n"
        "stage 1: going on from step 2 of 10\n",
    )


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
    assert resume(Trainer(params, 2)) == 0
    said = "stage 2: starting afresh, not from step 2: changed the weights to start from\n"
    assert capfd.readouterr().err.endswith(said)


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
