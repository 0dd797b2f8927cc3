"""Numbers, tables, words and files of notebook 05, from a table that was computed by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from pconv.data.decoding import read_image
from pconv.evaluate import Crop
from pconv.notebook import write_metrics
from pconv.params import Params
from pconv.studies import evaluate as study
from pconv.unet import PConvUNet


@pytest.fixture
def table():
    """Four crops of two photographs: two bins, the first with and without border constraint."""
    crops = [("0.1-0.2", True, "a"), ("0.1-0.2", True, "b"), ("0.1-0.2", False, "a"), ("0.2-0.3", False, "b")]
    psnr = {"pconv": [20, 24, 30, 10], "mean fill": [18, 20, 31, 7], "telea": [25, 23, 29, 5]}
    rows = [
        {
            "method": method,
            "bin": name,
            "touches_border": touches,
            "index": i,
            "photograph": photograph,
            "hole_ratio": 0.11 + i / 20,
            "thickness": 8 + 1 / 3,
            "contrast": [0.1, 0.2, 0.01, 0.3][i],
            "unreached": 0,
            "psnr": float(values[i]),
            "ssim": values[i] / 100,
            "l1": values[i] / 10,
            "perceptual": (40 - values[i]) / 1000,
        }
        for method, values in psnr.items()
        for i, (name, touches, photograph) in enumerate(crops)
    ]
    return pd.DataFrame(rows)


def test_means_and_deviations_per_group(table):
    rows = study.summary(table)
    assert list(rows["method"].unique()) == ["pconv", "mean fill", "telea"] and len(rows) == 9
    first = rows.iloc[0]
    assert (first.method, first.bin, first.touches_border, first.n) == ("pconv", "0.1-0.2", True, 2)
    assert first.psnr == 22 and first.psnr_std == pytest.approx(math.sqrt(8))
    assert first.ssim == pytest.approx(0.22) and first.l1 == pytest.approx(2.2)
    assert first.l1_std == pytest.approx(math.sqrt(8) / 10)
    assert rows.iloc[1].n == 1 and math.isnan(rows.iloc[1].psnr_std)


def test_gains_and_cases(table):
    gains = study.gains(table)
    assert gains["mean fill"].tolist() == [2, 4, -1, 3] and gains["telea"].tolist() == [-5, 1, 1, 5]
    cases = study.best_and_worst(table, count=1)
    assert cases["index"].tolist() == [3, 0]
    assert cases["baseline"].tolist() == ["mean fill", "telea"]
    assert cases[["ours", "theirs", "gain"]].to_numpy().tolist() == [[10, 7, 3], [20, 25, -5]]
    assert sorted(study.best_and_worst(table, count=3)["index"]) == [0, 1, 2, 3]  # no crop twice


def test_headline_is_flat(table):
    means = {"psnr": 21, "ssim": 0.21, "l1": 2.1, "perceptual": 0.019}
    assert study.headline(table) == pytest.approx(means | {"psnr_gain": 2})


def test_means_of_every_method_and_bin(table, tmp_path, monkeypatch):
    values = study.means(table)
    assert values["n"] == 4 and values["photographs"] == 2
    assert values["mean fill"] == pytest.approx({"psnr": 19, "ssim": 0.19, "l1": 1.9, "perceptual": 0.021})
    ours = values["pconv"]
    assert (ours["psnr"], ours["gain over mean fill dB"]) == (21, 2)
    assert ours["psnr, not kept clear of the border"] == {"0.1-0.2": 22}
    assert ours["psnr, kept clear of the border"] == {"0.1-0.2": 30, "0.2-0.3": 10}
    monkeypatch.chdir(tmp_path)
    write_metrics("evaluate", values)
    assert json.loads((tmp_path / "reports/metrics/evaluate.json").read_text())["pconv"]["psnr"] == 21


def test_numbers_without_mean_fill(table):
    without = table[table["method"] != "mean fill"]
    assert list(study.headline(without)) == ["psnr", "ssim", "l1", "perceptual"]
    values = study.means(without)
    assert "gain over mean fill dB" not in values["pconv"] and "mean fill" not in values


def test_csv_for_plots(table, tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    study.write_plots(table)
    rows = pd.read_csv(tmp_path / "reports/plots/evaluate.csv")
    measured = "psnr psnr_std ssim ssim_std l1 l1_std perceptual perceptual_std"
    assert list(rows.columns) == f"method hole_ratio touches_border n {measured}".split()
    assert rows.iloc[0].to_list()[:5] == ["pconv", 0.15, True, 2, 22.0]
    assert rows["hole_ratio"].unique().tolist() == [0.15, 0.25]


def test_csv_of_crops(table, tmp_path, monkeypatch):
    """A row per method and crop, in which a reader finds each number with the same digits on every machine."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    study.write_crops(table)
    header, first, *others = (tmp_path / "reports/metrics/crops.csv").read_bytes().decode().split("\n")
    about = "method,index,photograph,bin,touches_border,hole_ratio,thickness,unreached"
    assert header == f"{about},psnr,ssim,l1,perceptual"
    assert first == "pconv,0,a,0.1-0.2,True,0.110000,8.333333,0,20.000000,0.200000,2.000000,0.020000"
    assert len(others) == 12 and others[-1] == ""


