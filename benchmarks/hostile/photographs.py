"""Photographs that users have, one by one."""

from __future__ import annotations

import os
import zlib
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from hostile import refused, right
from hostile.masks import png
from pconv.data.decoding import read_image

KIND = "photographs"
SPLIT = ("train/a.png", "train/b.png", "val/c.png", "test/d.png")  # a folder of them, in its splits


def picture() -> np.ndarray:
    """Return a colourful picture without noise, (48, 64, 3) uint8 RGB."""
    rows, columns = np.mgrid[:48, :64]
    return np.stack([5 * rows, 3 * columns, 255 - 2 * rows - 2 * columns], axis=2).astype(np.uint8)


PICTURE = picture()
RGB = Image.fromarray(PICTURE)


def photograph(seed: int) -> Image.Image:
    """Return a smooth photograph, 48 x 40 px, that shows something else than all others."""
    coarse = np.random.default_rng(seed).integers(256, size=(5, 6, 3), dtype=np.uint8)
    return Image.fromarray(cv2.resize(coarse, (48, 40), interpolation=cv2.INTER_CUBIC))


def fill(folder: Path, *names: str) -> Path:
    """Make a project and, outside of its data/, a folder of different photographs; return the latter."""
    (folder / "dvc.yaml").touch()
    for seed, name in enumerate(names):
        path = folder / "photographs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(seed).save(path)
    return folder / "photographs"


def reads(path: Path, expected: np.ndarray = PICTURE, within: int = 0) -> None:
    """Check that a file is read as the expected picture, but for a difference of `within`."""
    found = read_image(path)
    assert found.shape == expected.shape and found.dtype == np.uint8, found.shape
    worst = np.abs(found.astype(int) - expected).max()
    assert worst <= within, f"{worst} beside it"


# Formats and layouts that are right

EXACT = {"png": {}, "bmp": {}, "ppm": {}, "tif": {}, "webp": {"lossless": True}}
LOSSY = {
    "jpg": {"quality": 95, "subsampling": 0},
    "jpeg": {"quality": 95, "subsampling": 0},
    "JPG": {"quality": 95, "subsampling": 0},
}
for suffix, options in (EXACT | LOSSY).items():

    @right(KIND, f"a file of the kind {suffix}")
    def _(folder, suffix=suffix, options=options):
        RGB.save(folder / f"a.{suffix}", **options)
        reads(folder / f"a.{suffix}", within=0 if suffix in EXACT else 12)


for name, options in {"progressive": {"progressive": True}, "of half the colours": {"subsampling": 2}}.items():

    @right(KIND, f"JPEG, {name}")
    def _(folder, options=options):
        RGB.save(folder / "a.jpg", quality=95, **options)
        reads(folder / "a.jpg", within=24)


for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):

    @right(KIND, f"TIFF, {compression}")
    def _(folder, compression=compression):
        RGB.save(folder / "a.tif", compression=compression)
        reads(folder / "a.tif", within=30 if compression == "jpeg" else 0)


@right(KIND, "PNG, interlaced")
def _(folder):
    cv2.imwrite(str(folder / "a.png"), PICTURE[..., ::-1])
    RGB.save(folder / "b.png", interlace=True)
    reads(folder / "b.png")


@right(KIND, "grey")
def _(folder):
    Image.fromarray(PICTURE[..., 0]).save(folder / "a.png")
    reads(folder / "a.png", np.dstack([PICTURE[..., 0]] * 3))


@right(KIND, "grey, JPEG")
def _(folder):
    Image.fromarray(PICTURE[..., 0]).save(folder / "a.jpg", quality=95)
    reads(folder / "a.jpg", np.dstack([PICTURE[..., 0]] * 3), within=12)


@right(KIND, "a palette")
def _(folder):
    palette = RGB.quantize(64)
    palette.save(folder / "a.png")
    reads(folder / "a.png", np.asarray(palette.convert("RGB")))


