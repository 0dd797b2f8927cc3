"""A model and the baselines over test photographs x test masks, into one table (Liu et al. 2018, section 4.3).

One crop of a held-out photograph per test mask. What is measured is always the composite, M gt + (1 - M) out clamped
to [0, 1]: valid pixels count as they are, whatever a method returned there.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from pconv import baselines, metrics
from pconv.images import crop, image_root, read_image, read_manifest, write_image
from pconv.losses import compose
from pconv.masks import hole_to_mask, mask_folder, read_hole, read_index
from pconv.params import Params, project_root
from pconv.progress import Progress
from pconv.unet import inpaint

OURS = "pconv"
MEAN = "mean fill"
TITLES = {"psnr": "PSNR, dB", "ssim": "SSIM", "l1": "L1, %"}
MEASURES = tuple(TITLES)
BORDERS = {False: "touching the border", True: "clear of the border"}
BATCH = 8  # crops; bounds the memory at 512 px

# Places2, 512 px, masks clear of the border; hole_ratio: the middle of the bin.
PUBLISHED_SOURCE = "table in github.com/maruru-hub/PartialConv-paddle"
PUBLISHED = pd.DataFrame(
    [
        ("the paper", "0.1-0.2", 0.15, 28.32, 0.870, 1.09),
        ("the paper", "0.2-0.3", 0.25, 25.25, 0.779, 1.88),
        ("the paper", "0.3-0.4", 0.35, 22.89, 0.689, 2.84),
        ("naoto0804", "0.1-0.2", 0.15, 26.77, 0.897, 1.41),
        ("naoto0804", "0.2-0.3", 0.25, 23.25, 0.809, 2.47),
        ("naoto0804", "0.3-0.4", 0.35, 21.56, 0.728, 3.66),
        ("maruru-hub (Paddle)", "0.1-0.2", 0.15, 28.33, 0.915, 1.16),
        ("maruru-hub (Paddle)", "0.2-0.3", 0.25, 25.35, 0.846, 1.91),
        ("maruru-hub (Paddle)", "0.3-0.4", 0.35, 23.70, 0.781, 2.77),
    ],
    columns=["who", "bin", "hole_ratio", *MEASURES],
).assign(data="Places2")


class EvaluationError(RuntimeError):
    """A result that cannot be measured; the message names the method and the crop."""


class Crop(NamedTuple):
    """A crop of a test photograph with its mask."""

    index: int
    photograph: str  # its path in the folder of photographs
    bin: str
    border: bool  # True: the hole keeps clear of the image's border
    hole_ratio: float
    gt: Tensor  # (3, H, W), float32 RGB in [0, 1]
    mask: Tensor  # (1, H, W), 1 valid, 0 hole


class Crops(Sequence):
    """The test set: row i of the test masks' index with a crop that is a function of (seed, i) alone.

    Photographs come in turn. Crops are read when asked for, so that a test set of any length fits into memory.
    """

    def __init__(self, params: Params):
        self.params = params
        self.masks = read_index("test")
        self.photographs = read_manifest(params.data, "test")

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, i: int | slice) -> Crop | list[Crop]:
        if isinstance(i, slice):
            return [self[n] for n in range(*i.indices(len(self)))]
        row = self.masks.iloc[i]
        path = self.photographs[i % len(self.photographs)]
        rng = np.random.default_rng([self.params.seed, int.from_bytes(b"crop"), i])
        pixels = crop(read_image(path), self.params.data.size, self.params.data.crop, rng)
        gt = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        mask = hole_to_mask(read_hole(mask_folder("test") / row.file))
        if mask.shape[1:] != gt.shape[1:]:
            raise EvaluationError(f"masks are {len(mask[0])} px, crops {len(gt[0])} px: run `dvc repro masks` first")
        name = path.relative_to(image_root(self.params.data)).as_posix()
        return Crop(i, name, row.bin, bool(row.border), float(row.hole_ratio), gt, mask)

    def one_per_bin(self) -> list[Crop]:
        """The same few crops whenever pictures are shown: the first of each bin, border or not as it comes."""
        return [self[i] for i in self.masks.drop_duplicates("bin").index]


def composites(model: nn.Module, names: Sequence[str], crops: Sequence[Crop]) -> dict[str, Tensor]:
    """What the model and the baselines called `names` make of some crops: method -> comp (N, 3, H, W) in [0, 1].

    No method is given the pixels in the hole. Raises EvaluationError where a result is not finite.
    """
    gt, mask = torch.stack([c.gt for c in crops]), torch.stack([c.mask for c in crops])
    results = {OURS: _infer(model, gt * mask, mask)}
    with ThreadPoolExecutor() as pool:  # OpenCV and SuperLU let go of the interpreter while they work
        for name in names:
            filled = pool.map(lambda c, name=name: baselines.fill(name, c.gt * c.mask, c.mask), crops)
            results[name] = torch.stack(list(filled))
    for method, result in results.items():
        _check_finite(method, result, crops)
    return {method: compose(gt, result.clamp(0, 1), mask) for method, result in results.items()}


def _infer(model: nn.Module, image: Tensor, mask: Tensor) -> Tensor:
    """The model's composite in float32 on the device that the model is on, the same in every run."""
    device = next(model.parameters(), image).device
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        return inpaint(model, image.to(device), mask.to(device)).cpu()


