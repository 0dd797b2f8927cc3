"""Which shards there are, and the split of each: nothing is mixed or passed over in silence."""

import os
import re
import time

import pytest
from photographs import empty, shards

from pconv.data.decoding import ImageError
from pconv.data.shardlists import find_shards, watch_shards
from pconv.project import SPLITS

pytestmark = pytest.mark.usefixtures("project")


def test_folders_named_for_the_splits_are_the_splits(project):
    empty(project / "mine", "train/1.tar", "train/0.tar", "val/0.tar", "test/a/0.TAR", "test/notes.txt", "train/a.gz")
    found = find_shards("mine")
    assert found.splits == {"train": ["train/0.tar", "train/1.tar"], "val": ["val/0.tar"], "test": ["test/a/0.TAR"]}
    assert found.notes == () and find_shards(str(project / "mine")).splits == found.splits


def test_urls_and_paths_are_expanded_as_webdataset_does(monkeypatch, project):
    found = find_shards("https://test.org/train/{train,val,test}-{000..002}.tar")
    assert found.splits["val"] == [f"https://test.org/train/val-00{n}.tar" for n in range(3)]
    assert [len(found.splits[split]) for split in SPLITS] == [3, 3, 3]
    found = find_shards("s3://test/a-train-{0..1}.tar::gs://b/dev/{0..3}.tar::http://c/x.tar?split=no")
    assert found.splits["test"] == [f"gs://b/dev/{n}.tar" for n in range(4)]
    assert len(found.splits["train"] + found.splits["val"]) == 2
    assert found.notes[0].startswith("1 shards have no word for a split in their names")
    monkeypatch.setenv("WDS_PLACE", "https://host/places")
    assert find_shards("${PLACE}/{train,test}/{0..9}.tar").splits["test"][0] == "https://host/places/test/0.tar"
    empty(project / "mine", "train.tar", "val.tar", "test.tar")
    assert find_shards("mine/{train,val,test}.tar").splits["val"] == ["mine/val.tar"]
    assert find_shards(f"file://{project}/mine/{{train,val,test}}.tar").splits["val"] == [f"{project}/mine/val.tar"]


def test_without_names_some_are_held_out_by_hash():
    splits = find_shards("https://host/{0000..0999}.tar").splits
    assert [len(splits[split]) for split in SPLITS] == [900, 50, 50]
    assert len({shard for found in splits.values() for shard in found}) == 1000
    assert [len(find_shards("https://host/{0..2}.tar").splits[split]) for split in SPLITS] == [1, 1, 1]
    again = find_shards("https://host/{0000..0999}.tar")
    assert again.splits == splits and again.notes == (
        "val is 50 of the shards, chosen by a hash of their names",
        "test is 50 of the shards, chosen by a hash of their names",
    )


def test_folders_that_all_shards_share_do_not_count():
    for folder in ("https://host/train/a/{0000..0999}.tar", "s3://test/val/{0000..0999}.tar"):
        assert [len(find_shards(folder).splits[split]) for split in SPLITS] == [900, 50, 50]
    splits = find_shards("https://host/test/{train/{0..9},val/0,test/0}.tar").splits
    assert [len(splits[split]) for split in SPLITS] == [10, 1, 1]


def test_of_train_and_val_alone_val_is_the_test_set():
    found = find_shards("https://host/imagenet-train-{0000..0099}.tar::https://host/imagenet-val-{00..04}.tar")
    assert [len(found.splits[split]) for split in SPLITS] == [95, 5, 5]
    assert all("-val-" in shard for shard in found.splits["test"])
    assert all("-train-" in shard for shard in found.splits["train"] + found.splits["val"])
    assert found.notes == (
        "test is the 5 shards that are called val",
        "val is 5 of the shards, chosen by a hash of their names",
    )


@pytest.mark.parametrize(
    "folder, said",
    [
        ("pipe:curl https://host/{train,val,test}.tar", "a parameter file runs no commands; use a folder or a URL"),
        ("nowhere", "1 of 1 shards are not there or no files: nowhere; a path of a folder or of shards starts at"),
        ("nowhere/{0..9}.tar", "10 of 10 shards are not there or no files: nowhere/0.tar; "),
        ("https://host/train-{0..9}.tar", "shards for train only: name the splits train, val and test"),
        ("https://host/{val,test}/{0..9}.tar", "shards for test, val only: "),
        ("https://host/train-val-{0..9}.tar", "/train-val-0.tar: is it for train or val? Rename train-val-0.tar"),
        ("https://host/{0..1}.tar", "too few shards to hold out some for validation and the test"),
        ("https://host/train.tar::https://host/test.tar", "too few shards to hold out"),
        ("https://host/{train,train,test}.tar", "names a shard more than once"),
        ("${NOWHERE}/0.tar", "missing environment variable"),
        ("https://host/{train,val", ""),
        ("https://[host/{train,val,test}.tar", "Invalid IPv6 URL"),
        ("empty", "empty holds no shards (.tar)"),
    ],
)
def test_what_is_not_clear_is_refused(project, folder, said):
    (project / "empty").mkdir()
    with pytest.raises(ImageError, match=rf"^data\.folder\b.*{re.escape(said)}"):
        find_shards(folder)


@pytest.mark.parametrize(
    "folder",
    [
        "pipe:touch pwned; echo ://{train,val,test}.tar",
        "https://h/val-0.tar::pipe:touch pwned; echo ://train-0.tar::https://h/test-0.tar",
        "{https://h/val-0.tar,https://h/test-0.tar,pipe:touch pwned; echo ://train-0.tar}",
        "{p,http}{ipe:touch pwned #,}://h/{train,val,test}.tar",
        "${COMMAND}://h/{train,val,test}.tar",
        "file://pipe:touch pwned; echo ://{train,val,test}.tar",
        "PIPE:touch pwned; echo ://{train,val,test}.tar",
        " pipe:touch pwned; echo ://{train,val,test}.tar",
        "p\tipe:touch pwned; echo ://{train,val,test}.tar",
    ],
)
def test_commands_are_refused_wherever_they_stand(monkeypatch, folder):
    monkeypatch.setenv("WDS_COMMAND", "pipe:touch pwned #")
    with pytest.raises(ImageError, match=r"^data\.folder = .*: a parameter file runs no commands; use a"):
        find_shards(folder)


def test_a_change_of_shards_is_noticed(project):
    shards("mine", train=2, val=1, test=1)

    def line():
        return watch_shards(project / "mine", [name for names in find_shards("mine").splits.values() for name in names])

    seen = [line(), line()]
    for change in (
        lambda: os.utime("mine/val/0000.tar", (5, 5)),
        lambda: (project / "mine/train/0001.tar").rename(project / "mine/train/0002.tar"),
        lambda: os.truncate("mine/train/0002.tar", 512),
        lambda: (project / "mine/train/0002.tar").unlink(),
    ):
        time.sleep(0.05)  # older kernels count the times of files in ticks of up to 10 ms
        change()
        seen.append(line())
    assert seen[0] == seen[1] and len(set(seen)) == 5
