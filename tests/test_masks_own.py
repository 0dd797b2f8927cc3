"""Masks of one's own: used as they are, augmented, refused; with either colour for the hole."""

import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from pconv.masks import fitting, own
from pconv.masks.convention import MaskError, border_share
from pconv.masks.drawing import draw_hole, hole_rng
from pconv.masks.files import read_hole, read_index, write_hole
from pconv.masks.sets import write_masks
from pconv.params import Params
from pconv.project import mask_folder

SIZE = 32


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return an empty project, which is the working directory."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def params(seed=0, size=SIZE, **masks):
    masks = {"source": "folder", "folder": "mine", "train": 12, "val": 3, "test": 2} | masks
    return Params.model_validate({"seed": seed, "data": {"size": size}, "masks": masks, "model": {"depth": 4}})


def fill(folder, counts=(8, 2, 4), invert=(), size=SIZE):
    """Write masks of the user's into the three splits: white holes, black ones in the splits to invert."""
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        (folder / split).mkdir(parents=True)
        for number in range(count):
            hole = draw_hole(hole_rng(9, split, number), size, 0.05, 0.3)
            write_hole(folder / split / f"{number}.png", 1 - hole if split in invert else hole)


def written(split):
    return [read_hole(mask_folder(split) / name) for name in read_index(split)["file"]]


def files(folder, split):
    return {read_hole(path).tobytes() for path in (folder / split).iterdir()}


def test_every_bin_is_filled_with_and_without_constraint(project):
    fill(project / "mine")
    write_masks(params(test=3))
    counts = read_index("test").groupby(["bin", "border"]).size()
    assert len(counts) == 12 and (counts == 3).all()
    for hole, border in zip(written("test"), read_index("test")["border"], strict=True):
        assert border_share(hole, border) == 0 if border else border_share(hole, 1) > 0


def test_files_that_fit_are_used_once_as_they_are_and_the_others_augmented(project):
    fill(project / "mine")
    write_masks(params())
    first = [hole.tobytes() for hole in written("train")]
    assert set(first[:8]) == files(project / "mine", "train") and not set(first[8:]) & set(first[:8])
    assert {hole.tobytes() for hole in written("val")} >= files(project / "mine", "val")


def test_a_published_test_set_comes_out_as_it_went_in(project):
    """Masks that already fill the bins, in any order of files: each is used, in its own bin and class."""
    fill(project / "mine", (2, 2, 0))
    write_masks(params(source="drawn", folder=None))
    for name in read_index("test")["file"]:
        write_hole(project / "mine" / "test" / f"x{name}", read_hole(mask_folder("test") / name))
    before, rows = {hole.tobytes() for hole in written("test")}, read_index("test").groupby(["bin", "border"]).size()
    write_masks(params())
    assert {hole.tobytes() for hole in written("test")} == before
    assert read_index("test").groupby(["bin", "border"]).size().equals(rows)


def test_a_mask_is_a_function_of_the_seed_and_its_number(project):
    fill(project / "mine")
    write_masks(params())
    first = [hole.tobytes() for hole in written("train")]
    write_masks(params(train=20))
    assert [hole.tobytes() for hole in written("train")][:12] == first
    write_masks(params(seed=1))
    assert [hole.tobytes() for hole in written("train")] != first


@pytest.mark.parametrize(
    "hole, invert", [("black", ("train", "val", "test")), ("published", ("train", "val")), ("white", ())]
)
def test_either_colour_is_read_as_it_is_meant(project, hole, invert):
    fill(project / "white")
    fill(project / "mine", invert=invert)
    write_masks(params(hole=hole))
    found = [one.tobytes() for split in ("train", "val", "test") for one in written(split)]
    write_masks(params(folder="white"))
    assert found == [one.tobytes() for split in ("train", "val", "test") for one in written(split)]


@pytest.mark.parametrize(
    "hole, invert, message",
    [
        ("white", ("train", "val", "test"), r"masks\.hole = white: 100% of the masks to train .* masks\.hole to black"),
        ("black", (), r"masks\.hole = black: 100% of the masks to train .* most likely their holes are white"),
        ("published", ("train", "val", "test"), r"masks\.hole = published: 100% of the masks to test .* are black"),
    ],
)  # fmt: skip
def test_the_wrong_colour_is_named(project, hole, invert, message):
    fill(project / "mine", invert=invert)
    with pytest.raises(MaskError, match=message):
        write_masks(params(hole=hole))
    assert not mask_folder("train").exists()


