"""How notebooks show what is not a figure: the code that runs, and tables with their best values bold."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Collection

import pandas as pd
from IPython.display import HTML, Markdown


def code_of(*objects) -> Markdown:
    """Return the code of functions, methods or classes, in the colours of Python and without their docstrings.

    It is read from the modules that run, so that it cannot differ from them.
    """
    code = "\n\n".join(_without_docstrings(textwrap.dedent(inspect.getsource(one))).strip() for one in objects)
    return Markdown(f"```python\n{code}\n```")


def _without_docstrings(code: str) -> str:
    """Remove the docstrings of all functions and classes in some code, unless a body has nothing else."""
    lines = code.splitlines()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) and len(node.body) > 1:
            first = node.body[0]
            lines[first.lineno - 1 : first.end_lineno] = [None] * (first.end_lineno - first.lineno + 1)
    return "\n".join(line for line in lines if line is not None)


def bold_best(table: pd.DataFrame, more: Collection[str] = (), less: Collection[str] = ()) -> HTML:
    """Show a table with the best value of some columns bold: the greatest of those in `more`, the least in `less`.

    Values are numbers or text that begins with one, such as "29.4 ± 3.1". Equal values are all bold; NaN is none.
    """
    shown = table.astype(object)
    for column in (*more, *less):
        shown[column] = _bold(table[column], column in less)
    return HTML(shown.to_html(escape=False))


def bold_best_of_rows(table: pd.DataFrame, less: bool = False) -> HTML:
    """Show a table with the best value of each row bold, the greatest, or with `less` the least; as `bold_best`."""
    shown = table.astype(object).apply(lambda row: pd.Series(_bold(row, less), row.index), axis=1)
    return HTML(shown.to_html(escape=False))


def _bold(values: pd.Series, less: bool) -> list[str]:
    numbers = [float(str(value).split()[0]) for value in values]
    known = [number for number in numbers if number == number]
    best = (min if less else max)(known, default=None)
    return [f"<b>{value}</b>" if number == best else str(value) for value, number in zip(values, numbers, strict=True)]
