"""Comparing experiments, whatever they changed and whatever they lack: the tables, words and figures of notebook 06."""

import io
import json
import math
import subprocess
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
from dvc.repo import Repo
from matplotlib.backends.backend_agg import FigureCanvasAgg
from repository import ENVIRONMENT

from pconv import figures
from pconv.data.decoding import write_image
from pconv.figures.compare import experiment_rows, metric_against_parameter
from pconv.studies import compare
from pconv.studies.compare import ABSENT, ComparisonError, Experiment

DEFAULT = {"loss.style": 1.0, "train.recolour": True, "data.folder": None, "data.crop": [0.3, 0.6], "seed": 0}


def run(name, psnr=20.0, **changed):
    """Return an experiment with some parameters, given with _ for the dot, changed."""
    params = DEFAULT | {key.replace("_", ".", 1): value for key, value in changed.items()}
    return Experiment(name, params, {} if psnr is None else metrics(psnr), {}.get)


def metrics(psnr):
    """Return what a run of this PSNR measured."""
    others = {"ssim": psnr / 100, "l1": 30 - psnr, "perceptual": (40 - psnr) / 1000}
    return {"psnr": psnr, **others, "gain over mean fill dB": 1.0}


def panels(figure):
    """Return what the panels of a figure show: title -> the lines of text beside it and the points of its last panel.

    The last panel is that of the perceptual distance. Points are without the ring and the line of the first run.
    """
    FigureCanvasAgg(figure).draw()
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    starts = [i for i, title in enumerate(titles) if title]
    ends = [*starts[1:], len(titles)]
    return {
        titles[i]: ([label.get_text() for label in figure.axes[i].get_yticklabels()], points(figure.axes[end - 1]))
        for i, end in zip(starts, ends, strict=True)
    }


def points(axis):
    """Return the values of the filled points of a panel from top to bottom."""
    (line,) = [line for line in axis.lines if line.get_marker() == "o" and line.get_fillstyle() != "none"]
    return line.get_xdata().tolist()


def draw(*runs):
    return metric_against_parameter(compare.changed_params(list(runs)), compare.measured(list(runs)))


@pytest.mark.parametrize(
    ("changed", "key", "texts"),
    [
        ({"loss_style": 120}, "loss.style", ["1", "120"]),
        ({"loss_style": 0.05}, "loss.style", ["1", "0.05"]),
        ({"train_recolour": False}, "train.recolour", ["true", "false"]),
        ({"data_folder": "photographs"}, "data.folder", ["null", "photographs"]),
        ({"data_crop": [0.3, 1]}, "data.crop", ["[0.3, 0.6]", "[0.3, 1]"]),
        ({"data_crop": None}, "data.crop", ["[0.3, 0.6]", "null"]),
        ({"new_key": 3}, "new.key", [ABSENT, "3"]),
    ],
)
def test_a_changed_parameter_of_any_kind(changed, key, texts):
    runs = [run("base"), run("other", psnr=21.5, **changed)]
    table = compare.changed_params(runs)
    assert list(table.columns) == [key] and table[key].tolist() == texts
    lines, values = panels(draw(*runs))[key]
    assert lines == [f"base: {texts[0]}", f"other: {texts[1]}"] and values == [0.02, 0.0185]
    words = compare.conclusion(runs)
    assert (
        f"- other ({key} = {texts[1]}): +1.50 dB PSNR, +0.0150 SSIM, -1.500 percentage points of L1 and -0.0015"
        in words
    )
    assert (
        f"They differ in {key}. other has the highest PSNR, 21.50 dB. other has the smallest perceptual dist" in words
    )


def test_equal_values_are_no_change_but_true_is_not_one():
    assert compare.changed_params([run("a", seed=1), run("b", seed=1.0)]).columns.empty
    assert compare.changed_params([run("a", seed=1), run("b", seed=True)])["seed"].tolist() == ["1", "true"]
    assert compare.changed_params([run("a", seed=0.1), run("b", seed=0.1 + 1e-9)]).shape == (2, 1)


