"""Reading what is no file does not hang; writing replaces a file whole, and leaves alone what it is a link to."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from pconv.files import open_file, sha256, write_file


def test_a_file_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "link").symlink_to("a")
    for name in ("a", "link"):
        with open_file(tmp_path / name) as file:
            assert file.read() == b"content"


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "broken").symlink_to("nothing")
    for path, reason in (
        (tmp_path, "folder"),
        (tmp_path / "fifo", "Not a regular file"),
        (tmp_path / "missing", "No such file"),
        (tmp_path / "broken", "No such file"),
        ("/dev/zero", "Not a regular file"),
    ):
        with pytest.raises(OSError) as caught:
            open_file(path)
        assert reason in caught.value.strerror


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    standard = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180, its first example
    assert sha256(tmp_path / "a") == standard


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path, link):
    (tmp_path / "cache").write_bytes(b"shared")
    link(tmp_path / "cache", tmp_path / "a")
    write_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and not (tmp_path / "a").is_symlink()
    assert (tmp_path / "cache").read_bytes() == b"shared"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "cache"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(TypeError):
        write_file(tmp_path / "a", "text")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "\u56fe" * 83 + ".png"])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path, name):
    for content in (b"old", b"new"):
        write_file(tmp_path / name, content)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"new")]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path, mode):
    (tmp_path / "a").touch()
    (tmp_path / "a").chmod(mode)
    write_file(tmp_path / "a", b"new")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode and (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_a_new_file_has_the_mode_that_the_umask_says(tmp_path, link):
    """In place of a link, too: files in DVC's cache are for reading only."""
    if link:
        (tmp_path / "cache").touch()
        (tmp_path / "cache").chmod(0o444)
        link(tmp_path / "cache", tmp_path / "a")
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "a", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").lstat().st_mode) == 0o640


def test_threads_write_into_one_folder(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write_file(tmp_path / f"{n % 4}", b"%d" % (n % 4) * 10_000), range(200)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3"]
    assert all((tmp_path / f"{n}").read_bytes() == b"%d" % n * 10_000 for n in range(4))
