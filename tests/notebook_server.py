"""A Jupyter server, and what JupyterLab does to a notebook between opening and saving it."""

import json
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from copy import deepcopy

from repository import ENVIRONMENT, PATIENCE

TOKEN = "0123456789"


class Contents:
    """The server's REST interface to notebooks; paths are relative to the folder in which it was started."""

    def __init__(self, url: str):
        self.url = url

    def _request(self, path: str, method: str, model: dict | None = None) -> dict:
        data = None if model is None else json.dumps(model).encode()
        headers = {"Authorization": f"token {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}api/contents/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def open(self, path: str) -> dict:
        return self._request(path, "GET")["content"]

    def save(self, path: str, content: dict) -> None:
        self._request(path, "PUT", {"type": "notebook", "format": "json", "content": content})


@contextmanager
def jupyter_server(folder):
    """Start a Jupyter server in a folder, with the settings of this environment and none of the user's."""
    home = folder / ".jupyter-home"
    variables = {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--port=0", "--allow-root"]
    command += [f"--IdentityProvider.token={TOKEN}"]
    with open(folder / "server.log", "w+") as log:
        server = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT | variables, stdout=log, stderr=log)
        try:
            yield Contents(_address(server, home / "runtime" / f"jpserver-{server.pid}.json", log.name))
        finally:
            server.terminate()
            server.wait(timeout=PATIENCE)


def _address(server, about, log) -> str:
    """Where the server listens, as soon as it says so."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        if about.exists() and about.read_text().endswith("}"):
            return json.loads(about.read_text())["url"]
        time.sleep(0.1)
    with open(log) as lines:
        raise AssertionError(f"the server did not start:\n{lines.read()}")


def looked_at(content: dict) -> dict:
    """Return a notebook as JupyterLab 4.6 saves it once it was opened, with the metadata of a kernel."""
    content = deepcopy(content)
    content["metadata"]["kernelspec"]["display_name"] = "Python [conda env:elsewhere]"
    content["metadata"]["language_info"] = {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
        "version": "3.99.0",
    }
    for cell in content["cells"]:
        cell["metadata"]["trusted"] = True
    return content


def run_in_lab(content: dict) -> dict:
    """Return the same with all cells run and outputs collapsed."""
    content = looked_at(content)
    content["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, 1):
        cell["execution_count"] = number
        cell["metadata"] |= {"collapsed": True, "scrolled": True, "jupyter": {"outputs_hidden": True}}
        cell["metadata"]["execution"] = {"iopub.execute_input": "2026-11-25T10:00:00.000000Z"}
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["hole\n", "ratio"]}]
    return content
