"""Files of filled photographs: the photograph's own format, bits, colour profile and metadata.

PNG, TIFF, WebP, BMP and PPM are written without loss, so all pixels outside the hole are those of the file that was
read. JPEG cannot do that: it is written with the file's own quantisation tables and sampling, which keeps most values
and changes the rest by a level or two. Where that is not good enough, fill into a PNG. Metadata are copied byte by
byte in PNG and JPEG, but for previews, and parts of unknown kinds, which may be some.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO

import cv2
import numpy as np
import tifffile
from PIL import ExifTags, Image, JpegImagePlugin, PngImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pconv.data.decoding import ImageError
from pconv.errors import cut
from pconv.filling.photo import ORIENTATION, Photo, counts_from_white, stored
from pconv.filling.previews import (
    BASE64,
    HEXADECIMAL,
    START_OF_SCAN,
    blanked,
    without_preview,
    without_resources,
    without_texts,
)

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_KEPT = {b"eXIf", b"tIME", b"tEXt", b"zTXt", b"iTXt", b"pHYs", b"oFFs", b"sCAL", b"pCAL", b"sTER", b"sPLT"}
PNG_KEPT |= {b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"mDCv", b"cLLI", b"cLLi"}  # colours
PNG_KIND = {b"bKGD", b"sBIT", b"hIST"}  # chunks that fit one kind of pixels only
LONGEST_TEXT = 2**26  # bytes of a text chunk, once decompressed
ADOBE, APP0, APP1, APP2, APP13, COMMENT = 0xEE, 0xE0, 0xE1, 0xE2, 0xED, 0xFE  # markers in JPEG
EXIF, PHOTOSHOP = b"Exif\0\0", b"Photoshop 3.0\0"  # how such segments begin; several are one
XMP, PROFILE = b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
LARGEST_SEGMENT = 65533  # bytes
TIFF_TAGS = (269, 270, 271, 272, 305, 306, 315, 33432, 282, 283, 296)  # texts, times, resolution
TIFF_PARTS = (700, 33723, 34377, 34675)  # XMP, IPTC, Photoshop's data, profile: other formats have other places for it
TIFF_CLEANED = {700: without_texts, 34377: without_resources}
EXIF_FOLDERS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
EXTRA_SAMPLES = 338  # the tag
BYTE, SHORT, LONG = 1, 3, 4  # types in TIFF
WORDS = {SHORT: "u2", LONG: "u4", 5: "u4", 8: "u2", 9: "u4", 10: "u4", 11: "u4", 12: "u8", 13: "u4"}  # that they have
EMPTY_TIFF = b"II*\0\x08" + bytes(9)


def encode(photo: Photo, format: str | None = None) -> bytes:
    """Return the file of a photograph that came from a file, in its format, or as PNG.

    Raises ImageError, which names the file, for pixels or metadata that cannot be written.
    """
    format = format or photo.source.header.format
    try:
        return ENCODERS[format](stored(photo), photo)
    except Exception as error:  # odd metadata make encoders raise errors of many kinds
        raise ImageError(f"{photo.name}: cannot be written as {format} ({cut(error)})") from None


def _png(pixels, photo: Photo) -> bytes:
    """Encode the pixels and put what the file that was read says about them around them."""
    source = photo.source.content
    if isinstance(pixels, np.ndarray):
        new = _opencv(".png", pixels)
    else:
        new = _pillow(pixels.convert("RGB") if pixels.mode == "CMYK" else pixels, "PNG", compress_level=4)
    if not source.startswith(PNG_SIGNATURE):
        source = _pillow(Image.new("1", (1, 1)), "PNG", **_about(photo))
    old, fresh = list(_chunks(source)), list(_chunks(new))
    start = next(i for i, (name, _) in enumerate(old) if name == b"IDAT")
    header = fresh[0][1]
    kinds = PNG_KEPT | PNG_KIND if header[16:18] == source[24:26] else PNG_KEPT
    before, after = (
        [_without_preview(chunk) for name, chunk in part if name in kinds] for part in (old[:start], old[start:])
    )
    image = [chunk for name, chunk in fresh if name == b"IDAT"]
    return b"".join([PNG_SIGNATURE, header, *before, *image, *after, fresh[-1][1]])


def _about(photo: Photo) -> dict:
    """Return what Pillow is to write into a PNG about a photograph from a file of another format."""
    header = photo.source.header
    exif = header.info.get("exif", b"")
    if header.format == "TIFF":
        exif = _with_metadata(EMPTY_TIFF, photo, TIFF_TAGS)
    texts = PngImagePlugin.PngInfo()
    if xmp := header.info.get("xmp"):
        texts.add_itxt("XML:com.adobe.xmp", without_texts(xmp).decode(errors="replace"))
    profile = None if header.mode == "CMYK" else header.info.get("icc_profile")
    return {"icc_profile": profile, "exif": exif, "dpi": header.info.get("dpi"), "pnginfo": texts}


def _without_preview(chunk: bytes) -> bytes:
    """Return a chunk of a PNG, without a preview if it has EXIF data, or nothing of a text that holds one."""
    name, data = chunk[4:8], chunk[8:-4]
    if name == b"eXIf":
        data = without_preview(data)
        return len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4) if data else b""
    if name not in (b"tEXt", b"zTXt", b"iTXt"):
        return chunk
    keyword, _, text = data.partition(b"\0")
    packed = name == b"zTXt" or name == b"iTXt" and text[:1] == b"\1"
    if name == b"iTXt":
        text = text[2:].split(b"\0", 2)[-1]
    if packed:
        try:
            text = zlib.decompressobj().decompress(text[1:] if name == b"zTXt" else text, LONGEST_TEXT)
        except zlib.error:
            return b""
    coded = HEXADECIMAL if keyword.startswith(b"Raw profile type ") else BASE64
    return b"" if coded.search(text) else chunk


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks of a PNG: name, and all of its bytes."""
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        yield content[at + 4 : at + 8], content[at:end]
        at = end


