"""The paper's claims, each with the differences that decide it: tables, verdicts and words for notebook 07.

Everything is computed from the collected experiments (pconv.studies.collected) and from the tables of the published
networks. A claim whose experiments are not there is "not run yet".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pconv.layers import PartialConv2d
from pconv.masks.convention import BINS, bin_name
from pconv.project import project_root
from pconv.studies.bootstrap import (
    ABOVE,
    ALL,
    APART,
    BELOW,
    FAILS,
    GRID,
    HOLDS,
    MISSING,
    OPEN,
    UNNAMED,
    Interval,
    difference,
    speaks,
    verdict,
)
from pconv.studies.collected import OURS, Collected

CLASSICAL = ("telea", "navier-stokes", "biharmonic")
SMALL = "small networks, 64 px"
PUBLISHED = {"photos-256": "published weights", "pair-128": "published pair"}  # folders in published/: what they hold
SIZES = ("128", "256")  # px; of the crops on which these were measured
UNITS = {"psnr": "dB PSNR", "perceptual": "perceptual distance"}
PICTURES = {  # what to show of claim 4: title -> experiment
    "pixel terms only": "partial",
    "without style": "no-style",
    "without perceptual": "no-perceptual",
    "all terms": "six-terms",
}
ARMS = ("partial", "unfrozen", "six-terms", "no-style", "no-perceptual")  # share their first stage
SEEDS = 3  # of an experiment, without which it is "not run yet"
THICKNESSES = 4  # classes of equally many crops


class Part(NamedTuple):
    """One statement, the differences that decide it, and what they say."""

    statement: str
    differences: pd.DataFrame  # what `compare` returns, where it should lie (claimed), and whether it does (speaks)
    verdict: str
    decides: bool = True  # whether the verdict on the claim needs this part


class Claim(NamedTuple):
    """A claim of the paper, or of this project about it."""

    number: int
    title: str
    parts: list[Part]

    @property
    def verdict(self) -> str:
        """The claim holds if all parts that decide hold, and fails if one fails."""
        found = {part.verdict for part in self.parts if part.decides}
        return next(answer for answer in (MISSING, FAILS, OPEN, HOLDS) if answer in found)


class Runs:
    """Tables to choose from: those of the collected experiments, or of published networks on crops of one size."""

    def __init__(self, table: pd.DataFrame, name: str):
        self.table, self.name = table, name

    def get(self, experiment: str, method: str = OURS, **where) -> pd.DataFrame:
        """Return the rows of a method in an experiment, those with the given values of the given columns."""
        rows = self.table[(self.table["experiment"] == experiment) & (self.table["method"] == method)]
        for column, value in where.items():
            rows = rows[rows[column] == value]
        return rows


def read_published() -> list[Runs]:
    """Return the tables of the published networks that are there, published/NAME/crops-SIZE.csv.

    Those of photos-256 have one network, the experiment "partial", and the classical methods; those of pair-128 have
    two networks that were trained alike, the experiments "partial" and "plain".
    """
    found = []
    for folder, name in PUBLISHED.items():
        for size in SIZES:
            path = project_root() / "published" / folder / f"crops-{size}.csv"
            if path.is_file():
                table = pd.read_csv(path, dtype={"photograph": str, "bin": str}).assign(experiment="partial", seed=0)
                pair = table["method"].isin(["partial", "plain"])
                table.loc[pair, "experiment"] = table.loc[pair, "method"]
                table.loc[pair, "method"] = OURS
                found.append(Runs(table, f"{name}, {size} px"))
    return found


def with_enough_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out the experiments of which fewer than SEEDS seeds were collected: they decide nothing yet."""
    return table[table.groupby("experiment")["seed"].transform("nunique") >= SEEDS]


# Differences


def compare(
    first: pd.DataFrame, second: pd.DataFrame, comparison: str, holes: str, measure: str = "psnr"
) -> dict | None:
    """Return a row of differences, first minus second, or None if a group is empty.

    seeds_low and seeds_high are the least and the greatest difference of a single seed; ahead is the share of the
    photographs that both groups have on which the first has the higher mean.
    """
    if first.empty or second.empty:
        return None
    found = difference(first[measure], first["photograph"], second[measure], second["photograph"])
    seeds, photographs = (
        (first.groupby(by)[measure].mean() - second.groupby(by)[measure].mean()).dropna()
        for by in ("seed", "photograph")
    )
    return {
        "comparison": comparison,
        "holes": holes,
        "measure": measure,
        **found._asdict(),
        "seeds": len(seeds),
        "seeds_low": seeds.min(),
        "seeds_high": seeds.max(),
        "crops": len(first),
        "photographs": first["photograph"].nunique(),
        "ahead": float((photographs > 0).mean()) if len(photographs) else None,
    }


