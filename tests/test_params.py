"""The schema: complete sets, the paper's numbers, and what is said of each wrong key, type or value."""

import os
import re
import subprocess
import sys
from copy import deepcopy
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from pydantic import BaseModel
from repository import run
from ruamel.yaml import YAML

from pconv.params import Params, ParamsError, Stage, load_params, use
from pconv.project import project_root

ROOT = Path(__file__).parents[1]
SMOKE = (ROOT / "params" / "smoke.yaml").read_text()
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
    """Return the smoke set with one key set to a value."""
    values = deepcopy(YAML(typ="safe").load(ROOT / "params" / "smoke.yaml"))
    section = values
    *parts, last = key.split(".")
    for part in parts:
        section = section[part]
    section[last] = value
    return values


def merged(values, changes):
    """Values with changes, section by section."""
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(values.get(key), dict)
        values[key] = merged(values[key], value) if both else value
    return values


@pytest.fixture
def write(tmp_path):
    """Write a parameter file: text and bytes as they are, anything else as changes to the smoke set."""
    path = tmp_path / "params.yaml"

    def write(content):
        if isinstance(content, str | bytes):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        else:
            YAML().dump(merged(YAML(typ="safe").load(ROOT / "params" / "smoke.yaml"), content), path)
        return path

    return write


def problems(path):
    """Return the lines of the error that loading a file raises; each must start with the file's name."""
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
    "masks.source": "drawn",
    "masks.folder": None,
    "masks.hole": "white",
    "masks.train": 55116,
    "masks.test": 1000,
    "model.width": 64,
    "model.depth": 8,
    "loss.vgg": "imagenet",
    **{
        f"loss.{stage}.{term}": weight
        for stage in ("stage1", "stage2")
        for term, weight in {"valid": 1, "hole": 6, "perceptual": 0.05, "style": 120, "tv": 0.1}.items()
    },
    "model.layer": "partial",
    "model.scale": "paper",
    "train.start": None,
    "train.freeze_norm": True,
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
        ("paper-imagenet", {"data.source": "imagenet", "train.stage1.lr": 1e-4, "train.batch": 4}),  # PConv-Keras
        ("paper-places2", {"data.source": "places365", "train.stage1.lr": 2e-4, "train.batch": 6}),  # the paper
    ],
)
def test_paper_sets_hold_the_papers_numbers(name, more):
    params = load_params(ROOT / "params" / f"{name}.yaml")
    expected = PAPER | {"masks.border": "free"} | more
    assert {key: value_at(params, key) for key in expected} == expected


def test_defaults_are_the_papers():
    params = Params()
    assert {key: value_at(params, key) for key in PAPER} == PAPER


def test_params_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Params().loss.vgg = "random"


# Wrong values

