"""What the stage sees of a photograph: whatever cannot be used is rejected with the reason."""

import hashlib
import os

import cv2
import numpy as np
import pytest
from photographs import bomb, in_folder, photographs, picture
from PIL import Image

from pconv.data import checking
from pconv.data.checking import look, look_at_all
from pconv.data.decoding import ImageError, read_image
from pconv.data.memory import SIDE

DATA = in_folder("mine")


def rgba(alpha):
    return np.dstack([picture(0), np.full((24, 30), alpha, np.uint8)])


USED = {
    "grey.png": lambda p: Image.fromarray(picture(0)).convert("L").save(p),
    "palette.png": lambda p: Image.fromarray(picture(0)).quantize(64).save(p),
    "opaque.png": lambda p: Image.fromarray(rgba(255)).save(p),
    "opaque.webp": lambda p: Image.fromarray(rgba(255)).save(p, lossless=True),
    "grey and opaque.png": lambda p: Image.fromarray(picture(0)).convert("LA").save(p),
    "16 bits.png": lambda p: cv2.imwrite(str(p), picture(0).astype(np.uint16) * 257),
    "16 bits, grey.tif": lambda p: Image.fromarray(picture(0)[..., 0].astype(np.uint16) * 257).save(p),
    "16 bits, opaque.png": lambda p: cv2.imwrite(str(p), rgba(255).astype(np.uint16) * 257),
    "cmyk.jpg": lambda p: Image.fromarray(picture(0)).convert("CMYK").save(p),
    "progressive.jpg": lambda p: Image.fromarray(picture(0)).save(p, progressive=True),
    "jpeg.png": lambda p: Image.fromarray(picture(0)).save(p, "JPEG"),
    "two in one.jpg": lambda p: Image.fromarray(picture(0)).save(
        p, "MPO", save_all=True, append_images=[Image.new("L", (9, 9))]
    ),
}
REJECTED = {
    "small.png": (lambda p: Image.fromarray(picture(0, 7, 90)).save(p), "90 x 7 px, less than data.min_side = 8"),
    "large.png": (lambda p: p.write_bytes(bomb(9000)), "9,000 x 9,000 px are more than 67 million pixels"),
    "vast.png": (lambda p: p.write_bytes(bomb(60_000)), "more than 67 million pixels"),
    "transparent.png": (lambda p: Image.fromarray(rgba(254)).save(p), "transparent in places; save it without"),
    "transparent.webp": (lambda p: Image.fromarray(rgba(9)).save(p), "transparent in places; save it without"),
    "16 bits.png": (lambda p: cv2.imwrite(str(p), rgba(255).astype(np.uint16) * 256), "transparent in places"),
    "palette.png": (lambda p: Image.fromarray(picture(0)).quantize(4).save(p, transparency=0), "transparent in places"),
    "lab.tif": (lambda p: Image.fromarray(picture(0)).convert("LAB").save(p), "pixels of the kind LAB; save it in RGB"),
    "float.tif": (lambda p: Image.fromarray(np.ones((9, 9), np.float32)).save(p), "pixels of the kind F; save it in"),
    "pages.tif": (
        lambda p: Image.fromarray(picture(0)).save(p, save_all=True, append_images=[Image.fromarray(picture(1))]),
        "holds 2 pictures; save the one that is meant",
    ),
    "text.jpg": (lambda p: p.write_text("a photograph"), "not an image that can be read (JPEG, PNG, "),
    "empty.jpg": (lambda p: p.touch(), "the file is empty"),
    "pipe.jpg": (lambda p: os.mkfifo(p), "Not a regular file"),
    "broken.jpg": (lambda p: p.symlink_to("nowhere"), "No such file or directory"),
    "self.jpg": (lambda p: p.symlink_to(p), "Too many levels of symbolic links"),
}


@pytest.mark.parametrize("check", ["header", "decode"])
@pytest.mark.parametrize("name", USED)
def test_whatever_can_be_used_is(tmp_path, name, check):
    USED[name](tmp_path / name)
    seen = look(str(tmp_path / name), in_folder("mine", check=check))
    content = (tmp_path / name).read_bytes()
    assert (seen.bytes, seen.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    grey = cv2.cvtColor(read_image(tmp_path / name), cv2.COLOR_RGB2GRAY)
    assert (seen.thumbnail.shape, seen.thumbnail.dtype) == ((SIDE, SIDE), np.uint8)
    np.testing.assert_array_equal(seen.thumbnail, cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("check", ["header", "decode"])
@pytest.mark.parametrize("name", REJECTED)
def test_what_cannot_be_used_is_rejected_with_the_reason(tmp_path, name, check):
    make, reason = REJECTED[name]
    make(tmp_path / name)
    with pytest.raises(ImageError) as caught:
        look(str(tmp_path / name), in_folder("mine", check=check))
    assert str(caught.value).startswith(f"{tmp_path / name}: ") and reason in str(caught.value)


@pytest.mark.parametrize("check", ["header", "decode"])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_photograph_that_was_cut_short_is_rejected(tmp_path, suffix, check):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture(0, 300, 400)).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ImageError, match="cut short"):
        look(str(path), in_folder("mine", check=check))


@pytest.mark.parametrize("size", [(64, 64), (300, 411), (275, 128), (1030, 777), (60, 700), (513, 521)])
def test_a_thumbnail_is_nearly_that_of_the_whole_photograph(tmp_path, size):
    """A JPEG file is decoded at a fraction of its size, whose rounding must not move what is seen."""
    Image.fromarray(picture(1, *size)).save(tmp_path / "a.jpg", quality=95)
    quick, whole = (look(str(tmp_path / "a.jpg"), in_folder("mine", check=check)) for check in ("header", "decode"))
    assert np.abs(quick.thumbnail.astype(int) - whole.thumbnail).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_thumbnail_is_turned_as_exif_asks(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture(1, 300, 410)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    Image.fromarray(read_image(tmp_path / "a.jpg")).save(tmp_path / "upright.png")
    turned, upright = (look(str(tmp_path / name), DATA).thumbnail for name in ("a.jpg", "upright.png"))
    assert np.abs(turned.astype(int) - upright).max() <= 3


def test_only_decode_looks_at_all_of_a_jpeg(tmp_path, monkeypatch):
    Image.fromarray(picture(0, 300, 400)).save(tmp_path / "a.jpg")
    decode = cv2.imdecode
    monkeypatch.setattr(
        cv2, "imdecode", lambda data, flags: None if flags == cv2.IMREAD_COLOR_RGB else decode(data, flags)
    )
    look(str(tmp_path / "a.jpg"), in_folder("mine", check="header"))
    with pytest.raises(ImageError, match=r"a\.jpg: not an image that OpenCV can read"):
        look(str(tmp_path / "a.jpg"), in_folder("mine", check="decode"))


def test_photographs_are_looked_at_in_order_whatever_their_number(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(checking, "BATCH", 4)
    names = [f"{n}.png" for n in range(10)]
    photographs(tmp_path, *names)
    (tmp_path / "6.png").write_text("no photograph")
    found = look_at_all([str(tmp_path / name) for name in names], DATA)
    assert [n for n, one in enumerate(found) if isinstance(one, ImageError)] == [6]
    sums = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names]
    assert [one.sha256 for one in found if not isinstance(one, ImageError)] == [s for n, s in enumerate(sums) if n != 6]
    assert "photographs 10/10" in capfd.readouterr().err
