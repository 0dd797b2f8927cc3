"""Mask files that users have."""

from __future__ import annotations

import numpy as np
from PIL import Image

from hostile import refused, right
from pconv.masks.files import read_hole

KIND = "mask files"


def expected() -> np.ndarray:
    """A hole that touches no edge: (32, 48), 1 = hole."""
    hole = np.zeros((32, 48), np.uint8)
    hole[8:20, 10:30] = 1
    return hole


@right(KIND, "1 bit")
def _(folder):
    Image.fromarray(expected().astype(bool)).save(folder / "hole.png")
    assert np.array_equal(read_hole(folder / "hole.png"), expected())


@refused(KIND, "a text file", r"hole\.png: not an image")
def _(folder):
    (folder / "hole.png").write_text("white where the hole is")
    read_hole(folder / "hole.png")
