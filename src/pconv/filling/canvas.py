"""Windows of photographs: read as RGB in [0, 1], written back into the hole alone.

A canvas holds the photograph once, as it came. Whatever is not written to keeps its bytes.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

PLANES = {"L": 1, "LA": 1, "RGB": 3, "RGBA": 3, "CMYK": 4}  # colour channels; an A is behind them
FLOATS = (np.float16, np.float32, np.float64)


class Box(NamedTuple):
    """A window: rows top to bottom and columns left to right, the last ones excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def moved(self, rows: int, columns: int) -> Box:
        return Box(self.top + rows, self.bottom + rows, self.left + columns, self.right + columns)

    def relative_to(self, other: Box) -> Box:
        """Return the box in the rows and columns of another one."""
        return self.moved(-other.top, -other.left)

    def within(self, other: Box) -> Box:
        """Return what both have in common."""
        return Box(
            max(self.top, other.top),
            min(self.bottom, other.bottom),
            max(self.left, other.left),
            min(self.right, other.right),
        )

    def widened(self, margin: int, shape: tuple[int, int]) -> Box:
        """Return the box with a margin on each side, as far as a picture of `shape` goes."""
        return Box(
            max(0, self.top - margin),
            min(shape[0], self.bottom + margin),
            max(0, self.left - margin),
            min(shape[1], self.right + margin),
        )


class Canvas(Protocol):
    """What can be filled, window by window."""

    shape: tuple[int, int]  # height, width
    planes: int  # colour channels: 1, 3 or 4

    def read(self, box: Box) -> np.ndarray:
        """Return the colour channels of a window: (h, w, planes) float32, in [0, 1]."""

    def write(self, box: Box, values: np.ndarray, hole: np.ndarray) -> None:
        """Put values (h, w, planes) where `hole` (h, w) is not 0, opaque where there is an alpha channel."""


class ArrayCanvas:
    """An array (H, W, C), C = 1 to 4, of uint8, uint16 or floats in [0, 1], which is written to.

    C = 2 and 4 have alpha last.
    """

    def __init__(self, pixels: np.ndarray):
        self.pixels, self.shape = pixels, pixels.shape[:2]
        self.planes = 3 if pixels.shape[2] > 2 else 1
        self.full = 1 if pixels.dtype in FLOATS else np.iinfo(pixels.dtype).max

    def read(self, box: Box) -> np.ndarray:
        return self.pixels[box.slices][..., : self.planes].astype(np.float32) / self.full

    def write(self, box: Box, values: np.ndarray, hole: np.ndarray) -> None:
        window, where = self.pixels[box.slices], hole > 0
        values = values.clip(0, 1) * self.full
        window[where, : self.planes] = (values if self.full == 1 else np.rint(values))[where]
        window[where, self.planes :] = self.full


class PictureCanvas:
    """A Pillow image of a mode in PLANES, of 8 bits, which is written to. Inks (CMYK) are read as 1 - ink."""

    def __init__(self, picture: Image.Image):
        self.picture, self.shape = picture, (picture.height, picture.width)
        self.planes = PLANES[picture.mode]

    def read(self, box: Box) -> np.ndarray:
        values = self._crop(box)[..., : self.planes].astype(np.float32) / 255
        return 1 - values if self.picture.mode == "CMYK" else values

    def write(self, box: Box, values: np.ndarray, hole: np.ndarray) -> None:
        window, where = self._crop(box), hole > 0
        values = 1 - values if self.picture.mode == "CMYK" else values
        window[where, : self.planes] = np.rint(255 * values.clip(0, 1))[where]
        window[where, self.planes :] = 255
        part = Image.frombytes(self.picture.mode, window.shape[1::-1], window.tobytes())
        self.picture.paste(part, (box.left, box.top))

    def _crop(self, box: Box) -> np.ndarray:
        """Return a copy of a window's channels: (h, w, C) uint8."""
        part = np.array(self.picture.crop((box.left, box.top, box.right, box.bottom)))
        return part if part.ndim == 3 else part[..., None]
