"""The schema: complete sets, the paper's numbers, and what is said of each wrong key, type or value."""

import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from pconv.params import Params, ParamsError, Stage, load_params, use
from pconv.project import project_root

ROOT = Path(__file__).parents[1]
SETS = [ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml"))]


def leaves(section=Params, prefix=""):
    """Key paths of all parameters of the schema."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def leaves_of(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def changed(key, value):
    """The smoke set with one key set to a value."""
    values = deepcopy(YAML(typ="safe").load(ROOT / "params" / "smoke.yaml"))
    section = values
    *parts, last = key.split(".")
    for part in parts:
        section = section[part]
    section[last] = value
    return values


@pytest.fixture
def write(tmp_path):
    """Write a parameter file: text as it is, anything else as YAML."""
    path = tmp_path / "params.yaml"

    def write(content):
        if isinstance(content, str):
            path.write_text(content)
        else:
            YAML().dump(content, path)
        return path

    return write


def problems(path):
    """The lines of the error that loading a file raises; each must start with the file's name."""
    with pytest.raises(ParamsError) as error:
        load_params(path)
    lines = str(error.value).split("\n")
    assert all(line.startswith(f"{path}: ") for line in lines), lines
    return [line.removeprefix(f"{path}: ") for line in lines]


# The sets that come with the project


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.name)
def test_set_is_valid_and_complete(path):
    load_params(path)
    assert set(leaves_of(YAML(typ="safe").load(path))) == set(leaves())


def test_the_sets_that_the_design_names_are_there():
    assert {"smoke.yaml", "paper-imagenet.yaml", "paper-places2.yaml"} <= {path.name for path in SETS}


PAPER = {
    "data.size": 512,
    "masks.train": 55116,
    "masks.test": 1000,
    "model.width": 64,
    "model.depth": 8,
    "loss.vgg": "imagenet",
    "loss.valid": 1,
    "loss.hole": 6,
    "loss.perceptual": 0.05,
    "loss.style": 120,
    "loss.tv": 0.1,
    "train.stage1.epochs": 50,
    "train.stage1.steps": 10_000,
    "train.stage1.lr_end": None,
    "train.stage2.lr": 5e-5,
    "train.stage2.epochs": 50,
    "train.stage2.steps": 10_000,
    "train.stage2.lr_end": None,
}


def value_at(params, key):
    for part in key.split("."):
        params = getattr(params, part)
    return params


@pytest.mark.parametrize(
    "name, more",
    [
        ("paper-imagenet", {"train.stage1.lr": 1e-4, "train.batch": 4}),  # PConv-Keras
        ("paper-places2", {"train.stage1.lr": 2e-4, "train.batch": 6}),  # the paper
    ],
)
def test_paper_sets_hold_the_papers_numbers(name, more):
    params = load_params(ROOT / "params" / f"{name}.yaml")
    expected = PAPER | more
    assert {key: value_at(params, key) for key in expected} == expected
    assert params.data.source == "folder"


def test_defaults_are_the_papers(write):
    params = load_params(write({"seed": 3}))
    assert params.seed == 3
    assert {key: value_at(params, key) for key in PAPER} == PAPER


def test_params_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Params().loss.style = 1.0


# Wrong values

WRONG_VALUES = {  # of the right type, but out of range
    "seed": [-1, 2**32],
    "data.source": ["imagenet"],
    "data.folder": [],
    "data.size": [15, 0, -128],
    "data.crop": [[], [0.5], [0.2, 0.3, 0.4], [0.6, 0.3], [0.0, 0.5], [0.5, 1.5], [-0.1, 0.5], [float("nan"), 0.5]],
    "masks.train": [0, -1],
    "masks.val": [0, -1],
    "masks.test": [0, -1],
    "model.width": [0, -1],
    "model.depth": [0, 1, 10],
    "loss.vgg": [""],
    "loss.valid": [-1.0, float("nan"), float("inf")],
    "loss.hole": [-1.0, float("nan"), float("inf")],
    "loss.perceptual": [-1.0, float("nan"), float("inf")],
    "loss.style": [-1.0, float("nan"), float("inf")],
    "loss.tv": [-1.0, float("nan"), float("inf")],
    "train.batch": [0, -1],
    "train.precision": ["float16"],
    "train.processes": [-1],
    "train.recolour": [],
    "train.sync_norm": [],
    "train.validation": [0, -1],
    "train.workers": [-1],
    "train.checkpoint_seconds": [-1.0, float("nan")],
    **{
        f"train.{stage}.{key}": values
        for stage in ("stage1", "stage2")
        for key, values in {
            "lr": [0, -1e-3, 1.5, float("nan"), float("inf")],
            "lr_end": [0, -1e-3, 1.5, float("nan")],
            "epochs": [0, -1],
            "steps": [0, -1],
        }.items()
    },
    "evaluate.baselines": [[], ["photoshop"]],
}
WRONG_TYPES = [True, "x", 1.5, [True], {"a": 1}, None]
RIGHT_TYPES = {  # those of WRONG_TYPES that a key may be
    "data.folder": ["x", None],
    "loss.vgg": ["x"],
    "train.checkpoint_seconds": [1.5],
    "train.recolour": [True],
    "train.sync_norm": [True],
    "train.stage1.lr_end": [None],
    "train.stage2.lr_end": [None],
    **{f"loss.{term}": [1.5] for term in ("valid", "hole", "perceptual", "style", "tv")},
}


