"""Where photographs come from: packages or a folder. Each source assigns its photographs to the splits."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from pconv.data.decoding import ImageError
from pconv.errors import cut
from pconv.files import write_file
from pconv.project import SPLITS, project_root

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
WORDS = {  # in the name of a folder of photographs, whatever their case: the split that it stands for
    "train": r"train(ing|val)?",
    "val": r"val(id(ation)?)?|dev",
    "test": r"test(ing)?|eval(uation)?",
}
ENDINGS = r"(set|data|images?|imgs?|photos?|pics?)?"  # that may follow a word without a gap
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


class Found(NamedTuple):
    """The photographs of a folder, by their paths in it."""

    splits: dict[str, list[str]]  # sorted
    folders: dict[str, str]  # of each split, where the splits are subfolders
    beside: int  # number of photographs outside these
    again: list[str]  # links that lead to a folder that was searched before, or to the project's data/


# A folder


def find_photographs(folder: Path, key: str = "data.folder", what: str = "photographs") -> Found:
    """Find the photographs in and below a folder, and the split of each.

    key, what: the parameter that names the folder, and what lies in it, for messages: masks of one's own are found and
    split in the same way.

    Subfolders named train, val and test, in this or another spelling, are the splits. Otherwise each photograph goes to
    train (90 %), val or test (5 % each) by a hash of its path in the folder, so that adding some moves no other.

    Raises ImageError if the folder is not there, cannot be searched or lies inside or above the project's data/, and
    if subfolders look like splits but are not one for each.
    """
    names, again = find_files(folder, key, what)
    folders = _split_folders(folder, names, key, what)
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name in names:
        top = name.partition("/")[0]
        split = folders.get(top) if folders else _hashed(name)
        if split:
            splits[split].append(name)
    beside = len(names) - sum(map(len, splits.values()))
    return Found(splits, {split: top for top, split in folders.items()}, beside, again)


def find_files(folder: Path, key: str = "data.folder", what: str = "photographs") -> tuple[list[str], list[str]]:
    """Return the paths, in a folder, of what has the suffix of a photograph, and links that were not followed; sorted.

    Raises ImageError if the folder is not there, cannot be searched or lies inside or above the project's data/.
    """
    _check_place(folder, key, what)
    again: list[str] = []
    return sorted(_search(folder, again, key)), sorted(again)


def fingerprint(folder: Path, key: str, what: str) -> str:
    """Return a line that changes if a file is added, removed or changed: no file is opened, so that it costs little.

    A file counts as changed if its size or the time of its last change is another. Raises ImageError as find_files.
    """
    names, _ = find_files(folder, key, what)
    digest = hashlib.sha256()
    for name in names:
        try:
            found = os.stat(folder / name)
            digest.update(os.fsencode(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0"))
        except OSError as error:
            digest.update(os.fsencode(f"{name}\0{error.errno}\0"))
    return f"{len(names)} files {digest.hexdigest()}"


def _check_place(folder: Path, key: str, what: str) -> None:
    """Refuse a folder that is not there, and one whose photographs the pipeline could take for its own."""
    if not os.path.isdir(folder):
        raise ImageError(
            f"{key}: no folder {cut(folder, 300)}; a relative path starts at the project, and an experiment in "
            "the queue has a copy of the project with only what git tracks: an absolute path is the same everywhere"
        )
    real, own = Path(os.path.realpath(folder)), Path(os.path.realpath(project_root() / "data"))
    if real.is_relative_to(own):
        raise ImageError(
            f"{key}: {cut(folder, 300)} lies in the project's data/, where the pipeline writes; move the "
            f"{what} out of it, for example to {project_root() / what}"
        )
    if own.is_relative_to(real):
        raise ImageError(
            f"{key}: {cut(folder, 300)} contains the project's data/, where the pipeline writes; move the "
            f"{what} into a folder of their own, for example {project_root() / what}"
        )


def _search(folder: Path, again: list[str], key: str) -> Iterable[str]:
    """Yield the path of each file with the suffix of a photograph; follow links to folders, but into no folder twice.

    Hidden files and folders are passed over. Links come after all real folders, so that a photograph is found where it
    lies before it is found through a link. Those that lead to a folder searched before, or to the project's data/, are
    appended to `again`.
    """
    searched = {_identity(project_root() / "data")}
    folders, links = [""], []
    while folders or links:
        inside = folders.pop() if folders else links.pop()
        identity = _identity(folder / inside)
        if identity in searched:
            again.append(inside)
            continue
        searched.add(identity)
        for entry in _entries(folder / inside, key):
            name = os.path.join(inside, entry.name)
            if not entry.is_symlink() and entry.is_dir():
                folders.append(name)
            elif os.path.isdir(entry.path):
                links.append(name)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                yield name


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what is the same for a folder and for each link to it; None for a folder that is not there."""
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _entries(folder: Path, key: str) -> list[os.DirEntry]:
    """Return what is not hidden in a folder, sorted backwards, as a stack is filled."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name, reverse=True)
    except OSError as error:
        raise ImageError(
            f"{key}: {cut(folder, 300)}: {error.strerror}; make it readable, or move it out of the folder"
        ) from None


def _split_folders(folder: Path, names: list[str], key: str, what: str) -> dict[str, str]:
    """Return the split of each top subfolder that is one, {"training": "train"}; {} if no subfolder looks like one.

    Raises ImageError where some do, but not one for each split: to split all photographs by a hash would mix them.
    """
    parents = _looking_like_splits(names)
    top = parents.pop("", {})
    if sorted(top.values()) == sorted([split] for split in SPLITS):
        return {name: split for name, (split,) in top.items()}
    if top:
        raise ImageError(_remedy(folder, top, key, what))
    for parent, below in sorted(parents.items()):
        if len({split for splits in below.values() for split in splits}) > 1:
            raise ImageError(
                f"{key}: {cut(folder / parent, 300)} holds {_listed(below)}, which look like splits; set "
                f"{key} to that folder, or rename them if they are none"
            )
    return {}


def _looking_like_splits(names: list[str]) -> dict[str, dict[str, list[str]]]:
    """Return, by parent, the folders whose names hold a word for a split, each with those splits."""
    folders: set[str] = set()
    for folder in {os.path.dirname(name) for name in names}:
        while folder and folder not in folders:
            folders.add(folder)
            folder = os.path.dirname(folder)
    found: dict[str, dict[str, list[str]]] = {}
    for parent, name in (os.path.split(path) for path in folders):
        words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
        if splits := [split for split in SPLITS if any(re.fullmatch(f"({WORDS[split]}){ENDINGS}", w) for w in words)]:
            found.setdefault(parent, {})[name] = splits
    return found


def _remedy(folder: Path, top: dict[str, list[str]], key: str, what: str) -> str:
    missing = [split for split in SPLITS if [split] not in top.values()]
    twice = [split for split in SPLITS if sum(split in splits for splits in top.values()) > 1]
    wrong = [f"no folder for {', '.join(missing)}"] if missing else []
    wrong += [f"more than one for {', '.join(twice)}"] if twice else []
    return (
        f"{key}: {cut(folder, 300)} holds {_listed(top)} but {' and '.join(wrong)}; name the splits train, val "
        f"and test, or rename the folders if they are no splits: all {what} are then split by a hash of their paths"
    )


def _listed(folders: Iterable[str]) -> str:
    return cut(" and ".join(map(cut, sorted(folders))), 300)


def _hashed(name: str) -> str:
    percent = int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8]) % 100
    return "train" if percent < 90 else "val" if percent < 95 else "test"


# Packages


def unpack(split: str, folder: Path) -> list[str]:
    """Copy the packaged photographs of a split into a folder; returns their names there.

    Raises ImageError if a package lacks one, or if a file that is not the packaged photograph has its name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packaged = _packaged(split)
    for name, (package, source) in packaged.items():
        if not source.is_file():
            raise ImageError(f"{package} does not bring {source}; install the versions in requirements.lock")
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
    for name, (_, source) in _packaged(split).items():
        if _is_copy(folder / name, source):
            (folder / name).unlink()


def packaged_photographs() -> list[Packaged]:
    """Return the table of all packaged photographs, with the split, author, origin and licence of each."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [Packaged(**row) for row in csv.DictReader(file)]


def _packaged(split: str) -> dict[str, tuple[str, Path]]:
    """Return the packaged photographs of a split: file name -> package and file there."""
    rows = (row for row in packaged_photographs() if row.split == split)
    return {row.name + Path(row.file).suffix: (row.package, files(row.package) / row.file) for row in rows}


def _is_copy(path: Path, source: Path) -> bool:
    return path.is_file() and source.is_file() and path.read_bytes() == source.read_bytes()
