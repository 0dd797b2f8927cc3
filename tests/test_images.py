"""Where photographs come from: no photograph in two splits, crops as asked for, and errors that name the file."""

import csv
import hashlib
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pconv.data.cache import ArrayCache
from pconv.data.crops import random_crop, recolour
from pconv.data.decoding import ImageError, read_image, write_image
from pconv.data.manifest import manifest_path, read_manifest, read_photograph, write_manifest
from pconv.data.sources import PACKAGED, find_photographs
from pconv.data.tensors import to_tensor
from pconv.params import Data
from pconv.project import SPLITS

SOURCE = Path(__file__).parents[1] / "src"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project, which is the working directory."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photographs(folder, *names):
    """Small pictures, each different."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(number).integers(256, size=(8, 9, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / name)
    return folder


def in_folder(folder):
    return Data(source="folder", folder=str(folder))


def position(height, width):
    """A picture whose red and green are the row and column of each pixel."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8)


# The packaged photographs


def test_packaged_photographs_are_in_colour_and_in_one_split(project):
    assert write_manifest(Data()) == {"train": 7, "val": 1, "test": 3}
    seen = {}
    for split in SPLITS:
        paths = read_manifest(Data(), split)
        assert [path.stem for path in paths] == list(PACKAGED[split])
        for path in paths:
            image = read_image(path)
            assert image.dtype == np.uint8 and image.shape[2] == 3 and min(image.shape[:2]) >= 300
            assert np.ptp(image.astype(int), axis=2).mean() > 2  # grey pictures have three equal channels
            assert seen.setdefault(hashlib.sha256(image.tobytes()).hexdigest(), path) == path
    assert len(seen) == 11


def test_packaged_photographs_are_named_in_the_readme():
    text = (SOURCE.parent / "data" / "README.md").read_text()
    for names in PACKAGED.values():
        for name in names:
            assert f"`{name}`" in text


def test_the_manifest_holds_relative_paths_and_sizes(project):
    write_manifest(Data())
    first = manifest_path().read_bytes()
    with open(manifest_path(), newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["split", "path", "bytes"]
    for row in rows:
        assert int(row["bytes"]) == (project / "data/images" / row["path"]).stat().st_size
    write_manifest(Data())
    assert manifest_path().read_bytes() == first and str(project).encode() not in first


def test_the_command_writes_the_manifest_or_says_what_is_wrong(project):
    command = [sys.executable, "-m", "pconv.data"]
    environment = {"PYTHONPATH": str(SOURCE), "PATH": ""}
    text = (SOURCE.parent / "params" / "smoke.yaml").read_text()
    (project / "params.yaml").write_text(text)
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "photographs: 7 train, 1 val, 3 test\n")
    (project / "params.yaml").write_text(text.replace("packaged, folder: null", "folder, folder: nowhere"))
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"data.folder: no folder {project / 'nowhere'}" in done.stderr


def test_a_manifest_that_is_missing_is_named(project):
    with pytest.raises(ImageError, match=r"manifest\.csv: no such file; `dvc repro images`"):
        read_manifest(Data(), "train")


def test_a_package_without_its_photograph_is_named(project, monkeypatch):
    monkeypatch.setitem(PACKAGED["train"], "astronaut", ("skimage", "data/gone.png"))
    with pytest.raises(ImageError, match=r"skimage no longer brings data/gone\.png"):
        write_manifest(Data())


# A folder of photographs


def test_named_subfolders_are_the_splits(project):
    photographs(
        project / "mine", "train/a.png", "train/deep/er/b.JPG", "val/c.bmp", "test/d.tiff", "other/e.png", "f.png"
    )
    assert write_manifest(in_folder("mine")) == {"train": 2, "val": 1, "test": 1}
    assert read_manifest(in_folder("mine"), "train") == [
        project / "mine/train/a.png",
        project / "mine/train/deep/er/b.JPG",
    ]
    assert read_manifest(in_folder("mine"), "test") == [project / "mine/test/d.tiff"]


def test_other_folders_are_split_by_hash(project):
    names = [f"{'ab'[n % 2]}/{n}.png" for n in range(300)]
    folder = project / "elsewhere"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    before = find_photographs(folder)
    counts = [len(before[split]) for split in SPLITS]
    assert sum(counts) == 300 and 250 < counts[0] < 290 and min(counts) > 4
    assert len({path for paths in before.values() for path in paths}) == 300

    for n in range(100):
        (folder / f"more{n}.png").touch()
    after = find_photographs(folder)
    assert all(set(before[split]) < set(after[split]) for split in SPLITS)


