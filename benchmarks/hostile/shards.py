"""Photographs in tar shards: what is no shard, damaged ones, and names that mislead."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from hostile import table
from hostile.photographs import photograph
from pconv.data.manifest import read_manifest, read_photograph
from pconv.data.selection import write_manifests
from pconv.params import Data

KIND = "shards of photographs"
DATA = Data(source="webdataset", folder="shards", min_side=16, max_rejected=0.2)


def png(seed: int) -> bytes:
    """Return a photograph as a PNG file."""
    file = BytesIO()
    photograph(seed).save(file, "PNG")
    return file.getvalue()


def write_shard(path: Path, members: dict[str, bytes]) -> None:
    """Write a tar file of names and contents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, BytesIO(content))


def write_shards(folder: Path) -> Path:
    """Write a shard of four photographs for each split; returns that of train."""
    (folder / "dvc.yaml").touch()
    for first, split in enumerate(("train", "val", "test")):
        members = {f"{seed:03}.png": png(seed) for seed in range(4 * first, 4 * first + 4)}
        write_shard(folder / "shards" / split / "0.tar", members)
    return folder / "shards/train/0.tar"


def listed(folder: Path, change: Callable[[Path], object], count: int = 4) -> None:
    """Change the shard of train, list all, and read every photograph that is listed."""
    change(write_shards(folder))
    assert write_manifests(DATA)["train"] == count
    assert all(read_photograph(one).shape == (40, 48, 3) for one in read_manifest(DATA, "train"))


def with_members(**members: bytes) -> Callable[[Path], None]:
    """Return a change to a shard that holds these beside its photographs; __ in a name stands for a dot."""
    extra = {name.replace("__", "."): content for name, content in members.items()}
    return lambda path: write_shard(path, {f"{seed:03}.png": png(seed) for seed in range(4)} | extra)


def flip(path: Path) -> None:
    """Change a byte in the header of the second photograph."""
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        place = tar.getmembers()[1].offset
    content[place + 5] ^= 255
    path.write_bytes(content)


table(KIND, listed, {
    "as they should be": (lambda path: None, None),
    "other members beside the photographs": (with_members(a__json=b"{}", a__cls=b"3", b__txt=b"words"), None),
    "a hidden photograph": (with_members(**{"__a__png": b"no photograph"}), None),
    "a damaged photograph": (with_members(a__png=b"no photograph"), None),
    "two photographs of one sample": (
        with_members(a__png=png(20), a__jpg=png(21)), r"train/0\.tar: a\.png and a\.jpg are photographs of one sample"
    ),
    "cut in the middle": (
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), r"train/0\.tar: no tar file, or d"
    ),
    "cut at its end": (lambda path: path.write_bytes(path.read_bytes().rstrip(b"\0")), r"train/0\.tar: no tar file"),
    "a damaged header": (flip, r"train/0\.tar: no tar file, or damaged.* after entry 1;"),
    "compressed": (
        lambda path: path.write_bytes(gzip.compress(path.read_bytes())), r"train/0\.tar: compressed with gzip"
    ),
    "two in one": (lambda path: path.write_bytes(2 * path.read_bytes()), r"train/0\.tar: no tar file, .*in one"),
    "empty": (lambda path: path.write_bytes(b""), r"train/0\.tar: no tar file"),
    "text": (lambda path: path.write_text("no shard"), r"train/0\.tar: no tar file"),
    "without a photograph": (lambda path: write_shard(path, {"a.txt": b"words"}), r"train/0\.tar: holds no photograph"),
})  # fmt: skip


def found(folder: Path, where: str) -> None:
    """List what such a value of data.folder means."""
    write_shards(folder)
    write_manifests(DATA.model_copy(update={"folder": where}))


table(KIND, found, {
    "a folder without shards": ("elsewhere", r"data\.folder"),
    "a pattern that nothing fits": ("shards/train/{5..6}.tar", r"shards/train/5\.tar"),
    "a command": ("pipe:cat shards/train/0.tar", r"data\.folder.*pipe"),
    "a command in capitals": ("PIPE:touch made; echo ://{train,val,test}.tar", r"data\.folder.*runs no commands"),
    "a command behind a blank": (" pipe:touch made; echo ://{train,val,test}.tar", r"data\.folder.*runs no commands"),
    "a command behind file://": ("file://pipe:touch made; echo ://{train,val,test}.tar", r"data\.folder.*no commands"),
    "a command in braces": ("{p,http}{ipe:touch made #,}://h/{train,val,test}.tar", r"data\.folder.*runs no commands"),
    "a command behind a URL": ("http://h/::pipe:touch made #/{train,val,test}.tar", r"data\.folder.*runs no commands"),
    "a brace that does not close": ("shards/{train,val,test/0.tar", r"data\.folder"),
    "a pattern of the three": ("shards/{train,val,test}/0.tar", None),
})  # fmt: skip
