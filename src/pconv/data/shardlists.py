"""Shards for data.source = webdataset: which there are, the split of each, and whether they have changed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlparse

from pconv.data.decoding import ImageError
from pconv.data.fetching import is_command, remote_state
from pconv.data.folders import Found, find_files, fingerprint, split_words
from pconv.data.shards import is_url
from pconv.errors import cut
from pconv.project import SPLITS, project_root

SUFFIXES = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst")  # those that are compressed are refused when they are opened
HELD_OUT = 0.05  # the share of shards for validation, and for the test, where no names say which they are
REQUESTS = 16  # at once, to ask for changes


def find_shards(folder: str) -> Found:
    """Find the shards, and the split of each; a split is a list of paths in a folder, or of paths and URLs.

    folder: data.folder, the path of a folder that is searched for tar files, or paths and URLs in webdataset's notation
    with braces. Paths may be relative to the project.

    The split is the word for train, val or test in the name of the shard, or in that of the nearest folder which has
    one; folders that all shards share do not count. If there are shards for one other split besides train, they are the
    test set, and 5 % of those for train go to val. If no name has such a word, 5 % go to val and 5 % to test. Which of
    them, a hash of their names decides.

    Raises ImageError if there are none, or their splits are not clear.
    """
    names, notes = _in_folder(root) if os.path.isdir(root := project_root() / folder) else (_expand(folder), [])
    if not names:
        raise ImageError(f"data.folder: {cut(folder, 300)} holds no shards (.tar)")
    splits, more = _by_name(folder, names)
    for split in [split for split in SPLITS if split not in splits]:
        splits["train"], splits[split] = _hold_out(folder, splits["train"], len(names))
        more.append(f"{split} is {len(splits[split]):,} of the shards, chosen by a hash of their names")
    return Found({split: splits[split] for split in SPLITS}, notes=(*notes, *more), shards=True)


def _in_folder(folder: Path) -> tuple[list[str], list[str]]:
    names, again = find_files(folder, what="shards", suffixes=SUFFIXES)
    notes = [f"links to folders that are searched anyway are not followed: {cut(', '.join(again), 300)}"] * bool(again)
    return [name for name in names if re.search(r"(?i)\.(tgz|tar(\.[a-z0-9]+)?)$", name)], notes


def _by_name(folder: str, names: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the shards of each split that names say, those without a word for train if none has any; and notes.

    Raises ImageError unless there are some for train and some for another split, or none at all.
    """
    by_split: dict[str | None, list[str]] = {}
    paths = [(urlparse(name).path if is_url(name) else name).split("/") for name in names]
    shared = len(os.path.commonprefix([path[:-1] for path in paths]))
    for name, path in zip(names, paths, strict=True):
        by_split.setdefault(_split(name, path[shared:]), []).append(name)
    beside = by_split.pop(None, [])
    if not by_split:
        return {"train": beside}, []
    if "train" not in by_split or len(by_split) == 1:
        raise ImageError(
            f"data.folder: {cut(folder, 300)}: shards for {', '.join(sorted(by_split))} only: name the splits train, "
            "val and test, in the names of the shards or of their folders; if none has such a word, some are held out"
        )
    notes = [f"{len(beside):,} shards have no word for a split in their names and are not used"] * bool(beside)
    if "test" not in by_split:
        by_split["test"] = by_split.pop("val")
        notes.append(f"test is the {len(by_split['test']):,} shards that are called val")
    return by_split, notes


def _expand(folder: str) -> list[str]:
    """Return the paths and URLs that webdataset's notation stands for."""
    from webdataset.shardlists import expand_urls  # it imports PyTorch

    try:
        names = [name.removeprefix("file://") for name in expand_urls(folder)]
        commands = any(map(is_command, names))
    except (AssertionError, ValueError) as error:  # variables of the environment; braces; brackets that are no address
        raise ImageError(f"data.folder = {cut(folder, 300)}: {cut(error, 200)}") from None
    if commands:
        raise ImageError(f"data.folder = {cut(folder, 300)}: a parameter file runs no commands; use a folder or a URL")
    if len(set(names)) < len(names):
        raise ImageError(f"data.folder = {cut(folder, 300)}: names a shard more than once")
    missing = [name for name in names if not is_url(name) and not os.path.isfile(project_root() / name)]
    if missing:
        raise ImageError(
            f"data.folder: {len(missing):,} of {len(names):,} shards are not there or no files: {cut(missing[0], 300)}"
            "; a path of a folder or of shards starts at the project, or with /"
        )
    return sorted(names)


def _split(shard: str, parts: list[str]) -> str | None:
    """Return the split that the parts of a shard's path name. Raises ImageError if one of them names two."""
    for part in reversed(parts):
        if len(splits := split_words(part)) > 1:
            raise ImageError(f"data.folder: {cut(shard, 300)}: is it for {' or '.join(splits)}? Rename {cut(part)}")
        if splits:
            return splits[0]
    return None


def _hold_out(folder: str, shards: list[str], total: int) -> tuple[list[str], list[str]]:
    """Take HELD_OUT of all shards, at least one, out of those to train with."""
    ranked = sorted(shards, key=lambda shard: hashlib.sha256(os.fsencode(shard)).digest())
    count = max(1, round(HELD_OUT * total))
    if len(shards) <= count:
        raise ImageError(
            f"data.folder: {cut(folder, 300)}: too few shards to hold out some for validation and the test; make "
            "smaller ones, or some for each, with the words train, val and test in their names"
        )
    return sorted(ranked[count:]), sorted(ranked[:count])


def watch_shards(folder: Path, shards: Iterable[str]) -> str:
    """Return a line that changes if a shard is another: of files as for photographs, of URLs by what servers say.

    Raises ImageError if a server does not have one, or cannot be reached.
    """
    files, urls = [], []
    for shard in shards:
        (urls if is_url(shard) else files).append(shard)
    line = fingerprint(folder, files)
    if not urls:
        return line
    with ThreadPoolExecutor(REQUESTS) as pool:
        told = "".join(f"{url}\0{state}\0" for url, state in zip(urls, pool.map(remote_state, urls), strict=True))
    return f"{line}, {len(urls)} URLs {hashlib.sha256(os.fsencode(told)).hexdigest()}"
