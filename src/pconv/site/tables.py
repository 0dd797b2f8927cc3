"""The tables of the site, read from the reports, from parameters and from dvc.yaml, as HTML."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

import pandas as pd
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import YamlLexer
from ruamel.yaml import YAML, YAMLError

from pconv.evaluate import TITLES
from pconv.params import flat
from pconv.showing import bold_best, bold_best_of_rows
from pconv.site.errors import SiteError
from pconv.site.graph import made, paths, read_stages
from pconv.site.notebooks import framed
from pconv.studies.compare import changed_params, measured, pool_seeds, read_kept
from pconv.studies.evaluate import BORDERS

DIGITS = {"psnr": 2, "ssim": 3, "l1": 2, "perceptual": 3}
LESS = ("L1, %", "perceptual distance")  # of which less is better


def _read(path: Path, parse):
    """Return what a report says. Raises SiteError if it is missing or damaged."""
    try:
        return parse(path)
    except (OSError, ValueError, KeyError, TypeError, YAMLError) as error:
        raise SiteError(f"{path}: {error}; run `dvc repro` and build the site again") from None


def _json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def results(root: Path) -> str:
    """Return the means of every method over all test crops, the best bold."""
    measured = _read(root / "reports/metrics/evaluate.json", _json)
    rows = {
        method: {title: f"{values[key]:.{DIGITS[key]}f}" for key, title in TITLES.items() if key in values}
        for method, values in measured.items()
        if isinstance(values, dict)
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename(index={"pconv": "this network"})
    more = [title for title in table if title not in LESS]
    return framed(bold_best(table, more, [title for title in table if title in LESS]).data)


def bins(root: Path) -> dict[str, str]:
    """Return for each measure the means per hole ratio and kind of hole, a column per method, the best bold."""
    rows = _read(root / "reports/plots/evaluate.csv", pd.read_csv)
    rows["holes"] = rows["touches_border"].map(BORDERS)
    rows = rows.rename(columns={"hole_ratio": "hole ratio"})
    found = {}
    for key, title in TITLES.items():
        table = rows.pivot(index=["hole ratio", "holes"], columns="method", values=key)[list(rows["method"].unique())]
        table = table.map(f"{{:.{DIGITS[key]}f}}".format).rename_axis(columns=None)
        found[title] = framed(bold_best_of_rows(table, less=title in LESS).data)
    return found


def claims(root: Path) -> list[dict]:
    """Return the claims with their verdicts and parts."""
    return list(_read(root / "reports/metrics/claims.json", _json)["claims"].values())


def default(root: Path) -> str:
    """Return params.yaml, with its comments, in colours."""
    text = _read(root / "params.yaml", lambda path: path.read_text(encoding="utf-8"))
    return highlight(text, YamlLexer(), HtmlFormatter())


def parameter_sets(root: Path) -> str:
    """Return all parameter sets beside each other: what differs from the default is bold."""
    files = [root / "params.yaml", *sorted((root / "params").glob("*.yaml"))]
    sets = {path.stem: flat(_read(path, YAML(typ="safe").load)) for path in files}
    keys = dict.fromkeys(key for values in sets.values() for key in values)
    first = sets["params"]
    rows = {
        key: {name: _value(values, key, values.get(key) == first.get(key)) for name, values in sets.items()}
        for key in keys
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename(columns={"params": "default"})
    return framed(table.to_html(escape=False))


def _value(values: dict, key: str, same: bool) -> str:
    text = escape(json.dumps(values[key], ensure_ascii=False)) if key in values else ""
    return text if same else f"<b>{text}</b>"


def trials(root: Path) -> str:
    """Return the trials by which the default was chosen."""
    table = _read(root / "reports/trials.csv", pd.read_csv).set_index("candidate")
    less = [title for title in table if title in ("L1 %", *LESS)]
    more = [title for title in table if title == "SSIM" or title.startswith(("PSNR", "dB over"))]
    return framed(bold_best(table, more, less).data)


def experiments(root: Path) -> str:
    """Return the kept experiments of notebook 06, what each changes and measured, or "" if there are none."""
    runs = pool_seeds(read_kept(root))
    if not runs:
        return ""
    changes, results = changed_params(runs), measured(runs).round(3)
    less = [title for title in results if title in LESS]
    more = [title for title in results if title not in less]
    return framed(bold_best(changes.join(results), more, less).data)


def planned(root: Path) -> str:
    """Return the experiments behind the claims: what each changes, and whether its results were collected."""
    plan = _read(root / "claims/experiments.yaml", YAML(typ="safe").load)
    kept = {path.stem for path in (root / "claims/results").rglob("*")}
    rows = [
        {
            "experiment": name,
            "changes": ", ".join(f"{key} = {value}" for key, value in (about or {}).get("set", {}).items())
            or "nothing",
            "seeds": ", ".join(map(str, plan["seeds"])),
            "results": "collected" if all(f"{name}-{seed}" in kept for seed in plan["seeds"]) else "not yet",
        }
        for name, about in plan["experiments"].items()
    ]
    return framed(pd.DataFrame(rows).to_html(index=False))


def stages(root: Path) -> list[dict]:
    """Return the stages: what each runs, reads besides its code, depends on in params.yaml, and makes."""
    return [
        {
            "name": name,
            "cmd": stage["cmd"].replace("${papermill} ", "papermill "),
            "reads": [path for path in paths(stage["deps"]) if not path.startswith("src/")],
            "params": stage.get("params", []),
            "makes": made(stage),
        }
        for name, stage in _read(root / "dvc.yaml", lambda path: read_stages(path.parent)).items()
    ]
