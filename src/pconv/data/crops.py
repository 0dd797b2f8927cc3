"""Random crops of photographs, and changes of their colours."""

from __future__ import annotations

import cv2
import numpy as np


def crop(image: np.ndarray, size: int, share: list[float], rng: np.random.Generator) -> np.ndarray:
    """A random square of `image` (H, W, 3), resized to (size, size, 3).

    Its side is a uniformly drawn share, between share[0] and share[1], of the image's shorter side.
    """
    height, width = image.shape[:2]
    side = max(1, round(rng.uniform(*share) * min(height, width)))
    top = int(rng.integers(height - side + 1))
    left = int(rng.integers(width - side + 1))
    square = image[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return cv2.resize(square, (size, size), interpolation=method)


def recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image (H, W, 3) uint8 in colours that no photograph had.

    Its channels come in another order, to a power between 1/2 and 2 (gamma), and from darkest to brightest over a part
    of the range that keeps at least a fifth of it: contrast and brightness.
    """
    curve = np.linspace(0, 1, 256) ** 2 ** rng.uniform(-1, 1)
    darkest, brightest = rng.uniform(0, 0.4), rng.uniform(0.6, 1)
    table = np.rint(255 * (darkest + (brightest - darkest) * curve)).astype(np.uint8)
    return table[image[..., rng.permutation(3)]]
