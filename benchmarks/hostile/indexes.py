"""The lists that the pipeline keeps: the index of the masks of a split."""

from __future__ import annotations

import os
from pathlib import Path

from hostile import refused, right, table
from pconv.masks.files import read_index_file

INDEX = "indexes of masks"
HEAD = "file,hole_ratio,bin,border\n"
ROW = "00000.png,0.15,0.1-0.2,0\n"
NONE = r"index\.csv: not an index of masks \(.+\); delete it, then run `dvc repro masks`"


def read(folder: Path, content: str | bytes) -> None:
    """Read an index of this content, which is one of a single mask."""
    path = folder / "index.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert read_index_file(path).iloc[0].to_list() == ["00000.png", 0.15, "0.1-0.2", 0]


def because(words: str) -> str:
    """Return the pattern of a refusal for one reason."""
    return rf"index\.csv: not an index of masks \(.*{words}.*\); delete it, then run `dvc repro masks`"


table(INDEX, read, {
    "one mask": (HEAD + ROW, None),
    "the line ends of Windows": ((HEAD + ROW).replace("\n", "\r\n"), None),
    "a byte order mark": (b"\xef\xbb\xbf" + (HEAD + ROW).encode(), None),
    "no last line end": (HEAD + ROW.strip(), None),
    "empty": ("", NONE),
    "only a head": (HEAD, because("no mask")),
    "no head": (ROW, because("columns")),
    "other columns": ("a,b\n1,2\n", because("columns")),
    "a column too few": ("file,hole_ratio,bin\n00000.png,0.15,0.1-0.2\n", because("columns")),
    "a column twice": ("file,hole_ratio,bin,border,border\n00000.png,0.15,0.1-0.2,0,0\n", because("columns")),
    "a column more in one row": (HEAD + ROW + "00001.png,0.15,0.1-0.2,0,0\n", because("line 3")),
    "a value missing": (HEAD + "00000.png,,0.1-0.2,0\n", because("missing")),
    "cut short": (HEAD + ROW + "00001.png,0.1", because("missing")),
    "a name missing": (HEAD + ",0.15,0.1-0.2,0\n", because("missing")),
    "a mask twice": (HEAD + ROW + ROW, because("twice")),
    "a file outside": (HEAD + "../../secret.png,0.15,0.1-0.2,0\n", because("no mask of its folder")),
    "a file with its whole path": (HEAD + "/etc/passwd,0.15,0.1-0.2,0\n", because("no mask of its folder")),
    "the folder itself": (HEAD + ".,0.15,0.1-0.2,0\n", because("no mask of its folder")),
    "the folder above": (HEAD + "..,0.15,0.1-0.2,0\n", because("no mask of its folder")),
    "a ratio in words": (HEAD + "00000.png,half,0.1-0.2,0\n", because("not a number")),
    "a ratio in percent": (HEAD + "00000.png,15,0.1-0.2,0\n", because("15")),
    "a ratio below 0": (HEAD + "00000.png,-0.15,0.1-0.2,0\n", because("-0.15")),
    "an infinite ratio": (HEAD + "00000.png,inf,0.1-0.2,0\n", because("inf")),
    "another bin": (HEAD + "00000.png,0.25,0.1-0.2,0\n", because("0.25 is not in the bin 0.1-0.2")),
    "no bin": (HEAD + "00000.png,0.25,large,0\n", because("large")),
    "a border below 0": (HEAD + "00000.png,0.15,0.1-0.2,-3\n", because("border")),
    "half a pixel of border": (HEAD + "00000.png,0.15,0.1-0.2,1.5\n", because("border")),
    "a border in words": (HEAD + "00000.png,0.15,0.1-0.2,yes\n", because("border")),
    "a border of true": (HEAD + "00000.png,0.15,0.1-0.2,True\n", because("border")),
    "not in UTF-8": (HEAD.encode() + b"h\xf6le.png,0.15,0.1-0.2,0\n", NONE),
    "UTF-16": ((HEAD + ROW).encode("utf-16"), NONE),
    "zeros": (bytes(1000), NONE),
    "random bytes": (bytes(range(256)), NONE),
    "a quote that does not end": (HEAD + '"00000.png,0.15,0.1-0.2,0\n', NONE),
    "a million commas": ("," * 1_000_000, because("columns")),
    "a PNG": (b"\x89PNG\r\n\x1a\n" + bytes(100), NONE),
})  # fmt: skip


@refused(INDEX, "of 100 GB, with a hole", because("Larger than"))
def _(folder):
    with open(folder / "index.csv", "wb") as file:
        file.truncate(100 * 2**30)
    read_index_file(folder / "index.csv")


@refused(INDEX, "a FIFO", because("Not a regular file"))
def _(folder):
    os.mkfifo(folder / "index.csv")
    read_index_file(folder / "index.csv")


@refused(INDEX, "a folder", because("This is a folder"))
def _(folder):
    (folder / "index.csv").mkdir()
    read_index_file(folder / "index.csv")


@refused(INDEX, "none", r"index\.csv: no such file; `dvc repro masks` draws the masks")
def _(folder):
    read_index_file(folder / "index.csv")


@right(INDEX, "a link")
def _(folder):
    read(folder, HEAD + ROW)
    (folder / "link.csv").symlink_to("index.csv")
    assert len(read_index_file(folder / "link.csv")) == 1
