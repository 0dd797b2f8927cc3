"""Checkpoints: exact, whole or not there at all, and held by one process at a time."""

import errno
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from repository import PATIENCE, run
from runs import small_files

from pconv.training import checkpoint
from pconv.training.checkpoint import CheckpointError, list_checkpoints, load_newest, locked, save

TENSORS = {
    "float32": torch.tensor([[0.1, -0.0], [torch.nan, torch.inf]]),
    "float32, smallest": torch.tensor([1e-45, 1.17549435e-38]),
    "bfloat16": torch.tensor([0.1, -3e38], dtype=torch.bfloat16),
    "int64": torch.tensor(2**62 + 1),
    "uint8": torch.arange(12, dtype=torch.uint8).view(1, 3, 2, 2),
    "channels last": torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).to(
        memory_format=torch.channels_last
    ),
    "part of another": torch.arange(10.0)[2:8:3],
    "empty": torch.zeros(0, 3),
    "learned": torch.nn.Parameter(torch.ones(2)),
}
STATE = {"b": [0.1 + 0.2, 5e-324, 1e300], "a": {"x": None, "ü": "é\n", "y": [{"step": 3, "loss": 1 / 3}]}}


def bits(tensor):
    return tensor.dtype, tuple(tensor.shape), tensor.detach().contiguous().flatten().view(torch.uint8).tolist()


def write(folder, *steps):
    for step in steps:
        save(folder, step, {"w": torch.full((5,), float(step))}, {"history": [{"step": step, "loss": 0.25}]})
    return folder


def loaded_step(folder):
    """Return the step of the newest whole checkpoint, seen to be consistent; None if there is none."""
    found = load_newest(folder)
    if found is None:
        return None
    tensors, state = found
    step = state["step"]
    assert tensors["w"].tolist() == [step] * 5
    assert state["history"] == [{"step": step, "loss": 0.25}]
    return step


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Writing and reading


def test_what_is_loaded_is_what_was_saved_bit_for_bit(tmp_path):
    save(tmp_path, 12, TENSORS, STATE)
    tensors, state = load_newest(tmp_path)
    assert {name: bits(t) for name, t in tensors.items()} == {name: bits(t) for name, t in TENSORS.items()}
    assert state == {"step": 12, **STATE}
    assert list(state["a"]) == list(STATE["a"])  # in the same order


def test_the_newest_two_are_kept(tmp_path):
    write(tmp_path, 5, 10, 100)
    assert names(tmp_path) == ["step-00000010", "step-00000100"]
    assert loaded_step(tmp_path) == 100


def test_a_step_can_be_saved_again(tmp_path):
    write(tmp_path, 5, 10, 10)
    assert names(tmp_path) == ["step-00000005", "step-00000010"]
    assert loaded_step(tmp_path) == 10


def test_checksums_are_those_of_sha256sum(tmp_path):
    write(tmp_path, 1)
    done = run(tmp_path / "step-00000001", "sha256sum", "-c", "SHA256SUMS", LC_ALL="C")
    assert done.stdout.splitlines() == ["tensors.safetensors: OK", "state.json: OK"]


def test_without_a_checkpoint(tmp_path):
    assert load_newest(tmp_path) is None
    assert load_newest(tmp_path / "none") is None


# Damage


def truncate(path):
    os.truncate(path, path.stat().st_size * 2 // 3)


def swap(path):
    """Put the other checkpoint's file in its place: whole, but not of this step."""
    path.write_bytes((path.parents[1] / "step-00000001" / path.name).read_bytes())


DAMAGE = {
    "cut short": truncate,
    "empty": lambda path: os.truncate(path, 0),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b" "),
    "missing": lambda path: path.unlink(),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "another checkpoint's": swap,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "SHA256SUMS"])
