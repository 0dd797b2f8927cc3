"""The verdicts of `make reproduced`, on fabricated metrics."""

import json
import subprocess
import sys

import numpy as np
import pytest
from repository import ENVIRONMENT, ROOT, run
from ruamel.yaml import YAML

from pconv.params import flat, load_params
from pconv.reproduced import HEADLINES, ReproducedError, report, trained, verdict

PSNRS = [27.0, 28.0, 29.0]  # mean 28, standard deviation 1
METRICS = {
    "evaluate": {"pconv": {"psnr": 27.5}, "mean fill": {"psnr": 21.7}},
    "masks": {"train": {"mean": 0.3, "count": 7}},
    "layer": {"joined_error": 0.0},
}
LOCK = {
    "stages": {
        "masks": {
            "params": {"params.yaml": {"seed": 0, "data": {"check": "header"}, "masks": {"train": 7}}},
            "outs": [{"path": "data/masks", "md5": "1"}, {"path": "reports/metrics/masks.json", "md5": "2"}],
        },
        "evaluate": {"outs": [{"path": "reports/metrics/evaluate.json", "md5": "3"}]},
    }
}
SPREAD = {
    "params": {"seed": 0, "masks.train": 7, "train.workers": 2},
    "runs": [{"case": f"seed {n}", "evaluate.pconv.psnr": value} for n, value in enumerate(PSNRS)],
}


