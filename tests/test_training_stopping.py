"""Stopping: signals, kills and loader processes that die, in one process and in the pipeline."""

import json
import os
import random
import re
import shutil
import signal
import time
from contextlib import suppress

import psutil
import pytest
from conftest import results
from repository import ENVIRONMENT, PATIENCE, change, run
from runs import DOING, Killed, command, halt_in, newest, run_main, wait_for

from pconv.data.decoding import ImageError
from pconv.params import load_params
from pconv.train import train
from pconv.training.checkpoint import locked
from pconv.training.trainer import Trainer


def test_a_run_killed_with_sigkill_ends_as_one_never_killed(tiny, start_training):
    """At nine random moments, in steps, validations and checkpoints; the last run is the command itself."""
    tiny.set(train__checkpoint_seconds=0, train__stage1__epochs=40, train__stage1__steps=3)
    whole, expected = train(load_params(), 1), results(tiny)
    for folder in ("models", "reports"):
        shutil.rmtree(tiny / folder)
    moments, killed_in = random.Random(0), []
    for number in range(9):
        process, least = start_training(), newest(tiny) + 1 + moments.randrange(3)
        wait_for(lambda least=least: newest(tiny) >= least, process)
        halt_in(process, 1 + number % 3, moments)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        killed_in.append(DOING[process.doing.value])
        shutil.rmtree(tiny / "reports")
    assert [killed_in.count(what) for what in DOING] == [0, 3, 3, 3]
    reached = newest(tiny)
    assert 9 <= reached < 120
    done = command(tiny.folder, "--stage", "1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"stage 1: going on from step \d+ of 120", done.stderr)
    assert results(tiny) == expected
    printed = json.loads(done.stdout)
    assert printed.pop("timings")["images_per_second"] > 0
    assert printed == whole.metrics
    assert not (tiny / "models/state/stage1").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_saves_and_says_so(tiny, trained, monkeypatch, capfd, number):
    batches = Trainer.batches

    def interrupted(self):
        for batch in batches(self):
            if self.state.step == 3:
                os.kill(os.getpid(), number)
            yield batch

    tiny.set()
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "batches", interrupted)
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
    max(psutil.Process(process.pid).children(recursive=True), key=psutil.Process.create_time).kill()
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
    with pytest.raises(ImageError, match=rf"^{gone}: No such file or directory; run `dvc repro images`") as error:
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


# In the pipeline


@pytest.fixture
def stage1(smoke_copy):
    """Start stage 1 by DVC: start(steps in each of its two epochs, processes); wait until it has logged a row.

    Checkpoints are saved only when training ends or is stopped.
    """
    running = []

    def start(steps, processes):
        for key, value in {"stage1.steps": steps, "processes": processes, "checkpoint_seconds": 1e6}.items():
            change(smoke_copy / "params.yaml", f"train.{key}", value)
        output, curves = smoke_copy / "said.txt", smoke_copy / "reports/plots/stage1/metrics.json"
        curves.unlink()
        command = ["dvc", "repro", "--single-item", "train-stage1"]
        with open(output, "w") as file:
            dvc = psutil.Popen(command, cwd=smoke_copy, env=ENVIRONMENT, stdout=file, stderr=file)
        running.append(dvc)
        end = time.monotonic() + PATIENCE
        while not curves.exists():
            assert time.monotonic() < end and dvc.poll() is None, output.read_text()
            time.sleep(0.01)
        running.extend(dvc.children(recursive=True))
        return running

    yield start
    for process in running:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def named(processes, what):
    """Return the process among others whose command line has a word that ends so."""
    return next(p for p in processes if p.is_running() and any(word.endswith(what) for word in p.cmdline()))


@pytest.mark.parametrize("what", ["ipykernel_launcher", "papermill"])
def test_several_processes_save_and_end_with_their_notebook(smoke_copy, stage1, what):
    """SIGTERM reaches the kernel, which hands it on, or papermill alone, whose kernel then dies without a word."""
    started = stage1(1000, processes=2)
    named(started, what).terminate()
    _, alive = psutil.wait_procs(started, PATIENCE)
    assert not alive
    assert 0 < newest(smoke_copy) < 2000, (smoke_copy / "said.txt").read_text()


def test_training_saves_and_ends_with_dvc_and_the_next_run_goes_on(smoke_copy, stage1):
    dvc, *others = stage1(30, processes=1)
    dvc.kill()
    dvc.wait()
    _, alive = psutil.wait_procs(others, PATIENCE)
    assert not alive
    reached = newest(smoke_copy)
    assert 0 < reached < 60
    done = run(smoke_copy, "dvc", "repro", "--single-item", "train-stage1")
    assert f"stage 1: going on from step {reached} of 60\n" in done.stdout + done.stderr
    assert not (smoke_copy / "models/state/stage1").exists()
    assert (smoke_copy / "models/stage1/best.safetensors").exists()
