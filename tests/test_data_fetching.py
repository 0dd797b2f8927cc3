"""Shards by URL: fetched whole or not at all, once for all processes of a machine, within a bounded number of bytes."""

import errno
import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from file_server import serve
from photographs import in_shards, picture, shard, shards

from pconv.data import fetching
from pconv.data.decoding import ImageError
from pconv.data.fetching import cache_path, fetch, fetch_ahead, remote_state
from pconv.data.manifest import DECODED, manifest_path, read_manifest, read_photograph
from pconv.data.selection import write_manifests
from pconv.data.shardlists import find_shards, watch_shards


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Return a project with shards to serve, which is the working directory."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WDS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(fetching, "_warned", False)
    shards("served", train=3, val=1, test=1)
    yield tmp_path
    DECODED.clear()


@pytest.fixture
def server(project):
    """Return a server of the shards."""
    with serve(project / "served") as started:
        yield started


def all_of(server):
    return f"{server.url}/{{train/{{0000..0002}},val/0000,test/0000}}.tar"


def kept():
    return {path.name.partition("-")[2] for path in Path("cache").iterdir() if path.suffix == ".tar"}


def leftovers():
    return [path.name for path in Path("cache").iterdir() if path.suffix == ".partial"]


# What comes out


def test_photographs_by_url_are_those_in_the_files(project, server):
    assert write_manifests(in_shards(all_of(server))) == {"train": 12, "val": 4, "test": 4, "rejected": 0}
    listed = read_manifest(in_shards(all_of(server)), "train")
    assert all(np.array_equal(read_photograph(p), picture(n)) for n, p in enumerate(listed))
    by_url = manifest_path("train").read_text().replace(f"{server.url}/", "")
    write_manifests(in_shards("served"))
    assert manifest_path("train").read_text() == by_url
    assert set(server.requests.values()) == {1} and len(server.requests) == 5


def test_shards_of_one_name_are_kept_apart(project, server):
    paths = {fetch(f"{server.url}/{split}/0000.tar") for split in ("train", "val", "test")}
    assert len({path.read_bytes() for path in paths}) == 3 and len(paths) == 3


def test_what_is_fetched_is_the_file_to_the_byte_and_fetched_once(project, server):
    for _ in range(3):
        path = fetch(f"{server.url}/train/0001.tar")
        assert path.read_bytes() == (project / "served/train/0001.tar").read_bytes()
    assert path == cache_path(f"{server.url}/train/0001.tar") and path.parent == project / "cache"
    assert server.requests == {"/train/0001.tar": 1}


def test_the_folder_is_the_users_cache_without_wds_cache(project, monkeypatch):
    monkeypatch.delenv("WDS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/there")
    assert cache_path("https://host/a/b c.tar").as_posix().endswith("-b_c.tar")
    assert cache_path("https://host/a.tar").is_relative_to("/there/pconv/shards")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_path("https://host/a.tar").is_relative_to(Path.home() / ".cache/pconv/shards")


# Several processes


def fetched(url, folder="cache"):
    """Return what is fetched, in a process that may not have this test's environment."""
    os.environ["WDS_CACHE"] = str(folder)
    return fetch(url).read_bytes()


def test_processes_share_what_one_of_them_fetches(project, server, background):
    server.delay = 0.5
    with background.Pool(4) as pool:
        found = pool.starmap(fetched, [(f"{server.url}/train/0000.tar", project / "cache")] * 8, chunksize=1)
    assert set(found) == {(project / "served/train/0000.tar").read_bytes()}
    assert server.requests == {"/train/0000.tar": 1}


def test_a_process_that_is_killed_leaves_no_half_and_holds_up_nobody(project, server, background):
    server.misbehave["/train/0000.tar"] = ["stall"]
    process = background.Process(target=fetched, args=(f"{server.url}/train/0000.tar", project / "cache"))
    process.start()
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in Path("cache").glob("*.partial")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert kept() == set() and leftovers()
    assert fetch(f"{server.url}/train/0000.tar").read_bytes() == (project / "served/train/0000.tar").read_bytes()
    assert leftovers() == []


# Within a bounded number of bytes


