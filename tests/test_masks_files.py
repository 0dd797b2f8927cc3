"""Mask files and indexes, there and back; what else may be in one: benchmarks/hostile, which test_robustness runs."""

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pconv.masks.convention import MaskError
from pconv.masks.drawing import draw_hole, hole_rng
from pconv.masks.files import MaskWarning, picture_to_hole, read_hole, write_hole
from pconv.masks.tensors import hole_to_mask, mask_to_hole

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture
def hole():
    return draw_hole(hole_rng(0, "test", 0), 40, 0.2, 0.3)


def test_on_disk_a_hole_is_white_in_one_bit(tmp_path, hole):
    write_hole(tmp_path / "a.png", hole)
    header = (tmp_path / "a.png").read_bytes()[16:33]
    assert header[:8] == (40).to_bytes(4) * 2 and header[8:10] == b"\x01\x00"  # 1 bit, grey
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "1"
        assert np.array_equal(np.asarray(picture.convert("L")), hole * 255)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 70), st.integers(2, 70), SEEDS)
def test_files_and_masks_go_there_and_back(tmp_path_factory, height, width, seed):
    hole = np.random.default_rng(seed).integers(2, size=(height, width), dtype=np.uint8)
    hole.flat[0] = 1 - hole.flat[-1]  # all hole or no hole would be warned of
    path = tmp_path_factory.getbasetemp() / "there-and-back.png"
    write_hole(path, hole)
    again = read_hole(path)
    assert np.array_equal(again, hole) and again.dtype == np.uint8
    assert np.array_equal(mask_to_hole(hole_to_mask(hole)), hole)


def test_a_hole_is_lighter_than_the_middle(tmp_path):
    """At 8 and at 16 bits; what else a mask file may be: benchmarks/hostile/masks.py, which test_robustness runs."""
    grey = np.full((1, 40), 255, np.uint8)
    grey[0, :20] = 0
    grey[0, 18:22] = (127, 128, 127, 128)
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 256).save(tmp_path / "16.png")
    for name in ("8", "16"):
        assert np.array_equal(read_hole(tmp_path / f"{name}.png"), grey > 127)


@pytest.mark.parametrize("maximum", [1, 15, 255, 1023, 65_535])
@pytest.mark.parametrize("kind", ["P5", "P2"])
def test_a_pgm_file_may_have_any_number_of_bits(tmp_path, hole, kind, maximum):
    values = hole.astype(int) * maximum
    if kind == "P2":
        content = b"\n".join(b" ".join(b"%d" % value for value in row) for row in values)
    else:
        content = values.astype(">u2" if maximum > 255 else np.uint8).tobytes()
    (tmp_path / "a.pgm").write_bytes(b"%s 40 40 %d\n" % (kind.encode(), maximum) + content)
    assert np.array_equal(read_hole(tmp_path / "a.pgm"), hole)
    with Image.open(tmp_path / "a.pgm") as picture:
        assert np.array_equal(picture_to_hole(picture, "a.pgm"), hole)


@pytest.mark.parametrize("bits", [1, 8, 16])
@pytest.mark.parametrize("orientation", [1, 3])
@pytest.mark.parametrize("white", ["minisblack", "miniswhite"])
def test_a_tiff_file_may_count_from_white(tmp_path, hole, bits, white, orientation):
    kind = {1: bool, 8: np.uint8, 16: np.uint16}[bits]
    stored = (hole if white == "minisblack" else 1 - hole).astype(kind) * kind(2**bits - 1)
    turned = np.ascontiguousarray(stored[::-1, ::-1]) if orientation == 3 else stored
    tifffile.imwrite(tmp_path / "a.tif", turned, photometric=white, extratags=[(274, 3, 1, orientation, True)])
    assert np.array_equal(read_hole(tmp_path / "a.tif"), hole)


def test_numbers_of_32_bits_are_refused(tmp_path, hole):
    tifffile.imwrite(tmp_path / "a.tif", hole.astype(np.int32))
    with pytest.raises(MaskError, match=r"a\.tif: pixels of the kind I; save it as a PNG of black and white"):
        read_hole(tmp_path / "a.tif")


def test_of_an_empty_mask_is_warned_unless_that_is_not_wanted(tmp_path):
    for value, said in ((0, "no pixel is white"), (1, "every pixel is white")):
        write_hole(tmp_path / "a.png", np.full((4, 4), value, np.uint8))
        with pytest.warns(MaskWarning, match=rf"a\.png: {said}"):
            read_hole(tmp_path / "a.png")
        assert (read_hole(tmp_path / "a.png", warn=False) == value).all()


def test_writing_a_hole_replaces_a_link(tmp_path, hole):
    (tmp_path / "cached.png").write_bytes(b"shared")
    (tmp_path / "a.png").symlink_to("cached.png")
    write_hole(tmp_path / "a.png", hole)
    assert (tmp_path / "cached.png").read_bytes() == b"shared"
    assert np.array_equal(read_hole(tmp_path / "a.png"), hole)


def test_a_hole_without_pixels_or_folder_is_refused(tmp_path, hole):
    with pytest.raises(MaskError, match=r"a\.png: a hole of 0 x 4 px"):
        write_hole(tmp_path / "a.png", np.zeros((0, 4), np.uint8))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_hole(tmp_path / "nowhere" / "a.png", hole)


@pytest.mark.parametrize(
    "bad", [np.zeros((1, 4, 4), np.uint8), np.zeros((4, 4), np.float32), np.full((4, 4), 255, np.uint8)]
)
def test_what_is_no_hole_is_refused(bad, tmp_path):
    for use in (hole_to_mask, lambda array: write_hole(tmp_path / "a.png", array)):
        with pytest.raises(MaskError, match="a hole"):
            use(bad)