WRONG_VALUES = {  # of the right type, but out of range
    "seed": [-1, 2**32],
    "data.source": ["image-net"],
    "data.folder": [],
    "data.check": ["pixels"],
    "data.min_side": [0, -1],
    "data.max_pixels": [0, 2**27 + 1],
    "data.max_rejected": [-0.1, 1.1, float("nan")],
    "data.size": [15, 0, -128, 8193],
    "data.crop": [[], [0.5], [0.2, 0.3, 0.4], [0.6, 0.3], [0.0, 0.5], [0.5, 1.5], [-0.1, 0.5], [float("nan"), 0.5]],
    "masks.source": ["published"],
    "masks.folder": [""],
    "masks.hole": ["grey", "Black"],
    "masks.border": ["none"],
    "masks.train": [0, -1],
    "masks.val": [0, -1],
    "masks.test": [0, -1],
    "model.width": [0, -1, 1025, 10**9],
    "model.depth": [0, 1, 10],
    "model.layer": ["dense"],
    "model.fill": ["green"],
    "model.scale": ["nvidia"],
    "loss.vgg": [""],
    **{
        f"loss.{stage}.{term}": [-1.0, float("nan"), float("inf")]
        for stage in ("stage1", "stage2")
        for term in ("valid", "hole", "perceptual", "style", "tv")
    },
    "train.batch": [0, -1],
    "train.precision": ["float16"],
    "train.processes": [-1],
    "train.recolour": [],
    "train.sync_norm": [],
    "train.start": [""],
    "train.freeze_norm": [],
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
    "evaluate.published": [""],
}
WRONG_TYPES = [True, "x", 1.5, [True], {"a": 1}, None]
RIGHT_TYPES = {  # those of WRONG_TYPES that a key may be
    "data.folder": ["x", None],
    "masks.folder": ["x", None],
    "data.max_rejected": [],
    "loss.vgg": ["x"],
    "train.checkpoint_seconds": [1.5],
    "train.recolour": [True],
    "train.sync_norm": [True],
    "train.start": ["x", None],
    "evaluate.published": ["x", None],
    "train.freeze_norm": [True],
    "train.stage1.lr_end": [None],
    "train.stage2.lr_end": [None],
    **{
        f"loss.{stage}.{term}": [1.5]
        for stage in ("stage1", "stage2")
        for term in ("valid", "hole", "perceptual", "style", "tv")
    },
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
        ("data.size", 8192),
        ("data.max_pixels", 2**27),
        ("data.max_rejected", 0),
        ("data.max_rejected", 1),
        ("data.crop", [1, 1.0]),
        ("model.depth", 7),
        ("model.layer", "plain"),
        ("model.scale", "keras"),
        ("model.scale", "sum"),
        ("train.start", "weights/mine.safetensors"),
        ("loss.stage1.style", 0),
        ("loss.vgg", "weights/mine.pth"),
        ("train.workers", 0),
        ("train.processes", 0),
        ("train.checkpoint_seconds", 0),
        ("train.stage1.lr", 1),
        ("train.stage1.lr_end", None),
        ("evaluate.baselines", ["biharmonic"]),
        ("masks.source", "strokes"),
        ("masks.source", "grid2"),
        ("masks.source", "grid4"),
        ("masks.border", "free"),
        ("evaluate.published", "published/mine.safetensors"),
    ],
)
def test_values_at_the_edge_are_allowed(write, key, value):
    assert value_at(load_params(write(changed(key, value))), key) == value


