"""Every hostile case gives the right result, or is refused with a reason; and the judge knows one from the other."""

import importlib
import sys
from collections import Counter

import hostile
import pytest
from hostile import Case, judge, outcome
from hostile.preload import CASES
from repository import PATIENCE
from robustness import table

from pconv.errors import PConvError


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}, {case.name}")
def test_hostile_input_is_right_or_refused(case):
    found = judge(case, PATIENCE)
    assert not found.fault, f"{found.outcome}: {found.said}"


def fail(error):
    def run(folder):
        raise error

    return run


def wrong(folder):
    assert (folder / "result").exists(), "no result"


JUDGED = {
    "a right result": (lambda folder: None, None, "right", ""),
    "a result where a refusal is due": (lambda folder: None, "a.png", "wrong", "accepted"),
    "a wrong result": (wrong, None, "wrong", "no result"),
    "a refusal": (fail(PConvError("a.png: too large; crop it")), "a.png: too large", "refused", "crop it"),
    "a command's refusal": (lambda folder: sys.exit("a.png: too large"), "too large", "refused", "a.png"),
    "a refusal where a result is due": (fail(PConvError("a.png: too large")), None, "wrong", "a.png: too large"),
    "a refusal for another reason": (fail(PConvError("a.png: no such file")), "too large", "traceback", "no such file"),
    "a refusal of many words": (fail(PConvError("a.png " * 200)), "a.png", "traceback", "short"),
    "an error that is meant for nobody": (fail(KeyError("step")), "step", "traceback", "KeyError"),
}


@pytest.mark.parametrize("name", JUDGED)
def test_judgement(name, tmp_path):
    run, message, expected, said = JUDGED[name]
    found = outcome(Case("kind", name, run, message), tmp_path)
    assert found.outcome == expected and said in found.said
    assert found.fault == (expected not in ("right", "refused"))


def test_neither_a_hang_nor_a_crash_ends_the_judge(tmp_path, monkeypatch):
    (tmp_path / "awkward.py").write_text(AWKWARD)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(hostile, "CASES", [])
    importlib.import_module("awkward")
    seconds = {"sleeps": 1, "dies": PATIENCE, "leaves a file": PATIENCE}
    found = {case.name: judge(case, seconds[case.name]).outcome for case in hostile.CASES}
    assert found == {"sleeps": "hang", "dies": "traceback", "leaves a file": "right"}


AWKWARD = """
import os, time
from pathlib import Path
from hostile import right

@right("awkward", "sleeps")
def _(folder):
    time.sleep(10_000)

@right("awkward", "dies")
def _(folder):
    os._exit(9)

@right("awkward", "leaves a file")
def _(folder):
    assert Path.cwd() == folder and not list(folder.iterdir())
    Path("left").touch()
"""


def test_a_table_of_counts():
    counts = {"masks": Counter(right=2, refused=1), "weights": Counter(hang=1)}
    assert table(counts).splitlines() == [
        "| input | cases | right | refused | traceback | hang | wrong |",
        "|---|---|---|---|---|---|---|",
        "| masks | 3 | 2 | 1 | 0 | 0 | 0 |",
        "| weights | 1 | 0 | 0 | 0 | 1 | 0 |",
        "| all | 4 | 2 | 1 | 0 | 1 | 0 |",
    ]
