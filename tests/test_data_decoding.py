"""One decoder for photographs: every kind as RGB, and whatever cannot be read is refused by name."""

import os
import struct
import time
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
import torch
from photographs import bomb, photographs, position
from PIL import Image

from pconv.data.decoding import ImageError, decode, decode_for_crops, read_image, write_image
from pconv.data.tensors import to_tensor


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("not a picture")
    photographs(tmp_path, "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    for name in ("empty.jpg", "text.png", "cut.png"):
        with pytest.raises(ImageError, match=rf"{name}: not an image"):
            read_image(tmp_path / name)
    with pytest.raises(ImageError, match=r"gone\.png: No such file or directory"):
        read_image(tmp_path / "gone.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp", "ppm"])
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_file_that_was_cut_short_is_named(tmp_path, suffix, part):
    photographs(tmp_path, f"a.{suffix}")
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(ImageError, match=rf"a\.{suffix}: not an image"):
        read_image(path)


RED = np.zeros((4, 5, 3), np.uint8)
RED[..., 0] = 255
KINDS = {  # name -> how the file is written, and how far the pixels may be from RED
    "rgb.png": (lambda p: Image.fromarray(RED).save(p), 0),
    "rgb.webp": (lambda p: Image.fromarray(RED).save(p, lossless=True), 0),
    "alpha.png": (lambda p: Image.fromarray(RED).convert("RGBA").save(p), 0),
    "palette.png": (lambda p: Image.fromarray(RED).quantize(4).save(p), 0),
    "bits16.png": (lambda p: cv2.imwrite(str(p), RED[..., ::-1].astype(np.uint16) * 257), 0),
    "bits16.tif": (lambda p: cv2.imwrite(str(p), RED[..., ::-1].astype(np.uint16) * 257), 0),
    "cmyk.tif": (lambda p: Image.fromarray(RED).convert("CMYK").save(p), 0),
    "cmyk.jpg": (lambda p: Image.fromarray(RED).convert("CMYK").save(p, quality=95, subsampling=0), 3),
    "several.mpo": (
        lambda p: Image.fromarray(RED).save(p, "MPO", save_all=True, append_images=[Image.new("RGB", (5, 4))]),
        2,
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_picture_is_read_as_rgb(tmp_path, name):
    save, off = KINDS[name]
    save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == np.uint8 and image.shape == RED.shape
    assert np.abs(image.astype(int) - RED).max() <= off


def test_a_grey_picture_is_read_as_three_equal_channels(tmp_path):
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    for name, values in (("8.png", grey), ("16.png", grey.astype(np.uint16) * 257)):
        Image.fromarray(values).save(tmp_path / name)
        assert np.array_equal(read_image(tmp_path / name), np.dstack([grey] * 3))


@pytest.mark.parametrize("kind, channels", [("P5", 1), ("P6", 3), ("P2", 1), ("P3", 3)])
@pytest.mark.parametrize("maximum", [1, 15, 254, 255, 256, 1023, 65_535])
def test_a_ppm_file_with_a_maximum_that_opencv_ignores_is_refused(tmp_path, kind, channels, maximum):
    """It would come out nearly black."""
    picture = position(4, 5)[..., :channels] * np.uint8(12)
    values = picture.astype(int) * maximum // 255
    if kind in ("P2", "P3"):
        content = b"\n".join(b" ".join(b"%d" % value for value in row.ravel()) for row in values) + b"\n"
    else:
        content = values.astype(">u2" if maximum > 255 else np.uint8).tobytes()
    (tmp_path / "a.ppm").write_bytes(b"%s\n# a comment\n5 4 # another\n%d\n" % (kind.encode(), maximum) + content)
    if maximum in (255, 65_535):
        assert np.abs(read_image(tmp_path / "a.ppm").astype(int) - picture).max() <= 1
    else:
        with pytest.raises(
            ImageError, match=rf"a\.ppm: a PPM file whose greatest value is {maximum}; save it with 255 or 65535"
        ):
            read_image(tmp_path / "a.ppm")


def grey_png(depth, transparent):
    """Return a grey PNG of `depth` bits with the values 0 and 1, and a transparent one."""
    row = np.array([0, 1] * 4, ">u2" if depth == 16 else np.uint8)
    if depth < 8:
        row = np.packbits((row[:, None] >> np.arange(depth - 1, -1, -1)) & 1)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 8, 1, depth, 0, 0, 0, 0)), (b"tRNS", struct.pack(">H", transparent))]
    chunks += [(b"IDAT", zlib.compress(b"\0" + row.tobytes())), (b"IEND", b"")]
    parts = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_grey_png_with_a_transparent_colour_is_refused_if_a_pixel_has_it(depth):
    for transparent in (0, 1):
        with pytest.raises(ImageError, match=r"a\.png: transparent in places; save it without transparency"):
            decode(grey_png(depth, transparent), "a.png")
    if depth > 1:
        assert decode(grey_png(depth, 2), "a.png").shape == (1, 8, 3)


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "PA", "RGBA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_transparency_is_refused_in_every_layout(mode, kind):
    """A colour that no pixel has, and layers that hide nothing, do no harm."""
    picture = Image.fromarray(RED).convert(mode)
    for alpha in (254, 255):
        options = {}
        if mode in ("RGB", "L"):
            options["transparency"] = picture.getpixel((0, 0)) if alpha < 255 else 7 if mode == "L" else (7, 7, 7)
        else:
            picture.putalpha(alpha)
        if (mode, kind) == ("PA", "PNG") or (options and kind == "TIFF"):
            continue  # there is no such file
        file = BytesIO()
        picture.save(file, kind, **options)
        if alpha < 255:
            with pytest.raises(ImageError, match=r"^a: transparent in places; save it without transparency"):
                decode(file.getvalue(), "a")
        else:
            assert decode(file.getvalue(), "a").shape == RED.shape