def test_numbers_stand_in_order_of_size_below_the_first_run():
    runs = [run(f"run {value}", loss_style=value) for value in [10, 9, 1e-5, 100.0, None]]
    lines, _ = panels(draw(*runs))["loss.style"]
    assert lines == ["run 10: 10", "run 1e-05: 1e-05", "run 9: 9", "run 100.0: 100", "run None: null"]


def test_a_panel_shows_the_runs_that_differ_in_its_parameter():
    both = {"loss_style": 5, "seed": 7}
    runs = [run("base"), run("style", loss_style=5), run("seed", seed=7), run("both", **both)]
    shown = panels(draw(*runs))
    assert shown["loss.style"][0] == ["base: 1", "style: 5", "both: 5"]
    assert shown["seed"][0] == ["base: 0", "seed: 7", "both: 7"]


def test_parameters_that_always_change_together_share_a_panel():
    runs = [run("base"), run("other", loss_style=5, seed=7), run("third", loss_style=6, seed=8)]
    assert panels(draw(*runs)) == {
        "loss.style, seed": (["base: 1, 0", "other: 5, 7", "third: 6, 8"], [0.02, 0.02, 0.02])
    }


def test_no_changed_parameter():
    runs = [run("base"), run("again", psnr=21.0)]
    assert panels(draw(*runs)) == {"no parameter differs": (["base", "again"], [0.02, 0.019])}
    words = compare.conclusion(runs)
    assert "No parameter differs between them. again has the highest PSNR" in words
    assert "- again (the same parameters): +1.00 dB" in words


@pytest.mark.parametrize(("first", "second", "lacking"), [(20.0, None, "other"), (None, 20.0, "base")])
def test_missing_metrics(first, second, lacking):
    runs = [run("base", psnr=first), run("other", psnr=second, loss_style=2)]
    results = compare.measured(runs)
    assert results.loc[lacking].isna().all()
    _, values = panels(draw(*runs))["loss.style"]
    assert [value for value in values if not math.isnan(value)] == [0.02]
    words = compare.conclusion(runs)
    assert f"- other (loss.style = 2): not compared with base, because {lacking} has no results." in words


def test_a_run_from_before_the_perceptual_distance_is_compared_by_the_rest():
    old, new = run("old"), run("new", psnr=19.0)
    del old.metrics["perceptual"]
    for runs, sign in (((old, new), "-"), ((new, old), "+")):
        words = compare.conclusion(list(runs))
        moved = f"{sign}1.00 dB PSNR, {sign}0.0100 SSIM and {'+' if sign == '-' else '-'}1.000 percentage points of L1"
        assert f"{moved} relative to {runs[0].name}." in words
        assert "old has the highest PSNR, 20.00 dB. new has the smallest perceptual distance, 0.0210." in words


def test_no_metrics_at_all():
    runs = [run("base", psnr=None), run("other", psnr=None)]
    words = compare.conclusion(runs)
    assert "highest" not in words and "has no results" in words
    assert [math.isnan(value) for value in panels(draw(*runs))["no parameter differs"][1]] == [True, True]


LONG = "a-name-as-long-as-git-and-dvc-allow-people-to-choose-and-longer"


@pytest.mark.parametrize(("count", "name", "number"), [(1, "b", 2), (1, LONG, 25), (2, "two words", 9), (5, LONG, 3)])
def test_every_run_is_named_within_the_figure(count, name, number):
    names = [f"{name}{i}" for i in range(number)]
    runs = [run(one, **{f"loss_key{k}": i * (i != k) for k in range(count)}) for i, one in enumerate(names)]
    figure = draw(*runs)
    shown = panels(figure)
    assert len(shown) == min(count, number)  # with five keys and three runs, two change as others do
    together = "".join("".join(lines) for lines, _ in shown.values()).replace("\n", "")
    assert all(one.replace(" ", "") in together.replace(" ", "") for one in names)
    pixels = figures.draw(figure)
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all()


# What a revision keeps


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Return a repository of one commit with parameters, metrics and pictures."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    Repo.init(".").close()
    (tmp_path / "reports/metrics").mkdir(parents=True)
    (tmp_path / "reports/metrics/evaluate.json").write_text(json.dumps({"pconv": {"psnr": 20.0}}))
    (tmp_path / "params.yaml").write_text("data: {crop: [0.3, 0.6], folder: null}\n")
    return tmp_path


