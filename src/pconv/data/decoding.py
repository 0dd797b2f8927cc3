"""Photographs as arrays: the one decoder and the one encoder."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pconv.errors import PConvError
from pconv.files import open_file, write_file

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM")  # as Pillow calls them
Image.init()  # it loads some of its formats only when it is told to


MAX_PIXELS = 80_000_000  # 240 MB once decoded


class ImageError(PConvError, ValueError):
    """A photograph or a folder of photographs that cannot be used; the message names it."""


def open_header(encoded: bytes, name: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read the header of an encoded image and no pixel: what Pillow knows about its size, format and frames.

    Raises ImageError with the name if the bytes are no image of FORMATS, or one of more than `max_pixels` pixels.
    """
    if not encoded:
        raise ImageError(f"{name}: not an image: the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large images, which are refused below, and odd metadata
            header = Image.open(BytesIO(encoded), formats=FORMATS)
    except Image.DecompressionBombError:
        raise ImageError(f"{name}: more than {max_pixels:,} pixels; make it smaller") from None
    except Exception:  # hostile headers make Pillow raise almost anything
        raise ImageError(f"{name}: not an image that can be read (JPEG, PNG, WebP, TIFF, BMP or PPM)") from None
    if header.width * header.height > max_pixels:
        size = f"{header.width:,} x {header.height:,} pixels"
        raise ImageError(f"{name}: {size}, more than the {max_pixels:,} allowed; make it smaller")
    return header


def decode(
    encoded: bytes, name: str | Path, flags: int = cv2.IMREAD_COLOR_RGB, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decode an encoded image by OpenCV's `flags`; by default to (H, W, 3) uint8 RGB, turned as EXIF asks.

    Raises ImageError with the name for what is no whole image, and before any pixel is decoded for more than
    `max_pixels` pixels.
    """
    open_header(encoded, name, max_pixels)
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError(f"{name}: not an image that OpenCV can read; it is damaged, cut short or of a rare kind")
    return image


def read_bytes(path: str | Path) -> bytes:
    """Read a regular file whole. Raises ImageError with the path if it cannot be read."""
    try:
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from None


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a photograph: (H, W, 3) uint8, RGB. Raises ImageError with the path if it is not one."""
    return decode(read_bytes(path), path, max_pixels=max_pixels)


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB; the suffix chooses the format. Raises ImageError if no format has this suffix."""
    try:
        encoded = cv2.imencode(Path(path).suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    except cv2.error:
        raise ImageError(f"{path}: cannot be written as an image; choose a suffix such as .png or .jpg") from None
    write_file(path, encoded.tobytes())
