"""README's tables: on files whose numbers are known, and as committed."""

import json
import subprocess

import pandas as pd
import pytest
from repository import ROOT

from pconv.studies import summary
from pconv.studies.summary import SummaryError


def crops(path, **psnr):
    """Write a table of two crops per method, in two bins of hole ratios, 1 dB to either side of the given PSNR."""
    rows = [
        {"method": method.replace("_", " "), "index": i, "photograph": "007", "bin": name, "psnr": value + (1, -1)[i]}
        | {"ssim": value / 100, "l1": 30 - value, "perceptual": (40 - value) / 1000}
        for method, value in psnr.items()
        for i, name in enumerate(("0.01-0.1", "0.5-0.6"))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)


def table(root, name):
    """Return the cells of a table, a list for each line, as `write` puts it into a README."""
    text = summary.write(f"before\n\n<!-- table: {name} -->\n\nstale\n\n<!-- end of table -->\n\nafter\n", root)
    before, middle, after = text.split("\n\n<!-- ")
    assert before == "before" and after == "end of table -->\n\nafter\n" and "stale" not in text
    lines = [line.strip("|").split("|") for line in middle.splitlines()[2:]]
    assert len({len(line) for line in lines}) == 1
    return [[cell.strip() for cell in line] for line in lines]


def test_results_by_method_and_bin(tmp_path):
    crops(tmp_path / "reports/metrics/crops.csv", pconv=25, telea=24, mean_fill=20)
    head, _, ours, telea, mean = table(tmp_path, "results")
    assert head == ["method", "0.01-0.1", "0.5-0.6", "all", "SSIM", "L1, %", "perceptual"]
    assert ours == ["this network", "**26.00**", "**24.00**", "**25.00**", "**0.250**", "**5.00**", "**0.015**"]
    assert telea == ["Telea (OpenCV)", "25.00", "23.00", "24.00", "0.240", "6.00", "0.016"]
    assert mean[:2] == ["mean fill", "21.00"]


def test_equal_results_are_all_best(tmp_path):
    crops(tmp_path / "reports/metrics/crops.csv", pconv=25.001, telea=25.004)
    assert [row[3] for row in table(tmp_path, "results")[2:]] == ["**25.00**", "**25.00**"]


def test_published_networks_have_tables_of_their_own(tmp_path):
    folder = tmp_path / "published/photos-256"
    crops(folder / "crops-128.csv", pconv=25, biharmonic=26)
    names = [row[0] for row in table(tmp_path, "published-128")[2:]]
    assert names == ["published network", "biharmonic (scikit-image)"]
    crops(folder / "elsewhere-crops-128.csv", pconv=22)
    assert [row[3] for row in table(tmp_path, "elsewhere-128")[2:]] == ["**22.00**"]
    crops(tmp_path / "published/pair-128/crops-128.csv", partial=25, plain=24)
    pair = [(row[0], row[3]) for row in table(tmp_path, "pair-128")[2:]]
    assert pair == [("partial convolutions", "**25.00**"), ("plain convolutions", "24.00")]
    with pytest.raises(SummaryError, match="^published/photos-256/crops-256.csv is missing"):
        table(tmp_path, "published-256")


def test_claims(tmp_path):
    rows = [{"comparison": "a - b", "mean": mean, "measure": "psnr"} for mean in (0.2, -0.111)]
    counted = [{"comparison": "layers", "most": 3}]
    parts = [
        {"statement": "decides", "verdict": "does not hold", "decides": True, "differences": rows},
        {"statement": "aside", "verdict": "holds", "decides": False, "differences": rows},
        {
            "statement": "counted",
            "verdict": "holds",
            "decides": True,
            "differences": counted,
        },
    ]
    claim = {"claim": "It is better", "verdict": "does not hold", "parts": parts}
    path = tmp_path / "reports/metrics/claims.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"claims": {"4": claim}}))
    (row,) = table(tmp_path, "claims")[2:]
    assert row[0] == "4. It is better" and row[1] == "decides<br>counted"
    assert row[2] == "**does not hold**<br>does not hold: -0.11 to +0.20 dB<br>holds"
    for part, text in ((parts[0], "**does not hold**: -0.11 to +0.20 dB"), (parts[2], "**holds**")):
        path.write_text(json.dumps({"claims": {"4": claim | {"parts": [part], "verdict": part["verdict"]}}}))
        assert table(tmp_path, "claims")[2][2] == text


def test_experiments(tmp_path):
    for name, seed, style, psnr in (("00-base", 0, 1, 20.0), ("01-again", 1, 1, 21.0), ("02-style", 0, 120, 19.0)):
        folder = tmp_path / "reports/experiments" / name
        (folder / "reports/metrics").mkdir(parents=True)
        (folder / "params.yaml").write_text(json.dumps({"seed": seed, "loss": {"style": style}}))
        measured = {"psnr": psnr, "ssim": 0.5, "l1": 2, "perceptual": 0.1, "gain over mean fill dB": 1}
        (folder / "reports/metrics/evaluate.json").write_text(json.dumps({"pconv": measured}))
    head, _, base, other = table(tmp_path, "experiments")
    assert head == ["experiment", "loss.style", "PSNR, dB", "SSIM", "L1, %", "perceptual distance"]
    assert base == ["base, 2 seeds", "1", "20.50", "0.500", "2.00", "0.100"]
    assert other == ["style", "120", "19.00", "0.500", "2.00", "0.100"]
    with pytest.raises(SummaryError, match="reports/experiments is empty.*make compare"):
        table(tmp_path / "reports", "experiments")


def test_an_unknown_table_is_named(tmp_path):
    with pytest.raises(SummaryError, match="^no table is called result; there are claims, results"):
        table(tmp_path, "result")


@pytest.mark.parametrize("between", ["", "| a |\n", "\n| a |\n"])
def test_a_table_without_an_end_is_said(between, tmp_path):
    with pytest.raises(SummaryError, match="a table has no end"):
        summary.write(f"<!-- table: results -->\n{between}<!-- end of table -->\n", tmp_path)


def test_text_without_tables_is_left_alone(tmp_path):
    assert summary.write("text\n| a |\n", tmp_path) == "text\n| a |\n"


@pytest.mark.parametrize("page", summary.PAGES)
def test_pages_say_what_the_committed_files_say(page, tmp_path):
    """As committed, both: a rerun here may have changed the metrics. `make readme` mends it."""
    names = ["README.md", "reports", "published"]
    archive = subprocess.run(["git", "archive", "HEAD", *names], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x"], cwd=tmp_path, input=archive, check=True)
    text = (tmp_path / page).read_text()
    assert "<!-- table: " in text
    assert summary.write(text, tmp_path) == text