def test_shards_that_were_read_least_lately_make_room(project, server, monkeypatch, capfd):
    size = (project / "served/train/0000.tar").stat().st_size
    monkeypatch.setenv("WDS_CACHE_SIZE", str(3 * size))
    urls = [f"{server.url}/{name}.tar" for name in ("train/0000", "train/0001", "train/0002", "val/0000")]
    for age, url in zip((300, 200, 100), urls, strict=False):
        os.utime(fetch(url), (time.time() - age * 100, time.time()))
    fetching.open_fetched(urls[0]).close()
    fetch(urls[3])
    assert sorted(path.name for path in Path("cache").glob("*.tar")) == sorted(
        cache_path(url).name for url in (urls[0], urls[2], urls[3])
    )
    assert capfd.readouterr().err == ""


def test_too_little_room_is_said_once_and_reading_goes_on(project, server, monkeypatch, capfd):
    monkeypatch.setenv("WDS_CACHE_SIZE", "1000")
    write_manifests(in_shards(all_of(server)))
    assert len(kept()) == 1 and "WDS_CACHE_SIZE" not in capfd.readouterr().err
    listed = read_manifest(in_shards(all_of(server)), "train")
    for n in (0, 4, 8, 1, 5, 9):
        assert np.array_equal(read_photograph(listed[n]), picture(n))
    assert len(kept()) == 1
    said = f"{project / 'cache'}: WDS_CACHE_SIZE = 1000: too few bytes, shards in use make room for others\n"
    assert capfd.readouterr().err == said


def test_what_a_killed_process_left_is_removed_in_time(project, server):
    fetch(f"{server.url}/train/0000.tar")
    old, new = (Path(f"cache/{cache_path(name).name}.partial") for name in ("https://host/a.tar", "https://host/b.tar"))
    old.touch(), new.touch()
    os.utime(old, (1, 1))
    fetch(f"{server.url}/train/0001.tar")
    assert not old.exists() and new.exists()


def test_files_of_others_in_the_folder_stay(project, server, monkeypatch):
    """Even where they look like shards, and the folder is full."""
    cache, name = project / "cache", cache_path("https://host/a.tar").name
    for other in ("my-results", f"{name[:16]}-folder.tar"):
        (cache / other).mkdir(parents=True)
        (cache / other / "a").write_bytes(b"mine")
    others = ["phd-thesis.tar", "film-download.partial", "lock", f"{name[1:]}", f"old-{name}", "a-b.lock"]
    for path in (cache / other for other in others):
        path.write_bytes(b"mine")
        os.utime(path, (1, 1))
    (cache / f"{name[:16]}-link.tar").symlink_to(cache / "phd-thesis.tar")
    before = sorted(cache.rglob("*"))
    monkeypatch.setenv("WDS_CACHE_SIZE", "1")
    for number in range(3):
        fetch(f"{server.url}/train/000{number}.tar")
    assert [path for path in before if not path.exists()] == []
    assert all((cache / other).read_bytes() == b"mine" for other in others)
    assert [path.name for path in cache.glob("*0?.tar")] == [cache_path(f"{server.url}/train/0002.tar").name]


def test_a_shard_that_may_not_be_removed_stays(project, server, monkeypatch):
    """As those of other users do in a folder with the sticky bit."""
    kept_one, unlink = fetch(f"{server.url}/train/0000.tar"), Path.unlink

    def guarded(path, **options):
        if path == kept_one:
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", guarded)
    monkeypatch.setenv("WDS_CACHE_SIZE", "1")
    for number in (1, 2):
        fetch(f"{server.url}/train/000{number}.tar")
    assert kept() == {"0000.tar", "0002.tar"}


@pytest.mark.parametrize("name", ["\u56fe" * 90 + ".tar", "a" * 250 + ".tar"])
def test_a_long_name_is_shortened(name):
    path = cache_path(f"https://host/{name}")
    assert len(os.fsencode(f"{path.name}.partial")) < 255 and path.suffix == ".tar"


# What goes wrong


def refused(url, said):
    with pytest.raises(ImageError) as caught:
        fetch(url)
    assert str(caught.value).startswith(f"{url}: ") and said in str(caught.value), caught.value
    assert kept() == set() and leftovers() == []


@pytest.mark.parametrize("code", [404, 403, 410, 401])
def test_what_a_server_does_not_have_is_named_at_once(server, code):
    server.misbehave["/train/0000.tar"] = [code] * 9
    refused(f"{server.url}/train/0000.tar", "its server has no such file, or not for you")
    assert server.requests == {"/train/0000.tar": 1}


