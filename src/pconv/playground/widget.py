"""The widget: what the browser shows and sends, and what answers it. The browser's side is widget.js beside this file.

Pictures and holes cross as raw bytes, row by row, so that each pixel arrives as it is: the truth as RGB, a hole as 0
and 1 (hole), and of a filled picture only the pixels of the hole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anywidget
import numpy as np
from traitlets import CBytes, Dict, Int, List, TraitError, Unicode, observe, validate

from pconv.errors import PConvError
from pconv.figures import HOLE
from pconv.masks.convention import border_width
from pconv.masks.drawing import draw_hole, hole_rng
from pconv.playground.filling import QUICK, SLOW, TITLES, Filling, Methods, in_words
from pconv.playground.photographs import SIZE, choices, read_own, read_packaged

OWN = ""  # the name, among the photographs, of the one that the user brought


class Playground(anywidget.AnyWidget):
    """Draw a hole in a photograph; when the brush is lifted, the network and the classical methods fill it.

    photograph: name of a packaged photograph, "" for one's own. hole: the pixels, 1 = hole, row by row. ratio (percent
    of the picture), border (px kept clear) and number together name a mask that `pconv.masks.drawing` draws.
    """

    _esm = Path(__file__).with_name("widget.js")
    _css = Path(__file__).with_name("widget.css")

    size = Int(SIZE, read_only=True).tag(sync=True)
    colour = List([round(255 * value) for value in HOLE], read_only=True).tag(sync=True)
    photographs = List(Dict(), read_only=True).tag(sync=True)
    photograph = Unicode(OWN).tag(sync=True)
    own = Unicode("").tag(sync=True)  # file name of the photograph that the user brought
    truth = CBytes().tag(sync=True)
    hole = CBytes(bytes(SIZE**2)).tag(sync=True)
    ratio = Int(20, min=1, max=60).tag(sync=True)
    border = Int(border_width(SIZE), min=0, max=SIZE // 4).tag(sync=True)
    number = Int(0, min=0).tag(sync=True)
    filled = CBytes(bytes(SIZE**2)).tag(sync=True)  # the hole that `fillings` fill: while one draws, not yet `hole`
    fillings = List(Dict()).tag(sync=True)
    message = Unicode("").tag(sync=True)  # one line about what went wrong
    revision = Int(0).tag(sync=True)  # counts the answers

    def __init__(self):
        super().__init__()
        self._methods, self._results, self._parts = Methods(), [], []
        self._image = self._own = np.zeros((SIZE, SIZE, 3), np.uint8)
        self.set_trait("photographs", choices())
        self.on_msg(self._receive)
        self.photograph = self.photographs[0]["name"]
        self._draw()

    def summary(self) -> str:
        """Say in Markdown how the hole that was drawn last has been filled."""
        return in_words(self._hole().mean(), self._results)

    @validate("hole")
    def _checked(self, proposal) -> bytes:
        pixels = np.frombuffer(proposal["value"], np.uint8)
        if pixels.size != SIZE**2 or pixels.max() > 1:
            raise TraitError(f"a hole is {SIZE**2} bytes, each 0 or 1 (hole)")
        return proposal["value"]

    @contextmanager
    def _answer(self) -> Iterator[None]:
        """Send all that changes as one message, with what went wrong in one line."""
        with self.hold_sync():
            self.message = ""
            try:
                yield
            except PConvError as error:
                self.message = str(error)
            self.revision += 1

    @observe("photograph")
    def _choose(self, _) -> None:
        with self._answer():
            self._show(self._own if self.photograph == OWN else read_packaged(self.photograph))

    @observe("ratio", "border", "number")
    def _draw(self, _=None) -> None:
        """Draw the mask that the sliders ask for."""
        with self._answer():
            share = self.ratio / 100
            rng = hole_rng(0, "test", self.number)
            self.hole = draw_hole(rng, SIZE, share - 0.01, share, self.border).tobytes()

    @observe("hole")
    def _fill(self, _=None) -> None:
        with self._answer():
            self._report([])
            self._report(self._methods.fill(self._image, self._hole(), QUICK))

    def _receive(self, _, content: dict, buffers: list) -> None:
        """Take what the browser sends in no trait: part of a file, or a wish for the slow methods."""
        if content["kind"] == "slow":
            with self._answer():
                slow = self._methods.fill(self._image, self._hole(), SLOW)
                self._report([*(one for one in self._results if one.method not in SLOW), *slow])
        elif content["kind"] == "file":
            self._parts.append(bytes(buffers[0]))
            if content["last"]:
                encoded, self._parts = b"".join(self._parts), []
                with self._answer():
                    self._take(encoded, content["name"])

    def _take(self, encoded: bytes, name: str) -> None:
        """Show a photograph that the user brought."""
        self._own = read_own(encoded, name)
        self.own = name
        if self.photograph == OWN:  # brought after another one
            self._show(self._own)
        else:
            self.photograph = OWN

    def _show(self, image: np.ndarray) -> None:
        self._image = image
        self.truth = image.tobytes()
        self._fill()

    def _hole(self) -> np.ndarray:
        return np.frombuffer(self.hole, np.uint8).reshape(SIZE, SIZE)

    def _report(self, results: list[Filling]) -> None:
        """Tell the browser how the present hole was filled."""
        self._results, self.filled = results, self.hole
        self.fillings = [
            {
                "method": one.method,
                "title": TITLES[one.method],
                "colours": one.colours.tobytes(),
                "psnr": None if one.problem else one.psnr,
                "seconds": one.seconds,
                "problem": one.problem,
            }
            for one in results
        ]
