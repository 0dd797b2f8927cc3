"""The stage `watch`: its lines change when files of the user's do, and not otherwise."""

import json
import subprocess
import sys

import pytest
from photographs import photographs

from pconv.data import decoding, watch
from pconv.params import Params

LINES = ("photographs", "masks")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return an empty project, which is the working directory."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(project, **sections):
    """Write the parameters, run the stage, and return its lines."""
    values = Params().model_dump()
    for section, changes in sections.items():
        values[section] |= changes
    (project / "params.yaml").write_text(json.dumps(values))
    watch.main()
    return [(project / f"data/watched/{name}.txt").read_text() for name in LINES]


def test_without_folders_of_the_users_there_is_nothing_to_change(project):
    photographs(project / "data/images/packaged/train", "a.png")
    assert lines(project) == ["no folder\n", "no folder\n"]


def test_each_line_changes_with_its_folder_alone(project):
    photographs(project / "mine", "train/a.png", "val/b.png", "test/c.png")
    photographs(project / "holes", "a.png", "b.png")
    both = {"data": {"source": "folder", "folder": "mine"}, "masks": {"source": "folder", "folder": "holes"}}
    first = lines(project, **both)
    assert first == lines(project, **both) and first[0].startswith("3 files ") and first[1].startswith("2 files ")
    photographs(project / "mine", "train/d.png", first=7)
    second = lines(project, **both)
    assert second[0] != first[0] and second[1] == first[1]
    (project / "holes/a.png").unlink()
    third = lines(project, **both)
    assert third[0] == second[0] and third[1].startswith("1 files ")


def test_files_of_weights_change_a_line_each_by_what_they_hold(project):
    keys = {"vgg": ("loss", "vgg"), "start": ("train", "start"), "published": ("evaluate", "published")}

    def found(**files):
        sections = {}
        for name, file in files.items():
            section, key = keys[name]
            sections.setdefault(section, {})[key] = file
        lines(project, **sections)
        return {name: (project / f"data/watched/{name}.txt").read_text() for name in keys}

    assert found(vgg="packaged", start=None, published=None) == dict.fromkeys(keys, "no file\n")
    files = {name: f"{name}.safetensors" for name in keys}
    assert found(**files) == dict.fromkeys(keys, "no such file\n")
    for name in keys:
        (project / files[name]).write_bytes(b"one")
    first = found(**files)
    assert all(line.startswith("sha256 ") for line in first.values())
    (project / files["start"]).write_bytes(b"two")
    (project / files["vgg"]).touch()
    second = found(**files)
    assert {name for name in keys if second[name] != first[name]} == {"start"}


def test_what_is_not_used_changes_nothing(project):
    photographs(project / "mine", "train/a.png", "val/b.png", "test/c.png")
    mine = {"data": {"source": "folder", "folder": "mine"}}
    first = lines(project, **mine)
    photographs(project / "mine", "beside.png", "train/.hidden.png")
    (project / "mine/train/notes.txt").touch()
    assert lines(project, **mine) == first


def test_no_file_is_opened(project, monkeypatch):
    photographs(project / "mine", "train/a.png", "val/b.png", "test/c.png")
    monkeypatch.setattr(decoding, "open_file", None)
    monkeypatch.setattr(decoding, "read_bytes", None)
    assert lines(project, data={"source": "folder", "folder": "mine"})[0].startswith("3 files ")


def test_a_folder_that_is_not_there_is_one_line(project):
    values = Params().model_dump()
    values["data"] |= {"source": "folder", "folder": "nowhere"}
    (project / "params.yaml").write_text(json.dumps(values))
    done = subprocess.run([sys.executable, "-m", "pconv.data.watch"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("data.folder: no folder ") and "Traceback" not in done.stderr