def test_a_transfer_that_is_cut_short_is_tried_again(project, server):
    server.misbehave["/train/0000.tar"] = ["cut", "cut"]
    assert fetch(f"{server.url}/train/0000.tar").read_bytes() == (project / "served/train/0000.tar").read_bytes()
    server.misbehave["/val/0000.tar"] = ["cut"] * 3
    Path(cache_path(f"{server.url}/train/0000.tar")).unlink()
    refused(f"{server.url}/val/0000.tar", "the transfer was cut short")


def test_a_server_that_stalls_is_given_up(server, monkeypatch):
    monkeypatch.setattr(fetching, "STALLED", 0.3)
    server.misbehave["/train/0000.tar"] = ["stall"] * 9
    refused(f"{server.url}/train/0000.tar", "no byte came in 0.3 s")


def test_servers_that_are_not_there_are_named(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    refused(f"http://127.0.0.1:{port}/0.tar", "its server takes no connection")
    refused("unknown://host/0.tar", "no gopen handler defined")
    monkeypatch.setenv("PATH", "/nowhere")
    refused("s3://bucket/0.tar", "aws: no such program; install it to read this kind of URL")
    refused("https://host/0.tar", "curl: no such program")


def test_other_programs_fetch_other_urls(project, monkeypatch):
    (project / "bin").mkdir()
    (project / "bin/aws").write_text('#!/bin/sh\n[ "$1 $2 $3" = "s3 cp --quiet" ] && cat "served/${4#s3://bucket/}"\n')
    (project / "bin/aws").chmod(0o755)
    monkeypatch.setenv("PATH", f"{project / 'bin'}:{os.environ['PATH']}")
    data = in_shards("s3://bucket/{train/000{0..2},val/0000,test/0000}.tar")
    assert write_manifests(data) == {"train": 12, "val": 4, "test": 4, "rejected": 0}
    refused_url = "s3://bucket/gone.tar"
    with pytest.raises(ImageError, match=rf"^{refused_url}: aws ended with status 1"):
        fetch(refused_url)
    monkeypatch.setenv("GOPEN_REWRITE", f"s3://bucket={project}/served")
    assert fetch("s3://bucket/./train/0000.tar").read_bytes() == (project / "served/train/0000.tar").read_bytes()


@pytest.mark.parametrize("url", ["pipe:touch pwned; echo ://0.tar", "PIPE:touch pwned; echo ://0.tar", "s3://a/0.tar"])
def test_no_command_is_run(project, monkeypatch, url):
    """Whatever a list of photographs says, or webdataset was told to put in the place of a URL."""
    monkeypatch.setenv("GOPEN_REWRITE", "s3://=pipe:touch pwned && echo ")
    refused(url, "is a command, and none is run; use the URL of a file")
    assert not Path("pwned").exists()


@pytest.mark.parametrize("scheme, program", [("s3", "aws"), ("gs", "gsutil"), ("http", "curl"), ("ais", "ais")])
def test_the_name_of_a_shard_is_one_argument(project, monkeypatch, scheme, program):
    (project / "bin").mkdir()
    (project / f"bin/{program}").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (project / f"bin/{program}").chmod(0o755)
    monkeypatch.setenv("PATH", f"{project / 'bin'}:{os.environ['PATH']}")
    for text in ("; touch pwned;", "$(touch pwned)", "`touch pwned`", "'&touch pwned '", '"|touch pwned "', "> pwned"):
        url = f"{scheme}://host/{text} 0.tar"
        assert url in fetch(url).read_text().splitlines()
    assert not Path("pwned").exists()


def test_a_folder_that_cannot_be_written_is_named(project, server, monkeypatch):
    (project / "file").touch()
    monkeypatch.setenv("WDS_CACHE", str(project / "file/cache"))
    with pytest.raises(
        ImageError, match=r"0\.tar: cannot be kept: .*file/cache: .*; set WDS_CACHE to a folder on a disk"
    ):
        fetch(f"{server.url}/train/0000.tar")
    monkeypatch.setenv("WDS_CACHE", str(project / "cache"))
    monkeypatch.setenv("WDS_CACHE_SIZE", "100 GB")
    with pytest.raises(ImageError, match=r"^WDS_CACHE_SIZE = 100 GB: not a number of bytes"):
        fetch(f"{server.url}/train/0000.tar")


def test_a_shard_that_another_user_fetched_is_read(project, server, monkeypatch):
    """Only its owner may note that it is in use, and nobody in a folder that is mounted for reading."""
    url = f"{server.url}/train/0000.tar"
    fetch(url)
    for reason in (errno.EPERM, errno.EROFS):

        def refusing(*args, reason=reason, **options):
            raise OSError(reason, os.strerror(reason))

        with monkeypatch.context() as patch:
            patch.setattr(os, "utime", refusing)
            with fetching.open_fetched(url) as file:
                assert file.read() == (project / "served/train/0000.tar").read_bytes()


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_shard_that_may_not_be_read_is_named(project, server, monkeypatch, closed):
    url = f"{server.url}/train/0000.tar"
    path = fetch(url)
    refusal = PermissionError(errno.EACCES, "Permission denied", str(path))

    def guarded(original):  # permissions do not stop root, who may run the tests
        def call(name, *args, **options):
            if os.fspath(name) in (str(path), path):
                raise refusal
            return original(name, *args, **options)

        return call

    monkeypatch.setattr("builtins.open", guarded(open))
    if closed == "folder":
        monkeypatch.setattr(os, "stat", guarded(os.stat))
        fetch_ahead(url)
    with pytest.raises(ImageError, match=rf"^{url}: cannot be kept: {path}: Permission denied; set WDS_CACHE to"):
        fetching.open_fetched(url)


def test_fetching_ahead_keeps_quiet_and_reading_tells(server, monkeypatch):
    monkeypatch.setattr(fetching, "PAUSES", (1, 0.01))  # time for the next line but one
    server.misbehave["/train/0000.tar"] = [404, 404]
    fetch_ahead(f"{server.url}/train/0000.tar")
    fetch_ahead(f"{server.url}/train/0001.tar")  # one at a time
    with fetching._ahead:
        assert server.requests == {"/train/0000.tar": 1} and kept() == set()
    refused(f"{server.url}/train/0000.tar", "its server has no such file")
    fetch_ahead(f"{server.url}/train/0002.tar")
    with fetching._ahead:
        assert kept() == {"0002.tar"}


# What changes


def test_other_shards_at_the_same_url_are_fetched_where_old_ones_are_kept(project, server):
    for split in ("train", "val", "test"):
        fetch(f"{server.url}/{split}/0000.tar")
    shard(project / "served/train/0000.tar", first=100)  # this machine has the one before, as others may have
    write_manifests(in_shards(all_of(server)))
    listed = read_manifest(in_shards(all_of(server)), "train")
    assert np.array_equal(read_photograph(listed[0]), picture(100))
    DECODED.clear()
    cache_path(listed[0].shard).write_bytes((project / "served/test/0000.tar").read_bytes())
    server.requests.clear()
    assert [np.array_equal(read_photograph(listed[n]), picture(100 + n)) for n in range(4)] == [True] * 4
    assert server.requests == {"/train/0000.tar": 1}
    shard(project / "served/train/0000.tar", first=200)
    cache_path(listed[0].shard).unlink()
    DECODED.clear()
    with pytest.raises(ImageError, match=r"/train/0000\.tar: 00100\.png: changed since it was listed; run `dvc repro"):
        read_photograph(listed[0])


def test_a_change_is_noticed_by_what_the_server_says(project, server):
    def line():
        found = find_shards(all_of(server)).splits.values()
        return watch_shards(project, [name for names in found for name in names])

    seen = [line(), line()]
    os.utime("served/val/0000.tar", (5, 5))
    seen.append(line())
    os.truncate("served/val/0000.tar", 512)
    seen.append(line())
    server.misbehave["HEAD /val/0000.tar"] = 405  # it answers no such question: the URL alone
    seen.append(line())
    assert seen[0] == seen[1] and len(set(seen)) == 4 and not server.requests
    server.misbehave["HEAD /val/0000.tar"] = 404
    with pytest.raises(
        ImageError, match=rf"^{server.url}/val/0000\.tar: its server has no such file, or not for you \(HTTP"
    ):
        line()
    assert remote_state("s3://bucket/0.tar") == ""


def test_a_server_that_cannot_be_reached_is_named_when_asked(monkeypatch):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/0.tar"
        with pytest.raises(ImageError, match=rf"^{url}: cannot be reached: .*refused"):
            remote_state(url)
        listening.listen()
        monkeypatch.setattr(fetching, "STALLED", 0.2)
        with pytest.raises(ImageError, match=rf"^{url}: cannot be reached: timed out"):
            remote_state(url)
