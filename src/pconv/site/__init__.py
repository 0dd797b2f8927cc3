"""The report as static pages: executed notebooks, results, claims, parameters, experiments and the pipeline's graph.

`build` writes them into a folder that opens from disk, without a server or a network: formulas become MathML, which
browsers draw by themselves, figures become files, and links between notebooks lead from page to page.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import unquote

from jinja2 import Environment, PackageLoader, select_autoescape
from pygments.formatters import HtmlFormatter

from pconv.site import tables
from pconv.site.errors import SiteError
from pconv.site.graph import draw_pipeline
from pconv.site.notebooks import Chapter, read_chapter

TEMPLATES = Environment(loader=PackageLoader("pconv.site"), autoescape=select_autoescape())
PICTURES = ("reports/figures/*.jpg", "reports/figures/*.webp", "reports/benchmarks.png", "reports/trials.jpg")
GENERATOR = b'<meta name="generator" content="pconv.site">'  # in the head of each page
TITLES = {
    "index": "Partial convolutions, step by step",
    "results": "Results",
    "claims": "The paper's claims",
    "parameters": "Parameters",
    "experiments": "Experiments",
    "pipeline": "The pipeline",
}


class Page(NamedTuple):
    """A page without its frame."""

    name: str  # of its file, without .html
    title: str
    body: str  # HTML
    contents: Sequence[tuple[str, str]] = ()  # (anchor, title) of its sections


def build(root: Path, target: Path) -> list[Path]:
    """Write the site of a project into a folder, in place of an earlier one; return the pages' paths in reading order.

    Raises SiteError for a notebook or a report that is missing or damaged, for a folder with other files, and for one
    that cannot be exchanged.
    """
    _check_replaceable(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix=".site-") as folder:  # a failure leaves the earlier site
            pages = _build(root, Path(folder) / "site")
            if target.exists():
                target.replace(Path(folder) / "earlier")
            (Path(folder) / "site").replace(target)
    except OSError as error:
        raise SiteError(f"{target}: the site cannot be written there ({error.strerror}); name another folder") from None
    return [target / path.name for path in pages]


def _build(root: Path, target: Path) -> list[Path]:
    """Write the pages and what they show into a new folder."""
    (target / "images").mkdir(parents=True)
    chapters = [read_chapter(path) for path in sorted((root / "reports/notebooks").glob("*.ipynb"))]
    pictures = [path for pattern in PICTURES for path in sorted(root.glob(pattern))]
    for path in pictures:
        shutil.copy(path, target / "images" / path.name)
    for chapter in chapters:
        for name, data in chapter.images.items():
            (target / "images" / name).write_bytes(data)
    pages = _pages(root, chapters, {path.stem: f"images/{path.name}" for path in pictures})
    for i, page in enumerate(pages):
        before, after = pages[i - 1] if i else None, pages[i + 1] if i + 1 < len(pages) else None
        _write(target / f"{page.name}.html", page, pages, before, after)
    (target / "style.css").write_text(_style(), encoding="utf-8")
    written = [target / f"{page.name}.html" for page in pages]
    for name in {path.name for path in (target / "images").iterdir()} - _shown(written):
        (target / "images" / name).unlink()
    return written


def _check_replaceable(target: Path) -> None:
    """Raise SiteError unless there is nothing, an empty folder or an earlier site, without anything of other origin."""
    here = Path.cwd()
    if target.absolute() in (here, *here.parents):
        raise SiteError(f"{target}: the current folder, or above it; name a folder in it, or another one")
    if target.is_dir() and not target.is_symlink():
        if (foreign := next(_foreign(target), None)) is not None:
            raise SiteError(f"{target}: holds other files, such as {foreign}; name an empty folder, or a new one")
    elif os.path.lexists(target):
        raise SiteError(f"{target}: not a folder; name an empty one, or a new one")


def _foreign(target: Path) -> Iterator[Path]:
    """Yield what is no page with the generator's mark, nor a style sheet or a picture that such pages show."""
    pages = [path for path in target.glob("*.html") if _is_page(path)]
    shown = _shown(pages)
    for path in target.rglob("*"):
        picture = path.parent == target / "images" and path.name in shown
        style = path == target / "style.css" and pages
        if path.is_symlink() or not (path.is_dir() or path in pages or style or picture):
            yield path


def _shown(pages: Sequence[Path]) -> set[str]:
    """Return the names of the pictures in images/ that pages show."""
    return {unquote(name) for page in pages for name in re.findall(r'images/([^"#?]+)"', page.read_text("utf-8"))}


def _is_page(path: Path) -> bool:
    return path.is_file() and GENERATOR in path.read_bytes()[:2000]


def _pages(root: Path, chapters: list[Chapter], pictures: dict[str, str]) -> list[Page]:
    """Return all pages in reading order."""
    names, results = [one.name for one in chapters], tables.results(root)
    start = {"index": {"chapters": chapters, "pictures": pictures, "results": results}}
    later = {
        "results": {"pictures": pictures, "results": results, "bins": tables.bins(root)},
        "claims": {"claims": tables.claims(root)},
        "parameters": {"default": tables.default(root), "sets": tables.parameter_sets(root)},
        "experiments": {
            "pictures": pictures,
            "kept": tables.experiments(root),
            "trials": tables.trials(root),
            "planned": tables.planned(root),
        },
        "pipeline": {"graph": draw_pipeline(root, names), "stages": tables.stages(root)},
    }

    def fill(name: str, values: dict) -> Page:
        return Page(name, TITLES[name], TEMPLATES.get_template(f"{name}.html").render(**values))

    return [
        *(fill(name, values) for name, values in start.items()),
        *(Page(one.name, one.title, one.body, one.contents) for one in chapters),
        *(fill(name, values) for name, values in later.items()),
    ]


def _write(path: Path, page: Page, pages: list[Page], before: Page | None, after: Page | None) -> None:
    html = TEMPLATES.get_template("page.html").render(page=page, pages=pages, before=before, after=after)
    path.write_text(html, encoding="utf-8")


def _style() -> str:
    """Return the style sheet, with the colours of code in light and in dark."""
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs('[data-theme="dark"] .highlight')
    return "\n".join([light, dark, TEMPLATES.loader.get_source(TEMPLATES, "style.css")[0]])