def _jpeg(picture: Image.Image, photo: Photo) -> bytes:
    """Encode with the file's tables and put its segments of metadata before them."""
    header = photo.source.header
    sampling = JpegImagePlugin.get_sampling(header)
    if sampling < 0 and header.mode == "RGB":  # one that Pillow cannot write, such as 4:4:0: no colour is to be lost
        sampling = 0
    options = {"qtables": header.quantization, "subsampling": sampling}
    new = _pillow(picture, "JPEG", **options, progressive="progressive" in header.info, optimize=True)
    coded = [segment for marker, segment in _segments(new) if not APP0 <= marker < ADOBE and marker != COMMENT]
    return b"".join([new[:2], *_metadata(photo.source.content), *coded])


def _metadata(content: bytes) -> Iterator[bytes]:
    """Yield the segments of a JPEG that say something else than how to decode it, without previews."""
    segments = [(marker, segment[4:]) for marker, segment in _segments(content)]
    if jfif := next((data for marker, data in segments if marker == APP0 and data.startswith(b"JFIF\0")), None):
        yield from _cut(APP0, b"", jfif[:12] + b"\0\0")  # width and height of a preview
    for marker, begin, cleaned in ((APP1, EXIF, without_preview), (APP13, PHOTOSHOP, without_resources)):
        parts = [data[len(begin) :] for kind, data in segments if kind == marker and data.startswith(begin)]
        yield from _cut(marker, begin, cleaned(b"".join(parts)))
    for marker, data in segments:
        if marker == APP1 and data.startswith(XMP):
            yield from _cut(marker, XMP, without_texts(data[len(XMP) :]))
        elif marker == COMMENT or (marker == APP2 and data.startswith(PROFILE)):
            yield from _cut(marker, b"", data)


def _cut(marker: int, begin: bytes, data: bytes) -> Iterator[bytes]:
    """Yield segments with data, each of which begins in the same way."""
    step = LARGEST_SEGMENT - len(begin)
    for at in range(0, len(data), step):
        part = begin + data[at : at + step]
        yield bytes([0xFF, marker]) + (len(part) + 2).to_bytes(2) + part


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


def _tiff(pixels, photo: Photo) -> bytes:
    compression = _compression(photo.source.header)
    if isinstance(pixels, Image.Image):
        plain = pixels.copy()  # of the tags that came with it Pillow would write some
        written = _pillow(plain, "TIFF", compression=compression, icc_profile=None)
        return _with_metadata(written, photo, TIFF_TAGS + TIFF_PARTS)
    file, grey = BytesIO(), "minisblack"
    if counts_from_white(photo.source.header):
        grey, pixels = "miniswhite", np.concatenate([65535 - pixels[..., :1], pixels[..., 1:]], axis=2)
    alpha = photo.source.header.tag_v2.get(EXTRA_SAMPLES, (2,))[0]  # 1: the colours are multiplied by it
    options = {"extrasamples": [alpha]} if pixels.shape[2] in (2, 4) else {}
    tifffile.imwrite(
        file,
        pixels if pixels.shape[2] > 1 else pixels[..., 0],
        photometric="rgb" if pixels.shape[2] > 2 else grey,
        compression=None if compression == "raw" else "zlib",
        metadata=None,
        software=False,
        **options,
    )
    return _with_metadata(file.getvalue(), photo, TIFF_TAGS + TIFF_PARTS)


