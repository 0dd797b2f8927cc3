"""Random crops of photographs, and changes of their colours."""

from __future__ import annotations

import cv2
import numpy as np


def random_crop(image: np.ndarray, size: int, share: list[float], rng: np.random.Generator) -> np.ndarray:
    """Cut a random square out of `image` (H, W, 3) and resize it to (size, size, 3).

    Its side is a share of the image's shorter side, drawn uniformly between share[0] and share[1].
    """
    height, width = image.shape[:2]
    side = max(1, round(rng.uniform(*share) * min(height, width)))
    top = int(rng.integers(height - side + 1))
    left = int(rng.integers(width - side + 1))
    square = image[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return cv2.resize(square, (size, size), interpolation=method)


def recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the colours of an image (H, W, 3) uint8 at random.

    Permutes its channels, then changes gamma (an exponent between 1/2 and 2), contrast and brightness: black moves to
    at most 0.4 of the range and white to no less than 0.6, so that at least a fifth of the contrast is kept.
    """
    curve = np.linspace(0, 1, 256) ** 2 ** rng.uniform(-1, 1)
    darkest, brightest = rng.uniform(0, 0.4), rng.uniform(0.6, 1)
    table = np.rint(255 * (darkest + (brightest - darkest) * curve)).astype(np.uint8)
    return cv2.LUT(image, table)[..., rng.permutation(3)]
