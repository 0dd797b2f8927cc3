"""What is typed in a terminal: the package's commands, and papermill's parameters for the notebooks."""

from __future__ import annotations

import os
import runpy
import shutil
import sys
from pathlib import Path

from hostile import right, table
from hostile.parameters import GOOD, changed
from pconv.project import project_root

ROOT = project_root(Path(__file__))
COMMANDS, PAPERMILL = "commands", "papermill's parameters"


def project(folder: Path, parameters: str = GOOD) -> None:
    """Make a project that has nothing but parameters."""
    (folder / "dvc.yaml").touch()
    (folder / "params.yaml").write_text(parameters)


def run(module: str, *arguments: str) -> None:
    """Do what `python -m module arguments` does, in this process."""
    before, sys.argv = sys.argv, [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sys.argv = before


def inside(folder: Path, *command: str) -> None:
    """Run a command in a project."""
    project(folder)
    run(*command)


def outside(folder: Path, *command: str) -> None:
    """Run a command in a folder that belongs to no project."""
    run(*command)


def misled(folder: Path, *command: str) -> None:
    """Run a command in a project whose parameters are wrong."""
    project(folder, changed("seed", -1))
    run(*command)


def without_parameters(folder: Path, *command: str) -> None:
    """Run a command in a project without params.yaml."""
    (folder / "dvc.yaml").touch()
    run(*command)


def prepare(folder: Path) -> None:
    """Write what `inside` may name: a text file, a folder, a FIFO, notebooks that are none."""
    (folder / "src/pconv").mkdir(parents=True)  # what tells this project from others
    (folder / "text.txt").write_text("a text")
    (folder / "sub").mkdir()
    os.mkfifo(folder / "fifo.ipynb")
    (folder / "notebooks").mkdir()
    for name, content in {"empty": "", "list": "[]", "object": "{}", "deep": "[" * 5000, "text": "a text"}.items():
        (folder / f"notebooks/{name}.ipynb").write_text(content)
    os.mkfifo(folder / "notebooks/fifo.ipynb")
    (folder / "notebooks/folder.ipynb").mkdir()


def prepared(folder: Path, *command: str) -> None:
    """Run a command in a project with files that it may be pointed to."""
    prepare(folder)
    inside(folder, *command)


table(COMMANDS, outside, {
    f"{module} outside a project": (module, *arguments, r"no dvc\.yaml at or above .*: run this inside the project")
    for module, *arguments in (
        ("pconv.params", str(ROOT / "params/smoke.yaml")),
        ("pconv.data",),
        ("pconv.data.watch",),
        ("pconv.train", "--stage", "1"),
        ("pconv.reproduced",),
    )
})  # fmt: skip
table(COMMANDS, misled, {
    f"{module} with a wrong parameter": (module, *arguments, r"params\.yaml: seed = -1")
    for module, *arguments in (("pconv.data",), ("pconv.train", "--stage", "1"))
})  # fmt: skip
table(COMMANDS, without_parameters, {
    f"{module} without params.yaml": (module, *arguments, r"params\.yaml: No such file")
    for module, *arguments in (("pconv.data",), ("pconv.train", "--stage", "1"))
})  # fmt: skip
table(COMMANDS, prepared, {
    "pconv.params: no argument": ("pconv.params", r"usage: python -m pconv\.params params/NAME\.yaml"),
    "pconv.params: two arguments": ("pconv.params", "a.yaml", "b.yaml", r"usage: "),
    "pconv.params: no such file": ("pconv.params", "none.yaml", r"none\.yaml: No such file"),
    "pconv.params: a folder": ("pconv.params", "sub", r"sub: This is a folder"),
    "pconv.params: a FIFO": ("pconv.params", "fifo.ipynb", r"fifo\.ipynb: Not a regular file"),
    "pconv.params: a text": ("pconv.params", "text.txt", r"text\.txt: expected sections"),
    "pconv.params: edits that would be lost": (
        "pconv.params", str(ROOT / "params/paper-places2.yaml"), r"params\.yaml: has edits that are saved nowhere else"
    ),
    "pconv.data: an argument": ("pconv.data", "photographs", r"usage|argument"),
    "pconv.data.watch: an argument": ("pconv.data.watch", "photographs", r"usage|argument"),
    "pconv.train: no stage": ("pconv.train", r"--stage"),
    "pconv.train: stage 3": ("pconv.train", "--stage", "3", r"--stage.*3"),
    "pconv.train: stage one": ("pconv.train", "--stage", "one", r"--stage.*one"),
    "pconv.train: an unknown option": ("pconv.train", "--stage", "1", "--lr", "3", r"unrecognized arguments: --lr 3"),
    "pconv.train: nothing to train on": ("pconv.train", "--stage", "1", r"\.csv: no such file; `dvc repro"),
    "pconv.train: stage 2 without stage 1": ("pconv.train", "--stage", "2", r"\.csv: no such file|best\.safetensors"),
    "pconv.jupyter: no such file": ("pconv.jupyter", "notebooks/none.ipynb", r"none\.ipynb: No such file"),
    "pconv.jupyter: a FIFO": ("pconv.jupyter", "notebooks/fifo.ipynb", r"fifo\.ipynb: Not a regular file"),
    "pconv.jupyter: a folder": ("pconv.jupyter", "notebooks/folder.ipynb", r"folder\.ipynb: This is a folder"),
    "pconv.jupyter: an empty file": ("pconv.jupyter", "notebooks/empty.ipynb", r"empty\.ipynb: not a notebook"),
    "pconv.jupyter: a list": ("pconv.jupyter", "notebooks/list.ipynb", r"list\.ipynb: not a notebook"),
    "pconv.jupyter: an object": ("pconv.jupyter", "notebooks/object.ipynb", r"object\.ipynb: not a notebook"),
    "pconv.jupyter: 5,000 brackets": ("pconv.jupyter", "notebooks/deep.ipynb", r"deep\.ipynb: not a notebook"),
    "pconv.jupyter: a text": ("pconv.jupyter", "notebooks/text.ipynb", r"text\.ipynb: not a notebook"),
    "pconv.site: before the pipeline has run": ("pconv.site", r"evaluate\.json: .*run `dvc repro` and build the site"),
    "pconv.site: a folder with other files": ("pconv.site", "notebooks", r"notebooks: holds other files, such as "),
    "pconv.site: a file": ("pconv.site", "text.txt", r"text\.txt: not a folder; name an empty one"),
    "pconv.reproduced: an argument": ("pconv.reproduced", "now", r"unrecognized arguments: now"),
})  # fmt: skip


@right(COMMANDS, "pconv.params: the set that is the current one already")
def _(folder):
    project(folder)
    shutil.copy(folder / "params.yaml", folder / "again.yaml")
    run("pconv.params", "again.yaml")
    assert (folder / "params.yaml").read_text() == GOOD


# papermill


def papermill(folder: Path, notebook: str, *options: str) -> None:
    """Run a notebook of the project as its stages do; it has to be refused before anything is written."""
    from papermill.cli import papermill as command  # imported here: it loads the engine, and takes a second

    project(folder)
    before = sorted(folder.iterdir())
    start = ["--engine", "reproducible", "--log-level", "WARNING", "--no-progress-bar"]
    try:
        command([*start, str(ROOT / "notebooks" / notebook), "out/out.ipynb", *options])
    finally:
        assert sorted(folder.iterdir()) == before, "something was written"


TRAIN, COMPARE = "04-train.ipynb", "06-compare.ipynb"
table(PAPERMILL, papermill, {
    "stage 3": (TRAIN, "-p", "stage", "3", r"04-train\.ipynb: .*stage.*3.*1.*2"),
    "stage 0": (TRAIN, "-p", "stage", "0", r"04-train\.ipynb: .*stage"),
    "stage one": (TRAIN, "-p", "stage", "one", r"04-train\.ipynb: .*stage.*one"),
    "stage 1.0": (TRAIN, "-p", "stage", "1.0", r"04-train\.ipynb: .*stage.*1\.0"),
    "stage true": (TRAIN, "-p", "stage", "true", r"04-train\.ipynb: .*stage"),
    "stage '1', as text": (TRAIN, "-r", "stage", "1", r"04-train\.ipynb: .*stage"),
    "a name misspelt": (TRAIN, "-p", "stages", "1", r"04-train\.ipynb: .*stages: unknown.* did you mean stage"),
    "a parameter of params.yaml": (TRAIN, "-p", "lr", "1", r"04-train\.ipynb: .*lr: unknown parameter"),
    "for a notebook without parameters": ("01-masks.ipynb", "-p", "seed", "1", r"01-masks\.ipynb: .*seed"),
    "a number for a commit": (COMPARE, "-p", "rev", "3", r"06-compare\.ipynb: .*rev"),
})  # fmt: skip
