"""The hole of a photograph: white in a mask, or what is transparent.

- A mask is a picture, white where the hole is, as `pconv.masks.files` reads it; edges in grey are cut at the middle.
- A mask with a transparent layer: if all that is painted is black and white, white is the hole; if it shows a
  picture, the hole is what was erased.
- Without a mask the hole is what is not opaque in the photograph.
- A mask of another size is scaled if it has the photograph's proportions.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from pconv.data.decoding import ImageError, open_header
from pconv.files import open_file
from pconv.filling.photo import TURNS, Photo, turn_array
from pconv.masks.convention import MaskError
from pconv.masks.files import KINDS, MaskWarning, picture_to_hole, read_hole

KNOWN, HOLE, UNKNOWN = 0, 1, 2  # pixels to keep, to fill, and to keep but not to look at: transparent ones
PAINTED = 32  # of 255, from black or white: what JPEG or a soft brush leaves of them


def find_hole(photo: Photo, hole=None) -> np.ndarray:
    """Return what to do with each pixel of a photograph, (H, W) uint8: KNOWN, HOLE or UNKNOWN.

    `hole` is a path, a Pillow image, an array or a tensor, white (or True) in the hole, or None for the photograph's
    transparency. Raises MaskError, which names the mask, if that cannot be a mask of this photograph or leaves nothing
    to fill from.
    """
    opaque = photo.opacity()
    if hole is None:
        if opaque is None or opaque.all():
            raise MaskError(f"{photo.name}: transparent nowhere, so it needs a mask, white where the hole is")
        marks, name = (~opaque).astype(np.uint8), photo.name
    else:
        name = str(hole) if isinstance(hole, str | Path) else "the mask"
        marks = _fit(_read(hole, name), photo, name)
        if not marks.any():
            warnings.warn(f"{name}: white nowhere, so nothing is filled in", MaskWarning, stacklevel=3)
        if opaque is not None:
            marks[(marks == KNOWN) & ~opaque] = UNKNOWN
    if not (marks == KNOWN).any():
        raise MaskError(f"{name}: the hole is the whole photograph, so nothing is left to fill from; white is the hole")
    return marks


def _read(hole, name: str) -> np.ndarray:
    """Return a hole (H, W) of 0 and 1 of its own."""
    if isinstance(hole, str | Path):
        return _read_file(hole)
    if isinstance(hole, Image.Image):
        return _of_picture(hole, name)
    if isinstance(hole, Tensor):
        hole = hole.detach().cpu().float().numpy()
    if isinstance(hole, np.ndarray):
        return _of_array(hole)
    raise MaskError(f"expected a mask as path, PIL image, array or tensor, got {type(hole).__name__}")


def _read_file(path: str | Path) -> np.ndarray:
    try:
        with open_file(path) as file:
            picture = open_header(file, path, formats=KINDS)
            if getattr(picture, "n_frames", 1) == 1 and _is_transparent(picture, path):
                return _of_picture(ImageOps.exif_transpose(picture), str(path))
    except ImageError as error:
        raise MaskError(str(error)) from None
    except OSError as error:
        raise MaskError(f"{path}: {error.strerror or error}; white is the hole") from None
    return read_hole(path, warn=False)  # of an empty mask and a full one the caller tells


def _is_transparent(picture: Image.Image, name: str | Path) -> bool:
    try:
        return picture.has_transparency_data and picture.convert("RGBA").getchannel("A").getextrema()[0] < 255
    except Exception as error:  # damaged pixels make Pillow raise errors of many kinds
        raise MaskError(f"{name}: damaged ({error}); save or copy it again") from None


def _of_picture(picture: Image.Image, name: str) -> np.ndarray:
    if not _is_transparent(picture, name):
        return picture_to_hole(picture, name)
    pixels = np.asarray(picture.convert("RGBA"))
    painted = pixels[pixels[..., 3] > 127, :3]
    if len(painted) and ((painted < PAINTED) | (painted > 255 - PAINTED)).all() and (painted > 127).any():
        return ((pixels[..., 3] > 127) & (pixels[..., 0] > 127)).astype(np.uint8)
    return (pixels[..., 3] < 128).astype(np.uint8)


def _of_array(hole: np.ndarray) -> np.ndarray:
    """Return the hole of an array (H, W) or (1, 1, H, W): of bool, of 0 and 1, of 0 to 255, or of floats in [0, 1]."""
    flat = hole.reshape([length for length in hole.shape if length != 1] if hole.ndim > 2 else hole.shape)
    if flat.ndim != 2 or not flat.size:
        raise MaskError(f"the mask: expected an array (H, W), got {hole.shape}")
    if flat.dtype.kind not in "buif":
        raise MaskError(f"the mask: expected bool, uint8 or floats, got {hole.dtype}")
    if not (np.isfinite(flat).all() and flat.min() >= 0 and flat.max() <= 255):
        raise MaskError("the mask: expected values from 0 to 1 or to 255, which is the hole, all of them finite")
    return (flat > (0.5 if flat.max() <= 1 else 127)).astype(np.uint8)


def _fit(hole: np.ndarray, photo: Photo, name: str) -> np.ndarray:
    """Return a hole in a photograph's size."""
    height, width = photo.shape
    if hole.shape != photo.shape and photo.orientation > 4 and hole.shape == (width, height):
        hole = turn_array(hole, TURNS[photo.orientation][0])  # drawn by a program that does not look at EXIF data
    if hole.shape == photo.shape:
        return hole
    rows, columns = hole.shape
    if abs(rows * width - columns * height) > max(height, width, rows, columns):  # a pixel of rounding
        raise MaskError(
            f"{name}: {columns} x {rows} px, but {photo.name} has {width} x {height} px, and other proportions; "
            "draw the mask on the photograph"
        )
    # Any pixel of which a part is in the hole is hole: what is left of an object at its edge would be continued.
    scaled = cv2.resize(255 * hole, (width, height), interpolation=cv2.INTER_AREA)
    return (scaled > 0).astype(np.uint8)
