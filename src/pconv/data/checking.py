"""What the stage `images` sees of each photograph: whether it can be used, its checksum, and a thumbnail."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import PIL
from PIL import Image

from pconv.data import decoding
from pconv.data.decoding import REDUCED, ImageError, decode_pixels, open_photograph, read_bytes, reduction
from pconv.data.memory import SIDE, Memory, Seen
from pconv.files import file_state
from pconv.params import Data
from pconv.progress import Progress

TURNED = 0x0112  # EXIF's number for the orientation; 1 is upright
BATCH = 256  # photographs that are handed to the threads at once


def look_at_all(paths: Sequence[str], data: Data, memory: Memory | None = None) -> list[Seen | ImageError]:
    """Look at photographs in parallel, with progress; returns what was seen of each, or why it is rejected.

    Those that the memory knows are not looked at, and it keeps what is seen of the others.
    """
    found = []
    with looking() as pool, Progress(desc="photographs", total=len(paths), delay=2) as progress:
        for start in range(0, len(paths), BATCH):
            states = {path: file_state(path) for path in paths[start : start + BATCH]}
            found += look_at_some(states, read_bytes, data, pool, memory)
            progress.update(len(states))
    return found


@contextmanager
def looking() -> Iterator[ThreadPoolExecutor]:
    """Give threads to look at photographs, while Pillow says nothing about metadata that nobody reads."""
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")
        yield pool


def look_at_some(
    states: dict[str, tuple[int, int] | None],
    read: Callable[[str], bytes],
    data: Data,
    pool: ThreadPoolExecutor,
    memory: Memory | None,
) -> list[Seen | ImageError]:
    """Look at photographs that can be read by their paths, given with the states by which the memory knows them."""
    known = memory.recall(states) if memory else {}
    new = [path for path in states if path not in known]
    seen = dict(zip(new, pool.map(lambda path: _look(path, read, data), new), strict=True))
    if memory and seen:
        memory.keep(seen, states)
    known |= seen
    return [known[path] for path in states]


def rules(data: Data) -> str:
    """Return a text that changes with what decides how photographs are looked at: parameters, code and libraries."""
    digest = hashlib.sha256()
    for module in (decoding, sys.modules[__name__]):
        digest.update(Path(module.__file__).read_bytes())
    settings = (data.check, data.min_side, data.max_pixels)
    return " ".join(map(str, (*settings, cv2.__version__, PIL.__version__, digest.hexdigest())))


def _look(path: str, read: Callable[[str], bytes], data: Data) -> Seen | ImageError:
    try:
        return look(path, data, read)
    except ImageError as error:
        return error


def look(path: str, data: Data, read: Callable[[str], bytes] = read_bytes) -> Seen:
    """Look at one photograph. Raises ImageError with its path and the reason if it cannot be used."""
    encoded = read(path)
    header = open_photograph(encoded, path, data.max_pixels)
    if min(header.size) < data.min_side:
        raise ImageError(f"{path}: {header.width} x {header.height} px, less than data.min_side = {data.min_side}")
    sha256, thumbnail = hashlib.sha256(encoded).hexdigest(), _thumbnail(encoded, header, path, data.check == "decode")
    return Seen(len(encoded), sha256, thumbnail)


def _is_upright(header: Image.Image) -> bool:
    try:
        return header.getexif().get(TURNED, 1) == 1
    except Exception:  # damaged EXIF data make Pillow raise almost anything
        return False


def _thumbnail(encoded: bytes, header: Image.Image, path: str, whole: bool) -> np.ndarray:
    """Decode a photograph to (SIDE, SIDE) uint8 in grey, means over rectangles, turned as EXIF asks.

    Unless it is to be decoded whole, as it is in training, a JPEG file is decoded at a fraction of its size, which
    leaves at least 4 x 4 pixels for each of the thumbnail's.
    """
    factor = 1 if whole else reduction(header, 4 * SIDE)
    if factor > 1 and not _is_upright(header):
        factor = 1
    image = decode_pixels(encoded, path, REDUCED.get(factor, cv2.IMREAD_COLOR_RGB))
    if factor > 1:  # what is rounded up: the last row and column may stand for hardly anything
        image = image[: round(header.height / factor), : round(header.width / factor)]
    else:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
