"""Files of filled photographs: the photograph's own format, bits, colour profile and metadata.

PNG, TIFF, WebP, BMP and PPM are written without loss, so all pixels outside the hole are those of the file that was
read. JPEG cannot do that: it is written with the file's own quantisation tables and sampling, which keeps most values
and changes the rest by a level or two. Where that is not good enough, fill into a PNG. Metadata are copied byte by
byte in PNG and JPEG.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import cv2
import numpy as np
import tifffile
from PIL import Image, JpegImagePlugin

from pconv.data.decoding import ImageError
from pconv.filling.photo import Photo, stored

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}  # chunks that say what the pixels are
PNG_KIND = {b"bKGD", b"sBIT", b"hIST"}  # chunks that fit one kind of pixels only
ADOBE, APP0, APP2, COMMENT, START_OF_SCAN = 0xEE, 0xE0, 0xE2, 0xFE, 0xDA  # markers in JPEG
TIFF_TEXTS = (269, 270, 271, 272, 305, 306, 315, 700, 33432, 34675)  # tags: names, times, XMP, the profile
TIFF_NUMBERS = (274, 282, 283, 296, 33723, 34377)  # orientation, resolution, IPTC and Photoshop's data
EXIF_FOLDERS = (0x8769, 0x8825)  # of the camera and of the place


def encode(photo: Photo, format: str | None = None) -> bytes:
    """Return the file of a photograph that came from a file, in its format, or as PNG.

    Raises ImageError, which names the file, for pixels that the format cannot hold.
    """
    source = photo.source
    format = format or source.header.format
    try:
        return ENCODERS[format](stored(photo), source)
    except (OSError, ValueError, cv2.error) as error:
        raise ImageError(f"{photo.name}: cannot be written as {format} ({error})") from None


def _png(pixels, source) -> bytes:
    """Encode the pixels and put the chunks of the file that was read, if it was a PNG, around them."""
    if isinstance(pixels, np.ndarray):
        new = _opencv(".png", pixels)
    else:
        pixels = pixels.convert("RGB") if pixels.mode == "CMYK" else pixels
        profile = None if source.header.mode == "CMYK" else source.header.info.get("icc_profile")
        new = _pillow(pixels, "PNG", compress_level=4, icc_profile=profile, exif=source.header.getexif())
    if not source.content.startswith(PNG_SIGNATURE):
        return new
    old, fresh = list(_chunks(source.content)), list(_chunks(new))
    start = next(i for i, (name, _) in enumerate(old) if name == b"IDAT")
    header = fresh[0][1]
    dropped = PNG_PIXELS if header[16:18] == source.content[24:26] else PNG_PIXELS | PNG_KIND
    before, after = ([chunk for name, chunk in part if name not in dropped] for part in (old[:start], old[start:]))
    image = [chunk for name, chunk in fresh if name == b"IDAT"]
    return b"".join([PNG_SIGNATURE, header, *before, *image, *after, fresh[-1][1]])


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks of a PNG: name, and all of its bytes."""
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        yield content[at + 4 : at + 8], content[at:end]
        at = end


def _jpeg(picture: Image.Image, source) -> bytes:
    """Encode with the file's tables and put its segments of metadata before them."""
    header = source.header
    options = {"qtables": header.quantization, "subsampling": JpegImagePlugin.get_sampling(header)}
    new = _pillow(picture, "JPEG", **options, progressive="progressive" in header.info, optimize=True)
    kept = [segment for marker, segment in _segments(source.content) if _is_metadata(marker, segment)]
    coded = [segment for marker, segment in _segments(new) if marker != APP0]
    return b"".join([new[:2], *kept, *coded])


def _is_metadata(marker: int, segment: bytes) -> bool:
    """Whether a segment says something else than how to decode the pixels, or where a second picture is."""
    other_picture = marker == APP2 and segment[4:8] == b"MPF\0"
    return marker == COMMENT or (APP0 <= marker <= APP0 + 15 and marker != ADOBE and not other_picture)


def _segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the segments of a JPEG, marker and bytes; the last one is the scans with all that follows."""
    at = 2
    while at + 4 <= len(content):
        marker = content[at + 1]
        if marker == 0xFF:  # a byte of padding
            at += 1
            continue
        end = len(content) if marker == START_OF_SCAN else at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        yield marker, content[at:end]
        at = end


def _tiff(pixels, source) -> bytes:
    header = source.header
    if isinstance(pixels, Image.Image):
        profile = header.info.get("icc_profile")
        return _pillow(pixels, "TIFF", compression=_compression(header), exif=_exif(header), icc_profile=profile)
    kinds = header.tag_v2.tagtype
    file, options = BytesIO(), {"extrasamples": ["unassalpha"]} if pixels.shape[2] in (2, 4) else {}
    tifffile.imwrite(
        file,
        pixels if pixels.shape[2] > 1 else pixels[..., 0],
        photometric="rgb" if pixels.shape[2] > 2 else "minisblack",
        compression=None if _compression(header) == "raw" else "zlib",
        metadata=None,
        software=False,
        extratags=[(tag, kinds[tag], None, header.tag_v2[tag], True) for tag in TIFF_TEXTS if tag in header.tag_v2],
        **options,
    )
    return file.getvalue()


def _exif(header: Image.Image) -> bytes:
    """Return the metadata of a TIFF without those that say how its pixels are stored."""
    exif, own = Image.Exif(), header.getexif()
    for tag in (*TIFF_TEXTS, *TIFF_NUMBERS):
        if tag in header.tag_v2:
            exif[tag] = header.tag_v2[tag]
    for tag in EXIF_FOLDERS:
        exif.get_ifd(tag).update(own.get_ifd(tag))
    return exif.tobytes()


def _compression(header: Image.Image) -> str:
    """Return how a TIFF is compressed; what Pillow cannot write, or writes with loss, becomes deflate."""
    kind = header.info.get("compression", "raw")
    return kind if kind in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits") else "tiff_adobe_deflate"


def _webp(picture: Image.Image, source) -> bytes:
    kept = {name: source.header.info[name] for name in ("icc_profile", "exif", "xmp") if name in source.header.info}
    return _pillow(picture, "WEBP", lossless=True, exact=True, method=2, **kept)


def _bmp(picture: Image.Image, source) -> bytes:
    return _pillow(picture, "BMP", dpi=source.header.info.get("dpi", (0, 0)))


def _ppm(pixels, source) -> bytes:
    if isinstance(pixels, np.ndarray):
        return _opencv(".pgm" if pixels.shape[2] == 1 else ".ppm", pixels)
    return _pillow(pixels, "PPM")


def _pillow(picture: Image.Image, format: str, **options) -> bytes:
    file = BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def _opencv(suffix: str, pixels: np.ndarray) -> bytes:
    """Encode 16 bits."""
    if pixels.shape[2] > 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    return cv2.imencode(suffix, pixels)[1].tobytes()


ENCODERS = {"PNG": _png, "JPEG": _jpeg, "MPO": _jpeg, "TIFF": _tiff, "WEBP": _webp, "BMP": _bmp, "PPM": _ppm}