def test_a_folder_moved_elsewhere_is_split_alike(project):
    for place in ("here", "there/and/far"):
        photographs(project / place, *(f"{n}.png" for n in range(60)))
    here, there = find_photographs(project / "here"), find_photographs(project / "there/and/far")
    assert [[p.name for p in here[s]] for s in SPLITS] == [[p.name for p in there[s]] for s in SPLITS]


def test_an_absolute_folder_is_read_where_it_is(project, tmp_path_factory):
    folder = photographs(tmp_path_factory.mktemp("away"), "train/a.png", "val/b.png", "test/c.png")
    write_manifest(in_folder(folder))
    assert read_manifest(in_folder(folder), "val") == [folder / "val/b.png"]


def test_what_is_no_photograph_is_left_out(project):
    photographs(project / "mine", "train/a.png", "val/b.png", "test/c.png")
    (project / "mine/train/notes.txt").write_text("not a photograph")
    (project / "mine/train/album.jpg").mkdir()
    assert write_manifest(in_folder("mine")) == {"train": 1, "val": 1, "test": 1}


def test_a_split_without_photographs_names_the_folder(project):
    photographs(project / "mine", "train/a.png", "val/b.png")
    (project / "mine/test").mkdir()
    with pytest.raises(ImageError, match=r"none of the 2 photographs in .*mine fell to test; .*train, val, test"):
        find_photographs(project / "mine")
    (project / "empty").mkdir()
    with pytest.raises(ImageError, match=r"none of the 0 photographs in .*empty"):
        find_photographs(project / "empty")
    with pytest.raises(ImageError, match=r"no folder .*nowhere"):
        find_photographs(project / "nowhere")


# Reading and writing


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("not a picture")
    photographs(tmp_path, "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    for name in ("empty.jpg", "text.png", "cut.png"):
        with pytest.raises(ImageError, match=rf"{name}: not an image"):
            read_image(tmp_path / name)
    with pytest.raises(ImageError, match=r"gone\.png: No such file or directory; run `dvc repro"):
        read_photograph(tmp_path / "gone.png")
    with pytest.raises(ImageError, match=r"gone\.png: No such file or directory"):
        read_image(tmp_path / "gone.png")


def test_every_kind_of_picture_is_read_as_rgb(tmp_path):
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(tmp_path / "red.png")
    Image.fromarray(red[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([red, red[..., :1]])).save(tmp_path / "alpha.png")
    assert np.array_equal(read_image(tmp_path / "red.png"), red)
    assert np.array_equal(read_image(tmp_path / "alpha.png"), red)
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.full((4, 5, 3), 255))


def test_a_bomb_is_refused_before_a_pixel_is_decoded(tmp_path):
    """A header of 60,000 x 60,000 px, which Pillow itself would refuse, and one that only our limit forbids."""
    for name, side in (("vast.png", 60_000), ("large.png", 9_000)):
        header = struct.pack(">II5B", side, side, 8, 2, 0, 0, 0)
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
        packed = (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
        with pytest.raises(ImageError, match=rf"{name}: .*more than (the )?80,000,000 "):
            read_image(tmp_path / name)
    photographs(tmp_path, "a.png")  # of 72 pixels
    assert read_image(tmp_path / "a.png", max_pixels=72).shape == (8, 9, 3)
    with pytest.raises(ImageError, match=r"a\.png: 9 x 8 pixels, more than the 71 allowed"):
        read_image(tmp_path / "a.png", max_pixels=71)


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


def test_an_image_as_a_tensor():
    image = position(3, 4)
    tensor = to_tensor(image[:, ::-1])
    assert tensor.dtype == torch.float32 and tensor.shape == (3, 3, 4)
    expected = torch.tensor(image[:, ::-1].copy()).movedim(-1, 0)
    assert torch.equal((tensor * 255).round(), expected) and tensor.max() < 4 / 255


def test_decoded_photographs_are_kept_within_bounds():
    cache, made = ArrayCache(100), []

    def get(key, size):
        return cache.get(key, lambda: made.append(key) or np.zeros(size, np.uint8))

    assert get("a", 60) is get("a", 60) and made == ["a"]
    get("b", 40), get("a", 60), get("c", 30)  # b was used longest ago
    assert cache.bytes == 90
    get("a", 60), get("b", 40)
    assert made == ["a", "b", "c", "b"]
    get("d", 101), get("d", 101)  # never kept, and throws nothing out
    assert made[-2:] == ["d", "d"] and cache.bytes <= 100
    assert not get("e", 1).flags.writeable


def test_a_photograph_that_was_changed_is_read_again(tmp_path):
    photographs(tmp_path, "other.png", "a.png")
    before = read_photograph(tmp_path / "a.png")
    assert read_photograph(tmp_path / "a.png") is before
    os.replace(tmp_path / "other.png", tmp_path / "a.png")
    os.utime(tmp_path / "a.png", ns=(1, 1))
    assert not np.array_equal(read_photograph(tmp_path / "a.png"), before)


def test_written_and_read_again(tmp_path):
    image = np.random.default_rng(0).integers(256, size=(7, 11, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", image)
    assert np.array_equal(read_image(tmp_path / "a.png"), image)
    with Image.open(tmp_path / "a.png") as picture:
        assert np.array_equal(np.asarray(picture), image)


# Crops


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 64), st.floats(0.01, 1), st.integers(0, 2**32 - 1))
def test_a_crop_is_a_square_inside_the_photograph(height, width, size, share, seed):
    square = random_crop(position(height, width), size, [share, 1.0], np.random.default_rng(seed))
    assert square.shape == (size, size, 3) and square.dtype == np.uint8
    assert square[..., 0].max() < height and square[..., 1].max() < width


@settings(max_examples=100, deadline=None)
@given(st.integers(20, 200), st.integers(20, 200), st.floats(0.1, 1), st.integers(0, 2**32 - 1))
def test_the_share_is_of_the_shorter_side(height, width, share, seed):
    side = round(share * min(height, width))
    square = random_crop(position(height, width), side, [share, share], np.random.default_rng(seed))
    rows, columns = square[:, 0, 0].astype(int), square[0, :, 1].astype(int)
    assert np.array_equal(rows, np.arange(rows[0], rows[0] + side))  # not resized: each row and column once
    assert np.array_equal(columns, np.arange(columns[0], columns[0] + side))


def test_crops_reach_every_edge_and_both_ends_of_the_share():
    image, rng = position(60, 90), np.random.default_rng(0)
    squares = [random_crop(image, 20, [1 / 3, 1 / 3], rng) for _ in range(2000)]
    tops, lefts = {int(s[0, 0, 0]) for s in squares}, {int(s[0, 0, 1]) for s in squares}
    assert tops == set(range(41)) and lefts == set(range(71))

    whole = [random_crop(image, 60, [0.2, 1.0], rng) for _ in range(2000)]
    spans = [float(np.ptp(s[..., 0].astype(int)) + 1) for s in whole]
    assert min(spans) < 14 and max(spans) > 58 and 34 < np.mean(spans) < 38  # 12 to 60 px, evenly


def test_the_whole_of_a_square_photograph():
    image = np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)
    assert np.array_equal(random_crop(image, 32, [1.0, 1.0], np.random.default_rng(0)), image)
    shrunk = random_crop(image, 16, [1.0, 1.0], np.random.default_rng(0))
    assert np.array_equal(shrunk, cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA))


