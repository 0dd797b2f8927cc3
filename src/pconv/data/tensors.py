"""Images as tensors: the one way from an array. Apart from the decoder, which needs no PyTorch."""

from __future__ import annotations

import numpy as np
import torch

from pconv.data.decoding import ImageError


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Convert an image (H, W, 3) uint8 to a tensor (3, H, W) float32 in [0, 1].

    Raises ImageError for any other array: what its numbers mean would be a guess.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(f"expected an array (H, W, 3) of uint8, got {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(f"expected an array (H, W, 3) of uint8 with pixels, got {image.shape} of {image.dtype}")
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