@pytest.mark.parametrize(
    "content, expected",
    [
        (
            {"data": {"siz": 64}},
            "data.siz: unknown key; did you mean size? allowed here: check, crop, folder, "
            "max_pixels, max_rejected, min_side, size, source",
        ),
        (
            {"train": {"stage1": {"lr": 0.1, "epoch": 3}}},
            "train.stage1.epoch: unknown key; did you mean epochs? allowed here: epochs, lr, lr_end, steps",
        ),
        ({"x": 1}, "x: unknown key; allowed here: data, evaluate, loss, masks, model, seed, train"),
        ({1: 2}, "1: unknown key; allowed here: data, evaluate, loss, masks, model, seed, train"),
        ({"model": None}, "model = None: expected a section with layer, fill, scale, width, depth"),
        ({"model": 3}, "model = 3: expected a section with layer, fill, scale, width, depth"),
        ({"model": {"fill": "grey"}}, "model.fill = 'grey': only model.layer = plain sees the hole; write mean"),
        (
            {"evaluate": {"baselines": ["mean fill", "bicubic"]}},
            "evaluate.baselines has bicubic, which needs a grid of known pixels, while masks.source = drawn: leave it "
            "out, or set masks.source to grid2 or grid4",
        ),
        (
            {"model": {"layer": "plain", "scale": "sum"}},
            "model.scale = 'sum': only model.layer = partial has such a factor; write paper",
        ),
        (
            {"data": {"source": "flickr"}},
            "data.source = 'flickr': input should be 'packaged', 'folder', ",
        ),
        ({"model": {"depth": 12}}, "model.depth = 12: input should be less than or equal to 9"),
        (
            {"data": {"source": "folder", "folder": None}},
            "data.folder = None: data.source = folder needs the path of a folder of photographs",
        ),
        (
            {"data": {"source": "packaged", "folder": "mine"}},
            "data.folder = 'mine': not used with data.source = packaged; set data.folder to null, or data.source to "
            "folder",
        ),
        *(
            (
                {"masks": {"source": source, "folder": None}},
                f"masks.folder = None: masks.source = {source} needs the path of a folder of {what}",
            )
            for source, what in (("folder", "masks"), ("video", "frames"))
        ),
        (
            {"masks": {"source": "strokes", "folder": "mine"}},
            "masks.folder = 'mine': not used with masks.source = strokes; set masks.folder to null, or masks.source to "
            "folder or video",
        ),
        (
            {"masks": {"source": "video", "folder": "films", "hole": "black"}},
            "masks.hole = 'black': only masks.source = folder has a choice; write white",
        ),
        ({"data": {"crop": [0.6, 0.3]}}, "data.crop = [0.6, 0.3]: the smaller fraction comes first"),
        (
            {"loss": {"stage2": {"hole": 0, "perceptual": 0}}},
            "loss.stage2.hole = loss.stage2.perceptual = 0: no term compares the hole with the truth place by place, "
            "so nothing would be learnt there; give one of them a weight above 0",
        ),
        (
            {"data": {"size": 31}, "model": {"depth": 6}},
            "data.size = 31 is too small for model.depth = 6: at least 32 px, or a smaller depth",
        ),
        (
            {"data": {"size": 64}, "model": {"depth": 6}, "train": {"batch": 1}},
            "train.batch = 1 with data.size = 64 and model.depth = 6: batch norm needs 2 crops for each process, "
            "a size above 64 px, or a smaller depth",
        ),
        (
            {"data": {"size": 64}, "model": {"depth": 6}, "train": {"batch": 3, "processes": 3}},
            "train.batch = 3 shared by 3 processes with data.size = 64 and model.depth = 6: batch norm needs 2 crops "
            "for each process, a size above 64 px, or a smaller depth",
        ),
        (
            {"train": {"batch": 4, "processes": 3}},
            "train.batch = 4: 3 processes (train.processes) cannot share it equally",
        ),
        ("seed: 1\nseed: 2\n", 'not valid YAML: line 2: found duplicate key "seed" with value "2"'),
        ("seed: 1\ndata: [\n", "not valid YAML: line 3: "),
        ("seed: !!python/object/apply:os.getcwd []", "not valid YAML: line 1: could not determine a constructor"),
        ("\0", "not valid YAML: unacceptable character"),
        ("seed: 1\n--- \nseed: 2\n", "not valid YAML: line 2: but found another document"),
        ("", "expected sections such as data and model, found nothing"),
        ("# only a comment\n", "expected sections such as data and model, found nothing"),
        ("- seed\n", "expected sections such as data and model, found list"),
    ],
)
def test_what_is_said_of_a_wrong_file(write, content, expected):
    (line,) = problems(write(content))
    assert line.startswith(expected)


@pytest.mark.parametrize(
    "batch, size, allowed", [(1, 64, False), (1, 65, True), (2, 64, True)], ids=["one value", "larger", "two crops"]
)
@pytest.mark.parametrize("processes", [1, 3])
def test_batch_norm_needs_two_values_in_each_process(write, batch, size, allowed, processes):
    content = {
        "data": {"size": size},
        "model": {"depth": 6},
        "train": {"batch": batch * processes, "processes": processes},
    }
    if allowed:
        assert load_params(write(content)).train.processes == processes
    else:
        assert "batch norm" in problems(write(content))[0]


def test_synchronised_batch_norm_sees_the_crops_of_all_processes(write):
    content = {"data": {"size": 64}, "model": {"depth": 6}, "train": {"batch": 3, "processes": 3, "sync_norm": True}}
    load_params(write(content))


def test_a_number_of_processes_that_params_yaml_leaves_open_is_checked_by_itself(write):
    params = load_params(write({"train": {"batch": 4, "processes": 0}}))
    params.check_batch(2)
    with pytest.raises(ParamsError, match="train.batch = 4: 3 processes"):
        params.check_batch(3)


TERMS = ("valid", "hole", "perceptual", "style", "tv")