def test_a_crop_depends_on_its_generator_alone():
    image = position(50, 70)
    first, again, other = (random_crop(image, 16, [0.3, 0.8], np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_crops_leave_the_photograph_as_it_was(tmp_path):
    write_image(tmp_path / "a.png", position(30, 30))
    square = random_crop(read_image(tmp_path / "a.png"), 30, [1.0, 1.0], np.random.default_rng(0))
    square[:] = 0
    assert np.array_equal(read_image(tmp_path / "a.png"), position(30, 30))


# Other colours


def test_recolour_maps_each_channel_through_one_rising_curve():
    """Channels change places; the curve is the same for all three, never falls and keeps a fifth of the range."""
    ramp = np.arange(256, dtype=np.uint8)
    image = np.stack([ramp, ramp[::-1], np.full(256, 100, np.uint8)], axis=1)[None]
    orders, curves = set(), []
    for seed in range(60):
        found = recolour(image, np.random.default_rng(seed))
        assert found.dtype == np.uint8 and found.shape == image.shape
        rising, falling, flat = (
            next(i for i in range(3) if kind(np.diff(found[0, :, i].astype(int))))
            for kind in (lambda d: d.sum() > 0, lambda d: d.sum() < 0, lambda d: not d.any())
        )
        curve = found[0, :, rising]
        assert (np.diff(curve.astype(int)) >= 0).all() and int(curve[-1]) - int(curve[0]) >= 51
        assert (found[0, :, falling] == curve[::-1]).all() and (found[0, :, flat] == curve[100]).all()
        orders.add((rising, falling, flat))
        curves.append(curve)
    assert len(orders) == 6
    assert np.ptp([curve[0] for curve in curves]) > 80 and np.ptp([curve[128] for curve in curves]) > 60
