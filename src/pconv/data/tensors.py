"""Images as tensors: the one way from an array. Apart from the decoder, which needs no PyTorch."""

from __future__ import annotations

import numpy as np
import torch


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Convert an image (H, W, 3) uint8 to a tensor (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