@right(KIND, "1 bit")
def _(folder):
    bits = PICTURE[..., 0] > 100
    Image.fromarray(bits).save(folder / "a.png")
    reads(folder / "a.png", np.dstack([bits * np.uint8(255)] * 3))


for suffix in ("png", "tif"):

    @right(KIND, f"16 bits, {suffix}")
    def _(folder, suffix=suffix):
        cv2.imwrite(str(folder / f"a.{suffix}"), PICTURE[..., ::-1].astype(np.uint16) * 257)
        reads(folder / f"a.{suffix}", within=1)


@right(KIND, "16 bits, grey")
def _(folder):
    cv2.imwrite(str(folder / "a.png"), PICTURE[..., 0].astype(np.uint16) * 257)
    reads(folder / "a.png", np.dstack([PICTURE[..., 0]] * 3), within=1)


@right(KIND, "CMYK")
def _(folder):
    RGB.convert("CMYK").save(folder / "a.jpg", quality=98, subsampling=0)
    reads(folder / "a.jpg", within=12)


@right(KIND, "opaque alpha")
def _(folder):
    RGB.convert("RGBA").save(folder / "a.png")
    reads(folder / "a.png")


for orientation, turned in {3: np.rot90(PICTURE, 2), 6: np.rot90(PICTURE, -1), 2: PICTURE[:, ::-1]}.items():

    @right(KIND, f"EXIF orientation {orientation}")
    def _(folder, orientation=orientation, turned=turned):
        exif = Image.Exif()
        exif[0x0112] = orientation
        RGB.save(folder / "a.jpg", exif=exif, quality=95, subsampling=0)
        reads(folder / "a.jpg", turned, within=12)


@right(KIND, "EXIF data that are none")
def _(folder):
    RGB.save(folder / "a.jpg", exif=b"Exif\0\0" + bytes(range(256)), quality=95, subsampling=0)
    reads(folder / "a.jpg", within=12)


@right(KIND, "a PNG under the name of a JPEG")
def _(folder):
    RGB.save(folder / "a.jpg", format="PNG")
    reads(folder / "a.jpg")


for size in ((1, 1), (1, 64), (48, 1)):

    @right(KIND, f"{size[1]} x {size[0]} px")
    def _(folder, size=size):
        Image.fromarray(PICTURE[: size[0], : size[1]]).save(folder / "a.png")
        reads(folder / "a.png", PICTURE[: size[0], : size[1]])


@right(KIND, "a link, and a name that is not in UTF-8")
def _(folder):
    path = Path(os.fsdecode(os.fsencode(folder) + b"/f\xf6to.png"))
    RGB.save(path)
    (folder / "link.png").symlink_to(path)
    reads(folder / "link.png")


@right(KIND, "a name with a line end")
def _(folder):
    RGB.save(folder / "a\nb.png")
    reads(folder / "a\nb.png")


@right(KIND, "garbage behind the end")
def _(folder):
    RGB.save(folder / "a.png")
    with open(folder / "a.png", "ab") as file:
        file.write(bytes(1000))
    reads(folder / "a.png")


# What would be a guess


TRANSPARENT = r"a\.\w+: .*transparent"


@refused(KIND, "transparent in places", TRANSPARENT)
def _(folder):
    Image.fromarray(np.dstack([PICTURE, 5 * np.mgrid[:48, :64][0].astype(np.uint8)])).save(folder / "a.png")
    read_image(folder / "a.png")


@refused(KIND, "transparent in places, WebP", TRANSPARENT)
def _(folder):
    Image.fromarray(np.dstack([PICTURE, 5 * np.mgrid[:48, :64][0].astype(np.uint8)])).save(
        folder / "a.webp", lossless=True
    )
    read_image(folder / "a.webp")


