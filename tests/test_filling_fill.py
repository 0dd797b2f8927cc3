"""Photographs of every kind come back as they were, but for the hole."""

import base64
import errno
import os
import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin
from repository import ROOT

import pconv
from pconv.data.decoding import ImageError
from pconv.filling import encoding
from pconv.filling.canvas import Box, PictureCanvas
from pconv.filling.command import main
from pconv.filling.network import load_pretrained, predict
from pconv.filling.photo import TURNS, turn_array
from pconv.filling.previews import blanked, without_preview, without_resources
from pconv.masks.convention import MaskError
from pconv.masks.files import MaskWarning
from pconv.tensors import WeightsError
from pconv.unet import PConvUNet, he_init, save_model

HEIGHT, WIDTH = 90, 140
HOLE = np.zeros((HEIGHT, WIDTH), np.uint8)
HOLE[30:50, 60:100] = 255
HOLE[70:74, 5:90] = 255
KEPT = HOLE == 0
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# Any network will do: what is tested is all around it.
NETWORK = he_init(PConvUNet(4, 4), 0).eval()
NETWORK.trained_side = 32


def scene(channels=3, dtype=np.uint8, height=HEIGHT, width=WIDTH):
    """Return a picture (H, W, channels) with gradients and grain, of the whole range of its type."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    planes = [0.2 + 0.5 * np.abs(np.sin(x / 17 + i)) * y / height for i in range(channels)]
    values = (np.stack(planes, -1) + rng.uniform(-0.15, 0.15, (height, width, channels))).clip(0, 1)
    return (
        values.astype(dtype)
        if np.issubdtype(dtype, np.floating)
        else np.rint(values * np.iinfo(dtype).max).astype(dtype)
    )


def filled(photo, hole=HOLE):
    return pconv.inpaint(photo, hole, NETWORK)


def changed(before, after, kept=KEPT):
    """Whether something changed in the hole, after making sure that nothing else did."""
    assert before.dtype == after.dtype and before.shape == after.shape
    assert np.array_equal(before[kept], after[kept])
    return not np.array_equal(before[~kept], after[~kept])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_arrays(dtype, channels):
    photo = scene(channels or 1, dtype)
    photo = photo[..., 0] if channels is None else photo
    if channels == 4:
        photo[..., 3] = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    before = photo.copy()
    assert changed(photo, filled(photo))
    assert np.array_equal(photo, before)


@pytest.mark.parametrize("shape", [(3, HEIGHT, WIDTH), (1, 3, HEIGHT, WIDTH), (1, HEIGHT, WIDTH)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors(shape, dtype):
    photo = torch.from_numpy(scene(shape[-3], np.float32)).permute(2, 0, 1).reshape(shape).to(dtype)
    out = filled(photo)
    assert out.dtype == dtype and out.shape == shape
    kept = torch.from_numpy(KEPT).expand(shape)
    assert torch.equal(out[kept], photo[kept]) and not torch.equal(out, photo)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_images(mode):
    grey = mode == "I;16"
    photo = Image.fromarray(scene(1, np.uint16)[..., 0]) if grey else Image.fromarray(scene()).convert(mode)
    out = filled(photo)
    plain = photo.convert(out.mode)
    assert changed(np.asarray(plain), np.asarray(out))
    assert out.mode == {"1": "L", "P": "RGB"}.get(mode, mode)


def test_path_image_array_and_tensor_give_the_same(tmp_path):
    pixels = scene()
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    Image.fromarray(HOLE).save(tmp_path / "hole.png")
    expected = filled(pixels)
    holes = [HOLE, HOLE > 0, HOLE / 255, Image.fromarray(HOLE), torch.from_numpy(HOLE), tmp_path / "hole.png"]
    for hole in holes:
        assert np.array_equal(filled(pixels, hole), expected)
    assert np.array_equal(np.asarray(filled(tmp_path / "photo.png")), expected)
    assert np.array_equal(np.asarray(filled(Image.fromarray(pixels))), expected)
    tensor = torch.from_numpy(pixels.astype(np.float64) / 255).permute(2, 0, 1)
    out = filled(tensor).permute(1, 2, 0).numpy()
    assert (
        np.abs(out - expected / 255).max() < 1.1 / 255
    )  # bytes are rounded, also where the next hole starts from them


def test_what_the_hole_holds_is_not_seen():
    pixels = scene(3, np.float32)
    expected = filled(pixels)
    for other in (0.0, 1.0, np.nan, np.inf):
        photo = np.where(KEPT[..., None], pixels, np.float32(other))
        assert np.array_equal(filled(photo), expected)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.safetensors"
    about = {"params": {"model": {"width": 4, "depth": 4}, "data": {"size": 32}}}
    save_model(path, NETWORK.state_dict(), about)
    return path


@pytest.fixture
def command(tmp_path, weights, monkeypatch, capsys):
    """Return a function that runs `pconv fill` in tmp_path and returns its status and what it said on stderr."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(HOLE).save("hole.png")

    def run(*arguments):
        status = main(["fill", *map(str, arguments), "--output", "out", "--weights", str(weights)])
        return status, capsys.readouterr().err

    return run


