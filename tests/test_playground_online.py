"""The ways to the playground without an installation: links, and what Binder and Colab find in the repository."""

import re
from urllib.parse import parse_qs, unquote, urlsplit

import nbformat
from packaging.requirements import Requirement
from repository import ROOT

README = (ROOT / "README.md").read_text()
NOTEBOOK = "notebooks/08-playground.ipynb"


def link(host):
    """Return the one link of README to a host, taken apart."""
    (found,) = re.findall(rf"\]\((https://{re.escape(host)}/[^)\s]+)\)", README)
    return urlsplit(found)


def test_binder_opens_the_notebook_from_this_repository():
    parts = link("mybinder.org")
    assert re.fullmatch(r"/v2/gh/[\w.-]+/[\w.-]+/HEAD", parts.path)
    assert parse_qs(parts.query) == {"labpath": [NOTEBOOK]} and (ROOT / NOTEBOOK).is_file()


def test_colab_opens_the_notebook_which_then_fetches_the_same_repository():
    repository, path = re.fullmatch(r"/github/([\w.-]+/[\w.-]+)/blob/main/(.+)", unquote(link(COLAB).path)).groups()
    assert path == NOTEBOOK
    assert link("mybinder.org").path == f"/v2/gh/{repository}/HEAD"
    cells = nbformat.read(ROOT / NOTEBOOK, as_version=4).cells
    (parameters,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    assert parameters.source == f'repository: str = "https://github.com/{repository}"'


COLAB = "colab.research.google.com"


def test_binder_installs_the_package_with_the_locked_pytorch_for_cpus():
    lines = [line for line in (ROOT / "binder/requirements.txt").read_text().splitlines() if line[0] != "#"]
    assert lines[0] == "--extra-index-url https://download.pytorch.org/whl/cpu" and lines[-1] == "."
    lock = (ROOT / "requirements.lock").read_text()
    for line in lines[1:-1]:
        ((_, version),) = [(spec.operator, spec.version) for spec in Requirement(line).specifier]
        assert re.search(rf"^{Requirement(line).name}=={re.escape(version.removesuffix('+cpu'))} ", lock, re.MULTILINE)
        assert version.endswith("+cpu")
    assert {Requirement(line).name for line in lines[1:-1]} == {"torch", "torchvision"}
