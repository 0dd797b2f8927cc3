"""DVC experiments side by side: the parameters they changed, what they measured, and how their pictures look."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import dvc.api
import numpy as np
import pandas as pd
from dvc.exceptions import DvcException, PathMissingError
from dvc.scm import SCMError
from ruamel.yaml import YAML, YAMLError

from pconv.data.decoding import ImageError, decode
from pconv.errors import PConvError
from pconv.params import flat

FORMATS = (".png", ".jpg", ".webp")  # of a picture: what a revision keeps depends on how old it is
ABSENT = "(absent)"  # a parameter that a revision does not know yet
MEASURED = {  # title -> key in reports/metrics/evaluate.json
    "PSNR, dB": "psnr",
    "SSIM": "ssim",
    "L1, %": "l1",
    "perceptual distance": "perceptual",
    "over mean fill, dB": "gain over mean fill dB",
}
NEEDED = ["PSNR, dB", "SSIM", "L1, %"]  # of a run that is compared; what was added later may be missing


class ComparisonError(PConvError, RuntimeError):
    """Experiments that cannot be compared; the message says what to do."""


@dataclass(frozen=True)
class Experiment:
    """One revision in which the pipeline has run: the commit itself, or an experiment that started from it."""

    name: str
    rev: str
    params: dict  # flat: {"loss.style": 120.0, ...}; empty if the revision has none
    metrics: dict  # of the network: {"psnr": 27.1, ...}; empty if the revision has none

    def picture(self, name: str) -> np.ndarray | None:
        """Return reports/figures/`name`, (H, W, 3) uint8 RGB, in the format the revision has; None if it has none."""
        for suffix in FORMATS:
            path = f"reports/figures/{name}{suffix}"
            data = _read(path, self.rev)
            if data is not None:
                with suppress(ImageError):
                    return decode(data, path)
        return None


def read_experiments(rev: str = "HEAD") -> list[Experiment]:
    """Return a commit, first, and the experiments that started from it.

    Experiments that failed or have not run yet are left out. Raises ComparisonError if fewer than two runs remain, if
    there is no such commit, and if a run's parameters or metrics are damaged.
    """
    try:
        rows = dvc.api.exp_show(revs=rev)
    except (DvcException, SCMError) as error:
        raise ComparisonError(f"{rev}: {error}; name a commit: make compare REV=...") from None
    rows = [row for row in rows if row["rev"] != "workspace" and row["State"] in (None, "Success")]
    if len(rows) < 2:
        raise ComparisonError(
            f"{rev}: no experiment to compare with it; run one first, for example "
            "`dvc exp run --queue -S loss.stage1.style=120` and `dvc queue start`, or name the commit that yours "
            "started from: make compare REV=..."
        )
    return [
        Experiment(
            name=row["Experiment"] or row["rev"],
            rev=row["rev"],
            params=flat(_values("params.yaml", row["rev"], YAML(typ="safe").load)),
            metrics=_values("reports/metrics/evaluate.json", row["rev"], json.loads).get("pconv", {}),
        )
        for row in rows
    ]


def _values(path: str, rev: str, parse: Callable[[bytes], object]) -> dict:
    """Return what a file says as a revision has it, or nothing if it does not have it."""
    try:
        values = parse(_read(path, rev) or b"{}")
    except (ValueError, YAMLError):
        values = None
    if not isinstance(values, dict):
        raise ComparisonError(f"{rev}: its {path} is damaged; run it again, or leave it out: dvc exp remove {rev}")
    return values


def _read(path: str, rev: str) -> bytes | None:
    """Return a file as a revision has it, or None if it does not have it."""
    try:
        with dvc.api.open(path, rev=rev, mode="rb") as file:
            return file.read()
    except PathMissingError:
        return None


def changed_params(experiments: list[Experiment]) -> pd.DataFrame:
    """Return the parameters that differ between experiments, as text: a row per experiment, a column per parameter."""
    keys = dict.fromkeys(key for one in experiments for key in one.params)
    rows = [{key: _as_text(one.params[key]) if key in one.params else ABSENT for key in keys} for one in experiments]
    table = pd.DataFrame(rows, index=[one.name for one in experiments])
    return table.loc[:, table.nunique() > 1]


def _as_text(value) -> str:
    """Return a parameter as YAML has it, so that equal values give equal text: 1 and 1.0, but not 1 and true."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_as_text, value))}]"
    return f"{value:.12g}" if isinstance(value, int | float) else str(value)


def measured(experiments: list[Experiment]) -> pd.DataFrame:
    """Return PSNR, SSIM, L1, the perceptual distance and the gain over mean fill: a row per experiment.

    NaN stands for what a run did not measure.
    """
    rows = [{title: one.metrics.get(key) for title, key in MEASURED.items()} for one in experiments]
    return pd.DataFrame(rows, index=[one.name for one in experiments], dtype=float)


def picture_rows(experiments: list[Experiment]) -> list[tuple[str, np.ndarray]]:
    """Return titles and pictures: the test crops with their holes, then as each run that keeps a picture fills them."""
    rows = [("with holes", experiments[0].picture("05-masked"))]
    rows += [(one.name, one.picture("05-row")) for one in experiments]
    return [(title, pixels) for title, pixels in rows if pixels is not None]


def conclusion(changes: pd.DataFrame, results: pd.DataFrame) -> str:
    """Return what the comparison shows, as Markdown: the best run, then each run against the first."""
    differ = f"They differ in {', '.join(changes)}." if len(changes.columns) else "No parameter differs between them."
    best, nearest = results["PSNR, dB"].dropna(), results["perceptual distance"].dropna()
    words = f" {best.idxmax()} has the highest PSNR, {best.max():.2f} dB." if len(best) else ""
    words += f" {nearest.idxmin()} has the smallest perceptual distance, {nearest.min():.4f}." if len(nearest) else ""
    others = [_against_first(changes, results, i) for i in range(1, len(results))]
    return "\n".join([f"{len(results)} runs were compared. {differ}{words}", "", *others])


def _against_first(changes: pd.DataFrame, results: pd.DataFrame, i: int) -> str:
    told = [f"{key} = {value}" for key, value in changes.iloc[i].items() if value != changes.iloc[0][key]]
    name = f"- {results.index[i]} ({', '.join(told) or 'the same parameters'})"
    difference = results.iloc[i] - results.iloc[0]
    if difference[NEEDED].isna().any():
        lacking = results.index[i] if results.iloc[i][NEEDED].isna().any() else results.index[0]
        return f"{name}: not compared with {results.index[0]}, because {lacking} has no results."
    told = [
        f"{difference['PSNR, dB']:+.2f} dB PSNR",
        f"{difference['SSIM']:+.4f} SSIM",
        f"{difference['L1, %']:+.3f} percentage points of L1",
    ]
    if not np.isnan(moved := difference["perceptual distance"]):
        told += [f"{moved:+.4f} in perceptual distance"]
    return f"{name}: {', '.join(told[:-1])} and {told[-1]} relative to {results.index[0]}."
