"""The experiments behind notebook 07: their list, what DVC is told, and what is kept of a finished one."""

import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
from dvc.utils.hydra import apply_overrides
from repository import ENVIRONMENT, ROOT, run
from ruamel.yaml import YAML
from torch import nn

from pconv.data.crops import random_crop
from pconv.data.decoding import read_image
from pconv.data.packages import unpack
from pconv.evaluate import OURS, Crops, evaluate
from pconv.notebook import write_metrics
from pconv.params import flat, load_params
from pconv.studies import experiments
from pconv.studies.claims import ARMS
from pconv.studies.collected import read_collected, read_picture
from pconv.studies.experiments import ExperimentError, checksum, collect, largest_difference, nested, queue, read_plan
from pconv.unet import FILLS, load_model

PLAN = {"seeds": [0], "experiments": {"partial": {"also": ["stage 1", "fills"], "pictures": True}, "wide": {}}}


@pytest.fixture
def project(tiny):
    """Return a tiny project with a list of experiments; its params.yaml is their base, too."""
    (tiny / "params").mkdir()
    (tiny / "params" / "claims.yaml").write_bytes((tiny / "params.yaml").read_bytes())
    (tiny / "claims").mkdir()
    return tiny


def write_plan(project, **changes):
    YAML().dump(PLAN | changes, project / "claims" / "experiments.yaml")


# The list


def test_the_list_that_comes_with_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)
    plan = read_plan("/photographs")
    assert len({one.title for one in plan}) == len(plan)
    seeds = {one.name: [] for one in plan}
    for one in plan:
        seeds[one.name].append(one.seed)
        assert one.params["seed"] == one.seed and one.params["data.folder"] == "/photographs"
        assert one.params["data.source"] == "folder"
    assert all(len(set(found)) >= 3 for found in seeds.values())


def test_compared_runs_differ_in_nothing_but_what_is_compared(monkeypatch):
    """The same steps, batches and seeds everywhere; what they set is all that differs."""
    monkeypatch.chdir(ROOT)
    plan = {one.title: one for one in read_plan()}
    for one in plan.values():
        base = plan[f"partial-{one.seed}"].params
        differ = {key for key, value in one.params.items() if value != base[key]} - {"evaluate.baselines"}
        assert differ == set(one.entry.set) - {"evaluate.baselines"}
        assert not any(key.startswith(("train.stage", "train.batch")) for key in differ)


def test_the_arms_share_the_first_stage(monkeypatch):
    monkeypatch.chdir(ROOT)
    for one in read_plan():
        if one.name in ARMS:
            assert not {key for key in one.entry.set if not key.startswith(("loss.stage2", "train.freeze", "evaluate"))}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"experiments": {"a": {"set": {"model.widht": 3}}}}, "experiments.yaml: a: model.widht: "),
        ({"experiments": {"a": {"set": {"model.width": 0}}}}, "experiments.yaml: a: model.width: "),
        ({"experiments": {"a": {"also": ["stage 3"]}}}, "experiments.yaml: experiments.a.also.0: "),
        ({"seeds": []}, "experiments.yaml: seeds: "),
        ({"seed": 1}, "experiments.yaml: seed: "),
    ],
)
def test_a_wrong_list_is_refused(project, changes, message):
    write_plan(project, **changes)
    with pytest.raises(ExperimentError) as error:
        read_plan()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_nested_is_the_opposite_of_flat(tiny):
    values = load_params().model_dump()
    assert nested(flat(values)) == values


# Into the queue


@pytest.fixture
def told(monkeypatch):
    """Return what is called as `dvc exp run`, without running it."""
    commands, real = [], subprocess.run

    def record(command, **options):
        if command[:3] != ["dvc", "exp", "run"]:
            return real(command, **options)
        commands.append(command)

    monkeypatch.setattr(experiments.subprocess, "run", record)
    return commands


def with_dvc(project):
    run(project.folder, "dvc", "init", "-q")


