"""Hostile input, case by case, and what the project has to make of it: the right result, or a refusal with a reason.

A case is a function that is given an empty folder. It does what a user would do and checks the result with `assert`.

    @right("mask files", "grey, 16 bits")
    def _(folder): ...

    @refused("mask files", "a text file", r"hole.png.*not an image")
    def _(folder): ...
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

OUTCOMES = ("right", "refused", "traceback", "hang", "wrong")  # the last three are faults
LONGEST = 600  # characters of a message that somebody reads
SECONDS = 20  # that a case may take


@dataclass(frozen=True)
class Case:
    """One input: its kind, its name, what to do with it, and the pattern of the refusal, if that is what is due."""

    kind: str
    name: str
    run: Callable[[Path], object]
    message: str | None = None


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
    return _register(kind, name, None)


def refused(kind: str, name: str, message: str):
    """Register a case that must be refused with a short message that matches a pattern."""
    return _register(kind, name, message)


def _register(kind: str, name: str, message: str | None):
    if any((case.kind, case.name) == (kind, name) for case in CASES):
        raise ValueError(f"{kind}: {name} is there twice")

    def add(run):
        CASES.append(Case(kind, name, run, message))
        return run

    return add


def judge(case: Case, seconds: float = SECONDS) -> Outcome:
    """Run a case in a process of its own, so that a hang or a crash ends neither this one nor the next case."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pconv.train"])  # what takes seconds; this folder is not on the server's path
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(case.run.__module__, case.kind, case.name, there))
    process.start()
    there.close()
    try:
        return here.recv() if here.poll(seconds) else Outcome("hang", f"no end after {seconds} s")
    except EOFError:
        process.join()
        return Outcome("traceback", f"the process died with status {process.exitcode}")
    finally:
        process.kill()
        process.join()


def _answer(module: str, kind: str, name: str, connection) -> None:
    """Find the case again in this process, where its module registers it, and send its outcome."""
    importlib.import_module(module)
    case = next(case for case in CASES if (case.kind, case.name) == (kind, name))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        connection.send(outcome(case, Path(folder)))


def outcome(case: Case, folder: Path) -> Outcome:
    """Run a case in this process and judge what it returns, raises or prints."""
    from pconv.errors import PConvError

    heard = StringIO()
    try:
        with redirect_stderr(heard):
            case.run(folder)
    except AssertionError as error:
        return Outcome("wrong", f"{error or 'the result is not right'}")
    except (PConvError, SystemExit) as error:
        return _judge_message(case, str(error))
    except BaseException as error:
        return Outcome("traceback", f"{type(error).__name__}: {error}")
    if case.message is not None:
        return Outcome("wrong", f"accepted; said {heard.getvalue()!r}")
    return Outcome("right", heard.getvalue())


def _judge_message(case: Case, said: str) -> Outcome:
    if case.message is None:
        return Outcome("wrong", f"refused: {said}")
    if len(said) > LONGEST or not re.search(case.message, said, re.DOTALL):
        return Outcome("traceback", f"expected a short message like {case.message!r}, got: {said[:LONGEST]}")
    return Outcome("refused", said)