def paired(runs: Runs, first: Sequence[str], second: Sequence[str], **where) -> list[pd.DataFrame]:
    """Return the rows of two (experiment, method) on the seeds and crops that both have."""
    return on_common_crops(runs.get(*first, **where), runs.get(*second, **where))


def on_common_crops(first: pd.DataFrame, second: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of two tables whose seed and crop the other has, too."""
    keys = [pd.MultiIndex.from_frame(rows[["seed", "index"]]) for rows in (first, second)]
    return [first[keys[0].isin(keys[1])], second[keys[1].isin(keys[0])]]


def decide(
    statement: str, rows: Iterable[dict | None], claimed: str | Sequence[str | None] = ABOVE, decides: bool = True
) -> Part:
    """Return a part whose differences are `rows`; if one of them is missing, it is not run yet.

    claimed: where they should lie, or where each should; None for one on which the verdict does not depend.
    """
    rows = list(rows)
    places = [claimed] * len(rows) if isinstance(claimed, str) else claimed
    found = [
        row
        | {"claimed": place, "speaks": speaks(Interval(row["mean"], row["low"], row["high"]), place) if place else 0}
        for row, place in zip(rows, places, strict=True)
        if row is not None
    ]
    answers = [row["speaks"] for row in found if row["claimed"]]
    return Part(statement, pd.DataFrame(found), verdict(answers) if len(found) == len(rows) else MISSING, decides)


def bins_of(runs: Runs) -> list[str]:
    """Return the names of the paper's bins that a table has."""
    return [name for name in map(bin_name, BINS) if (runs.table["bin"] == name).any()]


# The claims


def all_claims(collected: Collected, published: Sequence[Runs], masks: Tensor) -> list[Claim]:
    """Return the eight claims. masks: (N, 1, H, W), those that claim 8 follows through the layers."""
    small = Runs(with_enough_seeds(collected.table), SMALL)
    pairs = [runs for runs in published if not runs.get("plain").empty]
    both = [small, *(runs for runs in published if runs.get("plain").empty)]
    return [
        beats_plain([small, *pairs]),
        ignores_contents(small, collected.about),
        frozen_norm(small),
        feature_terms(small),
        hole_ratio_and_border(both),
        classical(both),
        super_resolution(small),
        mask_and_scale(small, masks),
    ]


def beats_plain(pairs: Sequence[Runs]) -> Claim:
    """Claim 1: partial convolutions against plain ones in the same network."""
    parts = []
    for runs in pairs:
        rows = [
            compare(*paired(runs, ("partial",), ("plain",), bin=name), "partial - plain", name)
            for name in bins_of(runs)
        ]
        parts.append(decide(f"{runs.name}: PSNR is higher with partial convolutions in every bin", rows or [None]))
    return Claim(1, "Partial convolutions beat the same network of plain ones in every bin", parts)


def ignores_contents(small: Runs, about: dict) -> Claim:
    """Claim 2: what is in the hole changes nothing with partial convolutions, and something with plain ones."""
    key = "difference between contents"
    found = {name: one[key] for name, one in about.get("experiments", {}).items() if key in one}
    rows = pd.DataFrame({"comparison": list(found), "largest difference": list(found.values())})
    same = (FAILS if any(found.values()) else HOLDS) if found else MISSING
    others = ("black", "grey", "white")
    return Claim(
        2,
        "Partial convolutions do not depend on what fills the hole; plain ones do",
        [
            Part("partial: all bits of the result are the same whatever the hole holds", rows, same),
            decide(
                "plain, trained with the mean colour: PSNR changes with another colour in the hole",
                [
                    compare(*paired(small, ("plain",), ("plain", f"{OURS}, {fill}")), f"mean - {fill}", ALL)
                    for fill in others
                ],
                APART,
            ),
            decide(
                "plain, trained with each colour: PSNR differs from that with the mean colour",
                [compare(*paired(small, ("plain",), (f"plain-{fill}",)), f"mean - {fill}", ALL) for fill in others],
                APART,
                decides=False,
            ),
        ],
    )


def frozen_norm(small: Runs) -> Claim:
    """Claim 3: the second stage with frozen batch norm."""
    arms = {
        "the second stage with frozen encoder norm improves on the end of the first": ("partial", f"{OURS}, stage 1"),
        "it is better than as many further steps without freezing": ("unfrozen",),
    }
    return Claim(
        3,
        "A second stage with the encoder's batch norm frozen improves on the first, and on one without freezing",
        [
            decide(name, [compare(*paired(small, ("partial",), arm), f"frozen - {arm[-1].split(', ')[-1]}", ALL)])
            for name, arm in arms.items()
        ],
    )


def feature_terms(small: Runs) -> Claim:
    """Claim 4: what the style and the perceptual term buy."""
    without = {"no-style": "without style", "no-perceptual": "without perceptual", "partial": "pixel terms only"}
    perceptual, psnr = [], []
    for name, title in without.items():
        lacking, whole = paired(small, (name,), ("six-terms",))
        perceptual.append(compare(lacking, whole, f"{title} - all terms", ALL, "perceptual"))
        psnr.append(compare(lacking, whole, f"{title} - all terms", ALL))
    return Claim(
        4,
        "Style and perceptual terms improve what PSNR does not show",
        [
            decide("without either or both of them the perceptual distance is larger", perceptual),
            decide("PSNR is higher without either or both of them", psnr, decides=False),
        ],
    )


def hole_ratio_and_border(both: Sequence[Runs]) -> Claim:
    """Claim 5: quality against hole ratio and border constraint."""
    parts = []
    for runs in both:
        names = bins_of(runs)
        ratio = [
            compare(runs.get("partial", bin=a), runs.get("partial", bin=b), f"{a} - {b}", a)
            for a, b in zip(names, names[1:], strict=False)
        ]
        border = [
            compare(
                runs.get("partial", bin=name, touches_border=False),
                runs.get("partial", bin=name, touches_border=True),
                "clear of the border - touching it",
                name,
            )
            for name in names
        ]
        parts.append(decide(f"{runs.name}: PSNR falls from each bin of hole ratios to the next", ratio or [None]))
        parts.append(decide(f"{runs.name}: in every bin it is lower for holes that touch the border", border or [None]))
    return Claim(5, "Quality falls with the hole ratio, and holes at the border are harder", parts)


def classical(both: Sequence[Runs]) -> Claim:
    """Claim 6: where classical methods win, and where they lose."""
    parts = []
    for runs in both:
        for what, groups in (("hole ratio", _by_bin(runs)), ("thickness", _by_thickness(runs))):
            statement = f"{runs.name}: classical methods win on the smallest {what} and lose on the largest"
            rows = [_against_classical(runs, where, name) for name, where in groups]
            if len(rows) < 2 or None in rows:
                parts.append(decide(statement, [None]))
            else:
                ends = [BELOW, *[None] * (len(rows) - 2), ABOVE]
                parts.append(decide(f"{statement}; {_turning_point(rows)}", rows, ends))
    return Claim(6, "Classical methods win on thin holes and lose on large ones", parts)


def _by_bin(runs: Runs) -> list[tuple[str, pd.Index]]:
    return [(name, runs.table.index[runs.table["bin"] == name]) for name in bins_of(runs)]


def _by_thickness(runs: Runs) -> list[tuple[str, pd.Index]]:
    """Return classes of equally many crops by the largest width of the hole."""
    ours = runs.get("partial")["thickness"]
    if ours.empty:
        return []
    edges = np.unique(np.quantile(ours, np.linspace(0, 1, THICKNESSES + 1)))
    classes = pd.cut(runs.table["thickness"], edges, include_lowest=True, labels=False)
    return [
        (f"{low:.3g} to {high:.3g} px", runs.table.index[classes == i])
        for i, (low, high) in enumerate(zip(edges, edges[1:], strict=False))
    ]


def _against_classical(runs: Runs, where: pd.Index, name: str) -> dict | None:
    """Compare the network with the classical method that is best on these rows of the table."""
    part = Runs(runs.table.loc[where], runs.name)
    ours = part.get("partial")
    theirs = part.table[part.table["method"].isin(CLASSICAL)]
    theirs = theirs.merge(ours[["seed", "index"]], on=["seed", "index"])
    if ours.empty or theirs.empty:
        return None
    best = theirs.groupby("method")["psnr"].mean().idxmax()
    return compare(ours, theirs[theirs["method"] == best], f"network - {best}", name)


def _turning_point(rows: list[dict]) -> str:
    """Say from which group on the network is ahead of the best classical method in all that follow."""
    ahead = [row["low"] > 0 for row in rows]
    first = next((i for i in range(len(rows)) if all(ahead[i:])), None)
    if first is None:
        return "the network is never clearly ahead"
    if first == 0:
        return "the network is ahead in every class"
    return f"the network is ahead from {rows[first]['holes']} on"


def super_resolution(small: Runs) -> Claim:
    """Claim 7: masks that leave a grid of known pixels."""
    parts = []
    for factor in (2, 4):
        kind, baseline = f"x{factor}", f"grid{factor}"
        ours, theirs = small.get(kind), small.get(baseline, "bicubic")
        parts.append(
            decide(
                f"enlarging {factor} times: PSNR is higher than that of bicubic interpolation",
                [compare(*on_common_crops(ours, theirs), "network - bicubic", GRID)],
            )
        )
    return Claim(7, "The same network enlarges images better than bicubic interpolation does", parts)


def mask_and_scale(small: Runs, masks: Tensor) -> Claim:
    """Claim 8: equation 2, and the factor of equation 1."""
    layers = [layers_until_full(mask[None]) for mask in masks]
    counts = [count for count in layers if count is not None]
    row = {"comparison": "layers of 3 x 3 until the mask is full", "masks": len(layers), "full": len(counts)}
    if counts:
        row |= {"least": min(counts), "median": float(np.median(counts)), "most": max(counts)}
    full = HOLDS if len(counts) == len(layers) else FAILS
    scales = [
        compare(*paired(small, ("partial",), (f"scale-{scale}",)), f"C k²/sum(M) - {factor}", ALL)
        for scale, factor in (("keras", "k²/sum(M)"), ("sum", "1/sum(M)"))
    ]
    return Claim(
        8,
        "The mask is full after enough layers; training with other factors in equation 1 gives other results",
        [
            Part("every mask with a valid pixel becomes full", pd.DataFrame([row]), full),
            decide("PSNR after equal training differs from that with the paper's factor", scales, APART),
        ],
    )


def layers_until_full(mask: Tensor) -> int | None:
    """Return how many layers of 3 x 3 and stride 1 make a mask (1, 1, H, W) full, or None if it never is."""
    layer, count = PartialConv2d(1, 1, 3, padding=1), 0
    while not (mask == 1).all():
        wider = layer.window(mask).mask
        if torch.equal(wider, mask):
            return None
        mask, count = wider, count + 1
    return count


# Tables, words and numbers


def experiments(about: dict) -> pd.DataFrame:
    """Return the parameters in which each collected experiment differs from the base, its seeds in one row."""
    rows: dict[str, dict] = {}
    for name, one in about.get("experiments", {}).items():
        changes = dict(one["params"])
        seed = changes.pop("seed")
        row = rows.setdefault(name.rpartition("-")[0], {"seeds": []})
        row["seeds"].append(str(seed))
        trained = {key: value for key, value in changes.items() if not key.startswith("evaluate.")}
        row["differs in"] = ", ".join(f"{key} = {value}" for key, value in trained.items()) or "nothing"
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["seeds", "differs in"])
    return table.assign(seeds=table["seeds"].map(", ".join)).rename_axis("experiment")


