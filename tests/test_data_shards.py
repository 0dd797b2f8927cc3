"""Photographs in shards: each is read at its place, and what is no whole shard is named."""

import gzip
import io
import os
import subprocess
import tarfile

import numpy as np
import pytest
from photographs import encoded, in_shards, photographs, picture, shard, shards
from webdataset.tariterators import group_by_keys, tar_file_expander

from pconv.data import checking
from pconv.data import shards as module
from pconv.data.checking import look
from pconv.data.decoding import ImageError
from pconv.data.manifest import DECODED, manifest_path, read_manifest, read_photograph
from pconv.data.selection import write_manifests
from pconv.data.shards import list_members, read_member
from pconv.project import SPLITS


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Return an empty project, which is the working directory."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    DECODED.clear(), module._kept_open.cache_clear()


def by_webdataset(folder):
    """Return what webdataset finds in the shards of a folder: path, key and photograph of each sample."""
    found = []
    for path in sorted(folder.iterdir()):
        with open(path, "rb") as stream:
            samples = group_by_keys(tar_file_expander([{"url": str(path), "stream": stream}]))
            found += [(path, sample["__key__"], sample["png"]) for sample in samples]
    return found


def members(path):
    with open(path, "rb") as file:
        return list_members(file, path.name)


def tar(path, *entries, form=tarfile.PAX_FORMAT, errors="surrogateescape"):
    """Write a tar file of entries: (name, bytes), or a TarInfo of something else than a file."""
    with tarfile.open(path, "w", format=form, errors=errors) as file:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                file.addfile(entry)
                continue
            name, content = entry
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


# What is listed and read


def test_what_is_listed_is_what_webdataset_finds(project):
    shards("mine", train=3, val=1, test=2)
    assert write_manifests(in_shards("mine")) == {"train": 12, "val": 4, "test": 8, "rejected": 0}
    for split in SPLITS:
        found = []
        for _, name, size, _, inside, offset in read_manifest(in_shards("mine"), split):
            photograph = read_member(project / "mine", inside, offset, size)
            found.append((project / "mine" / inside, name.removesuffix(".png"), photograph))
        assert found == by_webdataset(project / "mine" / split)
    content = manifest_path("train").read_bytes()
    assert content.startswith(b'"path","bytes","sha256","shard","offset"\n"00000.png",')
    assert str(project).encode() not in content
    write_manifests(in_shards("mine"))
    assert manifest_path("train").read_bytes() == content


def test_photographs_are_read_in_any_order(project):
    shards("mine", train=3, val=1, test=1)
    write_manifests(in_shards("mine"))
    listed = read_manifest(in_shards("mine"), "train")
    assert [photograph.label for photograph in listed[3:5]] == ["train/0000.tar/00003.png", "train/0001.tar/00004.png"]
    for n in np.random.default_rng(0).permutation(12):
        assert np.array_equal(read_photograph(listed[n]), picture(n))
    assert read_photograph(listed[3]) is read_photograph(listed[3])


@pytest.mark.parametrize("form", ["v7", "ustar", "gnu", "pax", "oldgnu"])
def test_every_format_of_tar_is_read(project, form):
    photographs("files", *(f"{n}.png" for n in range(5)))
    (project / "files" / ("x" * 80)).mkdir()
    (project / "files" / "0.png").rename(project / "files" / ("x" * 80) / f"{'y' * (10 if form == 'v7' else 90)}.png")
    command = ["tar", f"--format={form}", "-cf", "0.tar", "-C", "files", "."]
    subprocess.run(command, check=True)
    listed = members(project / "0.tar")
    with tarfile.open("0.tar") as file:
        for member in listed:
            read = read_member(project, "0.tar", member.offset, member.bytes)
            assert read == file.extractfile(member.name).read() != b""
    assert len(listed) == 5


