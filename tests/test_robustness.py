"""Every hostile case gives the right result, or is refused with a reason; and the judge knows one from the other."""

import importlib
import json
import sys

import hostile
import pytest
from hostile import Case, Outcome, judge, outcome
from hostile.preload import CASES
from repository import PATIENCE, ROOT
from robustness import COMMAND, by_kind, judge_kinds, page, report

from pconv.errors import PConvError

KINDS = by_kind(CASES)


@pytest.fixture(scope="module")
def judged():
    """All cases with their outcomes, by kind; together they take less time than one kind after the other."""
    return judge_kinds(KINDS, PATIENCE)


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_input_is_right_or_refused(kind, judged):
    faults = [f"{case.name}: {one.outcome}: {one.said}" for case, one in judged[kind] if one.fault]
    assert not faults, "\n".join(faults)


def test_the_report_counts_the_cases_as_they_are():
    """Since the test above finds no fault, what is due is what the report has to say."""
    values = json.loads((ROOT / "reports/robustness.json").read_text())
    assert values["command"] == COMMAND and values["faults"] == []
    for kind, cases in KINDS.items():
        due = {
            "right": sum(case.message is None for case in cases),
            "refused": sum(bool(case.message) for case in cases),
        }
        assert values["kinds"][kind] == {"cases": len(cases), **due, "traceback": 0, "hang": 0, "wrong": 0}, kind
    assert list(values["kinds"]) == list(KINDS)


def test_the_page_is_made_from_the_report():
    assert (ROOT / "docs/robustness.md").read_text() == page(json.loads((ROOT / "reports/robustness.json").read_text()))


def fail(error):
    def run(folder):
        raise error

    return run


def wrong(folder):
    assert (folder / "result").exists(), "no result"


def usage(folder):
    print("choose 1 or 2", file=sys.stderr)
    sys.exit(2)


JUDGED = {
    "a right result": (lambda folder: None, None, "right", ""),
    "a result where a refusal is due": (lambda folder: None, "a.png", "wrong", "accepted"),
    "a wrong result": (wrong, None, "wrong", "no result"),
    "a refusal": (fail(PConvError("a.png: too large; crop it")), "a.png: too large", "refused", "crop it"),
    "a command's refusal": (lambda folder: sys.exit("a.png: too large"), "too large", "refused", "a.png"),
    "a refusal where a result is due": (fail(PConvError("a.png: too large")), None, "wrong", "a.png: too large"),
    "a refusal for another reason": (fail(PConvError("a.png: no such file")), "too large", "traceback", "no such file"),
    "a refusal of many words": (fail(PConvError("a.png " * 200)), "a.png", "traceback", "short"),
    "a command's usage": (usage, "choose 1 or 2", "refused", "choose"),
    "a command that ends well": (lambda folder: sys.exit(), None, "right", ""),
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
    sleeps, dies, writes, finds = hostile.CASES
    assert [one.outcome for one in judge([sleeps, writes], 5)] == ["hang", "right"]
    assert [one.outcome for one in judge([dies, writes, finds], PATIENCE)] == ["traceback", "right", "right"]


AWKWARD = """
import os, time
from pathlib import Path
from hostile import right, table

@right("awkward", "sleeps")
def _(folder):
    time.sleep(10_000)

@right("awkward", "dies")
def _(folder):
    os._exit(9)

def write(folder):
    assert Path.cwd() == folder and not list(folder.iterdir())
    Path("left").touch()

table("awkward", write, {"leaves a file": (None,), "finds no file": (None,)})
"""


def test_the_report_of_cases_and_its_page():
    cases = [Case("masks", name, wrong, None) for name in "abc"] + [Case("folders", "d", wrong, None)]
    outcomes = [Outcome("right"), Outcome("refused", "too large"), Outcome("right"), Outcome("hang", "no end")]
    judged = dict(zip(cases, outcomes, strict=True))
    values = report({kind: [(case, judged[case]) for case in some] for kind, some in by_kind(cases).items()})
    assert values["kinds"]["masks"] == {"cases": 3, "right": 2, "refused": 1, "traceback": 0, "hang": 0, "wrong": 0}
    assert page(values).partition("\n| ")[2].splitlines() == [
        "input | cases | right | refused | traceback | hang | wrong |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| folders | 1 | 0 | 0 | 0 | 1 | 0 |",
        "| masks | 3 | 2 | 1 | 0 | 0 | 0 |",
        "| all | 4 | 2 | 1 | 0 | 1 | 0 |",
        "",
        "- folders, d: hang: no end",
    ]
