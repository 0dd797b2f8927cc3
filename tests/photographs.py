"""Photographs for tests: small, each different from all others, and files that pretend to be some."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pconv.params import Data


def picture(seed, height=24, width=30):
    """Return a smooth picture (height, width, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(256, size=(5, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def photographs(folder, *names, first=0, **options):
    """Write a picture of its own under each name; returns the folder."""
    for seed, name in enumerate(names, first):
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed)).save(path, **options)
    return folder


def empty(folder, *names):
    """Files without content: their names are all that counts here."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def in_folder(folder, **changes):
    """Parameters for a folder of such photographs."""
    return Data(folder=str(folder), **{"source": "folder", "min_side": 8, "max_rejected": 1.0} | changes)


def encoded(seed, form="png", **size):
    """Return a picture as the bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(picture(seed, **size)).save(file, form)
    return file.getvalue()


def shard(path, count=4, first=0, **size):
    """Write a shard with webdataset: pictures of their own, each with a class and words; returns its path."""
    from webdataset import TarWriter  # it imports PyTorch, which few tests of photographs need

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with TarWriter(str(path)) as writer:
        for seed in range(first, first + count):
            words = {"cls": str(seed % 7).encode(), "json": b"{}"}
            writer.write({"__key__": f"{seed:05d}", "png": encoded(seed, **size), **words})
    return Path(path)


def shards(folder, count=4, **splits):
    """Write shards of `count` pictures each, as many as are given for each split; returns the folder."""
    first = 0
    for split, number in splits.items():
        for n in range(number):
            shard(Path(folder) / split / f"{n:04d}.tar", count, first)
            first += count
    return folder


def in_shards(folder, **changes):
    """Parameters for such shards."""
    return in_folder(folder, **{"source": "webdataset"} | changes)


def position(height, width):
    """Return a picture whose red and green are the row and column of each pixel."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8)


def bomb(side):
    """Return a PNG file whose header claims side x side pixels, and that holds none."""
    header = struct.pack(">II5B", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)