def test_masks_of_any_size_and_shape(project):
    fill(project / "mine")
    tall = np.zeros((90, 40), np.uint8)
    tall[30:50, 5:30] = 255
    for split in ("train", "val", "test"):
        Image.fromarray(tall).save(project / "mine" / split / "tall.jpg")
        Image.fromarray(tall.T[:7, :9] + 0 * tall.T[:7, :9]).save(project / "mine" / split / "none.png")  # no hole
    write_masks(params())
    assert {hole.shape for split in ("train", "val", "test") for hole in written(split)} == {(SIZE, SIZE)}


def test_the_middle_square_is_what_is_used_as_it_is():
    hole = np.zeros((20, 64), np.uint8)
    hole[:, 22:32] = 1
    assert np.array_equal(own.square(hole, 20), hole[:, 22:42])
    assert own.square(hole, 10).mean() == 0.5 and own.square(hole, 40).shape == (40, 40)


def test_without_subfolders_the_hash_of_its_path_splits(project):
    (project / "mine").mkdir()
    for number in range(120):
        write_hole(project / "mine" / f"{number}.png", draw_hole(hole_rng(9, "train", number), SIZE, 0.05, 0.3))
    write_masks(params())
    assert len(read_index("train")) == 12


def test_a_bin_that_cannot_be_filled_is_named(project, monkeypatch):
    fill(project / "mine", counts=(20, 4, 1))
    monkeypatch.setattr(fitting, "TRIES", 0)
    with pytest.raises(MaskError, match=r"masks\.folder: .*mine, 1 masks to test: test mask 0 \(hole ratio 0\.01-0\.1"):
        write_masks(params())
    assert not (mask_folder("test") / "index.csv").exists()


def test_files_that_are_no_masks_are_counted_and_the_first_is_named(project):
    fill(project / "mine")
    (project / "mine/train/bad.png").write_text("404")
    os.mkfifo(project / "mine/train/fifo.png")
    with pytest.raises(MaskError, match=r"masks\.folder: 2 of 10 masks cannot be used.*bad\.png: not an image"):
        write_masks(params())


def test_a_mask_above_the_limit_of_pixels_is_not_decoded(project):
    fill(project / "mine", size=40)
    values = params().model_dump()
    values["data"]["max_pixels"] = 1500
    with pytest.raises(MaskError, match=r"40 x 40 px are more than 1,500 pixels"):
        write_masks(Params.model_validate(values))


def test_threads_leave_the_filters_of_warnings_as_they_are(tmp_path, monkeypatch):
    """Those are the whole process's: what one thread puts back, another may have saved while it was changed."""
    write_hole(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    masks = own.OwnMasks(tmp_path, ["a.png"], True, 2**26, {})
    both, ended = threading.Barrier(2, timeout=60), threading.Event()

    def in_turn(path, *rest, **options):  # both are at it, and the one that came last is the last to end
        both.wait()
        if threading.current_thread().name == "last":
            ended.wait(60)
        return read_hole(path, *rest, **options)

    monkeypatch.setattr(own, "read_hole", in_turn)
    before = list(warnings.filters)
    last = threading.Thread(target=masks.read, args=(0,), name="last")

    with ThreadPoolExecutor() as pool:
        reading = pool.submit(masks.read, 0)
        last.start()
        assert not reading.result().any()
    ended.set()
    last.join()
    assert warnings.filters == before


@pytest.mark.parametrize("folder", ["data", "data/masks/train", "."])
def test_a_folder_that_the_pipeline_writes_to_is_refused(project, folder):
    (project / "data/masks/train").mkdir(parents=True)
    with pytest.raises(MaskError, match=r"masks\.folder: .* the project's data/"):
        write_masks(params(folder=folder))


def test_a_folder_without_masks_is_refused(project):
    with pytest.raises(MaskError, match=r"masks\.folder: no folder"):
        write_masks(params())
    (project / "mine").mkdir()
    with pytest.raises(MaskError, match=r"masks\.folder: none of the 0 masks in .* is left for train"):
        write_masks(params())
