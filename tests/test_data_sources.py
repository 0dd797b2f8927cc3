"""Data sets of torchvision as sources: their own splits, what they download, and what is wrong with a copy of them."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import scipy.io
from file_server import serve
from photographs import photographs, picture
from PIL import Image
from repository import package_with_example
from torchvision.datasets import Imagenette, Places365, imagenet

from pconv.data import sources
from pconv.data.decoding import ImageError
from pconv.data.folders import hashed
from pconv.data.manifest import read_manifest
from pconv.data.selection import write_manifests
from pconv.data.sources import SOURCES
from pconv.params import Data, ImageSource, Params
from pconv.project import SPLITS

pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture
def offline(monkeypatch):
    """Let nothing be downloaded."""

    def refuse(url, *_, **__):
        raise OSError(f"no network: {url}")

    monkeypatch.setattr("torchvision.datasets.imagenette.download_and_extract_archive", refuse)
    monkeypatch.setattr("torchvision.datasets.places365.download_and_extract_archive", refuse)


def jpeg(seed):
    """Return a photograph as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(picture(seed, 70, 90)).save(file, "JPEG")
    return file.getvalue()


def archive(path, files, kind=""):
    """Write a tar file of names and contents; returns its MD5."""
    with tarfile.open(path, f"w:{kind}") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return hashlib.md5(Path(path).read_bytes()).hexdigest()


def names(found):
    """Return the photographs to train with or validate, and those to test with."""
    assert sorted(found.splits) == sorted(SPLITS)
    assert all(hashed(name) == "val" for name in found.splits["val"])
    assert not any(hashed(name) == "val" for name in found.splits["train"])
    return sorted(found.splits["train"] + found.splits["val"]), found.splits["test"]


def test_the_parameters_offer_all_sources_and_no_other():
    assert set(get_args(ImageSource)) == {"packaged", "webdataset", *SOURCES}


# Imagenette


CLASSES = ("n01440764", "n03888257")


def imagenette_tree(folder, count=12):
    """Write photographs as fast.ai's archive has them; returns those to train with and those of val."""
    train = [f"imagenette2-320/train/{wnid}/{wnid}_{n}.JPEG" for wnid in CLASSES for n in range(count)]
    val = [f"imagenette2-320/val/{wnid}/{wnid}_{n}.JPEG" for wnid in CLASSES for n in range(3)]
    photographs(folder, *train, *val)
    return sorted(train), sorted(val)


def test_imagenette_keeps_its_splits_and_gives_some_of_train_to_val(project, monkeypatch, offline):
    train, val = imagenette_tree(project / "sets", 40)
    monkeypatch.setattr(sources, "IMAGENETTE", {"train": 80, "val": 6})
    found = SOURCES["imagenette"](project / "sets")
    assert names(found) == (train, val) and 0 < len(found.splits["val"]) < 12
    assert found.notes == ("test is the 6 photographs that the data set calls val",)


def test_imagenette_is_downloaded_once(project, monkeypatch):
    train, val = imagenette_tree(project / "away", 2)
    monkeypatch.setattr(sources, "IMAGENETTE", {"train": 4, "val": 6})
    files = {name: (project / "away" / name).read_bytes() for name in (*train, *val)}
    md5 = archive(project / "imagenette2-320.tgz", files, "gz")
    with serve(project) as server:
        monkeypatch.setitem(Imagenette._ARCHIVES, "320px", (f"{server.url}/imagenette2-320.tgz", md5))
        assert names(SOURCES["imagenette"](project / "sets")) == (train, val)
    assert names(SOURCES["imagenette"](project / "sets")) == (train, val)  # with nobody who serves it


def test_a_data_set_that_is_not_whole_is_refused(project, monkeypatch, offline):
    imagenette_tree(project / "sets")
    with pytest.raises(ImageError) as caught:
        SOURCES["imagenette"](project / "sets")
    said = str(caught.value)
    assert said.startswith(
        f"data.folder: {project / 'sets'} holds 24 photographs of train, not 9,469: an extraction was"
    )
    assert said.endswith("or use data.source = folder")


def test_a_failed_download_is_one_line_with_the_folder(project, offline):
    for source, kind in (("imagenette", "Imagenette"), ("places365", "Places365")):
        with pytest.raises(ImageError, match=rf"^data\.folder: {project}/sets: {kind}: no network: http"):
            SOURCES[source](project / "sets")


def test_a_data_set_is_not_put_where_the_pipeline_writes(project, offline):
    with pytest.raises(
        ImageError, match=r"^data\.folder: .* lies in the project's data/, .*; move the photographs out"
    ):
        SOURCES["imagenette"](project / "data/sets")
    (project / "file").touch()
    with pytest.raises(ImageError, match=rf"^data\.folder: {project}/file: Imagenette: .*exists"):
        SOURCES["imagenette"](project / "file")


# ImageNet


