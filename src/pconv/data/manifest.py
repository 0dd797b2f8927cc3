"""The photographs in use: data/images/train.csv, val.csv and test.csv, one line for each photograph.

The stage `images` (python -m pconv.data) writes them; everything else reads them. A list holds the size and checksum of
each photograph, so that one that was changed is not read by mistake.
"""

from __future__ import annotations

import csv
import hashlib
import os
import sys
import time
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pconv.data.cache import ArrayCache
from pconv.data.decoding import ImageError, decode_for_crops, read_bytes
from pconv.data.shards import is_url, read_member
from pconv.errors import cut
from pconv.files import open_file, write_file
from pconv.params import Data
from pconv.project import image_folder, project_root

COLUMNS = ("path", "bytes", "sha256")
SHARD_COLUMNS = (*COLUMNS, "shard", "offset")
DECODED = ArrayCache(64 * 2**20)  # holds all the packaged ones that train; of thousands none comes back soon
REMEDY = "run `dvc repro images` to list the photographs as they are now"


class Photograph(NamedTuple):
    """A photograph as it was when it was listed."""

    folder: Path
    name: str  # its path in the folder, or in the shard
    bytes: int
    sha256: str
    shard: str = ""  # the path in the folder, or the URL, of the tar file that holds it, if one does
    offset: int = 0  # of its first byte there

    @property
    def path(self) -> Path:
        """Where it is, if it is a file."""
        return self.folder / self.name

    @property
    def label(self) -> str:
        """What no other photograph of the list is called: its name, in a shard after that of the shard."""
        return f"{self.shard}/{self.name}" if self.shard else self.name


def manifest_path(split: str) -> Path:
    """Return the path of the list of a split's photographs."""
    return image_folder() / f"{split}.csv"


def photograph_folder(data: Data, split: str) -> Path:
    """Return the folder that the paths in the list of a split start from."""
    if data.source == "packaged":
        return image_folder() / "packaged" / split
    folder = project_root() / data.folder
    return folder if data.source != "webdataset" or os.path.isdir(folder) else project_root()


def read_manifest(data: Data, split: str) -> list[Photograph]:
    """Return the photographs of one split, in the order of its list.

    Raises ImageError if there is no list, or the file is not one.
    """
    path, folder = manifest_path(split), photograph_folder(data, split)
    try:
        with open_file(path) as file:
            text = file.read().decode("utf-8", "surrogateescape")  # names of files are bytes
        rows = csv.reader(StringIO(text, newline=""), strict=True)
        columns = SHARD_COLUMNS if data.source == "webdataset" else COLUMNS
        if tuple(next(rows)) != columns:
            raise ValueError("other columns")
        found = [_photograph(folder, row) for row in rows]
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file; `dvc repro images` writes it") from None
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}; move it away, then run `dvc repro images`") from None
    except (ValueError, StopIteration, csv.Error):
        found = []
    if not found:
        raise ImageError(f"{path}: not a list of photographs; run `dvc repro images`, which writes it anew")
    return found


def _photograph(folder: Path, row: list[str]) -> Photograph:
    """Return what a row of a list says. Raises ValueError if it cannot be one."""
    name, size, sha256, *place = row
    if not place:
        return Photograph(folder, name, int(size), sha256)
    shard, offset = place
    return Photograph(folder, name, int(size), sha256, sys.intern(shard), int(offset))


def write_manifest(split: str, photographs: Iterable[Photograph]) -> None:
    """Write the list of a split, whole or not at all."""
    photographs = list(photographs)
    columns = SHARD_COLUMNS if photographs[0].shard else COLUMNS
    write_rows(manifest_path(split), columns, (photograph[1 : len(columns) + 1] for photograph in photographs))


def write_rows(path: Path, columns: Iterable[str], rows: Iterable[Iterable]) -> None:
    """Write a CSV file, whole or not at all; text may be what `os.fsdecode` made of any name of a file."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)  # names may hold any character
    writer.writerow(columns)
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text.getvalue().encode("utf-8", "surrogateescape"))


def read_photograph(photograph: Photograph, least_side: float = np.inf) -> np.ndarray:
    """Read a photograph, (H, W, 3) uint8, RGB, from memory if it was read lately; it cannot be written to.

    A large one may be smaller than it is where its format makes that cheap, with a shorter side of at least
    `least_side` pixels.

    Raises ImageError with its path if it cannot be read any more, or has been changed since it was listed.
    """
    path = photograph.path
    if photograph.shard:
        return DECODED.get((photograph, least_side), lambda: _read_from_shard(photograph, least_side))
    try:
        found = os.stat(path)
    except OSError as error:
        raise ImageError(f"{cut(path, 300)}: {error.strerror}; {REMEDY}") from None
    key = (path, found.st_size, found.st_mtime_ns, least_side)
    return DECODED.get(key, lambda: _read_listed(photograph, least_side))


def _read_listed(photograph: Photograph, least_side: float) -> np.ndarray:
    """Read a photograph that the stage `images` has looked at, so that only a change has to be ruled out."""
    encoded = read_bytes(photograph.path)
    if len(encoded) != photograph.bytes or hashlib.sha256(encoded).hexdigest() != photograph.sha256:
        raise ImageError(f"{cut(photograph.path, 300)}: changed since it was listed; {REMEDY}")
    return decode_for_crops(encoded, photograph.path, least_side)


def _read_from_shard(photograph: Photograph, least_side: float) -> np.ndarray:
    """Read a photograph in a shard. A shard that was fetched before the photographs were listed is fetched again."""
    folder, name, size, sha256, shard, offset = photograph
    where = f"{cut(shard, 300)}: {cut(name, 300)}"
    for since in (0, time.time()) if is_url(shard) else (0,):
        encoded = read_member(folder, shard, offset, size, since)
        if hashlib.sha256(encoded).hexdigest() == sha256:
            return decode_for_crops(encoded, where, least_side)
    raise ImageError(f"{where}: changed since it was listed; {REMEDY}")
