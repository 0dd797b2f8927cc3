"""Servers of notebooks, and what JupyterLab does to a notebook between opening and saving it."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from copy import deepcopy
from urllib.parse import urlsplit

from repository import ENVIRONMENT, PATIENCE, free_port

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
    command = ["jupyter_server", "--no-browser", "--port=0", "--allow-root", f"--IdentityProvider.token={TOKEN}"]
    command += ["--LabApp.news_url=None"]  # no question, in front of a notebook, whether to fetch news
    with _started(folder, command) as (server, log):
        about = folder / ".jupyter-home" / "runtime" / f"jpserver-{server.pid}.json"
        _wait(lambda: about.exists() and about.read_text().endswith("}"), server, log)
        url = json.loads(about.read_text())["url"]
        _wait(lambda: _listens(url), server, log)  # which begins after this file was written, on a busy machine later
        yield Contents(url)


@contextmanager
def voila(folder, notebook):
    """Serve a notebook as a page by Voila, in the same way; gives the page's address."""
    address = re.compile(r"is running at:\s+(http://\S+/)\s")  # at another port if somebody else has taken this one
    with _started(folder, ["voila", notebook, "--no-browser", f"--port={free_port()}"]) as (server, log):
        _wait(lambda: address.search(log.read_text()), server, log)
        yield address.search(log.read_text())[1]


@contextmanager
def _started(folder, command):
    """Run a Python module in the background; gives the process and the file of what it prints."""
    home, log = folder / ".jupyter-home", folder / "server.log"
    variables = {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    with open(log, "w") as output:
        command = [sys.executable, "-m", *command]
        server = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT | variables, stdout=output, stderr=output)
        try:
            yield server, log
        finally:
            server.terminate()
            server.wait(timeout=PATIENCE)


def _listens(url) -> bool:
    """Tell whether somebody takes connections at an address."""
    place = urlsplit(url)
    try:
        socket.create_connection((place.hostname, place.port), timeout=1).close()
    except OSError:
        return False
    return True


def _wait(condition, server, log) -> None:
    """Wait until a server says that it is ready."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        running = time.monotonic() < deadline and server.poll() is None
        assert running, f"the server did not start:\n{log.read_text()}"
        time.sleep(0.1)


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
