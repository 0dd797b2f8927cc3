"""Where the project's files are: the one place that knows its root and its paths."""

from __future__ import annotations

import os
from pathlib import Path

from pconv.errors import PConvError

SPLITS = ("train", "val", "test")


class ProjectError(PConvError, FileNotFoundError):
    """A command or a notebook was started outside the project; the message says what to do."""


def project_root(start: Path | None = None) -> Path:
    """Return the nearest folder at or above `start` (default: the working directory) that holds dvc.yaml.

    Raises ProjectError if there is none.
    """
    try:
        start = (start or Path.cwd()).resolve()
    except FileNotFoundError:  # only Path.cwd() raises it
        raise ProjectError("the working directory does not exist any more: run this inside the project") from None
    for folder in (start, *start.parents):
        if os.path.isfile(folder / "dvc.yaml"):  # False, not an error, where a folder cannot be looked into
            return folder
    raise ProjectError(f"no dvc.yaml at or above {start}: run this inside the project")


def image_folder() -> Path:
    """Return the folder of the lists of photographs and of the packaged ones."""
    return project_root() / "data" / "images"


def memory_path() -> Path:
    """Return the path of the database of what was seen of photographs; it may be deleted at any time."""
    return project_root() / "data" / "seen.sqlite"


def mask_folder(split: str) -> Path:
    """Return the folder of the masks of one split."""
    return project_root() / "data" / "masks" / split


def watch_folder() -> Path:
    """Return the folder of the lines that change with folders of the user's."""
    return project_root() / "data" / "watched"


def model_folder(stage: int) -> Path:
    """Return the folder of a finished stage's weights."""
    return project_root() / "models" / f"stage{stage}"


def state_folder(stage: int) -> Path:
    """Return the folder of an unfinished stage's checkpoints."""
    return project_root() / "models" / "state" / f"stage{stage}"


def plot_folder() -> Path:
    """Return the folder of the curves and tables that `dvc plots` draws."""
    return project_root() / "reports" / "plots"


def metric_folder() -> Path:
    """Return the folder of the numbers that later runs and other notebooks read."""
    return project_root() / "reports" / "metrics"


def figure_folder() -> Path:
    """Return the folder of the pictures that pages outside the notebooks show, or that 06-compare reads."""
    return project_root() / "reports" / "figures"


def claims_folder() -> Path:
    """Return the folder of the experiments behind notebook 07 and of what was measured in them."""
    return project_root() / "claims"