@pytest.mark.parametrize("used", [terms for n in range(6) for terms in combinations(TERMS, n)], ids="+".join)
def test_some_term_must_say_what_belongs_in_the_hole(write, used):
    content = {"loss": {"stage1": {term: float(term in used) for term in TERMS}}}
    if {"hole", "perceptual"} & set(used):
        load_params(write(content))
    else:
        assert problems(write(content))[0].startswith("loss.stage1.hole = loss.stage1.perceptual = 0: ")


def test_several_problems_are_several_lines(write):
    lines = problems(write({"sed": 1, "data": {"size": 1.5, "fold": 2}, "loss": {"vgg": 3}}))
    assert [line.split(" ")[0] for line in lines] == ["data.size", "data.fold:", "loss.vgg", "sed:"]


def test_of_very_many_problems_the_first_are_said(write):
    lines = problems(write({f"key{number}": 1 for number in range(1000)}))
    assert len(lines) == 10 and lines[-1] == "and 991 problems more"


@pytest.mark.parametrize("key", [*leaves(), "data", "train", "train.stage2"])
def test_a_key_that_is_not_there_is_named(write, key):
    values = YAML(typ="safe").load(ROOT / "params" / "smoke.yaml")
    *parts, last = key.split(".")
    section = values
    for part in parts:
        section = section[part]
    del section[last]
    path = write("")
    YAML().dump(values, path)
    assert problems(path) == [f"no {key}: a parameter file gives every key"]


def test_a_misspelt_key_is_missing_and_unknown(write):
    text = (ROOT / "params" / "smoke.yaml").read_text()
    missing, unknown = problems(write(text.replace("size:", "siz:")))
    assert missing == "no data.size: a parameter file gives every key"
    assert unknown.startswith("data.siz: unknown key; did you mean size?")


