"""Photographs as arrays and tensors: the one decoder, the one encoder and the one way to a tensor."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from pconv.errors import PConvError


class ImageError(PConvError, ValueError):
    """A photograph or a folder of photographs that cannot be used; the message names it."""


@lru_cache(maxsize=8)  # holds all the packaged ones that train; of thousands in random order none comes back soon
def read_image(path: Path) -> np.ndarray:
    """Decode a photograph: (H, W, 3) uint8, RGB. Raises ImageError with the path if it is not an image."""
    try:
        encoded = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}; run `dvc repro --force images` if photographs moved") from None
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    if image is None:
        raise ImageError(f"{path}: not an image that OpenCV can read")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB; the suffix chooses the format."""
    ok, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert ok
    path.write_bytes(encoded.tobytes())
