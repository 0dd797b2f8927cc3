"""What a person sees of a long stage, on a terminal and in a log."""

import re
import threading
from functools import partial

import pytest

from pconv.progress import Progress
from pconv.training.trainer import Trainer


@pytest.fixture
def often(monkeypatch):
    """Every step is shown, as if ten seconds had passed since the one before."""
    monkeypatch.setattr(Progress, "update", lambda bar, n=1: (setattr(bar, "n", bar.n + n), bar.refresh())[1])


def test_a_log_gets_plain_lines(capsys, monkeypatch, often):
    monkeypatch.setenv("PCONV_TTY", "0")
    with Progress(desc="masks", total=3) as bar:
        bar.set_postfix_str("7 a second", refresh=False)
        for _ in range(3):
            bar.update()
    lines = capsys.readouterr().err.replace("\r", "").splitlines()
    assert [line.split(",")[0] for line in lines if line.strip()] == [f"masks {n}/3" for n in range(4)]
    assert lines[-1].endswith(", 7 a second") and " so far" in lines[-1] and " left" in lines[-1]


def test_no_thread_prints_beside_it():
    before = threading.active_count()
    with Progress(total=3):
        assert threading.active_count() == before


def test_a_terminal_behind_the_kernel_gets_one_line_that_changes(capsys, monkeypatch, often):
    monkeypatch.setenv("PCONV_TTY", "1")
    with Progress(desc="masks", total=3) as bar:
        for _ in range(3):
            bar.update()
    shown = capsys.readouterr().err
    assert shown.count("\rmasks ") >= 4 and shown.count("\n") == 1


@pytest.mark.parametrize("pace", [0, 1000])
def test_training_shows_step_speed_learning_rate_and_every_term(tiny, capsys, monkeypatch, pace):
    """Also where the first line is the last."""
    monkeypatch.setattr("pconv.training.curves.Progress", partial(Progress, mininterval=pace))
    monkeypatch.setenv("PCONV_TTY", "0")
    Trainer(tiny.set(), 1).run()
    last = [line for line in capsys.readouterr().err.splitlines() if line.startswith("stage 1, step 10/10")][-1]
    number = r"[\d.e+-]+"
    terms = "".join(rf" {term} {number}" for term in ("loss", "valid", "hole", "perceptual", "style", "tv"))
    speed = re.search(rf"so far, .* left, ({number}) images/s, lr 0.002,{terms}$", last)
    assert speed and float(speed[1]) > 0, last
