"""Keep trained weights as a published network, and measure published networks on held-out photographs.

    python benchmarks/published.py keep models/stage1/best.safetensors published/photos-256/partial.safetensors
    python benchmarks/published.py curves reports/plots/stage1 published/photos-256/curves/4-pixels-128
    python benchmarks/published.py measure published/photos-256 [--prefix elsewhere-]

`keep` stores the weights in float16 and adds to their metadata the lists of photographs and the commit of the
training. `curves` writes the curves of a stage as one table, NAME.csv, and as a picture of them, NAME.png, without the
photographs that notebook 04 shows. `measure` takes the project's test photographs and masks (params.yaml: data, masks,
seed), which `dvc repro images masks` prepares. It writes the table of every crop that notebook 07 and README read,
crops-SIZE.csv: a single network beside the classical methods, whose rows are taken over from a table that is there if
the crops are the same; or several networks of one folder, to be compared with each other, under the names of their
files.
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
from pconv.figures.train import training_curves
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


def curves(plots: Path, target: Path) -> None:
    """Write DVCLive's curves of a stage as one table and one picture."""
    metrics = plots / "plots" / "metrics"
    series = {path.relative_to(metrics).with_suffix("").as_posix(): path for path in sorted(metrics.rglob("*.tsv"))}
    if not series:
        raise SystemExit(f"{metrics} holds no curves; train a stage first, which writes them to reports/plots/")
    columns = [pd.read_csv(path, sep="\t", index_col="step")[path.stem].rename(name) for name, path in series.items()]
    table = pd.concat(columns, axis=1).sort_index()
    target.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(target.with_name(f"{target.name}.csv"), float_format="%.6g", lineterminator="\n")
    history = [{"step": step, **row.dropna().to_dict()} for step, row in table.iterrows()]
    training_curves(history).savefig(target.with_name(f"{target.name}.png"), dpi=100)


def measure(folder: Path, prefix: str) -> None:
    """Write the table of the networks in a folder."""
    params = load_params()
    path = folder / f"{prefix}crops-{params.data.size}.csv"
    networks = sorted(folder.glob("*.safetensors"))
    if not networks:
        raise SystemExit(f"{folder} holds no weights; store some in it with the command keep")
    if len(networks) == 1:
        table = measured(params, networks[0], path)
    else:
        table = pd.concat([on_crops(params, weights, []).assign(method=weights.stem) for weights in networks])
    write_crops(table, path)
    print(path)


def measured(params: Params, weights: Path, path: Path) -> pd.DataFrame:
    """Return the rows of a network, and those of the classical methods as they are in the file, or measured."""
    old = known(path)
    missing = [name for name in CLASSICAL if name not in set(old["method"])]
    table = on_crops(params, weights, missing)
    ours = table[table["method"] == OURS]
    for method, rows in old.groupby("method"):
        if not same_crops(rows, ours):
            raise SystemExit(f"{path}: {method} was measured on other crops; delete the file to measure it again")
    return pd.concat([table, old], ignore_index=True)


def on_crops(params: Params, weights: Path, baselines: list[str]) -> pd.DataFrame:
    """Return one row per method and crop, of a network and of baselines."""
    table = evaluate(load_model(weights), changed(params, {"evaluate.baselines": baselines or [MEAN]}))
    return table.loc[table["method"].isin([OURS, *baselines]), [*CROP_COLUMNS, *MEASURES]]


def same_crops(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Tell whether two tables have the same crops in the same order; a file keeps six digits of a hole ratio."""
    if len(one) != len(other):
        return False
    same = all(one[column].tolist() == other[column].tolist() for column in SAME)
    return same and np.allclose(one["hole_ratio"], other["hole_ratio"], rtol=0, atol=1e-6)


def known(path: Path) -> pd.DataFrame:
    """Return the rows of the classical methods in a table, none if there is no table."""
    if not path.is_file():
        return pd.DataFrame(columns=["method"])
    old = pd.read_csv(path, dtype={"photograph": str, "bin": str})
    return old[old["method"].isin(CLASSICAL)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("keep", help="store trained weights in float16 with their origin")
    one.add_argument("source", type=Path)
    one.add_argument("target", type=Path)
    two = commands.add_parser("curves", help="write the curves of a stage as a table and a picture")
    two.add_argument("plots", type=Path)
    two.add_argument("target", type=Path)
    three = commands.add_parser("measure", help="write the table of the networks in a folder")
    three.add_argument("folder", type=Path)
    three.add_argument("--prefix", default="", help="of the table's name, for other photographs")
    options = parser.parse_args()
    if options.command == "keep":
        keep(options.source, options.target)
    elif options.command == "curves":
        curves(options.plots, options.target)
    else:
        measure(options.folder, options.prefix)


if __name__ == "__main__":
    main()
