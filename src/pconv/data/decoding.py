"""Photographs as arrays: the one decoder and the one encoder."""

from __future__ import annotations

import os
import threading
import warnings
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image

from pconv.errors import PConvError
from pconv.files import open_file, write_file

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM")  # as Pillow calls them
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I;16B", "I;16L")  # that OpenCV decodes rightly
MAX_PIXELS = 2**26  # 8192 x 8192: a small file can hold any number of pixels
MOST_BYTES = 8 * MAX_PIXELS  # of a file: 16 bits, four channels and no compression
REDUCED = {  # OpenCV's flags to decode a JPEG file to a fraction of its size, in grey
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
}
_FILTERS = threading.Lock()  # Python's filters of warnings are those of the whole process
Image.init()  # it loads some of its formats only when it is told to


class ImageError(PConvError, ValueError):
    """A photograph or a folder of photographs that cannot be used; the message names it."""


def open_header(
    file: BinaryIO, name: str | Path, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] = FORMATS
) -> Image.Image:
    """Read the header of an image file and no pixel: what Pillow knows about its size, format and frames.

    Raises ImageError with the name if the file is no image of one of the formats, or one of more than `max_pixels`
    pixels.
    """
    if not file.read(1):
        raise ImageError(f"{name}: not an image: the file is empty")
    file.seek(0)
    try:
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large images, which are refused below, and odd metadata
            header = Image.open(file, formats=formats)
    except Image.DecompressionBombError:
        raise ImageError(f"{name}: {_more_than(max_pixels)}") from None
    except Exception:  # hostile headers make Pillow raise almost anything
        raise ImageError(f"{name}: not an image that can be read ({', '.join(formats)})") from None
    check_size(header.width, header.height, name, max_pixels)
    return header


def check_size(width: int, height: int, name: str | Path, max_pixels: int = MAX_PIXELS) -> None:
    """Raise ImageError with the name if an image has more than `max_pixels` pixels."""
    if width * height > max_pixels:
        raise ImageError(f"{name}: {width:,} x {height:,} px are {_more_than(max_pixels)}")


def _more_than(pixels: int) -> str:
    count = f"{pixels / 1e6:.0f} million" if pixels >= 1e6 else f"{pixels:,}"
    return f"more than {count} pixels, the most that is decoded; scale it down"


def open_photograph(encoded: bytes, name: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read the header of an encoded photograph, as `open_header` does, and make sure that it can be used as one.

    Raises ImageError with the name also as `check_picture` does, for pixels that are neither grey nor colours, and for
    a photograph that is transparent in places: nobody can tell what is meant to be there.
    """
    header = open_header(BytesIO(encoded), name, max_pixels)
    check_picture(header, name)
    if header.mode not in MODES and (header.format, header.mode) != ("PPM", "I"):  # grey of 16 bits
        raise ImageError(f"{name}: pixels of the kind {header.mode}; save it in RGB or grey")
    if header.has_transparency_data and _is_transparent(header, encoded, name):
        raise ImageError(f"{name}: transparent in places; save it without transparency")
    return header


def check_picture(header: Image.Image, name: str | Path) -> None:
    """Raise ImageError with the name if a file holds several pictures, or values that OpenCV would misread.

    These are the values of a PPM file that does not reach up to 255 or 65535. header: as `open_header` returns it, with
    no pixel decoded.
    """
    try:
        frames = getattr(header, "n_frames", 1)
    except Exception:  # it reads on, and may meet anything
        raise ImageError(f"{name}: not an image that can be read; it is damaged or cut short") from None
    if frames > 1 and header.format != "MPO":  # of MPO, which cameras write, the first is the photograph
        raise ImageError(f"{name}: holds {frames} pictures; save the one that is meant")
    if header.format != "PPM":
        return
    arguments = header.tile[0][3]  # of Pillow's decoder: the maximum is the second, unless it is 255 or 65535
    if isinstance(arguments, tuple) and arguments[1] not in (255, 65535):
        raise ImageError(f"{name}: a PPM file whose greatest value is {arguments[1]}; save it with 255 or 65535")


def _is_transparent(header: Image.Image, encoded: bytes, name: str | Path) -> bool:
    image = decode_pixels(encoded, name, cv2.IMREAD_UNCHANGED)
    full = np.iinfo(image.dtype).max
    if image.shape[2:] == (4,):
        return bool(image[..., 3].min() < full)
    if header.mode in ("1", "L", "I;16"):  # a PNG with a transparent grey, of which OpenCV tells nothing
        most = 2 ** encoded[24] - 1  # in the file, whose values OpenCV spreads to `full`
        return bool((image == min(header.info["transparency"], most) * (full // most)).any())
    try:  # a TIFF of two channels, of which OpenCV leaves out the second, or a palette
        return header.convert("RGBA").getchannel("A").getextrema()[0] < 255
    except Exception:  # damaged pixels make Pillow raise errors of many kinds
        raise ImageError(f"{name}: not an image that can be read; it is damaged or cut short") from None


def decode(encoded: bytes, name: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a photograph to (H, W, 3) uint8 RGB, turned as EXIF asks.

    Raises ImageError with the name for what is no whole photograph, and before any pixel is decoded for one of more
    than `max_pixels` pixels.
    """
    open_photograph(encoded, name, max_pixels)
    return decode_pixels(encoded, name)


def decode_pixels(encoded: bytes, name: str | Path, flags: int = cv2.IMREAD_COLOR_RGB) -> np.ndarray:
    """Decode by OpenCV's `flags` an image whose header and size have been looked at; by default as `decode` does."""
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError(f"{name}: not an image that OpenCV can read; it is damaged, cut short or of a rare kind")
    return image


def decode_for_crops(encoded: bytes, name: str | Path, least_side: float) -> np.ndarray:
    """Decode an image as `decode_pixels` does, at the fraction of its size that `reduction` names."""
    factor = 1
    if np.isfinite(least_side):
        factor = reduction(open_header(BytesIO(encoded), name, max_pixels=MOST_BYTES), least_side)  # it was looked at
    return decode_pixels(encoded, name, REDUCED.get(factor, 0) | cv2.IMREAD_COLOR_RGB)


def reduction(header: Image.Image, least_side: float) -> int:
    """Return the largest of 8, 4, 2 and 1 by which an image can be reduced while it is decoded, in less time.

    Its shorter side is still `least_side` pixels or more. Of JPEG files a block of 8 x 8 pixels is turned into 4 x 4,
    2 x 2 or one, each about the mean of those that it stands for; other formats do not allow it.
    """
    if header.format not in ("JPEG", "MPO"):
        return 1
    return next((factor for factor in REDUCED if min(header.size) >= factor * least_side), 1)


def read_bytes(path: str | Path) -> bytes:
    """Read an image file whole. Raises ImageError with the path if it cannot be read or is no regular file.

    A file of more than MOST_BYTES is refused, too: it may be endless zeros that take no room on the disk.
    """
    try:
        with open_file(path) as file:
            if os.fstat(file.fileno()).st_size > MOST_BYTES:
                raise ImageError(f"{path}: larger than {MOST_BYTES / 1e6:.0f} MB, the most that is read")
            return file.read()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from None


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a photograph: (H, W, 3) uint8, RGB. Raises ImageError with the path if it is not one."""
    return decode(read_bytes(path), path, max_pixels)


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB; the suffix chooses the format. Raises ImageError if no format has this suffix."""
    try:
        encoded = cv2.imencode(Path(path).suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    except cv2.error:
        raise ImageError(f"{path}: cannot be written as an image; choose a suffix such as .png or .jpg") from None
    write_file(path, encoded.tobytes())
