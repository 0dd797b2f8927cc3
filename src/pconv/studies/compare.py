"""DVC experiments side by side: the parameters they changed, what they measured, how their pictures look."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import dvc.api
import numpy as np
import pandas as pd

from pconv.errors import PConvError
from pconv.params import flat

METRICS = "reports/metrics/evaluate.json"


ROW = "reports/figures/05-row.png"


MASKED = "reports/figures/05-masked.png"


class ComparisonError(PConvError, RuntimeError):
    """Experiments that cannot be compared; the message says what to do."""


@dataclass(frozen=True)
class Experiment:
    """One revision in which the pipeline has run: the commit itself, or an experiment that started from it."""

    name: str
    rev: str
    params: dict  # flat: {"loss.style": 120.0, ...}
    metrics: dict  # flat: {"pconv.psnr": 27.1, ...}

    def picture(self, path: str = ROW) -> np.ndarray:
        """A picture that the revision keeps in git: (H, W, 3) uint8 RGB."""
        with dvc.api.open(path, rev=self.rev, mode="rb") as file:
            encoded = np.frombuffer(file.read(), np.uint8)
        return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_experiments(rev: str = "HEAD") -> list[Experiment]:
    """A commit, and the experiments that started from it.

    Experiments that failed or have not run are left out. Raises ComparisonError if fewer than two are left.
    """
    rows = [row for row in dvc.api.exp_show(revs=rev) if row["rev"] != "workspace"]
    rows = [row for row in rows if row["State"] in (None, "Success")]
    found = [
        Experiment(
            name=row["Experiment"] or row["rev"],
            rev=row["rev"],
            params=flat(dvc.api.params_show("params.yaml", rev=row["rev"])),
            metrics=flat(dvc.api.metrics_show(METRICS, rev=row["rev"])),
        )
        for row in rows
    ]
    if len(found) < 2:
        raise ComparisonError(
            f"{rev}: only {len(found)} run to compare; run an experiment first, for example "
            "`dvc exp run -S loss.style=120`, or name the commit that yours started from: make compare REV=..."
        )
    return found


def changed_params(experiments: list[Experiment]) -> pd.DataFrame:
    """The parameters that are not the same in all experiments: a row per experiment, a column per parameter."""
    table = pd.DataFrame([e.params for e in experiments], index=[e.name for e in experiments], dtype=object)
    differs = [column for column in table if len({str(value) for value in table[column]}) > 1]
    return table[differs]


def measured(experiments: list[Experiment]) -> pd.DataFrame:
    """PSNR, SSIM and L1 of the network, and its gain over mean fill: a row per experiment."""
    columns = {"PSNR, dB": "psnr", "SSIM": "ssim", "L1, %": "l1", "over mean fill, dB": "gain over mean fill dB"}
    rows = [{title: e.metrics.get(f"pconv.{key}") for title, key in columns.items()} for e in experiments]
    return pd.DataFrame(rows, index=[e.name for e in experiments])
