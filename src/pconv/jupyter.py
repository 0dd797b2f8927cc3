"""Keep notebooks in one form whichever program saves them, so that opening one makes no stage out of date.

JupyterLab adds metadata when it opens a notebook, and saves it. To DVC that is a changed dependency, and it would train
again. So Jupyter's server loads this module as an extension (through jupyter.json, which the package's installation
copies into the environment) and normalises each notebook before it is written. What the browser shows, outputs
included, does not change. For other editors, and as a pre-commit hook:

    python -m pconv.jupyter notebooks/*.ipynb
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nbformat

from pconv.errors import PConvError
from pconv.files import open_file, write_file
from pconv.notebook import clean, clean_metadata
from pconv.project import project_root


class NotebookFormError(PConvError):
    """A file cannot be read or is not a notebook; the message names it."""


def strip(nb):
    """Remove outputs, execution counts and metadata from a notebook in place, and return it.

    Cells, their ids, tags and attachments stay. A notebook older than nbformat 4.5 is given ids.
    """
    clean_metadata(nb)
    for number, cell in enumerate(nb.cells, 1):
        cell.setdefault("id", f"cell-{number:02d}")
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nb.nbformat_minor = max(nb.nbformat_minor, 5)
    return nb


def kept_form(path: Path) -> Callable | None:
    """Return the function that normalises, in place, a notebook saved as `path`, or None if it is not this project's.

    Notebooks in notebooks/ are stripped; those in reports/notebooks/ get the form that the papermill engine gives them.
    """
    path = path.resolve()
    try:
        root = project_root(path.parent)
    except FileNotFoundError:
        return None
    if not (root / "src" / "pconv").is_dir():
        return None
    forms = {root / "notebooks": strip, root / "reports" / "notebooks": partial(clean, root=root)}
    return forms.get(path.parent)


def keep(path: Path) -> bool:
    """Normalise a notebook's file and return whether that changed it.

    Raises NotebookFormError, naming the file, if it is not a notebook or cannot be read.
    """
    form = kept_form(path)
    if form is None:
        return False
    try:
        with open_file(path) as file:
            before = file.read()
        nb = nbformat.reads(before.decode(), as_version=4)
        nbformat.validate(nb)
    except OSError as error:
        raise NotebookFormError(f"{path}: {error.strerror}") from None
    except (ValueError, AttributeError, TypeError, RecursionError, nbformat.ValidationError):  # nbformat raises these
        raise NotebookFormError(f"{path}: not a notebook") from None
    after = f"{nbformat.writes(form(nb))}\n".encode()
    if after != before:
        write_file(path, after)
    return after != before


def _before_save(model: dict, path: str, contents_manager, **_) -> None:
    """Normalise what Jupyter is about to write; see jupyter_server's ContentsManager.pre_save_hook."""
    form = kept_form(Path(contents_manager.root_dir, path))
    if model["type"] == "notebook" and form is not None:
        model["content"] = form(nbformat.from_dict(model["content"]))


def _jupyter_server_extension_points() -> list[dict]:
    """Tell Jupyter's server where its extension is."""
    return [{"module": "pconv.jupyter"}]


def _load_jupyter_server_extension(server) -> None:
    """Let Jupyter's server call this module before it saves a notebook."""
    server.contents_manager.register_pre_save_hook(_before_save)


if __name__ == "__main__":
    try:
        for name in sys.argv[1:]:
            if keep(Path(name)):
                print(f"{name}: normalised")
    except NotebookFormError as error:
        sys.exit(str(error))
