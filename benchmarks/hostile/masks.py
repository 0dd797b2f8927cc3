"""Mask files that users have."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageDraw

from hostile import refused, right
from pconv.masks.files import MaskWarning, read_hole, write_hole

KIND = "mask files"


def expected() -> np.ndarray:
    """Draw a hole that touches no edge: (32, 48), 1 = hole."""
    hole = np.zeros((32, 48), np.uint8)
    hole[8:20, 10:30] = 1
    return hole


HOLE = expected()
WHITE = HOLE * 255


def reads(path: Path, hole: np.ndarray = HOLE) -> None:
    """Check that the file is read as the hole, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", MaskWarning)
        assert np.array_equal(read_hole(path), hole)


def warns(path: Path, word: str, value: int) -> None:
    """Check that all of the file is read as `value`, with a warning that names the file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hole = read_hole(path)
    assert (hole == value).all()
    said = [str(one.message) for one in caught if issubclass(one.category, MaskWarning)]
    assert len(said) == 1 and path.name in said[0] and word in said[0], said


# Bits and layouts that are right


@right(KIND, "1 bit")
def _(folder):
    Image.fromarray(HOLE.astype(bool)).save(folder / "hole.png")
    reads(folder / "hole.png")


@right(KIND, "the project's own")
def _(folder):
    write_hole(folder / "hole.png", HOLE)
    reads(folder / "hole.png")


@right(KIND, "2 bits")
def _(folder):
    Image.fromarray(HOLE * 3).convert("P").save(folder / "hole.png", bits=2)
    palette = Image.open(folder / "hole.png")
    palette.putpalette([0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255])
    palette.save(folder / "hole.png", bits=2)
    reads(folder / "hole.png")


@right(KIND, "grey, 8 bits")
def _(folder):
    Image.fromarray(WHITE).save(folder / "hole.png")
    reads(folder / "hole.png")


@right(KIND, "grey, 16 bits")
def _(folder):
    Image.fromarray(HOLE.astype(np.uint16) * 65535).save(folder / "hole.png")
    reads(folder / "hole.png")


@right(KIND, "grey in three channels")
def _(folder):
    Image.fromarray(WHITE).convert("RGB").save(folder / "hole.png")
    reads(folder / "hole.png")


@right(KIND, "colour, 16 bits")
def _(folder):
    cv2.imwrite(str(folder / "hole.png"), cv2.merge([HOLE.astype(np.uint16) * 65535] * 3))
    reads(folder / "hole.png")


@right(KIND, "a palette in which index 0 is white")
def _(folder):
    picture = Image.fromarray(1 - HOLE).convert("P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(folder / "hole.png")
    reads(folder / "hole.png")


@right(KIND, "opaque alpha")
def _(folder):
    Image.fromarray(WHITE).convert("RGBA").save(folder / "hole.png")
    reads(folder / "hole.png")


@right(KIND, "grey and opaque alpha")
def _(folder):
    Image.fromarray(WHITE).convert("LA").save(folder / "hole.png")
    reads(folder / "hole.png")


@right(KIND, "antialiased edges")
def _(folder):
    large = Image.new("L", (480, 320))
    ImageDraw.Draw(large).ellipse((100, 80, 300, 200), fill=255)
    large.resize((48, 32), Image.Resampling.BILINEAR).save(folder / "hole.png")
    sharp = np.asarray(large)[5::10, 5::10] > 0
    assert (read_hole(folder / "hole.png") != sharp).mean() < 0.02


@right(KIND, "JPEG")
def _(folder):
    Image.fromarray(WHITE).save(folder / "hole.jpg", quality=60)
    assert (
        np.asarray(Image.open(folder / "hole.jpg")).min() == 0 and len(np.unique(Image.open(folder / "hole.jpg"))) > 2
    )
    reads(folder / "hole.jpg")


@right(KIND, "JPEG in colour")
def _(folder):
    Image.fromarray(WHITE).convert("RGB").save(folder / "hole.jpg", quality=60)
    reads(folder / "hole.jpg")


for suffix in ("bmp", "gif", "tif", "webp", "pgm"):

    @right(KIND, f"a file of the kind {suffix}")
    def _(folder, suffix=suffix):
        Image.fromarray(WHITE).save(folder / f"hole.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
        reads(folder / f"hole.{suffix}")


@right(KIND, "a PNG under the name of a JPEG")
def _(folder):
    Image.fromarray(WHITE).save(folder / "hole.jpg", format="PNG")
    reads(folder / "hole.jpg")


for suffix in ("jpg", "png"):

    @right(KIND, f"turned by EXIF data, {suffix}")
    def _(folder, suffix=suffix):
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by a quarter, clockwise
        Image.fromarray(WHITE).save(folder / f"hole.{suffix}", exif=exif)
        reads(folder / f"hole.{suffix}", np.rot90(HOLE, -1))


for bits, dtype in {1: bool, 8: np.uint8, 16: np.uint16}.items():

    @right(KIND, f"TIFF whose 0 is white, {bits} bits")
    def _(folder, bits=bits, dtype=dtype):
        stored = (1 - HOLE).astype(dtype) * dtype(2**bits - 1)
        tifffile.imwrite(folder / "hole.tif", stored, photometric="miniswhite")
        reads(folder / "hole.tif")


@right(KIND, "PGM, values up to 1,023")
def _(folder):
    (folder / "hole.pgm").write_bytes(b"P5\n48 32\n1023\n" + (HOLE.astype(">u2") * 1023).tobytes())
    reads(folder / "hole.pgm")


@right(KIND, "a link to a file")
def _(folder):
    write_hole(folder / "hole.png", HOLE)
    (folder / "link.png").symlink_to("hole.png")
    reads(folder / "link.png")


@right(KIND, "a name that is not in UTF-8")
def _(folder):
    path = Path(os.fsdecode(os.fsencode(folder) + b"/h\xf6le.png"))
    write_hole(path, HOLE)
    reads(path)


# All hole, no hole


for value, word in ((1, "every pixel is white"), (0, "no pixel is white")):

    @right(KIND, f"said: {word}, 1 bit")
    def _(folder, value=value, word=word):
        write_hole(folder / "hole.png", np.full((32, 48), value, np.uint8))
        warns(folder / "hole.png", word, value)

    @right(KIND, f"said: {word}, 8 bits")
    def _(folder, value=value, word=word):
        Image.new("L", (48, 32), 255 * value).save(folder / "hole.png")
        warns(folder / "hole.png", word, value)


@right(KIND, "said: no pixel is white, colour of 16 bits, values of 0 and 255")
def _(folder):
    cv2.imwrite(str(folder / "hole.png"), cv2.merge([WHITE.astype(np.uint16)] * 3))
    warns(folder / "hole.png", "no pixel is white", 0)


# What would be a guess


@refused(KIND, "values of 0 and 1", r"hole\.png: its brightest pixel is 1 of 255.* 255 where the hole is")
def _(folder):
    Image.fromarray(HOLE).save(folder / "hole.png")
    read_hole(folder / "hole.png")


@refused(KIND, "16 bits, values of 0 and 255", r"hole\.png: its brightest pixel is 255 of 65535")
def _(folder):
    Image.fromarray(WHITE.astype(np.uint16)).save(folder / "hole.png")
    read_hole(folder / "hole.png")


@refused(KIND, "a palette of labels", r"hole\.png: (holds colours|its brightest pixel)")
def _(folder):
    picture = Image.fromarray(HOLE).convert("P")
    picture.putpalette([0, 0, 0, 128, 0, 0])
    picture.save(folder / "hole.png")
    read_hole(folder / "hole.png")


@refused(KIND, "red on black", r"hole\.png: holds colours")
def _(folder):
    Image.fromarray(np.dstack([WHITE, 0 * WHITE, 0 * WHITE])).save(folder / "hole.png")
    read_hole(folder / "hole.png")


@refused(KIND, "red on black, JPEG", r"hole\.jpg: holds colours")
def _(folder):
    Image.fromarray(np.dstack([WHITE, 0 * WHITE, 0 * WHITE])).save(folder / "hole.jpg", quality=60)
    read_hole(folder / "hole.jpg")


ALPHA = r"hole\.png: is transparent in places; save it without transparency"


@refused(KIND, "a photograph whose hole is transparent", ALPHA)
def _(folder):
    photograph = np.random.default_rng(0).integers(256, size=(32, 48, 3), dtype=np.uint8)
    Image.fromarray(np.dstack([photograph, 255 - WHITE])).save(folder / "hole.png")
    read_hole(folder / "hole.png")


@refused(KIND, "white strokes on a transparent layer", ALPHA)
def _(folder):
    Image.fromarray(np.dstack([0 * WHITE + 255] * 3 + [WHITE])).save(folder / "hole.png")
    read_hole(folder / "hole.png")


@refused(KIND, "grey, transparent in places", ALPHA)
def _(folder):
    Image.fromarray(np.dstack([WHITE, WHITE])).save(folder / "hole.png")
    read_hole(folder / "hole.png")


@refused(KIND, "a palette with a transparent colour", ALPHA)
def _(folder):
    picture = Image.fromarray(HOLE).convert("P")
    picture.putpalette([255, 255, 255, 255, 255, 255])
    picture.save(folder / "hole.png", transparency=0)
    read_hole(folder / "hole.png")


@refused(KIND, "1 bit, black transparent", ALPHA)
def _(folder):
    Image.fromarray(HOLE.astype(bool)).save(folder / "hole.png", transparency=0)
    read_hole(folder / "hole.png")


@refused(KIND, "a photograph", r"hole\.png: \d+% of it is grey")
def _(folder):
    grey = np.linspace(0, 255, 32 * 48).reshape(32, 48).astype(np.uint8)
    Image.fromarray(grey).save(folder / "hole.png")
    read_hole(folder / "hole.png")


@refused(KIND, "numbers of 32 bits", r"hole\.tif: pixels of the kind F")
def _(folder):
    Image.fromarray(HOLE.astype(np.float32)).save(folder / "hole.tif")
    read_hole(folder / "hole.tif")


@refused(KIND, "CMYK", r"hole\.jpg: pixels of the kind CMYK")
def _(folder):
    Image.fromarray(WHITE).convert("CMYK").save(folder / "hole.jpg")
    read_hole(folder / "hole.jpg")


@refused(KIND, "an animation", r"hole\.png: holds 2 pictures")
def _(folder):
    frames = [Image.fromarray(WHITE), Image.fromarray(255 - WHITE)]
    frames[0].save(folder / "hole.png", save_all=True, append_images=frames[1:])
    read_hole(folder / "hole.png")


# Size


def png(width: int, height: int, bits: int, rows: bytes) -> bytes:
    """Return a PNG in grey of the given size, whatever pixels it holds."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


