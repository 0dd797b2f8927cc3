"""The wish to stop: signals, and the death of what started a process, in a made-up /proc and in the real one."""

import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest
from repository import PATIENCE, ROOT

from pconv.training import signals
from pconv.training.signals import MARKS, Stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_remembered_and_handlers_are_put_back(number):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with Stop() as stop:
        assert not stop.asked
        os.kill(os.getpid(), number)
        assert stop.asked and not stop.agreed
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_nothing_asks_to_stop():
    found = []

    def run():
        with Stop() as stop:
            found.append(stop.asked)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]


class Processes:
    """A made-up /proc: the test's parent, process 50 above it and process 40 above that."""

    def __init__(self, folder, mark, value):
        self.folder = folder
        self.write(os.getppid(), parent=50, environ=f"A=1\0{mark}={value}\0")
        self.write(50, parent=40, environ=f"{mark}={value}\0B=2\0")
        self.write(40, parent=1, environ=f"NOT_{mark}={value}\0")

    def write(self, pid, parent, environ="", state="S", began=700):
        folder = self.folder / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "environ").write_text(environ)
        fields = [state, parent, *range(4, 21), 10, began, 23]  # from the third on; see proc(5)
        fields[19] = began
        (folder / "stat").write_text(f"{pid} (a (name) 1 Z) {' '.join(map(str, fields))}\n")


@pytest.fixture(params=MARKS)
def processes(tmp_path, monkeypatch, request):
    """Pretend that process 40 started this one, with a shell or two between them."""
    for mark in MARKS:
        monkeypatch.delenv(mark, raising=False)
    monkeypatch.setenv(request.param, "train-stage1")
    monkeypatch.setattr(signals, "PROC", tmp_path)
    return Processes(tmp_path, request.param, "train-stage1")


def test_the_death_of_what_started_it_asks_to_stop(processes):
    stop = Stop()
    assert not stop.asked
    (processes.folder / "40" / "stat").unlink()
    assert stop.asked


def test_so_does_a_death_that_nobody_has_taken_note_of(processes):
    stop = Stop()
    processes.write(40, parent=1, state="Z")
    assert stop.asked


def test_another_process_of_the_same_number_is_not_what_started_it(processes):
    stop = Stop()
    processes.write(40, parent=1, began=701)
    assert stop.asked


def test_what_lies_between_and_other_changes_do_not_matter(processes):
    stop = Stop()
    processes.write(50, parent=40, state="Z")
    processes.write(40, parent=2, state="R")
    assert not stop.asked


def test_a_program_that_another_stage_started_is_what_started_it(processes, monkeypatch):
    """As where a stage of one pipeline runs another pipeline."""
    (mark,) = [mark for mark in MARKS if mark in os.environ]
    processes.write(50, parent=40, environ=f"{mark}=other")
    stop = Stop()
    processes.write(50, parent=40, state="Z")
    assert stop.asked


@pytest.mark.parametrize("missing", ["environ", "stat"])
def test_where_proc_does_not_tell_nothing_asks_to_stop(processes, missing):
    for path in processes.folder.glob(f"*/{missing}"):
        path.unlink()
    stop = Stop()
    assert not stop.asked
    (processes.folder / "40" / "environ").unlink(missing_ok=True)
    assert not stop.asked


WAIT = """
import sys, time
from pconv.training.signals import Stop
stop = Stop()
print(stop.asked, flush=True)
while not stop.asked:
    time.sleep(0.01)
print(stop.asked, flush=True)
"""
START = """
import os, subprocess, sys
program = [sys.executable, "-c", sys.argv[1]]
subprocess.run(["sh", "-c", '"$0" "$@"; true', *program], env=os.environ | {"DVC_STAGE": "train-stage1"})
"""


def test_the_real_death_of_a_real_program():
    environment = {name: value for name, value in os.environ.items() if name not in MARKS}
    command = [sys.executable, "-c", START, WAIT]
    environment |= {"PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout.readline() == "False\n"
        *_, orphan = psutil.Process(starter.pid).children(recursive=True)
        starter.kill()  # and not waited for: it stays as a zombie
        assert starter.stdout.readline() == "True\n"
        orphan.wait(PATIENCE)
