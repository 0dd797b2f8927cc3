"""Folders of photographs: which split each falls to, and that nothing is mixed or passed over in silence."""

import errno
import os
import time
from pathlib import Path

import pytest
from photographs import empty, photographs

from pconv.data import folders
from pconv.data.decoding import ImageError
from pconv.data.folders import find_photographs, fingerprint
from pconv.project import SPLITS

pytestmark = pytest.mark.usefixtures("project")


# Splits


def test_named_subfolders_are_the_splits(project):
    names = ("train/a.png", "train/deep/er/b.JPG", "val/c.bmp", "test/d.tiff", "other/e.png", "f.png")
    found = find_photographs(empty(project / "mine", *names))
    assert found.splits == {
        "train": ["train/a.png", "train/deep/er/b.JPG"],
        "val": ["val/c.bmp"],
        "test": ["test/d.tiff"],
    }
    assert found.notes == ("2 photographs lie beside these folders and are not used",)


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
    assert found.notes[0] == "splits: " + ", ".join(f"{split} is {found.folders[split]}/" for split in SPLITS)


@pytest.mark.parametrize(
    "names, said",
    [
        (("val", "test"), "holds test and val but no folder for train; name the splits train, val and test, or rename"),
        (("train", "val", "tset"), "holds train and val but no folder for test; "),
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


@pytest.mark.parametrize("other", ["val", "validation", "test"])
def test_of_two_splits_the_other_is_the_test_set_and_some_of_train_validate(project, other):
    names = [f"train/class{n % 3}/{n}.png" for n in range(200)], [f"{other}/{n}.png" for n in range(5)]
    found = find_photographs(empty(project / "mine", *names[0], *names[1]))
    assert found.splits["test"] == names[1] and found.folders == {"train": "train", "test": other}
    assert sorted(found.splits["train"] + found.splits["val"]) == sorted(names[0])
    assert 1 < len(found.splits["val"]) < 30
    count = len(found.splits["val"])
    assert found.notes == (
        f"splits: train is train/, test is {other}/",
        f"val is {count} of the photographs in train/, chosen by a hash of their paths",
    )


def test_other_words_are_no_splits(project):
    names = ("trains", "valley", "testimony", "evaluate", "Contest", "set/train")
    found = find_photographs(empty(project / "mine", *(f"{name}/{n}.png" for name in names for n in range(40))))
    assert found.folders == {} and sum(map(len, found.splits.values())) == 240 and found.notes == ()


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
    assert [note.rpartition(": ")[2] for note in found.notes] == ["a, away/back, own, z/up"]


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

    monkeypatch.setattr(folders.os, "scandir", scandir)
    with pytest.raises(
        ImageError, match=r"^data\.folder: .*mine/closed: Permission denied; make it readable, or move it"
    ):
        find_photographs(folder)


def test_any_name_survives(project):
    names = ["new\nline.png", "tab\t.png", 'quote".png', "comma,.png", os.fsdecode(b"latin-\xf6.png"), "\x1b[31m.png"]
    found = find_photographs(empty(project / "mine", *names))
    assert sorted(name for names in found.splits.values() for name in names) == sorted(names)


# Changes


def test_a_fingerprint_changes_with_names_sizes_and_times_alone(project):
    folder = photographs(project / "mine", "a.png", "deep/b.png")
    names = ["a.png", "deep/b.png"]
    first = fingerprint(folder, names)
    assert first == fingerprint(folder, names) and first.startswith("2 files ")
    seen = {first}
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes() + b"x")
    seen.add(fingerprint(folder, names))
    os.utime(folder / "deep/b.png", ns=(0, 2**62))
    seen.add(fingerprint(folder, names))
    seen.add(fingerprint(folder, names[:1]))
    (folder / "a.png").unlink()
    seen.add(fingerprint(folder, names))
    assert len(seen) == 5


def test_an_equal_size_and_an_old_time_do_not_hide_a_change(project):
    folder = photographs(project / "mine", "a.png")
    path, before = folder / "a.png", fingerprint(folder, ["a.png"])
    was = path.stat()
    time.sleep(0.05)  # older kernels count the times of files in ticks of up to 10 ms
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert path.stat().st_mtime_ns == was.st_mtime_ns and fingerprint(folder, ["a.png"]) != before