def data_words(about: dict, published: Sequence[Runs]) -> str:
    """Return on which photographs the experiments were run, and which published tables are there, as Markdown."""
    photographs = about.get("photographs")
    if photographs is None:
        lines = ["**No experiment has been collected yet**: run `make claims`, `dvc queue start` and `make collect`."]
    else:
        lines = [
            f"{photographs['train']:,} photographs to train, {photographs['val']:,} to validate and "
            f"{photographs['test']:,} to test; the checksum of their lists begins with `{photographs['sha256'][:12]}`. "
            f"Trained in {about['precision']}.",
            _start_words(about["experiments"]),
        ]
    names = "; ".join(runs.name for runs in published) or "none"
    return "\n\n".join([*lines, f"Published networks whose results on test crops are there: {names}."])


def _start_words(found: dict) -> str:
    """Say whether the arms that share a first stage began the second with the same weights."""
    starts: dict[int, set] = {}
    for name, one in found.items():
        if name.rpartition("-")[0] in ARMS:
            starts.setdefault(one["params"]["seed"], set()).add(one["stage 1"])
    differ = [str(seed) for seed, weights in starts.items() if len(weights) > 1]
    answer = f"**they did not for seed {', '.join(differ)}**" if differ else "they did for every seed"
    return f"{', '.join(ARMS)} should begin their second stage with the same weights: {answer}."


