"""Where photographs come from, and which split each falls to: nothing is mixed or passed over in silence."""

import errno
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from photographs import photographs
from PIL import Image

from pconv.data import sources
from pconv.data.decoding import ImageError, read_image
from pconv.data.sources import TABLE, find_photographs, packaged_photographs, remove_unpacked, unpack
from pconv.project import SPLITS


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Return an empty project, which is the working directory."""
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def empty(folder, *names):
    """Files without content: their names are all that counts here."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


# Packages


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
    monkeypatch.setattr(sources, "TABLE", tmp_path / "index.csv")
    sources.TABLE.write_text(TABLE.read_text().replace("data/astronaut.png", "data/gone.png"))
    with pytest.raises(ImageError, match=r"skimage does not bring .*data/gone\.png; install the versions in requirem"):
        unpack("train", tmp_path / "train")


# Splits


def test_named_subfolders_are_the_splits(project):
    names = ("train/a.png", "train/deep/er/b.JPG", "val/c.bmp", "test/d.tiff", "other/e.png", "f.png")
    found = find_photographs(empty(project / "mine", *names))
    assert found.splits == {
        "train": ["train/a.png", "train/deep/er/b.JPG"],
        "val": ["val/c.bmp"],
        "test": ["test/d.tiff"],
    }
    assert (found.beside, found.again) == (2, [])


@pytest.mark.parametrize(
    "names",
    [
        ("training", "validation", "testing"),
        ("Train", "VALID", "Test"),
        ("train2017", "val2017", "test2017"),
        ("images_train", "images-dev", "images (test)"),
        ("cocoTrain", "valset", "TESTDATA"),
    ],
)
def test_other_spellings_are_understood_and_told(project, names):
    found = find_photographs(empty(project / "mine", *(f"{name}/a.png" for name in names), "more/b.png"))
    assert found.splits == {split: [f"{name}/a.png"] for split, name in zip(SPLITS, names, strict=True)}
    assert found.folders == dict(zip(SPLITS, names, strict=True))


@pytest.mark.parametrize(
    "names, said",
    [
        (
            ("train", "val"),
            "holds train and val but no folder for test; name the splits train, val and test, or rename",
        ),
        (("train", "test", "more"), "holds test and train but no folder for val; "),
        (("Training",), "holds Training but no folder for val, test; "),
        (("train", "val", "valid", "test"), "but more than one for val; "),
        (("train_val", "test"), "but no folder for train, val; "),
        (("train_test", "val"), "but no folder for train, test; "),
        (
            ("a/train2017", "a/val2017", "b"),
            "mine/a holds train2017 and val2017, which look like splits; set data.folder",
        ),
    ],
)
def test_what_looks_like_splits_but_is_none_is_refused(project, names, said):
    folder = empty(project / "mine", *(f"{name}/{n}.png" for name in names for n in range(40)))
    with pytest.raises(ImageError) as caught:
        find_photographs(folder)
    assert str(caught.value).startswith(f"data.folder: {folder}") and said in str(caught.value)


def test_other_words_are_no_splits(project):
    names = ("trains", "valley", "testimony", "evaluate", "Contest", "set/train")
    found = find_photographs(empty(project / "mine", *(f"{name}/{n}.png" for name in names for n in range(40))))
    assert found.folders == {} and sum(map(len, found.splits.values())) == 240 and found.beside == 0


def test_other_folders_are_split_by_hash(project):
    folder = empty(project / "elsewhere", *(f"{'ab'[n % 2]}/{n}.png" for n in range(300)))
    before = find_photographs(folder).splits
    counts = [len(before[split]) for split in SPLITS]
    assert sum(counts) == 300 and 250 < counts[0] < 290 and min(counts) > 4
    assert len({name for names in before.values() for name in names}) == 300

    after = find_photographs(empty(folder, *(f"more{n}.png" for n in range(100)))).splits
    assert all(set(before[split]) < set(after[split]) for split in SPLITS)
    moved = find_photographs(folder.rename(project / "moved")).splits
    assert moved == after


# Folders


def test_a_folder_that_is_not_there_is_named(project):
    empty(project, "file.png")
    for folder in (project / "nowhere", project / "file.png", project / ("x" * 300), project / "a\0b"):
        with pytest.raises(ImageError, match=r"^data\.folder: no folder .*: an absolute path is"):
            find_photographs(folder)


@pytest.mark.parametrize("inside", ["data", "data/images", "data/mine/deep", "link"])
def test_a_folder_inside_the_projects_data_is_refused(project, inside):
    (project / "link").symlink_to(project / "data" / "linked")
    (project / "data" / "linked").mkdir()
    (project / inside).mkdir(parents=True, exist_ok=True)
    with pytest.raises(
        ImageError, match=r"^data\.folder: .* lies in the project's data/, .*; move the photographs out"
    ):
        find_photographs(project / inside)


@pytest.mark.parametrize("above", [".", ".."])
def test_a_folder_above_the_projects_data_is_refused(project, above):
    with pytest.raises(
        ImageError, match=r"^data\.folder: .* contains the project's data/, .*; move the photographs into"
    ):
        find_photographs(project / above)


def test_links_are_followed_but_into_no_folder_twice(project, tmp_path_factory):
    away = empty(tmp_path_factory.mktemp("away"), "a.png", "deep/b.png")
    folder = empty(project / "mine", "z/c.png")
    (folder / "a").symlink_to(folder / "z")
    (folder / "away").symlink_to(away)
    (folder / "z" / "up").symlink_to(folder)
    (folder / "z" / "self").symlink_to("self")
    (folder / "own").symlink_to(project / "data")
    (folder / "link.png").symlink_to(away / "a.png")
    (away / "back").symlink_to(folder)
    found = find_photographs(folder)
    names = sorted(name for names in found.splits.values() for name in names)
    assert names == ["away/a.png", "away/deep/b.png", "link.png", "z/c.png"]
    assert found.again == ["a", "away/back", "own", "z/up"]


def test_hidden_files_and_what_is_no_photograph_are_passed_over(project):
    folder = empty(
        project / "mine", "a.png", ".hidden/b.png", "._a.png", ".c.png", "notes.txt", "album.jpg/d.png", "png"
    )
    names = [name for names in find_photographs(folder).splits.values() for name in names]
    assert sorted(names) == ["a.png", "album.jpg/d.png"]


def test_a_folder_that_cannot_be_read_is_named(project, monkeypatch):
    folder = photographs(project / "mine", "a.png", "closed/b.png")

    def scandir(path, scan=os.scandir):
        if Path(path).name == "closed":  # permissions do not stop root, who may run the tests
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scan(path)

    monkeypatch.setattr(sources.os, "scandir", scandir)
    with pytest.raises(
        ImageError, match=r"^data\.folder: .*mine/closed: Permission denied; make it readable, or move it"
    ):
        find_photographs(folder)


def test_any_name_survives(project):
    names = ["new\nline.png", "tab\t.png", 'quote".png', "comma,.png", os.fsdecode(b"latin-\xf6.png"), "\x1b[31m.png"]
    found = find_photographs(empty(project / "mine", *names))
    assert sorted(name for names in found.splits.values() for name in names) == sorted(names)
