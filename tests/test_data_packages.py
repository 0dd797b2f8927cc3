"""Packaged photographs: each is unpacked into its split, and nothing of the user's is touched."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pconv.data import packages
from pconv.data.decoding import ImageError, read_image
from pconv.data.packages import TABLE, packaged_photographs, remove_unpacked, unpack
from pconv.project import SPLITS


def shipped():
    """Return the rows of the table whose photographs lie in this package."""
    return [row for row in packaged_photographs() if row.package == "pconv"]


def test_every_packaged_photograph_is_unpacked_into_its_split_and_no_other(tmp_path):
    seen = set()
    for split in SPLITS:
        names = unpack(split, tmp_path / split)
        assert [Path(name).stem for name in names] == [row.name for row in packaged_photographs() if row.split == split]
        for name in names:
            image = read_image(tmp_path / split / name)
            assert image.dtype == np.uint8 and image.shape[2] == 3 and min(image.shape[:2]) >= 288
            assert np.ptp(image.astype(int), axis=2).mean() > 2  # grey pictures have three equal channels
            seen.add(image.tobytes())
    assert len(seen) == len(packaged_photographs())


def test_the_test_photographs_are_those_of_earlier_results():
    assert [row.name for row in packaged_photographs() if row.split == "test"] == ["chelsea", "china", "coffee"]


def test_several_photographs_validate():
    assert sum(row.split == "val" for row in packaged_photographs()) >= 4


def test_every_packaged_photograph_has_an_author_an_origin_and_a_licence():
    for row in packaged_photographs():
        assert row.split in SPLITS and all(row) and all(entry == entry.strip() for entry in row), row
    assert len({row.name for row in packaged_photographs()}) == len(packaged_photographs())


def test_shipped_photographs_are_free_of_rights_and_say_where_they_are_from():
    for row in shipped():
        assert row.licence in ("public domain", "CC0 1.0"), row
        assert re.match(r"[a-z-]+ [0-9.]+-[0-9]+ \(Debian\): /usr/share/\S+", row.origin), row
    text = (TABLE.parent / "README.md").read_text()
    for package, count in Counter(row.origin.partition(" (")[0] for row in shipped()).items():
        assert f"| {package} | {count} |" in text


def test_each_shipped_file_has_a_row_and_each_row_a_file():
    files = {f"photographs/{path.name}" for path in TABLE.parent.iterdir()}
    assert files == {row.file for row in shipped()} | {"photographs/index.csv", "photographs/README.md"}
    assert all(Path(row.file).stem == row.name for row in shipped())


def test_shipped_photographs_are_small_and_carry_no_metadata():
    assert len(shipped()) <= 60
    assert sum(path.stat().st_size for path in TABLE.parent.iterdir()) < 3_000_000
    for row in shipped():
        with Image.open(TABLE.parent.parent / row.file) as image:
            assert image.format == "JPEG" and min(image.size) == 288
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_unpacking_leaves_what_others_put_there(tmp_path):
    (mine := tmp_path / "mine.png").write_text("mine")
    unpack("test", tmp_path)
    unpack("test", tmp_path)
    remove_unpacked("test", tmp_path)
    assert list(tmp_path.glob("*.*g")) == [mine] and mine.read_text() == "mine"
    assert not remove_unpacked("test", tmp_path / "new") and (tmp_path / "new").is_dir()


def test_a_file_in_the_way_of_a_packaged_photograph_is_kept_and_named(tmp_path):
    (mine := tmp_path / "coffee.png").write_text("mine")
    with pytest.raises(ImageError, match=r"coffee\.png: in the way of the packaged .*; move it out of .*dvc repro"):
        unpack("test", tmp_path)
    remove_unpacked("test", tmp_path)
    assert mine.read_text() == "mine"


def test_a_package_without_its_photograph_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "TABLE", tmp_path / "index.csv")
    packages.TABLE.write_text(TABLE.read_text().replace("data/astronaut.png", "data/gone.png"))
    with pytest.raises(ImageError, match=r"skimage does not bring .*data/gone\.png; install the versions in requirem"):
        unpack("train", tmp_path / "train")
