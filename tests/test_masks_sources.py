"""The table of sources: that it agrees with the parameters, exact bins, and the example of docs/extending.md."""

import re
import subprocess
import sys
from typing import get_args

import pytest
from repository import package_with_example

from pconv.masks import sets
from pconv.masks.convention import BINS, border_share, border_width
from pconv.masks.drawing import hole_rng
from pconv.masks.files import read_hole, read_index
from pconv.masks.recipes import Task, recipes
from pconv.masks.sets import summarise, write_masks
from pconv.masks.sources import SOURCES
from pconv.params import Masks, MaskSource, Params
from pconv.project import mask_folder


def test_parameters_and_table_name_the_same_sources():
    assert set(get_args(MaskSource)) == set(SOURCES)


@pytest.mark.parametrize("source", ["drawn", "strokes"])
def test_a_hole_is_as_its_recipe_says(source):
    for border in ("free", "forced"):
        for index, recipe in enumerate(recipes(Masks(source=source, test=1, border=border), "test", 64)):
            hole = SOURCES[source](Task(hole_rng(0, "test", index), 64, "test", index, recipe, None))
            assert recipe.low < hole.mean() <= recipe.high
            assert border_share(hole, recipe.border) == 0 if recipe.border else True
            assert not recipe.touch or border_share(hole, 1) > 0


def test_without_constraint_is_free_or_forced():
    for border, touch in (("free", False), ("forced", True)):
        planned = recipes(Masks(test=2, border=border), "test", 128)
        assert [(r.border, r.touch) for r in planned[:4]] == [(0, touch)] * 2 + [(border_width(128), False)] * 2
        assert len(planned) == 2 * 2 * len(BINS)


def test_the_papers_sets_are_as_large_as_the_papers():
    masks = Masks(border="free")
    assert len(recipes(masks, "train", 512)) == 55_116 and len(recipes(masks, "test", 512)) == 12_000


def values(**masks):
    return {"data": {"size": 32}, "masks": {"train": 70, "val": 3, "test": 2} | masks, "model": {"depth": 4}}


def written():
    return {path.name: path.read_bytes() for path in mask_folder("train").iterdir()}


def test_all_cores_draw_what_one_draws(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    params = Params.model_validate(values(source="strokes"))
    write_masks(params, cores=1)
    one = written()
    monkeypatch.setattr(sets, "MANY", 50)
    write_masks(params, cores=2)
    assert written() == one and len(one) == 71


def test_free_masks_are_summarised_under_their_own_name(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    params = Params.model_validate(values(border="free", test=8))
    write_masks(params)
    summary = summarise(params)
    assert 0 < summary["test free"]["masks_touching"] < 1 and "test touching" not in summary


def test_files_of_others_are_named_as_not_used(tmp_path, monkeypatch, capsys):
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    mask_folder("train").mkdir(parents=True)
    (mask_folder("train") / "mine.png").touch()
    write_masks(Params.model_validate(values()))
    said = capsys.readouterr().err
    assert re.search(r"masks/train: 1 files that the pipeline did not make are not used; .*masks\.folder", said)


def test_the_example_of_the_documentation(tmp_path):
    """The documented steps in a copy of the package, then its masks: every bin, both classes, and no two alike."""
    imports = "from pconv.masks.fitting import fit\n"
    source = package_with_example(
        tmp_path, "tests/test_masks_sources.py", "masks/sources.py", imports, "MaskSource", "dots"
    )
    (tmp_path / "dvc.yaml").touch()
    program = PROGRAM.format(values=values(source="dots"))
    command = [sys.executable, "-c", program]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(source), "PATH": ""}, check=True)
    index = read_index_of(tmp_path, "test")
    counts = index.groupby(["bin", "border"]).size()
    assert len(counts) == 12 and (counts == 2).all()
    holes = [read_hole(tmp_path / "data/masks/test" / name) for name in index["file"]]
    assert len({hole.tobytes() for hole in holes}) == 24


PROGRAM = """
from pconv.masks.sets import write_masks
from pconv.params import Params
write_masks(Params.model_validate({values}))
"""


def read_index_of(project, split):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        return read_index(split)
