"""The lists of photographs: what was written is read, and a photograph that was changed is not read by mistake."""

import os

import numpy as np
import pytest
from photographs import in_folder, photographs, picture
from PIL import Image

from pconv.data.decoding import ImageError
from pconv.data.manifest import (
    DECODED,
    Photograph,
    manifest_path,
    photograph_folder,
    read_manifest,
    read_photograph,
    write_manifest,
)
from pconv.data.selection import write_manifests
from pconv.params import Data

SUM = "0" * 64


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Return a project with three photographs, which is the working directory."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    photographs(tmp_path / "mine", "train/a.png", "val/b.png", "test/c.png")
    return tmp_path


@pytest.fixture
def listed(project):
    """Return the photograph that is listed for training."""
    write_manifests(in_folder("mine"))
    (photograph,) = read_manifest(in_folder("mine"), "train")
    return photograph


def test_what_was_written_is_read(project):
    names = [
        "a.png",
        "new\nline.png",
        "re\rturn.png",
        'quote".png',
        "comma,.png",
        os.fsdecode(b"\xf6.png"),
        " .png",
        "1",
    ]
    written = [Photograph(project / "mine", name, n, SUM) for n, name in enumerate(names)]
    write_manifest("val", written)
    assert read_manifest(in_folder("mine"), "val") == written
    assert os.fsencode(written[5].path) == os.fsencode(project) + b"/mine/\xf6.png"
    assert str(project).encode() not in manifest_path("val").read_bytes()


def test_a_photograph_is_found_in_the_folder_of_its_source(project):
    assert photograph_folder(in_folder("mine"), "val") == project / "mine"
    assert photograph_folder(in_folder("/away"), "val").as_posix() == "/away"
    assert photograph_folder(Data(), "val") == project / "data/images/packaged/val"


@pytest.mark.parametrize(
    "content, said",
    [
        (None, "val.csv: no such file; `dvc repro images` writes it"),
        (b"", "val.csv: not a list of photographs; run `dvc repro images`"),
        (b"path,bytes,sha256\n", "val.csv: not a list of photographs; run `dvc repro images`"),
        (b"split,path,bytes\nval,a.png,1\n", "val.csv: not a list of photographs; run `dvc repro images`"),
        (b"path,bytes,sha256\na.png,1\n", "val.csv: not a list of photographs; run `dvc repro images`"),
        (b"path,bytes,sha256\na.png,many,0\n", "val.csv: not a list of photographs; run `dvc repro images`"),
        (b'path,bytes,sha256\n"a.png,1,0\n', "val.csv: not a list of photographs; run `dvc repro images`"),
        ("folder", "val.csv: This is a folder, not a file; move it away, then run `dvc repro images`"),
    ],
)
def test_a_list_that_cannot_be_read_is_named(project, content, said):
    path = manifest_path("val")
    path.parent.mkdir(parents=True)
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_manifest(Data(), "val")
    assert str(caught.value).startswith(str(path)) and said in str(caught.value)


def test_a_photograph_is_read_as_it_was_listed(listed):
    assert np.array_equal(read_photograph(listed), picture(0))
    assert read_photograph(listed) is read_photograph(listed) and not read_photograph(listed).flags.writeable


@pytest.mark.parametrize("same_size", [False, True])
def test_a_photograph_that_was_changed_is_named(project, listed, same_size):
    read_photograph(listed)
    content = bytearray(listed.path.read_bytes())
    if same_size:
        content[-1] ^= 1
        listed.path.write_bytes(content)
        os.utime(listed.path, ns=(1, 1))
    else:
        Image.fromarray(picture(7)).save(listed.path)
    with pytest.raises(ImageError, match=r"train/a\.png: changed since it was listed; run `dvc repro images` to list"):
        read_photograph(listed)


def test_a_photograph_that_is_gone_is_named(listed):
    listed.path.unlink()
    with pytest.raises(ImageError, match=r"train/a\.png: No such file or directory; run `dvc repro images`"):
        read_photograph(listed)


def test_photographs_above_the_default_limit_are_read_if_they_were_let_in(project, monkeypatch):
    """The stage let them in by data.max_pixels; reading them again has no limit of its own."""
    photographs(project / "mine", "train/a.png")
    Image.fromarray(np.full((8200, 8200), 9, np.uint8)).save(project / "mine/train/large.png")
    with pytest.raises(ImageError, match=r"large\.png: 8,200 x 8,200 px are more than 67 million pixels"):
        write_manifests(in_folder("mine", max_rejected=0.0))
    write_manifests(in_folder("mine", max_pixels=2**27))
    assert read_photograph(read_manifest(in_folder("mine"), "train")[1]).shape == (8200, 8200, 3)
    assert DECODED.bytes <= DECODED.most_bytes
