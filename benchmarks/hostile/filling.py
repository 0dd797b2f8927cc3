"""What is given to `pconv fill`: photographs and masks of all kinds, and words on the command line."""

from __future__ import annotations

import os
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from hostile import refused, right, table
from pconv.filling.command import main
from pconv.unet import PConvUNet, he_init, save_model

KIND = "photographs to fill"
SHAPE = (48, 64)
WHITE = np.uint8(255)


def photo(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SHAPE, channels), dtype=np.uint8)


def hole(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    pixels = np.zeros(shape, np.uint8)
    pixels[shape[0] // 3 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = WHITE
    return pixels


def prepare(folder: Path) -> None:
    """Write a photograph, its mask, weights, and files that are neither."""
    Image.fromarray(photo()).save("photo.png")
    Image.fromarray(hole()).save("hole.png")
    network = he_init(PConvUNet(2, 3), 0)
    about = {"params": {"model": {"width": 2, "depth": 3}, "data": {"size": 16}}}
    save_model(folder / "weights.safetensors", network.state_dict(), about)
    Path("text.png").write_text("no picture")
    Path("empty.png").touch()
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:3000])
    Path("folder").mkdir()
    os.mkfifo("fifo.png")
    Image.fromarray(0 * hole()).save("black.png")
    Image.fromarray(0 * hole() + WHITE).save("white.png")
    Image.fromarray(hole()[:20]).save("low.png")
    Image.fromarray(np.full(SHAPE, 128, np.uint8)).save("grey.png")
    frames = [Image.fromarray(photo()), Image.fromarray(255 - photo())]
    frames[0].save("two.tif", save_all=True, append_images=frames[1:])
    Image.fromarray(photo()[..., 0].astype(np.float32)).save("float.tif")
    Image.fromarray(np.dstack([photo(), 0 * hole()])).save("clear.png")
    Path("ten.ppm").write_bytes(b"P6\n64 48\n1023\n" + photo().astype(">u2").tobytes())


def fill(folder: Path, *words: str) -> None:
    """Run `pconv fill` in a folder with all these files and leave with its status."""
    prepare(folder)
    raise SystemExit(main(["fill", *words, "--weights", "weights.safetensors"]))


TO = ("--output", "out")
table(
    KIND,
    fill,
    {
        "no photograph": (*TO, "required: PHOTO"),
        "no folder for results": ("photo.png", "--mask", "hole.png", "required: --output"),
        "an unknown option": ("photo.png", "--invert", *TO, "unrecognized arguments: --invert"),
        "no mask and no transparency": ("photo.png", *TO, "photo.png: transparent nowhere.*needs a mask"),
        "a photograph that is missing": ("no.png", "--mask", "hole.png", *TO, "no.png: No such file"),
        "a mask that is missing": ("photo.png", "--mask", "no.png", *TO, "no.png: No such file.*white is the hole"),
        "a text as photograph": ("text.png", "--mask", "hole.png", *TO, "text.png: not an image"),
        "a text as mask": ("photo.png", "--mask", "text.png", *TO, "text.png: not an image"),
        "an empty file": ("empty.png", "--mask", "hole.png", *TO, "empty.png: not an image: the file is empty"),
        "a photograph cut short": ("cut.png", "--mask", "hole.png", *TO, "cut.png: .*damaged"),
        "a mask cut short": ("photo.png", "--mask", "cut.png", *TO, "cut.png: .*damaged"),
        "a FIFO": ("fifo.png", "--mask", "hole.png", *TO, "fifo.png: Not a regular file"),
        "a FIFO as mask": ("photo.png", "--mask", "fifo.png", *TO, "fifo.png: Not a regular file"),
        "a folder without pictures": ("folder", "--mask", "hole.png", *TO, "folder: no picture in this folder"),
        "masks without pictures": ("photo.png", "--mask", "folder", *TO, "folder: no picture in this folder"),
        "all white": ("photo.png", "--mask", "white.png", *TO, "white.png: the hole is the whole photograph"),
        "all grey": ("photo.png", "--mask", "grey.png", *TO, "grey.png: its brightest pixel is 128"),
        "another shape": ("photo.png", "--mask", "low.png", *TO, "low.png: 64 x 20 px, but photo.png has 64 x 48 px"),
        "the photograph as its mask": ("photo.png", "--mask", "photo.png", *TO, "photo.png: holds colours"),
        "all transparent": ("clear.png", *TO, "clear.png: the hole is the whole photograph"),
        "two pictures in a file": ("two.tif", "--mask", "hole.png", *TO, "two.tif: holds 2 pictures"),
        "numbers without a range": ("float.tif", "--mask", "hole.png", *TO, "float.tif: pixels of the kind F"),
        "values up to 1,023": ("ten.ppm", "--mask", "hole.png", *TO, "ten.ppm: a PPM file whose .* is 1023"),
        "too many masks": ("photo.png", "--mask", "hole.png", "white.png", *TO, "no mask of its name among 2"),
        "the same photograph twice": ("photo.png", "photo.png", "--mask", "hole.png", *TO, "two photographs"),
        "results over photographs": ("photo.png", "--mask", "hole.png", "--output", ".", "would replace"),
        "results in a file": ("photo.png", "--mask", "hole.png", "--output", "hole.png", "hole.png: a file; name a"),
        "a black mask": ("photo.png", "--mask", "black.png", *TO, None),
        "a photograph": ("photo.png", "--mask", "hole.png", *TO, None),
    },
)  # fmt: skip


