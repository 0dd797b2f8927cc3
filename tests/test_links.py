"""Relative links lead somewhere, from each place in which a reader meets them."""

import re

import nbformat
import pytest
from repository import ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "data/*.md", "benchmarks/*.md", "published/**/*.md", "src/pconv/weights/*.md")
    for path in ROOT.glob(pattern)
)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXECUTED = sorted((ROOT / "reports" / "notebooks").glob("*.ipynb"))


def relative(text):
    """Return the targets of a page's links to files, without what stands after #."""
    return {
        link.partition("#")[0] for link in LINK.findall(text) if not re.match(r"https?://|mailto:|#|attachment:", link)
    }


def prose(path):
    """Return the Markdown of a notebook, that of its outputs included."""
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    shown = [output.get("data", {}).get("text/markdown", "") for output in outputs]
    return "\n".join([cell.source for cell in cells if cell.cell_type == "markdown"] + shown)


def broken(links, folder):
    return [link for link in sorted(links) if not (folder / link).exists()]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_a_page(path):
    assert broken(relative(path.read_text(encoding="utf-8")), path.parent) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_links_of_a_notebook_hold_for_its_executed_copy_too(path):
    for folder in (path.parent, ROOT / "reports" / "notebooks"):
        assert broken(relative(prose(path)), folder) == [], folder


@pytest.mark.parametrize("path", EXECUTED, ids=lambda path: path.name)
def test_links_of_an_executed_notebook(path):
    assert broken(relative(prose(path)), path.parent) == []


def test_what_is_a_link_to_a_file():
    text = "[a](b.md#c) ![d](e/f.png) [g](https://h) [i](#j) `k(l)` [m][n] [o](mailto:p@q)"
    assert relative(text) == {"b.md", "e/f.png"}
    assert broken({"README.md", "nowhere.md"}, ROOT) == ["nowhere.md"]