@refused(KIND, "transparent in places, 16 bits", TRANSPARENT)
def _(folder):
    alpha = 257 * 5 * np.mgrid[:48, :64][0]
    cv2.imwrite(str(folder / "a.png"), np.dstack([PICTURE.astype(np.uint16) * 257, alpha.astype(np.uint16)]))
    read_image(folder / "a.png")


@refused(KIND, "grey, transparent in places", TRANSPARENT)
def _(folder):
    Image.fromarray(PICTURE[..., :2]).save(folder / "a.png")
    read_image(folder / "a.png")


@refused(KIND, "a palette with a transparent colour", TRANSPARENT)
def _(folder):
    RGB.quantize(8).save(folder / "a.png", transparency=0)
    read_image(folder / "a.png")


@refused(KIND, "a transparent colour", TRANSPARENT)
def _(folder):
    RGB.save(folder / "a.png", transparency=tuple(PICTURE[0, 0].tolist()))
    read_image(folder / "a.png")


@refused(KIND, "grey and transparency, TIFF", TRANSPARENT)
def _(folder):
    Image.fromarray(PICTURE[..., :2]).save(folder / "a.tif")
    read_image(folder / "a.tif")


for name, grey in {"grey": PICTURE[..., 0], "1 bit": PICTURE[..., 0] > 100}.items():

    @refused(KIND, f"{name}, a transparent value", TRANSPARENT)
    def _(folder, grey=grey):
        Image.fromarray(grey).save(folder / "a.png", transparency=0)
        read_image(folder / "a.png")


@right(KIND, "a transparent value that no pixel has")
def _(folder):
    Image.fromarray(PICTURE[..., 0]).save(folder / "a.png", transparency=1)
    reads(folder / "a.png", np.dstack([PICTURE[..., 0]] * 3))


for maximum in (1, 100, 1023):

    @refused(KIND, f"PPM, values up to {maximum:,}", rf"a\.ppm: a PPM file whose greatest value is {maximum};.*255")
    def _(folder, maximum=maximum):
        values = PICTURE.astype(int) * maximum // 255
        kind = ">u2" if maximum > 255 else np.uint8
        (folder / "a.ppm").write_bytes(b"P6\n64 48\n%d\n" % maximum + values.astype(kind).tobytes())
        read_image(folder / "a.ppm")


