"""Several processes that train together, over gloo on the CPU: the gradients of one, and none left hanging."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from conftest import Project, results
from hypothesis import given
from hypothesis import strategies as st
from repository import PATIENCE, free_port
from runs import resume
from safetensors.torch import load_file, save_file

from pconv.params import ParamsError, load_params
from pconv.train import finish, train
from pconv.training import TrainingError
from pconv.training.checkpoint import list_checkpoints, load_newest
from pconv.training.distributed import ALONE, DistributedError, Group, join, launch
from pconv.training.trainer import Trainer

TESTS = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS.parent / "src"), "OMP_NUM_THREADS": "1"}


def torchrun(*arguments, processes=2):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*command, *map(str, arguments)]


def run(*arguments, folder, processes=2):
    return subprocess.run(
        torchrun(*arguments, processes=processes),
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 100))
def test_every_sample_of_a_batch_goes_to_one_process(size, each, step):
    batch = range(step * size * each, (step + 1) * size * each)
    shares = [list(Group(rank, size).share(batch)) for rank in range(size)]
    assert sum(shares, []) == list(batch)
    assert {len(share) for share in shares} == {each}


def test_a_process_alone_needs_no_group():
    with join() as group:
        assert group is ALONE and group.first
    model, values = torch.nn.Linear(2, 2), torch.arange(3.0)
    assert group.parallel(model) is model and group.sum(values).equal(torch.arange(3.0))
    group.check_equal(3, torch.device("cpu"))


def test_gradients_and_loss_of_two_processes_are_those_of_one(tmp_path):
    generator = torch.Generator().manual_seed(0)
    gt = torch.rand(4, 3, 32, 32, generator=generator, dtype=torch.float64)
    mask = (torch.rand(4, 1, 32, 32, generator=generator) > 0.3).double()
    save_file({"gt": gt, "mask": mask}, tmp_path / "batch.safetensors")
    for processes in (1, 2):
        done = run(TESTS / "processes.py", "gradients", tmp_path, folder=tmp_path, processes=processes)
        assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / f"gradients-{n}.safetensors") for n in (1, 2))
    assert one.keys() == two.keys() and len(one) > 15
    for name, expected in one.items():
        error = (two[name] - expected).abs().max() / expected.abs().max().clamp(min=1e-12)
        assert error < 1e-12, name


def test_the_first_process_gives_the_others_its_statistics(tmp_path):
    done = run(TESTS / "processes.py", "statistics", tmp_path, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"mean-{rank}").read_text() for rank in (0, 1)] == ["[5.0, 5.0]"] * 2


def test_processes_that_found_other_checkpoints_do_not_start(tmp_path):
    done = run(TESTS / "processes.py", "steps", tmp_path, folder=tmp_path)
    assert done.returncode != 0
    assert "some processes found a checkpoint of step 7, others one of step 0: all machines have to" in done.stderr


def test_a_stuck_process_ends_the_others_with_an_error(tmp_path):
    done = run(TESTS / "processes.py", "stuck", tmp_path, folder=tmp_path)
    assert done.returncode != 0
    assert re.search(r"[Tt]imed out", done.stderr)
    assert (tmp_path / "joined-0").exists() and (tmp_path / "joined-1").exists()  # it is not joining that timed out


# Training


def test_a_batch_that_cannot_be_shared_is_refused(tiny):
    with pytest.raises(ParamsError, match=r"train\.batch = 2: 3 processes .* cannot share it equally"):
        Trainer(tiny.set(), 1, Group(0, 3))


def test_batch_norm_over_all_gpus_needs_gpus(tiny):
    with pytest.raises(TrainingError, match=r"train\.sync_norm = true: there is no GPU here"):
        Trainer(tiny.set(train__sync_norm=True), 1)


SHARED = {"train__batch": 4, "train__checkpoint_seconds": 0, "train__stage1__steps": 20}


@pytest.fixture(scope="module")
def whole(tiny_project, tmp_path_factory):
    """Return what an unbroken run of two processes leaves, prints and says."""
    project = Project(tmp_path_factory.mktemp("whole") / "tiny")
    shutil.copytree(tiny_project, project.folder)
    project.set(**SHARED)
    done = run("-m", "pconv.train", "--stage", 1, folder=project.folder)
    assert done.returncode == 0, done.stderr
    assert not (project / "models/state/stage1").exists()
    metrics = json.loads(done.stdout[done.stdout.index("{") :])  # gloo prints a line before
    return SimpleNamespace(results=results(project), metrics=metrics, said=done.stderr)


def start(project):
    """Start two processes in the background; returns (torchrun, both processes) once there is a checkpoint."""
    command = torchrun("-m", "pconv.train", "--stage", 1)
    with open(project / "output.txt", "w") as out:
        parent = subprocess.Popen(command, cwd=project.folder, env=ENVIRONMENT, stdout=out, stderr=out)
    end = time.monotonic() + PATIENCE
    while len(list_checkpoints(project / "models/state/stage1")) < 2:
        assert time.monotonic() < end and parent.poll() is None, (project / "output.txt").read_text()
        time.sleep(0.01)
    found = [p for p in psutil.Process(parent.pid).children(recursive=True) if "pconv.train" in p.cmdline()]
    return parent, found


def test_two_processes_learn_what_one_does_but_for_batch_norm(tiny, whole):
    """Each normalises with its half of a batch, so the curves are alike and not the same."""
    one = train(tiny.set(**SHARED), 1)
    assert whole.metrics.keys() == {*one.metrics, "timings"} and whole.metrics["steps"] == one.metrics["steps"] == 40
    assert whole.metrics["last"]["val"]["psnr"] == pytest.approx(one.metrics["last"]["val"]["psnr"], abs=1.5)
    assert whole.said.count("stage 1, step 40/40") == 1  # one process shows progress


def test_two_machines_learn_what_two_processes_of_one_do(tiny, whole):
    """Two torchruns that share the project's folder, as docs/scaling.md has it, here on one machine."""
    tiny.set(**SHARED)
    endpoint = f"localhost:{free_port()}"
    meeting = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}"]
    command = [sys.executable, "-m", "torch.distributed.run", *meeting, "-m", "pconv.train", "--stage", "1"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    machines = [subprocess.Popen(command, cwd=tiny.folder, env=ENVIRONMENT, **streams) for _ in range(2)]
    try:
        said = [machine.communicate(timeout=PATIENCE) for machine in machines]
    finally:
        for machine in machines:
            machine.terminate()  # torchrun ends its process with it
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert sorted("{" in out for out, _ in said) == [False, True]  # one machine has the first process
    assert results(tiny) == whole.results


def test_two_processes_that_are_killed_go_on_to_the_bit(tiny, whole):
    tiny.set(**SHARED)
    parent, (first, second) = start(tiny)
    second.kill()  # one dies: the other must not wait for ever
    assert parent.wait(PATIENCE) != 0
    assert not first.is_running()
    shutil.rmtree(tiny / "reports")
    done = run("-m", "pconv.train", "--stage", 1, folder=tiny.folder)
    assert done.returncode == 0 and re.search(r"stage 1: going on from step \d+ of 40", done.stderr), done.stderr
    assert results(tiny) == whole.results


def test_a_signal_to_torchrun_saves_and_another_number_of_processes_goes_on(tiny, capfd):
    tiny.set(train__batch=4, train__checkpoint_seconds=0, train__stage1__steps=50, train__stage1__epochs=100)
    parent, _ = start(tiny)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(PATIENCE) != 0
    said = (tiny / "output.txt").read_text()
    step = load_newest(tiny / "models/state/stage1")[1]["step"]
    assert f"stopped at step {step}; run again to go on from there" in said, said
    assert resume(Trainer(load_params(), 1)) == step
    assert "stage 1: processes: 1 now, 2 before; batch norm sees 4 crops at a time, not 2" in capfd.readouterr().err


def test_a_notebook_starts_the_processes_and_gets_their_result(tiny, whole, capfd, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", ENVIRONMENT["OMP_NUM_THREADS"])  # as for `whole`: it decides the last bits
    result = train(tiny.set(**SHARED, train__processes=2), 1)
    said = capfd.readouterr().err
    assert "stage 1, step 40/40" in said and "stage 1: going on from step 40 of 40" in said
    assert "last bits" not in said  # the process here takes no step
    curves = {name: content for name, content in results(tiny).items() if "plots" in name}
    assert curves and curves == {name: content for name, content in whole.results.items() if "plots" in name}
    assert result.metrics == {name: value for name, value in whole.metrics.items() if name != "timings"}
    finish(1)
    assert not (tiny / "models/state/stage1").exists()


def test_a_notebook_is_told_when_the_processes_fail(tiny, capfd):
    params = tiny.set(train__batch=4, train__processes=2)
    (tiny / "data/masks/train/index.csv").unlink()
    with pytest.raises(DistributedError, match=r"2 processes of pconv\.train ended with status 1; what they said"):
        train(params, 1)
    assert "data/masks/train/index.csv: no such file; `dvc repro masks`" in capfd.readouterr().err


def test_launch_hands_on_what_is_printed_as_it_comes(tmp_path, capfd, monkeypatch):
    (tmp_path / "talk.py").write_text("print('half a line', end='\\r'); print('wholeé')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    launch("talk", processes=1)
    assert "half a line\rwholeé\n" in capfd.readouterr().err


def test_launch_runs_the_copy_of_the_code_that_it_is_part_of(tmp_path, capfd, monkeypatch):
    """Not the one that is installed, nor another on PYTHONPATH."""
    (tmp_path / "pconv").mkdir()
    (tmp_path / "pconv" / "__init__.py").touch()
    (tmp_path / "where.py").write_text("import pconv; print(pconv.__file__)")
    monkeypatch.chdir(tmp_path / "pconv")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    launch("where", processes=1)
    assert capfd.readouterr().err.splitlines()[-1] == str(TESTS.parent / "src" / "pconv" / "__init__.py")


@contextmanager
def signal_when_ready(number):
    """Send a signal to this process once what it has launched has written the file "ready", and not later than that."""
    over = threading.Event()

    def send():
        while not over.wait(0.1):
            if Path("ready").exists():
                return os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


TALK = """
import pathlib, time
pathlib.Path("ready").touch()
for number in range(10_000):
    print(number, flush=True)
    time.sleep(0.1)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_what_was_launched_and_says_so(tmp_path, capfd, monkeypatch, number):
    (tmp_path / "talk.py").write_text(TALK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    before = {process.pid for process in psutil.Process().children(recursive=True)}  # other tests' helpers
    with signal_when_ready(number), pytest.raises(KeyboardInterrupt, match="stopped; run again to go on from there"):
        launch("talk", processes=1)
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


SLOW = """
import os, pathlib, signal, sys, time
def end(*_):
    time.sleep(4)
    pathlib.Path("saved").touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path("ready").write_text(os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"])
time.sleep(100)
"""


@pytest.mark.parametrize("own, patience, saved", [(None, "600", True), ("1", "1", False)])
def test_what_was_launched_has_ten_minutes_to_end_or_what_its_user_says(tmp_path, monkeypatch, own, patience, saved):
    """A step that takes longer than torchrun's 30 s is not killed before it is saved."""
    monkeypatch.delenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", raising=False)
    if own is not None:
        monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", own)
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with signal_when_ready(signal.SIGTERM), pytest.raises(KeyboardInterrupt):
        launch("slow", processes=1)
    assert (tmp_path / "ready").read_text() == patience
    assert (tmp_path / "saved").exists() == saved