@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(tmp_path, capsys, file, how):
    write(tmp_path, 1, 2)
    DAMAGE[how](tmp_path / "step-00000002" / file)
    assert loaded_step(tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / 'step-00000002'}: damaged (") and line.endswith("trying the one before")


def test_any_flipped_bit_is_noticed(tmp_path, capsys):
    write(tmp_path, 1, 2)
    for path in sorted((tmp_path / "step-00000002").iterdir()):
        whole = path.read_bytes()
        for place in range(len(whole)):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << place % 8
            path.write_bytes(flipped)
            assert loaded_step(tmp_path) == 1, (path.name, place)
        path.write_bytes(whole)
    assert loaded_step(tmp_path) == 2


def test_if_all_are_damaged_there_is_none(tmp_path, capsys):
    write(tmp_path, 1, 2)
    for path in list_checkpoints(tmp_path):
        truncate(path / "tensors.safetensors")
    assert load_newest(tmp_path) is None
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_damaged_checkpoint_is_replaced_and_not_kept_instead_of_good_ones(tmp_path, capsys):
    write(tmp_path, 10, 20)
    for path in list_checkpoints(tmp_path):
        truncate(path / "state.json")
    write(tmp_path, 5)  # from the start again
    assert loaded_step(tmp_path) == 5
    write(tmp_path, 7)
    assert names(tmp_path) == ["step-00000005", "step-00000007"]


def test_nothing_is_unpickled(tmp_path, capsys):
    """Even if someone made the checksums fit."""
    write(tmp_path, 1, 2)
    path = tmp_path / "step-00000002"
    torch.save({"w": Bomb(tmp_path / "exploded")}, path / "tensors.safetensors")
    (path / "SHA256SUMS").write_text(checkpoint.checksums(path))
    assert loaded_step(tmp_path) == 1
    assert not (tmp_path / "exploded").exists()
    torch.load((path / "tensors.safetensors").rename(path / "pickle.pt"), weights_only=False)
    assert (tmp_path / "exploded").exists()  # as it would have been


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


# Interrupted writing


class Killed(BaseException):
    pass


OPERATIONS = [
    (checkpoint, "save_file"),
    (checkpoint.os, "fsync"),
    (checkpoint.Path, "write_text"),
    (checkpoint.Path, "mkdir"),
    (checkpoint.Path, "rename"),
    (checkpoint.shutil, "rmtree"),
]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_anywhere_in_saving_leaves_a_whole_checkpoint(tmp_path, monkeypatch, when):
    """Saving is stopped before or after its first, second, ... operation on the disk, until it gets through."""
    seen = set()
    for number in range(100):
        folder = write(tmp_path / str(number), 1, 2)
        calls = iter(range(100))
        with monkeypatch.context() as patch:
            for owner, name in OPERATIONS:
                patch.setattr(owner, name, stopping(getattr(owner, name), calls, number, when))
            try:
                write(folder, 3)
                break
            except Killed:
                pass
        seen.add(loaded_step(folder))
        write(folder, 3)
        assert names(folder) == ["step-00000002", "step-00000003"]
        assert loaded_step(folder) == 3
    assert number == next(calls) >= 11
    assert seen == {2, 3}


def stopping(function, calls, number, when):
    def call(*arguments, **options):
        last = next(calls) == number
        if last and when == "before":
            raise Killed
        result = function(*arguments, **options)
        if last:
            raise Killed
        return result

    return call


def test_all_is_on_disk_before_the_checkpoint_gets_its_name(tmp_path, monkeypatch):
    events, opened = [], {}
    open_, fsync, rename = os.open, os.fsync, checkpoint.Path.rename

    def remember(path, *arguments, **options):
        descriptor = open_(path, *arguments, **options)
        opened[descriptor] = Path(path).name
        return descriptor

    monkeypatch.setattr(os, "open", remember)
    monkeypatch.setattr(os, "fsync", lambda descriptor: events.append(opened[descriptor]) or fsync(descriptor))
    monkeypatch.setattr(
        checkpoint.Path, "rename", lambda path, target: events.append(target.name) or rename(path, target)
    )
    write(tmp_path / "state", 1)
    assert sorted(events[:3]) == ["SHA256SUMS", "state.json", "tensors.safetensors"]
    assert events[3:] == ["partial", "step-00000001", "state"]


def test_a_disk_without_room_for_the_tensors(tmp_path):
    write(tmp_path, 1, 2)
    with small_files(10_000), pytest.raises(CheckpointError) as error:
        save(tmp_path, 3, {"w": torch.zeros(100_000)}, {})
    assert str(error.value).startswith(f"{tmp_path / 'step-00000003'}: could not be written (")
    assert "File too large" in str(error.value)
    assert "free some disk space and run again" in str(error.value)
    assert names(tmp_path) == ["step-00000001", "step-00000002"]  # and nothing that takes up room
    assert loaded_step(tmp_path) == 2


def test_a_disk_without_room_for_the_state(tmp_path):
    write(tmp_path, 1, 2)
    with (
        small_files(10_000),
        pytest.raises(CheckpointError, match=r"step-00000003: could not be written \(File too"),
    ):
        save(tmp_path, 3, {"w": torch.zeros(3)}, {"history": list(range(10_000))})
    assert loaded_step(tmp_path) == 2


def test_a_disk_that_is_full_when_flushed(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write(tmp_path, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            write(tmp_path, 3)
    assert names(tmp_path) == ["step-00000001", "step-00000002"]
    assert loaded_step(tmp_path) == 2


def test_a_folder_that_is_read_only(tmp_path, monkeypatch):
    def refuse(*arguments, **options):  # root, as in a container, may write anywhere
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    write(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(CheckpointError, match="Permission denied"):
            write(tmp_path, 2)
    assert loaded_step(tmp_path) == 1


# One process at a time


def hold(folder, ready, child_too=False):
    with locked(folder):
        if child_too and os.fork() == 0:  # as a loader process, which outlives a killed parent for some seconds
            time.sleep(10)
        ready.set()
        time.sleep(PATIENCE)


@pytest.fixture
def holder(tmp_path, background):
    """Start a process that holds tmp_path."""
    processes = []

    def start(*arguments):
        ready = background.Event()
        processes.append(background.Process(target=hold, args=(tmp_path, ready, *arguments)))
        processes[-1].start()
        assert ready.wait(PATIENCE)
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.join()


def test_a_second_process_is_refused_and_told_which_is_the_first(tmp_path, holder):
    process = holder()
    for _ in range(2):
        with pytest.raises(CheckpointError, match=rf"{tmp_path}: process {process.pid} is training here; wait for it"):
            with locked(tmp_path):
                pass
    assert (tmp_path / "lock").read_text() == str(process.pid)


@pytest.mark.parametrize("child_too", [False, True])
def test_the_lock_is_released_when_its_holder_is_killed(tmp_path, holder, child_too):
    process = holder(child_too)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with locked(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_the_lock_is_released_at_the_end_and_on_errors(tmp_path, holder):
    with locked(tmp_path):
        pass
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        1 / 0  # noqa: B018
    holder()
