"""The memory of photographs: only what has changed is looked at again, and a wrong one costs no more than time."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from photographs import in_folder, photographs, picture
from PIL import Image

from pconv.data import checking
from pconv.data import memory as memory_module
from pconv.data.checking import look_at_all, rules
from pconv.data.decoding import ImageError
from pconv.data.memory import open_memory
from pconv.data.selection import write_manifests
from pconv.project import memory_path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder of photographs in an empty project; two of them are rejected."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    photographs(tmp_path / "mine", "train/a.png", "train/b.png", "train/\udcff.png", "val/c.png", "test/d.png")
    (tmp_path / "mine/train/bad.png").write_text("no photograph")
    (tmp_path / "mine/test/gone.png").symlink_to("nowhere")
    return tmp_path / "mine"


@pytest.fixture
def looked(monkeypatch):
    """Return the names of files that are looked at, as that happens."""
    seen, look = [], checking.look

    def recorded(path, *rest):
        seen.append(os.path.basename(path))
        return look(path, *rest)

    monkeypatch.setattr(checking, "look", recorded)
    return seen


def lists(folder):
    return {path.name: path.read_bytes() for path in (folder.parent / "data/images").glob("*.csv")}


def run(folder, looked, **changes):
    """Run the stage; returns its lists and, sorted, what it looked at."""
    looked.clear()
    write_manifests(in_folder(folder, **changes))
    return lists(folder), sorted(looked)


ALL = ["a.png", "b.png", "bad.png", "c.png", "d.png", "gone.png", "\udcff.png"]


def test_nothing_is_looked_at_twice_and_the_lists_are_the_same(folder, looked):
    first, seen = run(folder, looked)
    assert seen == ALL
    assert run(folder, looked) == (first, ["gone.png"])  # what cannot be looked at has no size and time
    memory_path().unlink()
    assert run(folder, looked) == (first, ALL)


def test_what_changes_or_is_new_is_looked_at(folder, looked):
    first, _ = run(folder, looked)
    Image.fromarray(picture(7)).save(folder / "train/a.png")
    Image.fromarray(picture(8)).save(folder / "train/bad.png")
    Image.fromarray(picture(9)).save(folder / "test/e.png")
    (folder / "val/c.png").replace(folder / "val/f.png")
    again, seen = run(folder, looked)
    assert seen == ["a.png", "bad.png", "e.png", "f.png", "gone.png"]
    memory_path().unlink()
    assert run(folder, looked)[0] == again != first


def test_a_permission_that_is_given_later_counts(folder, looked, monkeypatch):
    read, closed = checking.read_bytes, {"a.png"}

    def guarded(path):  # permissions do not stop root, who may run the tests
        if os.path.basename(path) in closed:
            raise ImageError(f"{path}: Permission denied")
        return read(path)

    monkeypatch.setattr(checking, "read_bytes", guarded)
    assert b"Permission denied" in run(folder, looked)[0]["rejected.csv"]
    closed.clear()
    (folder / "train/a.png").chmod(0o600)
    written, seen = run(folder, looked)
    assert "a.png" in seen and b"Permission denied" not in written["rejected.csv"]


@pytest.mark.parametrize("change", [{"min_side": 9}, {"check": "decode"}, {"max_pixels": 10_000}])
def test_other_rules_begin_anew(folder, looked, change):
    run(folder, looked)
    assert run(folder, looked, **change)[1] == ALL


def test_other_code_or_libraries_begin_anew(folder, looked, monkeypatch):
    run(folder, looked)
    monkeypatch.setattr(checking.cv2, "__version__", "another")
    assert run(folder, looked)[1] == ALL


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0 cut short", b""])
def test_a_damaged_memory_is_begun_anew(folder, looked, content):
    first, _ = run(folder, looked)
    memory_path().write_bytes(content)
    assert run(folder, looked) == (first, ALL)
    assert run(folder, looked) == (first, ["gone.png"])


def test_a_memory_of_another_kind_is_begun_anew(folder, looked):
    first, _ = run(folder, looked)
    memory_path().unlink()
    with sqlite3.connect(memory_path()) as other:
        other.execute("CREATE TABLE seen (path TEXT)")
    other.close()
    assert run(folder, looked) == (first, ALL)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_memory_that_was_cut_short_is_begun_anew(folder, looked, share):
    first, _ = run(folder, looked)
    os.truncate(memory_path(), int(share * memory_path().stat().st_size))
    assert run(folder, looked) == (first, ALL)


def test_a_memory_whose_table_has_a_damaged_name_is_begun_anew(folder, looked):
    """SQLite's message is no text then."""
    first, _ = run(folder, looked)
    content = memory_path().read_bytes()
    memory_path().write_bytes(content.replace(b"TABLE seen (path", b"TABLE seen \xed\xed\xedth"))
    assert run(folder, looked) == (first, ALL)


@pytest.mark.parametrize("begun", [True, False])
def test_a_memory_that_another_process_uses_is_named_and_stays(folder, looked, monkeypatch, begun):
    run(folder, looked)
    before, found = memory_path().read_bytes(), memory_path().stat().st_ino
    monkeypatch.setattr(memory_module, "PATIENCE", 0.1)
    used = rf"{memory_path()}: database is locked; wait until the other process that uses it has ended"
    with closing(sqlite3.connect(memory_path(), isolation_level=None)) as other:
        if begun:
            other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ImageError, match=used):
            with open_memory(memory_path(), "rules") as memory:
                other.execute("BEGIN EXCLUSIVE")
                memory.recall({})
    assert memory_path().read_bytes() == before and memory_path().stat().st_ino == found
    assert run(folder, looked)[1] == ["gone.png"]


@pytest.mark.parametrize("place", ["/proc/seen.sqlite", "/proc/none/seen.sqlite"])
def test_a_memory_that_cannot_be_written_is_named(place):
    with pytest.raises(ImageError, match=rf"^{place}: .*; it has to lie where files can be written"):
        with open_memory(Path(place), "rules"):
            pass


def test_what_is_remembered_is_what_was_seen(folder):
    data = in_folder(folder)
    paths = [str(folder / "train" / name) for name in ("a.png", "\udcff.png", "bad.png")]
    fresh = look_at_all(paths, data)
    with open_memory(memory_path(), rules(data)) as memory:
        look_at_all(paths, data, memory)
    with open_memory(memory_path(), rules(data)) as memory:
        again = look_at_all(paths, data, memory)
    for one, other in zip(fresh[:2], again[:2], strict=True):
        assert one[:2] == other[:2] and np.array_equal(one.thumbnail, other.thumbnail)
    assert str(again[2]) == str(fresh[2]) and isinstance(again[2], ImageError)


def test_an_interrupted_look_keeps_what_it_saw(folder, looked, monkeypatch):
    monkeypatch.setattr(checking, "BATCH", 2)
    look = checking.look

    def interrupted(path, *rest):
        if path.endswith("/d.png"):
            raise KeyboardInterrupt
        return look(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(checking, "look", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_manifests(in_folder(folder))
    assert run(folder, looked)[1] == ["c.png", "d.png", "gone.png"]
