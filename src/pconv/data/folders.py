"""Folders of photographs, or of masks: what lies in them, which split it belongs to, and whether it has changed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pconv.data.decoding import ImageError
from pconv.errors import cut
from pconv.files import file_state
from pconv.project import SPLITS, project_root

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
WORDS = {  # in the name of a folder of photographs, whatever their case: the split that it stands for
    "train": r"train(ing|val)?",
    "val": r"val(id(ation)?)?|dev",
    "test": r"test(ing)?|eval(uation)?",
}
ENDINGS = r"(set|data|images?|imgs?|photos?|pics?)?"  # that may follow a word without a gap


class Found(NamedTuple):
    """What was found in a folder."""

    splits: dict[str, list[str]]  # of each, the paths in the folder, sorted
    folders: dict[str, str] = {}  # of the splits that are subfolders, the name
    notes: tuple[str, ...] = ()  # what a reader should know about it
    shards: bool = False  # whether the paths are those of tar files that hold the photographs, or URLs of such files


def find_photographs(folder: Path, key: str = "data.folder", what: str = "photographs") -> Found:
    """Find the photographs in and below a folder, and the split of each.

    key, what: the parameter that names the folder, and what lies in it, for messages: masks of one's own are found and
    split in the same way.

    Subfolders named train, val and test, in this or another spelling, are the splits. If all photographs are in train
    and one other, as in ImageNet, that is the test set, and a hash of the path sends 5 % of train to val. Without such
    subfolders the hash sends each photograph to train (90 %), val or test (5 % each): adding some moves no other.

    Raises ImageError if the folder is not there, cannot be searched or lies inside or above the project's data/, and
    if subfolders look like splits but it is not clear which each is.
    """
    names, again = find_files(folder, key, what)
    folders = _split_folders(folder, names, key, what)
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    by_top = {top: split for split, top in folders.items()}
    for name in names:
        split = by_top.get(name.partition("/")[0]) if folders else hashed(name)
        if split:
            splits[split].append(name)
    if folders and "val" not in folders:
        splits |= take_validation(splits["train"])
    return Found(splits, folders, tuple(_notes(splits, folders, names, again, what)))


def take_validation(names: Iterable[str]) -> dict[str, list[str]]:
    """Split what is there to train with into train (95 %) and val by a hash of the paths."""
    splits: dict[str, list[str]] = {"train": [], "val": []}
    for name in names:
        splits["train" if hashed(name) != "val" else "val"].append(name)
    return splits


def hashed(name: str) -> str:
    """Return the split that a hash chooses for a path: train for 90 %, val for 5 %, test for 5 %."""
    percent = int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8]) % 100
    return "train" if percent < 90 else "val" if percent < 95 else "test"


def _notes(splits: dict, folders: dict[str, str], names: list[str], again: list[str], what: str) -> Iterable[str]:
    """Say how the folder was understood where that is not plain, and what of it is not used."""
    if folders and folders != {split: split for split in SPLITS}:
        yield "splits: " + ", ".join(f"{split} is {cut(folder)}/" for split, folder in folders.items())
    if folders and "val" not in folders:
        train = cut(folders["train"])
        yield f"val is {len(splits['val']):,} of the {what} in {train}/, chosen by a hash of their paths"
    if beside := len(names) - sum(map(len, splits.values())):
        yield f"{beside:,} {what} lie beside these folders and are not used"
    if again:
        some = cut(", ".join(map(cut, again)), 300)
        yield f"links to folders that are searched anyway, or to the project's data/, are not followed: {some}"


def find_files(
    folder: Path, key: str = "data.folder", what: str = "photographs", suffixes: tuple[str, ...] = SUFFIXES
) -> tuple[list[str], list[str]]:
    """Return the paths, in a folder, of what has the suffix of a photograph, and links that were not followed; sorted.

    Raises ImageError if the folder is not there, cannot be searched or lies inside or above the project's data/.
    """
    check_place(folder, key, what)
    again: list[str] = []
    return sorted(_search(folder, again, key, suffixes)), sorted(again)


def fingerprint(folder: Path, names: Iterable[str]) -> str:
    """Return a line that changes if one of the files is another: no file is opened, so that it costs little.

    A file counts as another if its path, its size or the time of its last change is.
    """
    digest, count = hashlib.sha256(), 0
    for name in names:
        count += 1
        digest.update(os.fsencode(f"{name}\0{file_state(os.path.join(folder, name))}\0"))
    return f"{count} files {digest.hexdigest()}"


def check_place(folder: Path, key: str = "data.folder", what: str = "photographs") -> None:
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


def _search(folder: Path, again: list[str], key: str, suffixes: tuple[str, ...]) -> Iterable[str]:
    """Yield the path of each file with one of the suffixes; follow links to folders, but into no folder twice.

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
            elif os.path.splitext(entry.name)[1].lower() in suffixes:
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
    """Return the top subfolder of each split, {"train": "training"}; {} if no subfolder looks like one.

    Raises ImageError where some do but the splits are not clear: to split all by a hash would mix them.
    """
    parents = _looking_like_splits(names)
    top = parents.pop("", {})
    found = {split: name for split in SPLITS for name, splits in top.items() if splits == [split]}
    if len(found) == len(top) == len(SPLITS):
        return found
    if len(found) == len(top) == 2 and "train" in found and _nothing_beside(names, found.values()):
        return {"train": found["train"], "test": found.get("test") or found["val"]}
    if top:
        raise ImageError(_remedy(folder, top, key, what))
    for parent, below in sorted(parents.items()):
        if len({split for splits in below.values() for split in splits}) > 1:
            raise ImageError(
                f"{key}: {cut(folder / parent, 300)} holds {_listed(below)}, which look like splits; set "
                f"{key} to that folder, or rename them if they are none"
            )
    return {}


def _nothing_beside(names: Iterable[str], folders: Iterable[str]) -> bool:
    """Tell whether all files lie in these top subfolders: another folder may be a split whose name is misspelt."""
    return {name.partition("/")[0] for name in names} == set(folders)


def _looking_like_splits(names: list[str]) -> dict[str, dict[str, list[str]]]:
    """Return, by parent, the folders whose names hold a word for a split, each with those splits."""
    folders: set[str] = set()
    for folder in {os.path.dirname(name) for name in names}:
        while folder and folder not in folders:
            folders.add(folder)
            folder = os.path.dirname(folder)
    found: dict[str, dict[str, list[str]]] = {}
    for parent, name in (os.path.split(path) for path in folders):
        if splits := split_words(name):
            found.setdefault(parent, {})[name] = splits
    return found


def split_words(name: str) -> list[str]:
    """Return the splits for which a name holds a word."""
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    return [split for split in SPLITS if any(re.fullmatch(f"({WORDS[split]}){ENDINGS}", word) for word in words)]


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
