"""Reading what is no file does not hang; writing replaces a file whole, and leaves alone what it is a link to."""

import os

import pytest

from pconv.files import open_file, write_file


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
