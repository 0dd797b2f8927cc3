"""Notebooks in the form in which the project keeps them, whoever saves them: a look at one makes nothing out of date.

JupyterLab fills in metadata when it opens a notebook, and saves it. For DVC that would be a changed dependency, and
training would run again. So Jupyter's server loads this module as an extension (jupyter.json, which the installation of
the package puts into the environment), and brings each notebook into its kept form before it is written. What the
browser shows, outputs included, stays. For other editors, and as a hook of git's before each commit:

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
    """Remove, in place, what running and looking leave in a notebook: outputs, counts and metadata; returns it.

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
    """Return what gives a notebook, in place, the form in which the project keeps the file `path`.

    Those in notebooks/ are stripped, those in reports/notebooks/ are as the papermill engine leaves them. None for all
    other files, those of other projects included: they are nobody's business here.
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
    """Bring a notebook's file into the form in which it is kept; returns whether that changed it.

    Raises NotebookFormError, naming the file, if it is no notebook or cannot be read.
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
    except (ValueError, AttributeError, TypeError, nbformat.ValidationError):  # nbformat raises all of these
        raise NotebookFormError(f"{path}: not a notebook") from None
    after = f"{nbformat.writes(form(nb))}\n".encode()
    if after != before:
        write_file(path, after)
    return after != before


def _before_save(model: dict, path: str, contents_manager, **_) -> None:
    """Change what Jupyter is about to write; see jupyter_server's ContentsManager.pre_save_hook."""
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
                print(f"{name}: brought into the form in which the project keeps it")
    except NotebookFormError as error:
        sys.exit(str(error))
