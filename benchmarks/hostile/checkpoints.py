"""Checkpoints from which training goes on: damaged, of another run, in use, or no checkpoints at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import chdir, redirect_stderr
from functools import cache
from io import StringIO
from pathlib import Path

import torch

from hostile import refused, right, table
from hostile.commands import run
from hostile.parameters import VALUES, flow
from hostile.photographs import SPLIT, fill
from pconv.masks.sets import write_masks
from pconv.params import load_params
from pconv.train import train
from pconv.training import checkpoint

KIND = "checkpoints"
TENSORS, STATE, SUMS = "tensors.safetensors", "state.json", "SHA256SUMS"

# Without training


def saved(folder: Path) -> Path:
    """Save two checkpoints and return the folder of the newer one."""
    for step in (5, 9):
        checkpoint.save(folder / "state", step, {"weight": torch.full((3,), float(step))}, {"note": "mine"})
    return folder / "state" / "step-00000009"


def newest(folder: Path) -> tuple[int | None, str]:
    """Return the step of the checkpoint that is found, and what is said."""
    said = StringIO()
    with redirect_stderr(said):
        found = checkpoint.load_newest(folder / "state")
    if found is None:
        return None, said.getvalue()
    tensors, state = found
    assert tensors["weight"].tolist() == [float(state["step"])] * 3
    return state["step"], said.getvalue()


def damaged(folder: Path, damage) -> None:
    """Damage the newest checkpoint: the one before is taken, and that is said."""
    damage(saved(folder))
    step, said = newest(folder)
    assert step == 5 and "step-00000009: damaged" in said and len(said) < 600, said


def rewrite(path: Path, change) -> None:
    """Change the bytes of a file."""
    path.write_bytes(change(path.read_bytes()))


def exchange(path: Path, make) -> None:
    """Put something else in place of a file."""
    path.unlink()
    make(path)


def flip(content: bytes) -> bytes:
    """Flip a bit in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES = {}
