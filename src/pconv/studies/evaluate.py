"""What notebook 05 makes of the table that `pconv.evaluate.evaluate` returns: numbers, tables, words and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pconv.data.decoding import write_image
from pconv.evaluate import MEAN, MEASURES, OURS, PUBLISHED, TITLES, Crop, Crops
from pconv.params import Params
from pconv.project import figure_folder, metric_folder, plot_folder
from pconv.unet import PConvUNet

BORDERS = {True: "not kept clear of the border", False: "kept clear of the border"}  # by touches_border

DIGITS = {"psnr": 2, "ssim": 3, "l1": 2, "perceptual": 4}  # decimals in tables
SMOOTH = (
    0.03  # of the range of values: the contrast of a crop below which its photograph counts as smooth, as skies are
)
CROP_COLUMNS = ["method", "index", "photograph", "bin", "touches_border", "hole_ratio", "thickness", "unreached"]

# Places2, 512 px, masks published with the paper that keep clear of the border. The paper's table has more bins, and
# baselines of its own; these are the figures of a source in which they can be looked up.
REPORTED_SOURCE = (
    "[the table of maruru-hub/PartialConv-paddle](https://github.com/maruru-hub/PartialConv-paddle#2-accuracy), which "
    "quotes the paper and measured [naoto0804's network]"
    "(https://github.com/naoto0804/pytorch-inpainting-with-partial-conv) and its own"
)

REPORTED = pd.DataFrame(
    [
        ("the paper", "0.1-0.2", 28.32, 0.870, 1.09),
        ("the paper", "0.2-0.3", 25.25, 0.779, 1.88),
        ("the paper", "0.3-0.4", 22.89, 0.689, 2.84),
        ("naoto0804", "0.1-0.2", 26.77, 0.897, 1.41),
        ("naoto0804", "0.2-0.3", 23.25, 0.809, 2.47),
        ("naoto0804", "0.3-0.4", 21.56, 0.728, 3.66),
        ("maruru-hub (Paddle)", "0.1-0.2", 28.33, 0.915, 1.16),
        ("maruru-hub (Paddle)", "0.2-0.3", 25.35, 0.846, 1.91),
        ("maruru-hub (Paddle)", "0.3-0.4", 23.70, 0.781, 2.77),
    ],
    columns=["who", "bin", "psnr", "ssim", "l1"],
)


def describe(model: PConvUNet, published: PConvUNet | None, params: Params) -> str:
    """Return what is evaluated, in words, as Markdown."""
    text = f"A network of width {model.width} and depth {model.depth}, on crops of {params.data.size} px."
    if published is not None:
        size = f"width {published.width} and depth {published.depth}"
        text += f" Beside it the published network in `{params.evaluate.published}`, of {size}."
    return text


def summary(table: pd.DataFrame, by: Sequence[str] = ("method", "bin", "touches_border")) -> pd.DataFrame:
    """Return the number of crops and the mean and standard deviation of each measure per group: n, psnr, psnr_std, ...

    Groups keep the order of the table; the standard deviation of a single crop is NaN.
    """
    groups = table.groupby(list(by), sort=False)
    columns = {"n": groups.size()}
    for measure in MEASURES:
        columns[measure] = groups[measure].mean()
        columns[f"{measure}_std"] = groups[measure].std()
    return pd.DataFrame(columns).reset_index()


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """Return the model's PSNR minus each baseline's, in dB: a row per crop (its index), a column per baseline."""
    psnr = _per_crop(table, "psnr")
    return -psnr[baselines(table)].sub(psnr[OURS], axis=0)


def baselines(table: pd.DataFrame) -> list[str]:
    """Return the names of the classical methods: all but the network and the published one."""
    return [method for method in table["method"].unique() if method not in (OURS, PUBLISHED)]


def _per_crop(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return one measure: a row per crop (its index), a column per method."""
    return table.pivot(index="index", columns="method", values=measure)


