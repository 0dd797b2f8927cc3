"""The stage `images`: finds the photographs, looks at each, and lists those that are used and those that are not."""

from __future__ import annotations

import os
from pathlib import Path

from pconv.data.checking import look_at_all, rules
from pconv.data.decoding import ImageError
from pconv.data.folders import Found
from pconv.data.leaks import find_copies
from pconv.data.manifest import Photograph, photograph_folder, write_manifest, write_rows
from pconv.data.memory import Seen, open_memory
from pconv.data.packages import remove_unpacked, unpack
from pconv.data.shard_checking import look_in_shards
from pconv.data.sources import find
from pconv.errors import cut
from pconv.params import Data
from pconv.progress import say
from pconv.project import SPLITS, image_folder, memory_path

Usable = dict[str, Seen]  # by the photograph's path in the folder of its split
Places = dict[str, tuple[str, str, int]]  # by the path of one in a shard, as if that were a folder: name, shard, offset


def write_manifests(data: Data) -> dict[str, int]:
    """List the photographs: data/images/{train,val,test}.csv and, with the reason for each, rejected.csv.

    Packaged photographs are copied into data/images/packaged/, where other files stay as they are. Returns the number
    of photographs in each split and of those rejected. Raises ImageError if no photograph is left for a split, if more
    than data.max_rejected of all are rejected, and as the sources do.
    """
    found = _find(data)
    names = found.splits
    usable, rejected, places = _look_in_shards(data, names) if found.shards else (*_look_at(data, names), {})
    count = sum(map(len, usable.values())) + len(rejected)
    _reject_copies(usable, rejected)
    write_rows(image_folder() / "rejected.csv", ("path", "reason"), sorted(rejected.items()))
    _check_share(data, count, rejected)
    for split, photographs in usable.items():
        if not photographs:
            raise ImageError(_none_left(data, split, names))
        folder = photograph_folder(data, split)
        write_manifest(split, (_listed(folder, *photograph, places) for photograph in photographs.items()))
    return {split: len(photographs) for split, photographs in usable.items()} | {"rejected": len(rejected)}


def _find(data: Data) -> Found:
    """Return what the source finds, by paths in the folder of each split, and say how data.folder was understood."""
    packaged = {split: image_folder() / "packaged" / split for split in SPLITS}
    if data.source == "packaged":
        return Found({split: unpack(split, folder) for split, folder in packaged.items()})
    found = find(data)
    for split, folder in packaged.items():
        remove_unpacked(split, folder)
    for note in found.notes:
        say(note)
    return found


def _look_at(data: Data, names: dict[str, list[str]]) -> tuple[dict[str, Usable], dict[str, str]]:
    """Return what was seen of the photographs that can be used, and why the others are rejected."""
    usable: dict[str, Usable] = {split: {} for split in SPLITS}
    rejected: dict[str, str] = {}
    places = [(split, name) for split in SPLITS for name in names[split]]
    folders = {split: photograph_folder(data, split) for split in SPLITS}
    paths = [os.path.join(folders[split], name) for split, name in places]
    with open_memory(memory_path(), rules(data)) as memory:
        found = look_at_all(paths, data, memory)
    for (split, name), path, seen in zip(places, paths, found, strict=True):
        if isinstance(seen, ImageError):
            rejected[name] = str(seen).removeprefix(f"{path}: ")
        else:
            usable[split][name] = seen
    return usable, rejected


def _look_in_shards(data: Data, names: dict[str, list[str]]) -> tuple[dict[str, Usable], dict[str, str], Places]:
    """Return the same of the photographs in shards, by the names of shard and photograph, and the places of all."""
    usable: dict[str, Usable] = {split: {} for split in SPLITS}
    rejected: dict[str, str] = {}
    places: Places = {}
    split_of = {shard: split for split in SPLITS for shard in names[split]}
    folder = photograph_folder(data, "train")
    with open_memory(memory_path(), rules(data)) as memory:
        for shard, member, seen in look_in_shards(list(split_of), folder, data, memory):
            path = f"{shard}/{member.name}"
            if isinstance(seen, ImageError):
                rejected[path] = str(seen).removeprefix(f"{folder / shard}/{member.name}: ")
            else:
                usable[split_of[shard]][path] = seen
                places[path] = member.name, shard, member.offset
    return usable, rejected, places


def _listed(folder: Path, path: str, seen: Seen, places: Places) -> Photograph:
    name, *place = places.get(path, (path,))
    return Photograph(folder, name, seen.bytes, seen.sha256, *place)


def _reject_copies(usable: dict[str, Usable], rejected: dict[str, str]) -> None:
    """Leave a photograph that is in several splits only in the first, so that what is trained on never changes."""
    for place, split in enumerate(SPLITS):
        earlier = {name: seen for before in SPLITS[:place] for name, seen in usable[before].items()}
        names, earlier_names = list(usable[split]), list(earlier)
        copies = find_copies(list(earlier.values()), list(usable[split].values()))
        for index, (original, how) in copies.items():
            rejected[names[index]] = f"{how} {cut(earlier_names[original], 300)}, in another split"
            del usable[split][names[index]]


def _check_share(data: Data, count: int, rejected: dict[str, str]) -> None:
    if len(rejected) > data.max_rejected * count:
        name, reason = min(rejected.items())
        raise ImageError(
            f"data.max_rejected = {data.max_rejected:g}: {len(rejected):,} of {count:,} photographs are rejected, the "
            f"first for this reason: {cut(name, 200)}: {reason}. All are listed in {image_folder() / 'rejected.csv'}; "
            "mend or remove them, or raise data.max_rejected"
        )


def _none_left(data: Data, split: str, names: dict[str, list[str]]) -> str:
    if names[split]:
        return f"{split}: all photographs are rejected; mend them, or add others: {image_folder() / 'rejected.csv'}"
    count, folder = sum(map(len, names.values())), cut(photograph_folder(data, split), 300)
    return (
        f"data.folder: none of the {count:,} photographs in {folder} fell to {split}; add photographs, or sort "
        f"them into the subfolders {', '.join(SPLITS)}"
    )
