"""Parameter files: what is no YAML, what is too much of it, and every key at its limits and beyond."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path

from hostile import refused, right, table
from pconv.params import Params, load_params
from pconv.project import project_root
from pconv.yaml import read_yaml

VALUES = read_yaml(project_root(Path(__file__)) / "params" / "smoke.yaml")
SECTIONS = [key for key in VALUES if isinstance(VALUES[key], dict)]


def changed(key: str, value) -> str:
    """Return the smoke parameters as YAML, with another value for a key such as train.stage1.lr."""
    values = deepcopy(VALUES)
    *parts, last = key.split(".")
    section = values
    for part in parts:
        section = section[part]
    section[last] = value
    return flow(values)


def flow(value) -> str:
    """Write a value as YAML on one line. Text stays as it is, so that a case can write what no value stands for."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)


def load(folder: Path, content: str | bytes) -> Params:
    """Read a parameter file of this content."""
    path = folder / "params.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_params(path)


# Files

FILES = "parameter files"
GOOD = flow(VALUES)
ANCHORED = "{source: drawn, folder: null, hole: white, border: free, train: &n 4, val: *n, test: *n}"
BOMB = "a: &a [1]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
table(FILES, load, {
    "as they are": (GOOD, None),
    "with a byte order mark": (b"\xef\xbb\xbf" + GOOD.encode(), None),
    "with the line ends of Windows": (GOOD.replace(", ", ",\r\n ").encode(), None),
    "in UTF-16": (GOOD.encode("utf-16"), None),
    "with comments and a document's start": (f"# smoke\n---\n{GOOD}\n...\n", None),
    "with an anchor that is used": (changed("masks", ANCHORED), None),
    "empty": ("", r"params\.yaml: .*found nothing"),
    "only a comment": ("# nothing\n", r"params\.yaml: .*found nothing"),
    "a number": ("3", r"params\.yaml: .*found int"),
    "a list": ("[1, 2]", r"params\.yaml: .*found list"),
    "a sentence": ("seed data masks", r"params\.yaml: .*found str"),
    "two documents": (f"{GOOD}\n---\n{GOOD}\n", r"params\.yaml: not valid YAML"),
    "tabs": ("data:\n\tsize: 3\n", r"params\.yaml: not valid YAML: line 2"),
    "a bracket too few": (GOOD[:-1], r"params\.yaml: not valid YAML: line"),
    "a key twice": (GOOD[:-1] + ", seed: 1}", r"params\.yaml: not valid YAML: line 1.*seed"),
    "zeros": (bytes(1000), r"params\.yaml: not valid YAML"),
    "random bytes": (bytes(range(256)) * 3, r"params\.yaml: not valid YAML"),
    "not in UTF-8": (GOOD.replace("packaged", "päckaged").encode("latin-1"), r"params\.yaml: not valid YAML"),
    "a control character": (GOOD.replace("packaged", "pack\x07aged"), r"params\.yaml: not valid YAML"),
    "5,000 brackets": ("[" * 5000, r"params\.yaml: line 1: nested more than 20 deep"),
    "5,000 braces": ("{a: " * 5000, r"params\.yaml: line 1: nested more than 20 deep"),
    "5,000 minus signs": ("- " * 5000, r"params\.yaml: line 1: nested more than 20 deep"),
    "a bomb of aliases": (BOMB, r"params\.yaml: line \d+: too (much|long),? with every alias"),
    "an alias that contains itself": ("a: &a [*a]", r"params\.yaml: line 1: \*a contains itself"),
    "an alias of nothing": ("a: *b", r"params\.yaml: not valid YAML.*b"),
    "merged from itself": ("a: &a {<<: *a}", r"params\.yaml: line 1: \*a contains itself"),
    "a Python object": ("!!python/object/apply:os.system ['touch hacked']", r"params\.yaml: not valid YAML: line 1"),
    "a key that is a list": ("? [a, b]\n: 1\n", r"params\.yaml: not valid YAML|\['a', 'b'\]|\('a', 'b'\): unknown key"),
    "a key that is a number": (GOOD[:-1] + ", 3: 1}", r"params\.yaml: 3: unknown key|params\.yaml: 3"),
    "a key that is empty": (GOOD[:-1] + ', "": 1}', r"params\.yaml: .*unknown key; "),
    "a key of 50,000 letters": (GOOD[:-1] + f", {'a' * 50_000}: 1}}", r"params\.yaml: .*a"),
    "a misspelt section": (GOOD.replace("masks:", "mask:"), r"no masks.*mask: unknown key; did you mean masks"),
    "a misspelt key": (GOOD.replace("width:", "widht:"), r"no model\.width.*widht: unknown key; did you mean width"),
    "keys in capitals": (GOOD.replace("seed:", "SEED:"), r"params\.yaml: no seed.*SEED: unknown key"),
    "200 KB": ("#" * 200_000 + "\n" + GOOD, r"params\.yaml: Larger than 100,000 bytes"),
    "a hundred unknown keys": (GOOD[:-1] + "".join(f", k{n}: 1" for n in range(100)) + "}", r"and 91 problems more"),
})  # fmt: skip
for section in VALUES:
    rest = flow({key: value for key, value in VALUES.items() if key != section})
    table(FILES, load, {f"without {section}": (rest, rf"params\.yaml: no {section}: a parameter file gives every key")})
