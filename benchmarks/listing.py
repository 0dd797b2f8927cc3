"""Measure what the lists of photographs cost: all files new, none changed, one in a thousand changed.

    python benchmarks/listing.py                 # 100,000 files, 1.2 GB in the temporary folder
    python benchmarks/listing.py --files 10000

The files are JPEG photographs of 256 x 256 px, as in Places365's smaller version, all different. Given are the seconds
and the peak memory of the stages `watch` and `images`, and what 1.8 million files take if time and memory grow in
proportion, which they do but for the search for copies: it grows with the product of the numbers of photographs to
evaluate and of all, and is measured apart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from common import machine, record

from pconv.data.leaks import find_copies
from pconv.data.memory import SIDE, Seen
from pconv.params import Params

PLACES = 1_803_460 + 36_500  # photographs of Places365-Standard, to train and to validate
RUN = """
import time
from pathlib import Path
from pconv.data import watch, selection
from pconv.params import load_params
began, data = time.perf_counter(), load_params().data
watch.watch_photographs(data)
watched = time.perf_counter()
selection.write_manifests(data)
done = time.perf_counter()
(peak,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(watched - began, done - watched, int(peak) * 1024)
"""


def texture(rng: np.random.Generator, side: int = 4096) -> np.ndarray:
    """Return a picture (side, side, 3) with structure at all scales, from which photographs are cut."""
    layers = (rng.standard_normal((side // step, side // step, 3), np.float32) for step in (128, 32, 8, 2))
    image = sum(cv2.resize(layer, (side, side), interpolation=cv2.INTER_CUBIC) for layer in layers)
    return np.clip(128 + 30 * image, 0, 255).astype(np.uint8)


def photograph(whole: np.ndarray, rng: np.random.Generator) -> bytes:
    """Return a JPEG file of 256 x 256 px, brighter or darker than what it is cut from."""
    top, left = rng.integers(len(whole) - 256, size=2)
    image = cv2.convertScaleAbs(whole[top : top + 256, left : left + 256], alpha=rng.uniform(0.5, 1.5))
    return cv2.imencode(".jpg", image)[1].tobytes()


def write_photographs(folder: Path, count: int) -> None:
    """Write photographs of 100 classes: 98 % to train, the others to test, as in Places365."""
    whole = texture(rng := np.random.default_rng(0))
    for n in range(count):
        path = folder / ("val" if n % 50 == 49 else "train") / f"{n % 100:02}" / f"{n:08}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photograph(whole, rng))


def run(project: Path) -> dict:
    """Run both stages in a process of their own."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=project, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    watch, images, memory = map(float, done.stdout.split())
    return {"watch, s": watch, "images, s": images, "memory, GB": memory / 1e9}


def copies(train: int, test: int) -> float:
    """Return the seconds that the search for copies takes among made-up photographs whose mean greys differ."""
    rng = np.random.default_rng(0)

    def made(count: int) -> list[Seen]:
        means = rng.normal(115, 30, (count, 1, 1))  # as of the photographs in benchmarks/README.md
        pictures = np.clip(means + rng.normal(0, 40, (count, SIDE, SIDE)), 0, 255).astype(np.uint8)
        return [Seen(0, str(n), picture) for n, picture in enumerate(pictures)]

    one, other = made(train), made(test)
    began = time.perf_counter()
    find_copies(one, other)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=100_000)
    count = parser.parse_args().files
    with TemporaryDirectory() as temporary:
        project, folder = Path(temporary), Path(temporary) / "photographs"
        write_photographs(folder, count)
        (project / "dvc.yaml").touch()
        values = Params().model_dump()
        values["data"] |= {"source": "folder", "folder": "photographs"}
        (project / "params.yaml").write_text(json.dumps(values))
        results = {"all new": run(project), "none changed": run(project)}
        whole = texture(rng := np.random.default_rng(1))
        for path in sorted(folder.glob("train/*/*000.jpg")):
            path.write_bytes(photograph(whole, rng))
        results["one in a thousand changed"] = run(project)
        database = (project / "data" / "seen.sqlite").stat().st_size
    factor = PLACES / count
    for measured in results.values():
        measured["files/s"] = count / (measured["watch, s"] + measured["images, s"])
    pairs = count * count // 50
    record(
        "listing",
        {
            "machine": machine(torch.device("cpu")) | {"cores": os.cpu_count()},
            "files": count,
            **results,
            "database, bytes a file": database / count,
            "search for copies, s for 1e9 pairs": copies(count, count // 50) / pairs * 1e9,
            "Places365, in proportion": {
                name: {
                    "minutes": factor * (m["watch, s"] + m["images, s"]) / 60,
                    "memory, GB": factor * m["memory, GB"],
                }
                for name, m in results.items()
            },
        },
    )


if __name__ == "__main__":
    main()
