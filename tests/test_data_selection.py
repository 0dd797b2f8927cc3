"""The stage `images`: lists what is used and what is not, keeps what users own, and no photograph is in two splits."""

import csv
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from photographs import in_folder, photographs, picture
from PIL import Image

from pconv.data.decoding import ImageError
from pconv.data.manifest import manifest_path, read_manifest
from pconv.data.selection import write_manifests
from pconv.params import Data
from pconv.project import SPLITS

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Return an empty project, which is the working directory."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(data):
    return {split: [photograph.name for photograph in read_manifest(data, split)] for split in SPLITS}


def rejected():
    with open("data/images/rejected.csv", newline="", errors="surrogateescape") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def content(folder):
    """Return all files in a folder but the memory, which may grow at any time."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "seen.sqlite")
    return {path.relative_to(folder): path.read_bytes() for path in files}


# What is listed


def test_all_packaged_photographs_are_used(project):
    assert write_manifests(Data()) == {"train": 61, "val": 6, "test": 3, "rejected": 0}
    first = content(project / "data")
    assert write_manifests(Data(check="decode"))["rejected"] == 0
    assert content(project / "data") == first and len(first) == 70 + 4
    for split in SPLITS:
        for photograph in read_manifest(Data(), split):
            assert photograph.path.stat().st_size == photograph.bytes


def test_a_folder_is_listed_where_it_is(project, tmp_path_factory):
    away = photographs(tmp_path_factory.mktemp("away"), "train/b.png", "train/a.JPG", "val/b.png", "test/c.png")
    assert write_manifests(in_folder(away)) == {"train": 2, "val": 1, "test": 1, "rejected": 0}
    assert listed(in_folder(away)) == {
        "train": ["train/a.JPG", "train/b.png"],
        "val": ["val/b.png"],
        "test": ["test/c.png"],
    }
    assert read_manifest(in_folder(away), "val")[0].path == away / "val/b.png"


def test_what_is_left_over_is_said(project, capfd):
    photographs(project / "mine", "training/a.png", "valid/b.png", "Test/c.png", "more/d.png", "e.png")
    (project / "mine/more/up").symlink_to(project / "mine")
    write_manifests(in_folder("mine"))
    said = capfd.readouterr().err
    assert "splits: train is training/, val is valid/, test is Test/\n" in said
    assert "2 photographs lie beside these folders and are not used\n" in said
    assert "links to folders that are searched anyway, or to the project's data/, are not followed: more/up\n" in said


def test_what_cannot_be_used_is_listed_with_the_reason(project):
    photographs(project / "mine", "train/a.png", "train/b.png", "val/c.png", "test/d.png")
    (project / "mine/train/b.png").write_text("no photograph")
    Image.fromarray(picture(9, 7, 7)).save(project / "mine/test/e.png")
    assert write_manifests(in_folder("mine")) == {"train": 1, "val": 1, "test": 1, "rejected": 2}
    assert rejected() == {
        "train/b.png": "not an image that can be read (JPEG, PNG, WEBP, TIFF, BMP, PPM)",
        "test/e.png": "7 x 7 px, less than data.min_side = 8",
    }


def test_any_name_is_listed(project):
    names = ["train/new\nline.png", "train/\udcf6.png", 'val/quote".png', "test/re\rturn.png"]
    photographs(project / "mine", *names)
    (project / "mine/train/\udcff.png").write_text("no photograph")
    assert write_manifests(in_folder("mine")) == {"train": 2, "val": 1, "test": 1, "rejected": 1}
    assert [name for names in listed(in_folder("mine")).values() for name in names] == names
    assert list(rejected()) == ["train/\udcff.png"]


def test_too_many_rejected_ones_stop_it_and_are_listed(project):
    photographs(project / "mine", *(f"train/{n}.png" for n in range(8)), "val/b.png", "test/c.png")
    (project / "mine/train/3.png").write_text("no photograph")
    assert write_manifests(in_folder("mine", max_rejected=0.1))["rejected"] == 1
    for name in ("train.csv", "rejected.csv"):
        (project / "data/images" / name).unlink()
    with pytest.raises(ImageError) as caught:
        write_manifests(in_folder("mine", max_rejected=0.09))
    said = str(caught.value)
    assert said.startswith("data.max_rejected = 0.09: 1 of 10 photographs are rejected, the first for this reason: ")
    assert "train/3.png: not an image" in said and said.endswith("mend or remove them, or raise data.max_rejected")
    assert list(rejected()) == ["train/3.png"] and not manifest_path("train").exists()


def test_a_split_without_photographs_is_named(project):
    photographs(project / "mine", "a.png")
    with pytest.raises(ImageError, match=r"none of the 1 photographs in .*mine fell to (train|val).*train, val, test"):
        write_manifests(in_folder("mine"))
    (project / "empty").mkdir()
    with pytest.raises(ImageError, match=r"none of the 0 photographs in .*empty fell to train; add photographs"):
        write_manifests(in_folder("empty"))
    photographs(project / "bad", "train/a.png", "val/b.png", "test/c.png")
    (project / "bad/val/b.png").write_text("no photograph")
    with pytest.raises(
        ImageError, match=r"^val: all photographs are rejected; mend them, or add others: .*rejected\.csv"
    ):
        write_manifests(in_folder("bad"))


# Leaks


def test_a_photograph_in_several_splits_stays_in_the_first(project):
    folder = photographs(
        project / "mine", "train/a.png", "train/b.png", "val/c.png", "val/d.png", "test/e.png", "test/f.png"
    )
    Image.open(folder / "train/a.png").save(folder / "test/e.png", compress_level=0)
    (folder / "test/equal.png").write_bytes((folder / "train/b.png").read_bytes())
    Image.open(folder / "train/b.png").save(folder / "val/c.png", compress_level=0)
    (folder / "test/of c.png").write_bytes((folder / "val/c.png").read_bytes())
    (folder / "test/of d.png").write_bytes((folder / "val/d.png").read_bytes())
    (folder / "train/twice.png").write_bytes((folder / "train/b.png").read_bytes())
    write_manifests(in_folder("mine"))
    train = ["train/a.png", "train/b.png", "train/twice.png"]
    assert listed(in_folder("mine")) == {"train": train, "val": ["val/d.png"], "test": ["test/f.png"]}
    assert rejected() == {
        "test/e.png": "shows the same as train/a.png, in another split",
        "test/equal.png": "equal to train/b.png, in another split",
        "test/of c.png": "shows the same as train/b.png, in another split",
        "test/of d.png": "equal to val/d.png, in another split",
        "val/c.png": "shows the same as train/b.png, in another split",
    }


def test_other_splits_change_nothing_about_what_is_trained_on(project):
    folder = photographs(project / "mine", "train/a.png", "val/b.png", "test/c.png", "test/d.png")
    write_manifests(in_folder("mine"))
    before = [manifest_path(split).read_bytes() for split in ("train", "val")]
    (folder / "test/of a.png").write_bytes((folder / "train/a.png").read_bytes())
    (folder / "test/of b.png").write_bytes((folder / "val/b.png").read_bytes())
    photographs(folder, "test/more.png", first=9)
    (folder / "test/c.png").write_text("no photograph")
    assert write_manifests(in_folder("mine")) == {"train": 1, "val": 1, "test": 2, "rejected": 3}
    assert [manifest_path(split).read_bytes() for split in ("train", "val")] == before


# What users own


def test_what_users_put_there_stays(project):
    mine = ["mine.png", "train/mine.png", "packaged/train/mine.png"]
    photographs(project / "data/images", *mine)
    kept = content(project / "data/images")
    photographs(project / "mine", "train/a.png", "val/b.png", "test/c.png")
    for data in (Data(), in_folder("mine"), Data()):
        write_manifests(data)
        found = content(project / "data/images")
        assert all(found[name] == kept[name] for name in kept)
        packaged = [name for name in found if name.parts[0] == "packaged" and name.name != "mine.png"]
        assert len(packaged) == (70 if data.source == "packaged" else 0)
        assert all((project / "data/images/packaged" / split).is_dir() for split in SPLITS)
        assert not [name for names in listed(data).values() for name in names if name == "mine.png"]


def test_lists_are_written_whole_or_not_at_all(project, monkeypatch):
    photographs(project / "mine", "train/a.png", "val/b.png", "test/c.png")
    write_manifests(in_folder("mine"))
    before = content(project / "data")
    photographs(project / "mine", "train/more.png", first=9)

    def full(self, content):
        with open(self, "wb") as file:
            file.write(content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_manifests(in_folder("mine"))
    assert content(project / "data") == before


def test_the_command_says_what_it_did_or_what_is_wrong(project):
    text = (ROOT / "params" / "smoke.yaml").read_text()

    def run(**changes):
        changed = text
        for key, value in changes.items():
            before = next(line for line in text.splitlines() if line.startswith(f"  {key}:"))
            changed = changed.replace(before, f"  {key}: {value}")
        (project / "params.yaml").write_text(changed)
        command, environment = [sys.executable, "-m", "pconv.data"], {"PYTHONPATH": str(ROOT / "src"), "PATH": ""}
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
        assert "Traceback" not in done.stderr
        return done

    assert (run().returncode, run().stdout) == (0, "photographs: 61 train, 6 val, 3 test, 0 rejected\n")
    photographs(project / "mine", "train/a.png", "val/b.png", "test/c.png", "test/d.png")
    (project / "mine/test/d.png").write_text("no photograph")
    done = run(source="folder", folder="mine", min_side=8, max_rejected=0.5)
    assert done.stdout.startswith(
        "photographs: 1 train, 1 val, 1 test, 1 rejected\nthose rejected are listed, with the"
    )
    assert str(project / "data/images/rejected.csv") in done.stdout
    done = run(source="folder", folder="nowhere")
    assert done.returncode == 1 and f"data.folder: no folder {project / 'nowhere'}" in done.stderr
