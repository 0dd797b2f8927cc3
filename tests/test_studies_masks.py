"""What one source of masks costs another: computed from the right numbers, and said with them."""

import json

import numpy as np
import pytest

from pconv.studies.masks import describe_transfer, read_transfer

PSNR = {  # trained with: measured with: of two seeds
    "drawn": {"drawn": [20.0, 20.2], "strokes": [21.0, 21.0]},
    "strokes": {"drawn": [19.0, 19.4], "strokes": [21.5, 21.7]},
}

ABOUT = {"seeds": [0, 1], "size": 64, "width": 16, "depth": 5, "training crops": 20_800, "test crops": 240}


@pytest.fixture
def transfer(tmp_path):
    (tmp_path / "transfer.json").write_text(json.dumps(ABOUT | {"psnr": PSNR}))
    return read_transfer(tmp_path / "transfer.json")


def test_a_loss_is_to_the_network_that_was_trained_with_the_masks_it_is_measured_with(transfer):
    assert transfer.psnr.loc["strokes", "drawn"] == pytest.approx(19.2)
    assert transfer.losses.loc["strokes", "drawn"] == pytest.approx(20.1 - 19.2)
    assert transfer.losses.loc["drawn", "strokes"] == pytest.approx(21.6 - 21.0)
    assert np.diag(transfer.losses).tolist() == [0, 0]
    assert transfer.spread == pytest.approx(0.2 * 2**0.5) and transfer.about == ABOUT


def test_the_sentence_names_the_dearest_and_the_cheapest_pair(transfer):
    assert describe_transfer(transfer) == (
        "Each network, of width 16 and depth 5, has seen 20,800 crops of 64 px, and is measured on 240. Another source "
        "than the one it is measured with costs up to 0.90 dB (trained with strokes and measured with drawn) and costs "
        "0.60 dB at the least (trained with drawn and measured with strokes). Over the 2 seeds a figure varies by at "
        "most 0.28 dB (standard deviation)."
    )


def test_a_source_may_be_better_than_the_one_that_is_measured_with(transfer):
    transfer.losses.loc["drawn", "strokes"] = -0.125
    assert "and gains up to 0.12 dB (trained with drawn and measured with strokes)." in describe_transfer(transfer)