# Hostile files: one short line for each problem, at once


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi")
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in pairwise("abcdefghi")
)
HOSTILE = {
    "a bomb of aliases": (BOMB, "line 5: too long with every alias expanded"),
    "a bomb of merge keys": (MERGES, "line 6: too long with every alias expanded"),
    "a large anchor, often": (f"a: &a {'x' * 50_000}\nb: [{', '.join(['*a'] * 100)}]", "line 2: too long"),
    "an alias in itself": ("seed: &x [*x]", "line 1: *x contains itself"),
    "an unknown alias": ("seed: *x", "not valid YAML: line 1: found undefined alias 'x'"),
    "brackets": ("seed: " + "[" * 5000 + "]" * 5000, "line 1: nested more than 20 deep"),
    "braces": ("seed: " + "{a: " * 5000 + "}" * 5000, "line 1: nested more than 20 deep"),
    "dashes": ("seed: \n" + "- " * 5000, "line 2: nested more than 20 deep"),
    "digits": ("seed: " + "9" * 5000, "not valid YAML: line 1: 99999"),
    "digits, hexadecimal": ("seed: 0x" + "f" * 5000, "not valid YAML: line 1: 0xfff"),
    "day 32": ("seed: 2020-01-32", "not valid YAML: line 1: 2020-01-32 cannot be read: day is out of range"),
    "a type it is not": ("seed: !!int x", "not valid YAML: line 1: x cannot be read: "),
    "a truth value that is none": ("seed: !!bool x", "not valid YAML: line 1: x cannot be read: "),
    "a foreign type": ("seed: !foo x", "not valid YAML: line 1: could not determine a constructor for the tag"),
    "a key of mappings": ("? [a, {b: 1}]\n: 1", "not valid YAML: "),
    "tabs": ("data:\n\tsize: 32", "not valid YAML: line 2: found character '\\t' that cannot start any token"),
    "latin-1": (b"seed: 0 # f\xfcr", "not valid YAML: unacceptable character #x00fc"),
    "a control character": ("seed: \x07", "not valid YAML: unacceptable character #x0007"),
    "a newer YAML": ("%YAML 9.9\n--- \nseed: 1", "not valid YAML: line 1: found incompatible YAML document"),
    "a large file": ("#" * 100_001, "Larger than 100,000 bytes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_gives_one_short_line(write, name):
    content, expected = HOSTILE[name]
    (line,) = problems(write(content))
    assert line.startswith(expected) and len(line) < 250


@pytest.mark.parametrize("value", ["x" * 50_000, ["x"] * 3000, {"x" * 50_000: 1}, 2**62, "\x1b[31m", "a\nb\u2028c"])
@pytest.mark.parametrize("key", ["seed", "data", "data.crop", "loss.vgg"])
def test_no_message_is_long_or_holds_control_characters(write, key, value):
    path = write("")
    YAML().dump(changed(key, value), path)
    try:
        load_params(path)
    except ParamsError as error:
        lines = str(error).split("\n")
        assert len(lines) <= 10 and all(line.isprintable() and len(line) < len(str(path)) + 200 for line in lines)
    else:
        assert key == "loss.vgg"  # which is a path, and may be any text


@pytest.mark.parametrize("key", ["x" * 50_000, "\x1b[31m", "a\nb", "'"])
def test_no_message_repeats_a_strange_key(write, key):
    (line,) = problems(write({key: 1}))
    assert line.isprintable() and len(line) < 200 and ": unknown key; " in line


@pytest.mark.parametrize(
    "text, value",
    [
        ("1e-3", 1e-3),
        ("1E-3", 1e-3),
        ("0.1e-2", 1e-3),
        ("+0.001", 1e-3),
        (".001", 1e-3),
        ("1", 1),
        ("'1e-3'", None),
        ("1e-999", None),
        (".nan", None),
        (".inf", None),
        ("-0.0", None),
        ("1 000", None),
    ],
)
def test_how_a_number_may_be_written(write, text, value):
    """As YAML 1.2 has it: an exponent needs no point, and quotes make a text of it."""
    path = write(re.sub(r"lr: [^,}]+", f"lr: {text}", SMOKE, count=1))
    if value is not None:
        assert load_params(path).train.stage1.lr == value
    else:
        assert problems(path)[0].startswith("train.stage1.lr = ")


@pytest.mark.parametrize("text, value", [("-0", 0), ("017", 17), ("0o17", 15), ("0x1f", 31), ("1_000", 1000)])
def test_how_a_whole_number_may_be_written(write, text, value):
    assert load_params(write(SMOKE.replace("seed: 0", f"seed: {text}"))).seed == value


@pytest.mark.parametrize(
    "key, text, hint",
    [
        ("recolour", "yes", "recolour = 'yes': input should be a valid boolean; write true or false"),
        ("recolour", "NO", "recolour = 'NO': input should be a valid boolean; write true or false"),
        ("workers", "1:30", "workers = '1:30': input should be a valid integer; write it without quotes"),
        ("workers", "1e1", "workers = 10.0: input should be a valid integer; write it without quotes, decimals"),
        ("workers", "2020-01-01", "workers = datetime.date(2020, 1, 1): input should be a valid integer"),
        ("precision", "", "precision = None: input should be 'auto', 'float32' or 'bfloat16'"),
    ],
)
def test_what_yaml_makes_of_a_value_is_said(write, key, text, hint):
    (line,) = problems(write(re.sub(rf"{key}: \S+", f"{key}: {text}", SMOKE)))
    assert line.startswith(f"train.{hint}")


def test_a_folder_named_by_a_date_wants_quotes(write):
    (line,) = problems(write(SMOKE.replace("folder: null", "folder: 2020-01-01", 1)))
    assert line.endswith("input should be a valid string; write it in quotes")


@pytest.mark.parametrize("encode", ["utf-8-sig", "utf-16"])
def test_a_file_with_a_byte_order_mark(write, encode):
    assert load_params(write(SMOKE.encode(encode))) == load_params(ROOT / "params" / "smoke.yaml")


def test_anchors_and_merge_keys_are_yaml_too(write):
    start = SMOKE.rindex("  stage1:")
    text = SMOKE[:start] + (
        "  stage1: &one {lr: 0.1, lr_end: null, epochs: 1, steps: 2}\n"
        "  stage2: {<<: *one, lr: 0.2}\n"
        "evaluate:\n  baselines: [mean fill]\n  published: null\n"
    )
    params = load_params(write(text))
    assert params.train.stage2 == Stage(lr=0.2, lr_end=None, epochs=1, steps=2)


# Descriptions


def fields(section=Params, prefix=""):
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}", field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{prefix}{name}.")