class Run:
    """A project that was run and committed; tests change what is there."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, name, values):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "dvc.lock":
            YAML().dump(values, path)
        else:
            path.write_text(json.dumps(values))

    def set(self, name, key, value):
        """Put another number into a metrics file."""
        values = section = json.loads((self.folder / name).read_text())
        *parts, last = key.split(".")
        for part in parts:
            section = section[part]
        section[last] = value
        self.write(name, values)
        lock = json.loads(json.dumps(LOCK))
        lock["stages"]["evaluate"]["outs"][0]["md5"] = "another"
        self.write("dvc.lock", lock)

    def report(self):
        """Return the verdict on each number, and the last line."""
        *table, _, conclusion = report(self.folder).splitlines()
        rows = [line.split("  ") for line in table]
        return {cells[0]: cells[-1].strip() for cells in rows}, conclusion


@pytest.fixture
def finished(tmp_path):
    project = Run(tmp_path)
    for name, values in METRICS.items():
        project.write(f"reports/metrics/{name}.json", values)
    project.write("dvc.lock", LOCK)
    project.write("dvc.yaml", {})
    project.write("reports/spread.json", SPREAD)
    (tmp_path / "models" / "stage2").mkdir(parents=True)
    run(tmp_path, "git", "init", "-q")
    run(tmp_path, "git", "add", "-A")
    run(tmp_path, "git", "commit", "-qm", "run")
    return project


def test_the_committed_run_itself(finished):
    verdicts, conclusion = finished.report()
    assert verdicts == {
        "number": "verdict",
        "evaluate.pconv.psnr": "equal",
        "evaluate.mean fill.psnr": "equal",
        "masks.train.mean": "equal",
        "layer.joined_error": "equal",
    }
    assert conclusion == "Reproduced: every output of the pipeline is equal to the committed one to the bit."


@pytest.mark.parametrize(
    "name, key, value, expected",
    [
        ("evaluate", "pconv.psnr", 31.9, "as expected"),
        ("evaluate", "pconv.psnr", 24.1, "as expected"),
        ("evaluate", "pconv.psnr", 32.5, "outside the expected spread: 0.5 above it"),
        ("evaluate", "pconv.psnr", 23.75, "outside the expected spread: 0.25 below it"),
        ("evaluate", "mean fill.psnr", 21.7001, "as expected"),
        ("evaluate", "mean fill.psnr", 21.71, "outside the expected spread: 0.00957 above it"),
        ("masks", "train.mean", 0.300001, "outside the expected spread: 1e-06 above it"),
        ("layer", "joined_error", 9e-7, "as expected"),
        ("layer", "joined_error", 1e-3, "outside the expected spread: 0.000999 above it"),
    ],
)
def test_verdicts(finished, name, key, value, expected):
    finished.set(f"reports/metrics/{name}.json", key, value)
    verdicts, conclusion = finished.report()
    assert verdicts.pop(f"{name}.{key}") == expected
    assert set(verdicts.values()) == {"verdict", "equal"}
    assert conclusion.startswith("Reproduced: 3 numbers" if expected == "as expected" else "NOT reproduced: 3 numbers")
    assert "Not equal to the bit are outputs of evaluate." in conclusion


def test_numbers_that_are_equal_in_files_that_are_not(finished):
    finished.set("reports/metrics/evaluate.json", "pconv.psnr", 27.5)
    verdicts, conclusion = finished.report()
    assert set(verdicts.values()) == {"verdict", "equal"}
    assert conclusion.startswith("Reproduced: 4 numbers are equal, 0 as expected, 0 neither.")


def test_a_number_that_is_missing(finished):
    finished.write("reports/metrics/layer.json", {})
    finished.set("reports/metrics/evaluate.json", "pconv", {"psnr": 27.5, "ssim": 0.8})
    verdicts, conclusion = finished.report()
    assert verdicts["layer.joined_error"] == verdicts["evaluate.pconv.ssim"] == "missing on one side"
    assert conclusion.startswith("NOT reproduced: 3 numbers are equal, 0 as expected, 2 neither.")


def test_other_parameters_are_nothing_to_compare_with(finished):
    lock = json.loads(json.dumps(LOCK))
    lock["stages"]["masks"]["params"]["params.yaml"] = {"seed": 1, "masks": {"train": 8}}
    finished.write("dvc.lock", lock)
    said = "There is nothing to compare with: HEAD was run with other parameters (masks.train, seed)."
    assert report(finished.folder) == said


def test_parameters_that_change_no_result_are_not_compared(finished):
    lock = json.loads(json.dumps(LOCK))
    lock["stages"]["masks"]["params"]["params.yaml"]["data"]["check"] = "decode"
    finished.write("dvc.lock", lock)
    verdicts, conclusion = finished.report()
    assert set(verdicts.values()) == {"verdict", "equal"} and conclusion.startswith("Reproduced: ")


def test_a_spread_of_other_parameters_is_none(finished):
    finished.write("reports/spread.json", SPREAD | {"params": {"seed": 0, "masks.train": 8}})
    finished.set("reports/metrics/evaluate.json", "pconv.psnr", 27.6)
    verdicts, _ = finished.report()
    assert verdicts["evaluate.pconv.psnr"] == "differs; no spread was measured for these parameters"


def test_without_a_run_here_or_there(finished):
    assert report(finished.folder, rev="HEAD~7") == "There is nothing to compare with: HEAD~7 holds no run."
    (finished.folder / "models" / "stage2").rmdir()
    assert report(finished.folder) == "Nothing has run here yet that could be compared: make repro"


def command(folder, *options):
    line = [sys.executable, "-m", "pconv.reproduced", *options]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)


def test_exit_status(finished):
    """0 whatever the verdicts; 1 for a file that cannot be read, with one line."""
    finished.set("reports/metrics/evaluate.json", "pconv.psnr", 3.0)
    done = command(finished.folder)
    assert (done.returncode, done.stderr) == (0, "") and "NOT reproduced" in done.stdout
    done = command(finished.folder, "--rev", "HEAD~7")
    assert done.returncode == 0 and "nothing to compare with" in done.stdout
    (finished.folder / "reports/metrics/evaluate.json").write_text('{"pconv": ')
    done = command(finished.folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("reports/metrics/evaluate.json is damaged: ")


def test_a_damaged_file_is_named(finished):
    (finished.folder / "dvc.lock").write_text("stages: [")
    with pytest.raises(ReproducedError, match="^dvc.lock is damaged: "):
        report(finished.folder)


def test_the_expected_interval_is_that_of_the_runs():
    expected = trained("k", 0.0, [{"k": value} for value in PSNRS] + [{"other": 1.0}])
    np.testing.assert_allclose(expected[:2], (24, 32), rtol=1e-12)
    assert trained("k", 0.0, [{"k": 1.0}] * 2) is None  # two runs are no spread
    assert verdict(1.0, 1.0 + 1e-6, trained("k", 0.0, [{"k": 1.0}] * 3)) == "as expected"  # rounded either way


def committed():
    """Return the numbers of the committed metrics files."""
    paths = (ROOT / "reports" / "metrics").glob("*.json")
    return flat({path.stem: json.loads(path.read_text()) for path in paths})


@pytest.mark.parametrize("start", HEADLINES)
def test_every_headline_is_in_the_committed_metrics(start):
    if start == "evaluate.published" and load_params(ROOT / "params.yaml").evaluate.published is None:
        pytest.skip("the committed run names no published weights")
    assert [key for key in committed() if f"{key}.".startswith(f"{start}.")]


def test_the_committed_run_is_as_its_measured_spread_expects():
    spread = json.loads((ROOT / "reports" / "spread.json").read_text())
    params = flat(YAML(typ="safe").load(ROOT / "params.yaml"))
    assert {key: params[key] for key in spread["params"] if key in params} == spread["params"]
    starts = [start for start, rule in HEADLINES.items() if rule is trained]
    numbers = {key: value for key, value in committed().items() if f"{key}.".startswith(tuple(f"{s}." for s in starts))}
    measured = set().union(*spread["runs"])
    assert numbers.keys() <= measured
    for key in numbers:
        expected = trained(key, numbers[key], spread["runs"])
        assert expected.low < numbers[key] < expected.high, key