def test_the_perceptually_best_baseline_has_the_smallest_distance(table):
    table.loc[table["method"] == "mean fill", "perceptual"] = 0.001
    words = study.conclusion(table)
    assert "best baseline is **telea**. The network's mean PSNR" in words
    assert "the best baseline is **mean fill** with 0.0010" in words and "closer to the truth on 0 of 4 crops" in words


@pytest.mark.parametrize(("name", "middle"), [("0.01-0.1", 0.055), ("0.1-0.2", 0.15), ("0.5-0.6", 0.55)])
def test_middle_of_a_bin(name, middle):
    assert study.bin_middle(name) == middle


def test_tables_of_the_notebook(table):
    psnr = study.comparison(table, "psnr")
    assert list(psnr.columns) == ["pconv", "mean fill", "telea"]
    assert psnr.loc[("0.1-0.2", "not kept clear of the border", 2), "pconv"] == "22.00 ± 2.83"
    assert psnr.loc[("0.2-0.3", "kept clear of the border", 1), "telea"] == "5.00"
    measured = ["19.00 ± 9.83", "0.190 ± 0.098", "1.90 ± 0.98", "0.0210 ± 0.0098"]
    assert study.overall(table).loc["mean fill"].tolist() == [4, *measured]


def test_what_others_reported_stands_by_itself(table):
    rows = study.reported()
    assert list(rows.index) == ["the paper", "naoto0804", "maruru-hub (Paddle)"]
    assert list(rows.columns) == ["0.1-0.2", "0.2-0.3", "0.3-0.4"]
    assert rows.loc["the paper", "0.2-0.3"] == "25.25 / 0.779 / 1.88"


def test_why_the_reported_results_are_no_yardstick(table):
    """Mean fill has 31 and 7 dB on the two crops of these bins whose holes keep clear of the border, Telea less."""
    words = study.reported_note(table)
    assert "on them mean fill, which learns nothing, has a mean PSNR of 19.00 dB in these bins, 6.49 dB below" in words
    assert "network on Places2 (25.49 dB)" in words and "PartialConv-paddle" in words
    table.loc[table["method"] == "telea", "psnr"] += 20
    assert (
        "telea, which learns nothing, has a mean PSNR of 37.00 dB in these bins, 11.51 dB above"
        in study.reported_note(table)
    )
    without = study.reported_note(table[table["method"] == "pconv"])
    assert without.startswith("Source: ") and "yardstick" not in without


def test_errors_on_smooth_surfaces(table):
    """One crop has a contrast below 0.03, 0.01: 30 dB are an error of 10^-1.5 over an image of which 0.21 are hole."""
    (row,) = study.errors_on_smooth(table).itertuples()
    assert (row.Index, row.contrast) == (2, 0.01) and row.hole_ratio == pytest.approx(0.21)
    for method, psnr in {"pconv": 30, "telea": 29}.items():
        assert getattr(row, method) == pytest.approx(10 ** (-psnr / 20) / 0.21**0.5 / 0.01)
    table["contrast"] /= 8
    assert list(study.errors_on_smooth(table).index) == [2, 0, 1]  # the smoothest first


def test_a_contrast_that_no_one_sees_counts_as_one_level_of_grey(table):
    table["contrast"] = 0.0
    assert study.errors_on_smooth(table)["pconv"].iloc[0] == pytest.approx(255 * 10**-1 / 0.11**0.5)


def test_conclusion_on_smooth_surfaces(table, with_published):
    words = study.conclusion(table)
    assert "here the crops that vary around the hole by a standard deviation below 3 % of the range (1 of 4)" in words
    assert "root mean square error in the hole is 6.9 times that variation, telea's 7.7 times (medians)." in words
    seen = "exceeds the variation on 1 of them, with hole ratios from 0.21 to 0.21"
    assert f"{seen}: **the filled strokes can stay visible**." in words
    assert "telea's 7.7 times, published's 3.1 times (medians)" in study.conclusion(with_published)
    table.loc[table["method"] == "pconv", "psnr"] += 40
    assert "It exceeds the variation on none of them." in study.conclusion(table)
    table["contrast"] = 0.9
    assert "No crop varies around its hole by less than 3 % of the range" in study.conclusion(table)


