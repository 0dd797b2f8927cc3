"""The repository, and a copy of it in which commands run as a user's would, whatever the git settings here."""

import ast
import os
import random
import re
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import nbformat
from ruamel.yaml import YAML

# Before PyTorch is imported, and for all that tests start: the CPU alone, and no proxy between here and here.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "localhost,127.0.0.1"

ROOT = Path(__file__).parents[1]
PATIENCE = 300  # seconds after which a test takes something for hung, on the slowest of machines
SETTINGS = {  # no signing, hooks, line endings or identity of the user who runs the tests
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@example.org",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.org",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}
# A git hook, which may be what runs the tests, sets GIT_DIR and the like.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | SETTINGS


def run(folder, *command, check=True, **variables):
    """Run a command with this environment's programs first, its output captured."""
    environment = ENVIRONMENT | variables
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def free_port():
    """Return a port that nobody listens at, and none of those that the system deals out to whoever asks for any."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as free, suppress(OSError):
            free.bind(("localhost", port))
            return port


def copy_repository(target):
    """Copy what git tracks or would track into a folder, as one commit; returns the folder."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]  # of this repository: with the user's settings
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    run(target, "git", "init", "-q")
    run(target, "git", "add", "-A")
    run(target, "git", "commit", "-qm", "copy")
    return target


def change(path, key, value):
    """Set one key, a.b.c, of a parameter file."""
    values = section = YAML(typ="safe").load(path)
    *parts, last = key.split(".")
    for part in parts:
        section = section[part]
    section[last] = value
    YAML().dump(values, path)


def imports(path):
    """Return the project's modules that a file or a notebook imports directly."""
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    else:
        source = path.read_text()
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pconv":
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith("pconv")}
    found = set()
    for name in names:
        parts = name.split(".")
        for count in range(2, len(parts) + 1):  # importing a module imports the packages that it lies in
            base = ROOT / "src" / Path(*parts[:count])
            found |= {p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()}
    return found - {ROOT / "src" / "pconv" / "__init__.py"}


def closure(path):
    """Return the project's modules that a file or a notebook imports, directly or through others."""
    found, new = set(), imports(path)
    while new:
        found |= new
        new = set().union(*(imports(p) for p in new)) - found
    return found


def package_with_example(folder, test, module, imports, literal, name):
    """Copy the package and add an example of docs/extending.md to a module, as the page says; returns where it lies.

    test: the one that the page says runs the example. literal, name: the names that params.py allows, and the new one.
    """
    text = (ROOT / "docs" / "extending.md").read_text()
    (code,) = re.findall(rf"<!-- {re.escape(test)} runs this -->\n\n```python\n(.*?)```", text, re.DOTALL)
    package = folder / "src" / "pconv"
    shutil.copytree(ROOT / "src" / "pconv", package, ignore=shutil.ignore_patterns("*.jpg", "weights"))
    path, schema, future = package / module, package / "params.py", "from __future__ import annotations\n"
    path.write_text(path.read_text().replace(future, future + imports) + code)
    schema.write_text(schema.read_text().replace(f"{literal} = Literal[", f'{literal} = Literal["{name}", '))
    return folder / "src"
