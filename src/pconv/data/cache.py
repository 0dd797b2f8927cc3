"""Decoded photographs that are kept for the next time, within a bounded number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


class ArrayCache:
    """The arrays used last, of at most `most_bytes` in all; an array larger than that is never kept."""

    def __init__(self, most_bytes: int):
        self.most_bytes, self.bytes = most_bytes, 0
        self._kept: OrderedDict[Hashable, np.ndarray] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the array kept under a key, or make it and keep it. It cannot be written to: others may share it."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        array = make()
        array.flags.writeable = False
        if array.nbytes <= self.most_bytes:
            self._kept[key] = array
            self.bytes += array.nbytes
        while self.bytes > self.most_bytes:
            self.bytes -= self._kept.popitem(last=False)[1].nbytes
        return array

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()
        self.bytes = 0
