"""Where the project's files are: the one place that knows its root and its paths."""

from __future__ import annotations

from pathlib import Path

SPLITS = ("train", "val", "test")


def project_root(start: Path | None = None) -> Path:
    """Return the nearest folder at or above `start` (default: the working directory) that holds dvc.yaml.

    Raises FileNotFoundError if there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise FileNotFoundError(f"no dvc.yaml at or above {start}: run this inside the project")


def image_folder() -> Path:
    """Return the folder of the manifest and of the packaged photographs."""
    return project_root() / "data" / "images"


def mask_folder(split: str) -> Path:
    """Return the folder of the masks of one split."""
    return project_root() / "data" / "masks" / split


def model_folder(stage: int) -> Path:
    """Return the folder of a finished stage's weights."""
    return project_root() / "models" / f"stage{stage}"


def state_folder(stage: int) -> Path:
    """Return the folder of an unfinished stage's checkpoints."""
    return project_root() / "models" / "state" / f"stage{stage}"


def plot_folder() -> Path:
    """Return the folder of the curves and tables that `dvc plots` draws."""
    return project_root() / "reports" / "plots"


def figure_folder() -> Path:
    """Return the folder of the pictures that pages outside the notebooks show, or that 06-compare reads."""
    return project_root() / "reports" / "figures"
