"""The papermill engine "reproducible": progress shows while a notebook runs, and equal runs give equal bytes.

    papermill --engine reproducible --log-level WARNING --no-progress-bar notebooks/01-masks.ipynb reports/out.ipynb

It is papermill's own engine; what it leaves out of the executed notebook is in pconv.notebook.clean.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import click
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine
from papermill.exceptions import PapermillExecutionError, strip_color
from papermill.iorw import LocalHandler, papermill_io

from pconv.notebook import clean

OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|MemoryError", re.IGNORECASE)
LESS_MEMORY = "take a smaller train.batch or data.size in params.yaml and run again"


class NotebookError(click.ClickException):
    """A notebook did not run to its end: papermill's command line prints the message alone and exits with 1."""


class NotebookFile(LocalHandler):
    """A file that ends as Jupyter ends notebooks when it saves them: papermill leaves out the last newline."""

    def write(self, buf: str, path: str) -> None:
        super().write(buf + "\n", path)


class ReproducibleEngine(NBClientEngine):
    @classmethod
    def execute_notebook(cls, nb, kernel_name, output_path=None, **kwargs):
        """Run `nb` as papermill does, then clean it. Raises NotebookError, with the cell, if it fails."""
        # This module is loaded while papermill is imported, so papermill.execute is not there any earlier.
        from papermill.execute import raise_for_execution_errors

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
            raise NotebookError(f"{_where(nb, output_path, **kwargs)}\n{_cell_failed(error)}") from error
        click.echo(f"{kwargs.get('input_path') or 'the notebook'} ran in {time.monotonic() - began:.0f} s", err=True)
        return clean(nb, Path.cwd())

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, **kwargs):
        """Hand the kernel's output on as it comes; see papermill.engines.NBClientEngine."""
        _prepare_environment()
        for name in ("stdout", "stderr"):
            kwargs[f"{name}_file"] = kwargs.get(f"{name}_file") or getattr(sys, name)
        quiet = ["--IPKernelApp.log_level=CRITICAL"]  # else it warns of its TCP transport at every start
        return super().execute_managed_notebook(
            nb_man, kernel_name, coalesce_streams=True, extra_arguments=quiet, **kwargs
        )


def _prepare_environment() -> None:
    """Set what the kernel inherits: a fixed hash seed, how threads wait, PCONV_TTY if progress may redraw its line."""
    os.environ["PYTHONHASHSEED"] = "0"
    # By default OpenMP's threads wait for each other in a busy loop. Where another program needs a core, as in most
    # containers, that took up to nine times as long (two cores); where none does, sleeping costs a tenth.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.pop("PCONV_TTY", None)
    # A terminal without a size, as some job runners make, would show no bar at all.
    if sys.stderr.isatty() and all(os.get_terminal_size(sys.stderr.fileno())):
        os.environ["PCONV_TTY"] = "1"


def _where(nb, output_path, input_path="the notebook", **_) -> str:
    """Which cell of which notebook was the last to start, and where to look at it."""
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


def _cell_failed(error: PapermillExecutionError) -> str:
    message = f"{error.ename}: {error.evalue}"
    text = strip_color("\n".join(error.traceback)) or message
    return f"{text}\nThe memory ran out: {LESS_MEMORY}." if OUT_OF_MEMORY.search(message) else text