def test_any_name_survives(project):
    names = [
        "new\nline.png",
        'quote",.png',
        "a b.png",
        os.fsdecode(b"latin-\xf6.png"),
        "../../up.png",
        "/root.png",
        "ö.png",
    ]
    entries = [(name, encoded(n)) for n, name in enumerate(names)]
    tar(project / "train.tar", *entries, form=tarfile.GNU_FORMAT)
    shard("val.tar", first=20), shard("test.tar", first=30)
    write_manifests(in_shards("{train,val,test}.tar"))
    listed = read_manifest(in_shards("{train,val,test}.tar"), "train")
    assert [photograph.name for photograph in listed] == names
    assert all(np.array_equal(read_photograph(p), picture(n)) for n, p in enumerate(listed))


def test_what_is_no_photograph_is_passed_over(project):
    entries = [
        ("a.cls", b"1"),
        ("a.JPG", b"x"),
        ("._a.png", b"x"),
        ("a.json", b"{}"),
        ("b/a.webp", b"x"),
        ("c.gif", b"x"),
    ]
    tar(project / "0.tar", link("d.png", "", tarfile.DIRTYPE), *entries)
    assert [member.name for member in members(project / "0.tar")] == ["a.JPG", "b/a.webp"]


def test_a_photograph_that_cannot_be_used_is_rejected_with_its_name(project):
    shards("mine", val=1, test=1, train=1)
    links = [link("l.png", "a.png", tarfile.SYMTYPE), link("h.png", "a.png", tarfile.LNKTYPE)]
    entries = [("a.png", encoded(50)), ("b.png", encoded(51)[:-200]), ("c: d.png", b"no"), ("e.png", b"")]
    tar(project / "mine/train/0000.tar", *entries, *links, ("same.png", encoded(0)))
    assert write_manifests(in_shards("mine")) == {"train": 2, "val": 3, "test": 4, "rejected": 6}
    text = (project / "data/images/rejected.csv").read_text()
    for said in (
        '"train/0000.tar/b.png","not an image that OpenCV can read',
        '"train/0000.tar/c: d.png","not an image that can be read',
        '"train/0000.tar/e.png","not an image: the file is empty',
        '"train/0000.tar/l.png","a link, or stored in pieces; put the photograph itself into the shard"',
        '"train/0000.tar/h.png","a link, ',
        '"val/0000.tar/00000.png","equal to train/0000.tar/same.png, in another split"',
    ):
        assert said in text


def test_only_so_many_may_be_rejected(project):
    shards("mine", val=1, test=1, train=1)
    tar(project / "mine/train/0000.tar", ("a.png", encoded(50)), ("b.png", b"no"))
    with pytest.raises(
        ImageError, match=r"^data\.max_rejected = 0\.05: 1 of 10 .* train/0000\.tar/b\.png: not an image"
    ):
        write_manifests(in_shards("mine", max_rejected=0.05))


# What is refused


def refused(path, said):
    with pytest.raises(ImageError) as caught:
        members(path)
    assert str(caught.value).startswith(path.name) and said in str(caught.value), caught.value


@pytest.mark.parametrize("names", [("a.png", "a.png"), ("d/a.b.jpg", "d/a.c.png")])
def test_two_photographs_of_one_sample_are_named(project, names):
    path = tar(project / "0.tar", *((name, b"x") for name in names))
    refused(path, f"{names[0]} and {names[1]} are photographs of one sample")


@pytest.mark.parametrize("command, kind", [("gzip", "gzip"), ("bzip2", "bzip2"), ("xz", "xz")])
def test_a_compressed_shard_is_named(project, command, kind):
    path = shard(project / "0.tar")
    packed = subprocess.run([command, "-c", path], stdout=subprocess.PIPE, check=True).stdout
    (project / "1.tar.gz").write_bytes(packed)
    refused(project / "1.tar.gz", f"compressed with {kind}, so that no photograph can be read at its place; unpack it")


