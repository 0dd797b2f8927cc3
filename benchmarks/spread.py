"""Measure how far the default's results vary over seeds and processor settings, where equal bytes cannot be expected.

    python benchmarks/spread.py [--only CASE ...]    # one training per case; cases that have a row are skipped
    python benchmarks/spread.py --take NAME          # the pipeline's last run, on this machine, as a row of this name

Each case trains both stages of params.yaml and evaluates them in a process of its own, then adds a row to
reports/spread.json: where and how it ran, and the metrics that `make reproduced` compares. Only the training depends on
a case's seed; the masks, the validation crops and the test crops are those of the pipeline's seed. Run
`dvc repro images masks` first. After an interruption, the script continues with the first case that has no row.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from common import changed, machine

from pconv.evaluate import evaluate
from pconv.params import Params, flat, load_params
from pconv.project import model_folder, project_root
from pconv.studies.evaluate import means
from pconv.train import finish
from pconv.training.loading import ValidationCrops
from pconv.training.trainer import Trainer
from pconv.unet import load_model

METRICS = ("stage1", "stage2", "evaluate")  # the files of reports/metrics that depend on training
SETTINGS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "OMP_NUM_THREADS")
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
ONE, TWO = {"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "2"}
CASES = {  # parameters, settings
    "one thread": ({}, ONE),
    "seed 1": ({"seed": 1}, ONE),
    "AVX512_CORE_BF16": ({}, ONE | {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}),
    "seed 2": ({"seed": 2}, ONE),
    "float32": ({"train.precision": "float32"}, ONE),
    "seed 3": ({"seed": 3}, ONE),
    "two threads": ({}, TWO),
    "float32, AVX2": ({"train.precision": "float32"}, ONE | AVX2),
}


def measure(case: str) -> dict:
    """Train and evaluate one case, in the project that is the working directory."""
    asked = load_params()
    params, began = changed(asked, CASES[case][0]), time.monotonic()
    metrics = {f"stage{stage}": train(params, asked, stage) for stage in (1, 2)}
    model = load_model(model_folder(2) / "best.safetensors")
    metrics["evaluate"] = means(evaluate(model, asked))
    about = {"case": case, "seed": params.seed, "precision": metrics["stage1"]["precision"]}
    about |= machine(torch.device("cpu")) | {name: os.environ.get(name, "") for name in SETTINGS}
    return about | {"seconds": round(time.monotonic() - began)} | flat(metrics)


def train(params: Params, asked: Params, stage: int) -> dict:
    """Train one stage, validated on the crops of the parameters as asked for, and return its metrics."""
    finish(stage)
    trainer = Trainer(params, stage)
    trainer.validation.crops = ValidationCrops(asked)
    result = trainer.run()
    finish(stage)
    return result.metrics


def run(case: str, root: Path) -> dict:
    """Run one case in a project of its own, so that the pipeline's models and curves stay as they are."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("dvc.yaml", "params.yaml", "data"):
            (Path(folder) / name).symlink_to(root / name)
        path = os.pathsep.join([str(root / "src"), str(root / "benchmarks")])
        environment = os.environ | {"PYTHONPATH": path} | CASES[case][1]
        command = [sys.executable, str(Path(__file__).resolve()), "--here", case]
        subprocess.run(command, cwd=folder, env=environment, check=True)
        return json.loads((Path(folder) / "row.json").read_text())


def take(case: str, root: Path) -> dict:
    """Return the row of the pipeline's last run, from its metrics."""
    metrics = {name: json.loads((root / f"reports/metrics/{name}.json").read_text()) for name in METRICS}
    about = {"case": case, "seed": load_params().seed, "precision": metrics["stage1"]["precision"]}
    return about | machine(torch.device("cpu")) | {name: os.environ.get(name, "") for name in SETTINGS} | flat(metrics)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--here", choices=CASES, help=argparse.SUPPRESS)  # in the process of one case
    parser.add_argument("--take", metavar="NAME", help="take the pipeline's last run as a row of this name")
    options = parser.parse_args()
    if options.here:
        Path("row.json").write_text(json.dumps(measure(options.here)))
        return
    root, params = project_root(), flat(load_params().model_dump())
    target = root / "reports" / "spread.json"
    spread = json.loads(target.read_text()) if target.exists() else {"params": params, "runs": []}
    if any(spread["params"][key] != params[key] for key in spread["params"].keys() & params.keys()):
        sys.exit(f"{target}: measured with other parameters; remove it to measure again")
    spread["params"] = params  # those that were added since had no other value
    for case in [options.take] if options.take else options.only:
        if case not in {row["case"] for row in spread["runs"]}:
            print(f"{case} ...", flush=True)
            spread["runs"].append(take(case, root) if options.take else run(case, root))
            target.write_text(json.dumps(spread, indent=1) + "\n")


if __name__ == "__main__":
    main()
