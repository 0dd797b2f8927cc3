"""Notebooks keep their form whoever saves them: through a real Jupyter server, and by the command for other editors."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from notebook_server import jupyter_server, looked_at, run_in_lab
from repository import ENVIRONMENT, ROOT, run
from ruamel.yaml import YAML
from test_notebook import notebook

from pconv.jupyter import NotebookFormError, keep, kept_form, strip
from pconv.notebook import METADATA

SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))
REPORT = "reports/notebooks/99-report.ipynb"


@pytest.fixture
def project(tmp_path):
    """Create a folder that looks like this project, with its notebooks."""
    (tmp_path / "src" / "pconv").mkdir(parents=True)
    (tmp_path / "reports" / "notebooks").mkdir(parents=True)
    (tmp_path / "dvc.yaml").touch()
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    return tmp_path


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Return a notebook that prints, draws and shows a table, as the engine leaves it."""
    folder = tmp_path_factory.mktemp("executed")
    draw = "import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])"
    table = "import pandas as pd\npd.DataFrame({'hole ratio': [0.1, 0.2]})"
    nbformat.write(notebook("stage = 1", "print('hole')\nprint(object())", draw, table), folder / "in.ipynb")
    command = ["papermill", "--engine", "reproducible", "--no-progress-bar", "in.ipynb", "out.ipynb"]
    run(folder, *command, "-p", "stage", "2", PYTHONPATH=str(ROOT / "src"))
    return (folder / "out.ipynb").read_bytes()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_source_notebooks_are_in_the_form_that_is_kept(path):
    nb = nbformat.read(path, as_version=4)
    assert f"{nbformat.writes(strip(nb))}\n" == path.read_text(), "python -m pconv.jupyter notebooks/*.ipynb"


def test_saving_in_jupyter_leaves_every_byte(project, executed):
    (project / REPORT).write_bytes(executed)
    names = [f"notebooks/{path.name}" for path in SOURCES]
    before = {name: (project / name).read_bytes() for name in (*names, REPORT)}
    with jupyter_server(project) as server:
        for name in before:
            server.save(name, looked_at(server.open(name)))
        for name in names:
            server.save(name, run_in_lab(server.open(name)))
    assert {name: (project / name).read_bytes() for name in before} == before


def test_edits_are_saved_in_jupyter(project, executed):
    (project / REPORT).write_bytes(executed)
    source = "notebooks/04-train.ipynb"
    with jupyter_server(project) as server:
        content = run_in_lab(server.open(source))
        content["cells"][2]["source"] = "stage = 2"
        content["cells"][2]["metadata"]["tags"] += ["mine"]
        picture = {"image.png": {"image/png": "iVBORw0KGgo="}}
        markdown = {"cell_type": "markdown", "id": "a-1", "metadata": {}, "source": "new", "attachments": picture}
        content["cells"].insert(0, markdown)
        server.save(source, content)
        report = server.open(REPORT)
        report["cells"][2]["outputs"][0]["text"] = "edited"
        server.save(REPORT, report)
        server.save("mine.ipynb", content)
        assert server.open("mine.ipynb")["cells"][3]["outputs"]  # no stage's notebook: its outputs are its own
    saved = nbformat.read(project / source, as_version=4)
    assert saved.cells[0] == markdown and saved.cells[3].source == "stage = 2"
    assert saved.cells[3].metadata == {"tags": ["parameters", "mine"]} and saved.cells[3].outputs == []
    assert nbformat.read(project / REPORT, as_version=4).cells[2].outputs[0].text == "edited"


def test_a_look_at_any_notebook_makes_nothing_out_of_date(smoke_copy):
    names = [str(path.relative_to(smoke_copy)) for path in sorted(smoke_copy.glob("**/notebooks/*.ipynb"))]
    assert len(names) == len(SOURCES) + len(list((ROOT / "reports" / "notebooks").glob("*.ipynb")))
    with jupyter_server(smoke_copy) as server:
        for name in names:
            server.save(name, looked_at(server.open(name)))
    assert json.loads(run(smoke_copy, "dvc", "status", "--json").stdout) == {"watch": ["always changed"]}
    assert run(smoke_copy, "git", "diff", "--name-only", "notebooks").stdout == ""