def imagenet_archives(folder, monkeypatch):
    """Write small archives as image-net.org gives them; returns the photographs to train with and those of val."""
    folder.mkdir()
    dtype = [(name, object) for name in ("ID", "WNID", "words", "gloss", "num_children")]
    rows = [(n + 1, wnid, f"thing {n}, other name", "", 0) for n, wnid in enumerate(CLASSES)] + [
        (3, "n0", "all", "", 2)
    ]
    mat = io.BytesIO()
    scipy.io.savemat(mat, {"synsets": np.array(rows, dtype)})
    inside = "ILSVRC2012_devkit_t12/data"
    truth = [1, 2, 2, 1]
    devkit = {
        f"{inside}/meta.mat": mat.getvalue(),
        f"{inside}/ILSVRC2012_validation_ground_truth.txt": "".join(f"{n}\n" for n in truth).encode(),
    }
    classes = {}
    for c, wnid in enumerate(CLASSES):
        archive(folder / "class.tar", {f"{wnid}_{n}.JPEG": jpeg(10 * c + n) for n in range(5)})
        classes[f"{wnid}.tar"] = (folder / "class.tar").read_bytes()
    (folder / "class.tar").unlink()
    val = {f"ILSVRC2012_val_{n:08}.JPEG": jpeg(100 + n) for n in range(1, 5)}
    for split, files, kind in (("devkit", devkit, "gz"), ("train", classes, ""), ("val", val, "")):
        name = imagenet.ARCHIVE_META[split][0]
        monkeypatch.setitem(imagenet.ARCHIVE_META, split, (name, archive(folder / name, files, kind)))
    monkeypatch.setattr(sources, "IMAGENET", {"train": 10, "val": 4})
    return (
        [f"train/{wnid}/{wnid}_{n}.JPEG" for wnid in CLASSES for n in range(5)],
        sorted(f"val/{CLASSES[k - 1]}/ILSVRC2012_val_{n:08}.JPEG" for n, k in enumerate(truth, 1)),
    )


def test_imagenet_is_extracted_from_its_archives_and_found_again_without_them(project, monkeypatch):
    expected = imagenet_archives(project / "sets", monkeypatch)
    assert names(SOURCES["imagenet"](project / "sets")) == expected
    for path in (project / "sets").glob("ILSVRC*"):
        path.unlink()
    assert names(SOURCES["imagenet"](project / "sets")) == expected


def test_imagenet_without_archives_says_which_is_missing(project):
    with pytest.raises(ImageError, match=r"sets: ImageNet: The archive ILSVRC2012_devkit_t12\.tar\.gz is not present"):
        SOURCES["imagenet"](project / "sets")


# Places365


def places_tree(folder, monkeypatch, size):
    """Write photographs and lists as Places365 has them; returns those to train with and those of val."""
    train = [f"/a/abbey/{n:08}.jpg" for n in range(30)] + [f"/z/zoo/{n:08}.jpg" for n in range(30)]
    val = [f"Places365_val_{n:08}.jpg" for n in range(4)]
    photographs(folder, *(f"data_{size}_standard{name}" for name in train), *(f"val_{size}/{name}" for name in val))
    lists = {
        "places365_train_standard.txt": "".join(f"{name} {int('zoo' in name)}\n" for name in train),
        "places365_val.txt": "".join(f"{name} 0\n" for name in val),
        "categories_places365.txt": "/a/abbey 0\n/z/zoo 1\n",
    }
    sums = {}
    for name, text in lists.items():
        (folder / name).write_text(text)
        sums[name] = hashlib.md5(text.encode()).hexdigest()
    monkeypatch.setattr(Places365, "_CATEGORIES_META", ("categories_places365.txt", sums["categories_places365.txt"]))
    for split, name in (("train-standard", "places365_train_standard.txt"), ("val", "places365_val.txt")):
        monkeypatch.setitem(Places365._FILE_LIST_META, split, (name, sums[name]))
    return [f"data_{size}_standard{name}" for name in train], [f"val_{size}/{name}" for name in val]


@pytest.mark.parametrize("source, size", [("places365", "large"), ("places365-small", "256")])
def test_places365_is_what_its_lists_say(project, monkeypatch, offline, source, size):
    expected = places_tree(project / "sets", monkeypatch, size)
    (project / f"sets/val_{size}/not listed.jpg").touch()
    assert names(SOURCES[source](project / "sets")) == expected


def test_a_photograph_of_the_lists_that_is_not_there_is_rejected_with_its_name(project, monkeypatch, offline):
    places_tree(project / "sets", monkeypatch, "256")
    (project / "sets/val_256/Places365_val_00000001.jpg").unlink()
    with pytest.raises(
        ImageError, match=r"1 of 64 photographs are rejected, .*Places365_val_00000001\.jpg: No such file"
    ):
        write_manifests(Data(source="places365-small", folder="sets", min_side=8, max_rejected=0.0))


def test_a_data_set_is_listed_like_a_folder(project, monkeypatch, offline):
    train, val = places_tree(project / "sets", monkeypatch, "256")
    params = Data(source="places365-small", folder="sets", min_side=8)
    counts = write_manifests(params)
    assert counts["test"] == 4 and counts["train"] + counts["val"] == 60 and counts["rejected"] == 0
    assert [photograph.name for photograph in read_manifest(params, "test")] == val
    assert {photograph.name for photograph in read_manifest(params, "train")} < set(train)


# The documentation


def test_the_example_of_the_documentation(project):
    """The documented steps in a copy of the package, then its lists and what the pipeline watches."""
    imports = "import csv\nfrom pconv.project import SPLITS\n"
    source = package_with_example(
        project, "tests/test_data_sources.py", "data/sources.py", imports, "ImageSource", "listed"
    )
    values = Params().model_dump()
    values["data"] |= {"source": "listed", "folder": "mine", "min_side": 8}
    (project / "params.yaml").write_text(json.dumps(values))
    photographs(project / "mine", "a.png", "b.png", "c.png", "d.png", "not listed.png")
    (project / "mine/splits.csv").write_text("a.png,train\nb.png,test\nc.png,val\nd.png,train\n")
    environment = {"PYTHONPATH": str(source), "PATH": ""}
    for module in ("pconv.data.watch", "pconv.data"):
        subprocess.run([sys.executable, "-m", module], cwd=project, env=environment, check=True)
    found = {
        split: [one.name for one in read_manifest(Data(source="folder", folder="mine"), split)] for split in SPLITS
    }
    assert found == {"train": ["a.png", "d.png"], "val": ["c.png"], "test": ["b.png"]}
    assert (project / "data/watched/photographs.txt").read_text().startswith("4 files ")
