"""The ways in that need no checkout of one's own: a wheel, and torch.hub."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ENVIRONMENT, ROOT, run

from pconv.filling import network
from pconv.unet import PConvUNet, he_init, save_model

ABOUT = {"params": {"model": {"width": 2, "depth": 4}, "data": {"size": 32}}}
PUBLISHED = f"{network.DEFAULT}.safetensors"


@pytest.fixture
def photographs(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    mask = np.zeros((60, 80), np.uint8)
    mask[20:30, 20:40] = 255
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    Image.fromarray(mask).save(tmp_path / "hole.png")
    return tmp_path


def small_network(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, he_init(PConvUNet(2, 4), 0).state_dict(), ABOUT)
    return path


@pytest.fixture
def installed(photographs):
    """Return a folder in which the wheel of this checkout is installed, with published weights, and nothing else."""
    source = photographs / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE", "hubconf.py"):
        run(photographs, "install", "-D", ROOT / name, source / name)
    run(photographs, "cp", "-r", ROOT / "src", source / "src")
    run(photographs, "cp", "-r", ROOT / "published", source / "published")
    small_network(source / "published" / PUBLISHED)
    run(source, sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(photographs / "wheel"))
    (wheel,) = (photographs / "wheel").iterdir()
    target = photographs / "installed"
    run(
        photographs,
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
        "--target",
        target,
        wheel,
    )
    return target


def test_a_wheel_fills_with_the_weights_in_it(installed, photographs):
    """From the wheel's files and not this checkout's, by the command, by the module and in Python."""
    carried = {path for path in (installed / "pconv/published").rglob("*") if path.is_file()}
    weights = installed / "pconv/published" / PUBLISHED
    assert carried == {weights, weights.with_name("README.md")}
    code = (
        "import pconv, sys; assert pconv.__file__.startswith(sys.argv[1]), pconv.__file__\n"
        "pconv.inpaint('photo.png', 'hole.png').save('python.png'); assert pconv.load_pretrained().trained_side == 32"
    )
    options = ["photo.png", "--mask", "hole.png", "--output"]
    where = {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    run(photographs, sys.executable, "-c", code, installed, **where)
    run(photographs, sys.executable, installed / "bin/pconv", "fill", *options, "command", **where)
    run(photographs, sys.executable, "-m", "pconv", "fill", *options, "module", **where)
    expected = (photographs / "command/photo.png").read_bytes()
    assert (photographs / "module/photo.png").read_bytes() == expected
    pictures = [np.asarray(Image.open(photographs / name)) for name in ("python.png", "command/photo.png", "photo.png")]
    assert np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[1], pictures[2])


def test_torch_hub_loads_the_network(tmp_path):
    weights = small_network(tmp_path / "weights.safetensors")
    model = torch.hub.load(str(ROOT), "pconv_unet", str(weights), source="local")
    assert isinstance(model, PConvUNet) and not model.training and model.trained_side == 32
    hole = np.zeros((40, 40), bool)
    hole[10:20, 10:20] = True
    out = torch.hub.load(str(ROOT), "inpaint", torch.rand(3, 40, 40), hole, model, source="local")
    assert out.shape == (3, 40, 40)


def test_weights_that_are_not_installed_are_missed_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(network, "FOLDERS", (tmp_path,))
    with pytest.raises(network.WeightsError, match="this installation has none.*give the path") as caught:
        network.load_pretrained()
    assert "\n" not in str(caught.value)
    small_network(tmp_path / "mine/small.safetensors")
    with pytest.raises(network.WeightsError, match="there are mine/small"):
        network.load_pretrained()
    assert network.load_pretrained("mine/small").trained_side == 32


def test_the_command_is_declared():
    done = subprocess.run([sys.executable, "-m", "pconv"], env=ENVIRONMENT | {"PYTHONPATH": str(ROOT / "src")},
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 2 and "COMMAND" in done.stderr
    assert "pconv.filling.command:main" in Path(ROOT, "pyproject.toml").read_text()