for name in (TENSORS, STATE, SUMS):
    DAMAGES |= {
        f"{name} is gone": (lambda path, name=name: (path / name).unlink(), None),
        f"{name} is empty": (lambda path, name=name: (path / name).write_bytes(b""), None),
        f"half of {name}": (lambda path, name=name: rewrite(path / name, lambda c: c[: len(c) // 2]), None),
        f"a bit of {name}": (lambda path, name=name: rewrite(path / name, flip), None),
        f"more than {name}": (lambda path, name=name: rewrite(path / name, lambda c: c + b"\0"), None),
        f"zeros in {name}": (lambda path, name=name: rewrite(path / name, lambda c: bytes(len(c))), None),
        f"{name} is a folder": (lambda path, name=name: exchange(path / name, Path.mkdir), None),
        f"{name} is a FIFO": (lambda path, name=name: exchange(path / name, os.mkfifo), None),
        f"{name} is a link to itself": (lambda path, name=name: exchange(path / name, lambda p: p.symlink_to(p)), None),
    }
DAMAGES |= {
    "an empty folder": (lambda path: [shutil.rmtree(path), path.mkdir()], None),
    "a file in place of the folder": (lambda path: [shutil.rmtree(path), path.write_text("9")], None),
    "a broken link in place of the folder": (lambda path: [shutil.rmtree(path), path.symlink_to("gone")], None),
}
table(KIND, damaged, DAMAGES)


@right(KIND, "whole: the newest is taken")
def _(folder):
    saved(folder)
    assert newest(folder) == (9, "")


@right(KIND, "all damaged: none is taken, and each is named")
def _(folder):
    for path in saved(folder).parent.iterdir():
        rewrite(path / TENSORS, flip)
    step, said = newest(folder)
    assert step is None and "step-00000005: damaged" in said and "step-00000009: damaged" in said


@right(KIND, "other files beside them")
def _(folder):
    state = saved(folder).parent
    (state / "notes.txt").write_text("mine")
    (state / "partial").mkdir()
    assert newest(folder)[0] == 9
    checkpoint.save(state, 12, {"weight": torch.full((3,), 12.0)}, {})
    assert newest(folder) == (12, "") and (state / "notes.txt").read_text() == "mine"


@refused(KIND, "a file in place of their folder", r"state.*(Not a directory|File exists)")
def _(folder):
    (folder / "state").write_text("mine")
    checkpoint.save(folder / "state", 5, {"weight": torch.ones(3)}, {})


@refused(KIND, "a folder that another run uses", r"state: process \d+ is training here; wait for it or end it first")
def _(folder):
    hold = HOLD.format(str(folder / "state"))
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE) as other:
        try:
            other.stdout.readline()
            with checkpoint.locked(folder / "state"):
                pass
        finally:
            other.kill()


HOLD = """
import time
from pathlib import Path
from pconv.training.checkpoint import locked
with locked(Path({!r})):
    print(flush=True)
    time.sleep(60)
"""

# With training


@cache
def trained() -> tuple[Path, bytes]:
    """Train a tiny network once; return the project, with its last two checkpoints, and the bytes of the weights."""
    folder = Path(tempfile.mkdtemp(dir=Path.cwd().parent))
    fill(folder, *SPLIT)
    write_parameters(folder)
    with chdir(folder):
        run("pconv.data")
        params = load_params()
        write_masks(params)
        train(params, 1)
    return folder, (folder / "models/stage1/last.safetensors").read_bytes()


def write_parameters(folder: Path, **changes) -> None:
    """Write the parameters of the tiny run; changes are of its stage 1."""
    data = {"source": "folder", "folder": "photographs", "min_side": 16, "size": 16}
    values = {**VALUES, "data": {**VALUES["data"], **data}}
    values["model"] = {**VALUES["model"], "width": 2, "depth": 2}
    values["loss"] = {**VALUES["loss"], "vgg": "random"}
    stage = {"lr": 0.01, "lr_end": None, "epochs": 2, "steps": 2, **changes}
    values["train"] = {**VALUES["train"], "precision": "float32", "checkpoint_seconds": 0, "stage1": stage}
    (folder / "params.yaml").write_text(flow(values))


def again(folder: Path, change, words: str) -> None:
    """Change something about a trained run, and train again.

    What is said has these words in it. Unless they say what has changed, the run ends with the same weights.
    """
    project, weights = trained()
    shutil.copytree(project, folder / "project", symlinks=True)
    said = StringIO()
    with chdir(folder / "project"), redirect_stderr(said):
        change(Path())
        shutil.rmtree("models/stage1")
        train(load_params(), 1)
        assert words in said.getvalue(), said.getvalue()
        same = Path("models/stage1/last.safetensors").read_bytes() == weights
        assert same != words.startswith("changed"), "the same weights" if same else "other weights"


def states() -> list[Path]:
    """Return the checkpoints of stage 1, the oldest first."""
    return sorted(Path("models/state/stage1").glob("step-*"))


def lie(change) -> None:
    """Change what the newest checkpoint says of itself, checksums included, and remove the one before."""
    *older, path = states()
    for other in older:
        shutil.rmtree(other)
    change(path)
    sums = "".join(f"{hashlib.sha256((path / n).read_bytes()).hexdigest()}  {n}\n" for n in (TENSORS, STATE))
    (path / SUMS).write_text(sums)


def restate(change):
    """Return a change of the newest checkpoint's numbers."""

    def apply(folder: Path) -> None:
        lie(lambda path: (path / STATE).write_text(json.dumps(change(json.loads((path / STATE).read_text())))))

    return apply


def of_other_code(state: dict) -> dict:
    """Return numbers that name other code."""
    return state | {"fingerprint": {key: "0" if key.endswith(".py") else v for key, v in state["fingerprint"].items()}}


def without(*names: str):
    """Return a change that leaves numbers out."""
    return restate(lambda state: {name: value for name, value in state.items() if name not in names})


def exchange_masks(folder: Path) -> None:
    """Give each training mask the content of another; their index stays as it is."""
    paths = sorted(folder.glob("data/masks/train/*.png"))
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, [*contents[1:], contents[0]], strict=True):
        path.write_bytes(content)


AFRESH = "starting afresh"
NONE = r"state/stage1: its newest checkpoint is whole but not one that training wrote \(.+\); delete the folder"
table(KIND, again, {
    "a finished run is not trained again": (lambda folder: None, "going on from step 4 of 4", None),
    "the newest is damaged": (lambda folder: rewrite(states()[-1] / TENSORS, flip), "damaged", None),
    "all are damaged": (lambda folder: [rewrite(path / TENSORS, flip) for path in states()], "damaged", None),
    "another learning rate": (lambda folder: write_parameters(folder, lr=0.02), "changed train.stage1.lr", None),
    "other masks under the same names": (exchange_masks, "changed train masks", None),
    "of other code": (restate(of_other_code), f"{AFRESH}, not from step 4: changed src/pconv/", None),
    "without a fingerprint": (without("fingerprint"), "", NONE),
    "a fingerprint that is a list": (restate(lambda state: state | {"fingerprint": [1]}), "", NONE),
    "numbers that are a list": (restate(lambda state: [1]), "", NONE),
    "numbers that are missing": (without("losses", "history", "best_row", "seconds"), "", NONE),
    "a step in words": (restate(lambda state: state | {"step": "four"}), "", NONE),
    "a step after the last": (restate(lambda state: state | {"step": 400}), "", NONE),
    "tensors of another network": (
        lambda folder: lie(lambda path: shutil.copy("models/stage1/best.safetensors", path / TENSORS)),
        "", NONE,
    ),
})  # fmt: skip


@refused(KIND, "stage 2 without stage 1", r"stage1/best\.safetensors: .*no such|stage1/best\.safetensors: No such")
def _(folder):
    project, _ = trained()
    shutil.copytree(project, folder / "project", symlinks=True)
    with chdir(folder / "project"):
        shutil.rmtree("models/stage1")
        train(load_params(), 2)


@refused(KIND, "stage 2 after a damaged stage 1", r"stage1/best\.safetensors: ")
def _(folder):
    project, _ = trained()
    shutil.copytree(project, folder / "project", symlinks=True)
    with chdir(folder / "project"):
        rewrite(Path("models/stage1/best.safetensors"), lambda content: content[:1000])
        train(load_params(), 2)


@refused(
    KIND, "stage 2 after a stage 1 of another width", r"stage1/best\.safetensors: .*width 2.*width 4.*train stage 1"
)
def _(folder):
    project, _ = trained()
    shutil.copytree(project, folder / "project", symlinks=True)
    with chdir(folder / "project"):
        path = Path("params.yaml")
        path.write_text(path.read_text().replace("width: 2", "width: 4"))
        train(load_params(), 2)
