"""What can be seen of a stage while it trains: DVCLive's curves in reports/plots/, and a line of progress."""

from __future__ import annotations

from contextlib import contextmanager

from dvclive import Live

from pconv.losses import TERMS
from pconv.progress import Progress
from pconv.project import plot_folder
from pconv.training.state import State


class Curves:
    """A context in which rows {step, train/... | val/...} are added to a history and written to reports/plots/.

    On entering, the rows that the history already has are written, as DVC removes the curves of a stage before it runs
    the stage again. The steps in the files are larger by `offset`, so that a stage that follows another is drawn after
    it. Nothing is written unless `shown` is true.
    """

    def __init__(self, stage: int, history: list[dict], offset: int, shown: bool):
        self.folder, self.history, self.offset, self.shown = plot_folder() / f"stage{stage}", history, offset, shown
        self._live = None

    def __enter__(self) -> Curves:
        if self.shown:
            self._live = Live(str(self.folder), dvcyaml=None, save_dvc_exp=False, report=None)
            for row in self.history:
                self._write(row)
        return self

    def __exit__(self, *_) -> None:
        if self._live is not None:
            self._live.end()

    def add(self, row: dict) -> None:
        """Add a row to the history and to the curves."""
        self.history.append(row)
        if self._live is not None:
            self._write(row)

    def _write(self, row: dict) -> None:
        self._live.step = self.offset + row["step"]
        for name, value in row.items():
            if name != "step":
                self._live.log_metric(name, value)
        self._live.make_summary()


@contextmanager
def show_progress(stage: int, state: State, total: int, batch: int, shown: bool):
    """Yield a function to be called after every step, which shows how far the state has come: speed, rate, losses.

    total: the number of steps; batch: the number of images in each.
    """
    with Progress(desc=f"stage {stage}, step", total=total, initial=state.step, disable=not shown) as progress:

        def show() -> None:
            if shown:
                progress.set_postfix_str(_describe(progress, state, batch), refresh=False)
                progress.update(state.step - progress.n)

        yield show


def _describe(progress: Progress, state: State, batch: int) -> str:
    """Return speed, learning rate and losses as text, which is empty until there are any."""
    row = next((row for row in reversed(state.history) if "train/loss" in row), None)
    if row is None:
        return ""
    shown = progress.format_dict  # its rate is None before the second line
    rate = shown["rate"] or (state.step - shown["initial"]) / shown["elapsed"]
    terms = " ".join(f"{name} {row[f'train/{name}']:.3g}" for name in ("loss", *TERMS))
    return f"{rate * batch:.1f} images/s, lr {row['lr']:.2g}, {terms}"