def panels(claim: Claim) -> list[tuple[str, list[tuple[str, pd.DataFrame]]]]:
    """Return what there is to draw of a claim: for each unit, titled tables of differences with intervals."""
    found: dict[str, list] = {}
    for part in claim.parts:
        if "low" in part.differences:
            unit = UNITS[part.differences["measure"].iloc[0]]
            found.setdefault(unit, []).append((part.statement, part.differences))
    return list(found.items())


def tables(claim: Claim) -> list[tuple[str, pd.DataFrame]]:
    """Return the statements of a claim with their numbers, as text where they have an interval."""
    found = []
    for part in claim.parts:
        rows = part.differences
        if "low" in rows:
            digits = 4 if rows["measure"].iloc[0] == "perceptual" else 2
            number = f"{{:+.{digits}f}}".format
            spans = {"95 % interval": ("low", "high"), "seeds": ("seeds_low", "seeds_high")}
            rows = rows[["comparison", "holes"]].assign(
                difference=rows["mean"].map(number),
                **{
                    title: [
                        "" if title == "seeds" and count == 1 else f"{number(low)} to {number(high)}"
                        for low, high, count in zip(rows[a], rows[b], rows["seeds"], strict=True)
                    ]
                    for title, (a, b) in spans.items()
                },
                **rows[["crops", "photographs"]],
                **{"ahead on": [f"{share:.0%}" if pd.notna(share) else "" for share in rows["ahead"]]},
            )
        if len(rows):
            filled = (rows != "").any()
            found.append((part.statement, rows.loc[:, filled].set_index("comparison")))
    return found


