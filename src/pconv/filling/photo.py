"""Photographs of any kind as canvases: files, Pillow images, arrays and tensors.

A file keeps its pixels as they are stored, in 8 or 16 bits, grey, colour or inks, and whatever its format can hold
beside them; `pconv.filling.encoding` writes it again. What is in memory comes back as what it was: an image for an
image, an array for an array.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pconv.data.decoding import ImageError, check_picture, check_size, decode_pixels, open_header, read_bytes
from pconv.errors import cut
from pconv.filling.canvas import FLOATS, PLANES, ArrayCanvas, Canvas, PictureCanvas
from pconv.filling.previews import without_orientation, without_preview, without_texts

ORIENTATION = 274  # the tag, in EXIF data and in TIFF
TURNS = {  # orientation -> what turns a stored picture upright, and what turns it back
    2: (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_LEFT_RIGHT),
    3: (Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_180),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.FLIP_TOP_BOTTOM),
    5: (Image.Transpose.TRANSPOSE, Image.Transpose.TRANSPOSE),
    6: (Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_90),
    7: (Image.Transpose.TRANSVERSE, Image.Transpose.TRANSVERSE),
    8: (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270),
}
BITS_PER_SAMPLE, SAMPLES_PER_PIXEL, PHOTOMETRIC, PLANAR_CONFIGURATION = 258, 277, 262, 284  # tags in TIFF


@dataclass
class Photo:
    """A photograph that can be filled: its canvas, upright, and what came with it."""

    canvas: Canvas
    name: str
    source: object  # the header (a Pillow image) and bytes of a file, or what was given
    orientation: int = 1  # in which a file stores it

    @property
    def shape(self) -> tuple[int, int]:
        return self.canvas.shape

    def opacity(self) -> np.ndarray | None:
        """Return where the photograph is opaque, (H, W) bool, or None if it has no alpha channel."""
        if isinstance(self.canvas, PictureCanvas):
            picture = self.canvas.picture
            return np.asarray(picture.getchannel("A")) == 255 if picture.mode.endswith("A") else None
        pixels = self.canvas.pixels
        return pixels[..., -1] >= self.canvas.full if pixels.shape[2] in (2, 4) else None


@dataclass(frozen=True)
class Encoded:
    """A file as it was read."""

    header: Image.Image
    content: bytes


def open_photo(photo) -> Photo:
    """Return a photograph to fill: of a path, a Pillow image, an array or a tensor, none of which is written to.

    Files are turned upright as their EXIF data ask; what is in memory is taken as it is. Arrays are (H, W), (H, W, 1),
    (H, W, 3) or, with alpha, (H, W, 4), of uint8, uint16, or floats in [0, 1]; tensors (C, H, W) or (1, C, H, W).
    Raises ImageError, which names the file, for anything else.
    """
    if isinstance(photo, str | Path):
        return _open_file(photo)
    if isinstance(photo, Image.Image) and photo.mode == "I;16":
        return Photo(ArrayCanvas(_checked_array(np.array(photo))), "the image", photo)
    if isinstance(photo, Image.Image):
        return Photo(PictureCanvas(_in_eight_bits(photo.copy(), "the image")), "the image", photo)
    if isinstance(photo, np.ndarray):
        return Photo(ArrayCanvas(_checked_array(photo).copy()), "the array", photo)
    if isinstance(photo, Tensor):
        return Photo(ArrayCanvas(_checked_array(_channels_last(photo)).copy()), "the tensor", photo)
    raise ImageError(
        f"expected the path of a photograph, a PIL image, an array or a tensor, got {type(photo).__name__}"
    )


def check_values(photo: Photo, known: np.ndarray) -> None:
    """Raise ImageError if a known pixel, (H, W) bool, of an array or a tensor of floats is not in [0, 1]."""
    if not isinstance(photo.canvas, ArrayCanvas) or photo.canvas.full != 1:
        return
    values = photo.canvas.pixels[known]
    if not np.isfinite(values).all():
        raise ImageError(f"{photo.name}: values outside the hole are not finite; repair them or let the hole hold them")
    if values.min() < 0 or values.max() > 1:
        raise ImageError(
            f"{photo.name}: expected values from 0 to 1, got {values.min():g} to {values.max():g}; divide 0..255 by 255"
        )


def result(photo: Photo):
    """Return a filled photograph as what was given: an image, array or tensor of the same kind.

    A file gives an image, upright; one of 16 bits gives an array (H, W, C) of uint16, since Pillow has no such image.
    """
    canvas, source = photo.canvas, photo.source
    if isinstance(source, np.ndarray):
        return canvas.pixels.reshape(source.shape)
    if isinstance(source, Tensor):
        pixels = torch.from_numpy(canvas.pixels).permute(2, 0, 1).contiguous()
        return pixels.to(source.device, source.dtype).reshape(source.shape)
    if isinstance(canvas, ArrayCanvas):
        return Image.fromarray(canvas.pixels[..., 0]) if isinstance(source, Image.Image) else canvas.pixels
    about = canvas.picture.info
    if photo.orientation != 1:
        if ORIENTATION in (exif := canvas.picture.getexif()):  # of a TIFF Pillow removes it
            del exif[ORIENTATION]
            about["exif"] = exif.tobytes()
        for kind in ("xmp", "XML:com.adobe.xmp"):  # where Pillow looks next
            if kind in about:
                about[kind] = without_orientation(about[kind])
    for kind, cleaned in (("exif", without_preview), ("xmp", without_texts)):
        if isinstance(about.get(kind), bytes):
            about[kind] = cleaned(about[kind])
    return canvas.picture


def stored(photo: Photo) -> Image.Image | np.ndarray:
    """Return the pixels of a photograph from a file, turned as the file stores them."""
    if photo.orientation == 1:
        return photo.canvas.picture if isinstance(photo.canvas, PictureCanvas) else photo.canvas.pixels
    turn = TURNS[photo.orientation][1]
    if isinstance(photo.canvas, PictureCanvas):
        return photo.canvas.picture.transpose(turn)
    return turn_array(photo.canvas.pixels, turn)


def turn_array(pixels: np.ndarray, turn: Image.Transpose) -> np.ndarray:
    """Do to an array (H, W, ...) what Pillow's transpose does to an image."""
    ways = {
        Image.Transpose.FLIP_LEFT_RIGHT: lambda a: a[:, ::-1],
        Image.Transpose.FLIP_TOP_BOTTOM: lambda a: a[::-1],
        Image.Transpose.ROTATE_90: np.rot90,
        Image.Transpose.ROTATE_180: lambda a: np.rot90(a, 2),
        Image.Transpose.ROTATE_270: lambda a: np.rot90(a, 3),
        Image.Transpose.TRANSPOSE: lambda a: a.swapaxes(0, 1),
        Image.Transpose.TRANSVERSE: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    }
    return np.ascontiguousarray(ways[turn](pixels))


