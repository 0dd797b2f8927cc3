"""The benchmarks run, compare what they say they compare, and write it down; what they measure is tested nowhere."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pconv.unet import MEAN, STD, PConvUNet, he_init, save_model

ROOT = Path(__file__).parents[1]
STAND_IN = '''
import torch
from torch import nn
from torch.nn import functional as F

class PartialConv2d(nn.Conv2d):
    """A layer with the arguments of the authors', for tests."""

    def __init__(self, *arguments, multi_channel=False, return_mask=False, **options):
        super().__init__(*arguments, **options)
        assert multi_channel and return_mask

    def forward(self, x, mask):
        assert mask.shape == x.shape
        valid = F.conv2d(mask, torch.ones_like(self.weight), None, self.stride, self.padding)
        new = (valid > 0).to(x.dtype)
        out = F.conv2d(x * mask, self.weight, None, self.stride, self.padding)
        out = out * self.weight[0].numel() / valid.clamp(min=1) * new
        return out if self.bias is None else out + self.bias.view(-1, 1, 1) * new, new
'''
SMALL = ["--size", "32", "--width", "4", "--depth", "3", "--batch", "2", "--turns", "2"]


@pytest.fixture
def authors(tmp_path):
    path = tmp_path / "partialconv2d.py"
    path.write_text(STAND_IN)
    return path


@pytest.fixture
def network(monkeypatch):
    """Return the module benchmarks/network.py."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("network")


def run(script, *arguments, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def results(project):
    return json.loads((project / "reports/benchmarks.json").read_text())


def test_the_networks_that_are_compared_are_the_same(network, authors):
    """The authors', with masks for all channels, gives what ours gives; the plain one has the same weights."""
    ours = he_init(PConvUNet(4, 3), 0).eval()
    theirs, plain = network.Authors(ours, network.load_authors(authors)).eval(), network.Plain(ours).eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 32, 32, generator=generator)
    mask = (torch.rand(2, 1, 32, 32, generator=generator) > 0.3).float()
    with torch.no_grad():  # theirs take the image standardised
        out = theirs((image - MEAN) / STD, mask) * STD + MEAN
        torch.testing.assert_close(out, ours(image, mask), rtol=1e-4, atol=1e-5)
        assert plain(image, mask).shape == out.shape
    expected = ours.state_dict()
    assert plain.state_dict().keys() == expected.keys()
    assert all(value.equal(expected[name]) for name, value in plain.state_dict().items())


def test_network(tiny, authors):
    done = run("network", *SMALL, "--partialconv", authors, folder=tiny.folder)
    assert done.returncode == 0, done.stderr
    found = results(tiny)["network, cpu, float32, 32 px, width 4"]
    for layout in ("NCHW", "channels_last"):
        for part in ("layer", "network"):
            assert set(found[layout][part]) == {"ours", "authors"} and min(found[layout][part].values()) > 0
    assert set(found["memory"]) == {"ours", "authors"}
    assert found["machine"]["torch"] == torch.__version__ and found["size"] == 32


def test_the_authors_layer_may_be_missing_and_that_is_said(tiny):
    done = run("network", *SMALL, folder=tiny.folder)
    assert done.returncode == 0 and "The authors' layer is missing from this comparison" in done.stderr
    assert set(results(tiny)["network, cpu, float32, 32 px, width 4"]["NCHW"]["layer"]) == {"ours"}
    done = run("network", *SMALL, "--partialconv", "nowhere.py", folder=tiny.folder)
    assert done.returncode == 1 and "nowhere.py: no such file; it is models/partialconv2d.py of a clone" in done.stderr


def test_listing_looks_again_at_what_changed_alone(tiny):
    done = run("listing", "--files", 2000, folder=tiny.folder)
    assert not done.returncode, done.stderr
    found = json.loads((tiny.folder / "reports/benchmarks.json").read_text())["listing"]
    assert found["files"] == 2000
    for turn in ("all new", "none changed", "one in a thousand changed"):
        assert found[turn]["files/s"] == 2000 / (found[turn]["watch, s"] + found[turn]["images, s"])
        assert 0.02 < found[turn]["memory, GB"] < 2


def test_step_loading_checkpoints_and_their_figure(tiny, authors):
    """Sections stand beside each other in one file, and the figure shows them."""
    tiny.set(train__precision="float32")  # bfloat16 takes minutes where the processor cannot multiply it
    done = run("step", "--turns", 2, "--partialconv", authors, folder=tiny.folder)
    assert done.returncode == 0, done.stderr
    done = run("loading", "--turns", 1, "--steps", 3, folder=tiny.folder)
    assert done.returncode == 0, done.stderr
    found = results(tiny)
    assert set(found) == {"step, cpu, 32 px, float32", "loading, cpu, folder, 32 px, 0 workers"}
    step = found["step, cpu, 32 px, float32"]
    assert step["precision"] == "float32" and step["straightforward layer"] == "the authors'"
    assert step["times the straightforward step"] > 0 and step["share of that"] > 0
    loading = found["loading, cpu, folder, 32 px, 0 workers"]
    assert 0 < loading["files to memory"] and 0 < loading["JPEG of 12 megapixels, one core"]["ms for crops"]
    done = run("checkpoints", "--params", "params.yaml", "--turns", 2, folder=tiny.folder)
    assert done.returncode == 0, done.stderr
    assert results(tiny)["checkpoints"]["seconds between"] == 1000
    assert not (tiny / "models/state/benchmark").exists()
    done = run("figure", folder=tiny.folder)
    assert done.returncode == 0, done.stderr
    assert (tiny / "reports/benchmarks.png").read_bytes().startswith(b"\x89PNG")


def test_playground(tiny):
    done = run("playground", "--width", 2, "--depth", 3, "--turns", 2, folder=tiny.folder)
    assert done.returncode == 0, done.stderr
    found = results(tiny)["playground, cpu, 256 px, width 2"]
    assert found["network to telea"] > 0 and set(found["milliseconds"]) == {"network", "telea"}


def test_filling(tiny):
    """All methods fill the same holes, and the exact picture would be told from them."""
    weights = tiny / "weights.safetensors"
    about = {"params": {"model": {"width": 2, "depth": 4}, "data": {"size": 32}}}
    save_model(weights, he_init(PConvUNet(2, 4), 0).state_dict(), about)
    (tiny / "large").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((256, 192), Image.Resampling.BICUBIC).save(tiny / "large" / "one.png")
    done = run("filling", "quality", "--photographs", "large", "--weights", weights, folder=tiny.folder)
    assert done.returncode == 0, done.stderr
    found = results(tiny)["filling, quality"]
    assert found["photographs"] == 1 and found["holes"] == 4
    assert set(found["methods"]) == {"pconv.inpaint", "Telea", "Navier-Stokes", "membrane"}
    for values in found["methods"].values():
        assert 5 < values["psnr"] < 60 and values["perceptual"] > 0
        assert set(values["psnr by width"]) == {"5 px", "10 px", "20 px", "40 px"}
    done = run("filling", "resources", "--sizes", 0.1, "--weights", weights, folder=tiny.folder)
    assert done.returncode == 0, done.stderr
    assert 0 < results(tiny)["filling, resources"]["0.1 MP"]["pconv fill"]["GB"] < 5


def test_sources(tiny):
    """Each source has a section; starting processes for 20 masks is what takes the time here."""
    done = run("sources", "--masks", 20, "--size", 128, "--sources", "drawn", "folder", folder=tiny.folder)
    assert done.returncode == 0, done.stderr
    for source in ("drawn", "folder"):
        found = results(tiny)[f"sources, {source}"]
        assert found["masks"] == 20 and found["size"] == 128
        assert found["one core"] > 0 and found["minutes for 67,116"] > 0


def test_days_on_many_gpus():
    done = run("scaling", "--images-per-second", 10, "--link", 100, "--gpus", 1, 2, folder=ROOT)
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("| Places2"))
    size, one, two = row.split("|")[2:5]
    assert size.strip() == "131 MB"  # 32.9 M weights of 4 bytes
    images = 100 * 10_000 * 6
    assert float(one) == pytest.approx(images / 10 / 86400, rel=0.02)
    ring = 131e6 / (100e9 / 8)  # 2 (n - 1) / n = 1
    assert float(two) == pytest.approx(images / 12 * (6 / 10 + ring) / 86400, rel=0.02)
