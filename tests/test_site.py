"""The site, built from the committed reports: whole, and readable in a browser, in light and dark and on a phone."""

import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from browser import chromium, new_page
from bs4 import BeautifulSoup
from nbformat import v4
from repository import ROOT

from pconv.site import build
from pconv.site.errors import SiteError
from pconv.site.graph import direct, edges, levels
from pconv.site.notebooks import mathml, read_chapter
from pconv.site.tables import planned

NOTEBOOKS = sorted(path.stem for path in (ROOT / "reports/notebooks").glob("*.ipynb"))
OTHERS = ["results", "claims", "parameters", "experiments", "pipeline"]
NAMES = ["index", *NOTEBOOKS, *OTHERS]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the folder of a site of this repository."""
    folder = tmp_path_factory.mktemp("site") / "site"
    assert [path.stem for path in build(ROOT, folder)] == NAMES
    return folder


@pytest.fixture(scope="module")
def soups(site):
    return {name: BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_link_and_picture_of_a_page_is_in_the_site(site, soups, name):
    anchors = {page: {tag["id"] for tag in soup.find_all(id=True)} for page, soup in soups.items()}
    targets = [tag[key] for key in ("href", "src") for tag in soups[name].find_all(attrs={key: True})]
    assert len(targets) > len(NAMES)
    for target in targets:
        if re.match(r"https?://|mailto:|data:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        assert not path.startswith("/") and (site / path).is_file() or not path, target
        assert not anchor or anchor in anchors[path.removesuffix(".html") or name], target


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_loaded_from_elsewhere(soups, name):
    loaded = [tag["src"] for tag in soups[name].find_all(src=True)]
    loaded += [tag["href"] for tag in soups[name].find_all("link")]
    assert not [address for address in loaded if "//" in address]


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_says_what_it_shows(soups, name):
    for image in soups[name].find_all("img"):
        said = image.get("alt", "")
        assert len(said) > 20 and "No description" not in said, image["src"]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_one_title_and_ways_on(soups, name):
    soup, place = soups[name], NAMES.index(name)
    assert len(soup.find_all("h1")) == 1 and soup.title.text.strip()
    assert [tag["href"] for tag in soup.select("a[rel=prev]")] == [f"{one}.html" for one in NAMES[:place][-1:]]
    assert [tag["href"] for tag in soup.select("a[rel=next]")] == [f"{one}.html" for one in NAMES[place + 1 :][:1]]
    assert [tag["href"] for tag in soup.select("nav > ul > li > a")] == [f"{one}.html" for one in NAMES]
    assert [tag["href"] for tag in soup.select("nav a[aria-current]")] == [f"{name}.html"]
    assert soup.html["lang"] == "en" and soup.find("meta", attrs={"name": "viewport"})


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_sections_are_numbered_and_listed(soups, name):
    number = re.match(r"\d+", name)[0].lstrip("0")
    titles = [tag.text for tag in soups[name].select("main h2")]
    assert [title.split()[0] for title in titles] == [f"{number}.{i}" for i in range(1, len(titles) + 1)]
    assert [tag.text for tag in soups[name].select("nav ul ul a")] == titles
    assert soups[name].h1.text.split()[0] == number


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_page_shows_all_that_its_notebook_does(site, soups, name):
    nb, text = nbformat.read(ROOT / f"reports/notebooks/{name}.ipynb", as_version=4), soups[name].get_text()
    outputs = [output for cell in nb.cells for output in cell.get("outputs", [])]
    pictures = [key for output in outputs for key in output.get("data", {}) if key.startswith("image/")]
    assert len(soups[name].select("main img")) == len(pictures)
    tables = [output for output in outputs if "text/html" in output.get("data", {})]
    assert len(soups[name].select(".output table")) >= len(tables)
    for output in outputs:
        if output.output_type == "stream":
            assert output.text.split()[0] in text
    assert "$" not in re.sub(r"(?s)<pre.*?</pre>|<code.*?</code>", "", str(soups[name].main)), "a formula is not drawn"


def test_results_claims_parameters_and_stages_are_there(soups):
    assert len(soups["results"].find_all("table")) == 5 and soups["results"].find("b")
    assert len(soups["claims"].select(".verdict")) == 8
    keys = {cell.text for cell in soups["parameters"].select("tbody th")}
    assert {"train.stage1.lr", "model.width", "seed"} <= keys
    assert "partial" in {row.td.text for row in soups["experiments"].select("tbody tr") if row.td}
    graph = soups["pipeline"].svg
    assert {text.text for text in graph.select("text.name")} >= {
        "images",
        "masks",
        "train-stage1",
        "evaluate",
        "claims",
    }
    assert {"pconv.data", "pconv.data.watch"} < {text.text for text in graph.find_all("text")}
    assert {link["href"] for link in graph.find_all("a")} >= {
        "01-masks.html",
        "04-train-stage2.html",
        "05-evaluate.html",
    }


def test_two_builds_are_equal_and_leave_nothing_old(site, tmp_path):
    shutil.copytree(site, tmp_path, dirs_exist_ok=True)
    page = (site / "index.html").read_text().replace("</main>", '<img src="images/old.png" alt=""></main>')
    (tmp_path / "old.html").write_text(page)
    (tmp_path / "images/old.png").touch()
    build(ROOT, tmp_path)
    files = {path.relative_to(site) for path in site.rglob("*") if path.is_file()}
    assert files == {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert all((site / name).read_bytes() == (tmp_path / name).read_bytes() for name in files)


@pytest.mark.parametrize(
    "name", ["notes.txt", "index.html", "images/holiday.jpg", "style.css", ".git/config", "images"]
)
def test_a_folder_with_other_files_stays_as_it_is(tmp_path, name):
    """A home folder that is named by mistake is not emptied."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(SiteError, match=f"holds other files, such as .*{re.escape(name)}; name an empty folder"):
        build(ROOT, tmp_path)
    assert path.read_text() == "mine" and len(list(tmp_path.rglob("*"))) == 1 + name.count("/")
    with pytest.raises(SiteError, match="not a folder"):
        build(ROOT, path)
    assert path.read_text() == "mine"