def test_dvc_reads_the_parameters_that_were_meant(project, told):
    changes = {"model.width": 6, "train.stage2.lr_end": 1e-5, "evaluate.baselines": ["mean fill", "telea"]}
    write_plan(project, experiments={"wide": {"set": changes}}, seeds=[3])
    with_dvc(project)
    folder = project / "a folder's, photographs"
    folder.mkdir()
    assert queue(str(folder)) == 1
    (command,) = told
    overrides = [command[i + 1] for i, part in enumerate(command) if part == "-S"]
    apply_overrides(project / "params.yaml", overrides)
    assert flat(load_params().model_dump()) == read_plan(str(folder))[0].params
    assert command[command.index("--name") + 1] == "claims-wide-3" and command[-1] == "evaluate"
    assert len(overrides) == 5  # nothing that params.yaml says already


def test_what_is_collected_or_finished_is_not_queued_again(project, told):
    write_plan(project)
    with_dvc(project)
    assert queue(None) == 2
    run(project.folder, "git", "update-ref", finished_ref(project, "claims-wide-0"), "HEAD")
    assert queue(None) == 1 and told[-1][told[-1].index("--name") + 1] == "claims-partial-0"
    (project / "claims" / "results").mkdir()
    (project / "claims" / "results" / "experiments.json").write_text('{"experiments": {"partial-0": {}}}')
    assert queue(None) == 0


# Out of it


def finished_ref(project, name):
    """Return where DVC keeps a finished experiment that started from HEAD."""
    head = run(project.folder, "git", "rev-parse", "HEAD").stdout.strip()
    return f"refs/exps/{head[:2]}/{head[2:]}/{name}"


@pytest.fixture
def finished(project, trained):
    """Return a project with one finished experiment, claims-partial-0, whose files are all in git."""
    write_plan(project)
    with_dvc(project)
    for stage in (1, 2):
        source = trained.project / f"models/stage{stage}/best.safetensors"
        (project / f"models/stage{stage}").mkdir(parents=True)
        (project / f"models/stage{stage}/best.safetensors").write_bytes(source.read_bytes())
    model, params = load_model("models/stage2/best.safetensors"), load_params()
    write_metrics("stage1", {"precision": "float32"})
    evaluate(model, params).to_csv(project / "reports/metrics/crops.csv", index=False)
    (project / "data/images/packaged/test").mkdir(exist_ok=True)
    (project / "data/images/packaged/test/kept").touch()
    (project / ".gitignore").write_text("")
    return commit(project)


def commit(project):
    """Commit everything as what the experiment left, and go back to where it began."""
    for command in (["add", "-A", "-f"], ["commit", "-qm", "done"]):
        run(project.folder, "git", *command)
    done = run(project.folder, "git", "rev-parse", "HEAD").stdout.strip()
    run(project.folder, "git", "update-ref", finished_ref(project, "claims-partial-0"), done)
    return project


def test_a_finished_experiment_is_collected(finished):
    added, missing = collect()
    assert (added, missing) == (["partial-0"], ["wide-0"])
    found, params = read_collected(), load_params()
    assert found.about["photographs"] == {"train": 3, "val": 2, "test": 1} | {
        "sha256": found.about["photographs"]["sha256"]
    }
    entry = found.about["experiments"]["partial-0"]
    assert entry["difference between contents"] == 0
    first = load_model("models/stage1/best.safetensors")
    assert entry["stage 1"] == checksum(first)
    assert not {"data.folder", "data.source", "train.workers"} & set(found.about["params"])  # of this machine
    networks = {OURS: load_model("models/stage2/best.safetensors"), f"{OURS}, stage 1": first}
    partial = found.table[found.table["experiment"] == "partial"]
    assert list(partial["method"].unique()) == list(networks)
    for method, model in networks.items():
        expected = evaluate(model, params).query("method == 'pconv'")
        rows = partial[partial["method"] == method]
        np.testing.assert_allclose(rows["psnr"], expected["psnr"], atol=6e-4)
        assert rows["photograph"].tolist() == expected["photograph"].tolist()
    assert found.table.query("experiment == 'drawn'")["method"].unique().tolist() == ["mean fill"]
    truth, holes, filled = (read_picture(name) for name in ("truth-drawn-0", "holes-drawn-0", "partial-0"))
    masks = np.hstack([c.mask[0].numpy() for c in Crops(params).one_per_bin()])
    assert np.array_equal(holes[..., 0] == 0, masks == 1)
    assert np.array_equal(filled[masks == 1], truth[masks == 1]) and not np.array_equal(filled, truth)


