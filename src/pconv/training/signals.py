"""The wish to stop, as a signal expresses it."""

from __future__ import annotations

import signal
from contextlib import contextmanager


@contextmanager
def stop_signals():
    """A list that SIGINT and SIGTERM fill, so that training stops between two steps and saves.

    Installed here and not before: ipykernel sets its own SIGINT handler at the start of every cell.
    """
    stop, before = [], {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda received, _frame: stop.append(received))
    except ValueError:  # not in the main thread: no signal arrives here
        pass
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
