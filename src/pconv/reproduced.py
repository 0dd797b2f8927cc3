"""Compare a run with the committed results: `make reproduced`, which `make repro` also runs at its end.

    python -m pconv.reproduced [--rev COMMIT]

Prints one table: each headline number as committed and as this run has it, the range to expect, and a verdict. Numbers
that come out of training differ between processors; benchmarks/spread.py measures by how much, in reports/spread.json.
The exit status is 0 whatever the verdicts, even if there is nothing to compare with, and 1 if a file cannot be read.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from ruamel.yaml import YAML, YAMLError

from pconv.errors import PConvError
from pconv.params import NEUTRAL, flat
from pconv.project import project_root

DEVIATIONS = 4  # standard deviations of the measured runs, to either side of their mean
ROUNDING = 2e-5  # relative; metrics are kept to six digits, and the last one may be rounded either way
BOUND = 1e-6  # of what is 0 in exact arithmetic


class ReproducedError(PConvError, RuntimeError):
    """Numbers that cannot be compared; the message names the file."""


class Expected(NamedTuple):
    """The interval in which a number is expected, and the reason."""

    low: float
    high: float
    why: str


Rule = Callable[[str, float, list[dict]], Expected | None]  # key, committed number, measured runs


def trained(key: str, committed: float, runs: list[dict]) -> Expected | None:
    """Expect the range of the measured runs, or return None if there are fewer than three."""
    values = pd.Series([run[key] for run in runs if key in run], dtype=float)
    if len(values) < 3:
        return None
    reach = max(DEVIATIONS * values.std(), ROUNDING * abs(values.mean()))
    return Expected(values.mean() - reach, values.mean() + reach, f"{len(values)} runs")


def rounded(key: str, committed: float, runs: list[dict]) -> Expected:
    """Expect the committed number up to rounding: its arithmetic is the same on every processor."""
    reach = ROUNDING * abs(committed)
    return Expected(committed - reach, committed + reach, "rounding")


def exact(key: str, committed: float, runs: list[dict]) -> Expected:
    """Expect the committed number."""
    return Expected(committed, committed, "exact")


def bounded(key: str, committed: float, runs: list[dict]) -> Expected:
    """Expect 0 within the precision of float32, whatever was committed."""
    return Expected(0, BOUND, "bound")


BASELINES = ("mean fill", "telea", "navier-stokes", "biharmonic")
HEADLINES: dict[str, Rule] = {  # a key in a metrics file, file.key.key, or the beginning of several
    "masks.train.mean": exact,
    "masks.val.mean": exact,
    "masks.test.mean": exact,
    "layer.by_hand_error": bounded,
    "layer.joined_error": bounded,
    "layer.hole_content_difference": bounded,
    "layer.hole_gradient": bounded,
    "layer.full_mask_difference": bounded,
    "layer.constant_spread": bounded,
    "unet.parameters": exact,
    "unet.full_size_parameters": exact,
    "unet.padding_difference": bounded,
    "unet.hole_content_difference": bounded,
    "unet.frozen_norm_change": bounded,
    **{f"stage{stage}.best.{name}": trained for stage in (1, 2) for name in ("loss", "l1", "psnr")},
    "evaluate.pconv": trained,
    **{f"evaluate.{name}": rounded for name in (*BASELINES, "published")},  # whose weights are always the same
}


def verdict(committed: float, now: float, expected: Expected | None) -> str:
    """Compare a number with the committed one and with the expected range, in a few words."""
    if now == committed:
        return "equal"
    if expected is None:
        return "differs; no spread was measured for these parameters"
    if expected.low <= now <= expected.high:
        return "as expected"
    side, off = ("above", now - expected.high) if now > expected.high else ("below", expected.low - now)
    return f"outside the expected spread: {off:.3g} {side} it"


def compare(committed: dict, now: dict, runs: list[dict]) -> pd.DataFrame:
    """Compare the headline numbers of two runs, {"evaluate.pconv.psnr": 27.9}, one row each.

    Columns: number, committed, this run, expected, verdict. A number that only one of them has gets a row, too.
    """
    rows = []
    for start, rule in HEADLINES.items():
        for key in [k for k in committed | now if f"{k}.".startswith(f"{start}.")]:
            row = {"number": key, "committed": committed.get(key), "this run": now.get(key)}
            if None in row.values():
                rows.append(row | {"expected": "", "verdict": "missing on one side"})
                continue
            expected = rule(key, committed[key], runs)
            rows.append(row | {"expected": _words(expected), "verdict": verdict(committed[key], now[key], expected)})
    return pd.DataFrame(rows, columns=["number", "committed", "this run", "expected", "verdict"])


def _words(expected: Expected | None) -> str:
    if expected is None:
        return ""
    if expected.low == expected.high:
        return f"{expected.low:.6g}"
    return f"{expected.low:.6g} to {expected.high:.6g} ({expected.why})"


def conclude(table: pd.DataFrame, differing: list[str]) -> str:
    """Summarise the table and the stages whose outputs differ, in a sentence or two."""
    if not differing:
        return "Reproduced: every output of the pipeline is equal to the committed one to the bit."
    equal, within = ((table["verdict"] == text).sum() for text in ("equal", "as expected"))
    outside = len(table) - equal - within
    return (
        f"{'NOT reproduced' if outside else 'Reproduced'}: {equal} numbers are equal, {within} as expected, {outside} "
        f"neither. Not equal to the bit are outputs of {', '.join(differing)}. What comes out of training differs on "
        "another processor or with another number of threads, and `git status` then lists the reports made from it."
    )


def report(root: Path, rev: str = "HEAD") -> str:
    """Compare the run in a project with the one that a commit holds; returns the text to print.

    Raises ReproducedError for a file that cannot be read.
    """
    here, there = _Files(root), _Files(root, rev)
    lock, old_lock = here.yaml("dvc.lock"), there.yaml("dvc.lock")
    if not lock or not (root / "models" / "stage2").is_dir():
        return "Nothing has run here yet that could be compared: make repro"
    if not old_lock:
        return f"There is nothing to compare with: {rev} holds no run."
    params = _params(lock)
    if changed := _changed(_params(old_lock), params):
        return f"There is nothing to compare with: {rev} was run with other parameters ({', '.join(changed)})."
    spread = here.yaml("reports/spread.json")
    runs = [] if not spread or _changed(spread["params"], params) else spread["runs"]
    table = compare(there.metrics(), here.metrics(), runs)
    differing = [stage for stage in lock["stages"] if _outputs(lock, stage) != _outputs(old_lock, stage)]
    return f"{_aligned(table)}\n\n{conclude(table, differing)}"


def _aligned(table: pd.DataFrame) -> str:
    rows = [list(table), *([f"{v:.8g}" if isinstance(v, float | int) else str(v) for v in row] for row in table.values)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


class _Files(NamedTuple):
    """A project's files as they are or, with a revision, as a commit holds them."""

    root: Path
    rev: str | None = None

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None if there is no such file."""
        if self.rev is None:
            path = self.root / name
            return path.read_bytes() if path.is_file() else None
        command = ["git", "show", f"{self.rev}:./{name}"]
        done = subprocess.run(command, cwd=self.root, capture_output=True)
        return None if done.returncode else done.stdout

    def yaml(self, name: str) -> dict:
        """Return the values of a YAML or JSON file, {} if there is no such file."""
        try:
            return YAML(typ="safe").load(self.read(name) or b"{}")
        except YAMLError as error:
            raise ReproducedError(f"{name}{f' of {self.rev}' if self.rev else ''} is damaged: {error}") from None

    def metrics(self) -> dict[str, float]:
        """Return the numbers of all metrics files, {"evaluate.pconv.psnr": 27.9}."""
        names = dict.fromkeys(key.partition(".")[0] for key in HEADLINES)
        return flat({name: self.yaml(f"reports/metrics/{name}.json") for name in names})


def _params(lock: dict) -> dict:
    """Return the parameters that dvc.lock says a run had: those that change a result."""
    found = {}
    for stage in lock["stages"].values():
        found |= flat(stage.get("params", {}).get("params.yaml", {}))
    return found


def _changed(old: dict, new: dict) -> list[str]:
    """Name the parameters that change a result and that both have, with other values."""
    neutral = {f"{section}.{key}" for section, keys in NEUTRAL.items() for key in keys}
    return sorted(key for key in old.keys() & new.keys() - neutral if old[key] != new[key])


def _outputs(lock: dict, stage: str) -> dict[str, str]:
    """Return the checksums of a stage's outputs."""
    return {out["path"]: out["md5"] for out in lock["stages"].get(stage, {}).get("outs", [])}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare this run's numbers with those that a commit holds.")
    parser.add_argument("--rev", default="HEAD", help="the commit to compare with (default: %(default)s)")
    options = parser.parse_args()
    try:
        print(report(project_root(), options.rev))
    except (PConvError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