def test_a_picture_is_turned_as_exif_asks(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    Image.fromarray(position(4, 5)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.rot90(position(4, 5), -1))


def test_a_bomb_is_refused_before_a_pixel_is_decoded(tmp_path):
    """A header of 60,000 x 60,000 px, which Pillow itself would refuse, and one that only our limit forbids."""
    for name, side in (("vast.png", 60_000), ("large.png", 8_193)):
        (tmp_path / name).write_bytes(bomb(side))
        with pytest.raises(ImageError, match=rf"{name}: .*more than 67 million pixels, .*; scale it down"):
            read_image(tmp_path / name)
    photographs(tmp_path, "a.png")  # of 720 pixels
    assert read_image(tmp_path / "a.png", max_pixels=720).shape == (24, 30, 3)
    with pytest.raises(ImageError, match=r"a\.png: 30 x 24 px are more than 719 pixels"):
        read_image(tmp_path / "a.png", max_pixels=719)


def test_a_file_of_endless_zeros_is_refused_unread(tmp_path):
    photographs(tmp_path, "a.png")
    os.truncate(tmp_path / "a.png", 100 * 2**30)
    began = time.monotonic()
    with pytest.raises(ImageError, match=r"a\.png: larger than 537 MB, the most that is read"):
        read_image(tmp_path / "a.png")
    assert time.monotonic() - began < 10


def test_what_is_no_regular_file_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in (("pipe.jpg", "Not a regular file"), ("folder.jpg", "This is a folder")):
        with pytest.raises(ImageError, match=f"{name}: {reason}"):
            read_image(tmp_path / name)


def test_an_image_that_cannot_be_written_is_named(tmp_path):
    for name in ("a", "a.xyz"):
        with pytest.raises(ImageError, match=rf"{name}: cannot be written as an image; choose a suffix"):
            write_image(tmp_path / name, position(3, 3))
        assert not (tmp_path / name).exists()


def test_written_and_read_again(tmp_path):
    image = np.random.default_rng(0).integers(256, size=(7, 11, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", image)
    assert np.array_equal(read_image(tmp_path / "a.png"), image)
    assert np.array_equal(decode((tmp_path / "a.png").read_bytes(), "a.png"), image)
    with Image.open(tmp_path / "a.png") as file:
        assert np.array_equal(np.asarray(file), image)


def test_an_image_as_a_tensor():
    image = position(3, 4)
    tensor = to_tensor(image[:, ::-1])
    assert tensor.dtype == torch.float32 and tensor.shape == (3, 3, 4)
    expected = torch.tensor(image[:, ::-1].copy()).movedim(-1, 0)
    assert torch.equal((tensor * 255).round(), expected) and tensor.max() < 4 / 255


# Large photographs


def smooth(height, width):
    """Return a picture (height, width, 3) that no pixel can be told from its neighbours by much."""
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / 40), np.cos(columns / 50), np.sin((rows + columns) / 60)]
    return np.rint(127.5 + 100 * np.stack(waves, axis=2)).astype(np.uint8)


def encoded(image, kind="JPEG", **options):
    file = BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "least, factor", [(801, 1), (800, 2), (401, 2), (400, 4), (200, 8), (1, 8), (np.inf, 1)]
)  # of a shorter side of 1,600 px
def test_a_large_jpeg_file_is_decoded_no_larger_than_crops_need(least, factor):
    image = smooth(1600, 2400)
    found = decode_for_crops(encoded(image, quality=95, subsampling=0), "a.jpg", least)
    assert found.shape == (1600 // factor, 2400 // factor, 3) and (factor == 1 or min(found.shape[:2]) >= least)
    blocks = image.reshape(1600 // factor, factor, 2400 // factor, factor, 3).mean(axis=(1, 3))
    assert np.abs(found - blocks).max() < 6  # the mean of what each pixel stands for, up to JPEG's losses


def test_a_turned_one_is_turned_as_well():
    upright, exif = smooth(640, 960), Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    found = decode_for_crops(encoded(np.rot90(upright), exif=exif, quality=95, subsampling=0), "a.jpg", 320)
    assert found.shape == (320, 480, 3)
    assert np.abs(found - upright.reshape(320, 2, 480, 2, 3).mean(axis=(1, 3))).max() < 4


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_other_formats_are_decoded_whole(kind):
    assert decode_for_crops(encoded(smooth(320, 480), kind), "a", 32).shape == (320, 480, 3)
