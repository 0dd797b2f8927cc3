"""data.source = webdataset as a whole: params/webdataset.yaml on small shards, in a folder and by URL."""

import re
import subprocess
import sys

import pytest
from conftest import LOOSE, results
from file_server import serve
from photographs import in_shards, photographs, shards
from repository import ENVIRONMENT, PATIENCE, ROOT, free_port
from ruamel.yaml import YAML
from safetensors.torch import load_file

from pconv.data.decoding import ImageError
from pconv.data.manifest import DECODED, read_manifest
from pconv.data.selection import write_manifests
from pconv.files import sha256
from pconv.masks.sets import write_masks
from pconv.params import load_params
from pconv.train import train
from pconv.training.loading import TrainingCrops
from pconv.training.trainer import Trainer

EXAMPLE = re.compile(r"<!-- tests/test_webdataset\.py runs this -->\n\n```python\n(.*?)```", re.DOTALL)


@pytest.fixture
def sharded(tiny, monkeypatch):
    """Return a tiny project with shards as params/webdataset.yaml describes them, and what it trains with."""
    monkeypatch.setenv("WDS_CACHE", str(tiny / "cache"))
    shards(tiny / "shards", train=40, val=2, test=1)
    given = YAML(typ="safe").load(ROOT / "params" / "webdataset.yaml")

    def prepare(folder, **changes):
        DECODED.clear()
        data = given["data"] | {"folder": str(folder), **LOOSE, "size": 32}
        tiny.set(data=data, train__batch=4, **changes)
        environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT / "src"), "WDS_CACHE": str(tiny / "cache")}
        for module in ("pconv.data.watch", "pconv.data"):
            subprocess.run([sys.executable, "-m", module], cwd=tiny.folder, env=environment, check=True)
        params = load_params(tiny / "params.yaml")
        write_masks(params)
        return params

    return tiny, prepare


def curves(project):
    return {name: content for name, content in results(project).items() if name.endswith((".tsv", ".json"))}


def test_the_parameters_are_the_papers_but_for_the_batch():
    ours, paper = (load_params(ROOT / "params" / f"{name}.yaml") for name in ("webdataset", "paper-places2"))
    for name in ("stage1", "stage2"):
        one, other = (getattr(params.train, name) for params in (ours, paper))
        assert one.epochs * one.steps * ours.train.batch == other.epochs * other.steps * paper.train.batch
        assert (one.lr, one.lr_end) == (other.lr, other.lr_end)
    differ = {"data": {"source", "folder"}, "train": True}
    assert ours.model_dump(exclude=differ) == paper.model_dump(exclude=differ)


def test_training_on_shards_by_url_is_training_on_shards_in_a_folder(sharded):
    """To the bit, with loader processes and without, fetched ahead and just in time."""
    tiny, prepare = sharded
    params = prepare("shards")
    assert [len(read_manifest(params.data, split)) for split in ("train", "val", "test")] == [160, 8, 4]
    assert (tiny / "data/watched/photographs.txt").read_text().startswith("43 files ")
    train(params, 1)
    expected, weights = curves(tiny), load_file("models/stage1/last.safetensors")
    with serve(tiny / "shards") as server:
        params = prepare(f"{server.url}/{{train/{{0000..0039}},val/{{0000..0001}},test/0000}}.tar", train__workers=2)
        for path in (tiny / "cache").glob("*.tar"):
            path.unlink()
        server.requests.clear()
        train(params, 1)
        assert 0 < len(server.requests) < 43 and set(server.requests.values()) == {1}
    assert curves(tiny) == expected
    assert all(tensor.equal(weights[name]) for name, tensor in load_file("models/stage1/last.safetensors").items())


def test_processes_that_share_a_batch_see_it_as_one_would(sharded):
    tiny, prepare = sharded
    params = prepare("shards")
    trainer = Trainer(params, 1)
    assert trainer.crops.order.ahead > 0
    alone = [trainer.crops[n] for n in range(40)]
    again = TrainingCrops(params, 1, 40)
    for rank in (1, 0):  # in another order, as by two processes
        for n in (n for n in range(40) if n % 4 // 2 == rank):
            assert all(a.equal(b) for a, b in zip(again[n], alone[n], strict=True))


def test_two_machines_fetch_their_own_share_of_the_shards(sharded):
    tiny, prepare = sharded
    with serve(tiny / "shards") as server:
        prepare(f"{server.url}/{{train/{{0000..0039}},val/{{0000..0001}},test/0000}}.tar", train__stage1__steps=20)
        server.requests.clear()
        endpoint = f"localhost:{free_port()}"
        meeting = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}"]
        command = [sys.executable, "-m", "torch.distributed.run", *meeting, "-m", "pconv.train", "--stage", "1"]
        environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
        folders = [tiny / "one", tiny / "two"]
        machines = [
            subprocess.Popen(command, cwd=tiny.folder, env=environment | {"WDS_CACHE": str(folder)})
            for folder in folders
        ]
        try:
            assert [machine.wait(PATIENCE) for machine in machines] == [0, 0]
        finally:
            for machine in machines:
                machine.terminate()
    one, two = ({path.name for path in folder.glob("*.tar")} for folder in folders)
    fetched = [path for path in server.requests.elements() if path.startswith("/train/")]
    assert len(set(fetched)) == 40 and len(fetched) <= 42  # all in one pass of 160, those that are cut twice
    assert len(one & two) <= 2 + 2 and min(len(one), len(two)) >= 20  # 2 for validation


def test_a_shard_that_is_gone_stops_training_with_its_name(sharded, capfd):
    tiny, prepare = sharded
    with serve(tiny / "shards") as server:
        params = prepare(f"{server.url}/{{train/{{0000..0039}},val/{{0000..0001}},test/0000}}.tar", train__workers=2)
        for path in (tiny / "cache").glob("*.tar"):
            path.unlink()
        for path in (tiny / "shards/train").iterdir():
            path.unlink()
        with pytest.raises(
            ImageError, match=rf"^{server.url}/train/00..\.tar: its server has no such file, or not for"
        ):
            train(params, 1)


def test_the_example_of_the_documentation_makes_shards(tiny):
    (code,) = EXAMPLE.findall((ROOT / "docs" / "scaling.md").read_text())
    for split, count in (("train", 25), ("val", 3), ("test", 2)):
        photographs(tiny / "files" / split, *(f"{'ab'[n % 2]}/{n}.jpg" for n in range(count)), first=100 * len(split))
    program = code.replace('Path("photographs"', 'Path("files"').replace("maxcount=1000", "maxcount=10")
    assert program.count("files") == program.count("maxcount=10)") == 1
    subprocess.run([sys.executable, "-c", program], cwd=tiny.folder, check=True)
    assert write_manifests(in_shards("shards")) == {"train": 25, "val": 3, "test": 2, "rejected": 0}
    assert len(list((tiny / "shards/train").iterdir())) == 3
    listed = [photograph.sha256 for photograph in read_manifest(in_shards("shards"), "train")]
    files = [sha256(path) for path in sorted((tiny / "files/train").rglob("*.jpg"))]
    assert sorted(listed) == sorted(files) and listed != files
