"""Decoded photographs are kept within bounds."""

import numpy as np

from pconv.data.cache import ArrayCache


def test_decoded_photographs_are_kept_within_bounds():
    cache, made = ArrayCache(100), []

    def get(key, size):
        return cache.get(key, lambda: made.append(key) or np.zeros(size, np.uint8))

    assert get("a", 60) is get("a", 60) and made == ["a"]
    get("b", 40), get("a", 60), get("c", 30)  # b was used longest ago
    assert cache.bytes == 90
    get("a", 60), get("b", 40)
    assert made == ["a", "b", "c", "b"]
    get("d", 101), get("d", 101)  # never kept, and throws nothing out
    assert made[-2:] == ["d", "d"] and cache.bytes <= 100
    assert not get("e", 1).flags.writeable
