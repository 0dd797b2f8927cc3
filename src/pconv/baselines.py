"""What a user would fill a hole with if not with a network: mean fill, Telea, Navier-Stokes, biharmonic.

Where the known pixels are a grid, as in super-resolution, there is bicubic interpolation, too. Every method sees the
valid pixels only and leaves them as they are.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from PIL import Image
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from pconv.checks import check_floating, check_range
from pconv.masks.tensors import check_binary

RADIUS = 3  # px; the neighbourhood that OpenCV's methods look at, as in its documentation


def fill(name: str, image: Tensor, mask: Tensor) -> Tensor:
    """Fill the hole of one image by the method called `name`, a key of METHODS.

    image (3, H, W), float RGB in [0, 1]; mask (1, H, W), 1 valid, 0 hole, of any type. What the image holds in the
    hole, NaN included, is never looked at. Returns (3, H, W) float32 on the CPU. An image without a hole comes back
    unchanged. Raises ValueError for an unknown name, for an image or a mask that does not fit, where no pixel is valid,
    and for bicubic unless the valid pixels are a grid.
    """
    if name not in METHODS:
        raise ValueError(f"no baseline is called {name!r}; there are {', '.join(METHODS)}")
    pixels, valid = _checked(name, image, mask)
    # OpenCV 5.0 reads a few pixels inside the hole, so every method starts from the mean fill.
    start = np.where(valid[..., None], pixels, pixels[valid].mean(axis=0))
    filled = start if valid.all() else np.where(valid[..., None], pixels, METHODS[name](start, ~valid))
    return torch.from_numpy(filled.astype(np.float32).transpose(2, 0, 1).copy())


def _checked(name: str, image: Tensor, mask: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the image, (H, W, 3), and whether a pixel is valid, (H, W)."""
    if not (isinstance(image, Tensor) and isinstance(mask, Tensor)):
        raise ValueError(f"expected two tensors, got {type(image).__name__} and {type(mask).__name__}")
    if image.dim() != 3 or len(image) != 3 or mask.shape != (1, *image.shape[1:]):
        raise ValueError(f"image {tuple(image.shape)} and mask {tuple(mask.shape)}: expected (3, H, W) and (1, H, W)")
    check_floating("image", image)
    check_binary(mask)
    valid = mask[0].cpu().numpy() == 1
    if not valid.any():
        raise ValueError(f"{name}: no pixel of the image is valid, so there is nothing to fill the hole from")
    if image.dtype in (torch.float16, torch.bfloat16):  # NumPy and OpenCV have no use for one or the other
        image = image.float()
    pixels = image.detach().cpu().permute(1, 2, 0).numpy()
    check_range("image, valid pixels", torch.from_numpy(pixels[valid]))
    return pixels, valid


def _mean(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Return the mean colour of the valid pixels, which `fill` has already put in the hole."""
    return image


def _telea(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    return _opencv(image, hole, cv2.INPAINT_TELEA)


def _navier_stokes(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    return _opencv(image, hole, cv2.INPAINT_NS)


def _biharmonic(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    return inpaint_biharmonic(image, hole, channel_axis=-1)


def _opencv(image: np.ndarray, hole: np.ndarray, method: int) -> np.ndarray:
    """Call cv2.inpaint, which takes 8 bits: the hole is rounded to them; `fill` puts the valid pixels back."""
    pixels = np.rint(255 * image.clip(0, 1)).astype(np.uint8)
    return cv2.inpaint(pixels, hole.astype(np.uint8), RADIUS, method) / 255


def _bicubic(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Interpolate between the known pixels of a grid by Keys' cubic with a = -1/2; beyond them their edge goes on."""
    first, spacing = _grid(~hole)
    small = image[first[0] :: spacing, first[1] :: spacing]
    margin = 3  # px of the small image: more than the kernel's two to either side
    padded = np.pad(small, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    # Pillow puts pixel i of n at (i + 1/2) / n of the box, and pixel j of the small image at j + 1/2. So the box begins
    # where pixel 0 of the large image lies: pixel `first` of that is pixel 0 of the small one.
    top, left = (margin + 0.5 - (start + 0.5) / spacing for start in first)
    height, width = hole.shape
    box = (left, top, left + width / spacing, top + height / spacing)
    channels = [Image.fromarray(padded[..., i].astype(np.float32)) for i in range(image.shape[2])]
    return np.stack(
        [np.asarray(one.resize((width, height), Image.Resampling.BICUBIC, box)) for one in channels], axis=-1
    )


def _grid(valid: np.ndarray) -> tuple[tuple[int, int], int]:
    """Return where the first known pixel of a grid is, and their distance. Raises ValueError if they are no grid."""
    rows, columns = (np.flatnonzero(valid.any(axis=axis)) for axis in (1, 0))
    spacing = rows[1] - rows[0] if len(rows) > 1 else 0
    expected = np.zeros_like(valid)
    if spacing and rows[0] < spacing and columns[0] < spacing:
        expected[rows[0] :: spacing, columns[0] :: spacing] = True
    if not np.array_equal(valid, expected):
        raise ValueError(
            "bicubic: the valid pixels are no grid with equal distances all over the image; it is for masks.source = "
            "grid2 or grid4"
        )
    return (int(rows[0]), int(columns[0])), int(spacing)


METHODS = {
    "mean fill": _mean,
    "telea": _telea,
    "navier-stokes": _navier_stokes,
    "biharmonic": _biharmonic,
    "bicubic": _bicubic,
}
