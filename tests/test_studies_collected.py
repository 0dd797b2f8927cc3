"""The collected files: what is written is read again, and what does not belong together is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from pconv.studies import collected
from pconv.studies.collected import CROP, MEASURES, CollectedError, Run, read_collected, read_picture, write_run

COMMON = {"photographs": {"train": 3, "sha256": "f" * 64}, "params": {"model.width": 16}, "precision": "float32"}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "claims" / "results"


def run(name="partial", seed=0, methods=("pconv", "telea"), **changes):
    rng = np.random.default_rng(len(name) + seed)
    crops = pd.DataFrame(
        {
            "index": range(4),
            "photograph": ["a b.jpg", "b.jpg", "2024.jpg", "a b.jpg"],
            "bin": ["0.01-0.1", "0.01-0.1", "0.1-0.2", "0.1-0.2"],
            "touches_border": [True, False, True, False],
            "hole_ratio": [0.05, 0.1, 0.125, 0.2],
            "thickness": [3.0, 4.25, 8.5, 9.0],
        }
    )
    tables = [
        crops.assign(method=method, unreached=0, **{measure: rng.uniform(0, 50, 4) for measure in MEASURES})
        for method in methods
    ]
    values = {"crops": f"drawn-{seed}", "about": {"params": {"seed": seed}}, "pictures": {}} | changes
    return Run(name, seed, table=pd.concat(tables, ignore_index=True), **values)


def test_what_is_written_is_read_again():
    runs = [run(), run("plain", 0, ("pconv", "pconv, black", "telea")), run("partial", 1)]
    for one in runs:
        write_run(one, COMMON)
    found = read_collected()
    assert {key: found.about[key] for key in COMMON} == COMMON
    assert list(found.about["experiments"]) == ["partial-0", "partial-1", "plain-0"]
    for one in runs:
        ours = one.table[one.table["method"].str.startswith("pconv")]
        rows = found.table[(found.table["experiment"] == one.name) & (found.table["seed"] == one.seed)]
        assert rows[["method", *CROP, "unreached"]].to_numpy().tolist() == (
            ours[["method", *CROP, "unreached"]].to_numpy().tolist()
        )
        np.testing.assert_allclose(rows[MEASURES], ours[MEASURES], atol=5e-4)


def test_classical_methods_are_kept_once_for_each_set_of_crops(project):
    first = run()
    write_run(first, COMMON)
    write_run(run("plain", 0, ("pconv", "telea", "biharmonic")), COMMON)
    found = read_collected().table
    drawn = found[found["experiment"] == "drawn"]
    assert drawn["method"].tolist() == ["telea"] * 4 + ["biharmonic"] * 4
    telea = first.table[first.table["method"] == "telea"]["psnr"]
    np.testing.assert_allclose(drawn["psnr"][:4], telea, atol=5e-4)
    assert not found["experiment"].isin(["partial", "plain"])[found["method"] == "telea"].any()
    assert sorted(path.name for path in project.iterdir()) == [
        "baselines-drawn-0.csv",
        "crops-drawn-0.csv",
        "experiments.json",
        "partial-0.csv",
        "plain-0.csv",
    ]


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("photographs", {"train": 3, "sha256": "0" * 64}, "photographs"),
        ("params", {"model.width": 32, "new": 1}, "params.model.width"),
        ("precision", "bfloat16", "precision"),
    ],
)
def test_other_photographs_or_parameters_are_refused(key, value, named):
    write_run(run(), COMMON)
    with pytest.raises(CollectedError, match=f"^plain-0: {named} differ"):
        write_run(run("plain"), COMMON | {key: value})
    assert set(read_collected().about["experiments"]) == {"partial-0"}


def test_a_parameter_that_came_later_begins_no_new_collection():
    write_run(run(), COMMON)
    write_run(run("plain"), COMMON | {"params": COMMON["params"] | {"masks.border": "forced"}})
    assert set(read_collected().about["experiments"]) == {"partial-0", "plain-0"}


def test_other_test_crops_of_the_same_name_are_refused():
    write_run(run(), COMMON)
    other = run("plain")
    other.table.loc[2, "photograph"] = "c.jpg"
    with pytest.raises(CollectedError, match="^plain-0: its test crops are not those in .*crops-drawn-0.csv"):
        write_run(other, COMMON)


def test_nothing_collected_is_an_empty_table():
    found = read_collected()
    assert found.about == {} and found.table.empty and set(MEASURES) < set(found.table.columns)


def test_pictures_keep_their_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    write_run(run(pictures={"partial-0": pixels}), COMMON)
    assert np.array_equal(read_picture("partial-0"), pixels)
    assert read_picture("plain-0") is None


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("partial-0.csv", None, "No such file"),
        ("partial-0.csv", "a,b\n1,2\n", "expected the columns method, index"),
        ("partial-0.csv", "method,index,unreached,psnr,ssim,l1,perceptual\npconv,99,0,1,1,1,1\n", "lists crops that"),
        ("partial-0.csv", "method,index,unreached,psnr,ssim,l1,perceptual\npconv,0,0,,1,1,1\n", "without gaps"),
        ("crops-drawn-0.csv", "", "not a table"),
        ("experiments.json", "{", "damaged"),
    ],
)
def test_damaged_files_are_named(project, name, content, message):
    write_run(run(), COMMON)
    (project / name).unlink()
    if content is not None:
        (project / name).write_text(content)
    with pytest.raises(CollectedError, match=f"{name}: .*{message}"):
        read_collected()


def test_the_files_hold_no_more_digits_than_are_told(project):
    write_run(run(), COMMON)
    rows = pd.read_csv(project / "partial-0.csv", dtype=str)
    assert rows["psnr"].str.fullmatch(r"\d+\.\d{1,3}").all()
    json.loads((project / "experiments.json").read_text())
    assert collected.results_folder() == project
