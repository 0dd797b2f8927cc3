"""Holes: their ratios and borders, that they depend on seed and number alone, and how they look on disk."""

import random
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from ruamel.yaml import YAML

from pconv.masks import drawing
from pconv.masks.convention import (
    BINS,
    MaskError,
    bin_name,
    border_share,
    border_width,
    check_binary,
    dilate,
    find_bin,
    hole_ratio,
    hole_to_mask,
    mask_to_hole,
)
from pconv.masks.drawing import draw_hole, draw_shapes, hole_rng
from pconv.masks.files import read_hole, read_index, write_hole
from pconv.masks.sets import recipes, summarise, write_masks
from pconv.params import Params
from pconv.project import mask_folder

ROOT = Path(__file__).parents[1]
SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(16, 160) | st.sampled_from([256, 512])
SMALL = {"data": {"size": 32}, "masks": {"train": 12, "val": 3, "test": 2}, "model": {"depth": 4}}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project, which is the working directory."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hole():
    return draw_hole(hole_rng(0, "test", 0), 40, 0.2, 0.3)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Drawing


@settings(max_examples=200, deadline=None)
@given(SEEDS, SIZES, st.sampled_from(BINS), st.booleans())
def test_ratio_and_border_of_a_test_mask(seed, size, bounds, constrained):
    border = border_width(size) if constrained else 0
    hole = draw_hole(np.random.default_rng(seed), size, *bounds, border, touch=not constrained)
    assert hole.shape == (size, size) and hole.dtype == np.uint8 and set(np.unique(hole)) == {0, 1}
    assert bounds[0] < hole.sum() / size**2 <= bounds[1]
    if constrained:
        rows, columns = np.nonzero(hole)
        assert min(rows.min(), columns.min()) >= border
        assert max(rows.max(), columns.max()) < size - border
    else:
        assert np.concatenate([hole[0], hole[-1], hole[:, 0], hole[:, -1]]).any()


@settings(max_examples=100, deadline=None)
@given(SEEDS, SIZES, st.floats(0, 0.99), st.floats(1e-3, 0.3))
def test_any_range_that_holds_a_number_of_pixels_is_met(seed, size, low, width):
    high = min(low + width, 1.0)
    if int(high * size**2) <= int(low * size**2) + 1:
        return
    ratio = draw_hole(np.random.default_rng(seed), size, low, high).sum() / size**2
    assert low < ratio <= high


@pytest.mark.parametrize("size", [16, 64, 512])
def test_an_almost_full_picture_ends_too(size):
    hole = draw_hole(np.random.default_rng(0), size, 1 - 0.5 / size**2, 1.0)
    assert hole.sum() == size**2


