"""Photographs in shards: tar files as webdataset writes them, read at the place of each photograph.

So any photograph can be read at any time, and a sample stays a function of its seed and number.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pconv.data.decoding import MOST_BYTES, ImageError
from pconv.data.fetching import fetch_ahead, open_fetched
from pconv.errors import cut
from pconv.files import open_file

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}  # how they begin
BLOCK = 512  # bytes, of which tar files consist
OPEN_FILES = 64  # shards on file systems of this machine's or its network that stay open
AGAIN = "make the shard anew, for example with webdataset's ShardWriter"


class Member(NamedTuple):
    """A photograph in a shard."""

    name: str  # in the tar file
    offset: int  # of its first byte there
    bytes: int
    problem: str = ""  # why it cannot be read there


def is_url(shard: str) -> bool:
    """Whether a shard has to be fetched."""
    return "://" in shard


def list_members(file: BinaryIO, shard: str) -> list[Member]:
    """Return the photographs in a shard in its order.

    All but files with the suffix of a photograph is passed over, as are names that begin with a dot. Raises ImageError
    with the name of the shard if it is no whole, uncompressed tar file, if a sample (in webdataset, what is before the
    first dot of the name) has several photographs, and if there is none at all.
    """
    _refuse_compressed(file, shard)
    found: list[Member] = []
    keys: dict[str, str] = {}
    for entry in _entries(file, shard):
        folder, _, name = entry.name.rpartition("/")
        if name.startswith(".") or os.path.splitext(name)[1].lower() not in SUFFIXES or entry.isdir():
            continue
        key = f"{folder}/{name.partition('.')[0]}"
        if key in keys:
            raise ImageError(
                f"{cut(shard, 300)}: {cut(keys[key], 200)} and {cut(entry.name, 200)} are photographs of one sample, "
                f"which is named by what is before the first dot; {AGAIN}, with one for each"
            )
        keys[key] = entry.name
        found.append(Member(entry.name, entry.offset_data, entry.size, _problem(entry)))
    if not found:
        raise ImageError(f"{cut(shard, 300)}: holds no photograph ({', '.join(SUFFIXES)})")
    return found


def _problem(entry: tarfile.TarInfo) -> str:
    if not entry.isreg() or entry.issparse():
        return "a link, or stored in pieces; put the photograph itself into the shard"
    return f"larger than {MOST_BYTES / 1e6:.0f} MB, the most that is read" if entry.size > MOST_BYTES else ""


def _refuse_compressed(file: BinaryIO, shard: str) -> None:
    start = os.pread(file.fileno(), 8, 0)
    for magic, kind in COMPRESSED.items():
        if start.startswith(magic):
            raise ImageError(
                f"{cut(shard, 300)}: compressed with {kind}, so that no photograph can be read at its place; unpack it "
                "to a plain .tar: photographs are compressed already"
            )


def _entries(file: BinaryIO, shard: str) -> Iterator[tarfile.TarInfo]:
    """Yield the entries of a tar file. Raises ImageError if it is none, damaged, or does not end where it should."""
    count, whole = 0, False
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            for entry in tar:
                count += 1
                yield entry
            whole = _is_zero(file, tar.offset)  # tarfile takes a damaged header for the end
    except Exception:  # such headers also make it raise almost anything
        pass
    if not whole:
        raise ImageError(
            f"{cut(shard, 300)}: no tar file, or damaged, cut short, or several in one: nothing can be read after "
            f"entry {count:,}; copy it again, or {AGAIN}"
        )


def _is_zero(file: BinaryIO, start: int) -> bool:
    """Whether a file goes on at least for one block, and holds nothing but zeros from there on."""
    size = os.fstat(file.fileno()).st_size
    blocks = (os.pread(file.fileno(), 2**20, place) for place in range(start, size, 2**20))
    return size >= start + BLOCK and not any(block.strip(b"\0") for block in blocks)


def open_shard(folder: Path, shard: str, since: float) -> BinaryIO:
    """Open a shard for reading: a path in a folder, or a URL, which is fetched unless it was `since` a time.

    Raises ImageError with its name and the reason.
    """
    if is_url(shard):
        return open_fetched(shard, since)
    try:
        return open_file(folder / shard)
    except OSError as error:
        raise ImageError(f"{cut(shard, 300)}: {error.strerror}") from None


def read_member(folder: Path, shard: str, offset: int, size: int, since: float = 0) -> bytes:
    """Return the bytes of a photograph in a shard, fewer if it ends before. Raises ImageError as open_shard does."""
    if is_url(shard):
        with open_fetched(shard, since) as file:
            return os.pread(file.fileno(), size, offset)
    try:
        return os.pread(_kept_open(folder / shard).file.fileno(), size, offset)
    except OSError as error:
        raise ImageError(f"{cut(shard, 300)}: {error.strerror}") from None


def fetch_shard_ahead(shard: str) -> None:
    """Begin to fetch a shard in the background, if it has to be fetched."""
    if is_url(shard):
        fetch_ahead(shard)


class _Open:
    """A file that is closed when nobody needs it any more."""

    def __init__(self, path: Path):
        self.file = open_file(path)

    def __del__(self):
        if hasattr(self, "file"):
            self.file.close()


@lru_cache(maxsize=OPEN_FILES)
def _kept_open(path: Path) -> _Open:
    """Open a shard of this machine's for a while: on the file systems of clusters that takes longer than to read."""
    return _Open(path)