TOO_LARGE = r"hole\.png: .*more than 67 million pixels.*scale it down"


for bits, side in ((1, 30_000), (8, 12_000)):

    @refused(KIND, f"60,000 x 60,000 px in the header, {bits} bits", TOO_LARGE)
    def _(folder, bits=bits):
        (folder / "hole.png").write_bytes(png(60_000, 60_000, bits, zlib.compress(bytes(1000))))
        read_hole(folder / "hole.png")

    @refused(KIND, f"{side:,} x {side:,} px, {bits} bits", TOO_LARGE)
    def _(folder, bits=bits, side=side):
        compressor, row = zlib.compressobj(9), bytes(1 + side * bits // 8)
        rows = b"".join(compressor.compress(row) for _ in range(side)) + compressor.flush()
        (folder / "hole.png").write_bytes(png(side, side, bits, rows))
        read_hole(folder / "hole.png")


@refused(KIND, "10,000 x 10,000 px in the header", TOO_LARGE)
def _(folder):
    (folder / "hole.png").write_bytes(png(10_000, 10_000, 8, zlib.compress(bytes(1000))))
    read_hole(folder / "hole.png")


@refused(KIND, "0 px wide", r"hole\.png: (damaged|not an image)")
def _(folder):
    (folder / "hole.png").write_bytes(png(0, 32, 1, zlib.compress(bytes(100))))
    read_hole(folder / "hole.png")


# Damage


DAMAGED = r"hole\.\w+: (damaged|not an image)"


def saved(folder: Path, kind: str) -> Path:
    """Write a mask that takes some hundred bytes, and return its path."""
    hole = np.random.default_rng(0).integers(2, size=(96, 96), dtype=np.uint8)
    path = folder / f"hole.{'jpg' if kind == 'JPEG' else 'png'}"
    if kind == "1 bit":
        write_hole(path, hole)
    else:
        Image.fromarray(hole * 255).save(path)
    return path


for kind in ("1 bit", "8 bits", "JPEG"):
    for part in (0.1, 0.5, 0.95):

        @refused(KIND, f"{kind}, the first {part:.0%} of a file", DAMAGED)
        def _(folder, kind=kind, part=part):
            path = saved(folder, kind)
            path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
            read_hole(path)


for kind in ("1 bit", "8 bits"):

    @refused(KIND, f"{kind}, one byte flipped", DAMAGED)
    def _(folder, kind=kind):
        path = saved(folder, kind)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 16
        path.write_bytes(content)
        read_hole(path)


@refused(KIND, "a text file", r"hole\.png: not an image")
def _(folder):
    (folder / "hole.png").write_text("white where the hole is")
    read_hole(folder / "hole.png")


@refused(KIND, "an empty file", r"hole\.png: not an image")
def _(folder):
    (folder / "hole.png").touch()
    read_hole(folder / "hole.png")


@refused(KIND, "a file with a hole of 100 GB", r"hole\.png: not an image")
def _(folder):
    with open(folder / "hole.png", "wb") as file:
        file.truncate(100 * 2**30)
    read_hole(folder / "hole.png")


@refused(KIND, "a FIFO", r"hole\.png: Not a regular file")
def _(folder):
    os.mkfifo(folder / "hole.png")
    read_hole(folder / "hole.png")


@refused(KIND, "a device", r"/dev/zero: Not a regular file")
def _(folder):
    read_hole("/dev/zero")


@refused(KIND, "a folder", r"hole\.png: This is a folder")
def _(folder):
    (folder / "hole.png").mkdir()
    read_hole(folder / "hole.png")


@refused(KIND, "no file", r"hole\.png: No such file")
def _(folder):
    read_hole(folder / "hole.png")


@refused(KIND, "a broken link", r"hole\.png: No such file")
def _(folder):
    (folder / "hole.png").symlink_to("nothing.png")
    read_hole(folder / "hole.png")
