"""Shards that lie elsewhere: fetched whole into a folder of this machine, which all its processes share.

webdataset opens the URLs. Its cache is not used: that names files by the last part of their URL, so that train/0.tar
would be val/0.tar, every process fetches a copy of its own, and what came first goes first, in use or not.
The two variables of the environment by which it is set mean the same here: WDS_CACHE is the folder, WDS_CACHE_SIZE the
most bytes in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import select
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import TimeoutExpired
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from pconv.data.decoding import ImageError
from pconv.errors import cut
from pconv.progress import say

MOST_BYTES = 100e9  # in the folder, unless WDS_CACHE_SIZE says otherwise
STALLED = 60.0  # seconds without a byte after which a transfer is given up
PAUSES = (1.0, 10.0)  # seconds before a transfer that failed is tried again
IN_USE = 300.0  # seconds: a shard that was read so lately is missed if it makes room for another
REASONS = {  # why curl ended
    6: "the name of its server is not known",
    7: "its server takes no connection",
    18: "the transfer was cut short",
    22: "its server has no such file, or not for you",
    28: "its server does not answer",
}
FINAL = (22,)  # nothing to be tried again
OURS = re.compile(r"(?a)[0-9a-f]{16}-[\w.-]*")  # names of files in the folder, in which there may be others
_ahead = threading.Lock()  # one shard at a time is fetched ahead of its use
_warned = False


def fetch(url: str, since: float = 0) -> Path:
    """Return where a shard is on this machine, fetched unless that was done `since` a time, in seconds of the clock.

    Other processes that want the same shard wait for it. Raises ImageError with the URL and the reason.
    """
    path = cache_path(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(f"{path.name}.lock")):
            if not path.exists() or path.stat().st_mtime < since:
                _fetch(url, path, warn=not since)
    except OSError as error:
        raise _not_kept(url, path, error) from None
    return path


def _not_kept(url: str, path: Path, error: OSError) -> ImageError:
    where = cut(error.filename or path.parent, 300)
    return ImageError(
        f"{cut(url, 300)}: cannot be kept: {where}: {error.strerror}; set WDS_CACHE to a folder on a disk of this "
        "machine, and WDS_CACHE_SIZE to the bytes that may be in it"
    )


def open_fetched(url: str, since: float = 0) -> BinaryIO:
    """Open a shard for reading, fetched if need be, and note that it is in use. Raises ImageError as `fetch` does."""
    while True:
        path = cache_path(url)
        if since or not os.path.exists(path):  # which is no error where the folder may not be read
            fetch(url, since)
        try:
            file = open(path, "rb")
        except FileNotFoundError:  # it has just made room for another
            continue
        except OSError as error:
            raise _not_kept(url, path, error) from None
        with suppress(OSError):  # of another user, who fetched it, or in a folder that nobody may change
            os.utime(file.fileno(), ns=(time.time_ns(), os.fstat(file.fileno()).st_mtime_ns))
        return file


def fetch_ahead(url: str) -> None:
    """Begin to fetch a shard that will be needed soon, in the background; whoever needs it hears of a failure."""
    if not os.path.exists(cache_path(url)) and _ahead.acquire(blocking=False):
        threading.Thread(target=_fetch_ahead, args=(url,), daemon=True).start()


def _fetch_ahead(url: str) -> None:
    try:
        fetch(url)
    except ImageError:
        time.sleep(PAUSES[0])
    finally:
        _ahead.release()


def is_command(url: str) -> bool:
    """Whether webdataset would take a URL for a command of the shell; all others are one argument of a program."""
    return urlparse(url).scheme == "pipe"


def remote_state(url: str) -> str:
    """Return what a server says by which a change of a file is noticed; "" if it says nothing, or speaks no HTTP.

    Raises ImageError if there is no such file, or the server cannot be reached.
    """
    if urlparse(url).scheme not in ("http", "https"):
        return ""
    try:
        with urlopen(Request(url, method="HEAD"), timeout=STALLED) as answer:
            told = (answer.headers.get(name) for name in ("Content-Length", "ETag", "Last-Modified"))
            return " ".join(filter(None, told))
    except HTTPError as error:
        error.close()
        if error.code in (404, 410):
            raise ImageError(f"{cut(url, 300)}: {REASONS[22]} (HTTP {error.code})") from None
        return ""  # some answer no question but for the file itself
    except (URLError, OSError, ValueError) as error:
        raise ImageError(f"{cut(url, 300)}: cannot be reached: {cut(getattr(error, 'reason', error), 200)}") from None


def cache_folder() -> Path:
    """Return the folder of shards that were fetched: WDS_CACHE, or pconv/shards among the user's cached files."""
    if folder := os.environ.get("WDS_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pconv" / "shards"


def cache_path(url: str) -> Path:
    """Return the path of a shard in the folder: its name after a hash of the whole URL."""
    name = re.sub(r"(?a)[^\w.-]", "_", urlparse(url).path.rpartition("/")[2])[-80:]
    return cache_folder() / f"{hashlib.sha256(os.fsencode(url)).hexdigest()[:16]}-{name}"


def _most_bytes() -> float:
    text = os.environ.get("WDS_CACHE_SIZE") or MOST_BYTES
    try:
        return float(text)
    except ValueError:
        raise ImageError(f"WDS_CACHE_SIZE = {cut(text)}: not a number of bytes, such as 100e9") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock of this thread's; it ends with the process."""
    with open(path, "a") as file:  # which leaves alone what somebody else may have put there
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(url: str, path: Path, warn: bool) -> None:
    """Write a shard whole or not at all, and remove others where they are too many."""
    partial = path.with_name(f"{path.name}.partial")
    most = _most_bytes()
    try:
        for pause in (*PAUSES, None):
            with open(partial, "wb") as file:
                status, reason = _transfer(url, file)
            if not reason:
                break
            if pause is None or status in FINAL:
                raise ImageError(f"{cut(url, 300)}: {reason}")
            time.sleep(pause)
        _make_room(path, partial.stat().st_size, most, warn)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _transfer(url: str, file: BinaryIO) -> tuple[int | None, str]:
    """Write what is at a URL into a file; returns the exit status of the program that fetched it, and why it failed."""
    from webdataset.gopen import Pipe, gopen, gopen_schemes, rewrite_url  # it imports PyTorch

    gopen_schemes.setdefault("s3", lambda url, mode, _size: Pipe(["aws", "s3", "cp", "--quiet", url, "-"], mode=mode))
    try:
        if is_command(rewrite_url(url)):
            return 22, "is a command, and none is run; use the URL of a file"
        stream = gopen(url)
    except FileNotFoundError as error:
        return None, f"{error.filename}: no such program; install it to read this kind of URL"
    except (ValueError, ImportError) as error:
        return 22, cut(error, 300)
    if not isinstance(stream, Pipe):  # GOPEN_REWRITE, by which webdataset is told of other places, gave a file
        with stream:
            shutil.copyfileobj(stream, file)
        return 0, ""
    process, source = stream.proc, stream.stream
    try:
        while select.select([source], [], [], STALLED)[0]:
            if not (chunk := os.read(source.fileno(), 2**20)):
                status = process.wait(STALLED)
                return status, REASONS.get(status, f"{process.args[0]} ended with status {status}") if status else ""
            file.write(chunk)
    except TimeoutExpired:
        pass
    finally:
        process.kill()
        process.wait()
        source.close()
    return None, f"no byte came in {STALLED:g} s"


def _make_room(path: Path, size: int, most: float, warn: bool) -> None:
    """Remove the shards that were read least lately, until one of `size` bytes fits in as well, and no other file."""
    global _warned
    with _locked(path.parent / "lock"):
        kept = []
        for other in path.parent.iterdir():
            try:
                found = other.lstat()
            except FileNotFoundError:
                continue
            if not OURS.fullmatch(other.name) or not stat.S_ISREG(found.st_mode):
                continue
            if other.suffix == ".partial" and time.time() - found.st_mtime > 10 * STALLED:
                _remove(other)  # of a process that was killed
            elif other.suffix not in (".partial", ".lock") and other != path:
                kept.append((found.st_atime, found.st_size, other))
        size += sum(each for _, each, _ in kept)
        for used, each, other in sorted(kept):
            if size <= most:
                break
            if not _remove(other):
                continue
            size -= each
            if warn and not _warned and time.time() - used < IN_USE:
                _warned = True
                say(f"{path.parent}: WDS_CACHE_SIZE = {most:g}: too few bytes, shards in use make room for others")


def _remove(path: Path) -> bool:
    """Remove a file unless it belongs to another user, whose files this one may not remove."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        return False
    return True
