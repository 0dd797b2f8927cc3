"""The state of a training run on disk, so that a killed run goes on as if nothing had happened.

A checkpoint is a folder such as step-00000123 with tensors.safetensors, state.json and SHA256SUMS, which holds the
checksums of both for `sha256sum -c`. It is written under another name, flushed to disk and renamed, so that it exists
whole or not at all. Nothing is unpickled.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pconv.errors import PConvError, cut
from pconv.files import read_small, sha256

FILES = ("tensors.safetensors", "state.json")
SUMS = "SHA256SUMS"
MOST_SUMS = 1000  # bytes of SHA256SUMS
KEEP = 2  # checkpoints: the newest, and the one before in case the newest is damaged


class CheckpointError(PConvError):
    """A checkpoint folder that cannot be used; the message names it and says what to do."""


def save(folder: Path, step: int, tensors: dict[str, Tensor], state: dict) -> None:
    """Write a checkpoint atomically, then remove all but this one and the one before it.

    Raises CheckpointError if the disk is full or not writable; earlier checkpoints are left as they were.
    """
    target, partial = folder / f"step-{step:08d}", folder / "partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, partial / "tensors.safetensors")
        (partial / "state.json").write_text(json.dumps({"step": step, **state}))
        (partial / SUMS).write_text(checksums(partial))
        for path in (*partial.iterdir(), partial):
            _flush(path)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        _flush(folder)
    except (OSError, SafetensorError) as error:  # the latter is no OSError even where the disk is full
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"{target}: could not be written ({getattr(error, 'strerror', None) or error}); free some disk space and "
            "run again: training goes on from the checkpoint before"
        ) from error
    _prune(folder, target)


def _prune(folder: Path, newest: Path) -> None:
    """Keep `newest` and those before it, KEEP in all; later ones are damaged or another run's."""
    found = list_checkpoints(folder)
    place = found.index(newest)
    for path in found[: max(0, place + 1 - KEEP)] + found[place + 1 :]:
        shutil.rmtree(path)


def load_newest(folder: Path) -> tuple[dict[str, Tensor], dict] | None:
    """Return tensors and state of the newest checkpoint that is whole, or None; name the damaged ones passed over."""
    for path in reversed(list_checkpoints(folder)):
        try:
            if read_small(path / SUMS, MOST_SUMS) != checksums(path).encode():
                raise ValueError(f"the files do not have the checksums in {SUMS}")
            return load_file(path / "tensors.safetensors"), json.loads((path / "state.json").read_text())
        except (OSError, ValueError, SafetensorError) as error:
            print(f"{path}: damaged ({cut(error, 300)}); trying the one before", file=sys.stderr)
    return None


def checksums(path: Path) -> str:
    """Return what SHA256SUMS in a checkpoint's folder has to say."""
    return "".join(f"{sha256(path / name)}  {name}\n" for name in FILES)


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the oldest first."""
    return sorted(folder.glob("step-*"))


@contextmanager
def locked(folder: Path):
    """Hold a folder for this process. Raises CheckpointError, naming the holder, if another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock, which loader processes would inherit
        except BlockingIOError:
            file.seek(0)
            raise CheckpointError(
                f"{folder}: process {file.read().strip() or 'unknown'} is training here; wait for it or end it first"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
