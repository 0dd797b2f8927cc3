"""The papermill engine "reproducible": progress shows while a notebook runs, and equal runs give equal bytes.

    papermill --engine reproducible --log-level WARNING --no-progress-bar notebooks/01-masks.ipynb reports/out.ipynb

It is papermill's own engine. Before anything is run or written it compares the parameters that are passed, by `-p` say,
with those that the notebook declares. What it leaves out of the executed notebook is in pconv.notebook.clean.
"""

from __future__ import annotations

import ast
import difflib
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import click
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine
from papermill.exceptions import PapermillExecutionError, strip_color
from papermill.iorw import LocalHandler, papermill_io
from pydantic import TypeAdapter, ValidationError

from pconv.errors import cut
from pconv.notebook import clean

OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|MemoryError", re.IGNORECASE)
OUTPUT_TIMEOUT = 120  # seconds until a cell's last output has to be there; on a busy machine nbclient's 4 are too few
LESS_MEMORY = "take a smaller train.batch or data.size in params.yaml and run again"


class NotebookError(click.ClickException):
    """A notebook did not run to its end: papermill's command line prints the message alone and exits with 1."""


class NotebookFile(LocalHandler):
    """A notebook's file with the newline at its end that Jupyter writes and papermill leaves out."""

    def write(self, buf: str, path: str) -> None:
        super().write(buf + "\n", path)


class ReproducibleEngine(NBClientEngine):
    @classmethod
    def execute_notebook(cls, nb, kernel_name, output_path=None, **kwargs):
        """Run `nb` as papermill does, then clean it.

        Raises NotebookError, which names the parameter or the cell, if it cannot start or fails.
        """
        # This module is loaded while papermill is imported, so papermill.execute is not there any earlier.
        from papermill.execute import raise_for_execution_errors

        check_parameters(nb, kwargs.get("input_path") or "the notebook")
        if output_path:
            Path(output_path).parent.mkdir(parents=True, exist_ok=True)
            papermill_io.register(str(output_path), NotebookFile())
        began = time.monotonic()
        try:
            nb = super().execute_notebook(nb, kernel_name, output_path=output_path, **kwargs)
            raise_for_execution_errors(nb, output_path)
        except DeadKernelError as error:
            raise NotebookError(f"{_where(nb, output_path, **kwargs)}\n{_kernel_died()}") from error
        except PapermillExecutionError as error:
            raise NotebookError(f"{_where(nb, output_path, **kwargs)}\n{describe_failure(error)}") from error
        click.echo(f"{kwargs.get('input_path') or 'the notebook'} ran in {time.monotonic() - began:.0f} s", err=True)
        return clean(nb, Path.cwd())

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, **kwargs):
        """Pass the kernel's output on as it comes; see papermill.engines.NBClientEngine."""
        prepare_environment()
        for name in ("stdout", "stderr"):
            kwargs[f"{name}_file"] = kwargs.get(f"{name}_file") or getattr(sys, name)
        quiet = ["--IPKernelApp.log_level=CRITICAL"]  # else it warns of its TCP transport at every start
        return super().execute_managed_notebook(
            nb_man,
            kernel_name,
            coalesce_streams=True,
            extra_arguments=quiet,
            iopub_timeout=OUTPUT_TIMEOUT,
            **kwargs,
        )


def check_parameters(nb, path: str) -> None:
    """Raise NotebookError unless the notebook declares each parameter that papermill passes, with a type that fits."""
    passed = nb.metadata.get("papermill", {}).get("parameters", {})
    if not passed:
        return
    source = next((cell.source for cell in nb.cells if "parameters" in cell.metadata.get("tags", [])), "")
    try:
        known = declared(source)
    except Exception as error:  # an import may raise anything
        raise NotebookError(f"{path}: its parameters cell cannot be read: {error}") from None
    problems = [
        _wrong(name, value, known[name]) if name in known else _unknown(name, known) for name, value in passed.items()
    ]
    if any(problems):
        raise NotebookError("\n".join(f"{path}: {problem}" for problem in problems if problem))


def declared(source: str) -> dict[str, Any]:
    """Return the names that a parameters cell assigns to, each with its type: `name: type = value`.

    Nothing of the cell is run but what it imports, since types may come from there.
    """
    types, imported = {}, {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(ast.unparse(node), imported)
        elif isinstance(node, ast.AnnAssign):
            types[ast.unparse(node.target)] = eval(ast.unparse(node.annotation), imported)
        elif isinstance(node, ast.Assign):
            types |= {ast.unparse(target): Any for target in node.targets}
    return types


def _unknown(name: str, known: dict[str, Any]) -> str:
    near = difflib.get_close_matches(name[:80], known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    allowed = f"allowed here: {', '.join(known)}" if known else "this notebook has none and reads params.yaml"
    return f"-p {cut(name)}: unknown parameter; {hint}{allowed}"


def _wrong(name: str, value, kind) -> str | None:
    """Return what is wrong with a parameter's value, if anything. An integer will do for a floating-point number."""
    try:
        taken = TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
    else:
        if type(taken) is type(value) or (type(taken), type(value)) == (float, int):
            return None
        problem = f"Input should be {taken!r}"  # which True or 1.0 equals
    text = f"; -r {name} passes it as text" if kind is str else ""
    return f"-p {name} {cut(value)}: {problem[0].lower()}{problem[1:]}{text}"


def prepare_environment() -> None:
    """Set what the kernel inherits: a fixed hash seed, how threads wait, PCONV_TTY if progress may redraw its line."""
    os.environ["PYTHONHASHSEED"] = "0"
    # By default OpenMP's threads wait for each other in a busy loop. Where another program needed a core, that took
    # three times as long (two cores); but where none does, sleeping at once costs a third. So they spin, then sleep.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.pop("PCONV_TTY", None)
    # A terminal without a size, as some job runners make, would show no bar at all.
    if sys.stderr.isatty() and all(os.get_terminal_size(sys.stderr.fileno())):
        os.environ["PCONV_TTY"] = "1"


def _where(nb, output_path, input_path="the notebook", **_) -> str:
    """Say which cell of which notebook was the last to start, and where to look at it."""
    cells = [c for c in nb.cells if c.cell_type == "code" and c.source.strip()]
    started = [c for c in cells if c.metadata.get("papermill", {}).get("start_time")]
    if not started:
        return f"{input_path} stopped before its first cell"
    first_line = started[-1].source.strip().partition("\n")[0]
    where = f"{input_path} stopped in cell [{len(started)}], `{first_line}`"
    return f"{where}; executed up to there: {output_path}" if output_path else where


def _kernel_died() -> str:
    return (
        "The Python process that ran the cell was killed or crashed. Most often the memory ran out: "
        f"{LESS_MEMORY}. Training goes on from its last checkpoint."
    )


def describe_failure(error: PapermillExecutionError) -> str:
    message = f"{error.ename}: {error.evalue}"
    text = strip_color("\n".join(error.traceback)) or message
    return f"{text}\nThe memory ran out: {LESS_MEMORY}." if OUT_OF_MEMORY.search(message) else text