def at_revision(name, rev):
    """Return an experiment whose files are those of a revision."""
    return Experiment(name, {}, {}, partial(compare.read_at, rev=rev))


def git(*arguments):
    command = ["git", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT).stdout.strip()


def commit():
    git("add", "-A")
    git("commit", "-qm", "one")
    return git("rev-parse", "HEAD")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_picture_is_read_in_the_format_that_the_revision_has(repository, suffix):
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:, 16:] = (200, 40, 90)
    (repository / "reports/figures").mkdir()
    cv2.imwrite(str(repository / f"reports/figures/05-row{suffix}"), pixels[..., ::-1])
    one = at_revision("one", commit())
    (repository / f"reports/figures/05-row{suffix}").unlink()  # it is the revision's that counts
    assert np.abs(one.picture("05-row")[:, ::47].astype(int) - pixels[:, ::47]).max() < 12
    assert one.picture("05-masked") is None


def test_pictures_of_other_sizes_and_none(repository):
    (repository / "reports/figures").mkdir()
    for name, size in (("05-masked", 20), ("05-row", 32)):
        write_image(repository / f"reports/figures/{name}.png", np.full((size, 6 * size, 3), 90, np.uint8))
    new = commit()
    git("rm", "-rq", "reports/figures")
    old = commit()
    rows = compare.picture_rows([at_revision("new", new), at_revision("old", old)])
    assert [(row.name, len(row.pictures), row.pictures[0].shape, row.titles) for row in rows] == [
        ("with holes", 6, (20, 20, 3), []),
        ("new", 6, (32, 32, 3), []),
    ]
    FigureCanvasAgg(experiment_rows(rows)).draw()
    assert compare.picture_rows([at_revision("old", old)]) == []


def test_bins_and_dB_stand_above_the_pictures_and_the_truth_below(repository):
    (repository / "reports/figures").mkdir()
    rng = np.random.default_rng(0)
    truth = rng.integers(100, 150, (16, 32, 3), dtype=np.uint8)
    filled = truth.copy()
    filled[:, 16:] += 10
    for name, pixels in (("05-masked", truth), ("05-truth", truth), ("05-row", filled)):
        write_image(repository / f"reports/figures/{name}.png", pixels)
    bins = {
        "psnr, not kept clear of the border": {"0.1-0.2": 1.0},
        "psnr, kept clear of the border": {"0.01-0.1": 1.0, "0.1-0.2": 2.0},
    }
    rows = compare.picture_rows([replace(at_revision("one", commit()), metrics={"psnr": 3.0} | bins)])
    assert [(row.name, row.titles) for row in rows] == [
        ("with holes", ["0.01-0.1", "0.1-0.2"]),
        ("one", ["exact", f"{20 * math.log10(255 / 10):.1f} dB"]),
        ("truth", []),
    ]
    assert np.array_equal(np.hstack(rows[-1].pictures), truth) and np.array_equal(np.hstack(rows[1].pictures), filled)
    texts = [text.get_text() for text in experiment_rows(rows).texts]
    assert {"0.1-0.2", "exact", "28.1 dB", "with holes", "truth"} <= set(texts)


def test_one_run_alone_is_not_compared(repository):
    rev = commit()
    with pytest.raises(ComparisonError, match="HEAD: no experiment to compare with it; run one first.*REV="):
        compare.read_experiments()
    with pytest.raises(ComparisonError, match=f"{rev}: no experiment"):
        compare.read_experiments(rev)


def test_an_unknown_commit_is_named(repository):
    commit()
    with pytest.raises(ComparisonError, match="nowhere: .*name a commit: make compare REV="):
        compare.read_experiments("nowhere")


