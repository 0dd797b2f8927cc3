"""What notebook 04 says of a stage, from numbers made up."""

import json
from dataclasses import replace

import pytest
import torch

from pconv.studies import train as study
from pconv.tensors import WeightsError
from pconv.training.result import Result


def result(psnr):
    """Return what a stage of two epochs, of which the first was the better, has to show."""
    history = [
        {"step": 5, "train/loss": 3.0},
        {"step": 10, "val/loss": 2.0, "val/psnr": 20.0},
        {"step": 20, "val/loss": 2.5, "val/psnr": 19.0},
    ]
    best = {"loss": 2.0, "psnr": psnr, "l1": 3.5}
    about = {"steps": 20, "best_step": 10, "precision": "float32", "device": "cpu"}
    return Result(history, {}, (None, None), about | {"best": best, "last": {"val": {"loss": 2.5}}}, {})


def test_the_conclusion_says_what_was_reached_and_over_how_many_photographs(tiny):
    words = study.conclusion(result(20.0), 1, tiny.set())
    assert words.startswith("In 20 steps (float32, cpu) the validation loss, over 3 crops of 2 photographs, fell from ")
    assert "2.000 after the first epoch to 2.500 after the last. Its minimum, 2.000, was reached at step 10;" in words
    assert "PSNR of 20.00 dB (after the first epoch: 20.00 dB) and an L1 error of 3.50 %" in words
    assert "`models/stage1/best.safetensors`" in words and "Stage 2" not in words


def test_one_photograph(tiny):
    index = tiny / "data/images/val.csv"
    index.write_text("".join(index.read_text().splitlines(keepends=True)[:2]))
    assert study.validation(tiny.set(train__validation=7)) == "7 crops of 1 photograph"


@pytest.mark.parametrize(("start", "words"), [(19.25, "gained **0.75 dB**"), (20.5, "lost **0.50 dB**")])
def test_what_stage_2_gained_is_measured_against_the_weights_that_it_started_from(tiny, start, words):
    (tiny / "reports/metrics").mkdir(parents=True)
    metrics = {"best": {"loss": 1.0, "psnr": start, "l1": 4.25}}
    (tiny / "reports/metrics/stage1.json").write_text(json.dumps(metrics))
    said = study.conclusion(result(20.0), 2, tiny.set(), study.read_stage1())
    assert f"\n\nStage 2 {words}: the weights that it started from" in said
    assert said.endswith(f"fill the same crops with {start:.2f} dB and an L1 error of 4.25 %.")


def test_the_film_has_the_samples_of_both_stages_in_order(tiny):
    params = tiny.set()
    pictures = {step: torch.full((2, 3, 4, 4), step, dtype=torch.uint8) for step in (0, 2, 10)}
    first = replace(result(20.0), samples=pictures)
    (tiny / "models/stage1").mkdir(parents=True)
    study.write_samples(first, 1)
    assert {step: one.tolist() for step, one in study.read_samples(1).items()} == {
        step: one.tolist() for step, one in pictures.items()
    }
    frames = study.film(replace(result(20.0), samples={step: pictures[step] + 100 for step in (0, 2)}), params)
    assert [title for title, _ in frames] == ["step 0", "step 2", "step 10", "step 12"]  # stage 1 has 10 steps
    assert [int(picture.max()) for _, picture in frames] == [0, 2, 10, 102]
    assert all(picture.shape == (3, 4, 4) and picture.dtype == torch.uint8 for _, picture in frames)


def test_damaged_samples_are_named(tiny):
    (tiny / "models/stage1").mkdir(parents=True)
    (tiny / "models/stage1/samples.safetensors").write_bytes(b"no")
    with pytest.raises(WeightsError, match="samples.safetensors: .*train the stage again"):
        study.read_samples(1)
