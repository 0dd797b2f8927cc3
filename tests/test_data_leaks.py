"""Copies of a photograph in two splits are found, whatever became of the file; other photographs are no copies."""

import hashlib

import cv2
import numpy as np
import pytest
from photographs import in_folder, picture
from PIL import Image

from pconv.data import leaks
from pconv.data.checking import look
from pconv.data.leaks import SAME, find_copies
from pconv.data.memory import SIDE, Seen

WHOLE = Image.fromarray(picture(0, 300, 400))
COPIES = {
    "equal bytes": lambda p: WHOLE.save(p, "PNG"),
    "JPEG": lambda p: WHOLE.save(p, "JPEG", quality=30),
    "WebP": lambda p: WHOLE.save(p, "WEBP", quality=50),
    "half as large": lambda p: WHOLE.resize((200, 150)).save(p, "JPEG"),
    "a quarter": lambda p: WHOLE.resize((100, 75)).save(p, "JPEG"),
    "twice as large": lambda p: WHOLE.resize((800, 600)).save(p, "JPEG"),
    "a square": lambda p: WHOLE.resize((256, 256)).save(p, "JPEG"),
    "grey": lambda p: WHOLE.convert("L").save(p, "JPEG"),
    "16 bits": lambda p: p.write_bytes(cv2.imencode(".png", np.asarray(WHOLE)[..., ::-1].astype(np.uint16) * 257)[1]),
    "a little less all round": lambda p: WHOLE.crop((2, 2, 398, 298)).save(p, "JPEG"),
    "turned by EXIF": lambda p: WHOLE.rotate(90, expand=True).save(p, "JPEG", exif=turned(6)),
}


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def seen(rng, mean=None):
    """Return a thumbnail of its own."""
    base = rng.integers(20, 236) if mean is None else mean
    thumbnail = np.clip(base + rng.normal(0, 25, (SIDE, SIDE)), 0, 255).astype(np.uint8)
    return Seen(1, hashlib.sha256(thumbnail.tobytes()).hexdigest(), thumbnail)


@pytest.mark.parametrize("check", ["header", "decode"])
@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found(tmp_path, kind, check):
    data = in_folder("mine", check=check)
    WHOLE.save(tmp_path / "original", "PNG")
    COPIES[kind](tmp_path / "copy")
    for seed in (1, 2):
        Image.fromarray(picture(seed, 300, 400)).save(tmp_path / f"{seed}", "PNG")
    original, one, two, copy = (look(str(tmp_path / name), data) for name in ("original", "1", "2", "copy"))
    how = "equal to" if kind == "equal bytes" else "shows the same as"
    assert find_copies([one, original], [two, copy]) == {1: (1, how)}


def test_equal_bytes_come_before_what_looks_alike():
    rng = np.random.default_rng(0)
    first = seen(rng)
    again = first._replace(sha256="other")
    assert find_copies([again, first], [first]) == {0: (1, "equal to")}
    assert find_copies([first, first], [first]) == {0: (0, "equal to")}


def test_none_is_found_where_there_is_nothing():
    one = seen(np.random.default_rng(0))
    assert find_copies([], [one]) == find_copies([one], []) == find_copies([], []) == {}


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_what_is_found_is_what_comparing_all_pairs_finds(monkeypatch, rows):
    """Some thumbnails are shifted copies, on both sides of the limit; few at a time, then all at once."""
    monkeypatch.setattr(leaks, "ROWS", rows)
    rng = np.random.default_rng(0)
    earlier = [seen(rng) for _ in range(60)]
    later = [seen(rng) for _ in range(30)]
    for one in earlier[::2]:
        noise = rng.normal(rng.uniform(-6, 6), rng.uniform(1, 11), (SIDE, SIDE))
        later.append(Seen(1, "", np.clip(one.thumbnail + noise, 0, 255).astype(np.uint8)))
    distance = np.array(
        [[np.sqrt(((a.thumbnail.astype(float) - b.thumbnail) ** 2).mean()) for a in earlier] for b in later]
    )
    expected = {j: (int(row.argmin()), "shows the same as") for j, row in enumerate(distance) if row.min() < SAME}
    assert 5 < len(expected) < 25
    assert find_copies(earlier, later) == expected


def test_photographs_of_equal_brightness_are_told_apart():
    rng = np.random.default_rng(0)
    assert find_copies([seen(rng, 128) for _ in range(200)], [seen(rng, 128) for _ in range(200)]) == {}