def _with_metadata(tiff: bytes, photo: Photo, tags: tuple[int, ...]) -> bytes:
    """Put tags and EXIF folders of a photograph from a TIFF behind another TIFF, with a directory that has all.

    Neither libtiff nor tifffile writes folders, and tags of unusual types make libtiff fail, or crash.
    """
    order = "little" if tiff.startswith(b"II") else "big"
    start = int.from_bytes(tiff[4:8], order)
    end = start + 2 + 12 * int.from_bytes(tiff[start : start + 2], order)
    entries = {int.from_bytes(tiff[at : at + 2], order): tiff[at : at + 12] for at in range(start + 2, end, 12)}
    content = bytearray(tiff)

    def add(tag: int, kind: int, count: int, value: bytes) -> None:
        head = b"".join(number.to_bytes(size, order) for number, size in ((tag, 2), (kind, 2), (count, 4)))
        if len(value) > 4:
            content.extend(bytes(len(content) % 2))
            place = len(content).to_bytes(4, order)
            content.extend(value)
        entries[tag] = head + (place if len(value) > 4 else value.ljust(4, b"\0"))

    for tag, kind, count, value in _tiff_values(photo.source.content, tags, order):
        add(tag, kind, count, value)
    if photo.orientation != 1:
        add(ORIENTATION, SHORT, 1, photo.orientation.to_bytes(2, order))
    for tag, folder in _folders(photo.source.header).items():
        content.extend(bytes(len(content) % 2))
        parsed = ImageFileDirectory_v2(tiff[:8], group=tag)
        parsed.update(folder)
        add(tag, LONG, 1, len(content).to_bytes(4, order))
        content.extend(parsed.tobytes(len(content)))
    content.extend(bytes(len(content) % 2))
    content[4:8] = len(content).to_bytes(4, order)
    directory = b"".join(entries[tag] for tag in sorted(entries))
    return bytes(content) + len(entries).to_bytes(2, order) + directory + bytes(4)


def _tiff_values(content: bytes, tags: tuple[int, ...], order: str) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield those tags that a TIFF has, without previews: tag, type, count, and the value's bytes in an order."""
    with tifffile.TiffFile(BytesIO(content)) as file:
        for own in filter(None, map(file.pages.first.tags.get, tags)):
            kind, count = int(own.dtype), own.count
            value = content[own.valueoffset : own.valueoffset + own.valuebytecount]
            if own.code in TIFF_CLEANED:
                value = TIFF_CLEANED[own.code](value)
                kind, count = BYTE, len(value)
            elif kind in WORDS:
                words = np.frombuffer(value, file.byteorder + WORDS[kind])
                value = words.astype((">" if order == "big" else "<") + WORDS[kind]).tobytes()
            if value:
                yield own.code, kind, count, value


def _folders(header: Image.Image) -> dict[int, dict]:
    """Return the EXIF data of a TIFF that lie in folders: of the camera and of the place."""
    exif = header.getexif()
    folders = {tag: dict(exif.get_ifd(tag)) for tag in EXIF_FOLDERS if exif.get_ifd(tag)}
    for folder in folders.values():
        if ExifTags.IFD.Interop in folder:
            folder[ExifTags.IFD.Interop] = exif.get_ifd(ExifTags.IFD.Interop)
        if isinstance(notes := folder.get(ExifTags.Base.MakerNote), bytes):
            folder[ExifTags.Base.MakerNote] = blanked(notes)
    return folders


def _compression(header: Image.Image) -> str:
    """Return how a TIFF is compressed; what Pillow cannot write, or writes with loss, becomes deflate."""
    kind = header.info.get("compression", "raw")
    return kind if kind in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits") else "tiff_adobe_deflate"


def _webp(picture: Image.Image, photo: Photo) -> bytes:
    info = photo.source.header.info
    kept = {"exif": without_preview(info.get("exif", b"")), "xmp": without_texts(info.get("xmp", b""))}
    profile = info.get("icc_profile", b"")
    return _pillow(picture, "WEBP", lossless=True, exact=True, method=2, icc_profile=profile, **kept)


def _bmp(picture: Image.Image, photo: Photo) -> bytes:
    return _pillow(picture, "BMP", dpi=photo.source.header.info.get("dpi", (0, 0)))


def _ppm(pixels, photo: Photo) -> bytes:
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
