"""Keep trained weights as a published network, and measure published networks on held-out photographs.

    python benchmarks/published.py keep models/stage1/best.safetensors published/photos-256/partial.safetensors
    python benchmarks/published.py measure published/photos-256 [--prefix elsewhere-]

`keep` stores the weights in float16 and adds to their metadata the lists of photographs and the commit of the
training. `measure` takes the project's test photographs and masks (params.yaml: data, masks, seed), which
`dvc repro images masks` prepares. It writes the tables of every crop that notebook 07 and README read: crops-SIZE.csv
with the network of partial convolutions and the classical methods, plain-crops-SIZE.csv with that of plain ones. Rows
of the classical methods on the same crops are taken over from a table that is there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
from common import changed

from pconv.data.manifest import manifest_path, read_manifest
from pconv.evaluate import MEAN, MEASURES, OURS, evaluate
from pconv.files import sha256
from pconv.params import Params, load_params
from pconv.project import project_root
from pconv.studies.evaluate import CROP_COLUMNS, write_crops
from pconv.tensors import read_tensors
from pconv.unet import load_model, save_model

CLASSICAL = ["telea", "navier-stokes", "biharmonic"]
SAME = ["index", "photograph", "bin"]  # of a crop, by which rows of other runs are recognised


def keep(source: Path, target: Path) -> None:
    """Store weights that the training wrote in float16, with their origin."""
    tensors, metadata = read_tensors(source, "train first")
    about = json.loads(metadata["pconv"])
    splits = {split: read_manifest(load_params().data, split) for split in ("train", "val", "test")}
    about["photographs"] = {
        split: {"count": len(rows), "sha256": sha256(manifest_path(split))} for split, rows in splits.items()
    }
    about["commit"] = subprocess.run(
        ["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True, cwd=project_root()
    ).stdout.strip()
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    save_model(target, half, about)
    load_model(target)  # raises an error if float16 could not hold a value


def measure(folder: Path, prefix: str) -> None:
    """Write the tables of the networks in a folder."""
    params = load_params()
    for layer, name in (("partial", "crops"), ("plain", "plain-crops")):
        weights = folder / f"{layer}.safetensors"
        if weights.is_file():
            path = folder / f"{prefix}{name}-{params.data.size}.csv"
            write_crops(measured(params, weights, path, CLASSICAL if layer == "partial" else []), path)
            print(path)


def measured(params: Params, weights: Path, path: Path, baselines: list[str]) -> pd.DataFrame:
    """Return one row per method and crop: the network's, and the baselines' as they are in the file, or measured."""
    old = known(path, baselines)
    missing = [name for name in baselines if name not in set(old["method"])]
    table = evaluate(load_model(weights), changed(params, {"evaluate.baselines": missing or [MEAN]}))
    table = table.loc[table["method"].isin([OURS, *missing]), [*CROP_COLUMNS, *MEASURES]]
    ours = table[table["method"] == OURS]
    for method, rows in old.groupby("method"):
        if not same_crops(rows, ours):
            raise SystemExit(f"{path}: {method} was measured on other crops; delete the file to measure it again")
    return pd.concat([table, old], ignore_index=True)


def same_crops(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Tell whether two tables have the same crops in the same order; a file keeps six digits of a hole ratio."""
    if len(one) != len(other):
        return False
    same = all(one[column].tolist() == other[column].tolist() for column in SAME)
    return same and np.allclose(one["hole_ratio"], other["hole_ratio"], rtol=0, atol=1e-6)


def known(path: Path, baselines: list[str]) -> pd.DataFrame:
    """Return the rows of the baselines in a table, none if there is no table."""
    if not path.is_file():
        return pd.DataFrame(columns=["method"])
    old = pd.read_csv(path, dtype={"photograph": str, "bin": str})
    return old[old["method"].isin(baselines)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("keep", help="store trained weights in float16 with their origin")
    one.add_argument("source", type=Path)
    one.add_argument("target", type=Path)
    two = commands.add_parser("measure", help="write the tables of the networks in a folder")
    two.add_argument("folder", type=Path)
    two.add_argument("--prefix", default="", help="of the tables' names, for other photographs")
    options = parser.parse_args()
    if options.command == "keep":
        keep(options.source, options.target)
    else:
        measure(options.folder, options.prefix)


if __name__ == "__main__":
    main()
