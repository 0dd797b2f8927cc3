"""What the stage `images` sees of the photographs in shards: each shard is fetched and gone through once."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pconv.data.checking import BATCH, look_at_some, looking
from pconv.data.decoding import ImageError
from pconv.data.memory import Memory, Seen
from pconv.data.shards import Member, is_url, list_members, open_shard
from pconv.files import file_state
from pconv.params import Data
from pconv.progress import Progress

FETCHED_AHEAD = 4  # shards, while others are looked at


def look_in_shards(
    shards: Sequence[str], folder: Path, data: Data, memory: Memory
) -> Iterator[tuple[str, Member, Seen | ImageError]]:
    """Look at the photographs in shards in parallel, with progress.

    Yields for each its shard, its place there, and what was seen of it, or why it is rejected. Those that the memory
    knows are not looked at if their shard is a file that has not changed. Raises ImageError with the name of a shard
    that cannot be read.
    """
    with looking() as pool, Progress(desc="shards", total=len(shards), delay=2) as progress:
        for shard, file in _opened(shards, folder):
            with file:
                changed = None if is_url(shard) else file_state(folder / shard)
                for start in range(0, len(members := list_members(file, shard)), BATCH):
                    batch = {f"{folder / shard}/{one.name}": one for one in members[start : start + BATCH]}
                    states = {path: changed and (one.bytes, changed[1]) for path, one in batch.items()}
                    seen = look_at_some(states, partial(_read, file, batch), data, pool, memory)
                    yield from ((shard, *each) for each in zip(batch.values(), seen, strict=True))
            progress.update()


def _read(file: BinaryIO, members: dict[str, Member], path: str) -> bytes:
    if (member := members[path]).problem:
        raise ImageError(member.problem)
    return os.pread(file.fileno(), member.bytes, member.offset)


def _opened(shards: Sequence[str], folder: Path) -> Iterator[tuple[str, BinaryIO]]:
    """Yield the shards with open files, fetched a few ahead, each anew: what was kept of it may be old."""
    began, left, coming = time.time(), iter(shards), deque()
    with ThreadPoolExecutor(FETCHED_AHEAD) as pool:
        try:
            for _ in range(len(shards)):
                while len(coming) < FETCHED_AHEAD and (shard := next(left, None)) is not None:
                    coming.append((shard, pool.submit(open_shard, folder, shard, began)))
                shard, opened = coming.popleft()
                yield shard, opened.result()
        finally:
            for _, opened in coming:
                if not opened.cancel() and not opened.exception():
                    opened.result().close()
