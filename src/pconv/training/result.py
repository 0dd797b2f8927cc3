"""What a finished stage leaves: two files of weights, and numbers and pictures for the reports."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pconv.files import sha256
from pconv.hardware import Hardware
from pconv.params import NEUTRAL, Params
from pconv.project import model_folder
from pconv.training.resume import start_file
from pconv.training.state import State
from pconv.training.timing import Timer
from pconv.unet import save_model

STEP = ("data", "forward", "loss", "backward", "optimiser")  # the activities of which the steps consist


@dataclass
class Result:
    """What a finished stage has to show."""

    history: list[dict]  # the logged rows {step, train/... | val/...}
    samples: dict[int, Tensor]  # by step: composites (n, 3, H, W) uint8
    truth: tuple[Tensor, Tensor]  # the images (n, 3, H, W) and masks (n, 1, H, W) of the samples, uint8
    metrics: dict
    timings: dict[str, float]  # seconds by activity, and images_per_second


def write_weights(params: Params, stage: int, state: State) -> None:
    """Write models/stage{stage}/best.safetensors and last.safetensors.

    Raises WeightsError, naming the file.
    """
    folder = model_folder(stage)
    folder.mkdir(parents=True, exist_ok=True)
    steps = {"best": state.best_row["step"], "last": state.step}
    weights = {"best": state.best, "last": state.model.state_dict()}
    kept = params.model_dump(exclude=NEUTRAL)
    start = start_file(params, stage)
    about = {"params": kept, "stage": stage, "start": start and sha256(start)}
    for name, tensors in weights.items():
        save_model(folder / f"{name}.safetensors", tensors, about | {"step": steps[name]})


def make_result(params: Params, hardware: Hardware, state: State, truth: tuple[Tensor, Tensor], timer: Timer) -> Result:
    """Return the result of a finished stage. truth: the images and masks of its samples."""
    about = {"vgg": params.loss.vgg, "precision": hardware.precision, "device": hardware.device.type}
    seconds = dict(timer.seconds)
    speed = state.step * params.train.batch / sum(seconds[name] for name in STEP)
    timings = {"images_per_second": speed, **seconds}
    return Result(state.history, state.samples, truth, about | _summarise(state), timings)


def _summarise(state: State) -> dict:
    last = {key: value for row in state.history for key, value in row.items()}
    return {
        "parameters": sum(p.numel() for p in state.model.parameters()),
        "steps": state.step,
        "best_step": state.best_row["step"],
        "best": _strip(state.best_row, "val/"),
        "last": {"train": _strip(last, "train/"), "val": _strip(last, "val/")},
    }


def _strip(row: dict, prefix: str) -> dict:
    return {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}
