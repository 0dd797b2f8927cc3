"""DVC experiments side by side: the parameters they changed, what they measured, and how their pictures look."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import dvc.api
import numpy as np
import pandas as pd
from dvc.exceptions import DvcException, PathMissingError
from dvc.scm import SCMError
from ruamel.yaml import YAML, YAMLError

from pconv.data.decoding import ImageError, decode
from pconv.errors import PConvError
from pconv.files import write_file
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


KEPT = "reports/experiments"  # one folder for each experiment that travels with the repository
FILES = ("params.yaml", "reports/metrics/evaluate.json")  # of an experiment, kept besides its pictures
PICTURES = ("05-masked", "05-row", "05-truth")
SMALL = 0.3  # dB; another seed may move the PSNR by so much (reports/spread.json)
ENOUGH = 3  # seeds

Read = Callable[[str], bytes | None]  # path from the project's root -> content, or None if there is no such file


@dataclass(frozen=True)
class Experiment:
    """One run of the pipeline: a commit, or an experiment that started from it."""

    name: str
    params: dict  # flat: {"loss.style": 120.0, ...}; empty if the run has none
    metrics: dict  # of the network: {"psnr": 27.1, ...}; empty if the run has none
    read: Read  # the files of the run
    seeds: int = 1  # runs that differ in nothing but the seed, of which metrics has the mean

    def picture(self, name: str) -> np.ndarray | None:
        """Return reports/figures/`name`, (H, W, 3) uint8 RGB, in the format the run has; None if it has none."""
        for path, data in self._pictures(name):
            with suppress(ImageError):
                return decode(data, path)
        return None

    def files(self) -> dict[str, bytes]:
        """Return the files of the run that the comparison reads, by their paths."""
        found = {path: self.read(path) for path in FILES}
        found |= {path: data for name in PICTURES for path, data in self._pictures(name)}
        return {path: data for path, data in found.items() if data is not None}

    def _pictures(self, name: str) -> Iterator[tuple[str, bytes]]:
        for suffix in FORMATS:
            path = f"reports/figures/{name}{suffix}"
            if (data := self.read(path)) is not None:
                yield path, data

    def squares(self, name: str) -> list[np.ndarray]:
        """Return the squares that stand side by side in that picture, none if there is no picture."""
        strip = self.picture(name)
        return [] if strip is None else np.split(strip, max(1, strip.shape[1] // strip.shape[0]), axis=1)

    def bins(self, count: int) -> list[str]:
        """Return the names of the bins of hole ratios that were measured, if they are as many as the pictures."""
        groups = [value for value in self.metrics.values() if isinstance(value, dict)]
        names = sorted({name for group in groups for name in group})
        return names if len(names) == count else []


def read_experiments(rev: str = "HEAD") -> list[Experiment]:
    """Return a commit, first, and the experiments that started from it.

    Experiments that failed or have not run yet are left out. If HEAD has none, as in a clone, those of
    reports/experiments are returned. Raises ComparisonError if there are none either, if there is no such commit, and
    if a run's parameters or metrics are damaged.
    """
    try:
        rows = dvc.api.exp_show(revs=rev)
    except (DvcException, SCMError) as error:
        raise ComparisonError(f"{rev}: {error}; name a commit: make compare REV=...") from None
    rows = [row for row in rows if row["rev"] != "workspace" and row["State"] in (None, "Success")]
    if len(rows) > 1:
        return [experiment(row["Experiment"] or row["rev"], partial(read_at, rev=row["rev"])) for row in rows]
    kept = read_kept() if rev == "HEAD" else []
    if not kept:
        raise ComparisonError(
            f"{rev}: no experiment to compare with it; run one first, for example "
            "`dvc exp run --queue -S loss.stage1.style=120` and `dvc queue start`, or name the commit that yours "
            "started from: make compare REV=..."
        )
    return kept


def read_kept(root: Path = Path()) -> list[Experiment]:
    """Return the runs that `keep` wrote, in their order. Raises ComparisonError if one of their files is damaged."""

    def read(path: str, folder: Path) -> bytes | None:
        file = folder / path
        return file.read_bytes() if file.is_file() else None

    folders = sorted(folder for folder in (root / KEPT).glob("*-*") if folder.is_dir())
    return [experiment(folder.name.partition("-")[2], partial(read, folder=folder)) for folder in folders]


def keep(experiments: list[Experiment], root: Path = Path()) -> None:
    """Write what the comparison reads of each run to reports/experiments, in place of what is there.

    A clone has no experiments, which git keeps outside its branches; so it can be compared there, too.
    """
    files = [one.files() for one in experiments]  # before the folder goes, from which they may come
    shutil.rmtree(root / KEPT, ignore_errors=True)
    for i, (one, found) in enumerate(zip(experiments, files, strict=True)):
        for path, data in found.items():
            target = root / KEPT / f"{i:02d}-{one.name}" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            write_file(target, data)


def experiment(name: str, read: Read) -> Experiment:
    """Return the run that has these files. Raises ComparisonError if one of them is damaged."""
    params = flat(_values(name, "params.yaml", read, YAML(typ="safe").load))
    metrics = _values(name, "reports/metrics/evaluate.json", read, json.loads).get("pconv", {})
    return Experiment(name, params, metrics, read)


def pool_seeds(experiments: list[Experiment]) -> list[Experiment]:
    """Return one experiment for all that differ in nothing but the seed: the first of them, with their mean metrics."""
    groups: dict[str, list[Experiment]] = {}
    for one in experiments:
        groups.setdefault(json.dumps(one.params | {"seed": None}, sort_keys=True), []).append(one)
    return [_mean(group) if len(group) > 1 else group[0] for group in groups.values()]


def _mean(group: list[Experiment]) -> Experiment:
    metrics = pd.DataFrame([one.metrics for one in group]).select_dtypes("number")
    means = {key: value for key, value in metrics.mean(skipna=False).items() if not np.isnan(value)}
    means |= {key: value for key, value in group[0].metrics.items() if isinstance(value, dict)}  # by bin: of the first
    return replace(group[0], name=f"{group[0].name}, {len(group)} seeds", metrics=means, seeds=len(group))


def _values(name: str, path: str, read: Read, parse: Callable[[bytes], object]) -> dict:
    """Return what a file of a run says, or nothing if the run does not have it."""
    try:
        values = parse(read(path) or b"{}")
    except (ValueError, YAMLError):
        values = None
    if not isinstance(values, dict):
        raise ComparisonError(
            f"{name}: its {path} is damaged; run it again, or leave it out: dvc exp remove {name}, or delete its "
            f"folder in {KEPT}"
        )
    return values


def read_at(path: str, rev: str) -> bytes | None:
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


class Row(NamedTuple):
    """A row of pictures: what it shows, the pictures (H, W, 3) uint8, and what stands above each."""

    name: str
    pictures: list[np.ndarray]
    titles: list[str]


def picture_rows(experiments: list[Experiment]) -> list[Row]:
    """Return the test crops with their holes, as each run that keeps a picture fills them, and the truth.

    Above the first stand the bins, above the others the PSNR of each picture in dB, where the run keeps the truth.
    """
    first = experiments[0]
    painted, truth = first.squares("05-masked"), first.squares("05-truth")
    rows = [Row("with holes", painted, first.bins(len(painted)))]
    rows += [Row(one.name, one.squares("05-row"), _psnr_titles(one)) for one in experiments]
    rows += [Row("truth", truth, [])]
    return [row for row in rows if row.pictures]


def _psnr_titles(one: Experiment) -> list[str]:
    """Return the PSNR of each of a run's pictures; nothing if it does not keep the truth."""
    pictures, truth = one.squares("05-row"), one.squares("05-truth")
    if [picture.shape for picture in pictures] != [picture.shape for picture in truth]:
        return []
    errors = [np.square(a.astype(float) - b).mean() for a, b in zip(pictures, truth, strict=True)]
    return [f"{10 * np.log10(255**2 / error):.1f} dB" if error else "exact" for error in errors]


