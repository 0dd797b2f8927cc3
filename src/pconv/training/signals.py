"""The wish to stop: a signal, or the death of the program that started the training."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
LAUNCHED = "PCONV_LAUNCHED"  # set for the processes that a notebook starts
MARKS = ("DVC_STAGE", LAUNCHED)  # variables that a program sets for the processes it starts, but does not have itself


class Stop:
    """A context in which SIGINT and SIGTERM end nothing: they are remembered, so that training can save and stop.

    asked: whether this process should stop, because a signal has arrived or the program that started it has died and
    nothing is left to take the result: DVC, or the notebook of several processes. Without /proc no death is noticed.
    agreed: whether all processes of the group stop because at least one of them was asked to. It is set wherever the
    losses of the group are added up.

    Enter it as late as possible: ipykernel installs its own SIGINT handler at the start of every cell. Outside the main
    thread Python handles no signals.
    """

    def __init__(self):
        self.agreed = False
        self._signalled = False
        self._before = {}  # the handlers to put back
        starters = filter(None, map(_find_starter, MARKS))
        self._starters = {pid: _start_time(pid) for pid in starters}

    @property
    def asked(self) -> bool:
        return self._signalled or any(_start_time(pid) != began for pid, began in self._starters.items())

    def __enter__(self) -> Stop:
        with suppress(ValueError):  # raised outside the main thread
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, _number, _frame) -> None:
        self._signalled = True


def _find_starter(mark: str) -> int | None:
    """Return the nearest ancestor without the mark that this process has in its environment; None if there is none."""
    value, pid = os.environ.get(mark), os.getppid()
    if value is None:
        return None
    try:
        while f"{mark}={value}".encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
            pid = int(_stat(pid)[1])
    except OSError:
        return None
    return pid


def _start_time(pid: int) -> str | None:
    """Return when a process started, which tells it from a later one of the same number; None if it has ended."""
    try:
        state, *rest = _stat(pid)
    except OSError:
        return None
    return None if state in "ZX" else rest[18]  # Z and X: ended, though its parent has not asked how


def _stat(pid: int) -> list[str]:
    """Return what /proc says of a process after its name: state, parent, ..., see proc(5)."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
