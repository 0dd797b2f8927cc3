"""Measure what networks that are trained with masks of one source lose on those of another: reports/transfer.json.

    python benchmarks/transfer.py --photographs /path/to/folder      # without a folder, the packaged photographs

A small network (params/claims.yaml) is trained with the masks of each source, once for each seed, for equally many
steps on the same crops, and measured on the same photographs with the test masks of every source. Masks of one's own
are captions and films are made up, as in notebook 01, which shows the result.
"""

from __future__ import annotations

import argparse
import json
import shutil
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

from common import changed, machine
from sources import PLACES, folder

from pconv.data.selection import write_manifests
from pconv.evaluate import MEAN, OURS, evaluate
from pconv.files import write_file
from pconv.hardware import Hardware
from pconv.masks.sets import write_masks
from pconv.params import Params, load_params
from pconv.project import model_folder, project_root
from pconv.train import finish, train
from pconv.unet import load_model

SOURCES = ["drawn", "strokes", "folder", "video"]
CROPS = 20  # per bin of hole ratio, with and without border constraint each


def train_with(params: Params, source: str, seed: int, target: Path) -> None:
    """Train a network with masks of a source, in the working directory, and keep its weights."""
    params = of_source(changed(params, {"seed": seed}), source)
    write_masks(params)
    for stage in (1, 2):
        train(params, stage)
        finish(stage)
    shutil.copy(model_folder(2) / "last.safetensors", target)


def of_source(params: Params, source: str) -> Params:
    """Return the parameters for masks of a source, which are made if they are not there."""
    place = PLACES.get(source)
    if place and not Path(place).exists():
        folder(source)
    return changed(params, {"masks.source": source, "masks.folder": place})


def psnr_of(params: Params, source: str, weights: Path) -> float:
    """Return the mean PSNR of a network on the test masks of a source, dB."""
    table = evaluate(load_model(weights), of_source(params, source))
    return float(table[table["method"] == OURS]["psnr"].mean())


def measure(params: Params, sources: list[str], seeds: list[int]) -> dict:
    """Return the PSNR by the source that was trained with, the source that is measured with, and the seed."""
    write_manifests(params.data)
    for seed in seeds:
        for source in sources:
            print(f"training with {source}, seed {seed}", flush=True)
            train_with(params, source, seed, Path(f"{source}-{seed}.safetensors"))
    found = {source: {} for source in sources}
    few = changed(params, {"masks.train": 1, "masks.val": 1})
    for target in sources:
        write_masks(of_source(few, target))
        for source in sources:
            found[source][target] = [psnr_of(few, target, Path(f"{source}-{seed}.safetensors")) for seed in seeds]
        print(target, {source: found[source][target] for source in sources}, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photographs", type=Path, help="a folder of photographs")
    parser.add_argument("--sources", nargs="+", default=SOURCES, choices=SOURCES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--params", type=Path, help="a parameter set, params/claims.yaml by default")
    options = parser.parse_args()
    root = project_root()
    params = load_params(options.params or root / "params/claims.yaml")
    place = {"data.source": "folder", "data.folder": str(options.photographs.resolve())} if options.photographs else {}
    params = changed(params, {**place, "masks.test": CROPS, "evaluate.baselines": [MEAN]})
    with TemporaryDirectory() as project, chdir(project):
        Path("dvc.yaml").touch()
        psnr = measure(params, options.sources, options.seeds)
    stages = (params.train.stage1, params.train.stage2)
    about = {
        "command": "python benchmarks/transfer.py",
        "photographs": "a folder" if options.photographs else "packaged",
        "size": params.data.size,
        "width": params.model.width,
        "depth": params.model.depth,
        "training crops": params.train.batch * sum(stage.epochs * stage.steps for stage in stages),
        "test crops": 12 * CROPS,
        "machine": machine(Hardware.choose("auto").device),
    }
    values = about | {"seeds": options.seeds, "psnr": psnr}
    write_file(root / "reports/transfer.json", f"{json.dumps(values, indent=2)}\n".encode())


if __name__ == "__main__":
    main()