def _open_file(path: str | Path) -> Photo:
    content = read_bytes(path)
    header = open_header(BytesIO(content), path)
    check_picture(header, path)
    try:
        orientation = header.getexif().get(ORIENTATION, 1)
        deep = _is_deep(header, content)
    except Exception:  # of damaged metadata, which may make Pillow raise anything
        raise ImageError(f"{path}: not an image that can be read; it is damaged or cut short") from None
    orientation = orientation if orientation in TURNS else 1
    # TIFFs are decoded upright, by Pillow and by OpenCV.
    turn = TURNS[orientation][0] if orientation != 1 and header.format != "TIFF" else None
    if deep:
        pixels = _decode_deep(header, content, path)
        canvas = ArrayCanvas(pixels if turn is None else turn_array(pixels, turn))
    else:
        picture = _load(header, path)
        canvas = PictureCanvas(picture if turn is None else picture.transpose(turn))
    return Photo(canvas, str(path), Encoded(header, content), orientation)


def _is_deep(header: Image.Image, content: bytes) -> bool:
    """Whether a file has more than 8 bits, of which Pillow would keep 8 where there are colours."""
    if header.mode.startswith("I"):
        return True
    if header.format == "PNG":
        return content[24] == 16
    if header.format == "TIFF":
        return 16 in header.tag_v2.get(BITS_PER_SAMPLE, ())
    return header.format == "PPM" and header.mode != "1" and _ppm_maximum(content) > 255


