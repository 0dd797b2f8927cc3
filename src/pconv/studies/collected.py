"""What was measured in the experiments behind notebook 07: small files in claims/results, kept in git.

pconv.studies.experiments writes them, and pconv.studies.claims reads them. Nothing is stored twice: experiments with
the same test crops share the description of these and the results of the classical methods.

    experiments.json         the photographs, the parameters, and what differs from them in each experiment
    crops-SET.csv            what each test crop is; SET is the kind of masks and the seed
    baselines-SET.csv        what the classical methods reach on them
    NAME-SEED.csv            what the network of an experiment reaches on them; also in other states, by method
    NAME-SEED.webp           its composites of a packaged photograph for each bin; truth-SET.webp, holes-SET.webp
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pconv.data.decoding import read_image, write_image
from pconv.errors import PConvError
from pconv.files import write_file
from pconv.project import claims_folder

CROP = ["index", "photograph", "bin", "touches_border", "hole_ratio", "thickness"]
DIGITS = {"psnr": 3, "ssim": 4, "l1": 3, "perceptual": 5}  # after the point
MEASURES = list(DIGITS)
OURS = "pconv"


class CollectedError(PConvError, ValueError):
    """Results that do not belong together or cannot be read; the message names the file."""


class Run(NamedTuple):
    """A finished experiment: its network's results, and those of the classical methods, on each test crop."""

    name: str
    seed: int
    crops: str  # what its test crops are called
    about: dict  # JSON values for experiments.json
    table: pd.DataFrame  # method, CROP, unreached, MEASURES
    pictures: dict[str, np.ndarray]  # file name without suffix -> (H, W, 3) uint8 RGB


class Collected(NamedTuple):
    """All that was collected."""

    table: pd.DataFrame  # experiment, seed, method, CROP, unreached, MEASURES; the experiment of a baseline is its set
    about: dict  # what experiments.json says; empty if nothing was collected


def results_folder() -> Path:
    """Return the folder of the collected files."""
    return claims_folder() / "results"


def read_about() -> dict:
    """Return what experiments.json says, or an empty dict if there is none. Raises CollectedError if it is damaged."""
    path = results_folder() / "experiments.json"
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        raise CollectedError(f"{path}: damaged; git checkout {path}, or delete the folder and collect again") from None


def write_run(run: Run, common: dict) -> None:
    """Add a finished experiment to the collected files.

    common: what all experiments share, to stand in experiments.json. Raises CollectedError if that, or the test crops,
    are others than those of what was collected before.
    """
    folder = results_folder()
    folder.mkdir(parents=True, exist_ok=True)
    about = read_about() or common | {"experiments": {}}
    changed = _differing(about, common)
    if changed:
        raise CollectedError(
            f"{run.name}-{run.seed}: {', '.join(changed)} differ from those of what is in {folder}; delete that folder "
            "to begin a new collection, or queue the experiment again"
        )
    ours = run.table["method"].str.startswith(OURS)
    _write_crops(folder / f"crops-{run.crops}.csv", run)
    _write_baselines(folder / f"baselines-{run.crops}.csv", run.table[~ours])
    _write_csv(folder / f"{run.name}-{run.seed}.csv", run.table.loc[ours, ["method", "index", "unreached", *MEASURES]])
    for name, pixels in run.pictures.items():
        write_image(folder / f"{name}.webp", pixels)
    about["experiments"][f"{run.name}-{run.seed}"] = run.about | {"crops": run.crops}
    about["experiments"] = dict(sorted(about["experiments"].items()))
    write_file(folder / "experiments.json", (json.dumps(about, indent=1) + "\n").encode())


def _differing(before: dict, now: dict) -> list[str]:
    """Name what is not as before. A parameter that came later had no other value before."""
    known = before["params"].keys() & now["params"].keys()
    params = [f"params.{key}" for key in sorted(known) if before["params"][key] != now["params"][key]]
    return [key for key in now if key != "params" and before.get(key) != now[key]] + params


def _write_crops(path: Path, run: Run) -> None:
    crops = run.table.loc[run.table["method"] == OURS, CROP]
    text = crops.round({"hole_ratio": 6, "thickness": 2}).to_csv(index=False, lineterminator="\n")
    if path.is_file() and path.read_text() != text:
        raise CollectedError(
            f"{run.name}-{run.seed}: its test crops are not those in {path}; delete {path.parent} to begin a new "
            "collection"
        )
    write_file(path, text.encode())


def _write_baselines(path: Path, rows: pd.DataFrame) -> None:
    """Add the methods that are not in the file yet."""
    rows = rows[["method", "index", *MEASURES]]
    if path.is_file():
        before = pd.read_csv(path)
        rows = pd.concat([before, rows[~rows["method"].isin(before["method"])]])
    _write_csv(path, rows)


def _write_csv(path: Path, rows: pd.DataFrame) -> None:
    write_file(path, rows.round(DIGITS).to_csv(index=False, lineterminator="\n").encode())


def read_collected() -> Collected:
    """Read all that was collected. Raises CollectedError, naming the file, for what is missing or damaged."""
    about, folder = read_about(), results_folder()
    tables = []
    for name, entry in about.get("experiments", {}).items():
        experiment, _, seed = name.rpartition("-")
        crops = _read_csv(folder / f"crops-{entry['crops']}.csv", CROP)
        tables.append(_joined(folder / f"{name}.csv", ["unreached", *MEASURES], crops, experiment, int(seed)))
    for name in dict.fromkeys(entry["crops"] for entry in about.get("experiments", {}).values()):
        kind, _, seed = name.rpartition("-")
        crops = _read_csv(folder / f"crops-{name}.csv", CROP)
        tables.append(_joined(folder / f"baselines-{name}.csv", MEASURES, crops, kind, int(seed)))
    columns = ["experiment", "seed", "method", *CROP, "unreached", *MEASURES]
    return Collected(pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns), about)


def _joined(path: Path, columns: list[str], crops: pd.DataFrame, experiment: str, seed: int) -> pd.DataFrame:
    """Return the rows of a file with what each crop is."""
    rows = _read_csv(path, ["method", "index", *columns]).merge(crops, on="index", how="left", validate="many_to_one")
    if rows["photograph"].isna().any():
        raise CollectedError(f"{path}: it lists crops that its list of crops does not")
    return rows.assign(experiment=experiment, seed=seed)


def _read_csv(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path, dtype={"photograph": str, "bin": str})
    except (OSError, ValueError) as error:
        raise CollectedError(f"{path}: {getattr(error, 'strerror', None) or 'not a table'}; collect it again") from None
    if list(rows.columns) != columns or rows.isna().any(axis=None):
        raise CollectedError(f"{path}: expected the columns {', '.join(columns)} without gaps; collect it again")
    return rows


def read_picture(name: str) -> np.ndarray | None:
    """Return a collected picture, (H, W, 3) uint8 RGB, or None if there is none of this name."""
    path = results_folder() / f"{name}.webp"
    return read_image(path) if path.is_file() else None
