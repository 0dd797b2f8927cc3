"""Where the time of a run goes: seconds by activity."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch


class Timer:
    """Adds up seconds by activity; activities do not overlap.

    A GPU is asked for work long before it does it, so there the seconds are those of its own clock: what an activity
    keeps the GPU busy, or waiting.
    """

    def __init__(self, device: torch.device):
        self.seconds: dict[str, float] = defaultdict(float)
        self._gpu = device.type == "cuda"
        self._open = []  # (activity, start, end) on the GPU's clock, which it may not have reached yet

    @contextmanager
    def measure(self, activity: str):
        """Add the time spent in the context to an activity."""
        start = self._now()
        yield
        if self._gpu:
            self._open.append((activity, start, self._now()))
        else:
            self.seconds[activity] += self._now() - start

    def measure_each(self, activity: str, items: Iterable) -> Iterator:
        """Yield the items; the time spent waiting for each is added to an activity."""
        iterator, end = iter(items), object()
        while True:
            with self.measure(activity):
                item = next(iterator, end)
            if item is end:
                return
            yield item

    def collect(self) -> None:
        """Add up what the GPU has come to; call it now and then, at a moment when the GPU has been waited for."""
        while self._open and self._open[0][2].query():
            activity, start, end = self._open.pop(0)
            self.seconds[activity] += start.elapsed_time(end) / 1000

    def _now(self):
        if not self._gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def __str__(self) -> str:
        """Return 120 s: backward 50 s (42%), forward 30 s (25%), ..., the longest first."""
        self.collect()
        whole = sum(self.seconds.values())
        longest_first = sorted(self.seconds.items(), key=lambda item: -item[1])
        return f"{whole:.0f} s: " + ", ".join(f"{name} {s:.0f} s ({s / whole:.0%})" for name, s in longest_first)
