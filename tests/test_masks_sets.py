"""The masks of a project: what is drawn, what depends on what, and what is not the pipeline's."""

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from pconv.masks.convention import BINS, MaskError, bin_name, border_share, find_bin
from pconv.masks.drawing import draw_hole, hole_rng
from pconv.masks.files import read_hole, read_index, write_hole
from pconv.masks.recipes import recipes
from pconv.masks.sets import summarise, write_masks
from pconv.params import Params
from pconv.project import mask_folder

ROOT = Path(__file__).parents[1]
SMALL = {"data": {"size": 32}, "masks": {"train": 12, "val": 3, "test": 2}, "model": {"depth": 4}}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return an empty project, which is the working directory."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hole():
    return draw_hole(hole_rng(0, "test", 0), 40, 0.2, 0.3)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_processes_that_draw_masks_start_without_pytorch():
    """Importing it takes each of them seconds, more than drawing its share of the masks."""
    code = "import sys, pconv.masks.sets; print([name for name in ('torch', 'matplotlib') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


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
    params = Params.model_validate(SMALL)
    write_masks(params)
    summary = summarise(params)
    assert [summary[split]["count"] for split in ("train", "val", "test")] == [12, 3, 24]
    assert sum(summary["train share"].values()) == pytest.approx(1)
    assert summary["test constrained"] == {"masks_touching": 0, "hole_share_of_border": 0}
    assert summary["test touching"]["masks_touching"] == 1 and summary["test touching"]["hole_share_of_border"] > 0
    for low, high in BINS:
        for group in ("touching", "constrained"):
            row = summary[f"test {group} {bin_name((low, high))}"]
            assert row["count"] == 2 and low < row["min"] <= row["mean"] <= row["max"] <= high


@pytest.mark.parametrize("source, spacing", [("grid2", 2), ("grid4", 4)])
def test_grids_begin_anywhere_in_training_and_in_one_place_in_the_test(project, source, spacing):
    values = SMALL | {"masks": {"source": source, "train": 200, "val": 3, "test": 5}}
    params = Params.model_validate(values)
    write_masks(params)
    starts = {}
    for split, count in (("train", 200), ("val", 3), ("test", 5)):
        index = read_index(split)
        assert len(index) == count
        assert set(index["hole_ratio"]) == {1 - 1 / spacing**2} and set(index["bin"]) == {f"{1 - 1 / spacing**2:g}"}
        holes = [read_hole(mask_folder(split) / name) for name in index["file"]]
        starts[split] = [tuple(np.argwhere(hole == 0)[0].tolist()) for hole in holes]
        for hole, (row, column) in zip(holes, starts[split], strict=True):
            known = np.zeros((32, 32), bool)
            known[row::spacing, column::spacing] = True
            assert np.array_equal(hole == 0, known)
    assert set(starts["train"]) == {(row, column) for row in range(spacing) for column in range(spacing)}
    assert len(set(starts["test"])) == 1
    assert summarise(params)["test"]["count"] == 5 and "test touching" not in summarise(params)


def test_a_bin_is_that_of_the_ratio_or_the_ratio_itself(project):
    write_masks(Params.model_validate(SMALL | {"masks": {"source": "grid2", "train": 1, "val": 1, "test": 1}}))
    path = mask_folder("test") / "index.csv"
    path.write_text(path.read_text().replace(",0.75,0.75,", ",0.75,0.5-0.6,"))
    with pytest.raises(MaskError, match="outside the bins"):
        read_index("test")


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


def interrupt(monkeypatch, params, calls, change):
    """Draw masks until a `change`, replace or unlink, was made of so many files."""
    original, left = getattr(Path, change), [calls]

    def interrupted(path, *args, **options):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return original(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, change, interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_masks(params)


@pytest.mark.parametrize("change", ["replace", "unlink"])
@pytest.mark.parametrize("calls", [0, 3, 12, 13, 14, 20, 30])
@pytest.mark.parametrize("again", [None, 0, 2, 12, 13, 14, 20])
def test_interrupted_at_any_moment_the_next_run_gives_the_same(project, monkeypatch, hole, calls, again, change):
    """Also when it has other parameters, and is interrupted as well: no mask is taken for somebody else's."""
    params = Params.model_validate(SMALL)
    write_masks(params)
    expected = contents(project / "data")
    interrupt(monkeypatch, params.model_copy(update={"seed": 1}), calls, change)
    if again is not None:
        interrupt(monkeypatch, params.model_copy(update={"seed": 2}), again, change)
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
    command = f"{shlex.quote(sys.executable)} draw.py"
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