@pytest.mark.parametrize("name, field", list(fields()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_parameter_is_described_in_a_sentence(name, field):
    said = field.description
    assert said and said[0].isupper() and said.endswith(".") and len(said.split()) >= 4


@pytest.mark.parametrize("stage", [0, 3, -1, "1", None, 1.5, "x" * 1000])
def test_there_are_two_stages(stage):
    with pytest.raises(ParamsError, match=r"^stage = .{1,80}: 1 or 2 is allowed$"):
        Params().train.schedule(stage)
    assert Params().train.schedule(1).lr == 1e-4 and Params().train.schedule(2).lr == 5e-5


def test_files_that_cannot_be_read(tmp_path):
    assert problems(tmp_path / "none.yaml") == ["No such file or directory"]
    assert problems(tmp_path) == ["This is a folder, not a file"]
    assert problems(Path("/dev/zero")) == ["Not a regular file"]
    os.mkfifo(tmp_path / "pipe.yaml")
    assert problems(tmp_path / "pipe.yaml") == ["Not a regular file"]
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    assert problems(tmp_path / "loop.yaml") == ["Too many levels of symbolic links"]


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


@pytest.mark.parametrize("how", ["edited", "staged", "not in git", "no repository", "no git"])
def test_use_refuses_to_lose_edits(tiny, monkeypatch, how):
    (tiny / "params").mkdir()
    tiny.write("params/one.yaml", seed=1)
    target = tiny / "params.yaml"
    if how == "not in git":
        run(tiny.folder, "git", "rm", "-q", "--cached", "params.yaml")
        run(tiny.folder, "git", "commit", "-qm", "x")
    elif how == "no repository":
        (tiny / ".git").rename(tiny / "git")
    elif how == "no git":
        monkeypatch.setenv("PATH", "")
    target.write_text("seed: 12345\n")
    if how == "staged":
        run(tiny.folder, "git", "add", "params.yaml")
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
    with pytest.raises(ParamsError, match=r"part\.yaml: no seed, train\.batch: a parameter file gives every key"):
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
    (tiny / "bad.yaml").write_text((tiny / "params.yaml").read_text().replace("seed: 0", "seed: -1"))
    for folder, arguments, expected in (
        (tiny.folder, ["bad.yaml"], "bad.yaml: seed = -1: input should be greater than or equal to 0\n"),
        (tiny.folder, ["photographs"], "photographs: This is a folder, not a file\n"),
        (tiny.folder, ["/dev/zero"], "/dev/zero: Not a regular file\n"),
        (tiny.folder, ["none.yaml"], "none.yaml: No such file or directory\n"),
        (tiny.folder, [], "usage: python -m pconv.params params/NAME.yaml\n"),
        (tmp_path, ["x.yaml"], f"no dvc.yaml at or above {tmp_path}: run this inside the project\n"),
    ):
        done = command(folder, *arguments)
        assert (done.returncode, done.stderr) == (1, expected)


def test_a_set_replaces_the_file_whole_or_not_at_all(tiny, monkeypatch):
    before = (tiny / "params.yaml").read_bytes()
    tiny.write("mine.yaml", seed=1)

    def full(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(ParamsError, match=r"params\.yaml: cannot be replaced: No space left on device"):
            use(tiny / "mine.yaml", tiny / "params.yaml")
    assert (tiny / "params.yaml").read_bytes() == before
    assert not list(tiny.folder.glob("*.partial"))


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_target_that_is_no_file_is_named(tiny, kind):
    target = tiny / "params.yaml"
    tiny.write("mine.yaml", seed=1)
    target.unlink()
    target.mkdir() if kind == "folder" else os.mkfifo(target)
    with pytest.raises(
        ParamsError, match=r"params\.yaml: cannot be replaced: (This is a folder, not a file|Not a regular file)"
    ):
        use(tiny / "mine.yaml", target)


def test_a_stage_has_no_default_learning_rate():
    with pytest.raises(ValueError, match="lr"):
        Stage()
