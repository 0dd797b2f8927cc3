"""Mask files and the index of each split.

What `read_hole` makes of a mask file, white where the hole is:

- Pixels lighter than the middle are hole, so that the soft edges of antialiasing and JPEG do no harm. A file of which
  more than MOST_GREY is grey, or whose brightest pixel is dark (values of 0 and 1, or of 0 and 255 in 16 bits), is
  refused: nobody can tell what it means.
- Any number of bits up to 16 and any layout will do: grey, from black or from white on, a palette (by its colours, not
  its indices), colour. Real colours are refused, and so is transparency: some programs erase the hole, others paint it
  on a transparent layer.
- The orientation in EXIF data is applied. Nothing of more than `max_pixels` is decoded, by default MAX_PIXELS.
- A mask that is all hole or has no hole is read, by default with a MaskWarning that names the file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from pconv.data.decoding import FORMATS, MAX_PIXELS, MOST_BYTES, ImageError, check_size, decode_pixels, open_header
from pconv.errors import cut
from pconv.files import open_file, read_small, write_file
from pconv.masks.convention import MaskError, check_hole, find_bin, grid_bin
from pconv.project import mask_folder

KINDS = (*FORMATS, "GIF")
MOST_GREY = 0.2  # share of pixels that may be neither black nor white
MOST_COLOUR = 32  # of 255, between a pixel's channels: JPEG blurs colours a little
PHOTOMETRIC = 262  # the TIFF tag that is 0 where 0 is white
COLUMNS = ["file", "hole_ratio", "bin", "border"]  # of an index
MOST_INDEX = 2**26  # bytes of an index, some million masks


class MaskWarning(UserWarning):
    """A mask file that is readable but may not be what its owner meant; the message names it."""


def write_hole(path: str | Path, hole: np.ndarray) -> None:
    """Write a hole (H, W) of 0 and 1 as a 1-bit PNG, white = hole: whole or not at all, and never through a link.

    Raises MaskError if it is not a hole, or has a side of 0, and OSError if it cannot be written.
    """
    check_hole(hole)
    if not hole.size:
        raise MaskError(f"{path}: a hole of {hole.shape[0]} x {hole.shape[1]} px cannot be written")
    settings = [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 1]
    encoded = cv2.imencode(".png", hole.astype(np.uint8) * 255, settings)[1]
    write_file(path, encoded.tobytes())


def read_hole(path: str | Path, max_pixels: int = MAX_PIXELS, warn: bool = True) -> np.ndarray:
    """Read a mask file of at most `max_pixels`, white where the hole is: (H, W) uint8, 1 = hole.

    Raises MaskError, which names the file and says what to do, for what the rules above refuse and for what is not an
    image, is damaged, or is not a file. Warns with MaskWarning of a mask that is all hole or has none, if `warn`: in
    threads warnings cannot be filtered, because Python's filters are those of the whole process.
    """
    try:
        with open_file(path) as file:
            hole = _decode_own(file, path, max_pixels)
            if hole is None:
                hole = _decode_any(file, path, max_pixels)
    except ImageError as error:
        raise MaskError(str(error)) from None
    except OSError as error:
        raise MaskError(f"{path}: {error.strerror}; `dvc repro masks` draws the masks of data/masks") from None
    count = cv2.countNonZero(hole) if warn else None
    if count == 0:
        warnings.warn(f"{path}: no pixel is white, so nothing is missing", MaskWarning, stacklevel=2)
    elif count == hole.size:
        warnings.warn(f"{path}: every pixel is white, so nothing is left to fill from", MaskWarning, stacklevel=2)
    return hole


def _decode_own(file: BinaryIO, path: str | Path, max_pixels: int) -> np.ndarray | None:
    """Decode what write_hole wrote, quickly: a PNG of one grey bit has no layout, colours or transparency to judge.

    Returns None, with the file at its start again, if it is anything else.
    """
    head = file.read(41)  # signature, the chunk with the size, and the name of the next chunk
    file.seek(0)
    if not (head.startswith(b"\x89PNG") and head[24:26] == b"\x01\x00" and head[37:] == b"IDAT"):
        return None
    check_size(int.from_bytes(head[16:20]), int.from_bytes(head[20:24]), path, max_pixels)
    return decode_pixels(file.read(MOST_BYTES), path, cv2.IMREAD_GRAYSCALE) >> 7


def _decode_any(file: BinaryIO, path: str | Path, max_pixels: int) -> np.ndarray:
    """Decode any other picture and judge whether it can be meant as a mask."""
    picture = open_header(file, path, max_pixels, KINDS)
    try:
        if getattr(picture, "n_frames", 1) > 1:
            raise MaskError(f"{path}: holds {picture.n_frames} pictures; a mask is one")
        return picture_to_hole(_load(picture, file, path, max_pixels), path)
    except MaskError:
        raise
    except Exception as error:  # damaged pixels make Pillow raise errors of many kinds
        raise MaskError(f"{path}: damaged ({error}); save or copy it again") from None


def picture_to_hole(picture: Image.Image, name: str | Path) -> np.ndarray:
    """Return the hole that a picture means by the rules above: (H, W) uint8, 1 = hole. Raises MaskError."""
    return _cut(*_lightness(picture, name), name)


def _load(picture: Image.Image, file: BinaryIO, path: str | Path, max_pixels: int) -> Image.Image:
    """Decode the pixels, after the checksums that decoding skips, and turn them as EXIF data say."""
    picture.verify()  # closes the picture, so that it has to be opened again
    file.seek(0)
    picture = open_header(file, path, max_pixels, KINDS)
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)  # a copy would not know its format
    return picture


def _lightness(picture: Image.Image, path: str | Path) -> tuple[np.ndarray, int]:
    """Return the lightness of each pixel, (H, W), and the value that is white."""
    if picture.has_transparency_data and picture.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        raise MaskError(f"{path}: is transparent in places; save it without transparency, white where the hole is")
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L")), 255
    if picture.mode.startswith("I;16") or (picture.format, picture.mode) == ("PPM", "I"):
        values, full = np.asarray(picture), 2**16 - 1
        from_white = picture.format == "TIFF" and picture.tag_v2.get(PHOTOMETRIC) == 0  # Pillow inverts 8 bits only
        return full - values if from_white else values, full
    if picture.mode not in ("P", "LA", "PA", "RGB", "RGBA"):
        raise MaskError(f"{path}: pixels of the kind {picture.mode}; save it as a PNG of black and white")
    colours = np.asarray(picture.convert("RGB"))
    if (colours.max(2) - colours.min(2)).max() > MOST_COLOUR:
        raise MaskError(f"{path}: holds colours; a mask is black, and white where the hole is")
    return colours[..., 1], 255


def _cut(values: np.ndarray, full: int, path: str | Path) -> np.ndarray:
    """Return 1 where the value is above the middle; raise MaskError where that would be a guess."""
    brightest = int(values.max())
    if 0 < brightest <= 3 / 4 * full:
        raise MaskError(
            f"{path}: its brightest pixel is {brightest} of {full}, which is dark; a mask is {full} where the hole is "
            "and 0 elsewhere"
        )
    grey = ((values > full / 4) & (values < 3 / 4 * full)).mean()
    if grey > MOST_GREY:
        raise MaskError(f"{path}: {grey:.0%} of it is grey; a mask is black, and white where the hole is")
    return (values > full // 2).astype(np.uint8)


def read_index(split: str) -> pd.DataFrame:
    """Return the masks of a split: columns file, hole_ratio, bin and border (px kept clear along each edge).

    Raises MaskError if there is no index, or the file is not one.
    """
    return read_index_file(mask_folder(split) / "index.csv")


def mask_paths(split: str) -> list[Path]:
    """Return the mask files of a split in the order of its index. Raises MaskError as `read_index` does."""
    return [mask_folder(split) / name for name in read_index(split)["file"]]


def read_index_file(path: Path) -> pd.DataFrame:
    """Read an index as `read_index` does, from its path."""
    try:
        content = read_small(path, MOST_INDEX)
        if content.decode("utf-8-sig").partition("\n")[0].strip().split(",") != COLUMNS:  # pandas would read a million
            raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
        rows = pd.read_csv(BytesIO(content), dtype={"file": str, "bin": str})
        problem = next(_index_problems(rows), None)
    except FileNotFoundError:
        raise MaskError(f"{path}: no such file; `dvc repro masks` draws the masks") from None
    except OSError as error:
        problem = error.strerror
    except ValueError as error:  # pandas' errors are ValueErrors
        problem = error
    if problem is not None:
        raise MaskError(f"{path}: not an index of masks ({cut(problem)}); delete it, then run `dvc repro masks`")
    return rows


def _index_problems(rows: pd.DataFrame) -> Iterator[str]:
    """Yield what is wrong with an index, the gravest first: what comes later takes for granted what comes before."""
    if rows.empty or rows.isna().any(axis=None):
        yield "a value is missing" if len(rows) else "it lists no mask"
    if not rows["file"].str.fullmatch(r"[^/]+\.png").all():  # the masks of an earlier run are deleted by their names
        yield "it lists what is no mask of its folder"
    if rows["file"].duplicated().any():
        yield f"it lists {rows['file'][rows['file'].duplicated()].iloc[0]} twice"
    if not (pd.api.types.is_integer_dtype(rows["border"]) and (rows["border"] >= 0).all()):
        yield "a border is not a number of pixels"
    if not pd.api.types.is_numeric_dtype(rows["hole_ratio"]):
        yield "a hole ratio is not a number"
    for ratio, name in zip(rows["hole_ratio"], rows["bin"], strict=True):
        if name != grid_bin(ratio) and name != find_bin(ratio):
            yield f"a hole ratio of {ratio:g} is not in the bin {name}"