def _check_finite(method: str, result: Tensor, crops: Sequence[Crop]) -> None:
    wrong = (~result.isfinite()).flatten(1).sum(1)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        one = crops[first]
        raise EvaluationError(
            f"{method}: {wrong[first]} of {result[first].numel()} values are not finite in crop {one.index} "
            f"(photograph {one.photograph}, hole ratio {one.hole_ratio:.3f})"
        )


def evaluate(model: nn.Module, params: Params) -> pd.DataFrame:
    """Measure the model ("pconv") and each of params.evaluate.baselines on every test crop.

    Returns one row per method and crop: method, bin, border (True: the hole keeps clear of the image's border), index,
    photograph, hole_ratio, psnr (dB), ssim, l1 (percent). Raises EvaluationError where a result is not finite.
    """
    crops, names = Crops(params), params.evaluate.baselines
    rows = {method: [] for method in (OURS, *names)}
    with Progress(desc="evaluate, crop", total=len(crops)) as progress:
        for start in range(0, len(crops), BATCH):
            batch = crops[start : start + BATCH]
            for method, comp in composites(model, names, batch).items():
                rows[method] += _measure(method, comp, batch)
            progress.update(len(batch))
    return pd.DataFrame([row for method in rows for row in rows[method]])


def _measure(method: str, comp: Tensor, crops: Sequence[Crop]) -> list[dict]:
    gt = torch.stack([c.gt for c in crops])
    values = zip(metrics.psnr(comp, gt), metrics.ssim(comp, gt), metrics.l1_percent(comp, gt), strict=True)
    return [
        {
            "method": method,
            "bin": one.bin,
            "border": one.border,
            "index": one.index,
            "photograph": one.photograph,
            "hole_ratio": one.hole_ratio,
            **{measure: float(value) for measure, value in zip(MEASURES, measured, strict=True)},
        }
        for one, measured in zip(crops, values, strict=True)
    ]


def summary(table: pd.DataFrame, by: Sequence[str] = ("method", "bin", "border")) -> pd.DataFrame:
    """Number of crops, mean and standard deviation of each measure, per group: n, psnr, psnr_std, ...

    Groups come in the table's order; the deviation of a single crop is NaN.
    """
    groups = table.groupby(list(by), sort=False)
    columns = {"n": groups.size()}
    for measure in MEASURES:
        columns[measure] = groups[measure].mean()
        columns[f"{measure}_std"] = groups[measure].std()
    return pd.DataFrame(columns).reset_index()


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """PSNR of the model minus that of each baseline, dB: a row per crop (its index), a column per baseline."""
    psnr = table.pivot(index="index", columns="method", values="psnr")[list(table["method"].unique())]
    return -psnr.drop(columns=OURS).sub(psnr[OURS], axis=0)


