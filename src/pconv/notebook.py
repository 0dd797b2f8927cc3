"""What the notebooks share: their start, how their numbers reach reports/, and what executed copies leave out."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from pathlib import Path

import nbformat

from pconv.files import write_file
from pconv.params import Params, flat, load_params
from pconv.project import project_root

# All that is kept of a notebook's metadata, the same on every machine. Jupyter, VS Code and papermill each write more,
# such as the version of Python, the name of an environment, and durations.
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

# Jupyter Book's tags of cells whose code is collapsed in JupyterLab. On the site it is collapsed as well or, where the
# cell only shows other code, left out.
HIDDEN = {"hide-input", "remove-input"}
COLLAPSED = {"jupyter": {"source_hidden": True}}

# What Python and IPython print differently in each run, and what replaces it.
NOISE = (
    (r"^(CPU times|Wall time): .*\n?", ""),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.,]\d+)?(Z|[+-]\d\d:?\d\d)?", "[time]"),
    (r"\b0x[0-9a-fA-F]{6,16}\b", "0x..."),
    (r"[^\s\"'<>]*ipykernel_\d+/\d+\.py", "[cell]"),
    (r"\b(pid)([ :=]+)\d+", r"\1\2[pid]"),
    (r"[^\s\"'<>]*/site-packages/", "site-packages/"),
)


def start() -> Params:
    """Go to the project's root and read its parameters.

    Every notebook calls it first, and then behaves the same in JupyterLab, under papermill and under nbval.
    """
    os.chdir(project_root())
    return load_params()


def write_metrics(name: str, values: dict) -> None:
    """Write reports/metrics/`name`.json: numbers rounded to six significant digits, keys in the order given."""
    _write_json(Path("reports/metrics") / f"{name}.json", _rounded(values))


def write_timings(name: str, values: dict) -> None:
    """Write reports/timings/`name`.json, which differs in each run and is neither hashed by DVC nor kept in git."""
    _write_json(Path("reports/timings") / f"{name}.json", _rounded(values))


def _write_json(path: Path, values: dict) -> None:
    if odd := [key for key, value in flat(values).items() if isinstance(value, float) and not math.isfinite(value)]:
        raise ValueError(f"{path}: not written, since these are not finite: {', '.join(odd)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def clean(nb, root: Path | None = None):
    """Remove, in place, what differs between two equal runs of a notebook, and return it.

    All metadata but METADATA, the tags of cells and what follows from these are removed, and so are progress (stderr),
    widgets and random cell ids. Addresses, process ids, times and paths of this machine are replaced where they were
    printed, paths in `root` by relative ones. Numbers that a notebook itself prints stay as they are. Cleaning twice
    changes nothing more.
    `nb` is an nbformat 4.5 notebook; papermill is not needed.
    """
    clean_metadata(nb)
    noise = (*NOISE, *_machine_paths(root))
    for number, cell in enumerate(nb.cells, 1):
        cell.id = f"cell-{number:02d}"
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_result(output) and _scrub(output, noise)]
    return nb


def clean_metadata(nb) -> None:
    """Reduce the metadata of a notebook to METADATA and those of its cells to their tags, in place.

    Cells with a tag of HIDDEN are also marked in the way by which JupyterLab collapses their code.
    """
    nb.metadata = nbformat.from_dict(METADATA)
    for cell in nb.cells:
        tags = cell.metadata.get("tags")
        kept = {"tags": tags} if tags else {}
        cell.metadata = nbformat.from_dict(kept | (COLLAPSED if HIDDEN.intersection(tags or ()) else {}))


def _is_result(output) -> bool:
    """Tell whether an output is neither progress nor a live widget, whose ids are random."""
    progress = output.get("name") == "stderr"
    return not progress and "application/vnd.jupyter.widget-view+json" not in output.get("data", {})


def _scrub(output, noise) -> bool:
    """Replace noise in the text of one output, in place, and tell whether anything is left of it."""
    if output.output_type == "stream":
        output.text = _replace(output.text, noise)
        return bool(output.text)
    for kind, value in output.get("data", {}).items():
        if kind.startswith("text/"):
            output.data[kind] = _replace(value, noise)
    if output.output_type == "error":
        output.evalue = _replace(output.evalue, noise)
        output.traceback = [_replace(line, noise) for line in output.traceback]
    return True


def _replace(text: str, noise) -> str:
    for pattern, replacement in noise:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def _machine_paths(root: Path | None):
    """Yield patterns for the project's folder, which is left out, for temporary files and for the home folder."""
    start = r"(?<![\w.-])"
    if root is not None:
        yield start + re.escape(str(root)) + "/", ""
        yield start + re.escape(str(root)) + r"(?![\w-])", "."
    yield start + re.escape(tempfile.gettempdir()) + r"/tmp\w+", "[tmp]"
    yield start + re.escape(str(Path.home())) + "(?=/)", "~"


def _rounded(value):
    if isinstance(value, dict):
        return {str(key): _rounded(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
