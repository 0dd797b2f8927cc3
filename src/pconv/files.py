"""Reading of files that cannot hang, and writing that leaves a file whole or untouched."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from pathlib import Path
from typing import BinaryIO


def open_file(path: str | Path) -> BinaryIO:
    """Open a regular file for reading in bytes.

    Raises OSError, whose strerror says why, if the file cannot be opened or is not a regular file: a FIFO or a device
    may never end.
    """
    kind = os.stat(path).st_mode
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, "This is a folder, not a file", str(path))
    if not stat.S_ISREG(kind):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return open(path, "rb")


def read_small(path: str | Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises OSError, whose strerror says why, if the file is larger, and as open_file does.
    """
    with open_file(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"Larger than {limit:,} bytes", str(path))
    return content


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a regular file's content, in hexadecimal. Raises OSError as open_file does."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_state(path: str | Path) -> tuple[int, int] | None:
    """Return the size of a file, in bytes, and the time of its last change, in ns; None if it cannot be looked at.

    Of the two times that file systems keep, the later one counts: copying may bring along the time of the content, and
    new permissions change only the other.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, max(found.st_mtime_ns, found.st_ctime_ns)


def write_file(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises OSError on failure, and the old file is then unchanged.

    A link is replaced and never written through: it may lead into DVC's cache, where other versions share the file.
    Any other file keeps its mode.
    """
    path = Path(path)
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")  # the name may be as long as names can be
    try:
        mode = _mode(path)
        partial.touch(0o666 if mode is None else 0o600, exist_ok=False)
        partial.write_bytes(content)
        if mode not in (None, _mode(partial)):  # some file systems have no modes to set
            partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _mode(path: Path) -> int | None:
    """Return the permissions of a file; None if there is none of this path alone."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return stat.S_IMODE(found.st_mode) if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else None
