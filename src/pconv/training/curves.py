"""DVCLive's curves of a stage in reports/plots/, which `dvc plots` and the VS Code extension follow while it trains."""

from __future__ import annotations

from contextlib import contextmanager

from dvclive import Live

from pconv.project import plot_folder


@contextmanager
def curves(stage: int, history: list[dict], offset: int = 0):
    """Yield a function that writes one row {step, train/... | val/...}; the rows of `history` are written first.

    After a restart they have to be, because DVC removes a stage's curves before it runs the stage again. Steps in the
    files are larger by `offset`, so that a stage that follows another is drawn after it.
    """
    folder = plot_folder() / f"stage{stage}"
    with Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None) as live:

        def write(row: dict) -> None:
            live.step = offset + row["step"]
            for name, value in row.items():
                if name != "step":
                    live.log_metric(name, value)
            live.make_summary()

        for row in history:
            write(row)
        yield write
