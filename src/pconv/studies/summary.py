"""The tables of README and of the published networks' model cards, written from the metrics: `make readme`.

    python -m pconv.studies.summary

Each table stands in its page between `<!-- table: NAME -->` and `<!-- end of table -->`; it replaces what is there.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from pconv.errors import PConvError
from pconv.files import write_file
from pconv.masks.convention import BINS, bin_name
from pconv.project import project_root
from pconv.studies.compare import MEASURED, changed_params, measured, pool_seeds, read_kept

PAGES = ("README.md", "published/photos-256/README.md", "published/pair-128/README.md")
MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n\n).*?(\n\n<!-- end of table -->)", re.DOTALL)
METHODS = {
    "pconv": "this network",
    "published": "published network",
    "partial": "partial convolutions",
    "plain": "plain convolutions",
    "mean fill": "mean fill",
    "telea": "Telea (OpenCV)",
    "navier-stokes": "Navier-Stokes (OpenCV)",
    "biharmonic": "biharmonic (scikit-image)",
}
MEASURES = {"psnr": ("all", 2), "ssim": ("SSIM", 3), "l1": ("L1, %", 2), "perceptual": ("perceptual", 3)}
UNITS = {"psnr": (" dB", 2), "perceptual": (" perceptual", 3)}
NOTEBOOK = "[07](reports/notebooks/07-claims.ipynb)"


class SummaryError(PConvError, RuntimeError):
    """A table that cannot be made; the message names the page or the file of metrics."""


def write(page: str, root: Path) -> str:
    """Return the text of a page with its tables as the files have them.

    Raises SummaryError if it asks for a table that is not in TABLES or does not end, and if a file that a table needs
    is missing.
    """

    def replaced(match: re.Match) -> str:
        name = match[2]
        if name not in TABLES:
            raise SummaryError(f"no table is called {name}; there are {', '.join(TABLES)}")
        return match[1] + TABLES[name](root) + match[3]

    if page.count("<!-- table: ") != len(MARKED.findall(page)):
        raise SummaryError(
            "a table has no end: put <!-- end of table --> after it, and blank lines around what is between"
        )
    return MARKED.sub(replaced, page)


def claims(root: Path) -> str:
    """Return the paper's claims: how each was tested, what came of it, and where to read about it."""
    rows = []
    for number, claim in json.loads(_needed(root, "reports/metrics/claims.json").read_text())["claims"].items():
        parts = [part for part in claim["parts"] if part["decides"]]
        each = [f"{part['verdict']}{_span(part)}" for part in parts]
        result = [f"**{claim['verdict']}**", *each] if len(parts) > 1 else [f"**{claim['verdict']}**{_span(parts[0])}"]
        rows.append(
            {
                "claim": f"{number}. {claim['claim']}",
                "test": "<br>".join(part["statement"] for part in parts),
                "result": "<br>".join(result),
                "notebook": NOTEBOOK,
            }
        )
    return _markdown(pd.DataFrame(rows))


def _span(part: dict) -> str:
    """Return the least and the greatest difference of a part, or nothing if it has none."""
    rows = [row for row in part["differences"] if row.get("mean") is not None]
    if not rows:
        return ""
    unit, digits = UNITS[rows[0]["measure"]]
    least, most = (pick(row["mean"] for row in rows) for pick in (min, max))
    return f": {least:+.{digits}f}" + (f" to {most:+.{digits}f}" if len(rows) > 1 else "") + unit


def results(root: Path) -> str:
    """Return what each method reached on the test crops of the run."""
    return by_method(_csv(root, "reports/metrics/crops.csv"))


def published(path: str) -> Callable[[Path], str]:
    """Return the function that makes a table of published networks. path: of their table of crops, in published/."""
    return lambda root: by_method(_csv(root, f"published/{path}").replace({"method": {"pconv": "published"}}))


def by_method(crops: pd.DataFrame) -> str:
    """Return PSNR per bin of hole ratios and the means of all measures over all crops: a row per method."""
    means = crops.groupby("method", sort=False)
    psnr = crops.pivot_table(index="method", columns="bin", values="psnr", sort=False)
    bins = [name for name in map(bin_name, BINS) if name in psnr]
    best = {name: psnr[name].round(2).max() for name in bins}
    best |= {key: _best(means[key].mean().round(digits), key) for key, (_, digits) in MEASURES.items()}
    rows = []
    for method, part in means:
        row = {"method": METHODS.get(method, method)}
        row |= {name: _bold(psnr.loc[method, name], best[name], 2) for name in bins}
        for key, (measure, digits) in MEASURES.items():
            row[measure] = _bold(part[key].mean(), best[key], digits)
        rows.append(row)
    return _markdown(pd.DataFrame(rows))


def _best(values: pd.Series, measure: str) -> float:
    return values.max() if measure in ("psnr", "ssim") else values.min()


def _bold(value: float, best: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return f"**{text}**" if text == f"{best:.{digits}f}" else text


def _csv(root: Path, path: str) -> pd.DataFrame:
    return pd.read_csv(_needed(root, path), dtype={"photograph": str, "bin": str})


def _needed(root: Path, path: str) -> Path:
    if not (root / path).is_file():
        raise SummaryError(f"{path} is missing, from which a table is made")
    return root / path


def experiments(root: Path) -> str:
    """Return the experiments of reports/experiments: what each changed and what it measured."""
    runs = pool_seeds(read_kept(root))
    if not runs:
        raise SummaryError("reports/experiments is empty, from which a table is made: make compare")
    table = pd.concat([changed_params(runs), measured(runs)], axis=1).drop(columns="over mean fill, dB")
    digits = dict(zip(MEASURED, (2, 3, 2, 3), strict=False))
    for title, count in digits.items():
        table[title] = table[title].map(f"{{:.{count}f}}".format)
    return _markdown(table.rename_axis("experiment").reset_index())


def _markdown(table: pd.DataFrame) -> str:
    head, *rows = [list(table.columns), *table.astype(str).values.tolist()]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TABLES: dict[str, Callable[[Path], str]] = {
    "claims": claims,
    "results": results,
    **{f"published-{size}": published(f"photos-256/crops-{size}.csv") for size in (128, 256)},
    **{f"elsewhere-{size}": published(f"photos-256/elsewhere-crops-{size}.csv") for size in (128, 256)},
    "pair-128": published("pair-128/crops-128.csv"),
    "experiments": experiments,
}


def main() -> None:
    root = project_root()
    for page in (root / name for name in PAGES):
        write_file(page, write(page.read_text(encoding="utf-8"), root).encode())


if __name__ == "__main__":
    try:
        main()
    except SummaryError as error:
        sys.exit(str(error))