for section in SECTIONS:
    found = rf"params\.yaml: (no {section}|{section} = .*: expected a section with)"
    table(FILES, load, {
        f"{section} is empty": (changed(section, "{}"), rf"params\.yaml: no {section}\.\w+"),
        f"{section} is null": (changed(section, None), found),
        f"{section} is a list": (changed(section, "[1]"), found),
        f"{section} is a word": (changed(section, "none"), found),
    })  # fmt: skip


@refused(FILES, "of 100 GB, with a hole", r"params\.yaml: Larger than 100,000 bytes")
def _(folder):
    with open(folder / "params.yaml", "wb") as file:
        file.truncate(100 * 2**30)
    load_params(folder / "params.yaml")


@refused(FILES, "a FIFO", r"params\.yaml: Not a regular file")
def _(folder):
    os.mkfifo(folder / "params.yaml")
    load_params(folder / "params.yaml")


@refused(FILES, "a device", r"/dev/zero: Not a regular file")
def _(folder):
    load_params("/dev/zero")


@refused(FILES, "a folder", r"params\.yaml: This is a folder")
def _(folder):
    (folder / "params.yaml").mkdir()
    load_params(folder / "params.yaml")


@refused(FILES, "no file", r"params\.yaml: No such file")
def _(folder):
    load_params(folder / "params.yaml")


@refused(FILES, "a link to itself", r"params\.yaml: Too many levels of symbolic links")
def _(folder):
    (folder / "params.yaml").symlink_to("params.yaml")
    load_params(folder / "params.yaml")


@right(FILES, "a link to a file")
def _(folder):
    load(folder, GOOD)
    (folder / "link.yaml").symlink_to("params.yaml")
    assert load_params(folder / "link.yaml") == load_params(folder / "params.yaml")


# Values

