"""Published networks: what benchmarks/published.py keeps of trained weights, and the tables that it writes."""

import hashlib
import importlib
import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image as Picture

from pconv.params import load_params
from pconv.tensors import read_tensors
from pconv.unet import PConvUNet, he_init, load_model, save_model

ROOT = Path(__file__).parents[1]


@pytest.fixture
def published(monkeypatch):
    """Return the module benchmarks/published.py."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("published")


def weights(path, layer="partial", seed=0):
    """Write a network of random weights as the training would; returns what is said about it."""
    about = {"params": {"model": {"width": 4, "depth": 3, "layer": layer}}, "step": 7}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, he_init(PConvUNet(width=4, depth=3, layer=layer), seed).state_dict(), about)
    return about


def test_kept_weights_are_half_as_large_and_say_where_they_come_from(published, tiny):
    about = weights(tiny / "best.safetensors")
    published.keep(tiny / "best.safetensors", tiny / "published/one/partial.safetensors")
    tensors, metadata = read_tensors(tiny / "published/one/partial.safetensors", "")
    assert {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()} == {torch.float16}
    kept = json.loads(metadata["pconv"])
    assert about.items() <= kept.items()
    assert {split: one["count"] for split, one in kept["photographs"].items()} == {"train": 3, "val": 2, "test": 1}
    manifest = (tiny / "data/images/val.csv").read_bytes()
    assert kept["photographs"]["val"]["sha256"] == hashlib.sha256(manifest).hexdigest()
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert kept["commit"] == head
    whole, half = (load_model(tiny / name) for name in ("best.safetensors", "published/one/partial.safetensors"))
    for (name, value), rounded in zip(whole.state_dict().items(), half.state_dict().values(), strict=True):
        torch.testing.assert_close(rounded, value, rtol=2**-10, atol=1e-7, msg=name)


def test_curves_of_a_stage_become_one_table_and_one_picture(published, tmp_path):
    """Validation has fewer rows than training; a term of weight 0 stays in the table and out of the picture."""
    curves = {"lr": {1: 0.5, 2: 0.25}, "train/loss": {1: 3.0, 2: 2.0}, "train/style": {1: 0.0, 2: 0.0}}
    curves |= {"val/loss": {2: 4.0}, "val/style": {2: 0.0}, "val/psnr": {2: 21.5}}
    for name, values in curves.items():
        path = tmp_path / f"stage1/plots/metrics/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.Series(values, name=path.stem).rename_axis("step").to_csv(path, sep="\t")
    published.curves(tmp_path / "stage1", tmp_path / "kept/piece.1")
    assert (tmp_path / "kept/piece.1.csv").read_text().splitlines() == [
        "step,lr,train/loss,train/style,val/loss,val/psnr,val/style",
        "1,0.5,3,0,,,",
        "2,0.25,2,0,4,21.5,0",
    ]
    with Picture.open(tmp_path / "kept/piece.1.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 100
    with pytest.raises(SystemExit, match="stage2/plots/metrics holds no curves; train a stage first"):
        published.curves(tmp_path / "stage2", tmp_path / "kept/piece.2")


def test_a_network_is_measured_beside_the_classical_methods(published, tiny):
    """The table has each crop once per method, and the classical rows are measured once."""
    folder = tiny / "published/one"
    weights(folder / "partial.safetensors")
    published.measure(folder, "")
    crops = pd.read_csv(folder / "crops-32.csv", dtype={"bin": str})
    count = len(pd.read_csv(tiny / "data/masks/test/index.csv"))
    assert crops.groupby("method").size().to_dict() == dict.fromkeys(["pconv", *published.CLASSICAL], count)

    classical = crops[crops["method"] != "pconv"].assign(psnr=1.25)  # recognised if it is measured again
    pd.concat([crops[crops["method"] == "pconv"], classical]).to_csv(folder / "crops-32.csv", index=False)
    weights(folder / "partial.safetensors", seed=1)
    published.measure(folder, "")
    again = pd.read_csv(folder / "crops-32.csv", dtype={"bin": str})
    assert (again.loc[again["method"] != "pconv", "psnr"] == 1.25).all() and len(again) == len(crops)
    assert not again.loc[again["method"] == "pconv", "psnr"].equals(crops.loc[crops["method"] == "pconv", "psnr"])

    published.measure(folder, "elsewhere-")
    assert (folder / "elsewhere-crops-32.csv").is_file()


def test_two_networks_are_measured_under_their_names_on_the_same_crops(published, tiny):
    folder = tiny / "published/pair"
    for layer in ("plain", "partial"):
        weights(folder / f"{layer}.safetensors", layer)
    published.measure(folder, "")
    crops = pd.read_csv(folder / "crops-32.csv", dtype={"bin": str})
    partial, plain = (crops[crops["method"] == layer].reset_index(drop=True) for layer in ("partial", "plain"))
    assert len(crops) == 2 * len(plain) == 2 * len(pd.read_csv(tiny / "data/masks/test/index.csv"))
    same = ["index", "photograph", "bin", "touches_border", "hole_ratio", "thickness"]
    pd.testing.assert_frame_equal(partial[same], plain[same])
    assert not partial["psnr"].equals(plain["psnr"])
    for layer, rows in (("partial", partial), ("plain", plain)):  # each by itself measures the same
        weights(tiny / "published/alone/alone.safetensors", layer)
        published.measure(tiny / "published/alone", "")
        alone = pd.read_csv(tiny / "published/alone/crops-32.csv").query("method == 'pconv'")
        assert rows["psnr"].tolist() == alone["psnr"].tolist()


def test_a_folder_without_weights_is_named(published, tiny):
    (tiny / "published/none").mkdir(parents=True)
    with pytest.raises(SystemExit, match="published/none holds no weights; store some in it with the command keep"):
        published.measure(tiny / "published/none", "")


def test_rows_of_other_crops_are_not_taken_over(published, tiny):
    folder = tiny / "published/one"
    weights(folder / "partial.safetensors")
    published.measure(folder, "")
    table = pd.read_csv(folder / "crops-32.csv", dtype={"bin": str})
    table.assign(hole_ratio=table["hole_ratio"] + 0.01).to_csv(folder / "crops-32.csv", index=False)
    with pytest.raises(SystemExit, match="crops-32.csv: .* was measured on other crops; delete the file"):
        published.measure(folder, "")


@pytest.mark.parametrize("path", sorted((ROOT / "published").glob("*/params/*.yaml")), ids=lambda path: path.name)
def test_parameters_of_a_piece_of_training_can_be_used(path):
    load_params(path)