def test_the_current_folder_is_not_exchanged_under_its_user(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    for target in (Path(), Path().absolute(), tmp_path):
        with pytest.raises(SiteError, match="the current folder, or above it; name a folder in it"):
            build(ROOT, target)
    assert [path.name for path in tmp_path.rglob("*")] == ["inner"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SiteError, match="file/site: the site cannot be written there .File exists.; name another"):
        build(ROOT, tmp_path / "file/site")


def test_an_experiment_is_collected_once_all_its_seeds_are(tmp_path):
    (tmp_path / "claims/results").mkdir(parents=True)
    (tmp_path / "claims/experiments.yaml").write_text("seeds: [0, 1]\nexperiments: {plain: , plain-black: }\n")
    for name in ("plain-black-0", "plain-black-1", "plain-0"):
        (tmp_path / f"claims/results/{name}.csv").touch()
    rows = BeautifulSoup(planned(tmp_path), "html.parser").select("tbody tr")
    assert [row.find_all("td")[-1].text for row in rows] == ["not yet", "collected"]


@pytest.mark.parametrize("name", ["CNAME", "images/mine.jpg"])
def test_a_file_beside_an_earlier_site_stays(site, tmp_path, name):
    shutil.copytree(site, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(SiteError, match=f"such as .*{name}"):
        build(ROOT, tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_link_beside_an_earlier_site_stays(site, tmp_path):
    shutil.copytree(site, tmp_path, dirs_exist_ok=True)
    (tmp_path / "mine").symlink_to(site)
    with pytest.raises(SiteError, match="such as .*mine"):
        build(ROOT, tmp_path)
    assert (tmp_path / "mine").exists() and (tmp_path / "index.html").exists()


def test_a_build_that_fails_leaves_the_earlier_site(site, tmp_path):
    root, target = tmp_path / "project", tmp_path / "site"
    shutil.copytree(site, target)
    root.mkdir()
    for _ in range(2):
        with pytest.raises(SiteError, match="reports"):
            build(root, target)
        assert {path.name for path in tmp_path.iterdir()} == {"project", "site"}
        assert sorted(path.name for path in target.iterdir()) == sorted(path.name for path in site.iterdir())


def test_the_first_page_says_how_to_open_the_notebook_that_has_no_page(soups):
    section = soups["index"].find_all("section")[-1]
    assert section.h3.text.startswith("8 ") and "notebooks/08-playground.ipynb" in section.text
    assert (ROOT / "notebooks/08-playground.ipynb").exists() and not [n for n in NAMES if n.startswith("08")]


# Parts


def executed(*cells):
    """Return an executed notebook of a title and of code cells, each (source, tags, outputs)."""
    nb = v4.new_notebook(cells=[v4.new_markdown_cell("# 3 Title\n\nLead with [a link](05-evaluate.ipynb).\n\n## Part")])
    for source, tags, outputs in cells:
        nb.cells.append(v4.new_code_cell(source, metadata={"tags": tags}, outputs=outputs))
    return nb


def chapter(tmp_path, *cells):
    nbformat.write(executed(*cells), tmp_path / "03-part.ipynb")
    return read_chapter(tmp_path / "03-part.ipynb")


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def test_a_figure_has_its_alt_text_and_its_caption(tmp_path):
    image = v4.new_output("display_data", {"image/png": PIXEL}, metadata={"image/png": {"alt": 'a "dot" < 2'}})
    caption = v4.new_output("display_data", {"text/markdown": "*One **dot**.*"}, metadata={"caption": True})
    one = chapter(tmp_path, ("draw()", [], [image, caption]))
    soup = BeautifulSoup(one.body, "html.parser")
    assert soup.img["alt"] == 'a "dot" < 2' and soup.figcaption.text.strip() == "One dot." and soup.figcaption.strong
    assert one.images[soup.img["src"].removeprefix("images/")][1:4] == b"PNG"
    assert one.contents == [("section-1", "3.1 Part")] and one.title == "3 Title"
    assert soup.p.a["href"] == "05-evaluate.html" and "link" in one.lead


def test_code_is_shown_collapsed_or_left_out_as_its_tags_say(tmp_path):
    cells = [
        ("shown = 1", [], []),
        ("helper = 2", ["hide-input"], []),
        ("code_of(it)", ["remove-input"], []),
        ("# none", [], []),
    ]
    soup = BeautifulSoup(chapter(tmp_path, *cells).body, "html.parser")
    assert [tag.get_text().strip() for tag in soup.select("div.code")] == ["shown = 1"]
    assert ["helper = 2" in tag.get_text() for tag in soup.select("details")] == [True]
    assert soup.select("div.code .mi") and "code_of" not in soup.text and "none" not in soup.text


def test_formulas_are_drawn_without_scripts():
    drawn = mathml(r"\mathcal L_{hole} = \begin{cases} a \\[2mm] b \end{cases}", "block")
    assert drawn.startswith("<math") and "<mi>ℒ</mi>" in drawn and "2mm" not in drawn and drawn.count("<mtr>") == 2


def test_the_graph_is_that_of_the_pipeline():
    stages = {
        "a": {"deps": ["x"], "outs": ["data/a"], "cmd": ""},
        "b": {"deps": [{"data/a/one": {}}, "y"], "outs": [{"b.json": {"cache": False}}], "cmd": ""},
        "c": {"deps": ["data/a", "b.json", "data/ab"], "metrics": ["c.json"], "cmd": ""},
    }
    pairs = edges(stages)
    assert pairs == [("a", "b"), ("a", "c"), ("b", "c")]
    assert levels(list(stages), pairs) == {"a": 0, "b": 1, "c": 2} and direct(pairs) == [("a", "b"), ("b", "c")]


@pytest.mark.parametrize(
    "text", ["", "{}", "not JSON", '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}']
)
def test_what_is_no_executed_notebook_is_named(tmp_path, text):
    (tmp_path / "01-a.ipynb").write_text(text)
    with pytest.raises(SiteError, match="01-a.ipynb: not an executed notebook.*dvc repro"):
        read_chapter(tmp_path / "01-a.ipynb")


@pytest.mark.parametrize("name", ["metrics/evaluate.json", "metrics/claims.json", "plots/evaluate.csv", "trials.csv"])
@pytest.mark.parametrize("content", [None, b"\xff{"])
def test_missing_and_damaged_reports_are_named(tmp_path, name, content):
    for folder in ("reports/metrics", "reports/plots", "claims", "params"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for path in ("reports/trials.csv", "params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / path, tmp_path / path)
    build(tmp_path, tmp_path / "site")
    (tmp_path / "reports" / name).unlink()
    if content is not None:
        (tmp_path / "reports" / name).write_bytes(content)
    with pytest.raises(SiteError, match=f"{name}: .*run `dvc repro`"):
        build(tmp_path, tmp_path / "site")


# In a browser


LOOK = """() => ({
  sideways: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  broken: [...document.images].filter((image) => !image.naturalWidth).map((image) => image.src),
  flat: [...document.querySelectorAll("math")].filter((math) => !math.getBoundingClientRect().height).length,
  theme: document.documentElement.dataset.theme,
  colours: [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color],
})"""
PHONE, DESK = {"width": 390, "height": 800}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def page():
    """Return a page that notes whatever a console would show and whatever it asks of a network."""
    with chromium() as browser:
        page = new_page(browser)
        page.on("console", lambda said: page.problems.append(said.text) if said.type in ("error", "warning") else None)
        page.on("requestfailed", lambda request: page.problems.append(request.url))
        page.on(
            "request", lambda one: None if one.url.startswith(("file:", "data:")) else page.problems.append(one.url)
        )
        yield page


def look(page, path, size, scheme):
    """Open a file in a window of some size and return what LOOK finds in it."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    page.goto(path.as_uri())
    return page.evaluate(LOOK)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_in_a_browser(site, page, name):
    """No error, no missing picture, nothing from a network, no sideways scrolling: on a phone, in light and in dark."""
    page.problems.clear()
    views = [(PHONE, "light"), (PHONE, "dark"), (DESK, "light")]
    for size, scheme in views:
        seen = look(page, site / f"{name}.html", size, scheme)
        assert (seen["sideways"], seen["broken"], seen["flat"], seen["theme"]) == (0, [], 0, scheme)
        back, text = map(brightness, seen["colours"])
        assert (back > 0.9 and text < 0.3) if scheme == "light" else (back < 0.2 and text > 0.7)
    assert page.problems == []


def test_the_reader_may_choose_between_light_and_dark(site, page):
    assert look(page, site / "index.html", DESK, "light")["theme"] == "light"
    page.click("header button")
    assert page.evaluate(LOOK)["theme"] == "dark"
    assert look(page, site / "results.html", DESK, "light")["theme"] == "dark", "the choice holds on other pages"
    page.click("header button")
    assert look(page, site / "index.html", DESK, "dark")["theme"] == "light"
    page.evaluate("localStorage.clear()")


def test_the_list_of_pages_opens_on_a_phone(site, page):
    look(page, site / "index.html", PHONE, "light")
    assert not page.is_visible("nav")
    page.click("header label")
    assert page.is_visible("nav")
    page.click("nav a[href='pipeline.html']")
    assert page.url == (site / "pipeline.html").as_uri()


def brightness(colour):
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765
