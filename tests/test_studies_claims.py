"""The claims on synthetic tables whose truth is known: verdicts, numbers and words."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import distance_transform_cdt

from pconv.masks.convention import BINS, bin_name
from pconv.masks.drawing import draw_hole, hole_rng
from pconv.masks.tensors import hole_to_mask
from pconv.notebook import write_metrics
from pconv.studies import claims as study
from pconv.studies.bootstrap import FAILS, HOLDS, MISSING, OPEN
from pconv.studies.collected import Collected

CROPS = 8  # of each bin and border constraint
MASKS = torch.ones(1, 1, 8, 8)


def rows(experiment, shift=0.0, method="pconv", seed=0, slope=0.0, noise=0.05, perceptual=0.0, border=0.5):
    """Return what a method reaches on the crops of a seed: PSNR falls with the hole ratio and at the border."""
    rng, count = np.random.default_rng([seed, sum(map(ord, experiment + method))]), 2 * CROPS * len(BINS)
    index = np.arange(count)
    ratio = np.repeat([sum(bounds) / 2 for bounds in BINS], 2 * CROPS)
    touches = index % (2 * CROPS) < CROPS
    psnr = 35 - 20 * ratio - border * touches + shift - slope * ratio + rng.normal(0, noise, count)
    return pd.DataFrame(
        {
            "experiment": experiment,
            "seed": seed,
            "method": method,
            "index": index,
            "photograph": [f"{i % 30}.jpg" for i in index],
            "bin": np.repeat([bin_name(bounds) for bounds in BINS], 2 * CROPS),
            "touches_border": touches,
            "hole_ratio": ratio,
            "thickness": 40 * ratio,
            "unreached": 0,
            "psnr": psnr,
            "ssim": 0.9,
            "l1": 1.0,
            "perceptual": 0.05 + perceptual + rng.normal(0, 0.001, count),
        }
    )


def collected(**shifts):
    """Return a collection of three seeds; shifts: the mean PSNR of an experiment beside that of "partial"."""
    others = {"plain": -1, "unfrozen": -1, "no_style": 0, "no_perceptual": 0, "six_terms": 0, "scale_keras": -1}
    others |= {"scale_sum": -1, "plain_black": -1, "plain_grey": -2, "plain_white": -3} | shifts
    tables, about = [], {}
    for seed in range(3):
        tables.append(rows("partial", seed=seed, perceptual=0.02))
        tables.append(rows("partial", shifts.get("stage1", -1), "pconv, stage 1", seed))
        tables.append(rows("drawn", 3, "telea", seed, slope=20))
        tables.append(rows("drawn", 2, "biharmonic", seed, slope=20))
        tables += [rows("plain", -2 - i, f"pconv, {fill}", seed) for i, fill in enumerate(("black", "grey", "white"))]
        for name, shift in others.items():
            more = 0.02 if name in ("no_style", "no_perceptual") else 0
            tables.append(rows(name.replace("_", "-"), shift, seed=seed, perceptual=more))
        about[f"partial-{seed}"] = {"params": {"seed": seed}, "stage 1": "a", "difference between contents": 0.0}
    about = {"photographs": {"train": 9, "val": 1, "test": 30, "sha256": "f" * 64}, "experiments": about}
    return Collected(pd.concat(tables, ignore_index=True), about | {"precision": "float32"})


def judged(found, published=()):
    return {claim.number: claim for claim in study.all_claims(found, published, MASKS)}


def test_what_is_so_holds():
    claims = judged(collected())
    assert {number: claim.verdict for number, claim in claims.items()} == {
        **dict.fromkeys((1, 2, 3, 4, 5, 6, 8), HOLDS),
        7: MISSING,  # there are no such experiments in the table
    }


@pytest.mark.parametrize(
    "number, shifts, answer",
    [
        (1, {"plain": 1}, FAILS),
        (1, {"plain": 0}, OPEN),
        (3, {"unfrozen": 1}, FAILS),
        (3, {"stage1": 1}, FAILS),
        (3, {"unfrozen": 0}, OPEN),
        (8, {"scale_keras": 0}, OPEN),
        (8, {"scale_keras": 1}, HOLDS),  # other results, whether better or worse
    ],
)
def test_what_is_not_so_does_not_hold(number, shifts, answer):
    assert judged(collected(**shifts))[number].verdict == answer


def test_the_difference_is_the_one_that_was_put_in():
    part = judged(collected(plain=-1.5))[1].parts[0]
    assert list(part.differences["holes"]) == [bin_name(bounds) for bounds in BINS]
    assert part.differences["mean"].to_numpy() == pytest.approx(1.5, abs=0.05)
    assert (part.differences["low"] < part.differences["mean"]).all()
    assert (part.differences["seeds_low"] < part.differences["mean"]).all()
    assert part.differences["ahead"].eq(1).all()  # on every photograph: the noise is small
    assert set(part.differences["seeds"]) == {3} and set(part.differences["crops"]) == {3 * 2 * CROPS}


def test_one_bin_where_it_is_not_so_is_named():
    found = collected()
    worse = (found.table["experiment"] == "partial") & (found.table["bin"] == "0.3-0.4")
    found.table.loc[worse, "psnr"] -= 5
    claim = judged(found)[1]
    assert claim.verdict == FAILS
    assert "**does not hold**; against it: 0.3-0.4." in study.words(claim)


def test_only_what_a_claim_needs_can_speak_against_it():
    """Of claim 6 the two ends, of two-sided claims what may be nothing; an aside says so before its exceptions."""
    claims = judged(collected())
    needed = claims[6].parts[0].differences
    assert needed["claimed"].fillna("").tolist() == ["below 0", "", "", "", "", "above 0"]
    assert needed["speaks"].tolist() == [1, 0, 0, 0, 0, 1] and needed["high"][0] < 0
    assert (needed["low"][2:5] > 0).all()  # clearly ahead, of which the claim says nothing
    assert "**holds**." in study.words(claims[6])
    aside = claims[2].parts[2]
    assert aside.differences["speaks"].tolist() == [0, 1, 1]
    assert f"**{OPEN}** (does not decide the claim)" in study.words(claims[2])
    assert "undecided: mean - black." in study.words(claims[2]) and "against it" not in study.words(claims[2])
    worse = collected()
    worse.table.loc[worse.table["method"].isin(["telea", "biharmonic"]), "psnr"] += 20  # never overtaken
    assert "**does not hold**; against it: 0.5-0.6." in study.words(judged(worse)[6])


def test_a_single_seed_has_no_span():
    pair = study.Runs(pd.concat([rows("partial"), rows("plain", -1)], ignore_index=True), "published pair, 128 px")
    (_, small), (_, single) = study.tables(judged(collected(), [pair])[1])
    assert "seeds" not in single and small["seeds"].str.contains(" to ").all()


def test_seeds_that_disagree_are_named_whatever_the_verdict():
    found = collected(unfrozen=-1)
    other = (found.table["experiment"] == "unfrozen") & (found.table["seed"] == 1)
    found.table.loc[other, "psnr"] += 1.5
    claim = judged(found)[3]
    assert claim.verdict == HOLDS
    assert "**holds**; seeds disagree in sign: frozen - unfrozen." in study.words(claim)


def test_a_published_pair_has_its_say_and_only_in_claim_1():
    pair = study.Runs(pd.concat([rows("partial"), rows("plain", 1)], ignore_index=True), "published pair, 128 px")
    alone = study.Runs(rows("partial"), "published weights, 256 px")
    claims = judged(collected(), [pair, alone])
    assert [part.verdict for part in claims[1].parts] == [HOLDS, FAILS] and claims[1].verdict == FAILS
    for claim in claims.values():
        named = [part.statement for part in claim.parts if part.statement.startswith(pair.name)]
        assert len(named) == (claim.number == 1)


def test_crops_that_only_one_side_has_do_not_count():
    found = collected()
    extra = rows("plain", -1).assign(seed=7)
    table = pd.concat([found.table, extra], ignore_index=True)
    assert judged(found._replace(table=table))[1].parts[0].differences["crops"].eq(3 * 2 * CROPS).all()


def test_contents_that_change_one_bit_are_found():
    found = collected()
    found.about["experiments"]["partial-1"]["difference between contents"] = 2**-24
    claim = judged(found)[2]
    assert claim.parts[0].verdict == claim.verdict == FAILS
    assert "whatever the hole holds: **does not hold**." in study.words(claim)


def test_where_the_network_overtakes_is_said():
    """The best classical method is 3 dB ahead and loses 20 dB per unit of hole ratio more: even at 0.15."""
    claim = judged(collected())[6]
    by_ratio = claim.parts[0]
    assert "the network is ahead from 0.2-0.3 on" in by_ratio.statement
    assert set(by_ratio.differences["comparison"]) == {"network - telea"}
    assert by_ratio.differences["mean"].to_numpy() == pytest.approx(
        [20 * sum(bounds) / 2 - 3 for bounds in BINS], abs=0.05
    )


@pytest.mark.parametrize(("gain", "words"), [(20, "ahead in every class"), (-20, "never clearly ahead")])
def test_a_network_that_overtakes_nowhere_is_ahead_everywhere_or_never(gain, words):
    found = collected()
    table = found.table.assign(psnr=found.table["psnr"] + gain * (found.table["method"] == "pconv"))
    for part in judged(found._replace(table=table))[6].parts:
        assert part.statement.endswith(f"; the network is {words}")
        assert part.verdict == FAILS


def test_without_any_experiment_nothing_is_decided():
    empty = Collected(collected().table.iloc[:0], {})
    claims = judged(empty)
    assert {claim.verdict for claim in claims.values()} == {MISSING}
    assert "No experiment has been collected yet" in study.data_words({}, [])
    assert study.panels(claims[1]) == []
    for claim in claims.values():
        assert MISSING in study.words(claim)


@pytest.mark.parametrize("size", [16, 33])
def test_layers_until_full_are_the_distance_to_the_nearest_valid_pixel(size):
    """A 3 x 3 layer reaches one pixel further, diagonals included; beyond the image nothing is valid."""
    for i in range(12):
        hole = draw_hole(hole_rng(0, "test", i), size, 0.2, 0.9)
        distance = distance_transform_cdt(hole, metric="chessboard").max()
        assert study.layers_until_full(hole_to_mask(hole)[None]) == distance


def test_a_mask_without_a_valid_pixel_never_becomes_full():
    assert study.layers_until_full(torch.zeros(1, 1, 8, 8)) is None
    part = study.mask_and_scale(study.Runs(collected().table, study.SMALL), torch.zeros(1, 1, 8, 8)).parts[0]
    assert part.verdict == FAILS


def test_numbers_are_json_without_nan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    apart = collected()  # bins that share no photograph, so that nobody is ahead on any
    apart.table["photograph"] += apart.table["bin"].where(apart.table["bin"] < "0.3", "")
    for found in (collected(), apart, Collected(collected().table.iloc[:0], {})):
        claims = study.all_claims(found, [], MASKS)
        write_metrics("claims", study.numbers(claims, found.about))
        written = json.loads((tmp_path / "reports/metrics/claims.json").read_text())
        assert list(written["claims"]) == [str(number) for number in range(1, 9)]
        assert written["claims"]["1"]["verdict"] == claims[0].verdict
    table = study.verdicts(claims)
    assert list(table.index) == list(range(1, 9)) and list(table["verdict"]) == [MISSING] * 8


def test_tables_show_what_was_computed():
    claim = judged(collected(plain=-1.5))[1]
    ((statement, table),) = study.tables(claim)
    assert statement == claim.parts[0].statement
    row, first = claim.parts[0].differences.iloc[0], table.iloc[0]
    assert first["difference"] == f"{row['mean']:+.2f}"
    assert first["95 % interval"] == f"{row['low']:+.2f} to {row['high']:+.2f}"


def test_fewer_than_three_seeds_decide_nothing():
    whole = collected()
    few = whole.table[(whole.table["experiment"] != "plain") | (whole.table["seed"] < 2)]
    claims = judged(Collected(few, whole.about))
    assert claims[1].verdict == MISSING and claims[3].verdict == HOLDS


def test_published_tables_are_read_where_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").touch()
    assert study.read_published() == []
    for name, tables in {
        "photos-256/crops-256.csv": [rows("partial"), rows("partial", method="telea")],
        "pair-128/crops-128.csv": [rows("partial", method="partial"), rows("plain", method="plain").assign(psnr=1.0)],
    }.items():
        path = tmp_path / "published" / name
        path.parent.mkdir(parents=True)
        pd.concat(tables).drop(columns=["experiment", "seed"]).to_csv(path, index=False)
    alone, pair = study.read_published()
    assert (alone.name, pair.name) == ("published weights, 256 px", "published pair, 128 px")
    count = len(rows("partial"))
    assert len(alone.get("partial")) == len(alone.get("partial", "telea")) == len(pair.get("partial")) == count
    assert alone.get("plain").empty and set(pair.get("plain")["psnr"]) == {1.0}


def test_arms_that_began_differently_are_named():
    found = collected()
    assert "they did for every seed" in study.data_words(found.about, [])
    found.about["experiments"]["unfrozen-2"] = {"params": {"seed": 2}, "stage 1": "b"}
    assert "they did not for seed 2" in study.data_words(found.about, [])


def test_experiments_are_listed_with_what_they_change():
    about = {"experiments": {f"x-{s}": {"params": {"model.fill": "grey", "seed": s}} for s in (0, 1)}}
    table = study.experiments(about)
    assert table.loc["x"].to_dict() == {"seeds": "0, 1", "differs in": "model.fill = grey"}


def test_half_a_published_pair_decides_nothing():
    half = study.Runs(rows("plain"), "published pair, 128 px")
    claims = judged(collected(), [half])
    assert [len(claims[number].parts) for number in (1, 5, 6)] == [2, 2, 2]
    assert claims[1].verdict == claims[1].parts[1].verdict == MISSING


def test_ahead_counts_photographs_not_crops():
    first = pd.DataFrame({"photograph": ["a", "a", "b", "c"], "seed": 0, "index": range(4), "psnr": [1.0, 9, 2, 3]})
    row = study.compare(first, first.assign(psnr=[3.0, 3, 4, 1]), "x", "all")
    assert row["ahead"] == 2 / 3 and row["photographs"] == 3 and row["mean"] == 1
    assert study.compare(first, first.assign(photograph="d"), "x", "all")["ahead"] is None
