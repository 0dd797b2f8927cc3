"""What a stage starts from, and what the stages do differently: weights, batch norm, weights of the loss terms."""

import hashlib
import shutil

import pytest
from runs import Killed, resume
from safetensors.torch import load_file

from pconv.tensors import WeightsError, read_tensors
from pconv.train import train
from pconv.training import TrainingError
from pconv.training.trainer import Trainer
from pconv.unet import PConvUNet, load_model


def weights(trainer):
    return trainer.state.model.state_dict()


@pytest.fixture
def start(trained, tiny):
    """Copy the weights of a finished stage 1 into the tiny project; returns the file's path there."""
    shutil.copy(trained.project / "models/stage1/best.safetensors", tiny / "start.safetensors")
    return tiny / "start.safetensors"


def test_stage_1_starts_from_given_weights(tiny, start):
    found, expected = weights(Trainer(tiny.set(train__start="start.safetensors"), 1)), load_file(start)
    assert all(found[name].equal(expected[name]) for name in expected)


def test_a_relative_path_starts_at_the_projects_root(tiny, start, monkeypatch):
    params = tiny.set(train__start="start.safetensors")
    monkeypatch.chdir("data")
    assert weights(Trainer(params, 1)).keys() == load_file(start).keys()


def test_the_weights_that_were_trained_say_where_they_started(tiny, start):
    train(tiny.set(train__start="start.safetensors"), 1)
    digest = hashlib.sha256(start.read_bytes()).hexdigest()
    _, about = read_tensors(tiny / "models/stage1/last.safetensors", "")
    assert f'"start": "{digest}"' in about["pconv"] and '"start": "start.safetensors"' in about["pconv"]


@pytest.mark.parametrize(
    "change, found",
    [
        ("layer", "partial convolutions, scale paper, width 4"),
        ("scale", "scale paper"),
        ("width", "width 4"),
        ("depth", "and depth 3"),
    ],
)
def test_weights_of_another_network_are_refused(tiny, start, change, found):
    wanted = {"layer": "plain", "scale": "sum", "width": 6, "depth": 2}[change]
    with pytest.raises(TrainingError) as error:
        Trainer(tiny.set(**{f"model__{change}": wanted}, train__start="start.safetensors"), 1)
    said = str(error.value)
    assert said.startswith(f"{start}: ") and found in said and str(wanted) in said
    assert said.endswith("; change model, or train.start")


def test_a_missing_file_is_named(tiny):
    with pytest.raises(WeightsError, match="nothing.safetensors"):
        Trainer(tiny.set(train__start="nothing.safetensors"), 1)


def test_a_checkpoint_with_another_start_is_not_used(tiny, start, trained, killed_at, capfd):
    params = tiny.set(train__checkpoint_seconds=0, train__start="start.safetensors")
    killed_at(2)
    with pytest.raises(Killed):
        train(params, 1)
    assert resume(Trainer(params, 1)) == 2
    shutil.copy(trained.project / "models/stage2/last.safetensors", start)
    assert resume(Trainer(params, 1)) == 0
    assert capfd.readouterr().err.endswith("not from step 2: changed the weights to start from\n")


def encoder_norms(state):
    return {name: tensor for name, tensor in state.items() if name.startswith("encoder") and ".norm." in name}


@pytest.mark.parametrize("freeze", [True, False])
def test_stage_2_freezes_the_encoders_norm_or_not(tiny, start, freeze):
    (tiny / "models/stage1").mkdir(parents=True)
    shutil.copy(start, tiny / "models/stage1/best.safetensors")
    train(tiny.set(train__freeze_norm=freeze), 2)
    before, after = (encoder_norms(load_file(path)) for path in (start, tiny / "models/stage2/last.safetensors"))
    kept = {name: tensor.equal(after[name]) for name, tensor in before.items()}
    assert len(kept) == 2 * 5 and set(kept.values()) == {freeze}


def test_each_stage_has_its_own_loss(tiny, trained, start):
    """Stage 2 without features: its rows have none of their terms, and stage 1 is as before."""
    (tiny / "models/stage1").mkdir(parents=True)
    shutil.copy(start, tiny / "models/stage1/best.safetensors")
    params = tiny.set(loss__stage2__perceptual=0.0, loss__stage2__style=0.0)
    assert Trainer(params, 2).train_step.loss.vgg is None and Trainer(params, 1).train_step.loss.vgg is not None
    rows = train(params, 2).history
    assert {row[name] for row in rows for name in row if name.endswith(("/perceptual", "/style"))} == {0.0}
    assert all(row["train/perceptual"] > 0 for row in trained.results[1].history if "train/loss" in row)


def test_a_plain_network_trains_and_is_saved_as_one(tiny):
    train(tiny.set(model__layer="plain", model__fill="black"), 1)
    model = load_model(tiny / "models/stage1/best.safetensors")
    assert isinstance(model, PConvUNet) and (model.layer, model.fill) == ("plain", "black")