def test_the_table_of_wrong_values_is_complete():
    assert set(WRONG_VALUES) == set(leaves())


@pytest.mark.parametrize("key", list(leaves()))
def test_a_wrong_value_is_named_with_file_key_and_value(write, key):
    wrong = [*WRONG_VALUES[key], *(value for value in WRONG_TYPES if value not in RIGHT_TYPES.get(key, []))]
    for value in wrong:
        (line,) = problems(write(changed(key, value)))
        found, _, rest = line.partition(" = ")
        if found != key:  # an item of a list: data.crop.0
            assert found.rpartition(".")[0] == key, line
            value = value[int(found.rpartition(".")[2])]
        assert rest.startswith(f"{value!r}: ") and len(rest) > len(f"{value!r}: ") + 10, line


@pytest.mark.parametrize(
    "key, value",
    [
        ("seed", 2**32 - 1),
        ("data.size", 16),
        ("data.crop", [1, 1.0]),
        ("model.depth", 7),
        ("loss.style", 0),
        ("loss.vgg", "weights/mine.pth"),
        ("train.workers", 0),
        ("train.processes", 0),
        ("train.checkpoint_seconds", 0),
        ("train.stage1.lr", 1),
        ("train.stage1.lr_end", None),
        ("evaluate.baselines", ["biharmonic"]),
    ],
)
def test_values_at_the_edge_are_allowed(write, key, value):
    assert value_at(load_params(write(changed(key, value))), key) == value


@pytest.mark.parametrize(
    "content, expected",
    [
        ({"data": {"siz": 64}}, "data.siz: unknown key; did you mean size? allowed here: crop, folder, size, source"),
        (
            {"train": {"stage1": {"lr": 0.1, "epoch": 3}}},
            "train.stage1.epoch: unknown key; did you mean epochs? allowed here: epochs, lr, lr_end, steps",
        ),
        ({"x": 1}, "x: unknown key; allowed here: data, evaluate, loss, masks, model, seed, train"),
        ("1: 2", "1: unknown key; allowed here: data, evaluate, loss, masks, model, seed, train"),
        ({"train": {"stage2": {"epochs": 3}}}, "train.stage2.lr: missing, and it has no default"),
        ({"model": None}, "model = None: expected a section with width, depth"),
        ({"model": 3}, "model = 3: expected a section with width, depth"),
        ({"data": {"source": "flickr"}}, "data.source = 'flickr': input should be 'packaged' or 'folder'"),
        ({"model": {"depth": 12}}, "model.depth = 12: input should be less than or equal to 9"),
        (
            {"data": {"source": "folder", "folder": None}},
            "data.folder = None: data.source = folder needs the path of a folder of photographs",
        ),
        ({"data": {"crop": [0.6, 0.3]}}, "data.crop = [0.6, 0.3]: the least share comes first"),
        (
            {"loss": dict.fromkeys(("valid", "hole", "perceptual", "style", "tv"), 0)},
            "loss: all weights are 0; at least one has to be above",
        ),
        (
            {"data": {"size": 31}, "model": {"depth": 6}},
            "data.size = 31 is too small for model.depth = 6: at least 32 px, or a smaller depth",
        ),
        (
            {"data": {"size": 64}, "model": {"depth": 6}, "train": {"batch": 1}},
            "train.batch = 1 with data.size = 64 and model.depth = 6: batch norm needs a batch of at least 2, a size "
            "above 64 px, or a smaller depth",
        ),
        ("seed: 1\nseed: 2\n", 'not valid YAML: line 2: found duplicate key "seed" with value "2"'),
        ("seed: 1\ndata: [\n", "not valid YAML: line 3: "),
        ("seed: !!python/object/apply:os.getcwd []", "not valid YAML: line 1: could not determine a constructor"),
        ("\0", "not valid YAML: unacceptable character"),
        ("", "expected sections such as data and model, found nothing"),
        ("# only a comment\n", "expected sections such as data and model, found nothing"),
        ("- seed\n", "expected sections such as data and model, found list"),
    ],
)
def test_what_is_said_of_a_wrong_file(write, content, expected):
    (line,) = problems(write(content))
    assert line.startswith(expected)


def test_a_batch_of_one_is_allowed_where_batch_norm_sees_several_pixels(write):
    load_params(write({"data": {"size": 65}, "model": {"depth": 6}, "train": {"batch": 1}}))


