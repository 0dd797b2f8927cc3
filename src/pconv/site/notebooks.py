"""An executed notebook as the body of a page, by nbconvert: figures as files, formulas as MathML, sections numbered."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

import nbformat
from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from traitlets.config import Config

from pconv.site.errors import SiteError

SCRIPT = {"B": "ℬ", "E": "ℰ", "F": "ℱ", "H": "ℋ", "I": "ℐ", "L": "ℒ", "M": "ℳ", "R": "ℛ"}  # script letters
CONFIG = Config({"ExtractOutputPreprocessor": {"enabled": True}})


@dataclass
class Chapter:
    """What the site takes from a notebook."""

    name: str  # of its file, without .ipynb, and of its page
    title: str  # with its number
    lead: str  # the first paragraph, as HTML
    body: str  # HTML
    contents: list[tuple[str, str]] = field(default_factory=list)  # (anchor, numbered title) of its sections
    images: dict[str, bytes] = field(default_factory=dict)  # by file name, in the site's folder images/


def read_chapter(path: Path) -> Chapter:
    """Return an executed notebook as a chapter. Raises SiteError if it is none."""
    try:
        nb = nbformat.read(path, as_version=4)
        title = re.match(r"# (.+)", nb.cells[0].source)[1]
    except (OSError, ValueError, TypeError, IndexError, AttributeError, nbformat.ValidationError):
        raise SiteError(f"{path}: not an executed notebook that begins with a title; run `dvc repro`") from None
    if path.stem.startswith("04-train-stage"):  # one notebook, run once for each stage
        title = f"{title}: stage {path.stem[-1]}"
    exporter = PageExporter(re.match(r"\d*", title)[0])
    resources = {"unique_key": path.stem, "output_files_dir": "images"}
    nb.cells[0].source = re.sub(r"^# .+", f"# {title}", nb.cells[0].source)
    body, resources = exporter.from_notebook_node(_with_captions(nb), resources)
    images = {Path(name).name: data for name, data in resources.get("outputs", {}).items()}
    lead = re.search(r"<p>.*?</p>", body, re.DOTALL)
    return Chapter(path.stem, title, lead[0] if lead else "", framed(body), exporter.contents, images)


def _with_captions(nb):
    """Move each caption that pconv.figures.show displayed into the metadata of its image, in place.

    Results become what is displayed otherwise, so that the template need not tell them apart.
    """
    for cell in nb.cells:
        outputs = []
        for output in cell.get("outputs", []):
            if output.output_type == "execute_result":
                output = nbformat.v4.new_output("display_data", output.data, metadata=output.metadata)
            if output.get("metadata", {}).get("caption") and outputs:
                outputs[-1].metadata.caption = output.data["text/markdown"].strip("*")
            else:
                outputs.append(output)
        if cell.cell_type == "code":
            cell.outputs = outputs
    return nb


def framed(html: str) -> str:
    """Return HTML in which wide tables scroll by themselves, so that a page never does sideways."""
    html = re.sub(r"<table[^>]*>", '<div class="scroll" tabindex="0"><table>', html)
    return html.replace("</table>", "</table></div>")


class PageExporter(HTMLExporter):
    """Converts a notebook with the template of this site; `contents` then lists the sections that it met."""

    def __init__(self, number: str):
        folder = str(Path(__file__).parent / "templates")
        super().__init__(config=CONFIG, template_name="notebook", extra_template_basedirs=[folder])
        self.number, self.contents = number, []

    @pass_context
    def markdown2html(self, context, source):
        """Convert Markdown; nbconvert's filter of this name."""
        return MarkdownWithMath(renderer=PageRenderer(self)).render(source)


class PageRenderer(IPythonRenderer):
    """Renders Markdown: numbered sections, MathML, and links to notebooks as links to pages."""

    def __init__(self, exporter: PageExporter):
        super().__init__(escape=False)
        self.exporter = exporter

    def heading(self, text: str, level: int, **attrs) -> str:
        """Give a section of the second level its number, and list it with an anchor."""
        if level != 2:
            return f"<h{level}>{text}</h{level}>\n"
        contents = self.exporter.contents
        anchor = f"section-{len(contents) + 1}"
        title = f"{self.exporter.number}.{len(contents) + 1} {text}" if self.exporter.number else text
        contents.append((anchor, unescape(re.sub(r"<[^>]+>", "", title))))
        return f'<h2 id="{anchor}"><a href="#{anchor}">{title}</a></h2>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """Lead to the page of a notebook; what the site does not have becomes text."""
        if re.match(r"https?://|mailto:|#", url):
            return super().link(text, url, title)
        name = re.fullmatch(r"(?:.*/)?([\w-]+)\.ipynb", url)
        if not name:
            return text
        return super().link(text, f"{'04-train-stage1' if name[1] == '04-train' else name[1]}.html", title)

    def block_math(self, body: str) -> str:
        return f'<div class="scroll" tabindex="0">{mathml(body, "block")}</div>\n'

    def inline_math(self, body: str) -> str:
        return mathml(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


def mathml(latex: str, display: str) -> str:
    """Return a formula as MathML. Browsers draw no script letters by attribute, so these become characters."""
    html = convert(re.sub(r"\\\\\[[^\]]*\]", r"\\\\", latex), display=display)
    return re.sub(r'<mi mathvariant="script">(\w)</mi>', lambda m: f"<mi>{SCRIPT.get(m[1], m[1])}</mi>", html)
