"""Previews in a photograph's metadata: small pictures of it, which would still show what was filled in."""

from __future__ import annotations

import re

from PIL import ExifTags, Image

JPEG, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
IN_SCAN = {bytes([follows]) for follows in (0, *range(0xD0, 0xD8))}  # behind an ff: a value of 255, or a restart
START_OF_SCAN = 0xDA
ORIENTATION = re.compile(r'\s*tiff:Orientation="[^"]*"|<tiff:Orientation>[^<]*</tiff:Orientation>')
BASE64 = re.compile(rb"(?:/9j/|iVBORw0KGgo)(?:[A-Za-z0-9+/=\s]|&#x[AaDd];){100,}")  # how JPEG and PNG begin in texts
HEXADECIMAL = re.compile(rb"ff\s*d8\s*ff", re.IGNORECASE)
PLACES = ((513, 514), (273, 279))  # tags with the offset and the length of a preview, as JPEG and as plain pixels
RESOURCES = (1033, 1036, 1058, 1059, 1060)  # of Photoshop: two previews, and copies of EXIF data and XMP


def without_preview(exif: bytes) -> bytes:
    """Return EXIF data without a preview, and nothing of data that cannot be read.

    What lies before it stays where it is: a maker's notes may hold offsets.
    """
    data = bytearray(blanked(exif))
    start = re.match(rb"(?:Exif\0\0)*", exif).end()
    order = "little" if data[start : start + 2] == b"II" else "big"
    first = start + int.from_bytes(data[start + 4 : start + 8], order)
    link = first + 2 + 12 * int.from_bytes(data[first : first + 2], order)
    try:
        parsed = Image.Exif()
        parsed.load(exif)
        preview = parsed.get_ifd(ExifTags.IFD.IFD1)
        places = [place for tags in PLACES for place in zip(*(_several(preview, tag) for tag in tags), strict=False)]
        for offset, length in sorted(places, reverse=True):
            at, end = start + offset, min(start + offset + length, len(data))
            if first < end and at <= link:
                return b""  # the preview lies in the directory
            data[at:end] = bytes(end - at) if at < end < len(data) else b""
    except Exception:  # damaged data make Pillow raise anything
        return b""
    data[link : link + 4] = bytes(len(data[link : link + 4]))  # no directory follows
    return bytes(data)


def _several(tags: dict, tag: int) -> tuple[int, ...]:
    value = tags.get(tag, ())
    return value if isinstance(value, tuple) else (value,)


def blanked(content: bytes) -> bytes:
    """Return binary data, such as a maker's notes, with zeros where a JPEG was."""
    data, at = bytearray(content), 0
    while (start := content.find(JPEG, at)) >= 0 and (at := _end_of_jpeg(content, start)) > start:
        data[start:at] = bytes(at - start)
    return bytes(data)


def _end_of_jpeg(content: bytes, start: int) -> int:
    """Return where a JPEG ends, of whose segments some may hold another one, or 0 if it does not end.

    Where its segments do not follow each other, it is taken to end where the first end is marked.
    """
    at = start + 2
    while content[at : at + 1] == b"\xff":
        marker = content[at + 1 : at + 2]
        if marker == JPEG_END[1:]:
            return at + 2
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == b"\xff":  # padding
            at += 1
        elif length < 2:
            break
        else:
            at += 2 + length
            if marker[0] == START_OF_SCAN:
                at = _end_of_scan(content, at)
    return content.find(JPEG_END, start) + 2 if JPEG_END in content[start:] else 0


def _end_of_scan(content: bytes, at: int) -> int:
    """Return where the next marker lies that does not belong to the data of a scan."""
    while (at := content.find(b"\xff", at)) >= 0 and content[at + 1 : at + 2] in IN_SCAN:
        at += 2
    return at if at >= 0 else len(content)


def without_orientation(xmp: str | bytes) -> str | bytes:
    """Return XMP that does not say how to turn the picture."""
    if isinstance(xmp, bytes):
        return ORIENTATION.sub("", xmp.decode(errors="surrogateescape")).encode(errors="surrogateescape")
    return ORIENTATION.sub("", xmp)


def without_texts(xmp: bytes) -> bytes:
    """Return XMP without pictures that it holds as texts."""
    return BASE64.sub(b"", xmp)


def without_resources(photoshop: bytes) -> bytes:
    """Return Photoshop's resources without previews, up to the first that is not whole."""
    kept, at = [], 0
    while at + 12 <= len(photoshop):
        size = at + 6 + (photoshop[at + 6] + 2) // 2 * 2  # behind the kind and the name lies the length
        length = int.from_bytes(photoshop[size : size + 4], "big")
        end = size + 4 + length + length % 2
        if int.from_bytes(photoshop[at + 4 : at + 6], "big") not in RESOURCES:
            kept.append(photoshop[at:end])
        at = end
    return blanked(b"".join(kept))