def test_what_a_revision_lacks_is_left_empty(repository, monkeypatch):
    new = commit()
    git("rm", "-q", "params.yaml", "reports/metrics/evaluate.json")
    old = commit()
    rows = [{"rev": rev, "Experiment": None, "State": None} for rev in ("workspace", new, old)]
    rows.append({"rev": new, "Experiment": "failed", "State": "Failed"})
    monkeypatch.setattr(compare.dvc.api, "exp_show", lambda revs: rows)
    first, second = compare.read_experiments()
    assert first.params == {"data.crop": [0.3, 0.6], "data.folder": None} and first.metrics == {"psnr": 20.0}
    assert (second.name, second.params, second.metrics) == (old, {}, {})


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("params.yaml", b"a: [1"),
        ("params.yaml", b"[1]"),
        ("reports/metrics/evaluate.json", b'{"pconv": '),
        ("params.yaml", b"\xff"),
    ],
)
def test_damaged_files_of_a_run_are_named(path, content, monkeypatch):
    rows = [{"rev": rev, "Experiment": None, "State": None} for rev in ("1234567", "89abcde")]
    files = {"params.yaml": b"{}", "reports/metrics/evaluate.json": b"{}"} | {path: content}
    monkeypatch.setattr(compare.dvc.api, "exp_show", lambda revs: rows)
    monkeypatch.setattr(compare.dvc.api, "open", lambda name, **_: io.BytesIO(files[name]))
    with pytest.raises(ComparisonError, match=rf"1234567: its {path} is damaged.*dvc exp remove 1234567"):
        compare.read_experiments()


def test_damage_of_a_kept_run_says_where_it_is_kept(tmp_path):
    folder = tmp_path / "reports/experiments/00-base"
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text("[1]")
    with pytest.raises(ComparisonError, match="base: its params.yaml is damaged.*its folder in reports/experiments"):
        compare.read_kept(tmp_path)


def test_kept_experiments_are_compared_in_a_clone(repository):
    """What `keep` writes is read back, in its order and byte for byte, where there are no experiments."""
    (repository / "reports/figures").mkdir()
    write_image(repository / "reports/figures/05-row.png", np.full((8, 48, 3), 90, np.uint8))
    first = commit()
    (repository / "params.yaml").write_text("data: {crop: [0.5, 1.0], folder: null}\n")
    second = commit()
    runs = [
        compare.experiment(name, partial(compare.read_at, rev=rev)) for name, rev in (("b", first), ("a-1", second))
    ]
    compare.keep(runs)
    kept = compare.read_experiments()
    assert [one.name for one in kept] == ["b", "a-1"]
    for was, now in zip(runs, kept, strict=True):
        assert (was.params, was.metrics, was.files()) == (now.params, now.metrics, now.files())
        assert now.files().keys() == {"params.yaml", "reports/metrics/evaluate.json", "reports/figures/05-row.png"}
    before = [one.files() for one in kept]
    compare.keep(kept)  # onto itself
    assert [one.files() for one in compare.read_kept()] == before
    compare.keep(kept[:1])
    assert [one.name for one in compare.read_kept()] == ["b"]
    with pytest.raises(ComparisonError, match=f"{second}: no experiment"):
        compare.read_experiments(second)  # they did not start from there


# Seeds


def test_seeds_are_pooled():
    runs = [run("base", 20.0), run("s1", 20.3, seed=1), run("wide", 22.0, loss_style=3), run("s2", 20.6, seed=2)]
    pooled = compare.pool_seeds(runs)
    assert [(one.name, one.seeds) for one in pooled] == [("base, 3 seeds", 3), ("wide", 1)]
    assert pooled[0].metrics["psnr"] == pytest.approx(20.3) and pooled[0].metrics["l1"] == pytest.approx(9.7)
    assert list(compare.changed_params(pooled).columns) == ["loss.style"]


def test_what_one_of_the_seeds_did_not_measure_has_no_mean():
    runs = [run("base"), run("again", seed=1)]
    del runs[1].metrics["perceptual"]
    (one,) = compare.pool_seeds(runs)
    assert "perceptual" not in one.metrics and one.metrics["psnr"] == 20.0


@pytest.mark.parametrize(
    ("psnr", "seeds", "doubt"), [(20.2, 1, True), (20.2, 3, False), (19.8, 1, True), (20.4, 1, False)]
)
def test_a_small_difference_needs_three_seeds(psnr, seeds, doubt):
    runs = [run(f"b{i}", seed=i) for i in range(seeds)]
    runs += [run(f"o{i}", psnr, seed=i, loss_style=2) for i in range(seeds)]
    words = compare.conclusion(compare.pool_seeds(runs))
    assert ("is no difference until 3 seeds agree on it" in words) == doubt
