"""Mask files: 1-bit PNGs that are white in the hole, and the index of each split."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from pconv.masks.convention import MaskError, check_hole
from pconv.project import mask_folder


def write_hole(path: str | Path, hole: np.ndarray) -> None:
    """Write a hole (H, W) of 0 and 1 as a 1-bit PNG, white = hole."""
    check_hole(hole)
    settings = [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 1]
    ok, encoded = cv2.imencode(".png", hole.astype(np.uint8) * 255, settings)
    assert ok
    Path(path).write_bytes(encoded.tobytes())


def read_hole(path: str | Path) -> np.ndarray:
    """Read a mask file, 1-bit, grey or colour, white (> 127) = hole: (H, W) uint8, 1 = hole.

    Raises MaskError with the path if there is no such file or it is not an image.
    """
    try:
        encoded = np.fromfile(path, np.uint8)
    except OSError as error:
        raise MaskError(f"{path}: {error.strerror}; `dvc repro masks` draws the masks of data/masks") from None
    grey = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE) if encoded.size else None
    if grey is None:
        raise MaskError(f"{path}: not an image that OpenCV can read; a mask is a PNG, white where the hole is")
    return (grey > 127).astype(np.uint8)


def read_index(split: str) -> pd.DataFrame:
    """The masks of a split: columns file, hole_ratio, bin and border (px kept clear along each edge)."""
    path = mask_folder(split) / "index.csv"
    if not path.is_file():
        raise MaskError(f"{path}: no such file; `dvc repro masks` draws the masks")
    return pd.read_csv(path)
