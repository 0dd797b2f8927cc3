"""Folders of photographs: their splits, what lies in them beside photographs, and the lists of what is used."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from PIL import Image

from hostile import refused, right, table
from hostile.photographs import SPLIT, as_nobody, fill, photograph
from pconv.data.manifest import manifest_path, read_manifest, read_photograph
from pconv.data.selection import write_manifests
from pconv.params import Data
from pconv.project import image_folder

KIND, LISTS = "folders of photographs", "lists of photographs"


def listed(name: str = "photographs", **data) -> dict[str, list[str]]:
    """Run the stage `images` and return the names in each split, and those rejected with the reasons."""
    data = Data(source="folder", folder=name, **{"min_side": 16, "max_rejected": 0.5} | data)
    write_manifests(data)
    with open(image_folder() / "rejected.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rejected = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    splits = {split: [one.name for one in read_manifest(data, split)] for split in ("train", "val", "test")}
    return splits | {"rejected": rejected}


def as_given(found: dict, **rejected: str) -> None:
    """Check that the photographs of SPLIT are used, and nothing but what is named is rejected, for a reason."""
    names = {split: [name.partition("/")[2] for name in found[split]] for split in ("train", "val", "test")}
    assert names == {"train": ["a.png", "b.png"], "val": ["c.png"], "test": ["d.png"]}, found
    assert found["rejected"].keys() == rejected.keys(), found
    assert all(words in found["rejected"][name] for name, words in rejected.items()), found


# Splits

SPELLINGS = {
    "as they should be": "train val test",
    "in capitals": "TRAIN VAL TEST",
    "with capitals": "Train Val Test",
    "in full": "training validation testing",
    "valid": "train valid test",
    "with years": "train2017 val2017 test2017",
    "with a name before": "places_train places_val places_test",
}
for name, spelling in SPELLINGS.items():

    @right(KIND, f"splits, {name}")
    def _(folder, spelling=spelling):
        train, val, test = spelling.split()
        fill(folder, f"{train}/a.png", f"{train}/b.png", f"{val}/c.png", f"{test}/d.png")
        as_given(listed())


def split_in_part(folder: Path, *names: str) -> None:
    """List a folder with such photographs, which can be split one way or another."""
    fill(folder, *names)
    listed()


table(KIND, split_in_part, {
    "val and test without train": ("val/a.png", "test/d.png", r"holds test and val but no folder for train"),
    "two of three splits and another folder": (
        "train/a.png", "test/d.png", "vla/c.png", r"photographs holds test and train but no folder for val"
    ),
    "one of three splits": ("train/a.png", "train/b.png", r"holds train but no folder for val, test"),
    "a split misspelt": ("train/a.png", "val/c.png", "tset/d.png", r"holds train and val but no folder for test"),
    "a split twice": (*SPLIT, "training/e.png", r"more than one for train"),
    "splits a folder below": (*(f"places/{name}" for name in SPLIT), r"places holds .*set data\.folder to that folder"),
    "one photograph": ("a.png", r"none of the 1 photographs in .* fell to"),
    "no photograph": ("notes/a.ppm", r"none of the 1 photographs"),
})  # fmt: skip


@right(KIND, "two of three splits, as in ImageNet")
def _(folder):
    names = [f"train/{n}.png" for n in range(60)]
    fill(folder, *names, "val/d.png")
    found = listed()
    assert found["test"] == ["val/d.png"] and 0 < len(found["val"]) < 20 and not found["rejected"]
    assert sorted(found["train"] + found["val"]) == sorted(names)


@refused(KIND, "Imagenette, of which much is missing", r"holds 2 photographs of train, not 9,469: .* extract it again")
def _(folder):
    fill(folder, *(f"imagenette2-320/{split}/n01440764/{n}.JPEG" for split in ("train", "val") for n in range(2)))
    write_manifests(Data(source="imagenette", folder="photographs"))


@refused(KIND, "ImageNet without its archives", r"photographs: ImageNet: The archive ILSVRC2012_devkit_t12\.tar\.gz")
def _(folder):
    fill(folder, *SPLIT)
    write_manifests(Data(source="imagenet", folder="photographs"))


@refused(KIND, "an empty folder", r"data\.folder: none of the 0 photographs")
def _(folder):
    fill(folder)
    (folder / "photographs").mkdir()
    listed()


@refused(KIND, "no folder", r"data\.folder: no folder .*photographs")
def _(folder):
    fill(folder)
    listed()


@refused(KIND, "a file", r"data\.folder: no folder .*photographs")
def _(folder):
    fill(folder)
    (folder / "photographs").touch()
    listed()


@right(KIND, "a split by the hash moves nothing when photographs are added")
def _(folder):
    fill(folder, *(f"{n}.png" for n in range(90)))
    before = listed()
    for n in range(90, 120):
        photograph(n).save(folder / "photographs" / f"{n}.png")
    after = listed()
    assert all(set(before[split]) <= set(after[split]) for split in ("train", "val", "test"))
    assert sum(len(after[split]) for split in ("train", "val", "test")) == 120


for name in ("data/images", "data", ".", "data/masks/train", ".."):

    @refused(KIND, f"data.folder is {name}", r"data\.folder: .* (lies in|contains) the project's data/")
    def _(folder, name=name):
        fill(folder, *SPLIT)
        (folder / "data/images").mkdir(parents=True)
        (folder / "data/masks/train").mkdir(parents=True)
        listed(name)


# What was seen before


def remember(folder: Path, change) -> None:
    """List a folder, change what was kept of it, and list it again."""
    fill(folder, *SPLIT)
    as_given(listed())
    change(folder / "data/seen.sqlite")
    as_given(listed())


def halve(path: Path) -> None:
    """Cut a file in the middle."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


