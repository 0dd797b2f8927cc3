"""What was seen of photographs, kept so that of a large folder only what has changed is looked at again.

A file is known again by its path, its size and the time of its last change. Whether it is still the same, its checksum
tells whenever it is read.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pconv.data.decoding import ImageError

SIDE = 16  # of a thumbnail
PATIENCE = 60.0  # seconds that another process may take to write
DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR)  # the last for another table
ADVICE = {
    sqlite3.SQLITE_BUSY: "wait until the other process that uses it has ended",
    sqlite3.SQLITE_CANTOPEN: "it has to lie where files can be written",
    sqlite3.SQLITE_READONLY: "it has to lie where files can be written",
}
TABLE = (
    "CREATE TABLE IF NOT EXISTS seen "
    "(path BLOB PRIMARY KEY, bytes INT, time INT, rules TEXT, sha256 TEXT, thumbnail BLOB, reason BLOB) WITHOUT ROWID"
)


class Seen(NamedTuple):
    """What was seen of a photograph."""

    bytes: int
    sha256: str
    thumbnail: np.ndarray  # (SIDE, SIDE) uint8, grey


class Memory:
    """What was seen of files, or why they were rejected, in a database.

    rules: a text that stands for how they were looked at; what was seen by other rules does not count.
    """

    def __init__(self, path: Path, rules: str):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database, self._rules = sqlite3.connect(path, timeout=PATIENCE), rules
        try:
            self._database.execute(TABLE)
            self._database.execute("SELECT path, bytes, time, rules, sha256, thumbnail, reason FROM seen LIMIT 1")
        except BaseException:
            self.close()
            raise

    def recall(self, states: dict[str, tuple[int, int] | None]) -> dict[str, Seen | ImageError]:
        """Return what is known of files, given with their states by their paths, without those that have changed."""
        query = f"SELECT * FROM seen WHERE path IN ({','.join('?' * len(states))})"
        rows = self._database.execute(query, [os.fsencode(path) for path in states])
        return {
            path: _remembered(size, *what)
            for key, size, time, rules, *what in rows
            if states[path := os.fsdecode(key)] == (size, time) and rules == self._rules
        }

    def keep(self, found: dict[str, Seen | ImageError], states: dict[str, tuple[int, int] | None]) -> None:
        """Keep what was seen of files, with their states from before they were looked at."""
        rows = []
        for path, seen in found.items():
            if states[path]:
                rows.append((os.fsencode(path), *states[path], self._rules, *_stored(seen)))
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _stored(seen: Seen | ImageError) -> tuple:
    """Return the checksum, the thumbnail and the reason against a photograph, as the database has them."""
    return (
        (None, None, os.fsencode(str(seen)))
        if isinstance(seen, ImageError)
        else (seen.sha256, seen.thumbnail.tobytes(), None)
    )


def _remembered(size: int, sha256: str, thumbnail: bytes, reason: bytes | None) -> Seen | ImageError:
    if reason:
        return ImageError(os.fsdecode(reason))
    return Seen(size, sha256, np.frombuffer(thumbnail, np.uint8).reshape(SIDE, SIDE))


@contextmanager
def open_memory(path: Path, rules: str) -> Iterator[Memory]:
    """Open a memory, or begin a new one if the file is none: nothing is in it that cannot be found out again.

    Raises ImageError with the path if it cannot be used, now or later.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # which raise nothing
            raise ImageError(f"{path}: not a file; move it away")
        with closing(_open(path, rules)) as memory:
            yield memory
    except sqlite3.Error as error:
        advice = ADVICE.get(_code(error), "delete this file, which only saves time")
        raise ImageError(f"{path}: {error}; {advice}") from None


def _open(path: Path, rules: str) -> Memory:
    try:
        try:
            return Memory(path, rules)
        except (sqlite3.Error, UnicodeDecodeError) as error:  # messages about a damaged file may be no text
            if _code(error) not in DAMAGED:
                raise
            path.unlink(missing_ok=True)
            return Memory(path, rules)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}; {ADVICE[sqlite3.SQLITE_CANTOPEN]}") from None


def _code(error: Exception) -> int:
    """Return SQLite's code for the kind of an error."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
