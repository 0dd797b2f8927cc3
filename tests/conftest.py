"""Where tests run something whole.

`tiny` is a project of its own, complete with photographs, masks and a git repository, in which training takes a second.
`smoke` is a copy of this repository in which the pipeline has run.
"""

import multiprocessing
import shutil
from contextlib import chdir
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from repository import copy_repository, run
from ruamel.yaml import YAML
from runs import Killed, background_main

from pconv.data.decoding import write_image
from pconv.data.selection import write_manifests
from pconv.masks.sets import write_masks
from pconv.params import Params, load_params
from pconv.train import train
from pconv.training.trainer import Trainer
from pconv.unet import PConvUNet, he_init

# What compares runs only with other runs on the same machine, or their times.
ALIKE_ANYWHERE = {
    "test_benchmarks",
    "test_training_checkpoint",
    "test_training_distributed",
    "test_training_resume",
    "test_training_timing",
}

# Fixtures that take long or can serve one test at a time: where pytest runs in several processes, the tests that use
# one of them stay in the same process.
SHARED = {"browser", "executed", "fresh", "judged", "runs", "smoke", "whole"}


def pytest_collection_modifyitems(items):
    """Mark as `arithmetic` the tests of files that compute with PyTorch: its kernels differ between processors."""
    for item in items:
        module = getattr(item, "module", None)
        if hasattr(module, "torch") and module.__name__ not in ALIKE_ANYWHERE:
            item.add_marker("arithmetic")
        for fixture in SHARED.intersection(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group(fixture))


LOOSE = {"check": "header", "min_side": 1, "max_pixels": 2**20, "max_rejected": 0.0}  # for small photographs
TERMS = {"valid": 1.0, "hole": 6.0, "perceptual": 0.05, "style": 10.0, "tv": 0.1}
TINY = {
    "seed": 0,
    "data": {"source": "folder", "folder": "photographs", **LOOSE, "size": 32, "crop": [0.5, 0.9]},
    "masks": {"source": "drawn", "folder": None, "hole": "white", "border": "forced", "train": 7, "val": 3, "test": 1},
    "model": {"layer": "partial", "fill": "mean", "scale": "paper", "width": 4, "depth": 3},
    "loss": {"vgg": "random", "stage1": dict(TERMS), "stage2": dict(TERMS)},
    "train": {
        "batch": 2,
        "recolour": False,
        "precision": "float32",
        "processes": 0,
        "sync_norm": False,
        "validation": 3,
        "workers": 0,
        "checkpoint_seconds": 1000,
        "start": None,
        "freeze_norm": True,
        "stage1": {"lr": 0.01, "lr_end": 0.002, "epochs": 2, "steps": 5},
        "stage2": {"lr": 0.002, "lr_end": None, "epochs": 2, "steps": 2},
    },
    "evaluate": {"baselines": ["mean fill"], "published": None},
}


def tiny_values(**changes) -> dict:
    """TINY with other values, keys written as train__stage1__lr."""
    values = deepcopy(TINY)
    for key, value in changes.items():
        section = values
        *parts, last = key.split("__")
        for part in parts:
            section = section[part]
        section[last] = value
    return values


class Project:
    """A folder with dvc.yaml and params.yaml, which is the working directory."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def set(self, **changes) -> Params:
        """Write params.yaml: TINY with other values, keys written as train__stage1__lr."""
        return self.write("params.yaml", **changes)

    def write(self, name: str, **changes) -> Params:
        """Write such a parameter file."""
        YAML().dump(tiny_values(**changes), self / name)
        return load_params(self / name)


def results(project: Project, stage: int = 1) -> dict[str, bytes]:
    """All that a finished stage leaves, to the byte, by the files' names."""
    folders = (project / f"models/stage{stage}", project / f"reports/plots/stage{stage}")
    paths = (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(project.folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="session")
def background():
    """Return a context that starts processes which need not import PyTorch again: background.Process(target, args)."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pconv.train"])
    return context


@pytest.fixture(scope="session")
def tiny_project(tmp_path_factory) -> Path:
    """Create the project of which tests get copies."""
    project = Project(tmp_path_factory.mktemp("tiny"))
    (project / "dvc.yaml").touch()
    params = project.set()
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        folder = project / "photographs" / split
        folder.mkdir(parents=True)
        for number in range(count):
            coarse = rng.integers(256, size=(5, 6, 3), dtype=np.uint8)
            write_image(folder / f"{number}.png", cv2.resize(coarse, (50, 40), interpolation=cv2.INTER_LINEAR))
    with chdir(project.folder):
        write_manifests(params.data)
        write_masks(params)
    for command in (["init", "-q"], ["add", "dvc.yaml", "params.yaml"], ["commit", "-qm", "tiny"]):
        run(project.folder, "git", *command)
    return project.folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return an empty project, which is the working directory."""
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny(tiny_project, tmp_path, monkeypatch) -> Project:
    """Return a tiny project of the test's own, which is the working directory."""
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_project, folder)
    monkeypatch.chdir(folder)
    return Project(folder)


@pytest.fixture(scope="session")
def trained(tiny_project, tmp_path_factory):
    """Return what both stages of a project, trained without a break, left and returned. Not to be changed."""
    project = Project(tmp_path_factory.mktemp("trained") / "tiny")
    shutil.copytree(tiny_project, project.folder)
    with chdir(project.folder):
        params = load_params()
        one = train(params, 1)
        two = train(params, 2)
    return SimpleNamespace(project=project, params=params, results={1: one, 2: two})


@pytest.fixture
def killed_at(monkeypatch):
    """killed_at(3, 5): the next runs are killed when they come to step 3, then when they come to step 5."""
    batches = Trainer.batches

    def arrange(*steps):
        left = list(steps)

        def batches_until_killed(self):
            for batch in batches(self):
                if left and self.state.step == left[0]:
                    left.pop(0)
                    raise Killed
                yield batch

        monkeypatch.setattr(Trainer, "batches", batches_until_killed)

    return arrange


@pytest.fixture
def start_training(background, tiny):
    """Start a run of stage 1 in the background; it has a process group of its own."""
    processes = []

    def start():
        doing = background.RawValue("i", 0)  # a lock could die with the process
        process = background.Process(target=background_main, args=(tiny.folder, tiny / "output.txt", doing))
        process.start()
        process.doing = doing
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.join()


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Path:
    """Return a copy of the repository in which the smoke pipeline has run once; output.txt is what it printed.

    All tests of a session share it: leave it unchanged, or use `smoke_copy`.
    """
    folder = copy_repository(tmp_path_factory.mktemp("smoke"))
    run(folder, "python", "-m", "pconv.params", "params/smoke.yaml", PYTHONPATH="src")
    done = run(folder, "dvc", "repro")
    (folder / "output.txt").write_text(done.stdout + done.stderr)
    return folder


@pytest.fixture
def smoke_copy(smoke, tmp_path) -> Path:
    """Return a copy of `smoke` of the test's own."""
    return Path(shutil.copytree(smoke, tmp_path / "smoke", symlinks=True))


@pytest.fixture(scope="module")
def browser():
    """Return Chromium, started once for a file of tests."""
    from browser import chromium  # Playwright, which few tests need

    with chromium() as started:
        yield started


@pytest.fixture
def playground(monkeypatch):
    """Return the widget of notebook 08 with a tiny network."""
    from pconv.playground import filling
    from pconv.playground.widget import Playground

    model = he_init(PConvUNet(2, 4), 0).eval()
    monkeypatch.setattr(filling, "load_network", lambda: model)
    made = Playground()
    yield made
    made.close()