for suffix in ("png", "webp", "tif"):

    @refused(KIND, f"several pictures in one file, {suffix}", rf"a\.{suffix}: .*2 pictures")
    def _(folder, suffix=suffix):
        RGB.save(folder / f"a.{suffix}", save_all=True, append_images=[RGB.transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
        read_image(folder / f"a.{suffix}")


@refused(KIND, "GIF", r"a\.gif: not an image that can be read \(JPEG, PNG")
def _(folder):
    RGB.save(folder / "a.gif")
    read_image(folder / "a.gif")


for name, kind in {"numbers of 32 bits": np.float32, "whole numbers of 32 bits": np.int32}.items():

    @refused(KIND, name, r"a\.tif: .*(pixels of the kind|not an image)")
    def _(folder, kind=kind):
        Image.fromarray(PICTURE[..., 0].astype(kind)).save(folder / "a.tif")
        read_image(folder / "a.tif")


# Size


TOO_LARGE = r"a\.\w+: .*more than \d+ million pixels.*scale it down|a\.\w+: .*pixels.*make it smaller"
for side in (10_000, 60_000, 2**31 - 1):

    @refused(KIND, f"{side:,} x {side:,} px in the header", TOO_LARGE)
    def _(folder, side=side):
        (folder / "a.png").write_bytes(png(side, side, 8, zlib.compress(bytes(1000))))
        read_image(folder / "a.png")


@refused(KIND, "20,000 x 20,000 px, JPEG", TOO_LARGE)
def _(folder):
    RGB.save(folder / "a.jpg")
    content = bytearray((folder / "a.jpg").read_bytes())
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = (20_000).to_bytes(2) * 2
    (folder / "a.jpg").write_bytes(content)
    read_image(folder / "a.jpg")


@refused(KIND, "a text of 100 MB beside the pixels", r"a\.png: .{10,}")
def _(folder):
    content = png(8, 8, 8, zlib.compress(bytes(72)))
    text = b"zTXtnote\0\0" + zlib.compress(bytes(10**8))
    chunk = (len(text) - 4).to_bytes(4) + text + zlib.crc32(text).to_bytes(4)
    (folder / "a.png").write_bytes(content[:33] + chunk + content[33:])
    read_image(folder / "a.png")


@refused(KIND, "0 px wide", r"a\.png: .{10,}")
def _(folder):
    (folder / "a.png").write_bytes(png(0, 32, 8, zlib.compress(bytes(100))))
    read_image(folder / "a.png")


# Damage


NOISE = Image.fromarray(np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8))
DAMAGED = r"a\.\w+: .*(not an image|damaged|cut short)"
for suffix in ("png", "jpg", "webp", "tif", "bmp", "ppm"):
    for part in (0.001, 0.1, 0.5, 0.95):

        @refused(KIND, f"{suffix}, the first {part:.1%} of a file", DAMAGED)
        def _(folder, suffix=suffix, part=part):
            path = folder / f"a.{suffix}"
            NOISE.save(path)
            path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
            read_image(path)


@refused(KIND, "PNG, one byte flipped", DAMAGED)
def _(folder):
    NOISE.save(folder / "a.png")
    content = bytearray((folder / "a.png").read_bytes())
    content[len(content) // 2] ^= 16
    (folder / "a.png").write_bytes(content)
    read_image(folder / "a.png")


for name, content in {
    "text": b"a photograph",
    "HTML, as downloads that failed are": b"<!DOCTYPE html><html><body>404</body></html>",
    "zeros": bytes(10_000),
    "only the signature of a PNG": b"\x89PNG\r\n\x1a\n",
    "only the first bytes of a JPEG": b"\xff\xd8\xff\xe0",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "PDF": b"%PDF-1.7\n1 0 obj\n",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
}.items():

    @refused(KIND, name, DAMAGED)
    def _(folder, content=content):
        (folder / "a.png").write_bytes(content)
        read_image(folder / "a.png")


@refused(KIND, "an empty file", r"a\.png: not an image: the file is empty")
def _(folder):
    (folder / "a.png").touch()
    read_image(folder / "a.png")


@refused(KIND, "a file with a hole of 100 GB", r"a\.png: .{10,}")
def _(folder):
    with open(folder / "a.png", "wb") as file:
        file.truncate(100 * 2**30)
    read_image(folder / "a.png")


@refused(KIND, "a FIFO", r"a\.png: Not a regular file")
def _(folder):
    os.mkfifo(folder / "a.png")
    read_image(folder / "a.png")


@refused(KIND, "a device", r"/dev/zero: Not a regular file")
def _(folder):
    read_image("/dev/zero")


@refused(KIND, "a folder", r"a\.png: This is a folder")
def _(folder):
    (folder / "a.png").mkdir()
    read_image(folder / "a.png")


@refused(KIND, "no file", r"a\.png: No such file")
def _(folder):
    read_image(folder / "a.png")


@refused(KIND, "a link to itself", r"a\.png: Too many levels of symbolic links")
def _(folder):
    (folder / "a.png").symlink_to("a.png")
    read_image(folder / "a.png")


@contextmanager
def as_nobody(folder: Path):
    """Look at a folder as a user without rights does; the administrator, who runs containers, may read everything."""
    folder.chmod(0o755)
    administrator = os.geteuid() == 0
    if administrator:
        os.seteuid(65534)
    try:
        yield
    finally:
        if administrator:
            os.seteuid(0)


@refused(KIND, "no permission", r"a\.png: Permission denied")
def _(folder):
    RGB.save(folder / "a.png")
    (folder / "a.png").chmod(0)
    with as_nobody(folder):
        read_image(folder / "a.png")