def verdicts(claims: Sequence[Claim]) -> pd.DataFrame:
    """Return the verdict on each claim: a row per claim."""
    rows = [{"claim": claim.title, "verdict": claim.verdict} for claim in claims]
    return pd.DataFrame(rows, index=pd.Index([claim.number for claim in claims], name="no."))


def words(claim: Claim) -> str:
    """Return the verdicts on a claim and its parts, as Markdown."""
    lines = [f"**{claim.title}: {claim.verdict}.**", ""]
    for part in claim.parts:
        aside = "" if part.decides else " (does not decide the claim)"
        lines.append(f"- {part.statement}: **{part.verdict}**{aside}{_exceptions(part)}.")
    return "\n".join(lines)


def _exceptions(part: Part) -> str:
    """Name the differences that keep a statement from holding, and those of which the seeds disagree."""
    rows = part.differences
    if "low" not in rows:
        return ""
    names = rows["holes"].where(~rows["holes"].isin(UNNAMED), rows["comparison"])
    groups = {"seeds disagree in sign": (rows["seeds_low"] < 0) & (rows["seeds_high"] > 0)}
    groups |= {"against it": rows["speaks"] < 0, "undecided": (rows["speaks"] == 0) & rows["claimed"].notna()}
    return "".join(f"; {title}: {', '.join(names[which])}" for title, which in groups.items() if which.any())


def numbers(claims: Sequence[Claim], about: dict) -> dict:
    """Return what reports/metrics/claims.json says."""
    return {
        "photographs": about.get("photographs"),
        "claims": {
            str(claim.number): {
                "claim": claim.title,
                "verdict": claim.verdict,
                "parts": [
                    {
                        "statement": part.statement,
                        "verdict": part.verdict,
                        "decides": part.decides,
                        "differences": _records(part.differences),
                    }
                    for part in claim.parts
                ],
            }
            for claim in claims
        },
    }


def _records(table: pd.DataFrame) -> list[dict]:
    """Return the rows of a table as JSON has them: null where there is no value."""
    return table.astype(object).where(table.notna(), None).to_dict("records")