def conclusion(experiments: list[Experiment]) -> str:
    """Return what the comparison shows, as Markdown: the best run, then each run against the first."""
    changes, results = changed_params(experiments), measured(experiments)
    differ = f"They differ in {', '.join(changes)}." if len(changes.columns) else "No parameter differs between them."
    best, nearest = results["PSNR, dB"].dropna(), results["perceptual distance"].dropna()
    words = f" {best.idxmax()} has the highest PSNR, {best.max():.2f} dB." if len(best) else ""
    words += f" {nearest.idxmin()} has the smallest perceptual distance, {nearest.min():.4f}." if len(nearest) else ""
    seeds = min(one.seeds for one in experiments)
    others = [_against_first(changes, results, i, seeds) for i in range(1, len(results))]
    return "\n".join([f"{len(results)} runs were compared. {differ}{words}", "", *others])


def _against_first(changes: pd.DataFrame, results: pd.DataFrame, i: int, seeds: int) -> str:
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
    words = f"{name}: {', '.join(told[:-1])} and {told[-1]} relative to {results.index[0]}."
    if abs(difference["PSNR, dB"]) < SMALL and seeds < ENOUGH:
        words += f" Less than {SMALL} dB of PSNR is no difference until {ENOUGH} seeds agree on it."
    return words
