"""Photographs to draw holes in: the packaged ones and one's own, each as a square of SIZE px."""

from __future__ import annotations

from importlib.resources import files

import cv2
import numpy as np

from pconv.data.decoding import ImageError, decode, read_image
from pconv.data.packages import packaged_photographs
from pconv.project import SPLITS

SIZE = 256  # px; side of the squares
LEAST = 64  # px; a photograph with a shorter side shows nothing once it is enlarged


def choices() -> list[dict[str, str]]:
    """Return name, split and subject of each packaged photograph, first those that were never trained on."""
    rows = sorted(packaged_photographs(), key=lambda row: (-SPLITS.index(row.split), row.name))
    return [{"name": row.name, "split": row.split, "shows": row.shows} for row in rows]


def read_packaged(name: str) -> np.ndarray:
    """Return a packaged photograph, as `square` cuts it. Raises ImageError if there is none of that name."""
    for row in packaged_photographs():
        if row.name == name:
            return square(read_image(files(row.package) / row.file), name)
    raise ImageError(f"no packaged photograph is called {name!r}; src/pconv/photographs/index.csv lists them")


def read_own(encoded: bytes, name: str) -> np.ndarray:
    """Decode a photograph that somebody brings, and cut it as `square` does.

    Raises ImageError, in one line with the name, for what is no photograph or too small a one.
    """
    return square(decode(encoded, name), name)


def square(image: np.ndarray, name: str) -> np.ndarray:
    """Cut the largest square out of the middle of an image (H, W, 3) uint8 and resize it to (SIZE, SIZE, 3).

    Raises ImageError with the name if a side is below LEAST px.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    if side < LEAST:
        raise ImageError(f"{name}: {width} x {height} px are too small; at least {LEAST} px a side")
    top, left = (height - side) // 2, (width - side) // 2
    method = cv2.INTER_AREA if side > SIZE else cv2.INTER_CUBIC
    return cv2.resize(image[top : top + side, left : left + side], (SIZE, SIZE), interpolation=method)
