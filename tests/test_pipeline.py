"""The pipeline as a whole, in a copy of the repository with params/smoke.yaml; and the committed reports."""

import ast
import json
import re
import shutil
import subprocess
import time
from contextlib import suppress

import nbformat
import psutil
import pytest
from dvc.repo import Repo
from photographs import photographs
from repository import ENVIRONMENT, PATIENCE, ROOT, change, closure, copy_repository, run
from ruamel.yaml import YAML
from safetensors.torch import load_file

from pconv.params import Params, flat, load_params

PIPELINE = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
UNTRACKED = {"train.workers", "train.checkpoint_seconds"}  # they change no result


def changed(folder):
    """Stages that `dvc status` says are out of date because of what they depend on or run.

    What another stage makes and git does not keep is missing on a fresh clone: that is no change.
    """
    outs = [out for about in PIPELINE.values() for out in about["outs"]]
    made = {out for out in outs if isinstance(out, str)} | {
        name for out in outs if isinstance(out, dict) for name, options in out.items() if "persist" in options
    }
    found = set()
    for stage, entries in Repo(str(folder)).status().items():
        for entry in (entry for entry in entries if isinstance(entry, dict)):
            deps = entry.get("changed deps", {})
            if "changed command" in entry or any(what != "deleted" or dep not in made for dep, what in deps.items()):
                found.add(stage.rpartition(":")[2])  # a path stands before the name, seen from elsewhere
    return found


def test_every_output_is_there_and_every_number_finite(smoke):
    for stage, about in PIPELINE.items():
        for out in [*about.get("outs", []), *about.get("metrics", []), *about.get("plots", [])]:
            path = smoke / (next(iter(out)) if isinstance(out, dict) else out)
            assert path.exists(), f"{stage}: {path}"
    for path in (smoke / "reports" / "metrics").glob("*.json"):
        text = path.read_text()
        assert json.loads(text), path
        assert "NaN" not in text and "Infinity" not in text, path


def test_nothing_is_out_of_date_after_a_run(smoke):
    stages = {name.rpartition(":")[2]: what for name, what in Repo(str(smoke)).status().items()}
    assert stages == {"watch": ["always changed"]}


def test_a_change_in_a_folder_of_masks_is_noticed(smoke_copy):
    """A file that is added, changed or removed draws the masks again; a run without a change does not."""
    folder = smoke_copy
    run(folder, "python", "-c", CAPTIONS, PYTHONPATH="src")
    for key, value in (("masks.folder", "mine"), ("masks.source", "folder")):
        change(folder / "params.yaml", key, value)
    ran = []
    for alter in (
        lambda: None,
        lambda: None,
        lambda: shutil.copy(folder / "mine/train/0.png", folder / "mine/train/again.png"),
        lambda: shutil.copy(folder / "mine/train/1.png", folder / "mine/train/again.png"),
        lambda: (folder / "mine/train/again.png").unlink(),
    ):
        alter()
        said = run(folder, "dvc", "repro", "masks").stdout
        ran.append("Running stage 'masks'" in said)
    assert ran == [True, False, True, True, True]


def test_a_change_in_a_folder_of_photographs_is_noticed(smoke_copy):
    """A photograph that is added, changed or removed is listed anew; among those of the test it changes no training."""
    folder = smoke_copy
    photographs(folder / "mine", "train/a.png", "train/b.png", "val/c.png", "test/d.png")
    for key, value in (("data.folder", "mine"), ("data.source", "folder"), ("data.min_side", 8)):
        change(folder / "params.yaml", key, value)
    ran, lists = [], []
    for alter in (
        lambda: None,
        lambda: None,
        lambda: photographs(folder / "mine", "test/e.png", first=4),
        lambda: photographs(folder / "mine", "test/e.png", first=5),
        lambda: (folder / "mine/test/e.png").unlink(),
        lambda: photographs(folder / "mine", "train/b.png", first=6),
    ):
        alter()
        ran.append("Running stage 'images'" in run(folder, "dvc", "repro", "images").stdout)
        lists.append([(folder / f"data/images/{split}.csv").read_text() for split in ("train", "test")])
    assert ran == [True, False, True, True, True, True]
    train, test = zip(*lists, strict=True)
    assert len({*train[:5]}) == 1 and train[5] != train[4]
    assert test[1] != test[2] != test[3] != test[4] == test[5] == test[0]


CAPTIONS = "from pathlib import Path; from pconv.studies.masks import write_captions; write_captions(Path('mine'))"


def test_progress_is_shown_while_it_runs(smoke):
    output = (smoke / "output.txt").read_text()
    for what in ("stage 1, step 0/20", "stage 2, step 0/10", "evaluate, crop 0/12", "so far", "left"):
        assert what in output


def test_the_last_word_about_other_parameters_than_the_committed(smoke):
    done = run(smoke, "python", "-m", "pconv.reproduced", PYTHONPATH="src")
    assert done.stdout.startswith("There is nothing to compare with: HEAD was run with other parameters (data.size, ")