def save_deep(path, channels):
    pixels = scene(channels, np.uint16)
    cv2.imwrite(str(path), pixels if channels == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return pixels


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_of_16_bits(command, suffix, channels):
    path = f"deep.{'pgm' if suffix == 'ppm' and channels == 1 else suffix}"
    pixels = save_deep(path, channels)
    status, said = command(path, "--mask", "hole.png")
    assert status == 0, said
    read = cv2.imread(f"out/{path}", cv2.IMREAD_UNCHANGED)
    read = read[..., None] if channels == 1 else cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
    assert changed(pixels, read)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_of_16_bits_that_counts_from_white_is_seen_as_it_looks(command, compression):
    pixels = scene(1, np.uint16)
    cv2.imwrite("black.png", pixels)
    tifffile.imwrite("white.tif", 65535 - pixels[..., 0], photometric="miniswhite", compression=compression)
    status, said = command("black.png", "white.tif", "--mask", "hole.png")
    assert status == 0, said
    with tifffile.TiffFile("out/white.tif") as file:
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.MINISWHITE
        assert changed(65535 - pixels, file.asarray()[..., None])
        assert np.array_equal(65535 - file.asarray(), cv2.imread("out/black.png", cv2.IMREAD_UNCHANGED))
    assert np.array_equal(filled("white.tif"), filled("black.png"))


@pytest.mark.parametrize("alpha", ["assocalpha", "unassalpha", "unspecified"])
def test_a_tiff_of_16_bits_keeps_the_meaning_of_its_alpha(command, alpha):
    pixels = scene(4, np.uint16)
    pixels[KEPT, 3] = 65535
    tifffile.imwrite("photo.tif", pixels, photometric="rgb", extrasamples=[alpha])
    status, said = command("photo.tif", "--mask", "hole.png")
    assert status == 0, said
    with tifffile.TiffFile("out/photo.tif") as file:
        assert file.pages[0].extrasamples == (tifffile.EXTRASAMPLE[alpha.upper()],)
        assert changed(pixels, file.asarray()) and (file.asarray()[~KEPT][:, 3] == 65535).all()


def test_a_tiff_of_16_bits_with_channels_apart_is_refused(command):
    tifffile.imwrite("apart.tif", scene(3, np.uint16).transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    status, said = command("apart.tif", "--mask", "hole.png")
    assert status == 1 and "apart.tif: a TIFF of 16 bits whose channels lie apart; save it with interleaved" in said
    tifffile.imwrite(
        "grey.tif", scene(1, np.uint16)[..., 0], photometric="minisblack", extratags=[(284, 3, 1, 2, True)]
    )
    status, said = command("grey.tif", "--mask", "hole.png")
    assert status == 0, said


def test_a_grey_png_of_16_bits_with_a_transparent_value(command):
    pixels = scene(1, np.uint16)
    pixels[pixels == 5000] = 5001
    pixels[~KEPT] = 5000
    pixels[0, 0] = 5000
    Image.fromarray(pixels[..., 0]).save("photo.png", transparency=5000)
    status, said = command("photo.png", "--mask", "hole.png")
    assert status == 0, said
    after = cv2.imread("out/photo.png", cv2.IMREAD_UNCHANGED)
    assert np.array_equal(after[KEPT][:, :3], pixels[KEPT].repeat(3, axis=1))
    assert (after[..., 3] == 0).sum() == 1 and after[0, 0, 3] == 0
    status, said = command("photo.png", "--overwrite")  # the transparent pixels are the hole
    assert status == 0 and (cv2.imread("out/photo.png", cv2.IMREAD_UNCHANGED)[..., 3] == 65535).all()


@pytest.mark.parametrize("sampling", [(1, 2), (4, 1), (2, 2), (2, 1), (1, 1)], ids=lambda pair: f"{pair[0]}x{pair[1]}")
def test_a_jpeg_keeps_the_resolution_of_its_colours(command, sampling):
    """Pillow has no name for some samplings, such as the 1 x 2 of a turned 2 x 1."""
    colours = np.random.default_rng(1).integers(0, 256, (HEIGHT // 2, WIDTH // 2, 3), np.uint8)
    colours = colours.repeat(2, axis=0).repeat(2, axis=1)
    factor = cv2.IMWRITE_JPEG_SAMPLING_FACTOR
    code = int(f"0x{sampling[0]}{sampling[1]}1111", 16)
    cv2.imwrite("photo.jpg", colours, [cv2.IMWRITE_JPEG_QUALITY, 95, factor, code])
    with Image.open("photo.jpg") as before:
        assert before.layer[0][1:3] == sampling
    status, said = command("photo.jpg", "--mask", "hole.png")
    assert status == 0, said
    with Image.open("photo.jpg") as before, Image.open("out/photo.jpg") as after:
        known = sampling in ((2, 2), (2, 1), (1, 1))
        assert after.layer[0][1:3] == (sampling if known else (1, 1))
        difference = np.abs(np.asarray(before).astype(int) - np.asarray(after))[:16]  # no block of which has a hole
        assert known or difference.mean() < 4


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "bmp"])
def test_files_without_loss(command, suffix):
    pixels = scene()
    Image.fromarray(pixels).save(f"photo.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    status, said = command(f"photo.{suffix}", "--mask", "hole.png")
    assert status == 0, said
    with Image.open(f"out/photo.{suffix}") as out:
        assert out.format == {"png": "PNG", "tif": "TIFF", "webp": "WEBP", "bmp": "BMP"}[suffix]
        assert changed(pixels, np.asarray(out))


def metadata_of(picture):
    exif = Image.Exif()
    exif[271], exif[306] = "A camera", "2026:01:02 03:04:05"
    exif.get_ifd(0x8769)[0x829A] = 0.004  # exposure time
    return {"exif": exif.tobytes(), "icc_profile": PROFILE, "dpi": (300, 300)}


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_profile_and_metadata_are_kept(command, suffix):
    path = f"photo.{suffix}"
    picture = Image.fromarray(scene())
    options = metadata_of(picture)
    if suffix == "png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("Author", "somebody")
    picture.save(path, **options)
    status, said = command(path, "--mask", "hole.png")
    assert status == 0, said
    with Image.open(path) as before, Image.open(f"out/{path}") as after:
        assert after.info["icc_profile"] == PROFILE
        assert dict(after.getexif()) == dict(before.getexif()) or suffix == "tif"
        assert after.getexif()[271] == "A camera"
        assert after.getexif().get_ifd(0x8769) == before.getexif().get_ifd(0x8769)
        assert after.info.get("Author") == before.info.get("Author")
        assert after.info.get("dpi") == before.info.get("dpi")


def test_profile_and_texts_of_a_tiff_of_16_bits(command):
    tags = [(34675, 7, len(PROFILE), PROFILE, True), (315, 2, 0, "somebody", True)]
    tifffile.imwrite("deep.tif", scene(3, np.uint16), photometric="rgb", extratags=tags, compression="zlib")
    status, said = command("deep.tif", "--mask", "hole.png")
    assert status == 0, said
    with tifffile.TiffFile("out/deep.tif") as file:
        assert file.pages[0].tags[34675].value == PROFILE and file.pages[0].tags[315].value == "somebody"
        assert changed(scene(3, np.uint16), file.asarray())


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK"])
def test_tiffs_of_all_compressions(command, compression, mode):
    options = {"compression": compression, "icc_profile": PROFILE, "dpi": (300, 300)}
    Image.fromarray(scene()).convert(mode).save("photo.tif", **options)
    Image.fromarray(scene()).save("last.png")
    status, said = command("photo.tif", "last.png", "--mask", "hole.png")
    assert status == 0, said
    with Image.open("photo.tif") as before, Image.open("out/photo.tif") as after:
        assert changed(np.asarray(before), np.asarray(after))
        assert after.info["icc_profile"] == PROFILE and after.info["dpi"] == (300, 300)
        if compression != "jpeg":
            assert after.info["compression"] == compression


def save_tiff(path, dtype, compression, byteorder, folder):
    """Write a TIFF with a folder of EXIF data, and tags of which some have types that libtiff cannot write."""
    tags = [(33723, 4, 3, (1, 2, 3), True), (315, 2, 0, "somebody", True), (34675, 7, len(PROFILE), PROFILE, True)]
    options = {"photometric": "rgb", "compression": compression, "byteorder": byteorder, "metadata": None}
    options |= {"resolution": (300, 300), "resolutionunit": 2}
    path = Path(path)
    for _ in range(2):  # once to know where the folder will be
        end = path.stat().st_size if path.exists() else 0
        path.unlink(missing_ok=True)
        tifffile.imwrite(path, scene(3, dtype), extratags=[*tags, (0x876C, 4, 1, end, True)], **options)
    content = path.read_bytes()
    directory = TiffImagePlugin.ImageFileDirectory_v2(content[:8], group=0x8769)
    directory.update(folder)
    other, own = (struct.pack(f"{byteorder}HHI", tag, 4, 1) for tag in (0x876C, 0x8769))  # tifffile writes no 0x8769
    path.write_bytes(content.replace(other, own) + directory.tobytes(end))


@pytest.mark.filterwarnings("ignore:Metadata Warning, tag 33723")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", "<>")
def test_tiffs_keep_their_metadata(command, dtype, compression, byteorder):
    folder = {0x829A: 0.004, 36867: "2026:01:02 03:04:05", 37500: b"maker", 0xA005: {1: "R98"}}
    save_tiff("photo.tif", dtype, compression, byteorder, folder)
    for lossless in ([], ["--png"]):
        status, said = command("photo.tif", "--mask", "hole.png", *lossless)
        assert status == 0, said
    with tifffile.TiffFile("out/photo.tif") as file:
        assert changed(scene(3, dtype), file.asarray())
        tags = file.pages[0].tags
        assert tags[33723].value in ((1, 2, 3), np.array([1, 2, 3], "<u4").tobytes()) and tags[34675].value == PROFILE
        assert tags[282].value[0] / tags[282].value[1] == 300
    for path in ("photo.tif", "out/photo.tif", "out/photo.png"):
        with Image.open(path) as picture:
            exif = picture.getexif()
            assert exif[315] == "somebody" and exif.get_ifd(0xA005) == {1: "R98"}
            assert {tag: exif.get_ifd(0x8769)[tag] for tag in (36867, 37500)} == {
                tag: folder[tag] for tag in (36867, 37500)
            }
            assert exif.get_ifd(0x8769)[0x829A] == pytest.approx(0.004)
            assert picture.info["icc_profile"] == PROFILE and picture.info["dpi"] == pytest.approx((300, 300), abs=0.01)


def test_what_cannot_be_encoded_is_one_line_and_the_others_are_filled(command, monkeypatch):
    """Encoders raise errors of all kinds."""

    def broken(pixels, photo):
        raise RuntimeError("Error setting from dictionary")

    monkeypatch.setitem(encoding.ENCODERS, "TIFF", broken)
    Image.fromarray(scene()).save("first.tif")
    Image.fromarray(scene()).save("last.png")
    status, said = command("first.tif", "last.png", "--mask", "hole.png")
    assert status == 1 and "first.tif: cannot be written as TIFF (Error setting from dictionary)" in said
    assert "1 of 2 photographs" in said and Path("out/last.png").is_file()


def preview():
    file = BytesIO()
    Image.fromarray(scene()).resize((40, 30)).save(file, "JPEG", quality=90)
    return file.getvalue()


def exif_with_previews(order):
    """Return EXIF data with a maker, its notes, which hold a preview, and the thumbnail of a second directory."""
    thumbnail = preview()
    notes = b"before" + thumbnail + b"after"

    def number(value, size):
        return value.to_bytes(size, order)

    def directory(at, entries, following):
        """Return a directory and its values, which are numbers or bytes."""
        head, values = number(len(entries), 2), b""
        place = at + 2 + 12 * len(entries) + 4
        for tag, value in entries.items():
            if isinstance(value, int):
                head += number(tag, 2) + number(4, 2) + number(1, 4) + number(value, 4)
            else:
                head += number(tag, 2) + number(7, 2) + number(len(value), 4) + number(place + len(values), 4)
                values += value + bytes(len(value) % 2)
        return head + number(following, 4) + values

    camera = 8 + len(directory(8, {271: b"A camera\0", 0x8769: 0}, 0))
    second = camera + len(directory(camera, {37500: notes}, 0))
    place = second + len(directory(second, {513: 0, 514: 0}, 0))
    return b"".join(
        [
            (b"II*\0" if order == "little" else b"MM\0*") + number(8, 4),
            directory(8, {271: b"A camera\0", 0x8769: camera}, second),
            directory(camera, {37500: notes}, 0),
            directory(second, {513: place, 514: len(thumbnail)}, 0),
            thumbnail,
        ]
    )


def shown(content):
    """Whether a file, its texts decoded, holds the preview, or enough of it."""
    part = preview()[-200:-100]
    return part in content or part.hex().encode() in content or base64.b64encode(preview())[300:400] in content


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_no_preview_shows_what_was_removed(command, suffix, order):
    exif, path = exif_with_previews(order), f"photo.{suffix}"
    xmp = b"<x:xmpmeta><a>kept</a><xmpGImg:image>" + base64.b64encode(preview()) + b"</xmpGImg:image></x:xmpmeta>"
    resources = [(1036, bytes(28) + preview()), (1028, b"kept too"), (1033, bytes(28) + preview())]
    photoshop = b"".join(
        b"8BIM" + i.to_bytes(2) + b"\0\0" + len(v).to_bytes(4) + v + bytes(len(v) % 2) for i, v in resources
    )
    picture, options = Image.fromarray(scene()), {"exif": b"Exif\0\0" + exif}
    if suffix == "tif":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[700], tags[34377], tags[271] = xmp, photoshop, "A camera"
        tags.tagtype[700] = tags.tagtype[34377] = 1
        tags[0x8769] = {37500: b"before" + preview() + b"after"}
        options = {"tiffinfo": tags}
    elif suffix == "png":
        options["pnginfo"] = texts = PngImagePlugin.PngInfo()
        texts.add_text("Author", "somebody")
        texts.add_itxt("XML:com.adobe.xmp", xmp.decode(), zip=True)
        texts.add_text("Raw profile type exif", f"\nexif\n{len(exif)}\n{exif.hex()}\n", zip=True)
        texts.add(b"prVW", preview())
    else:
        options |= {"xmp": xmp, "quality": 95} if suffix == "jpg" else {"xmp": xmp, "lossless": True}
    picture.save(path, **options)
    if suffix == "jpg":
        parts = {
            0xED: b"Photoshop 3.0\0" + photoshop,
            0xE5: preview(),
            0xE0: b"JFXX\0\x10" + preview(),
            0xEB: preview(),
        }
        added = b"".join(
            b"\xff" + bytes([marker]) + (len(part) + 2).to_bytes(2) + part for marker, part in parts.items()
        )
        content = Path(path).read_bytes()
        at = 4 + int.from_bytes(content[4:6])
        Path(path).write_bytes(content[:at] + added + content[at:] + preview())
    assert shown(Path(path).read_bytes())
    for lossless in ([], ["--png"]):
        status, said = command(path, "--mask", "hole.png", *lossless, "--overwrite")
        assert status == 0, said
        result = Path("out/photo.png" if lossless else f"out/{path}")
        assert not shown(result.read_bytes())
        with Image.open(result) as out:
            assert out.getexif()[271] in ("A camera", b"A camera\0") and not out.getexif().get_ifd(ExifTags.IFD.IFD1)
            notes = out.getexif().get_ifd(0x8769)[37500]
            assert notes.startswith(b"before\0") and notes.endswith(b"\0after")
            texts = getattr(out, "text", {})
            assert "Raw profile type exif" not in texts and texts.get("Author") == (
                "somebody" if suffix == "png" else None
            )
            if suffix != "png":
                assert b"<a>kept</a><xmpGImg:image></xmpGImg:image>" in out.info["xmp"]
            if not lossless and suffix in ("jpg", "tif"):
                assert b"kept too" in result.read_bytes()
    out = filled(path)
    assert not any(shown(value) for value in out.info.values() if isinstance(value, bytes))


def test_a_preview_in_plain_pixels_is_removed_and_what_cannot_be_read_is_left_out():
    pixels = bytes(range(1, 201))
    head = struct.pack("<2sHIH", b"II", 42, 8, 0) + struct.pack("<I", 14)
    entries = struct.pack("<HHHIIHHII", 2, 273, 4, 1, 44, 279, 4, 1, len(pixels)) + bytes(4)
    assert without_preview(head + entries + pixels) == head[:10] + bytes(4) + entries
    behind = without_preview(head + entries + pixels + b"behind")
    assert behind == head[:10] + bytes(4) + entries + bytes(200) + b"behind"
    in_directory = struct.pack("<HHHIIHHII", 2, 273, 4, 1, 8, 279, 4, 1, 4) + bytes(4)
    for damaged in (b"Exif\0\0nothing", b"II*\0", head + in_directory):
        assert without_preview(damaged) == b""
    assert without_preview(b"") == b""
    assert without_resources(b"8BIM\x04\x0c") == b""


def test_a_preview_with_a_preview_of_its_own_is_removed_to_its_end():
    inner, outer = BytesIO(), BytesIO()
    Image.fromarray(scene()).resize((20, 15)).save(inner, "JPEG")
    options = {"progressive": True, "exif": b"Exif\0\0" + inner.getvalue()}
    Image.fromarray(scene()).save(outer, "JPEG", **options)
    assert outer.getvalue().count(b"\xff\xd8\xff") == 2
    notes = b"before" + outer.getvalue() + b"between" + inner.getvalue() + b"after\xff\xd8\xff without an end"
    kept = b"before" + bytes(len(outer.getvalue())) + b"between" + bytes(len(inner.getvalue()))
    assert blanked(notes) == kept + b"after\xff\xd8\xff without an end"
    assert blanked(b"\xff\xd8\xff\xe1\0\0 odd segments \xff\xd9 end") == bytes(22) + b" end"


def test_an_upright_result_says_nowhere_that_it_is_to_be_turned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exif, xmp = Image.Exif(), "<x:xmpmeta><rdf:Description a='b' tiff:Orientation=\"6\"/>{}</x:xmpmeta>"
    exif[274] = 6
    xmp = xmp.format("<tiff:Orientation>6</tiff:Orientation>")
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", xmp)
    stored = Image.fromarray(scene(height=WIDTH, width=HEIGHT))
    stored.save("photo.png", exif=exif, pnginfo=texts)
    stored.save("photo.jpg", exif=exif, xmp=xmp.encode(), quality=95)
    for path in ("photo.png", "photo.jpg"):
        out, file = filled(path), BytesIO()
        assert out.size == (WIDTH, HEIGHT) and b"a='b'" in out.info["xmp"]
        out.save(file, "JPEG", exif=out.info.get("exif", b""), xmp=out.info["xmp"])
        with Image.open(file) as again:
            assert ImageOps.exif_transpose(again).size == (WIDTH, HEIGHT)


def test_a_jpeg_keeps_metadata_that_fill_several_segments(command):
    exif = Image.Exif()
    exif[271] = "A camera"
    profile = PROFILE + bytes(100_000)
    Image.fromarray(scene()).save("photo.jpg", exif=exif, icc_profile=profile, comment=b"a comment", dpi=(300, 300))
    status, said = command("photo.jpg", "--mask", "hole.png")
    assert status == 0, said
    with Image.open("out/photo.jpg") as out:
        assert (
            out.info["icc_profile"] == profile and out.info["comment"] == b"a comment" and out.info["dpi"] == (300, 300)
        )
        assert out.getexif()[271] == "A camera" and out.info["jfif"]
    assert Path("out/photo.jpg").read_bytes().count(b"a comment") == 1


@pytest.mark.parametrize("suffix, head", [("pgm", b"P5"), ("ppm", b"P6")])
def test_a_ppm_of_another_maximum_is_refused(command, suffix, head):
    pixels = (scene(1 if suffix == "pgm" else 3, np.uint16) // 64).astype(">u2")
    Path(f"photo.{suffix}").write_bytes(b"%s\n%d %d\n1023\n" % (head, WIDTH, HEIGHT) + pixels.tobytes())
    status, said = command(f"photo.{suffix}", "--mask", "hole.png")
    assert status == 1 and f"photo.{suffix}: " in said and "1023; save it with 255 or 65535" in said
    assert not Path("out").exists()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK"])
def test_pictures_are_written_without_calls_that_pillow_gives_up(mode, monkeypatch):
    """Pillow 11.3 warns of a mode given to fromarray."""
    monkeypatch.setattr(Image, "fromarray", None)
    canvas = PictureCanvas(Image.new(mode, (8, 6)))
    values = np.random.default_rng(0).integers(0, 256, (3, 4, canvas.planes)).astype(np.float32) / 255
    canvas.write(Box(1, 4, 2, 6), values, np.ones((3, 4)))
    assert np.abs(canvas.read(Box(1, 4, 2, 6)) - values).max() < 1e-6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_pictures_that_are_stored_turned(command, orientation, suffix, tmp_path):
    """The mask fits what is seen; the file is stored as it was, and its EXIF data say so."""
    exif = Image.Exif()
    exif[274] = orientation
    path = f"photo.{suffix}"
    stored = scene(height=WIDTH, width=HEIGHT) if orientation > 4 else scene()
    options = {"compression": "tiff_lzw"} if suffix == "tif" else {"quality": 95, "subsampling": 0}
    Image.fromarray(stored).save(path, exif=exif, **options)
    before = Image.open(path)
    status, said = command(path, "--mask", "hole.png")
    assert status == 0, said
    with Image.open(f"out/{path}") as after:
        assert after.size == before.size and after.getexif().get(274, 1) == orientation
        upright = [np.asarray(_upright(picture)).astype(int) for picture in (before, after)]
        difference = np.abs(upright[0] - upright[1]).max(2)
        if suffix != "jpg":
            assert not difference[KEPT].any() and difference[~KEPT].any()
        assert difference[~KEPT].mean() > 10 * difference[KEPT].mean()
    assert np.asarray(filled(path)).shape == (HEIGHT, WIDTH, 3)


def _upright(picture):
    picture.load()  # in doing so Pillow turns a TIFF, and forgets that it was turned
    return ImageOps.exif_transpose(picture)


def decoded(path):
    """Return a file as OpenCV decodes it: a TIFF upright (which imread cannot if it lies), a PNG as it is stored."""
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("lossless", [False, True])
def test_tiffs_of_16_bits_that_are_stored_turned(command, orientation, lossless):
    stored = scene(3, np.uint16, *((WIDTH, HEIGHT) if orientation > 4 else (HEIGHT, WIDTH)))
    tifffile.imwrite("deep.tif", stored, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    status, said = command("deep.tif", "--mask", "hole.png", *(["--png"] if lossless else []))
    assert status == 0, said
    before = decoded("deep.tif")
    if lossless:
        with Image.open("out/deep.png") as picture:
            assert picture.getexif().get(274, 1) == orientation
        after = decoded("out/deep.png")
        if orientation != 1:
            after = turn_array(after, TURNS[orientation][0])
    else:
        assert np.array_equal(tifffile.imread("out/deep.tif").shape, stored.shape)
        after = decoded("out/deep.tif")
    assert changed(before, after)
    assert np.array_equal(filled("deep.tif")[..., ::-1], after)


def test_a_mask_that_ignores_how_a_picture_is_stored(command):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(scene(height=WIDTH, width=HEIGHT)).save("photo.png", exif=exif)
    Image.fromarray(np.rot90(HOLE)).save("stored.png")  # what a program sees that knows nothing of EXIF
    Image.fromarray(HOLE).save("hole.png")
    assert filled("photo.png", "stored.png") == filled("photo.png", "hole.png")
    Image.fromarray(scene(height=WIDTH, width=HEIGHT)).save("photo.tif", exif=exif)
    assert np.array_equal(filled("photo.tif", "stored.png"), filled("photo.png", "hole.png"))


def test_jpeg_outside_the_hole_is_within_rounding(command):
    """JPEG cannot be exact: with its own tables again, and away from the hole, it is nearly so."""
    smooth = cv2.GaussianBlur(scene(height=240, width=320), (0, 0), 3)
    Image.fromarray(smooth).save("photo.jpg", quality=92, comment="a comment")
    hole = np.zeros((240, 320), np.uint8)
    hole[100:140, 100:140] = 255
    Image.fromarray(hole).save("hole.png")
    status, said = command("photo.jpg", "--mask", "hole.png")
    assert status == 0, said
    before, after = Image.open("photo.jpg"), Image.open("out/photo.jpg")
    assert after.quantization == before.quantization and after.info["comment"] == before.info["comment"]
    difference = np.abs(np.asarray(before).astype(int) - np.asarray(after))
    assert difference[:80].max() <= 3 and difference[:80].mean() < 0.2
    status, _ = command("photo.jpg", "--mask", "hole.png", "--png")
    assert status == 0 and changed(np.asarray(before), np.asarray(Image.open("out/photo.png")), hole == 0)


def test_the_transparency_of_the_photograph_is_its_hole(command):
    photo = np.dstack([scene(), 255 - HOLE])
    Image.fromarray(photo).save("photo.png")
    status, said = command("photo.png")
    assert status == 0, said
    out = np.asarray(Image.open("out/photo.png"))
    assert np.array_equal(out[KEPT], photo[KEPT]) and (out[..., 3] == 255).all()
    assert np.array_equal(out, filled(photo, None))


@pytest.mark.parametrize("how", ["white on nothing", "erased from the photograph", "black with a hole"])
def test_masks_with_transparency(how):
    if how == "white on nothing":
        mask = np.dstack([HOLE] * 4)
    elif how == "erased from the photograph":
        mask = np.dstack([scene(), 255 - HOLE])
    else:
        mask = np.dstack([0 * HOLE] * 3 + [255 - HOLE])
    assert np.array_equal(filled(scene(), Image.fromarray(mask)), filled(scene()))


def test_a_mask_of_another_size_and_one_with_grey_edges():
    small = cv2.resize(HOLE, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
    assert changed(scene(), filled(scene(), small), cv2.dilate(HOLE, np.ones((5, 5))) == 0)
    soft = cv2.GaussianBlur(HOLE, (0, 0), 1.0)
    assert np.array_equal(filled(scene(), soft), filled(scene(), np.uint8(255) * (soft > 127)))
    with pytest.raises(MaskError, match=r"the mask: 70 x 90 px, but the array has 140 x 90 px.*draw the mask"):
        filled(scene(), HOLE[:, ::2])


def test_an_empty_hole_changes_nothing_and_a_full_one_is_refused():
    with pytest.warns(MaskWarning, match="white nowhere"):
        assert np.array_equal(filled(scene(), 0 * HOLE), scene())
    with pytest.raises(MaskError, match="whole photograph"):
        filled(scene(), np.full_like(HOLE, 255))
    with pytest.raises(MaskError, match="transparent nowhere, so it needs a mask"):
        filled(scene(), None)


def test_several_photographs(command, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        Image.fromarray(scene()).save(tmp_path / folder / "one.png")
        Image.fromarray(scene()).save(tmp_path / folder / "sub" / "one.png")
        (tmp_path / folder / "note.txt").write_text("no picture")
    status, said = command("a", "--mask", "hole.png")
    assert status == 0 and "2 of 2 photographs are in out" in said, said
    assert (tmp_path / "out/one.png").is_file() and (tmp_path / "out/sub/one.png").is_file()
    status, said = command("a/one.png", "b/one.png", "--mask", "hole.png")
    assert status == 0, said
    assert (tmp_path / "out/a/one.png").is_file() and (tmp_path / "out/b/one.png").is_file()


def test_masks_go_by_name_or_by_order(command, tmp_path):
    for name in ("one", "two"):
        Image.fromarray(scene()).save(f"{name}.png")
    (tmp_path / "masks").mkdir()
    empty = Image.fromarray(0 * HOLE)
    empty.save("masks/one.png")
    Image.fromarray(HOLE).save("masks/two.gif")
    status, said = command("one.png", "two.png", "--mask", "masks")
    assert status == 0 and "one.png: white nowhere" in said
    assert np.array_equal(np.asarray(Image.open("out/one.png")), scene())
    assert changed(scene(), np.asarray(Image.open("out/two.png")))
    empty.save("x.png")
    status, said = command("one.png", "two.png", "--mask", "hole.png", "x.png", "--overwrite")
    assert status == 0
    assert np.array_equal(np.asarray(Image.open("out/two.png")), scene())
    status, said = command("one.png", "two.png", "--mask", "masks/one.png", "masks/one.png", "x.png")
    assert (
        status == 1 and said == "pconv fill: one.png: 2 masks of its name among 3; give one mask, or one of each name\n"
    )


def test_errors_are_one_line_with_the_name_and_the_others_are_filled(command, tmp_path):
    Image.fromarray(scene()).save("good.png")
    (tmp_path / "text.png").write_text("no picture")
    status, said = command("good.png", "text.png", "missing.png", "--mask", "hole.png")
    lines = [line for line in said.splitlines() if line.startswith("pconv fill:")]
    assert status == 1 and len(lines) == 2 and "text.png: not an image" in lines[0] and "missing.png" in lines[1]
    assert "1 of 3 photographs" in said and (tmp_path / "out/good.png").is_file()
    Image.fromarray(HOLE[:50]).save("other.png")
    status, said = command("good.png", "--mask", "other.png", "--overwrite")
    assert status == 1 and "other.png: 140 x 50 px, but good.png has 140 x 90 px" in said


def test_a_result_never_replaces_what_it_is_made_from(command, tmp_path):
    (tmp_path / "out").mkdir()
    Image.fromarray(scene()).save("out/photo.png")
    status, said = command("out/photo.png", "--mask", "hole.png")
    assert status == 1 and "out/photo.png: the result would replace what it or another result is made from" in said
    assert np.array_equal(np.asarray(Image.open("out/photo.png")), scene())


def numbered(folder, *numbers):
    Path(folder).mkdir()
    for number in numbers:
        Image.fromarray(scene()[..., ::-1] if number % 2 else scene()).save(f"{folder}/{number}.png")


def contents():
    return {path: path.read_bytes() for path in Path().rglob("*.png") if path.exists()}


@pytest.mark.parametrize(
    "photos, masks, folder",
    [
        (["a", "."], ["hole.png"], "b"),  # b/1.png is read after a/1.png is filled
        (["a/1.png", "a/3.png"], ["m/3.png", "m/1.png"], "m"),  # m/3.png is the mask of a/1.png
    ],
    ids=["photograph", "mask"],
)
@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_no_result_replaces_what_another_one_is_made_from(weights, command, capsys, photos, masks, folder, overwrite):
    numbered("a", 1, 3)
    numbered("b", 1, 2)
    numbered("m")
    for number in (1, 3):
        Image.fromarray(HOLE).save(f"m/{number}.png")
    before = contents()
    words = ["fill", *photos, "--mask", *masks, "--output", folder, "--weights", str(weights), *overwrite]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "would replace what it or another result is made from; choose another folder" in said
    assert contents() == before


def test_files_that_exist_already_are_replaced_only_where_that_is_asked_for(command, tmp_path):
    numbered("out", 2, 3)
    numbered("a", 1, 2, 3)
    (tmp_path / "out/1.png").symlink_to("nowhere.png")
    before = contents()
    status, said = command("a", "--mask", "hole.png")
    assert status == 1 and said == (
        "pconv fill: out/1.png: exists already, and 2 other results; choose another folder, or replace "
        "with --overwrite what is there\n"
    )
    assert contents() == before
    status, said = command("a", "--mask", "hole.png", "--overwrite")
    assert status == 0, said
    assert all(changed(scene()[..., ::-1], np.asarray(Image.open(f"out/{i}.png"))) for i in (1, 3))
    status, said = command("a/2.png", "--mask", "hole.png")
    assert status == 1 and "out/2.png: exists already; choose" in said


@pytest.mark.parametrize(
    "photo, message",
    [
        ("nowhere.png", "nowhere.png: No such file"),
        (3, "got int"),
        (np.zeros((4, 4, 3), int), "int64"),
        (np.zeros((4, 4, 2), np.uint8), r"got \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), "with pixels"),
        (np.full((8, 8, 3), np.nan), "not finite"),
        (np.full((8, 8, 3), 255.0), "from 0 to 1"),
        (torch.zeros(2, 3, 8, 8), r"got \(2, 3, 8, 8\)"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "int64"),
        (Image.new("F", (8, 8)), "kind F"),
        (Image.new("RGB", (0, 8)), "no pixels"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_photograph(photo, message):
    hole = np.zeros((8, 8), bool)
    hole[2, 2] = True
    with pytest.raises(ImageError, match=message):
        filled(photo, hole)


@pytest.mark.parametrize(
    "hole", [np.full((HEIGHT, WIDTH), np.nan), -HOLE.astype(int), np.zeros((3, 3, 3)), "nowhere.png", 3, HOLE * 1j],
    ids=["NaN", "negative", "shape", "missing", "int", "complex"],
)  # fmt: skip
def test_what_is_no_mask(hole):
    with pytest.raises(MaskError):
        filled(scene(), hole)


def test_weights_by_name_that_are_not_there():
    with pytest.raises(WeightsError, match="nothing/here: no published weights of this name"):
        load_pretrained("nothing/here")


def test_weights_tell_the_side_of_their_crops(weights):
    assert load_pretrained(weights).trained_side == 32


@pytest.mark.parametrize("data", [None, [], {"size": "128"}, {"size": 128.0}, {"size": 15}, {"size": 10**7}])
def test_a_side_of_crops_that_is_none_is_refused(weights, command, data):
    save_model(weights, NETWORK.state_dict(), {"params": {"model": {"width": 4, "depth": 4}, "data": data}})
    Image.fromarray(scene()).save("photo.png")
    status, said = command("photo.png", "--mask", "hole.png")
    assert status == 1 and "weights.safetensors: its metadata name no side of crops from 16 to 8,192 px; train" in said


def test_a_place_where_nothing_can_be_written_is_named(command, monkeypatch):
    Image.fromarray(scene()).save("photo.png")
    Path("out").mkdir()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(full))
    status, said = command("photo.png", "--mask", "hole.png")
    assert status == 1 and "out/photo.png: No space left on device; choose another --output, or make room" in said


def test_a_file_is_no_folder_for_results(weights, command, capsys):
    Image.fromarray(scene()).save("photo.png")
    assert main(["fill", "photo.png", "--mask", "hole.png", "--output", "hole.png"]) == 1
    assert capsys.readouterr().err == "pconv fill: hole.png: a file; name a folder for the results\n"


def test_inks_are_filled_apart():
    low, known = scene(4, np.float32)[:32, :32], np.ones((32, 32), bool)
    known[10:15, 10:20] = False
    out = predict(NETWORK, low, known)
    assert np.allclose(out[..., :3], predict(NETWORK, low[..., :3], known), atol=1e-5)
    assert np.allclose(out[..., 3:], predict(NETWORK, low[..., 3:], known), atol=1e-5)


def test_boxes():
    box = Box(2, 7, 3, 9)
    assert box.shape == (5, 6) and box.widened(4, (8, 20)) == Box(0, 8, 0, 13)
    assert box.within(Box(0, 5, 4, 100)) == Box(2, 5, 4, 9)
    assert np.zeros((10, 10))[box.slices].shape == box.shape


def test_importing_the_package_does_not_import_torch():
    code = "import sys, pconv; assert 'inpaint' in dir(pconv) and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "src")})


def test_help_says_which_colour_is_the_hole(capsys):
    with pytest.raises(SystemExit):
        main(["fill", "--help"])
    assert "White in the mask is the hole" in capsys.readouterr().out
