"""Progress on stderr: one live line on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import os
import sys

from tqdm import tqdm


class Progress(tqdm):
    """A tqdm bar that becomes plain lines where nobody could see it move.

    A notebook's kernel has no terminal of its own; the papermill engine sets PCONV_TTY=1 if its output reaches one.
    """

    monitor_interval = 0  # no thread that prints during a long step, since update checks the time at each step
    shown = None  # the count in the line that was last printed

    def __init__(self, iterable=None, **options):
        self.live = os.environ.get("PCONV_TTY") == "1" or sys.stderr.isatty()
        layout = "{desc} {n_fmt}/{total_fmt}, {elapsed} so far, {remaining} left{postfix}"
        pace = {"mininterval": 0.5} if self.live else {"mininterval": 10, "leave": False}
        super().__init__(iterable, file=sys.stderr, bar_format=layout, miniters=1, **pace | options)

    def display(self, msg=None, pos=None):
        if self.live:
            return super().display(msg, pos)
        if msg is None:
            self.shown = self.n
            print(self, file=sys.stderr, flush=True)

    def close(self):
        if not self.live and not self.disable and self.shown != self.n:
            self.display()  # the end, however soon it came
        super().close()


def say(message: str) -> None:
    """Print a line on stderr, at once."""
    print(message, file=sys.stderr, flush=True)