table(KIND, remember, {
    "what was seen is deleted": (Path.unlink, None),
    "what was seen is empty": (lambda path: path.write_bytes(b""), None),
    "what was seen is no database": (lambda path: path.write_text("seen"), None),
    "what was seen is cut in the middle": (halve, None),
    "what was seen is a folder": (lambda path: [path.unlink(), path.mkdir()], r"seen\.sqlite: not a file; move it"),
    "what was seen is a FIFO": (lambda path: [path.unlink(), os.mkfifo(path)], r"seen\.sqlite: not a file; move it"),
})  # fmt: skip


# Leaks


def leak(folder: Path, change) -> None:
    """Put a changed copy of a photograph to train on beside those to test on: it may not be tested on."""
    root = fill(folder, *SPLIT)
    large = photograph(0).resize((480, 400), Image.Resampling.BICUBIC)
    large.save(root / "train/a.png")
    change(large, root / "test" / "copy")
    names = sorted(path.name for path in (root / "test").iterdir() if path.name.startswith("copy"))
    as_given(listed(), **{f"test/{names[0]}": "train/a.png"})


table(KIND, leak, {
    "a copy in two splits": (lambda image, path: image.save(f"{path}.png"), None),
    "a copy as JPEG": (lambda image, path: image.save(f"{path}.jpg", quality=70), None),
    "a copy as WebP": (lambda image, path: image.save(f"{path}.webp", quality=60), None),
    "a copy of half the size": (lambda image, path: image.resize((240, 200)).save(f"{path}.png"), None),
    "a copy of twice the size": (lambda image, path: image.resize((960, 800)).save(f"{path}.png"), None),
    "a copy in grey": (lambda image, path: image.convert("L").save(f"{path}.png"), None),
    "a copy turned by EXIF": (
        lambda image, path: image.transpose(Image.Transpose.ROTATE_90).save(f"{path}.jpg", exif=turned(6)), None
    ),
    "a link to the same": (lambda image, path: os.symlink("../train/a.png", f"{path}.png"), None),
    "a hard link": (lambda image, path: os.link(path.parents[1] / "train/a.png", f"{path}.png"), None),
})  # fmt: skip


