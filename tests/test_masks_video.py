"""Masks from films: what is found of a known occlusion, films and their splits, and what is no film."""

import numpy as np
import pytest

from pconv.data.decoding import write_image
from pconv.masks.convention import MaskError, border_share
from pconv.masks.files import read_hole, read_index
from pconv.masks.sets import write_masks
from pconv.masks.video import SEEN, find_frames, flow, occlusion
from pconv.params import Params
from pconv.project import mask_folder
from pconv.studies.masks import scene, score, write_films


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return an empty project, which is the working directory."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    SEEN.clear()
    return tmp_path


def params(seed=0, **masks):
    masks = {"source": "video", "folder": "films", "train": 6, "val": 2, "test": 1} | masks
    return Params.model_validate({"seed": seed, "data": {"size": 32}, "masks": masks, "model": {"depth": 4}})


def film(folder, count, names="{}.png"):
    """Write a film of one colour; only the names of its frames matter."""
    folder.mkdir(parents=True)
    for number in range(count):
        write_image(folder / names.format(number), np.full((24, 32, 3), number, np.uint8))


def test_most_of_a_known_occlusion_is_found():
    found = score(scene(np.random.default_rng(seed), 256) for seed in range(4))
    assert found["recall"] > 0.7 and found["precision"] > 0.35, found  # chance: the share of hidden pixels, 2 %


def test_flow_is_that_of_a_moved_picture():
    (first, _), _ = scene(np.random.default_rng(0), 128)
    moved = np.roll(first, (3, 5), (0, 1))
    middle = flow(first, moved)[30:-30, 30:-30]
    assert np.median(middle[..., 0]) == pytest.approx(5, abs=0.2)
    assert np.median(middle[..., 1]) == pytest.approx(3, abs=0.2)


def test_nothing_is_hidden_where_nothing_moves():
    (first, _), _ = scene(np.random.default_rng(0), 128)
    assert not occlusion(first, first).any()


def test_what_leaves_the_picture_does_not_count():
    (first, _), _ = scene(np.random.default_rng(0), 128)
    assert occlusion(first[:, :-8], first[:, 8:])[:, :8].mean() < 0.2


def test_the_truth_of_a_scene_is_where_the_object_comes_to_lie():
    for seed in range(5):
        one = scene(np.random.default_rng(seed), 96)
        for (first, second), hidden in zip((one.frames, one.frames[::-1]), one.hidden, strict=True):
            assert 0 < hidden.mean() < 0.2
            assert (first[hidden == 1] != second[hidden == 1]).mean() > 0.8  # something else is there in the other


def test_every_bin_is_filled(project):
    for split in ("train", "val", "test"):
        write_films(project / "films" / split, 0, 3, 96)
    write_masks(params())
    counts = read_index("test").groupby(["bin", "border"]).size()
    assert len(counts) == 12 and (counts == 1).all()
    for row in read_index("test").itertuples():
        hole = read_hole(mask_folder("test") / row.file)
        assert border_share(hole, row.border) == 0 if row.border else border_share(hole, 1) > 0
    first = [read_hole(mask_folder("train") / name).tobytes() for name in read_index("train")["file"]]
    assert len(set(first)) == 6
    SEEN.clear()
    write_masks(params(train=7))
    assert [read_hole(mask_folder("train") / name).tobytes() for name in read_index("train")["file"]][:6] == first


def test_neighbours_in_time_stay_in_one_split(project):
    film(project / "films/a", 41)
    film(project / "films/b", 3)
    pairs = {split: set(find_frames(params(), split).pairs) for split in ("train", "val", "test")}
    numbers = {split: sorted(int(pair[0].split("/")[1][:-4]) for pair in some) for split, some in pairs.items()}
    assert numbers == {"train": sorted([*range(36), 0, 1]), "val": [36, 37], "test": [38, 39]}


def test_frames_come_in_the_order_of_their_numbers(project):
    film(project / "films/a", 13)
    pairs = [pair for split in ("train", "val", "test") for pair in find_frames(params(), split).pairs]
    assert set(pairs) == {(f"a/{n}.png", f"a/{n + 1}.png") for n in range(12)}


@pytest.mark.parametrize("count, split", [(1, "train"), (2, "val"), (3, "test")])
def test_a_film_that_is_too_short_is_refused(project, count, split):
    film(project / "films/a", count)
    with pytest.raises(MaskError, match=rf"holds {count} frames, and no pair of them is left for {split}.*ffmpeg"):
        find_frames(params(), split)


def test_a_film_in_which_nothing_moves_is_refused(project):
    film(project / "films/a", 12)
    for number in range(12):
        write_image(project / f"films/a/{number}.png", np.full((24, 32, 3), 9, np.uint8))
    with pytest.raises(MaskError, match=r"masks\.folder: .*pairs of frames to train: train mask 0 .*that moves"):
        write_masks(params())


def test_frames_of_different_sizes_and_damaged_ones_are_named(project):
    film(project / "films/a", 12)
    write_image(project / "films/a/3.png", np.zeros((30, 30, 3), np.uint8))
    with pytest.raises(MaskError, match=r"masks\.folder: .*: frames of different sizes"):
        write_masks(params())
    (project / "films/a/3.png").write_bytes(b"404")
    with pytest.raises(MaskError, match=r"masks\.folder: .*3\.png: not an image"):
        write_masks(params())