def best_and_worst(table: pd.DataFrame, count: int = 3) -> pd.DataFrame:
    """Return the `count` crops with the largest gain over the best baseline, and the `count` with the smallest.

    The best come first. Columns: index, photograph, hole_ratio, baseline (the best for that crop), the PSNR of both in
    dB (ours, theirs) and their difference (gain). Needs at least one baseline. In a short table no crop appears twice.
    """
    gain = gains(table)
    cases = table[table["method"] == OURS].set_index("index")[["photograph", "hole_ratio", "psnr"]]
    cases = cases.rename(columns={"psnr": "ours"}).assign(baseline=gain.idxmin(axis=1), gain=gain.min(axis=1))
    cases = cases.assign(theirs=cases["ours"] - cases["gain"]).sort_values("gain", ascending=False, kind="stable")
    count = min(count, len(cases) // 2)
    return pd.concat([cases.head(count), cases.tail(count)]).reset_index()


def headline(table: pd.DataFrame) -> dict:
    """Return the few numbers that DVC shows and compares: the model's means, and its gain in PSNR over mean fill."""
    values = {measure: float(table.loc[table["method"] == OURS, measure].mean()) for measure in MEASURES}
    if (table["method"] == MEAN).any():
        values["psnr_gain"] = float(gains(table)[MEAN].mean())
    return values


def means(table: pd.DataFrame) -> dict:
    """Return the means over all crops per method, and the model's mean PSNR per bin for holes kept clear of the border
    and for those that are not.
    """
    values = {"n": int(table["index"].nunique()), "photographs": int(table["photograph"].nunique())}
    values["crops out of reach"] = crops_out_of_reach(table)
    for row in summary(table, ["method"]).to_dict("records"):
        values[row["method"]] = {measure: row[measure] for measure in MEASURES}
    if MEAN in values:
        values[OURS]["gain over mean fill dB"] = float(gains(table)[MEAN].mean())
    ours = summary(table[table["method"] == OURS], ["bin", "touches_border"])
    for touches, title in BORDERS.items():
        rows = ours[ours["touches_border"] == touches]
        values[OURS][f"psnr, {title}"] = dict(zip(rows["bin"], rows["psnr"], strict=True))
    return values


def crops_out_of_reach(table: pd.DataFrame) -> int:
    """Return the number of crops whose hole is wider in places than the network reaches, and stays grey there."""
    return int((table[table["method"] == OURS]["unreached"] > 0).sum())


def plot_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the summary as `dvc plots` reads it: a row per method, hole ratio (its bin's middle), touches_border."""
    rows = summary(table)
    rows.insert(1, "hole_ratio", rows.pop("bin").map(bin_middle))
    return rows.round(6)


def bin_middle(name: str) -> float:
    """Return the middle of the bin called `name`: 0.15 for "0.1-0.2", 0.75 for "0.75", the ratio of a grid."""
    bounds = [float(bound) for bound in name.split("-")]
    return round(sum(bounds) / len(bounds), 4)


def counts(crops: Crops) -> pd.DataFrame:
    """Return the number of crops: a row per border constraint, a column per bin of the hole ratio."""
    holes = _border_titles(crops.masks["border"] == 0)
    return pd.crosstab(holes, crops.masks["bin"]).rename_axis(index="holes", columns="hole ratio")


def _border_titles(touches: pd.Series) -> pd.Series:
    return touches.map(BORDERS).astype(pd.CategoricalDtype(list(BORDERS.values()), ordered=True))


def comparison(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return one measure as text, "mean ± standard deviation": a row per bin and border, a column per method."""
    rows = summary(table)
    rows["holes"] = _border_titles(rows["touches_border"])
    rows["text"] = [_spread(*values, measure) for values in zip(rows[measure], rows[f"{measure}_std"], strict=True)]
    wide = rows.pivot(index=["bin", "holes", "n"], columns="method", values="text")
    return wide[list(table["method"].unique())].rename_axis(columns=None)


def overall(table: pd.DataFrame) -> pd.DataFrame:
    """Return all measures over all crops as text, "mean ± standard deviation": a row per method."""
    rows = summary(table, ["method"])
    for measure in MEASURES:
        pairs = zip(rows[measure], rows.pop(f"{measure}_std"), strict=True)
        rows[measure] = [_spread(*pair, measure) for pair in pairs]
    return rows.rename(columns=TITLES).set_index("method")


def reported() -> pd.DataFrame:
    """Return results that others report for other photographs and masks, as "PSNR / SSIM / L1": a row for each of them,
    a column per bin of the hole ratio.
    """
    text = [f"{r.psnr:.2f} / {r.ssim:.3f} / {r.l1:.2f}" for r in REPORTED.itertuples()]
    wide = REPORTED.assign(text=text).pivot(index="who", columns="bin", values="text")
    return wide.loc[REPORTED["who"].unique()].rename_axis(index=None, columns=None)


def reported_note(table: pd.DataFrame) -> str:
    """Say where the reported results are from and how much easier or harder this run's crops are, as Markdown.

    What tells is a method that learns nothing: the best baseline, on the bins and the kind of holes that were reported.
    """
    words = f"Source: {REPORTED_SOURCE}."
    alike = table[~table["touches_border"] & table["bin"].isin(REPORTED["bin"])]
    means = summary(alike[alike["method"].isin(baselines(table))], ["method"]).set_index("method")["psnr"]
    if means.empty:
        return words
    paper = REPORTED.loc[REPORTED["who"] == "the paper", "psnr"].mean()
    gap = means.max() - paper
    return (
        f"{words} **They are no yardstick for this run**, whose photographs, masks and size of crops are others: on "
        f"them {means.idxmax()}, which learns nothing, has a mean PSNR of {means.max():.2f} dB in these bins, "
        f"{abs(gap):.2f} dB {'above' if gap > 0 else 'below'} the paper's network on Places2 ({paper:.2f} dB)."
    )


def conclusion(table: pd.DataFrame) -> str:
    """Return what the table shows, in words, as Markdown."""
    means, classical = summary(table, ["method"]).set_index("method"), baselines(table)
    ours, count = means.loc[OURS], table["index"].nunique()
    lines = [
        f"On **{count} crops** of {table['photograph'].nunique()} photographs that were never trained on, "
        f"the network reaches **{ours.psnr:.2f} dB** PSNR, SSIM {ours.ssim:.3f}, an L1 error of {ours.l1:.2f} % and a "
        f"perceptual distance of {ours.perceptual:.4f}."
    ]
    if classical:
        lines += [_versus(table, means.loc[classical, "psnr"].idxmax())]
        lines += [_versus_perceptually(table, means.loc[classical, "perceptual"].idxmin())]
    lines += [_easiest_and_hardest(table), _smooth(table)]
    if missed := crops_out_of_reach(table):
        lines += [
            f"**On {missed} of the {count} crops the hole is wider in places than the network reaches** and stays grey "
            "there; they are measured like the others. A network of greater depth, or smaller crops, would fill them."
        ]
    if MEAN in means.index:
        lines += [_check(table)]
    if PUBLISHED in means.index:
        lines += [_published(table, means)]
    return "\n\n".join(lines)


def _versus(table: pd.DataFrame, best: str) -> str:
    gain = gains(table)[best]
    return (
        f"The best baseline is **{best}**. The network's mean PSNR is {_more_or_less(gain)}, "
        f"and its PSNR is higher on {(gain > 0).sum()} of {len(gain)} crops."
    )


def _versus_perceptually(table: pd.DataFrame, best: str) -> str:
    crops = _per_crop(table, "perceptual")
    nearer = (crops[OURS] < crops[best]).sum()
    return (
        f"By perceptual distance, where less is better, the best baseline is **{best}** with {crops[best].mean():.4f}, "
        f"and the network comes closer to the truth on {nearer} of {len(crops)} crops."
    )


def _published(table: pd.DataFrame, means: pd.DataFrame) -> str:
    """Say what longer training gives: the published network beside this run's and beside the best baseline."""
    psnr, theirs = _per_crop(table, "psnr"), means.loc[PUBLISHED]
    gain = psnr[PUBLISHED] - psnr[OURS]
    text = (
        f"What longer training on more photographs gives: the **published network** reaches {theirs.psnr:.2f} dB PSNR, "
        f"SSIM {theirs.ssim:.3f}, an L1 error of {theirs.l1:.2f} % and a perceptual distance of "
        f"{theirs.perceptual:.4f}. Its mean PSNR is {_more_or_less(gain)} than this run's"
    )
    if classical := baselines(table):
        best = means.loc[classical, "psnr"].idxmax()
        versus = psnr[PUBLISHED] - psnr[best]
        text += f" and {_more_or_less(versus)} than that of {best}, which it beats on {(versus > 0).sum()} crops"
    return f"{text}."


def _easiest_and_hardest(table: pd.DataFrame) -> str:
    ours = table[table["method"] == OURS]
    bins = summary(ours, ["bin"]).set_index("bin")["psnr"]
    borders = summary(ours, ["touches_border"]).set_index("touches_border")["psnr"]
    text = f"The network's mean PSNR is {bins.iloc[0]:.2f} dB for hole ratios {bins.index[0]} "
    text += f"and {bins.iloc[-1]:.2f} dB for {bins.index[-1]}"
    if len(borders) == 2:
        sides = (f"{borders[touches]:.2f} dB for holes {title}" for touches, title in BORDERS.items())
        text += f"; it is {' and '.join(sides)}"
    return text + "."


def _smooth(table: pd.DataFrame) -> str:
    """Say how visible fillings are on smooth surfaces: by their error relative to how the photograph varies there."""
    smooth, limit = errors_on_smooth(table), f"{100 * SMOOTH:.0f} % of the range"
    if smooth.empty:
        return f"No crop varies around its hole by less than {limit}, so nothing is said of smooth surfaces."
    means = summary(table, ["method"]).set_index("method")["psnr"]
    others = [means[baselines(table)].idxmax()] if baselines(table) else []
    others += [PUBLISHED] if PUBLISHED in smooth else []
    beside = "".join(f", {name}'s {smooth[name].median():.1f} times" for name in others)
    text = (
        f"On smooth surfaces, here the crops that vary around the hole by a standard deviation below {limit} "
        f"({len(smooth)} of {table['index'].nunique()}), the network's root mean square error in the hole is "
        f"{smooth[OURS].median():.1f} times that variation{beside} (medians)."
    )
    seen = smooth.loc[smooth[OURS] > 1, "hole_ratio"]
    if seen.empty:
        return f"{text} It exceeds the variation on none of them."
    return (
        f"{text} It exceeds the variation on {len(seen)} of them, with hole ratios from {seen.min():.2f} to "
        f"{seen.max():.2f}: **the filled strokes can stay visible**."
    )


def errors_on_smooth(table: pd.DataFrame) -> pd.DataFrame:
    """Return the root mean square error in the hole divided by the contrast, for crops with a contrast below SMOOTH.

    A row per crop, the smoothest first: contrast, hole_ratio and a column per method. Filling with the local mean would
    give about 1. A contrast below one level of 8 bits, which no one sees, counts as one level.
    """
    crops = table[table["method"] == OURS].set_index("index")[["contrast", "hole_ratio"]]
    smooth = crops[crops["contrast"] < SMOOTH].sort_values("contrast", kind="stable")
    error = (10 ** (-_per_crop(table, "psnr") / 10)).div(crops["hole_ratio"], axis=0).pow(0.5)
    return smooth.join(error.div(crops["contrast"].clip(lower=1 / 255), axis=0))


def _check(table: pd.DataFrame) -> str:
    """Say whether the network learned anything: a higher PSNR than one flat colour, in every bin."""
    gain = gains(table)[MEAN]
    bins = table.drop_duplicates("index").set_index("index")["bin"]
    per_bin = gain.groupby(bins, sort=False).mean()
    behind = [f"{name} ({value:.2f} dB)" for name, value in per_bin.items() if value <= 0]
    verdict = f"does not in {', '.join(behind)}" if behind else "does"
    title = "Check not met" if behind else "Check met"
    return (
        f"**{title}**: the network should exceed the PSNR of mean fill in every bin, and {verdict}. "
        f"Over all crops it is {_more_or_less(gain)}."
    )


def _more_or_less(gain: pd.Series) -> str:
    """Put a mean difference in PSNR and its standard error into words."""
    return f"{abs(gain.mean()):.2f} dB {'higher' if gain.mean() > 0 else 'lower'} (standard error {gain.sem():.2f} dB)"


def _spread(mean: float, std: float, measure: str) -> str:
    digits = DIGITS[measure]
    return f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if std == std else "")  # no deviation of a single crop


def write_crops(table: pd.DataFrame, path: Path | None = None) -> None:
    """Write a row per method and crop, numbers with six decimals: by default reports/metrics/crops.csv."""
    path = path or metric_folder() / "crops.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = table[[*CROP_COLUMNS, *MEASURES]]
    rows.to_csv(path, index=False, float_format="%.6f", lineterminator="\n")


def write_plots(table: pd.DataFrame) -> None:
    """Write reports/plots/evaluate.csv."""
    path = plot_folder() / "evaluate.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    plot_rows(table).to_csv(path, index=False, lineterminator="\n")


def paint_holes(crops: Sequence[Crop], colour: Sequence[float]) -> Tensor:
    """Return the crops with their holes in one RGB colour, values in [0, 1]: (N, 3, H, W)."""
    return torch.stack([torch.where(crop.mask > 0, crop.gt, torch.tensor(colour).view(3, 1, 1)) for crop in crops])


def write_side_by_side(pictures: Tensor, name: str) -> None:
    """Write reports/figures/`name`.png: pictures (N, 3, H, W) from left to right, pixel by pixel, for 06-compare."""
    path = figure_folder() / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (255 * pictures).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    write_image(path, np.hstack(list(pixels)))