def test_a_shard_that_was_cut_short_is_named_wherever_it_ends(project):
    whole = shard(project / "whole.tar").read_bytes()
    end = len(whole.rstrip(b"\0"))
    for length in [*range(0, end, 397), 512 * (end // 512 + 1)]:
        (project / "0.tar").write_bytes(whole[:length])
        refused(
            project / "0.tar", "no tar file, or damaged, cut short, or several in one: nothing can be read after entry"
        )
    (project / "0.tar").write_bytes(whole[: 512 * (end // 512 + 2)])  # one block of the end is enough
    assert members(project / "0.tar") == members(project / "whole.tar")


def test_a_damaged_header_is_named_and_not_taken_for_the_end(project):
    whole = bytearray(shard(project / "0.tar").read_bytes())
    with tarfile.open(project / "0.tar") as file:
        places = [entry.offset for entry in file]
    for damage in (b"\xff" * 512, bytes(512)):
        for place in places:
            changed = whole.copy()
            changed[place : place + 512] = damage
            (project / "1.tar").write_bytes(changed)
            refused(project / "1.tar", "damaged")


def test_several_tar_files_in_one_are_named(project):
    one, two = shard(project / "1.tar").read_bytes(), shard(project / "2.tar", first=9).read_bytes()
    (project / "0.tar").write_bytes(one + two)
    refused(project / "0.tar", "several in one: nothing can be read after entry 12;")


@pytest.mark.parametrize("seed", range(60))
def test_hostile_bytes_are_an_image_error_or_photographs(project, seed):
    rng = np.random.default_rng(seed)
    content = bytearray(shard(project / "0.tar").read_bytes())
    for place in rng.integers(len(content) // 3, size=20):
        content[place - place % 512 + rng.integers(0, 160)] = rng.integers(256)
    (project / "0.tar").write_bytes(content)
    try:
        assert all(member.bytes >= 0 for member in members(project / "0.tar"))
    except ImageError as error:
        assert str(error).startswith("0.tar: ")


@pytest.mark.parametrize("content", [b"", b"text", gzip.compress(b"")[:2], bytes(10240)])
def test_what_holds_no_photographs_is_named(project, content):
    (project / "0.tar").write_bytes(content)
    with pytest.raises(ImageError, match=r"^0\.tar: "):
        members(project / "0.tar")


@pytest.mark.parametrize("what", ["changed", "moved", "cut short", "gone", "a folder"])
def test_a_shard_that_was_changed_since_is_named(project, what):
    shards("mine", train=1, val=1, test=1)
    write_manifests(in_shards("mine"))
    photograph = read_manifest(in_shards("mine"), "train")[2]
    path = project / "mine/train/0000.tar"
    content = bytearray(path.read_bytes())
    path.unlink()
    if what == "changed":
        content[photograph.offset + 40] ^= 1
    if what == "moved":
        content = content[1536:]
    if what == "cut short":
        content = content[: photograph.offset + 10]
    if what == "a folder":
        path.mkdir()
    elif what != "gone":
        path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_photograph(photograph)
    reason = {"gone": "No such file", "a folder": "This is a folder"}.get(
        what, f"{photograph.name}: changed since it was"
    )
    assert str(caught.value).startswith(f"train/0000.tar: {reason}")


def test_a_list_of_files_is_none_of_shards(project):
    photographs("mine", "train/a.png", "val/b.png", "test/c.png")
    write_manifests(in_shards("mine", source="folder"))
    with pytest.raises(ImageError, match="train.csv: not a list of photographs; run `dvc repro"):
        read_manifest(in_shards("mine"), "train")


def test_photographs_in_a_shard_that_has_not_changed_are_not_looked_at_again(project, monkeypatch):
    looked = []
    monkeypatch.setattr(checking, "look", lambda path, *rest: looked.append(path) or look(path, *rest))
    shards("mine", train=3, val=1, test=1)
    for change, count in (
        (lambda: None, 20),
        (lambda: None, 0),
        (lambda: os.utime("mine/train/0001.tar", (5, 5)), 4),
        (lambda: shard("mine/train/0003.tar", first=90), 4),
        (lambda: (project / "mine/train/0001.tar").unlink(), 0),
    ):
        change()
        looked.clear()
        before = write_manifests(in_shards("mine"))
        assert len(looked) == count
    assert before["train"] == 12