def test_executed_notebooks_are_clean(smoke):
    paths = sorted((smoke / "reports" / "notebooks").glob("0[1-5]*.ipynb"))
    assert [p.name[:2] for p in paths] == ["01", "02", "03", "04", "04", "05"]
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in code), path
        outputs = [output for cell in code for output in cell.outputs]
        assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"], path
        assert str(smoke) not in path.read_text(), path


def test_two_forced_runs_give_the_same_lock(smoke):
    before = (smoke / "dvc.lock").read_bytes()
    run(smoke, "dvc", "repro", "--force")
    assert (smoke / "dvc.lock").read_bytes() == before


def test_a_run_killed_in_training_ends_with_the_same_weights(smoke, smoke_copy):
    """SIGKILL to DVC, papermill and the kernel alike, in the middle of stage 1; then `dvc repro` again."""
    folder = smoke_copy
    change(folder / "params.yaml", "train.checkpoint_seconds", 0)
    whole = load_file(folder / "models" / "stage1" / "last.safetensors")
    command = ["dvc", "repro", "--force", "--single-item", "train-stage1"]
    process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT)
    state = folder / "models" / "state" / "stage1"
    deadline = time.monotonic() + PATIENCE
    while len(list(state.glob("step-*"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    victims = psutil.Process(process.pid).children(recursive=True)
    for victim in victims:
        victim.suspend()
    process.kill()  # first: it would write its lock file when a child ends, and leave half of it
    for victim in victims:
        with suppress(psutil.NoSuchProcess):  # which notice its end
            victim.kill()
    process.wait()
    reached = max(int(path.name.removeprefix("step-")) for path in state.glob("step-*"))
    assert 0 < reached < 20, "the kill came too early or too late to prove anything"
    done = run(folder, *command)
    assert f"going on from step {reached}" in done.stdout + done.stderr
    after = load_file(folder / "models" / "stage1" / "last.safetensors")
    assert all(after[name].equal(whole[name]) for name in whole)
    for plot in (smoke / "reports" / "plots" / "stage1").rglob("*.tsv"):
        assert (folder / plot.relative_to(smoke)).read_bytes() == plot.read_bytes(), plot
    assert not state.exists()


# What depends on what


SMOKE = flat(load_params(ROOT / "params" / "smoke.yaml").model_dump())


def other(key, value):
    """Another value of the same kind."""
    if key == "evaluate.baselines":
        return ["telea"]
    if key == "masks.folder":
        return "masks"
    if key == "data.crop":
        return [0.4, 0.5]
    if key == "data.check":
        return "decode"
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        if key == "data.source":
            return "folder"
        return {
            "packaged": "random",
            "auto": "float32",
            "partial": "plain",
            "mean": "black",
            "paper": "sum",
            "drawn": "grid2",
            "white": "black",
            "forced": "free",
        }[value]
    return "photographs" if value is None else value * 2 if value else 1


ALL = {"masks", "layer", "unet", "train-stage1", "train-stage2", "evaluate", "claims"}
TRAIN = {"train-stage1", "train-stage2"}
USERS = {  # the stages that a change of the key makes out of date, directly
    "seed": ALL,
    "data.source": {"watch", "images", "layer", "unet", "evaluate"} | TRAIN,
    "data.folder": {"watch", "images", "layer", "unet", "evaluate"} | TRAIN,
    "data.check": {"images"},
    "data.min_side": {"images"},
    "data.max_pixels": {"images", "masks"},
    "data.max_rejected": {"images"},
    "data.size": {"masks", "unet", "evaluate"} | TRAIN,
    "data.crop": {"unet", "evaluate"} | TRAIN,
    "masks.source": {"watch", "masks"},
    "masks.folder": {"watch", "masks"},
    "masks": {"masks"},
    "model.layer": TRAIN,
    "model.fill": TRAIN,
    "model.scale": TRAIN,
    "model": {"unet"} | TRAIN,
    "loss.vgg": {"watch", "unet"} | TRAIN,
    "loss.stage1": {"train-stage1"},
    "loss.stage2": {"train-stage2"},
    "train.batch": TRAIN,
    "train.recolour": TRAIN,
    "train.precision": TRAIN,
    "train.processes": TRAIN,
    "train.sync_norm": TRAIN,
    "train.start": {"watch", "train-stage1"},
    "train.freeze_norm": {"train-stage2"},
    "train.validation": TRAIN,
    "train.stage1.epochs": TRAIN,  # the curves of stage 2 begin where those of stage 1 end
    "train.stage1.steps": TRAIN,
    "train.stage1": {"train-stage1"},
    "train.stage2": {"train-stage2"},
    "evaluate.baselines": {"evaluate"},
    "evaluate.published": {"watch", "evaluate"},
}


@pytest.mark.parametrize("key", SMOKE)
def test_a_changed_key_makes_just_its_users_out_of_date(smoke, key):
    path = smoke / "params.yaml"
    before = path.read_text()
    users = next((stages for prefix, stages in USERS.items() if f"{key}.".startswith(f"{prefix}.")), set())
    assert users or key in UNTRACKED, f"{key}: which stages use it?"
    try:
        change(path, key, other(key, SMOKE[key]))
        assert changed(smoke) == users
    finally:
        path.write_text(before)


@pytest.mark.parametrize("what", ["weights.safetensors", "crops-128.csv"])
def test_of_published_networks_weights_and_tables_of_crops_alone_count(smoke, what):
    folder = smoke / "published" / "some.net"
    folder.mkdir()
    try:
        for name in ("README.md", "metrics.json", "elsewhere-crops-128.csv"):
            (folder / name).write_text("words")
        assert changed(smoke) == set()
        (folder / what).write_bytes(b"numbers")
        assert changed(smoke) == {"evaluate", "claims"}
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_depends_on_exactly_the_source_files_it_uses(stage):
    about = PIPELINE[stage]
    sources = {ROOT / dep for dep in about["deps"] if dep.startswith("src/") and dep.endswith(".py")}
    notebooks = [ROOT / dep for dep in about["deps"] if dep.endswith(".ipynb")]
    if notebooks:
        expected = closure(notebooks[0]) | {ROOT / "src/pconv/engine.py"} | closure(ROOT / "src/pconv/engine.py")
        assert str(notebooks[0].relative_to(ROOT)) in about["cmd"]
    else:
        module = {"images": "__main__.py", "watch": "watch.py"}[stage]
        expected = closure(main := ROOT / "src/pconv/data" / module) | {main, main.with_name("__init__.py")}
    assert sources == expected


def test_a_wrong_key_stops_every_stage_before_any_work(smoke_copy):
    folder = smoke_copy
    change(folder / "params.yaml", "evaluate.baseline", ["telea"])
    for stage in PIPELINE:
        done = run(folder, "dvc", "repro", "--force", "--single-item", stage, check=False)
        said = done.stdout + done.stderr
        assert done.returncode != 0, stage
        assert "params.yaml: evaluate.baseline: unknown key; did you mean baselines?" in said, f"{stage}: {said}"
    assert not [path for path in (folder / "models").rglob("*") if path.is_file()]


# What is committed


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Return a copy of the repository with its photographs, which is all that 02 and 03 need."""
    folder = copy_repository(tmp_path_factory.mktemp("fresh"))
    run(folder, "dvc", "repro", "images")
    return folder


@pytest.mark.arithmetic
@pytest.mark.parametrize("name", ["02-partial-convolution", "03-unet"])
def test_committed_notebooks_give_their_outputs_again(fresh, name):
    """nbval runs the executed notebook once more and compares every output, but for images and the cells tagged so.

    What comes out of training is not compared, so training is cut short here.
    """
    path = fresh / "reports" / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = re.sub(r"_steps = \d+", "_steps = 2", cell.source)
    nbformat.write(notebook, path)
    run(fresh, "pytest", "-q", "--nbval", str(path.relative_to(fresh)), PYTHONPATH=str(fresh / "src"))


def names(cell, context):
    """Names that a cell reads (ast.Load) or sets (ast.Store), itself or an element or attribute of theirs."""
    found = {node.id for node in ast.walk(cell) if isinstance(node, ast.Name) and isinstance(node.ctx, context)}
    if context is ast.Store:
        parts = [
            n for n in ast.walk(cell) if isinstance(n, ast.Subscript | ast.Attribute) and isinstance(n.ctx, context)
        ]
        found |= {node.id for part in parts for node in ast.walk(part.value) if isinstance(node, ast.Name)}
    return found


def test_what_comes_out_of_training_is_tagged_in_03():
    """Cells that show what `overfit` returned, or what was made of it, have nbval's tag, and no others."""
    trained, showing, tagged = {"overfit"}, set(), set()
    for cell in nbformat.read(ROOT / "notebooks" / "03-unet.ipynb", as_version=4).cells:
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            tagged.add(cell.id)
        code = ast.parse(cell.source if cell.cell_type == "code" else "")
        called = {node.attr for node in ast.walk(code) if isinstance(node, ast.Attribute)}
        if trained & (names(code, ast.Load) | called):
            trained |= names(code, ast.Store)
            shows = code.body[-1]
            if isinstance(shows, ast.Expr) and "write_metrics" not in names(shows, ast.Load):
                showing.add(cell.id)
    assert tagged == showing != set()


def test_committed_reports_are_in_step_with_the_code():
    assert changed(ROOT) == set()
    entries = [entry for entries in Repo(str(ROOT)).status().values() for entry in entries if isinstance(entry, dict)]
    outs = [out for entry in entries for out in entry.get("changed outs", {}).items()]
    assert [path for path, what in outs if path.startswith("reports/") or what == "modified"] == []


def test_params_yaml_is_the_embedded_default():
    params = load_params(ROOT / "params.yaml")
    assert (params.data.source, params.data.size, params.loss.vgg) == ("packaged", 128, "packaged")
    assert min(params.loss.stage2.model_dump().values()) > 0  # the six terms of the paper, at the latest in stage 2
    assert min(params.loss.stage1.valid, params.loss.stage1.hole, params.loss.stage1.tv) > 0
    assert isinstance(params, Params)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.name)
def test_source_notebooks_have_no_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code] == [[]] * len(code)
    assert {cell.execution_count for cell in code} == {None}
    assert [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