def test_growing_reaches_the_count_exactly(monkeypatch):
    monkeypatch.setattr(drawing, "MOST_SHAPES", 0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert draw_hole(rng, 32, 0.3, 0.30098).sum() == 308  # of 1024 px
        small = draw_hole(rng, 32, 0.002, 0.003, touch=True)
        assert small.sum() == 3 and border_share(small, 1) > 0


def test_what_cannot_be_drawn_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(MaskError, match=r"no hole of 0.5 to 0.6 fits 64 x 64 px with 12 px"):
        draw_hole(rng, 64, 0.5, 0.6, border=12)
    with pytest.raises(MaskError, match="no hole of 0.3 to 0.2"):
        draw_hole(rng, 64, 0.3, 0.2)
    with pytest.raises(MaskError, match="no hole of 0.5 to 0.6"):
        draw_hole(rng, 64, 0.5, 0.6, border=40)
    for border, touch in ((5, True), (-1, False)):
        with pytest.raises(MaskError, match="border"):
            draw_hole(rng, 64, 0.1, 0.2, border, touch)


@pytest.mark.parametrize(
    "size, low, high, border, message",
    [
        (0, 0.1, 0.2, 0, "0 px a side: at least 1"),
        (-8, 0.1, 0.2, 0, "-8 px a side"),
        (64, float("nan"), 0.2, 0, "no hole of nan to 0.2"),
        (64, 0.1, float("nan"), 0, "no hole of 0.1 to nan"),
        (64, 0.1, float("inf"), 0, "no hole of 0.1 to inf"),
        (64, -0.1, 0.2, 0, "no hole of -0.1 to 0.2"),
        (64, 0.1, 1.1, 0, "from 0 to 1"),
        (64, 0.2, 0.2, 0, "the lower one first"),
        (64, 0.1, 0.2, 10**9, "no hole of 0.1 to 0.2 fits 64 x 64 px with 1000000000 px"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(size, low, high, border, message):
    with pytest.raises(MaskError, match=message):
        draw_hole(np.random.default_rng(0), size, low, high, border)


def test_so_are_those_of_what_stands_around_drawing():
    rng, hole = np.random.default_rng(0), np.zeros((8, 8), np.uint8)
    for call, message in (
        (lambda: draw_shapes(rng, 0), "0 px a side"),
        (lambda: draw_shapes(rng, 8, -1), "count = -1"),
        (lambda: hole_rng(-1, "train", 0), "seed -1, mask 0: neither can be below 0"),
        (lambda: hole_rng(0, "train", -1), "seed 0, mask -1"),
        (lambda: dilate(hole, 0), "a width of 0 px"),
        (lambda: border_share(hole, 0), "a width of 0 px"),
    ):
        with pytest.raises(MaskError, match=message):
            call()


def test_training_ratios_are_spread_evenly():
    ratios = [draw_hole(hole_rng(0, "train", i), 64, 0.01, 0.6).mean() for i in range(1200)]
    counts, _ = np.histogram(ratios, np.linspace(0.01, 0.6, 7))
    assert counts.min() > 150 and counts.max() < 250  # 200 each; four standard deviations are 52
    assert 0.01 < min(ratios) and max(ratios) <= 0.6


def test_counted_shapes_pile_up_as_in_pconv_keras():
    ratios = np.array([draw_shapes(hole_rng(0, "train", i), 512).mean() for i in range(400)])
    assert ((ratios > 0.1) & (ratios <= 0.4)).mean() > 0.8
    assert (ratios > 0.5).mean() < 0.02


def test_more_shapes_make_a_larger_hole():
    few, many = (np.mean([draw_shapes(np.random.default_rng(i), 128, n).mean() for i in range(20)]) for n in (2, 12))
    assert 0 < few < many < 1
    assert draw_shapes(np.random.default_rng(0), 64, 0).sum() == 0


def test_all_three_kinds_of_shape_are_drawn(monkeypatch):
    drawn = []
    for name in ("line", "circle", "ellipse"):
        monkeypatch.setattr(cv2, name, lambda *_, name=name: drawn.append(name))
    draw_shapes(np.random.default_rng(0), 64, 5)
    assert [drawn.count(name) for name in ("line", "circle", "ellipse")] == [5, 5, 5]


@pytest.mark.parametrize("size, width", [(512, 50), (256, 25), (128, 12), (1024, 100), (16, 2)])
def test_border_width_is_50_px_at_512(size, width):
    assert border_width(size) == width


def test_dilation_by_hand():
    hole = np.zeros((9, 9), np.uint8)
    hole[4, 4] = 1
    assert dilate(hole, 1).sum() == 1
    assert dilate(hole, 3).sum() == 9 and dilate(hole, 3)[3:6, 3:6].all()
    assert dilate(hole, 5).sum() == 25


def test_border_share_by_hand():
    hole = np.zeros((10, 10), np.uint8)
    hole[0, :6] = hole[5, 5] = 1
    assert border_share(hole, 1) == 6 / 36
    assert border_share(hole, 2) == 6 / 64
    assert border_share(hole, 5) == 7 / 100


# What a mask depends on


def test_a_mask_is_a_function_of_seed_split_and_number():
    def draw(seed=5, split="train", index=3):
        return draw_hole(hole_rng(seed, split, index), 64, 0.1, 0.5)

    first = draw()
    [draw(index=i) for i in (9, 1)]
    assert np.array_equal(first, draw())
    for other in (draw(seed=6), draw(split="val"), draw(index=4)):
        assert not np.array_equal(first, other)


def test_a_mask_stays_what_it_was():
    """Another drawing here means other masks, and other results, for every run: only ever on purpose."""
    hole = draw_hole(hole_rng(0, "train", 1), 16, 0.01, 0.6)
    assert ["".join(".#"[pixel] for pixel in row) for row in hole] == [
        "#..#...#.##.....",
        "##....#...###...",
        "##.####..#......",
        ".#...#.######...",
        ".#...#.#...#.###",
        "..#..##...###...",
        "...###.....#....",
        "...#.#..........",
        "..#...##........",
        ".#......##....#.",
        "#......##....###",
        "......#.......#.",
        "##..##..........",
        "####.##.........",
        ".#.....###......",
        "......###.......",
    ]


def global_state():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def test_no_global_random_state():
    before = global_state()
    hole = draw_hole(hole_rng(0, "train", 0), 64, 0.1, 0.2)
    draw_shapes(hole_rng(0, "train", 0), 64)
    assert global_state() == before
    random.seed(1)
    np.random.seed(1)
    assert np.array_equal(draw_hole(hole_rng(0, "train", 0), 64, 0.1, 0.2), hole)


def test_an_unknown_split_is_refused():
    with pytest.raises(MaskError, match="'training': masks are drawn for train, val, test"):
        hole_rng(0, "training", 0)


# Bins


def test_bins_are_the_papers():
    assert [bin_name(b) for b in BINS] == ["0.01-0.1", "0.1-0.2", "0.2-0.3", "0.3-0.4", "0.4-0.5", "0.5-0.6"]


@pytest.mark.parametrize("low, high", BINS)
def test_a_bin_leaves_out_its_low_end_and_keeps_its_high_end(low, high):
    assert find_bin(high) == bin_name((low, high))
    assert find_bin(np.nextafter(low, 1)) == bin_name((low, high))
    if low == 0.01:
        with pytest.raises(MaskError, match=r"0\.01"):
            find_bin(low)
    else:
        assert find_bin(low) != bin_name((low, high))


@pytest.mark.parametrize("ratio", [0.0, 0.6000001, 1.0, float("nan")])
def test_ratios_outside_the_bins_are_refused(ratio):
    with pytest.raises(MaskError, match="outside the bins"):
        find_bin(ratio)


@pytest.mark.parametrize("low, high", BINS)
def test_bins_end_exactly_at_their_edges(low, high):
    """At 100 px the edges of the bins are whole numbers of pixels."""
    counts = {int(draw_hole(np.random.default_rng(s), 100, high - 2e-4, high).sum()) for s in range(12)}
    assert counts == {round(high * 10_000) - 1, round(high * 10_000)}


# The two conventions


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


def test_a_mask_is_1_where_valid(hole):
    mask = hole_to_mask(hole)
    assert mask.shape == (1, 40, 40) and mask.dtype == torch.float32
    assert np.array_equal(mask[0].numpy() == 0, hole == 1) and np.array_equal(mask[0].numpy() == 1, hole == 0)
    assert torch.equal(mask, hole_to_mask(hole.astype(bool)))
    assert mask_to_hole(mask).dtype == np.uint8


def test_a_hole_is_lighter_than_the_middle(tmp_path):
    """At 8 and at 16 bits; what else a mask file may be: benchmarks/hostile/masks.py, which test_robustness runs."""
    grey = np.full((1, 40), 255, np.uint8)
    grey[0, :20] = 0
    grey[0, 18:22] = (127, 128, 127, 128)
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 256).save(tmp_path / "16.png")
    for name in ("8", "16"):
        assert np.array_equal(read_hole(tmp_path / f"{name}.png"), grey > 127)


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


@pytest.mark.parametrize("bad", [torch.ones(4, 4), torch.ones(3, 4, 4), torch.full((1, 4, 4), 0.5)])
def test_what_is_no_mask_is_refused(bad):
    with pytest.raises(MaskError, match="a mask"):
        mask_to_hole(bad)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float32])
def test_a_binary_mask_may_be_of_any_type(dtype):
    check_binary(torch.eye(3).to(dtype))


def test_hole_ratio_counts_holes():
    batch = torch.ones(3, 1, 10, 10)
    batch[1, 0, :3] = 0
    batch[2] = 0
    assert hole_ratio(batch).tolist() == pytest.approx([0, 0.3, 1])
    with pytest.raises(MaskError, match=r"\(N, 1, H, W\)"):
        hole_ratio(batch[0])


# The masks of a project


def test_test_masks_fill_every_bin_with_and_without_constraint():
    planned = recipes(Params.model_validate(SMALL).masks, "test", 128)
    assert len(planned) == 6 * 2 * 2
    for bounds in BINS:
        group = [(r.border, r.touch) for r in planned if (r.low, r.high) == bounds]
        assert group == [(0, True)] * 2 + [(12, False)] * 2


def test_index_and_files_agree(project):
    write_masks(Params.model_validate(SMALL))
    for split, count in (("train", 12), ("val", 3), ("test", 24)):
        index = read_index(split)
        assert list(index.columns) == ["file", "hole_ratio", "bin", "border"]
        assert sorted(p.name for p in mask_folder(split).glob("*.png")) == list(index["file"])
        assert len(index) == count
        for row in index.itertuples():
            with Image.open(mask_folder(split) / row.file) as picture:
                white = np.asarray(picture)
            assert white.shape == (32, 32) and white.mean() == row.hole_ratio
            assert find_bin(row.hole_ratio) == row.bin
            assert (border_share(white.astype(np.uint8), 3) == 0) == (row.border == 3) or split != "test"
    counts = read_index("test").groupby(["bin", "border"]).size()
    assert len(counts) == 12 and (counts == 2).all() and set(read_index("test")["border"]) == {0, 3}


def test_same_seed_same_bytes_and_more_masks_change_no_earlier_one(project):
    params = Params.model_validate(SMALL)
    write_masks(params)
    first = contents(project / "data")
    write_masks(params)
    assert contents(project / "data") == first

    write_masks(Params.model_validate(SMALL | {"masks": {"train": 20, "val": 3, "test": 2}}))
    more = contents(project / "data")
    assert all(more[name] == first[name] for name in first if name.endswith(".png"))

    write_masks(Params.model_validate(SMALL | {"seed": 1}))
    other = contents(project / "data")
    assert not any(other[name] == first[name] for name in first)


def test_each_file_can_be_drawn_alone(project):
    params = Params.model_validate(SMALL)
    write_masks(params)
    for split, number in (("train", 11), ("val", 0), ("test", 17)):
        recipe = recipes(params.masks, split, 32)[number]
        alone = draw_hole(hole_rng(0, split, number), 32, *recipe)
        assert np.array_equal(alone, read_hole(mask_folder(split) / f"{number:05d}.png"))


def test_summary(project):
    write_masks(Params.model_validate(SMALL))
    summary = summarise()
    assert [summary[split]["count"] for split in ("train", "val", "test")] == [12, 3, 24]
    assert sum(summary["train share"].values()) == pytest.approx(1)
    assert summary["test constrained"] == {"masks_touching": 0, "hole_share_of_border": 0}
    assert summary["test touching"]["masks_touching"] == 1 and summary["test touching"]["hole_share_of_border"] > 0
    for low, high in BINS:
        for group in ("touching", "constrained"):
            row = summary[f"test {group} {bin_name((low, high))}"]
            assert row["count"] == 2 and low < row["min"] <= row["mean"] <= row["max"] <= high


def test_an_index_that_is_missing_is_named(project):
    with pytest.raises(MaskError, match=r"index\.csv: no such file; `dvc repro masks`"):
        read_index("train")


def test_an_index_that_is_none_is_named(project):
    write_masks(Params.model_validate(SMALL))
    path = mask_folder("train") / "index.csv"
    for content in (b"", b"a,b\n1,2\n", b"file,hole_ratio,bin,border\n00000.png,,0.1-0.2,0\n", b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(MaskError, match=r"train/index\.csv: not an index of masks.*delete it"):
            read_index("train")


# What is not the pipeline's


def test_files_of_others_stay_and_masks_of_an_earlier_run_go(project, hole):
    write_masks(Params.model_validate(SMALL))
    for name in ("train/mine.png", "mine/00000.png", "train/notes/a.txt", "test/99999.png"):
        (project / "data/masks" / name).parent.mkdir(exist_ok=True)
        write_hole(project / "data/masks" / name, hole)
    before = contents(project / "data")
    write_masks(Params.model_validate(SMALL | {"seed": 1, "masks": {"train": 5, "val": 3, "test": 2}}))
    after = contents(project / "data")
    for name in ("train/mine.png", "mine/00000.png", "train/notes/a.txt", "test/99999.png"):
        assert after[f"masks/{name}"] == before[f"masks/{name}"]
    assert sum(name.startswith("masks/train/0") for name in after) == 5
    assert list(read_index("train")["file"]) == [f"{n:05d}.png" for n in range(5)]


@pytest.mark.parametrize("drawn", [True, False], ids=["put over a mask", "put into an empty folder"])
def test_a_file_of_others_in_the_way_is_refused_before_anything_is_drawn(project, hole, drawn):
    params = Params.model_validate(SMALL)
    if drawn:
        write_masks(params)
    mask_folder("test").mkdir(parents=True, exist_ok=True)
    write_hole(mask_folder("test") / "00003.png", hole)
    before = contents(project)
    with pytest.raises(MaskError, match=r"test/00003\.png: in the way .* not drawn by the pipeline; move it"):
        write_masks(params.model_copy(update={"seed": 1}))
    assert contents(project) == before


@pytest.mark.parametrize("calls", [0, 3, 12, 13, 20, 30])
def test_interrupted_at_any_moment_the_next_run_gives_the_same(project, monkeypatch, hole, calls):
    """Also when it has other parameters: it takes no mask of the interrupted run for somebody else's."""
    params = Params.model_validate(SMALL)
    write_masks(params)
    expected = contents(project / "data")
    replace, left = Path.replace, [calls]

    def interrupted(path, target):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_masks(params.model_copy(update={"seed": 1}))
    write_masks(params)
    assert contents(project / "data") == expected


def test_links_into_a_cache_are_replaced(project):
    """DVC can be told to link files into its cache, where other versions share them."""
    params = Params.model_validate(SMALL)
    write_masks(params)
    path, cached = mask_folder("train") / "00000.png", project / "cached"
    path.rename(cached)
    path.symlink_to(cached)
    before = cached.read_bytes()
    write_masks(params.model_copy(update={"seed": 1}))
    assert cached.read_bytes() == before and not path.is_symlink() and path.read_bytes() != before


def test_dvc_leaves_files_of_others_where_the_pipeline_draws(project):
    """With the outputs as dvc.yaml declares them, and a command that draws as notebook 01 does."""
    outs = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]["masks"]["outs"][:3]
    command = f"{sys.executable} draw.py"
    YAML().dump({"stages": {"masks": {"cmd": command, "params": ["seed"], "outs": outs}}}, project / "dvc.yaml")
    YAML().dump({"seed": 0}, project / "params.yaml")
    (project / "draw.py").write_text(DRAW)
    dvc = [sys.executable, "-m", "dvc"]
    for arguments in (["init", "--no-scm", "-q"], ["repro", "-q"]):
        subprocess.run([*dvc, *arguments], check=True)
    first = contents(project / "data")
    (mask_folder("train") / "mine.png").write_bytes(b"mine")
    YAML().dump({"seed": 1}, project / "params.yaml")
    subprocess.run([*dvc, "repro", "-q"], check=True)
    after = contents(project / "data")
    assert after["masks/train/mine.png"] == b"mine"
    assert after.keys() - first.keys() == {"masks/train/mine.png"} and not first.keys() - after.keys()
    assert not any(after[name] == first[name] for name in first)


DRAW = f"""
from ruamel.yaml import YAML
from pathlib import Path
from pconv.masks.sets import write_masks
from pconv.params import Params
write_masks(Params.model_validate({SMALL!r} | YAML(typ="safe").load(Path("params.yaml"))))
"""
