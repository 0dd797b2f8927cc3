"""Notebook 08 where readers open it: in JupyterLab, in Voila, and run by papermill."""

import shutil
from contextlib import chdir

import nbformat
import numpy as np
import pytest
import torch
from browser import drag, idle, new_page, pixels
from notebook_server import TOKEN, jupyter_server, voila
from repository import ROOT, run

from pconv.completion import complete
from pconv.figures import HOLE
from pconv.playground.network import load_network
from pconv.playground.photographs import choices, read_packaged
from pconv.unet import PConvUNet, he_init, save_model

NOTEBOOK = "notebooks/08-playground.ipynb"


@pytest.fixture
def page(browser):
    page = new_page(browser)
    yield page
    page.context.close()


@pytest.fixture
def project(tmp_path):
    """Create a project that has the notebook, parameters and no weights."""
    for name in (NOTEBOOK, "dvc.yaml", "params.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def model(project):
    """Return the network that the notebook takes: a published one, or here, as that of the last run, a random one."""
    model = he_init(PConvUNet(2, 5), 0).eval()
    (project / "models/stage2").mkdir(parents=True)
    about = {"params": {"model": {"width": 2, "depth": 5}}}
    save_model(project / "models/stage2/best.safetensors", model.state_dict(), about)
    with chdir(project):
        return load_network()


def look(page, what):
    page.get_by_role("button", name=what, exact=True).click()
    return pixels(page)


def check_a_stroke(page, model):
    """Draw a hole where the notebook begins with none, and compare every pixel of the three layers."""
    page.locator("canvas.picture").wait_for()
    idle(page)
    page.get_by_role("button", name="Clear").click()
    page.get_by_text("Draw a hole.").wait_for()
    idle(page)
    truth = read_packaged(choices()[0]["name"])
    assert np.array_equal(pixels(page), truth)
    drag(page, [(60, 60), (128, 90), (200, 60)])
    page.get_by_role("button", name="this network").wait_for()
    idle(page)
    shown = pixels(page)
    masked = look(page, "masked")
    hole = (masked != truth).any(axis=2)
    assert hole[55:95, 60:200].any(axis=0).all() and hole.mean() < 0.1  # a line from one end to the other
    assert np.array_equal(masked[hole], np.broadcast_to(np.rint(255 * np.array(HOLE)), (hole.sum(), 3)))
    assert np.array_equal(look(page, "truth"), truth)
    image = torch.from_numpy(truth).permute(2, 0, 1)[None].to(next(model.parameters()).device) / 255
    expected = complete(model, image, 1 - torch.from_numpy(hole)[None, None].to(image))[0].permute(1, 2, 0).cpu()
    assert np.abs(shown - 255 * expected.numpy()).max() < 1.5  # rounded, by another number of threads
    assert (shown[hole] != truth[hole]).mean() > 0.5


def test_in_jupyterlab(page, project, model):
    with jupyter_server(project) as server:
        page.goto(f"{server.url}lab/tree/{NOTEBOOK}?token={TOKEN}")
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # before, nothing would run
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        check_a_stroke(page, model)


def test_in_voila(page, project, model):
    with voila(project, NOTEBOOK) as address:
        page.goto(address)
        page.get_by_role("heading", name="Draw a hole").wait_for()
        check_a_stroke(page, model)
        assert page.get_by_text("get_ipython").count() == 0  # a page without code


def test_by_papermill(project):
    output = project / "out.ipynb"
    command = ["papermill", "--engine", "reproducible", "--no-progress-bar", NOTEBOOK, str(output)]
    run(project, *command, PYTHONPATH=str(ROOT / "src"))
    said = nbformat.read(output, as_version=4).cells[-1].outputs[0]["data"]["text/markdown"]
    assert said.startswith("The hole covers ") and "- Telea: " in said and " dB in the hole" in said
    assert "- this network: " in said  # what is missing, unless weights are published
