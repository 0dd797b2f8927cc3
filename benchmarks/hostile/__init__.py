"""Hostile input, case by case, and what the project has to make of it: the right result, or a refusal with a reason.

A case is a function that is given an empty folder. It does what a user would do and checks the result with `assert`.

    @right("mask files", "grey, 16 bits")
    def _(folder): ...

    @refused("mask files", "a text file", r"hole.png.*not an image")
    def _(folder): ...

    table("mask files", read, {"a text file": (b"white", r"hole.png.*not an image"), "grey": (GREY, None)})
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path

from pconv.errors import PConvError

OUTCOMES = ("right", "refused", "traceback", "hang", "wrong")  # the last three are faults
LONGEST, MOST_LINES = 600, 10  # characters of a line, and lines, of a message that somebody reads
SECONDS = 60  # that a case may take, on a machine with much else to do
START_SECONDS = 300  # that a process may take to import PyTorch on a machine with much else to do


@dataclass(frozen=True)
class Case:
    """One input: its kind, its name, what to do with it, and the pattern of the refusal, if that is what is due."""

    kind: str
    name: str
    run: Callable[[Path], object]
    message: str | None = None
    error: type[Exception] = PConvError  # what refuses; the arguments of functions may be refused by a ValueError
    module: str = ""  # where it is registered


@dataclass(frozen=True)
class Outcome:
    """What came of a case: one of OUTCOMES, and what was said."""

    outcome: str
    said: str = ""

    @property
    def fault(self) -> bool:
        """Whether the project did anything but the right thing."""
        return self.outcome not in ("right", "refused")


CASES: list[Case] = []


def right(kind: str, name: str):
    """Register a case whose result must be right; the case itself checks it."""
    return partial(_register, kind, name, None)


def refused(kind: str, name: str, message: str, error: type[Exception] = PConvError):
    """Register a case that must be refused with a short message that matches a pattern."""
    return partial(_register, kind, name, message, error=error)


def table(kind: str, run: Callable, rows: dict[str, tuple], error=PConvError, module: str | None = None) -> None:
    """Register a case for each row: name -> arguments of `run` after the folder, then the refusal's pattern or None.

    The module that calls this has to be named, unless it is the one that defines `run`.
    """
    for name, (*arguments, message) in rows.items():
        _register(kind, name, message, partial(_call, run, arguments), error, module or run.__module__)


def _call(run, arguments, folder):
    return run(folder, *arguments)


def _register(kind, name, message, run, error=PConvError, module=None):
    if any((case.kind, case.name) == (kind, name) for case in CASES):
        raise ValueError(f"{kind}: {name} is there twice")
    CASES.append(Case(kind, name, run, message, error, module or run.__module__))
    return run


def judge(cases: Sequence[Case], seconds: float = SECONDS) -> list[Outcome]:
    """Run cases in a process of their own; a hang or a crash ends neither this one nor the cases after it."""
    found = []
    while len(found) < len(cases):
        found += _judge_until_lost(cases[len(found) :], seconds)
    return found


def _judge_until_lost(cases: Sequence[Case], seconds: float) -> list[Outcome]:
    """Return the outcomes of all cases, or of those up to the first that hangs or ends its process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pconv.train"])  # what takes seconds; this folder is not on the server's path
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=([(case.module, case.kind, case.name) for case in cases], there))
    process.start()
    there.close()
    found = []
    try:
        here.poll(START_SECONDS) and here.recv()
        for _ in cases:
            if not here.poll(seconds):
                return [*found, Outcome("hang", f"no end after {seconds} s")]
            found.append(here.recv())
    except EOFError:
        process.join()
        found.append(Outcome("traceback", f"the process died with status {process.exitcode}"))
    finally:
        process.kill()
        process.join()
    return found


def _answer(names: list[tuple[str, str, str]], connection) -> None:
    """Find the cases again in this process, where their modules register them, and send their outcomes."""
    for module, *_ in names:
        importlib.import_module(module)
    cases = {(case.kind, case.name): case for case in CASES}
    connection.send("ready")
    for _, *name in names:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            os.chdir(folder)
            connection.send(outcome(cases[tuple(name)], Path(folder)))


def outcome(case: Case, folder: Path) -> Outcome:
    """Run a case in this process and judge what it returns, raises or prints."""
    heard = StringIO()
    try:
        with redirect_stderr(heard), redirect_stdout(StringIO()), warnings.catch_warnings():
            case.run(folder)
    except AssertionError as error:
        return Outcome("wrong", f"{error or 'the result is not right'}")
    except (case.error, PConvError) as error:
        return _judge_message(case, str(error))
    except SystemExit as error:
        if error.code:
            return _judge_message(case, error.code if isinstance(error.code, str) else heard.getvalue())
    except BaseException as error:
        return Outcome("traceback", f"{type(error).__name__}: {error}")
    if case.message is not None:
        return Outcome("wrong", f"accepted; said {heard.getvalue()!r}")
    return Outcome("right", heard.getvalue())


def _judge_message(case: Case, said: str) -> Outcome:
    if case.message is None:
        return Outcome("wrong", f"refused: {said}")
    lines = said.splitlines()
    short = len(lines) <= MOST_LINES and all(len(line) <= LONGEST for line in lines)
    if not (short and re.search(case.message, said, re.DOTALL)):
        return Outcome("traceback", f"expected a short message like {case.message!r}, got: {said[:LONGEST]}")
    return Outcome("refused", said)
