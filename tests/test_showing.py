"""Code and tables as notebooks show them."""

import ast
import inspect
import textwrap

import numpy as np
import pandas as pd
import pytest

from pconv.layers import PartialConv2d
from pconv.losses import tv_loss
from pconv.showing import bold_best, bold_best_of_rows, code_of
from pconv.unet import Up


def sample(x):
    """Return twice x.

    In two paragraphs.
    """
    text = """kept"""  # no docstring
    return 2 * x, text


class Documented:
    """Has a docstring alone."""


def bare(tree):
    """Return the code of a tree without docstrings, as Python sees it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) and len(node.body) > 1:
            node.body.pop(0)
    return ast.dump(tree)


@pytest.mark.parametrize("shown", [sample, tv_loss, PartialConv2d.window, PartialConv2d, Up])
def test_the_code_that_is_shown_is_the_code_that_runs(shown):
    block = code_of(shown).data
    assert block.startswith("```python\n") and block.endswith("\n```")
    code = block.removeprefix("```python\n").removesuffix("\n```")
    assert bare(ast.parse(code)) == bare(ast.parse(textwrap.dedent(inspect.getsource(shown))))
    assert (inspect.getdoc(shown) or "no docstring").partition("\n")[0] not in code


def test_comments_and_other_text_stay():
    code = code_of(sample, Documented).data
    assert '    text = """kept"""  # no docstring\n' in code and "two paragraphs" not in code
    assert 'class Documented:\n    """Has a docstring alone."""' in code


def bold(html):
    """Return which cells of a table are bold."""
    return [[str(cell).startswith("<b>") for cell in row] for row in cells(html)]


def cells(html):
    rows = html.data.split("<tbody>")[1].split("</tr>")[:-1]
    return [[cell.split("</td>")[0] for cell in row.split("<td>")[1:]] for row in rows]


def test_the_best_of_a_column_is_bold():
    table = pd.DataFrame({"n": [9, 1], "psnr": ["9.50 ± 2", "29.4 ± 1"], "l1": [2.0, 2.0], "ssim": [np.nan, 0.5]})
    assert bold(bold_best(table, more=["psnr", "ssim"], less=["l1"])) == [
        [False, False, True, False],
        [False, True, True, True],
    ]
    assert cells(bold_best(table, more=["psnr"]))[1] == ["1", "<b>29.4 ± 1</b>", "2.0", "0.5"]


@pytest.mark.parametrize(
    ("less", "expected"), [(False, [[False, True], [True, False]]), (True, [[True, False], [False, True]])]
)
def test_the_best_of_a_row_is_bold(less, expected):
    table = pd.DataFrame({"a": ["1.5 ± 1", "-2"], "b": ["10 ± 1", "-3 ± 9"]}, ["one", "two"])
    assert bold(bold_best_of_rows(table, less)) == expected