def test_the_form_names_no_version_of_python():
    assert METADATA["language_info"] == {"name": "python"}
    assert METADATA["kernelspec"]["name"] == "python3"


def test_the_command_brings_notebooks_into_the_form_that_is_kept(project, executed):
    """As VS Code saves: other indentation, no newline at the end, nbformat 4.4 without ids."""
    (project / REPORT).write_bytes(executed)
    names = ["notebooks/01-masks.ipynb", "notebooks/old.ipynb", REPORT]
    before = [(project / names[0]).read_bytes(), None, executed]
    for name in (names[0], REPORT):
        change = run_in_lab if name == names[0] else looked_at
        (project / name).write_text(json.dumps(change(json.loads((project / name).read_text())), indent=4))
    old = {"nbformat": 4, "nbformat_minor": 4, "metadata": {"orig_nbformat": 4}, "cells": []}
    old["cells"].append({"cell_type": "code", "metadata": {}, "source": "1", "outputs": [], "execution_count": 3})
    (project / names[1]).write_text(json.dumps(old))
    command = [sys.executable, "-m", "pconv.jupyter", *names]
    first = run(project, *command, PYTHONPATH=str(ROOT / "src"))
    assert [line.partition(":")[0] for line in first.stdout.splitlines()] == names
    assert [(project / names[0]).read_bytes(), None, (project / REPORT).read_bytes()] == before
    nb = nbformat.read(project / names[1], as_version=4)
    nbformat.validate(nb)
    assert (nb.nbformat_minor, nb.cells[0].id, nb.cells[0].execution_count) == (5, "cell-01", None)
    assert run(project, *command, PYTHONPATH=str(ROOT / "src")).stdout == ""


@pytest.mark.parametrize("place", ["other/notebooks/x.ipynb", "mine.ipynb", "notebooks/drafts/x.ipynb"])
def test_notebooks_elsewhere_stay_as_they_are(project, place):
    (project / "other").mkdir()
    (project / "other" / "dvc.yaml").touch()  # another project
    path = project / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    assert kept_form(path) is None and keep(path) is False
    assert path.read_text() == "{}"


def test_outside_of_any_project_nothing_is_kept(tmp_path):
    assert kept_form(tmp_path / "notebooks" / "x.ipynb") is None


CODE = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [%s]}'


@pytest.mark.parametrize(
    "text",
    ["", "x", "3", "[]", "{}", '{"nbformat": 9, "cells": []}', CODE % "3", CODE % '{"cell_type": "code"}', "\xff"],
)
def test_what_is_no_notebook_is_named_and_left_alone(project, text):
    path = project / "notebooks" / "x.ipynb"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(NotebookFormError, match=f"^{path}: not a notebook$"):
        keep(path)
    assert path.read_text(encoding="latin-1") == text


def test_what_cannot_be_read_is_one_line(project):
    command = [sys.executable, "-m", "pconv.jupyter", "notebooks/none.ipynb"]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "notebooks/none.ipynb: No such file or directory\n"


def test_the_installed_package_tells_jupyter():
    """What makes the tests above pass is there in every environment with the package, not in the user's settings."""
    about = Path(sys.prefix, "etc/jupyter/jupyter_server_config.d/pconv.json")
    assert json.loads(about.read_text()) == json.loads((ROOT / "src/pconv/jupyter.json").read_text())


def test_the_hooks_before_a_commit_run_what_the_lock_pins():
    """They take no versions of their own: each runs a program of the project's environment."""
    (repository,) = YAML(typ="safe").load(ROOT / ".pre-commit-config.yaml")["repos"]
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    assert repository["repo"] == "local" and {hook["language"] for hook in hooks.values()} == {"system"}
    assert [hooks[name]["entry"].split()[:2] for name in ("ruff-check", "ruff-format", "notebooks")] == [
        ["ruff", "check"],
        ["ruff", "format"],
        ["python", "-m"],
    ]


def test_the_hook_strips_a_notebook_that_another_editor_saved(project):
    (*_, hook) = YAML(typ="safe").load(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    path = project / "notebooks" / "04-train.ipynb"
    before = path.read_bytes()
    path.write_text(json.dumps(run_in_lab(json.loads(before)), indent=2))
    run(project, *hook["entry"].split(), "notebooks/04-train.ipynb", PYTHONPATH=str(ROOT / "src"))
    assert path.read_bytes() == before
