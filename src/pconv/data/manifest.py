"""The list of the photographs in use, with the split of each: data/images/manifest.csv.

Photographs are split by photograph: no two splits share one. The stage `images` (python -m pconv.data) writes the
manifest; everything else reads it.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np

from pconv.data.cache import ArrayCache
from pconv.data.decoding import ImageError, read_image
from pconv.data.sources import find_photographs, unpack
from pconv.params import Data
from pconv.project import SPLITS, image_folder, project_root

DECODED = ArrayCache(64 * 2**20)  # holds all the packaged ones that train; of thousands none comes back soon


def read_photograph(path: Path) -> np.ndarray:
    """Read a photograph of the manifest, (H, W, 3) uint8, RGB, from memory if it was read lately.

    Raises ImageError with its path if it cannot be read any more.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}; run `dvc repro --force images` if photographs moved") from None
    return DECODED.get((path, found.st_size, found.st_mtime_ns), lambda: read_image(path))


def manifest_path() -> Path:
    return image_folder() / "manifest.csv"


def image_root(data: Data) -> Path:
    """The folder that the manifest's paths start from."""
    return project_root() / data.folder if data.source == "folder" else manifest_path().parent


def read_manifest(data: Data, split: str) -> list[Path]:
    """Paths of the photographs of one split, in the manifest's order. Raises ImageError if there is no manifest."""
    if not manifest_path().is_file():
        raise ImageError(f"{manifest_path()}: no such file; `dvc repro images` writes it")
    with open(manifest_path(), newline="") as file:
        names = [row["path"] for row in csv.DictReader(file) if row["split"] == split]
    return [image_root(data) / name for name in names]


def write_manifest(data: Data) -> dict[str, int]:
    """Unpack the packaged photographs or list a folder's; returns the number of photographs per split."""
    target = manifest_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    if data.source == "folder":
        splits = find_photographs(image_root(data))
    else:
        splits = {split: unpack(split, target.parent) for split in SPLITS}
    with open(target, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["split", "path", "bytes"])
        for split, paths in splits.items():
            for path in paths:
                writer.writerow([split, path.relative_to(image_root(data)).as_posix(), path.stat().st_size])
    return {split: len(paths) for split, paths in splits.items()}
