"""Folders of masks of one's own and of the frames of films: what lies in them, and what is no mask or film."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from hostile import refused, right, table
from hostile.photographs import as_nobody, photograph
from pconv.masks.drawing import draw_hole, hole_rng
from pconv.masks.files import read_hole, read_index, write_hole
from pconv.masks.sets import write_masks
from pconv.params import Params
from pconv.project import mask_folder

KIND = "folders of masks and films"
SIZE = 32
BINS_ALL = {"0.01-0.1", "0.1-0.2", "0.2-0.3", "0.3-0.4", "0.4-0.5", "0.5-0.6"}


def masks(folder: Path, count: int = 6) -> Path:
    """Make a project and a folder of good masks in their splits; return the latter."""
    (folder / "dvc.yaml").touch()
    for split in ("train", "val", "test"):
        (folder / "mine" / split).mkdir(parents=True)
        for number in range(count):
            hole = draw_hole(hole_rng(0, split, number), SIZE, 0.05, 0.5)
            write_hole(folder / "mine" / split / f"{number}.png", hole)
    return folder / "mine"


def films(folder: Path) -> Path:
    """Make a project and a folder with a film, of something that moves; return the folder of its frames."""
    (folder / "dvc.yaml").touch()
    (folder / "mine/film").mkdir(parents=True)
    back = np.asarray(photograph(1).resize((96, 72), Image.Resampling.BICUBIC))
    ahead = np.random.default_rng(0).integers(256, size=(24, 24, 3), dtype=np.uint8)
    for number in range(12):
        frame = back.copy()
        frame[20:44, 4 + 5 * number : 28 + 5 * number] = cv2.GaussianBlur(ahead, (0, 0), 2)
        Image.fromarray(frame).save(folder / "mine/film" / f"{number}.png")
    return folder / "mine/film"


def draw(source: str = "folder", max_pixels: int = 2**26, **values) -> None:
    """Draw the masks of a project from its folder, and check that every bin is filled, with holes of the right size."""
    chosen = {"source": source, "folder": "mine", "train": 8, "val": 2, "test": 1} | values
    data = {"size": SIZE, "max_pixels": max_pixels}
    write_masks(Params.model_validate({"data": data, "masks": chosen, "model": {"depth": 4}}))
    index = read_index("test")
    assert set(index["bin"]) == BINS_ALL and len(index) == 12
    for name in index["file"]:
        assert read_hole(mask_folder("test") / name).shape == (SIZE, SIZE)


def beside(folder: Path, put, make, source: str) -> None:
    """Put something beside good masks or frames: they are used all the same, or the error names it."""
    path = make(folder)
    put(path / "train" if source == "folder" else path)
    draw(source)


CANNOT = r"masks\.folder: 1 of 7 masks cannot be used, the first for this reason: .*"
WHITE, HALF = np.full((40, 40), 255, np.uint8), np.zeros((40, 40), np.uint8)
HALF[:20] = 255
PUT = {
    "notes": (lambda at: (at / "notes.txt").write_text("mine"), None),
    "what a camera's system leaves": (lambda at: (at / "._a.png").write_bytes(bytes(99)), None),
    "a link to a mask": (lambda at: (at / "x.png").symlink_to("0.png"), None),
    "a loop of folders": (lambda at: (at / "again").symlink_to(".."), None),
    "a folder with the name of a mask": (lambda at: (at / "x.png").mkdir(), None),
    "a mask without a hole": (lambda at: Image.fromarray(WHITE - 255).save(at / "x.png"), None),
    "a mask that is all hole": (lambda at: Image.fromarray(WHITE).save(at / "x.png"), None),
    "a mask of one pixel": (lambda at: Image.new("1", (1, 1), 1).save(at / "x.png"), None),
    "a mask that is long and thin": (lambda at: Image.fromarray(HALF.repeat(9, 1)).save(at / "x.png"), None),
    "a mask in 16 bits": (lambda at: Image.fromarray(HALF.astype(np.uint16) * 257).save(at / "x.png"), None),
    "a mask as JPEG": (lambda at: Image.fromarray(HALF).save(at / "x.jpg"), None),
    "a name that is not in UTF-8": (lambda at: write_hole(at / os.fsdecode(b"\xff\xfe.png"), HALF // 255), None),
    "a name with a line break": (lambda at: write_hole(at / "a\nb.png", HALF // 255), None),
    "a mask of another size": (lambda at: write_hole(at / "x.png", HALF // 255), None),
    "text with the name of a mask": (lambda at: (at / "x.png").write_text("404"), CANNOT + r"x\.png: not an image"),
    "an empty file": (lambda at: (at / "x.png").touch(), CANNOT + "empty"),
    "a FIFO": (lambda at: os.mkfifo(at / "x.png"), CANNOT + "Not a regular file"),
    "a broken link": (lambda at: (at / "x.png").symlink_to("y.png"), CANNOT + "No such file"),
    "a link to a device": (lambda at: (at / "x.png").symlink_to("/dev/zero"), CANNOT + "Not a regular file"),
    "a photograph": (lambda at: photograph(3).save(at / "x.png"), CANNOT + "colours"),
    "a grey picture": (lambda at: photograph(3).convert("L").save(at / "x.png"), CANNOT + "grey"),
    "a mask of zeros and ones": (lambda at: Image.fromarray(HALF // 255).save(at / "x.png"), CANNOT + "dark"),
    "a transparent mask": (
        lambda at: Image.fromarray(np.dstack([HALF] * 4)).save(at / "x.png"), CANNOT + "transparent"
    ),
    "a mask of a billion pixels": (lambda at: Image.new("1", (9000, 9000)).save(at / "x.png"), CANNOT + "67 million"),
}  # fmt: skip
table(KIND, beside, {name: (put, masks, "folder", message) for name, (put, message) in PUT.items()})

FRAME = r"masks\.folder: .*"
FRAMES = {
    "notes in a film": (lambda at: (at / "notes.txt").write_text("mine"), None),
    "a film in grey": (lambda at: [_grey(path) for path in at.iterdir()], None),
    "a frame that is none": (lambda at: (at / "5.png").write_text("404"), FRAME + r"5\.png: not an image"),
    "a frame that is a FIFO": (lambda at: [(at / "5.png").unlink(), os.mkfifo(at / "5.png")], FRAME + "Not a regular"),
    "a frame of another size": (lambda at: photograph(1).save(at / "5.png"), FRAME + "frames of different sizes"),
    "a film of one frame": (
        lambda at: [path.unlink() for path in at.iterdir() if path.name != "0.png"], FRAME + "holds 1 frames"
    ),
    "a film in which nothing moves": (
        lambda at: [path.write_bytes((at / "0.png").read_bytes()) for path in at.iterdir()], FRAME + "that moves"
    ),
    "a film as one file": (
        lambda at: [[path.unlink() for path in at.iterdir()], (at / "film.mp4").write_bytes(bytes(999))],
        FRAME + "holds 0 frames.*ffmpeg",
    ),
}  # fmt: skip
table(KIND, beside, {name: (put, films, "video", message) for name, (put, message) in FRAMES.items()})


def _grey(path: Path) -> None:
    with Image.open(path) as image:
        image.convert("L").save(path)


@right(KIND, "good masks")
def _(folder):
    masks(folder)
    draw()


@right(KIND, "a film")
def _(folder):
    films(folder)
    draw("video")


@right(KIND, "one mask in each split")
def _(folder):
    masks(folder, 1)
    draw(test=1)


@refused(KIND, "masks that are the other way round", r"masks\.hole = white: 100% .*set masks\.hole to black")
def _(folder):
    for path in masks(folder).rglob("*.png"):
        write_hole(path, 1 - read_hole(path))
    draw()


@refused(KIND, "masks read the other way round", r"masks\.hole = black: .*most likely their holes are white")
def _(folder):
    masks(folder)
    draw(hole="black")


@refused(KIND, "masks above data.max_pixels", r"masks cannot be used.*more than 900 pixels")
def _(folder):
    masks(folder)
    draw(max_pixels=900)


@refused(KIND, "masks without a folder to validate", r"masks\.folder: .*is left for val; add masks")
def _(folder):
    for path in (masks(folder) / "val").iterdir():
        path.unlink()
    draw()


@refused(KIND, "a folder without permission", r"masks\.folder: .*secret: Permission denied; make it readable")
def _(folder):
    secret = masks(folder) / "train/secret"
    secret.mkdir()
    secret.chmod(0)
    with as_nobody(folder):
        draw()


for name in ("data", ".", "data/masks/train", ".."):

    @refused(KIND, f"masks.folder is {name}", r"masks\.folder: .* (lies in|contains) the project's data/")
    def _(folder, name=name):
        masks(folder)
        (folder / "data/masks/train").mkdir(parents=True)
        draw(folder=name)


for name, put in {"no folder": None, "a file": Path.touch}.items():

    @refused(KIND, name, r"masks\.folder: no folder .*mine")
    def _(folder, put=put):
        (folder / "dvc.yaml").touch()
        if put:
            put(folder / "mine")
        draw()
