"""README's commands, read from README, in a project in which the pipeline has run."""

import itertools
import json
import re
import sys
import time
from functools import reduce
from operator import getitem
from pathlib import Path

import nbformat
import pytest
from repository import ENVIRONMENT, ROOT, copy_repository, run
from ruamel.yaml import YAML

MARKED = re.compile(r"<!-- tests/test_readme\.py runs this -->\n\n((?:    .*\n)+)")
WIDTH = 100  # characters that a terminal shows in one line


def execute(folder, block):
    """Run a block of README in a terminal of WIDTH columns and return what it prints."""
    commands = re.sub("^ {4}", "", block, flags=re.MULTILINE)
    return run(folder, "bash", "-e", "-c", commands, COLUMNS=str(WIDTH)).stdout


def wait_for_queue(folder, names):
    """Wait until the queue's experiments have run, and fail with what one printed if it failed."""
    deadline = time.monotonic() + 900
    while True:
        status = run(folder, "dvc", "queue", "status").stdout
        found = {name: re.search(rf"\s{name}\s.*\s(\w+)\s*$", status, re.MULTILINE) for name in names}
        states = [row and row[1] for row in found.values()]  # one that is just being taken from the queue has no row
        if set(states) == {"Success"}:
            return
        failed = [name for name, state in zip(names, states, strict=True) if state == "Failed"]
        assert not failed, run(folder, "dvc", "queue", "logs", failed[0], check=False).stdout
        assert time.monotonic() < deadline, status
        time.sleep(1)


def at(folder, rev, path):
    return run(folder, "git", "show", f"{rev}:{path}").stdout


def test_experiments(smoke_copy):
    """Experiments in the queue, how they are shown and compared, one without the queue and the way back."""
    queue, show, in_place = MARKED.findall((ROOT / "README.md").read_text())
    names = re.findall(r"--queue -n (\S+) -S", queue)
    changes = dict(re.findall(r"-n (\S+) -S (\S+)", queue))
    (smoke_copy / "output.txt").unlink()
    run(smoke_copy, "git", "add", "-A")
    run(smoke_copy, "git", "commit", "-qm", "a run")
    installed = smoke_copy / ".venv" / "installed"  # by `make repro`, for README's reader
    installed.parent.mkdir()
    (installed.parent / "bin").symlink_to(ENVIRONMENT["PATH"].split(":")[0])
    installed.touch()

    try:
        execute(smoke_copy, queue)
        wait_for_queue(smoke_copy, names)
    finally:
        run(smoke_copy, "dvc", "queue", "stop", "--kill", check=False)
    assert run(smoke_copy, "git", "status", "--porcelain").stdout == ""
    revisions = {
        name: ref for ref, name in re.findall(r"(refs/exps/\S+/(\S+))", run(smoke_copy, "git", "for-each-ref").stdout)
    }
    default = YAML(typ="safe").load(at(smoke_copy, "HEAD", "params.yaml"))
    for name, change in changes.items():  # each has its own change and no other's
        expected = json.loads(json.dumps(default))
        key, value = change.split("=")
        *sections, leaf = key.split(".")
        reduce(getitem, sections, expected)[leaf] = float(value)
        assert YAML(typ="safe").load(at(smoke_copy, revisions[name], "params.yaml")) == expected
    rerun = run(
        smoke_copy, "git", "diff", "--name-only", "HEAD", revisions["no-style"], "--", "reports/notebooks"
    ).stdout
    assert sorted(rerun.split()) == [f"reports/notebooks/{name}.ipynb" for name in ("04-train-stage2", "05-evaluate")]

    said = execute(smoke_copy, show)
    assert max(len(line.rstrip()) for line in said.splitlines() if "file://" not in line) <= WIDTH, said
    shown = re.sub(r"\s+", " ", said)
    for text in (*names, "psnr", "psnr_gain", "stage2.style", "model.width", "params.yaml loss.stage2.style 120.0 0"):
        assert text in shown
    assert (smoke_copy / "dvc_plots" / "index.html").is_file()
    compared = nbformat.read(smoke_copy / "reports/notebooks/06-compare.ipynb", as_version=4)
    code = [cell for cell in compared.cells if cell.cell_type == "code"]
    words = code[-1].outputs[0]["data"]["text/markdown"]
    assert words.startswith("3 runs were compared. They differ in model.width, loss.stage2.style.")
    assert "- no-style (loss.stage2.style = 0): " in words and "- width-16 (model.width = 16): " in words

    run(smoke_copy, "git", "add", "-A")  # what was drawn for comparison goes
    run(smoke_copy, "git", "reset", "-q", "--hard")
    execute(smoke_copy, in_place)
    assert run(smoke_copy, "git", "status", "--porcelain").stdout == ""
    assert run(smoke_copy, "dvc", "status").stdout.split() == ["watch:", "always", "changed"]


def test_it_is_read_in_one_sitting():
    assert len((ROOT / "README.md").read_text().splitlines()) < 200


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Return a clone of this repository in which `make` finds its environment."""
    folder = tmp_path_factory.mktemp("clone")
    copy_repository(folder / "original")
    run(folder, "git", "clone", "-q", "original", "pconv")
    environment = folder / "pconv" / ".venv"
    environment.mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name != "installed":
            (environment / path.name).symlink_to(path)
    (environment / "installed").touch()
    return folder / "pconv"


def commands(start):
    """Return all commands of README that begin with a word, in blocks and within a line, without their comments."""
    text = (ROOT / "README.md").read_text()
    found = re.findall(rf"^    ({start} .*)$|`({start} [^`]*)`", text, re.MULTILINE)
    return sorted({(block or inline).split("  ")[0].split(" #")[0].strip() for block, inline in found})


def test_every_make_command_is_one_of_the_makefile(clone):
    """Each can be run: `make` knows the target, the recipe its variables, and the files that they name are there."""
    makefile = (ROOT / "Makefile").read_text()
    assert len(commands("make")) > 8
    for command in commands("make"):
        said = run(clone, "bash", "-c", command.replace("make", "make -n", 1)).stdout
        assert "export PATH=" in said, command
        for variable, value in re.findall(r"([A-Z_]+)=(\S+)", command):
            assert f"$({variable})" in makefile, command
            assert (clone / value).exists() or variable != "PARAMS", command


def test_every_other_command_is_known(clone):
    """DVC takes the subcommands and options that README gives it; test_experiments runs most of them."""
    for command in commands("dvc"):
        words = command.split()
        program = [*itertools.takewhile(lambda word: re.fullmatch(r"[a-z]+", word), words[:3])]
        options = set(re.findall(r" (--?[a-zA-Z-]+)", command))
        known = run(clone, *program, "--help").stdout
        assert not [option for option in options if not re.search(rf"(^|[\s,]){option}\b", known)], command
    assert (
        clone / "environment.yml"
    ).is_file()  # conda env create -f environment.yml; test_setup compares its packages


def test_make_site_gives_pages_from_a_clone(clone):
    said = run(clone, "make", "site").stdout
    pages = sorted(path.name for path in (clone / "site").glob("*.html"))
    assert f"{len(pages)} pages; open {clone / 'site' / 'index.html'}" in said and "index.html" in pages
    assert run(clone, "git", "status", "--porcelain").stdout == ""
