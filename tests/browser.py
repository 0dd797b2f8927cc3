"""A headless Chromium for tests, and a page in which a widget's own JavaScript meets its Python without Jupyter."""

import base64
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, sync_playwright
from repository import PATIENCE
from wire import Wire

from pconv import playground
from pconv.playground.photographs import SIZE

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ADDRESS = "http://playground.test/"  # every request to it is answered from here

# What a widget's JavaScript gets from Jupyter as `model`, with the messages of Jupyter's widgets handed to `toPython`.
MODEL = """
const toBuffer = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const toText = (view) => {
  const bytes = ArrayBuffer.isView(view) ? new Uint8Array(view.buffer) : new Uint8Array(view);
  return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
};
export class Model {
  state = {}; changes = {}; listeners = [];
  get(name) { return this.state[name]; }
  set(name, value) { this.state[name] = this.changes[name] = value; }
  on(event, call) { this.listeners.push([event, call]); }
  off(event, call) { this.listeners = this.listeners.filter(([e, c]) => e !== event || c !== call); }
  save_changes() {
    const [state, paths, buffers] = [{}, [], []];
    for (const [name, value] of Object.entries(this.changes)) {
      if (value instanceof DataView) { paths.push([name]); buffers.push(toText(value)); }
      else state[name] = value;
    }
    this.changes = {};
    this.exchange({ method: "update", state, buffer_paths: paths }, buffers);
  }
  send(content, _, buffers = []) { this.exchange({ method: "custom", content }, buffers.map(toText)); }
  async exchange(data, buffers) {
    for (const answer of await window.toPython(data, buffers)) this.receive(answer);
  }
  receive({ state, buffer_paths, buffers }) {
    buffer_paths.forEach((path, i) => {
      const last = path.pop();
      path.reduce((part, key) => part[key], state)[last] = toBuffer(buffers[i]);
    });
    Object.assign(this.state, state);
    for (const name of Object.keys(state))
      for (const [event, call] of this.listeners) if (event === `change:${name}`) call();
  }
}
"""
PAGE = """<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="widget.css"><div id="here"></div>
<script type="module">
import { Model } from "./model.js";
import widget from "./widget.js";
const model = new Model();
model.receive(await window.firstState());
window.close_ = widget.render({ model, el: document.getElementById("here") });
</script>"""


def find_browser() -> str:
    """Return the path of a Chromium; without one the test is skipped on a user's machine, and fails in CI."""
    paths = filter(None, map(shutil.which, NAMES))
    found = next((path for path in paths if "snap" not in Path(path).resolve().parts), None)  # a snap sees no /tmp
    if found is None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(f"no browser: none of {', '.join(NAMES)} is on the PATH (on Debian: sudo apt install chromium)")
    return found


@contextmanager
def chromium():
    """Start Chromium. While it runs, nothing else in this thread can use asyncio."""
    path = find_browser()
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"]  # root has no sandbox
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


def new_page(browser, **options) -> Page:
    """Open a page of which anything that JavaScript reports as an error fails the test that closes it."""
    page = browser.new_context(viewport={"width": 900, "height": 1200}, **options).new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    return page


def as_text(messages: list[dict]) -> list[dict]:
    """Return messages of a Wire with their bytes in base64."""
    return [m | {"buffers": [base64.b64encode(buffer).decode() for buffer in m["buffers"]]} for m in messages]


def open_widget(page: Page, widget) -> None:
    """Show a widget of the class Playground in a page."""
    wire = Wire(widget)
    widget.send_state()
    (first,) = as_text(wire.sent)
    folder = Path(playground.__file__).parent
    files = {"": PAGE, "model.js": MODEL} | {n: (folder / n).read_text() for n in ("widget.js", "widget.css")}
    kinds = {"": "text/html", ".js": "text/javascript", ".css": "text/css"}

    def answer(route):
        name = route.request.url.removeprefix(ADDRESS)
        if name in files:
            route.fulfill(body=files[name], content_type=kinds[Path(name).suffix])
        else:
            route.fulfill(status=404)

    def deliver(data, texts):
        return as_text(wire.deliver(data, [base64.b64decode(text) for text in texts]))

    page.expose_function("toPython", deliver)
    page.expose_function("firstState", lambda: first)
    page.route("**/*", answer)
    page.goto(ADDRESS)
    idle(page)


def idle(page: Page) -> None:
    """Wait until everything that was asked for has been answered."""
    page.locator(".pconv-playground[aria-busy=false]").wait_for()


def pixels(page: Page, selector: str = "canvas.picture") -> np.ndarray:
    """Return what a canvas shows: (SIZE, SIZE, 3) uint8."""
    script = """canvas => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return btoa(data.reduce((text, byte) => text + String.fromCharCode(byte), ""));
    }"""
    data = base64.b64decode(page.locator(selector).evaluate(script))
    return np.frombuffer(data, np.uint8).reshape(SIZE, SIZE, 4)[..., :3]


def drag(page: Page, points, selector: str = "canvas.picture") -> None:
    """Draw a line with the mouse through points (x, y) in pixels of the picture."""
    (x, y), *rest = [on_screen(page, point, selector) for point in points]
    page.mouse.move(x, y)
    page.mouse.down()
    for x, y in rest:
        page.mouse.move(x, y)
    page.mouse.up()


def on_screen(page: Page, point, selector: str = "canvas.picture") -> tuple[float, float]:
    """Return where a point of the picture is on the page."""
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    return tuple(box[side] + at * box["width"] / SIZE for side, at in zip("xy", point, strict=True))