def turned(orientation: int) -> Image.Exif:
    """Return EXIF data with this orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# What lies among photographs


def beside(folder: Path, put, rejected: dict[str, str]) -> None:
    """Put something beside good photographs: they are used, and it is rejected for a reason, or passed over."""
    put(fill(folder, *SPLIT) / "train")
    as_given(listed(), **rejected)


def save(path: Path, size: tuple[int, int] = (48, 40)) -> None:
    """Write another photograph of a size, in a folder that need not be there."""
    path.parent.mkdir(exist_ok=True)
    photograph(9).resize(size).save(path)


def transparent(path: Path) -> None:
    """Write a photograph that is transparent in places."""
    image = photograph(50).convert("RGBA")
    image.putpixel((3, 3), (0, 0, 0, 0))
    image.save(path)


table(KIND, beside, {
    "notes": (lambda train: (train / "notes.txt").write_text("mine"), {}, None),
    "what a camera's system leaves": (lambda train: (train / "._a.jpg").write_bytes(bytes(100)), {}, None),
    "a hidden folder": (lambda train: save(train / ".thumbs/e.png"), {}, None),
    "text under a photograph's name": (
        lambda train: (train / "e.jpg").write_text("404"), {"train/e.jpg": "not an image"}, None
    ),
    "an empty file": (lambda train: (train / "e.jpg").touch(), {"train/e.jpg": "empty"}, None),
    "a FIFO": (lambda train: os.mkfifo(train / "e.jpg"), {"train/e.jpg": "Not a regular file"}, None),
    "a folder under a photograph's name": (lambda train: (train / "e.jpg").mkdir(), {}, None),
    "a broken link": (lambda train: (train / "e.jpg").symlink_to("f.jpg"), {"train/e.jpg": "No such file"}, None),
    "a link to itself": (lambda train: (train / "e.jpg").symlink_to("e.jpg"), {"train/e.jpg": "Too many levels"}, None),
    "a loop of folders": (lambda train: (train / "again").symlink_to(".."), {}, None),
    "half a photograph": (
        lambda train: (train / "e.png").write_bytes((train / "a.png").read_bytes()[:900]), {"train/e.png": ""}, None
    ),
    "a small photograph": (lambda train: save(train / "e.png", (15, 40)), {"train/e.png": "15 x 40 px"}, None),
    "a transparent one": (lambda train: transparent(train / "e.png"), {"train/e.png": "transparent"}, None),
    "an animation": (
        lambda train: photograph(9).save(train / "e.png", save_all=True, append_images=[photograph(8)]),
        {"train/e.png": "2 pictures"}, None,
    ),
    "a large one": (
        lambda train: Image.new("1", (9000, 9000)).save(train / "e.png"), {"train/e.png": "67 million"}, None
    ),
})  # fmt: skip


@right(KIND, "names of any characters")
def _(folder):
    root = fill(folder, *SPLIT)
    names = [
        b"a\nb.png",
        b'say "no",.png',
        b"\xff\xfe.png",
        "ä 漢.png".encode(),
        b"-rf.png",
        b"$(touch x).png",
        b"a\rb.PNG",
    ]
    for seed, name in enumerate(names, 20):
        photograph(seed).save(root / "train" / os.fsdecode(name), format="PNG")
    found = listed()["train"]
    assert {os.fsencode(name) for name in found} == {b"train/" + name for name in (b"a.png", b"b.png", *names)}
    data = Data(source="folder", folder="photographs")
    assert all(read_photograph(one).shape == (40, 48, 3) for one in read_manifest(data, "train"))


@right(KIND, "links to folders are followed")
def _(folder):
    root = fill(folder, *SPLIT)
    (root / "train").rename(folder / "elsewhere")
    (root / "train").symlink_to(folder / "elsewhere")
    as_given(listed())


@refused(KIND, "a folder without permission", r"photographs/train/secret: Permission denied; make it readable")
def _(folder):
    root = fill(folder, *SPLIT)
    (root / "train/secret").mkdir()
    (root / "train/secret").chmod(0)
    (folder / "data").mkdir(mode=0o777)
    os.chmod(folder / "data", 0o777)
    with as_nobody(folder):
        listed()


@refused(KIND, "more bad photographs than data.max_rejected", r"data\.max_rejected = 0\.1: 2 of 6 .*rejected\.csv")
def _(folder):
    root = fill(folder, *SPLIT)
    for name in "ef":
        (root / f"train/{name}.jpg").write_bytes(b"404")
    listed(max_rejected=0.1)


@refused(KIND, "all photographs of a split are bad", r"test: all photographs are rejected")
def _(folder):
    root = fill(folder, *SPLIT)
    (root / "test/d.png").write_bytes(b"404")
    listed()


# The lists


GOOD = '"path","bytes","sha256"\n"train/a.png",3,"' + "0" * 64 + '"\n'
NONE = r"train\.csv: not a list of photographs; run `dvc repro images`"


def read(folder: Path, content: str | bytes) -> None:
    """Read a list of this content, which is one of a single photograph."""
    (folder / "dvc.yaml").touch()
    manifest_path("train").parent.mkdir(parents=True)
    manifest_path("train").write_bytes(content if isinstance(content, bytes) else content.encode())
    (one,) = read_manifest(Data(), "train")
    assert (one.name, one.bytes) == ("train/a.png", 3)


table(LISTS, read, {
    "one photograph": (GOOD, None),
    "the line ends of Windows": (GOOD.replace("\n", "\r\n"), None),
    "empty": ("", NONE),
    "no photograph": (GOOD.partition("\n")[0] + "\n", NONE),
    "other columns": ("a,b\n1,2\n", NONE),
    "cut short": (GOOD[:-20] + "\n" + '"train/b', NONE),
    "a value too few": (GOOD + '"train/b.png",3\n', NONE),
    "a size in words": (GOOD.replace(",3,", ',"three",'), NONE),
    "zeros": (bytes(1000), NONE),
    "random bytes": (bytes(range(256)), NONE),
    "a million commas": ("," * 10**6, NONE),
})  # fmt: skip


@refused(LISTS, "none", r"train\.csv: no such file; `dvc repro images` writes it")
def _(folder):
    (folder / "dvc.yaml").touch()
    read_manifest(Data(), "train")


@refused(LISTS, "a FIFO", r"train\.csv: Not a regular file")
def _(folder):
    (folder / "dvc.yaml").touch()
    manifest_path("train").parent.mkdir(parents=True)
    os.mkfifo(manifest_path("train"))
    read_manifest(Data(), "train")


CHANGES = {
    "gone": (lambda path: path.unlink(), r"a\.png: No such file.*dvc repro images"),
    "another of the same name": (lambda path: photograph(77).save(path), r"a\.png: changed since it was listed"),
    "one byte changed": (
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\0"), r"a\.png: changed since it was listed"
    ),
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:500]), r"a\.png: changed since it was listed"),
    "a FIFO": (lambda path: [path.unlink(), os.mkfifo(path)], r"a\.png: Not a regular file"),
}  # fmt: skip


def changed(folder: Path, change) -> None:
    """Read a photograph that was changed after it was listed."""
    root = fill(folder, *SPLIT)
    listed()
    change(root / "train/a.png")
    read_photograph(read_manifest(Data(source="folder", folder="photographs"), "train")[0])


table(LISTS, changed, {f"a photograph that is {name}": row for name, row in CHANGES.items()})
