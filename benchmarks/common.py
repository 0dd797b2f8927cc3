"""What the benchmarks share: references loaded from a path, alternating turns in one run, and one file of results."""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pconv.params import Params
from pconv.project import project_root

RESULTS = Path("reports/benchmarks.json")


def load_reference(path: Path | None, name: str, what: str):
    """Return the class `name` from another project's file, or None without a path; a missing file ends the script."""
    if path is None:
        return None
    if not path.is_file():
        sys.exit(f"{path}: no such file; it is {what}")
    spec = importlib.util.spec_from_file_location(f"reference_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def turns(candidates: dict[str, Callable], count: int, device: torch.device) -> dict[str, np.ndarray]:
    """Return the seconds of each candidate in each of `count` turns.

    All candidates are called once in every turn, so that other work on the machine affects them alike. A turn before
    the first one warms up.
    """
    seconds = {name: [] for name in candidates}
    for turn in range(count + 1):
        for name, call in candidates.items():
            wait(device)
            began = time.perf_counter()
            call()
            wait(device)
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: np.array(values) for name, values in seconds.items()}


def ratio(seconds: dict[str, np.ndarray], name: str, reference: str) -> float:
    """Return the median, over the turns, of a candidate's time divided by the reference's."""
    return float(np.median(seconds[name] / seconds[reference]))


def changed(params: Params, changes: dict) -> Params:
    """Return the parameters with some changed, {"train.batch": 8}; a change to None is none."""
    values = params.model_dump()
    for key, value in changes.items():
        *path, last = key.split(".")
        section = values
        for part in path:
            section = section[part]
        if value is not None:
            section[last] = value
    return Params.model_validate(values)


def machine(device: torch.device) -> dict:
    """Describe where a benchmark ran."""
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def record(section: str, values: dict) -> None:
    """Print results and write them to reports/benchmarks.json under `section`, leaving other sections alone."""
    print(json.dumps({section: values}, indent=2))
    path = project_root() / RESULTS
    kept = json.loads(path.read_text()) if path.is_file() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(sorted((kept | {section: values}).items())), indent=2) + "\n")