def test_several_problems_are_several_lines(write):
    lines = problems(write({"sed": 1, "data": {"size": 1.5, "fold": 2}, "loss": {"tv": -1}}))
    assert [line.split(" ")[0] for line in lines] == ["data.size", "data.fold:", "loss.tv", "sed:"]


def test_files_that_cannot_be_read(tmp_path):
    assert problems(tmp_path / "none.yaml") == ["No such file or directory"]
    assert problems(tmp_path) == ["Is a directory"]
    (tmp_path / "utf16.yaml").write_bytes(b"seed: \xff\xfa")
    assert problems(tmp_path / "utf16.yaml")[0].startswith("not valid YAML")


# Where they are read from


def test_params_of_the_project_are_found_from_a_folder_below(tiny, monkeypatch):
    (tiny / "notebooks" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tiny / "notebooks" / "deep")
    assert project_root() == tiny.folder.resolve()
    tiny.set(seed=7)
    assert load_params().seed == 7


def test_outside_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"no dvc.yaml at or above {tmp_path}"):
        load_params()


# Making a set the current one


def test_use_replaces_the_committed_file_and_another_set(tiny):
    (tiny / "params").mkdir()
    one, two = tiny / "params" / "one.yaml", tiny / "params" / "two.yaml"
    tiny.write("params/one.yaml", seed=1)
    tiny.write("params/two.yaml", seed=2)
    two.write_text("# a comment\n" + two.read_text())
    for path in (one, two, one):
        use(path, tiny / "params.yaml")
        assert (tiny / "params.yaml").read_bytes() == path.read_bytes()


def test_use_makes_the_file_where_there_is_none(tiny):
    (tiny / "params.yaml").unlink()
    tiny.write("mine.yaml", seed=1)
    use(tiny / "mine.yaml", tiny / "params.yaml")
    assert load_params().seed == 1


@pytest.mark.parametrize("how", ["edited", "staged", "not in git", "no repository"])
def test_use_refuses_to_lose_edits(tiny, how):
    (tiny / "params").mkdir()
    tiny.write("params/one.yaml", seed=1)
    target = tiny / "params.yaml"
    if how == "not in git":
        subprocess.run(["git", "rm", "-q", "--cached", "params.yaml"], check=True)
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "x"], check=True)
    elif how == "no repository":
        (tiny / ".git").rename(tiny / "git")
    target.write_text("seed: 12345\n")
    if how == "staged":
        subprocess.run(["git", "add", "params.yaml"], check=True)
    with pytest.raises(ParamsError, match="has edits that are saved nowhere else; commit them or copy them"):
        use(tiny / "params" / "one.yaml", target)
    assert target.read_text() == "seed: 12345\n"


def test_use_checks_the_set_first(tiny):
    before = (tiny / "params.yaml").read_bytes()
    (tiny / "bad.yaml").write_text("seed: -1\n")
    with pytest.raises(ParamsError, match=r"bad\.yaml: seed = -1: "):
        use(tiny / "bad.yaml", tiny / "params.yaml")
    assert (tiny / "params.yaml").read_bytes() == before


def test_use_takes_only_a_set_that_names_every_key(tiny):
    """What it does not name would be the paper's, which takes days."""
    before = (tiny / "params.yaml").read_bytes()
    (tiny / "part.yaml").write_text(before.decode().replace("  batch: 2\n", "").replace("seed: 0\n", ""))
    with pytest.raises(ParamsError, match=r"part\.yaml: no seed, train\.batch; a parameter set names every key"):
        use(tiny / "part.yaml", tiny / "params.yaml")
    assert (tiny / "params.yaml").read_bytes() == before


def command(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "-m", "pconv.params", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_command_makes_a_set_the_current_one(tiny):
    done = command(tiny.folder, str(ROOT / "params" / "smoke.yaml"))
    assert (done.returncode, done.stderr) == (0, "")
    assert load_params() == load_params(ROOT / "params" / "smoke.yaml")
    again = command(tiny.folder, "params.yaml")  # itself
    assert (again.returncode, again.stderr) == (0, "")


def test_command_says_what_is_wrong_without_a_traceback(tiny, tmp_path):
    (tiny / "bad.yaml").write_text("seed: -1\n")
    for folder, arguments, expected in (
        (tiny.folder, ["bad.yaml"], "bad.yaml: seed = -1: input should be greater than or equal to 0\n"),
        (tiny.folder, ["none.yaml"], "none.yaml: No such file or directory\n"),
        (tiny.folder, [], "usage: python -m pconv.params params/NAME.yaml\n"),
        (tmp_path, ["x.yaml"], f"no dvc.yaml at or above {tmp_path}: run this inside the project\n"),
    ):
        done = command(folder, *arguments)
        assert (done.returncode, done.stderr) == (1, expected)


def test_a_stage_has_no_default_learning_rate():
    with pytest.raises(ValueError, match="lr"):
        Stage()
