"""The ways in: pyproject.toml, environment.yml and requirements.lock agree, and make says what is missing."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import jupyterlab
import pytest
from jupyterlab.handlers.announcements import CheckForUpdateABC
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from repository import copy_repository, run
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = PYPROJECT["project"]["dependencies"]
TEST = PYPROJECT["project"]["optional-dependencies"]["test"]
BUILD = PYPROJECT["project"]["optional-dependencies"]["build"]
PARALLEL = "--numprocesses auto --maxprocesses 4 --dist loadgroup"
CONDA = YAML(typ="safe").load((ROOT / "environment.yml").read_text())["dependencies"]


def bounds(requirements):
    """Canonical name -> version bounds."""
    parsed = [Requirement(line) for line in requirements]
    return {canonicalize_name(requirement.name): requirement.specifier for requirement in parsed}


def pins():
    """Return the requirements in requirements.lock; a package may be pinned once for each of several Pythons."""
    lines = (line.partition("#")[0].strip(" \\") for line in (ROOT / "requirements.lock").read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("--hash")]


def test_environment_has_the_same_dependencies_and_bounds():
    (pip,) = [entry["pip"] for entry in CONDA if isinstance(entry, dict)]
    assert bounds(pip) == bounds(RUNTIME + TEST + BUILD)
    assert len(pip) == len(RUNTIME + TEST + BUILD)
    assert f"python{PYPROJECT['project']['requires-python']}" in CONDA


def test_every_dependency_is_bounded_and_pinned_within_its_bounds():
    pinned = {}
    for pin in pins():
        ((operator, version),) = [(spec.operator, spec.version) for spec in pin.specifier]
        assert operator == "==" and "*" not in version, f"{pin} is no pin"
        pinned.setdefault(canonicalize_name(pin.name), []).append(version)
    for name, allowed in bounds(RUNTIME + TEST + BUILD).items():
        assert any(spec.operator == ">=" for spec in allowed), f"{name} has no lower bound"
        assert name in pinned, f"{name} is not in requirements.lock: make lock"
        assert all(version in allowed for version in pinned[name]), f"{name}: {pinned[name]} outside {allowed}"


def test_lock_names_no_place_of_this_machine():
    lock = (ROOT / "requirements.lock").read_text()
    assert "uv pip compile --universal --python-version 3.11" in lock.splitlines()[1]
    assert all(pin.url is None for pin in pins())
    assert not re.search(r"://|(^|\s)/|^-", lock, re.MULTILINE)


def test_every_pin_carries_the_hashes_of_its_files():
    entries = re.split(r"^(?=\S)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    found = [re.findall(r" --hash=sha256:[0-9a-f]{64}\b", entry) for entry in entries if "==" in entry]
    assert len(found) == len(pins()) and all(found)


def test_the_build_system_is_pinned_with_what_it_needs():
    """`make` installs the package itself without build isolation, so from what the lock brought."""
    assert bounds(PYPROJECT["build-system"]["requires"]).items() <= bounds(BUILD).items()
    get = import_module(PYPROJECT["build-system"]["build-backend"]).get_requires_for_build_editable
    assert bounds(get()).keys() <= bounds(BUILD).keys()


def test_the_wheel_brings_photographs_and_weights(tmp_path):
    run(ROOT, sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    (wheel,) = tmp_path.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        inside = {name: archive.read(name) for name in archive.namelist()}
    for folder in ("photographs", "weights"):
        for path in (ROOT / "src/pconv" / folder).iterdir():
            assert inside[f"pconv/{folder}/{path.name}"] == path.read_bytes()
    assert any(name.endswith("/licenses/src/pconv/photographs/index.csv") for name in inside)


def imported(path: Path) -> set[str]:
    """Top-level modules that a Python file or a notebook imports."""
    source = path.read_text()
    if path.suffix == ".ipynb":
        cells = json.loads(source)["cells"]
        source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


@pytest.mark.parametrize(
    "folder, declared",
    [("src", RUNTIME), ("notebooks", RUNTIME), ("benchmarks", RUNTIME + TEST), ("tests", RUNTIME + TEST)],
    ids=["src", "notebooks", "benchmarks", "tests"],
)
def test_every_import_is_declared(folder, declared):
    paths = [path for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".ipynb"}]
    own = {"pconv"} | {path.stem for place in ("tests", "benchmarks") for path in (ROOT / place).iterdir()}
    providers = packages_distributions()
    for path in paths:
        for module in imported(path) - own:
            names = {canonicalize_name(name) for name in providers.get(module, [module])}
            assert names & bounds(declared).keys(), f"{path.relative_to(ROOT)} imports {module}, which is not declared"


@pytest.mark.parametrize("option", ["analytics", "check_update"])
def test_dvc_phones_nobody(option):
    command = [sys.executable, "-m", "dvc", "config", "--project", f"core.{option}"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "false"


def test_unfinished_runs_are_ignored_by_git_and_dvc():
    state = "models/state/stage1/last.safetensors"
    for command in (["git"], [sys.executable, "-m", "dvc"]):
        done = subprocess.run([*command, "check-ignore", state], cwd=ROOT, capture_output=True, text=True)
        assert done.stdout.strip() == state, done.stderr


@pytest.mark.parametrize("setting", ["true", "input", "false"])
def test_a_clone_has_the_bytes_that_dvc_hashes_whatever_autocrlf_says(tmp_path, setting):
    original = copy_repository(tmp_path / "original")
    run(tmp_path, "git", "clone", "-q", "-c", f"core.autocrlf={setting}", "original", "clone")
    names = run(original, "git", "ls-files", "-z").stdout.split("\0")[:-1]
    assert "dvc.lock" in names and "notebooks/04-train.ipynb" in names
    different = [n for n in names if (tmp_path / "clone" / n).read_bytes() != (original / n).read_bytes()]
    assert different == []
    assert run(tmp_path / "clone", "git", "status", "--short").stdout == ""


class Sandbox:
    """A folder with the Makefile, where every program on the PATH is a fake that logs its calls."""

    def __init__(self, root: Path):
        self.root, self.bin, self.log = root, root / "bin", root / "calls"
        for name in ("Makefile", "requirements.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, root)
        self.bin.mkdir()
        for tool in ("sh", "touch", "sed"):
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.fake("bin/git")

    def fake(self, path: str, body: str = "") -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f'#!/bin/sh\necho "{target.name} $*" >> "{self.log}"\n{body}\n')
        target.chmod(0o755)

    def install(self) -> None:
        """As if `make` had made the environment: .venv with fakes of what it holds."""
        for tool in ("dvc", "pip", "python", "pytest", "ruff"):
            self.fake(f".venv/bin/{tool}")
        later = (self.root / "requirements.lock").stat().st_mtime + 10
        (self.root / ".venv/installed").touch()
        os.utime(self.root / ".venv/installed", (later, later))

    def make(self, *arguments: str) -> subprocess.CompletedProcess:
        env = {"PATH": str(self.bin), "HOME": str(self.root)}
        command = [shutil.which("make"), *arguments]
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True)

    def calls(self) -> list[str]:
        return [call for call in self.log.read_text().splitlines() if not call.startswith("git")]


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path)


def python(version):
    """Return a stand-in for Python that runs `python -c` but reports another version."""
    return f'[ "$1" != -c ] || exec {shlex.quote(sys.executable)} -c "import sys; sys.version_info = {version}; $2"'


OLD_PYTHON = python((3, 10, 14))
BARE_PYTHON = 'case "$*" in *ensurepip*) exit 1;; esac'


@pytest.mark.parametrize("target", ["repro", "test", "lab"])
@pytest.mark.parametrize(
    "fakes, words",
    [
        ({"git": "exit 127"}, ["git is missing", "https://git-scm.com"]),
        ({"git": 'case "$1" in rev-parse) exit 128;; esac'}, ["needs a git repository", "git clone"]),
        ({"python3": "exit 127"}, ["Python 3.11 or newer is missing", "PYTHON=/path"]),
        ({"python3": OLD_PYTHON}, ["Python 3.11 or newer is missing", "PYTHON=/path"]),
        ({"python3": BARE_PYTHON}, ["cannot make environments", "apt install python3-venv"]),
    ],
    ids=["no-git", "no-repository", "no-python", "old-python", "no-venv"],
)
def test_make_says_what_is_missing(sandbox, target, fakes, words):
    for name, body in fakes.items():
        sandbox.fake(f"bin/{name}", body)
    done = sandbox.make(target)
    assert done.returncode != 0
    message = done.stderr.splitlines()[0]
    assert all(word in message for word in words), done.stderr
    assert not (sandbox.root / ".venv").exists()


def test_make_finds_a_newer_python_and_obeys_PYTHON(sandbox):
    sandbox.fake("bin/python3", OLD_PYTHON)
    sandbox.fake("bin/python3.12", python((3, 12, 0)))
    assert '"python3.12" -m venv' in sandbox.make("-n", "repro").stdout
    sandbox.fake("mine/python", python((3, 11, 0)))
    assert '"mine/python" -m venv' in sandbox.make("-n", "repro", "PYTHON=mine/python").stdout


def test_make_installs_once_and_again_when_the_lock_changes(sandbox):
    sandbox.fake("bin/python3", 'case "$*" in *venv*) mkdir -p .venv/bin; cp pip dvc python .venv/bin;; esac')
    for tool in ("mkdir", "cp"):
        (sandbox.bin / tool).symlink_to(shutil.which(tool))
    for tool in ("pip", "dvc", "python"):
        sandbox.fake(tool)
    first = sandbox.make("repro")
    assert first.returncode == 0, first.stderr
    assert len(first.stdout.splitlines()) == 1 and "2 minutes and 6 GB" in first.stdout
    calls = [call for call in sandbox.calls() if not call.startswith("python3 -c")]
    assert [call.split()[0] for call in calls] == ["python3", "pip", "pip", "dvc", "python"]
    assert "--require-hashes -r requirements.lock" in calls[1]
    assert "--no-deps" in calls[2] and calls[2].endswith("-e .")

    sandbox.log.unlink()
    assert sandbox.make("repro").stdout == ""
    assert sandbox.calls() == ["dvc repro", "python -m pconv.reproduced"]

    later = (sandbox.root / ".venv/installed").stat().st_mtime + 10
    os.utime(sandbox.root / "requirements.lock", (later, later))
    sandbox.log.unlink()
    sandbox.make("repro")
    assert [call.split()[0] for call in sandbox.calls()] == ["pip", "pip", "dvc", "python"]


def test_make_does_not_count_a_failed_install(sandbox):
    sandbox.install()
    (sandbox.root / ".venv/installed").unlink()
    sandbox.fake(".venv/bin/pip", "exit 1")
    assert sandbox.make("repro").returncode != 0
    assert not (sandbox.root / ".venv/installed").exists()
    assert "dvc repro" not in sandbox.calls()


def test_make_repro_takes_a_parameter_set_first(sandbox):
    sandbox.install()
    assert sandbox.make("repro", "PARAMS=params/smoke.yaml").returncode == 0
    last_word = "python -m pconv.reproduced"
    assert sandbox.calls() == ["python -m pconv.params params/smoke.yaml", "dvc repro", last_word]
    sandbox.fake(".venv/bin/python", "exit 1")
    sandbox.log.unlink()
    assert sandbox.make("repro", "PARAMS=params/wrong.yaml").returncode != 0
    assert "dvc repro" not in sandbox.calls()


def test_make_test_lints_before_it_tests(sandbox):
    sandbox.install()
    assert sandbox.make("test").returncode == 0
    assert sandbox.calls() == ["ruff check", "ruff format --check", f"pytest {PARALLEL}"]


def test_make_arithmetic_acts_as_another_processor_unless_told(sandbox):
    sandbox.install()
    sandbox.fake(".venv/bin/pytest", 'echo "$ATEN_CPU_CAPABILITY $ONEDNN_MAX_CPU_ISA $OMP_NUM_THREADS $*"')
    assert sandbox.make("arithmetic").stdout == f"avx2 AVX2 1 {PARALLEL} -m arithmetic\n"
    assert sandbox.make("arithmetic", "ONEDNN_MAX_CPU_ISA=SSE41").stdout == f"avx2 SSE41 1 {PARALLEL} -m arithmetic\n"


@pytest.mark.parametrize("user, option", [(0, True), (1000, False)], ids=["root", "user"])
def test_make_lab_asks_nobody_for_news_and_hands_options_on(sandbox, user, option):
    sandbox.install()
    sandbox.fake(".venv/bin/jupyter")
    sandbox.fake("bin/id", f"echo {user}")
    assert sandbox.make("lab", "ARGS=--no-browser --port 9999").returncode == 0
    (call,) = (call for call in sandbox.calls() if call.startswith("jupyter"))
    assert call.split()[:2] == ["jupyter", "lab"] and call.split()[-3:] == ["--no-browser", "--port", "9999"]
    assert "--LabApp.news_url=None" in call and "jupyterlab.NeverCheckForUpdate" in call
    assert issubclass(jupyterlab.NeverCheckForUpdate, CheckForUpdateABC)
    assert ("--allow-root" in call.split()) == option


@pytest.mark.parametrize("call", ["ruff check", "ruff format", "pytest"])
def test_make_test_fails_when_a_part_of_it_fails(sandbox, call):
    sandbox.install()
    tool, *words = call.split()
    sandbox.fake(f".venv/bin/{tool}", f'case "$*" in {" ".join(words)}*) exit 1;; esac')
    assert sandbox.make("test").returncode != 0


def test_make_help_lists_every_target(sandbox):
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    listed = [line.split()[1] for line in sandbox.make().stdout.splitlines()]
    assert sorted(listed) == sorted(set(targets) - {"check"})


def test_ci_is_make_test_and_again_as_another_processor_computes():
    lines = (ROOT / ".ci/run").read_text().splitlines()
    assert [line.partition(" #")[0] for line in lines[-2:]] == ["make test", "make arithmetic"]
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_citation_names_the_paper():
    citation = YAML(typ="safe").load((ROOT / "CITATION.cff").read_text())
    paper = citation["preferred-citation"]
    assert paper["title"] == "Image Inpainting for Irregular Holes Using Partial Convolutions"
    assert paper["authors"][0] == {"family-names": "Liu", "given-names": "Guilin"}
    assert citation["version"] == PYPROJECT["project"]["version"]