@refused(KIND, "a result that is there already", "out/photo.png: exists already; .*--overwrite")
def _(folder):
    Path("out").mkdir()
    Path("out/photo.png").write_text("of the user's")
    try:
        fill(folder, "photo.png", "--mask", "hole.png", *TO)
    finally:
        assert Path("out/photo.png").read_text() == "of the user's"


def fills_only_the_hole(name: str) -> Image.Image:
    """Fill a photograph from a file; its known pixels stay, those of the hole do not."""
    assert main(["fill", name, "--mask", "hole.png", *TO, "--weights", "weights.safetensors"]) == 0
    with Image.open(f"out/{name}") as result:
        result.load()
    changed = (np.asarray(result) != photo()).any(axis=2)
    assert not changed[hole() == 0].any() and changed[hole() > 0].any()
    return result


for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):

    @right(KIND, f"TIFF, {compression}")
    def _(folder, compression=compression):
        prepare(folder)
        Image.fromarray(photo()).save("a.tif", compression=compression)
        fills_only_the_hole("a.tif")


for orientation, stored in {3: np.rot90(photo(), 2), 6: np.rot90(photo()), 2: photo()[:, ::-1]}.items():

    @right(KIND, f"TIFF, orientation {orientation}")
    def _(folder, orientation=orientation, stored=stored):
        prepare(folder)
        Image.fromarray(np.ascontiguousarray(stored)).save("a.tif", tiffinfo={274: orientation})
        fills_only_the_hole("a.tif")  # Pillow reads TIFFs upright


@right(KIND, "a thumbnail that shows what the hole removes")
def _(folder):
    prepare(folder)
    file = BytesIO()
    Image.fromarray(photo()).save(file, "JPEG")
    thumbnail = file.getvalue()
    camera = struct.pack("<HHHI4sI", 1, 271, 2, 4, b"Cam", 26)  # a directory of EXIF data, and where the next one is
    place = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, 56, 514, 4, 1, len(thumbnail), 0)
    Image.fromarray(photo()).save("a.png", exif=b"Exif\0\0II*\0\x08\0\0\0" + camera + place + thumbnail)
    assert thumbnail in Path("a.png").read_bytes()
    result = fills_only_the_hole("a.png")
    assert thumbnail not in Path("out/a.png").read_bytes() and result.getexif()[271] == "Cam"


@right(KIND, "one of three is damaged")
def _(folder):
    prepare(folder)
    Image.fromarray(photo()).save("other.png")
    words = ["fill", "photo.png", "cut.png", "other.png", "--mask", "hole.png", *TO, "--weights", "weights.safetensors"]
    assert main(words) == 1
    assert sorted(path.name for path in Path("out").iterdir()) == ["other.png", "photo.png"]


@right(KIND, "a hole of every pixel but one")
def _(folder):
    prepare(folder)
    mask = np.full(SHAPE, WHITE)
    mask[5, 7] = 0
    Image.fromarray(mask).save("mask.png")
    assert main(["fill", "photo.png", "--mask", "mask.png", *TO, "--weights", "weights.safetensors"]) == 0
    out = np.asarray(Image.open("out/photo.png"))
    assert np.array_equal(out[5, 7], photo()[5, 7])


@right(KIND, "a photograph of one row")
def _(folder):
    prepare(folder)
    Image.fromarray(photo()[:1]).save("row.png")
    Image.fromarray(hole()[20:21]).save("mask.png")
    assert main(["fill", "row.png", "--mask", "mask.png", *TO, "--weights", "weights.safetensors"]) == 0
    assert np.array_equal(np.asarray(Image.open("out/row.png"))[:, :10], photo()[:1, :10])