def _ppm_maximum(content: bytes) -> int:
    """Return the third number of a PPM's header, behind width and height; lines of comment do not count."""
    lines = [line.partition(b"#")[0] for line in content[2:1024].splitlines()]
    return int(b" ".join(lines).split()[2])


def _decode_deep(header: Image.Image, content: bytes, path: str | Path) -> np.ndarray:
    """Return the pixels of a file of 16 bits: (H, W, C) uint16, RGB or grey, from black on."""
    tags = header.tag_v2 if header.format == "TIFF" else {}
    if tags.get(PLANAR_CONFIGURATION) == 2 and tags.get(SAMPLES_PER_PIXEL, 1) > 1:  # OpenCV mixes up the planes
        raise ImageError(f"{path}: a TIFF of 16 bits whose channels lie apart; save it with interleaved channels")
    pixels = decode_pixels(content, path, cv2.IMREAD_UNCHANGED)
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    if pixels.dtype != np.uint16:
        raise ImageError(f"{path}: pixels of {pixels.dtype}; save it in 8 or 16 bits")
    if pixels.shape[2] > 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    elif counts_from_white(header):
        pixels[..., 0] = 65535 - pixels[..., 0]
    elif header.format == "PNG" and (transparent := header.info.get("transparency")) is not None:
        opaque = (pixels != transparent) * np.uint16(65535)  # of which OpenCV tells nothing
        pixels = np.concatenate([pixels, pixels, pixels, opaque], axis=2)
    return pixels


def counts_from_white(header: Image.Image) -> bool:
    """Whether the pixels of a file are grey and 0 is white."""
    return header.format == "TIFF" and header.tag_v2.get(PHOTOMETRIC) == 0


def _load(picture: Image.Image, path: str | Path) -> Image.Image:
    try:
        picture.load()
    except Exception as error:  # damaged pixels make Pillow raise errors of many kinds
        raise ImageError(f"{path}: damaged ({cut(error)}); save or copy it again") from None
    return _in_eight_bits(picture, path)


def _in_eight_bits(picture: Image.Image, name: str | Path) -> Image.Image:
    """Return an image of a mode in PLANES with the same colours."""
    check_size(picture.width, picture.height, name)
    if not (picture.width and picture.height):
        raise ImageError(f"{name}: {picture.width} x {picture.height} px, so it has no pixels")
    if picture.mode in ("P", "PA", "L", "RGB") and picture.has_transparency_data:
        return picture.convert("LA" if picture.mode == "L" else "RGBA")
    if picture.mode in ("P", "PA", "1"):
        return picture.convert("L" if picture.mode == "1" else "RGB")
    if picture.mode not in PLANES:
        raise ImageError(f"{name}: pixels of the kind {picture.mode}; save it in RGB or grey")
    return picture


def _channels_last(photo: Tensor) -> np.ndarray:
    shape = tuple(photo.shape)
    if photo.dim() == 4 and shape[0] == 1:
        photo = photo[0]
    if photo.dim() != 3 or shape[-3] not in (1, 3, 4):
        raise ImageError(f"the tensor: expected (C, H, W) or (1, C, H, W) with 1, 3 or 4 channels, got {shape}")
    if photo.layout != torch.strided or photo.is_complex() or photo.is_quantized:
        raise ImageError(f"the tensor: expected plain real numbers, got {photo.layout} of {photo.dtype}")
    photo = photo.detach().cpu()
    return (photo.float() if photo.dtype == torch.bfloat16 else photo).permute(1, 2, 0).numpy()


def _checked_array(photo: np.ndarray) -> np.ndarray:
    """Return an array (H, W, C) if it is a photograph."""
    shaped = photo[..., None] if photo.ndim == 2 else photo
    if shaped.ndim != 3 or shaped.shape[2] not in (1, 3, 4) or not shaped.size:
        raise ImageError(f"expected an array (H, W), (H, W, 3) or (H, W, 4) with pixels, got {photo.shape}")
    if shaped.dtype not in (np.uint8, np.uint16, *FLOATS):
        raise ImageError(f"expected an array of uint8, uint16 or floats in [0, 1], got {photo.dtype}")
    check_size(shaped.shape[1], shaped.shape[0], "the array")
    return shaped
