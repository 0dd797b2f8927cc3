"""Runs of training for tests: in this process, in another or from the command line; killed, stopped, continued."""

import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
from repository import PATIENCE, ROOT

from pconv.train import main, train
from pconv.training import checkpoint
from pconv.training.checkpoint import list_checkpoints
from pconv.training.step import TrainingStep
from pconv.training.validation import Validation

DOING = ("loading", "a step", "validation", "a checkpoint")


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


def resume(trainer):
    """Let a trainer go on from what it finds; returns the step that it has come to."""
    trainer.checkpoints.restore(trainer.state, trainer.timer, trainer.plan.total)
    return trainer.state.step


def train_until_done(params, stage=1):
    """Run again after each kill; returns the result and the number of kills."""
    for kills in range(1000):
        try:
            return train(params, stage), kills
        except Killed:
            shutil.rmtree(f"reports/plots/stage{stage}", ignore_errors=True)  # as DVC does
            shutil.rmtree(f"models/stage{stage}", ignore_errors=True)


def newest(project, stage=1):
    """Step of the newest checkpoint, 0 if there is none."""
    found = list_checkpoints(project / f"models/state/stage{stage}")
    return max((int(path.name.removeprefix("step-")) for path in found), default=0)


@contextmanager
def small_files(size):
    """No file can become larger than `size` bytes. Python ignores the signal, so writing fails with an error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def command(folder, *arguments):
    """Run `python -m pconv.train` to its end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
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


def background_main(folder, output, doing):
    """`python -m pconv.train --stage 1` in a process of its own, which writes what it says to a file.

    `doing` shows what it is doing, also after it was killed: a number of DOING.
    """
    descriptor = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1), os.dup2(descriptor, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # loader processes are started as they would be without tests

    def shown(owner, name, what):
        method = getattr(owner, name)

        def call(*arguments, **options):
            before, doing.value = doing.value, DOING.index(what)
            try:
                return method(*arguments, **options)
            finally:
                doing.value = before

        setattr(owner, name, call)

    shown(TrainingStep, "__call__", "a step")
    shown(Validation, "measure", "validation")
    shown(checkpoint, "save", "a checkpoint")
    os.chdir(folder)
    sys.argv = ["train", "--stage", "1"]
    main()


def wait_for(condition, process):
    """Wait until a condition holds, for as long as a process lives."""
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