def test_conclusion_says_what_the_numbers_say(table):
    words = study.conclusion(table)
    assert "On **4 crops** of 2 photographs that were never trained on, the network reaches **21.00 dB** PSNR" in words
    assert "SSIM 0.210, an L1 error of 2.10 % and a perceptual distance of 0.0190" in words
    assert "best baseline is **telea**. The network's mean PSNR is 0.50 dB higher (standard error 2.06 dB)" in words
    assert "its PSNR is higher on 3 of 4 crops" in words
    assert "By perceptual distance, where less is better, the best baseline is **telea** with 0.0195" in words
    assert "the network comes closer to the truth on 3 of 4 crops" in words
    assert "mean PSNR is 24.67 dB for hole ratios 0.1-0.2 and 10.00 dB for 0.2-0.3" in words
    assert "22.00 dB for holes not kept clear of the border and 20.00 dB for holes kept clear of the border" in words
    assert "**Check met**" in words and "in every bin, and does. Over all crops it is 2.00 dB higher" in words


@pytest.fixture
def with_published(table):
    """Return the table with a published network, which is 7 dB above this run's on every crop but the last."""
    rows = table[table["method"] == "pconv"].assign(method="published")
    rows["psnr"] += np.where(rows["index"] < 3, 7.0, -1.0)
    rows["perceptual"] = 0.004
    return pd.concat([table[table["method"] == "pconv"], rows, table[table["method"] != "pconv"]])


def test_the_published_network_is_no_baseline(table, with_published):
    pd.testing.assert_frame_equal(study.gains(with_published), study.gains(table))
    pd.testing.assert_frame_equal(study.best_and_worst(with_published), study.best_and_worst(table))
    assert study.headline(with_published) == study.headline(table)
    without, words = (study.conclusion(t).split("\n\n") for t in (table, with_published))
    different = [paragraph for paragraph in words if paragraph not in without]
    assert len(different) == 2 and "**published network**" in different[1]
    assert different[0].replace(", published's 3.1 times", "") in without


def test_the_published_network_stands_in_tables_files_and_words(with_published, tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert study.means(with_published)["published"] == pytest.approx(
        {"psnr": 26, "ssim": 0.21, "l1": 2.1, "perceptual": 0.004}
    )
    assert list(study.comparison(with_published, "psnr").columns) == ["pconv", "published", "mean fill", "telea"]
    study.write_crops(with_published)
    study.write_plots(with_published)
    for path in ("metrics/crops.csv", "plots/evaluate.csv"):
        assert list(pd.read_csv(tmp_path / "reports" / path)["method"].unique())[:2] == ["pconv", "published"]
    words = study.conclusion(with_published)
    assert "reaches 26.00 dB PSNR, SSIM 0.210, an L1 error of 2.10 % and a perceptual distance of 0.0040" in words
    assert "mean PSNR is 5.00 dB higher (standard error 2.00 dB) than this run's" in words
    assert "and 5.50 dB higher (standard error 1.50 dB) than that of telea, which it beats on 4 crops." in words


def test_the_published_network_without_baselines(with_published):
    words = study.conclusion(with_published[with_published["method"].isin(["pconv", "published"])])
    assert words.endswith("5.00 dB higher (standard error 2.00 dB) than this run's.") and "baseline" not in words


def test_what_is_evaluated_is_said():
    params = Params(evaluate={"published": "published/a/b.safetensors"})
    model, published = PConvUNet(4, 3), PConvUNet(6, 4)
    assert study.describe(model, None, params) == "A network of width 4 and depth 3, on crops of 512 px."
    said = study.describe(model, published, params)
    assert said.endswith("the published network in `published/a/b.safetensors`, of width 6 and depth 4.")


def test_conclusion_admits_a_network_behind_mean_fill(table):
    table.loc[table["method"] == "pconv", "psnr"] -= 3.5
    words = study.conclusion(table)
    assert "**Check not met**: the network should exceed the PSNR of mean fill in every bin" in words
    assert "and does not in 0.1-0.2 (-1.83 dB), 0.2-0.3 (-0.50 dB)" in words
    assert "1.50 dB lower" in words


def test_row_of_pictures_is_exact(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 10), np.uint8)
    study.write_side_by_side(
        (torch.from_numpy(pixels) - 0.4).clamp(min=0) / 255, "05-row"
    )  # to the nearest of the 8 bits
    expected = np.hstack([p.transpose(1, 2, 0) for p in pixels])
    assert np.array_equal(read_image(tmp_path / "reports/figures/05-row.png"), expected)


def test_holes_are_painted_and_nothing_else():
    gt, mask = torch.rand(3, 4, 5), torch.ones(1, 4, 5)
    mask[0, 1, 2] = 0
    crop = Crop(0, "a.png", "0.01-0.1", True, 0.05, gt, mask)
    (painted,) = study.paint_holes([crop], (1.0, 0.5, 0.0))
    assert painted[:, 1, 2].tolist() == [1.0, 0.5, 0.0]
    assert torch.equal(painted[:, mask[0] == 1], gt[:, mask[0] == 1])


def test_crops_out_of_reach_are_counted_in_numbers_and_words(table):
    assert study.means(table)["crops out of reach"] == 0 and "reaches**" not in study.conclusion(table)
    table.loc[table["index"] == 1, "unreached"] = 12
    assert study.means(table)["crops out of reach"] == 1
    assert "**On 1 of the 4 crops the hole is wider in places than the network reaches**" in study.conclusion(table)
