"""Photographs that installed packages bring."""

from __future__ import annotations

import csv
import os
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from pconv.data.decoding import ImageError
from pconv.files import write_file

TABLE = Path(files("pconv") / "photographs" / "index.csv")


class Packaged(NamedTuple):
    """A photograph that this package or one that it needs brings: a row of src/pconv/photographs/index.csv."""

    name: str  # without suffix
    split: str
    package: str
    file: str  # its path in the package
    shows: str
    author: str
    origin: str
    licence: str


def unpack(split: str, folder: Path) -> list[str]:
    """Copy the packaged photographs of a split into a folder; returns their names there.

    Raises ImageError if a package lacks one, or if a file that is not the packaged photograph has its name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packaged = _packaged(split)
    for name, row in packaged.items():
        source = _source(row)
        if not source.is_file():
            raise ImageError(f"{row.package} does not bring {source}; install the versions in requirements.lock")
        if not os.path.lexists(folder / name):
            write_file(folder / name, source.read_bytes())
        elif not _is_copy(folder / name, source):
            raise ImageError(
                f"{folder / name}: in the way of the packaged photograph of that name, but not equal to it; move it "
                f"out of {folder} or delete it, then run `dvc repro images`"
            )
    return list(packaged)


def remove_unpacked(split: str, folder: Path) -> None:
    """Remove what `unpack` copied into a folder, and nothing else; the folder is there afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, row in _packaged(split).items():
        if os.path.lexists(folder / name) and _is_copy(folder / name, _source(row)):
            (folder / name).unlink()


def packaged_photographs() -> list[Packaged]:
    """Return the table of all packaged photographs, with the split, author, origin and licence of each."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [Packaged(**row) for row in csv.DictReader(file)]


def _packaged(split: str) -> dict[str, Packaged]:
    """Return the packaged photographs of a split by the names of their copies."""
    return {row.name + Path(row.file).suffix: row for row in packaged_photographs() if row.split == split}


def _source(row: Packaged) -> Path:
    """Return the path of a packaged photograph; its package is imported for it, which may take a second."""
    return files(row.package) / row.file


def _is_copy(path: Path, source: Path) -> bool:
    return path.is_file() and source.is_file() and path.read_bytes() == source.read_bytes()