COUNTS = ("masks.train", "masks.val", "masks.test", "train.validation", "train.stage1.epochs", "train.stage1.steps")
WHOLE = {  # key -> values that are right, values that are not
    **{key: ((1, 2**31), (0, -1)) for key in COUNTS},
    "seed": ((0, 2**32 - 1), (-1, 2**32)),
    "data.size": ((16, 512, 8192), (0, -16, 15, 8193)),
    "data.min_side": ((1, 64), (0, -1)),
    "data.max_pixels": ((1, 2**27), (0, -1, 2**27 + 1)),
    "model.width": ((1, 64, 1024), (0, -1, 1025, 10**12)),
    "model.depth": ((2, 5), (1, 0, -1, 10, 10**9)),
    "train.batch": ((4, 1024), (0, -1)),
    "train.processes": ((0, 1), (-1,)),
    "train.workers": ((0, 64), (-1,)),
}
REAL = {
    **{
        f"loss.stage1.{term}": ((0, 1e-30, 1e6), (-1e-30, -1))
        for term in ("valid", "hole", "perceptual", "style", "tv")
    },
    "train.stage1.lr": ((1e-12, 1), (0, -1e-4, 1.1, 1e4)),
    "train.stage2.lr_end": ((1e-12, 1, None), (0, -1e-4, 1.1)),
    "data.max_rejected": ((0, 0.05, 1), (-0.1, 1.1)),
    "train.checkpoint_seconds": ((0, 0.5, 1e9), (-1,)),
}
CHOICES = {
    "data.source": (("packaged",), ("Packaged", "image-net", "''", "[packaged]")),
    "masks.source": (
        ("drawn", "strokes", "grid2", "grid4"),
        ("Drawn", "opencv", "grid", "grid3", "2", "null", "''", "[drawn]"),
    ),
    "masks.folder": (("null",), ("1", "[masks]", "true", "masks", "''")),
    "masks.hole": (("white",), ("black", "published", "White", "0", "null", "''", "[white]")),  # not of a folder
    "masks.border": (("forced", "free"), ("Free", "none", "0", "null", "true", "''", "[free]")),
    "train.precision": (("auto", "float32", "bfloat16"), ("float16", "fp32", "32", "''")),
    "train.recolour": ((True, False), ("'true'", "yes", 1, 0, "null")),
    "train.sync_norm": ((True, False), ("on", "off", 1)),
    "evaluate.baselines": (
        ("[telea]", "[telea, biharmonic]"),
        ("[]", "telea", "[Telea]", "[null]", "[1]", "{telea: 1}"),
    ),
    "data.crop": (
        ("[1, 1]", "[0.1, 0.1]"),
        ("[0, 1]", "[0.5, 2]", "[0.9, 0.1]", "[0.5]", "[0.1, 0.2, 0.3]", "0.5", "[.nan, 1]", "['0.5', 1]", "[]"),
    ),
    "loss.vgg": (("packaged", "random"), ("''", "1", "null", "[packaged]")),
    "data.check": (("header", "decode"), ("none", "''", "1", "[header]")),
    "data.folder": (("null",), ("1", "[photographs]", "true", "photographs")),
    "model.layer": (("partial", "plain"), ("Partial", "''", "null", "1", "[partial]")),
    "model.fill": (("mean",), ("grey", "0", "null", "''", "[mean]")),  # with partial layers
    "model.scale": (("paper", "keras", "sum"), ("Paper", "nvidia", "1", "null", "''", "[sum]")),
    "train.start": (("null", "weights.safetensors"), ("''", "1", "[a]", "true")),
    "evaluate.published": (("null", "published/weights.safetensors"), ("''", "1", "[a]", "true")),
    "train.freeze_norm": ((True, False), ("'true'", 1, "null")),
}
NEVER = (".nan", ".inf", "-.inf", "1e999", "'1'", "true", "one", "[1]", "{a: 1}", "9" * 5000)
NOT_WHOLE = (*NEVER, "1.5", "1e3", "null", "''")
NOT_REAL = (*NEVER, "''")


def limits(keys: dict, never: tuple) -> None:
    """Register each key with values that are right and with values that are not."""
    for key, (good, bad) in keys.items():
        message = rf"params\.yaml: (not valid YAML: line 1|{key}(\.\d)?( = |: )).{{2,}}"
        for value in good:
            table("parameters", load, {f"{key}: {flow(value)}": (changed(key, value), None)})
        for value in (*bad, *never):
            table("parameters", load, {f"{key}: {flow(value)[:40]}": (changed(key, value), message)})


limits(WHOLE, NOT_WHOLE)
limits(REAL, NOT_REAL)
limits(CHOICES, ())

# How values fit together
OWN = {**VALUES["masks"], "source": "folder", "folder": "mine"}
table("parameters", load, {
    "masks of one's own": (changed("masks", OWN), None),
    "masks of one's own, black where the hole is": (changed("masks", OWN | {"hole": "black"}), None),
    "masks as published": (changed("masks", OWN | {"hole": "published"}), None),
    "films": (changed("masks", OWN | {"source": "video"}), None),
    "masks of no folder": (changed("masks.source", "folder"), r"masks\.folder = None: .*a folder of masks"),
    "films of no folder": (changed("masks.source", "video"), r"masks\.folder = None: .*a folder of frames"),
    "films with black holes": (changed("masks", OWN | {"source": "video", "hole": "black"}), r"masks\.hole = 'black'"),
    "a folder of masks that is not used": (changed("masks", OWN | {"source": "strokes"}), r"masks\.folder = 'mine'"),
    "a folder that is not named": (changed("data.source", "folder"), r"data\.folder = .*needs the path"),
    "a network too deep for the crops": (
        changed("model.depth", 9),
        r"data\.size = \d+ is too small for model\.depth = 9.*or a smaller depth",
    ),
    "nothing that compares the hole": (
        changed("loss.stage2", {**VALUES["loss"]["stage2"], "hole": 0, "perceptual": 0}),
        r"loss\.stage2\.hole = loss\.stage2\.perceptual = 0.*above 0",
    ),
    "a batch that processes cannot share": (
        changed("train", {**VALUES["train"], "batch": 5, "processes": 2}), r"train\.batch = 5: 2 processes"
    ),
})  # fmt: skip
