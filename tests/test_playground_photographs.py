"""Photographs of the playground: packaged ones and one's own become squares of one size."""

import cv2
import numpy as np
import pytest

from pconv.data.decoding import ImageError
from pconv.data.packages import packaged_photographs
from pconv.playground.photographs import LEAST, SIZE, choices, read_own, read_packaged, square


def noise(height, width):
    return np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)


def encoded(image, suffix=".png"):
    return cv2.imencode(suffix, image[..., ::-1])[1].tobytes()


def test_every_packaged_photograph_can_be_chosen_and_those_never_trained_on_come_first():
    names = [choice["name"] for choice in choices()]
    assert sorted(names) == sorted(row.name for row in packaged_photographs())
    splits = [choice["split"] for choice in choices()]
    assert list(dict.fromkeys(splits)) == ["test", "val", "train"]
    assert splits == sorted(splits, key=["test", "val", "train"].index)


@pytest.mark.parametrize("choice", choices()[:2] + choices()[-2:], ids=lambda choice: choice["name"])
def test_a_packaged_photograph_is_a_square(choice):
    image = read_packaged(choice["name"])
    assert image.shape == (SIZE, SIZE, 3) and image.dtype == np.uint8 and image.std() > 5


def test_no_such_photograph():
    with pytest.raises(ImageError, match="no packaged photograph is called 'nobody'"):
        read_packaged("nobody")


def test_the_square_is_the_middle_and_its_pixels_are_means():
    image = noise(2 * SIZE, 2 * SIZE + 100)
    middle = image[:, 50:-50].astype(float)
    means = middle.reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))
    assert np.abs(square(image, "a") - means).max() <= 0.5


def test_a_photograph_of_the_size_stays_as_it_is():
    image = noise(SIZE + 31, SIZE)
    assert np.array_equal(read_own(encoded(image), "mine.png"), image[15:-16])


def test_a_small_photograph_is_enlarged_and_a_tiny_one_refused():
    assert square(noise(LEAST, 300), "a").shape == (SIZE, SIZE, 3)
    with pytest.raises(ImageError, match=f"^mine.png: 300 x {LEAST - 1} px are too small; at least {LEAST} px a side$"):
        read_own(encoded(noise(LEAST - 1, 300)), "mine.png")


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", encoded(noise(99, 99), ".jpg")[:60]])
def test_what_is_no_photograph_is_named_in_one_line(content):
    with pytest.raises(ImageError, match=r"\Amine\.jpg: [^\n]+\Z"):
        read_own(content, "mine.jpg")