def test_pictures_show_packaged_photographs_alone(finished):
    """Those of a folder may not be passed on."""
    collect()
    truth, size = read_picture("truth-drawn-0"), load_params().data.size
    unpacked = [read_image(finished / "x" / name) for name in unpack("test", finished / "x")]
    for i in range(truth.shape[1] // size):
        photograph = unpacked[i % len(unpacked)]
        expected = random_crop(photograph, size, load_params().data.crop, np.random.default_rng(i))
        assert np.array_equal(truth[:, i * size : (i + 1) * size], expected)


def test_collecting_again_adds_nothing(finished):
    collect()
    before = {path: path.read_bytes() for path in (finished / "claims/results").iterdir()}
    assert collect() == ([], ["wide-0"])
    assert {path: path.read_bytes() for path in (finished / "claims/results").iterdir()} == before


def test_an_experiment_with_other_parameters_is_refused(finished):
    finished.write("params/claims.yaml", model__width=6)
    with pytest.raises(ExperimentError, match="claims-partial-0: was run with another value of model.width"):
        collect()


def test_an_experiment_from_before_a_parameter_is_collected(finished, monkeypatch):
    """What it did not know, it had no other value of."""
    planned = experiments.read_plan()
    later = [one._replace(params=one.params | {"masks.later": 1}) for one in planned]
    monkeypatch.setattr(experiments, "read_plan", lambda: later)
    assert collect() == (["partial-0"], ["wide-0"])


def test_a_plain_network_is_measured_with_other_colours_in_the_hole(tiny, trained, monkeypatch):
    monkeypatch.chdir(trained.project.folder)
    params = trained.params
    model = load_model("models/stage2/best.safetensors")
    model.layer, model.fill = "plain", "grey"
    monkeypatch.setattr(
        type(model), "forward", lambda self, image, mask: torch.full_like(image, FILLS.get(self.fill, 1))
    )
    monkeypatch.setattr(type(model), "reached", lambda self, mask: torch.ones_like(mask))
    alone = params.model_copy(
        update={
            "model": params.model.model_copy(update={"fill": "grey"}),
            "evaluate": params.evaluate.model_copy(update={"baselines": []}),
        }
    )
    tables = pd.concat(experiments._with_other_fills(model, alone))
    assert tables["method"].unique().tolist() == [f"{OURS}, {fill}" for fill in ("mean", "black", "white")]
    psnr = tables.groupby("method")["psnr"].mean()
    assert psnr[f"{OURS}, black"] != psnr[f"{OURS}, white"] == psnr[f"{OURS}, mean"]


def test_the_largest_difference_sees_a_network_that_looks_into_the_hole(trained, monkeypatch):
    class Peeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, image, mask):
            return image.nan_to_num().mean((1, 2, 3), keepdim=True).expand_as(image)

    monkeypatch.chdir(trained.project.folder)
    crops = Crops(trained.params)
    assert largest_difference(load_model("models/stage2/best.safetensors"), crops) == 0
    assert largest_difference(Peeping(), crops) > 0.1


def test_the_command_says_what_it_did_and_what_is_wrong(finished):
    command = ["python", "-m", "pconv.studies.experiments"]
    environment = {"PYTHONPATH": f"{ROOT / 'src'}", **ENVIRONMENT}
    done = run(finished.folder, *command, "collect", **environment)
    assert done.stdout == "1 experiments added to claims/results; not finished: wide-0\n"
    write_plan(finished, seeds=[])
    done = run(finished.folder, *command, "collect", check=False, **environment)
    assert done.returncode == 1 and done.stderr.startswith("ExperimentError: ") and "Traceback" not in done.stderr