def best_and_worst(table: pd.DataFrame, count: int = 3) -> pd.DataFrame:
    """The `count` crops where the model gains most over the best baseline, and the `count` where it gains least.

    Best first; columns index, photograph, hole_ratio, baseline (the best one for that crop) and the PSNR, dB, of both:
    ours, theirs; gain is their difference. Needs at least one baseline; a short table is not shown twice.
    """
    gain = gains(table)
    cases = table[table["method"] == OURS].set_index("index")[["photograph", "hole_ratio", "psnr"]]
    cases = cases.rename(columns={"psnr": "ours"}).assign(baseline=gain.idxmin(axis=1), gain=gain.min(axis=1))
    cases = cases.assign(theirs=cases["ours"] - cases["gain"]).sort_values("gain", ascending=False, kind="stable")
    count = min(count, len(cases) // 2)
    return pd.concat([cases.head(count), cases.tail(count)]).reset_index()


def headline(table: pd.DataFrame) -> dict:
    """The few numbers that `dvc metrics diff` compares, for reports/metrics/evaluate.json.

    Means over all crops per method, and the model's mean PSNR per bin, with and without border constraint.
    """
    values = {"n": int(table["index"].nunique()), "photographs": int(table["photograph"].nunique())}
    for row in summary(table, ["method"]).to_dict("records"):
        values[row["method"]] = {measure: row[measure] for measure in MEASURES}
    if MEAN in values:
        values[OURS]["gain over mean fill dB"] = float(gains(table)[MEAN].mean())
    ours = summary(table[table["method"] == OURS], ["bin", "border"])
    for border, title in BORDERS.items():
        rows = ours[ours["border"] == border]
        values[OURS][f"psnr, {title}"] = dict(zip(rows["bin"], rows["psnr"], strict=True))
    return values


def plot_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The summary as `dvc plots` wants it: a row per method, hole ratio (the middle of its bin) and border."""
    rows = summary(table)
    rows.insert(1, "hole_ratio", rows.pop("bin").map(bin_middle))
    return rows.round(6)


def bin_middle(name: str) -> float:
    """The middle of the bin called `name`: 0.15 for "0.1-0.2"."""
    low, high = map(float, name.split("-"))
    return round((low + high) / 2, 4)


# Tables and words for the notebook


def counts(crops: Crops) -> pd.DataFrame:
    """Number of crops: a row per border constraint, a column per bin of the hole ratio."""
    holes = _border_titles(crops.masks["border"] > 0)
    return pd.crosstab(holes, crops.masks["bin"]).rename_axis(index="holes", columns="hole ratio")


def _border_titles(border: pd.Series) -> pd.Series:
    return border.map(BORDERS).astype(pd.CategoricalDtype(list(BORDERS.values()), ordered=True))


def comparison(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """One measure as text, "mean ± standard deviation": a row per bin and border, a column per method, and n."""
    rows = summary(table)
    rows["holes"] = _border_titles(rows["border"])
    rows["text"] = [_spread(*values, measure) for values in zip(rows[measure], rows[f"{measure}_std"], strict=True)]
    wide = rows.pivot(index=["bin", "holes", "n"], columns="method", values="text")
    return wide[list(table["method"].unique())].rename_axis(columns=None)


def overall(table: pd.DataFrame) -> pd.DataFrame:
    """All measures over all crops as text, "mean ± standard deviation": a row per method."""
    rows = summary(table, ["method"])
    for measure in MEASURES:
        pairs = zip(rows[measure], rows.pop(f"{measure}_std"), strict=True)
        rows[measure] = [_spread(*pair, measure) for pair in pairs]
    return rows.rename(columns=TITLES).set_index("method")


def beside_published(table: pd.DataFrame) -> pd.DataFrame:
    """This run beside the published figures, "PSNR / SSIM / L1" for the three bins that those cover.

    The published figures are Places2's, so the rows differ in far more than the network.
    """
    ours = table[(table["method"] == OURS) & table["border"] & table["bin"].isin(PUBLISHED["bin"])]
    rows = pd.concat([summary(ours, ["bin"]).assign(who="this run", data="test photographs"), PUBLISHED])
    rows["text"] = [f"{r.psnr:.2f} / {r.ssim:.3f} / {r.l1:.2f}" for r in rows.itertuples()]
    wide = rows.pivot(index=["who", "data"], columns="bin", values="text")
    return wide.loc[rows["who"].unique()].rename_axis(columns=None)


def conclusion(table: pd.DataFrame) -> str:
    """What the table shows, in words, Markdown."""
    means = summary(table, ["method"]).set_index("method")
    ours, count = means.loc[OURS], table["index"].nunique()
    lines = [
        f"On **{count} crops** of photographs that training never saw ({table['photograph'].nunique()} of them), "
        f"the network reaches **{ours.psnr:.2f} dB** PSNR, SSIM {ours.ssim:.3f} and an L1 error of {ours.l1:.2f} %."
    ]
    if len(means) > 1:
        lines += [_versus(table, means.drop(OURS)["psnr"].idxmax())]
    lines += [_easiest_and_hardest(table)]
    if MEAN in means.index:
        lines += [_check(table)]
    return "\n\n".join(lines)


def _versus(table: pd.DataFrame, best: str) -> str:
    gain = gains(table)[best]
    return (
        f"The best baseline here is **{best}**; the network is {_more_or_less(gain)} than it, "
        f"and ahead in {(gain > 0).sum()} of {len(gain)} crops."
    )


def _easiest_and_hardest(table: pd.DataFrame) -> str:
    ours = table[table["method"] == OURS]
    bins = summary(ours, ["bin"]).set_index("bin")["psnr"]
    borders = summary(ours, ["border"]).set_index("border")["psnr"]
    text = f"Its PSNR goes from {bins.iloc[0]:.2f} dB for hole ratios {bins.index[0]} "
    text += f"to {bins.iloc[-1]:.2f} dB for {bins.index[-1]}"
    if len(borders) == 2:
        sides = (f"{borders[border]:.2f} dB for holes {title}" for border, title in BORDERS.items())
        text += f"; it is {' and '.join(sides)}"
    return text + "."


def _check(table: pd.DataFrame) -> str:
    """Whether the network learned anything: more PSNR than one flat colour, in every bin."""
    gain = gains(table)[MEAN]
    bins = table.drop_duplicates("index").set_index("index")["bin"]
    per_bin = gain.groupby(bins, sort=False).mean()
    behind = [f"{name} ({value:.2f} dB)" for name, value in per_bin.items() if value <= 0]
    verdict = f"it is not in {', '.join(behind)}" if behind else "it is in every bin"
    title = "Check not met" if behind else "Check met"
    return f"**{title}**: the network should be ahead of mean fill, and {verdict}; over all, {_more_or_less(gain)}."


def _more_or_less(gain: pd.Series) -> str:
    """A mean difference in PSNR and its standard error, in words."""
    return f"{abs(gain.mean()):.2f} dB {'better' if gain.mean() > 0 else 'worse'} (standard error {gain.sem():.2f} dB)"


def _spread(mean: float, std: float, measure: str) -> str:
    digits = 3 if measure == "ssim" else 2
    return f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if std == std else "")  # no deviation of a single crop


# Files


def write_plots(table: pd.DataFrame) -> None:
    """Write reports/plots/evaluate.csv."""
    path = project_root() / "reports" / "plots" / "evaluate.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    plot_rows(table).to_csv(path, index=False, lineterminator="\n")


def painted(crops: Sequence[Crop], colour: Sequence[float]) -> Tensor:
    """The crops with their holes in one RGB colour, values in [0, 1]: (N, 3, H, W)."""
    return torch.stack([torch.where(crop.mask > 0, crop.gt, torch.tensor(colour).view(3, 1, 1)) for crop in crops])


def write_row(pictures: Tensor, name: str) -> None:
    """Write reports/figures/`name`.png: pictures (N, 3, H, W) side by side, pixel by pixel, for 06-compare."""
    path = project_root() / "reports" / "figures" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (255 * pictures).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    write_image(path, np.hstack(list(pixels)))
