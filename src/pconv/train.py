"""Two-stage training (Liu et al. 2018, section 4.1): batch norm everywhere, then with the encoder's frozen.

Called by notebooks/04-train.ipynb, or without a notebook: python -m pconv.train --stage 1
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from dvclive import Live
from torch import Tensor
from torch.utils.data import DataLoader

from pconv import checkpoint
from pconv.crops import TrainingCrops, ValidationCrops, start_worker
from pconv.hardware import Hardware
from pconv.images import manifest_path
from pconv.losses import TERMS, InpaintingLoss, compose
from pconv.masks import mask_folder
from pconv.metrics import l1_percent, psnr
from pconv.params import Params, load_params, project_root
from pconv.progress import Progress
from pconv.unet import PConvUNet, he_init, load_model, save_model

MOMENTS = (0, 0.03, 0.1, 0.3, 1)  # shares of a stage after which the samples are predicted
SAMPLES = 4  # validation crops shown at these moments


class TrainingError(RuntimeError):
    """Training that cannot go on; the message says where it stopped and what to do."""


@dataclass
class Result:
    """What a stage leaves: logged rows, samples over time, and numbers for the reports."""

    history: list[dict]  # rows {step, train/... | val/...}
    samples: dict[int, Tensor]  # by step: composites (SAMPLES, 3, H, W) uint8
    truth: tuple[Tensor, Tensor]  # the samples' images and masks, uint8
    metrics: dict
    timings: dict


@dataclass
class State:
    """All that changes while a stage trains; what a checkpoint holds."""

    model: PConvUNet
    optimiser: torch.optim.Optimizer
    window: Tensor  # sums of total and terms since the last logged row
    step: int = 0
    window_steps: int = 0
    history: list[dict] = field(default_factory=list)
    samples: dict[int, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_row: dict = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def tensors(self) -> dict[str, Tensor]:
        found = {f"model.{name}": t for name, t in self.model.state_dict().items()}
        for i, slots in self.optimiser.state_dict()["state"].items():
            found |= {f"optimiser.{i}.{name}": t for name, t in slots.items()}
        found |= {f"best.{name}": t for name, t in self.best.items()}
        found |= {f"samples.{step}": t for step, t in self.samples.items()}
        return found | {"window": self.window}

    def numbers(self) -> dict:
        kept = ("window_steps", "history", "best_row", "seconds")
        return {name: getattr(self, name) for name in kept}

    def restore(self, tensors: dict[str, Tensor], numbers: dict) -> None:
        groups = defaultdict(dict)
        for name, tensor in tensors.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = tensor
        self.model.load_state_dict(groups["model"])
        slots = defaultdict(dict)
        for name, tensor in groups["optimiser"].items():
            i, slot = name.split(".")  # laid out as its weight: the fused Adam pairs them by their place in memory
            slots[int(i)][slot] = tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
        param_groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": dict(slots), "param_groups": param_groups})
        self.best = groups["best"]
        self.samples = {step: groups["samples"][str(step)] for step in sorted(map(int, groups["samples"]))}
        self.window.copy_(tensors["window"])
        self.step, self.window_steps = numbers["step"], numbers["window_steps"]
        self.history, self.best_row = numbers["history"], numbers["best_row"]
        self.seconds.update(numbers["seconds"])


class Trainer:
    """One stage of training, from its parameters to its weights."""

    def __init__(self, params: Params, stage: int):
        if stage not in (1, 2):
            raise ValueError(f"stage = {stage}: 1 or 2")
        self.params, self.stage = params, stage
        self.schedule = params.train.stage1 if stage == 1 else params.train.stage2
        self.total = self.schedule.epochs * self.schedule.steps
        self.hardware = Hardware.choose(params.train.precision)
        root = project_root()
        self.out = root / "models" / f"stage{stage}"
        self.state_folder = root / "models" / "state" / f"stage{stage}"
        self.start = root / "models" / "stage1" / "best.safetensors" if stage == 2 else None
        self.loss = InpaintingLoss(params.loss).to(self.hardware.device, memory_format=torch.channels_last)
        self.validation = ValidationCrops(params)
        self.state = self._initial_state()

    def _initial_state(self) -> State:
        if self.stage == 1:
            model = he_init(PConvUNet(self.params.model.width, self.params.model.depth), self.params.seed)
        else:
            model = self._stage1_model().freeze_encoder_norm()
        model = model.to(self.hardware.device, memory_format=torch.channels_last)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.Adam(trained, lr=self.schedule.lr, fused=True)
        return State(model, optimiser, torch.zeros(1 + len(TERMS), device=self.hardware.device))

    def _stage1_model(self) -> PConvUNet:
        model, asked = load_model(self.start), self.params.model
        if (model.width, model.depth) != (asked.width, asked.depth):
            raise TrainingError(
                f"{self.start}: a network of width {model.width} and depth {model.depth}, while params.yaml asks for "
                f"width {asked.width} and depth {asked.depth}; train stage 1 first"
            )
        return model

    # The loop

    def run(self) -> Result:
        """Train to the end, from the newest checkpoint if there is one, and write best and last weights."""
        with checkpoint.locked(self.state_folder), _stop_signals() as stop:
            self._resume()
            with self._live() as live, closing(self._batches()) as batches:
                self._loop(live, batches, stop)
            self._save_checkpoint()
            self._write_weights()
        return self._result()

    def _loop(self, live: Live, batches: Iterator, stop: list) -> None:
        state, saved = self.state, time.monotonic()
        if state.step == 0:
            self._take_samples()
        progress = Progress(desc=f"stage {self.stage}, step", total=self.total, initial=state.step)
        while state.step < self.total:
            with self._timed("data"):
                batch = next(batches)
            with self._timed("step"):
                self._train_step(*batch)
            state.step += 1
            if state.step % max(1, self.schedule.steps // 10) == 0 or state.step % self.schedule.steps == 0:
                self._log(live, self._window_row())
            if state.step % self.schedule.steps == 0:
                with self._timed("validation"):
                    self._validate(live)
            if state.step in self._moments():
                self._take_samples()
            progress.set_postfix_str(self._status(progress), refresh=False)
            progress.update()
            if stop or time.monotonic() - saved >= self.params.train.checkpoint_seconds:
                with self._timed("checkpoint"):
                    self._save_checkpoint()
                saved = time.monotonic()
            if stop:
                raise KeyboardInterrupt(f"stopped at step {state.step}; run again to go on from there")
        progress.close()

    def _train_step(self, gt: Tensor, mask: Tensor) -> None:
        """One step of Adam. The network is given the whole image: what is in the hole cannot reach it."""
        state = self.state
        state.model.train()
        for group in state.optimiser.param_groups:
            group["lr"] = learning_rate(self.schedule, state.step)
        with self.hardware.autocast():
            out = state.model(gt, mask)
            total, terms = self.loss(out.float(), gt, mask)
        self._check_finite(f"step {state.step}", total, terms)
        state.optimiser.zero_grad(set_to_none=True)
        total.backward()
        state.optimiser.step()
        state.window += _as_row(total.detach(), terms)
        state.window_steps += 1

    def _check_finite(self, when: str, total: Tensor, terms: dict[str, Tensor]) -> None:
        if torch.isfinite(total):
            return
        values = ", ".join(f"{name} {value.item():g}" for name, value in terms.items())
        raise TrainingError(
            f"stage {self.stage}, {when}: the loss is {total.item():g} ({values}); lower "
            f"train.stage{self.stage}.lr, or set train.precision: float32"
        )

    # Data

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches from the current step on; closing it ends the loader processes, even where an error is kept."""
        for batch in self._loader():
            yield self.hardware.load(batch)

    def _loader(self) -> DataLoader:
        batch = self.params.train.batch
        return DataLoader(
            TrainingCrops(self.params, self.stage, self.total * batch),
            batch_size=batch,
            sampler=range(self.state.step * batch, self.total * batch),
            num_workers=self.params.train.workers,
            worker_init_fn=start_worker,
            generator=torch.Generator(),  # its own, or making an iterator would draw from the global one
            pin_memory=self.hardware.device.type == "cuda",
        )

    # Seeing it

    def _window_row(self) -> dict:
        """Means of the loss and its terms over the steps since the last row."""
        state = self.state
        means = (state.window / state.window_steps).tolist()
        state.window.zero_()
        state.window_steps = 0
        row = {f"train/{name}": value for name, value in zip(("loss", *TERMS), means, strict=True)}
        return {"step": state.step, "lr": learning_rate(self.schedule, state.step - 1), **row}

    @torch.inference_mode()
    def _validate(self, live: Live) -> None:
        """Loss, its terms, L1 and PSNR of the composite over the validation crops; keeps the best weights so far."""
        state, sums, measured = self.state, torch.zeros_like(self.state.window), defaultdict(list)
        state.model.eval()
        for batch in DataLoader(self.validation, self.params.train.batch, generator=torch.Generator()):
            gt, mask = self.hardware.load(batch)
            with self.hardware.autocast():
                out = state.model(gt, mask).float()
                total, terms = self.loss(out, gt, mask)
            self._check_finite(f"validation after step {state.step}", total, terms)
            sums += _as_row(total, terms) * len(gt)
            comp = compose(gt, out, mask).clamp(0, 1)
            measured["l1"] += l1_percent(comp, gt).tolist()
            measured["psnr"] += psnr(comp, gt).tolist()
        means = (sums / len(self.validation)).tolist()
        row = {f"val/{name}": value for name, value in zip(("loss", *TERMS), means, strict=True)}
        row |= {f"val/{name}": float(np.mean(values)) for name, values in measured.items()}
        row = {"step": state.step, **row}
        self._log(live, row)
        if not state.best_row or row["val/loss"] < state.best_row["val/loss"]:
            state.best_row = row
            state.best = {name: tensor.detach().clone() for name, tensor in state.model.state_dict().items()}

    @torch.inference_mode()
    def _take_samples(self) -> None:
        """Fill the first validation crops with the weights as they are."""
        self.state.model.eval()
        gt, mask = self.hardware.load(self._first_crops())
        with self.hardware.autocast():
            out = self.state.model(gt, mask).float()
        comp = compose(gt, out, mask).clamp(0, 1)
        self.state.samples[self.state.step] = (comp * 255).round().byte().cpu()

    def _first_crops(self) -> tuple[Tensor, Tensor]:
        crops = [self.validation[n] for n in range(min(SAMPLES, len(self.validation)))]
        return tuple(torch.stack(part) for part in zip(*crops, strict=True))

    def _moments(self) -> set[int]:
        return {round(share * self.total) for share in MOMENTS}

    @contextmanager
    def _live(self):
        """DVCLive's curves, with the rows of before a restart written again: DVC has removed them."""
        folder = project_root() / "reports" / "plots" / f"stage{self.stage}"
        with Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None) as live:
            for row in self.state.history:
                self._write_row(live, row)
            yield live

    def _log(self, live: Live, row: dict) -> None:
        self.state.history.append(row)
        self._write_row(live, row)

    def _write_row(self, live: Live, row: dict) -> None:
        live.step = row["step"]
        for name, value in row.items():
            if name != "step":
                live.log_metric(name, value)
        live.make_summary()

    def _status(self, progress: Progress) -> str:
        rows = [row for row in self.state.history if "train/loss" in row]
        rate = (progress.format_dict["rate"] or 0) * self.params.train.batch
        terms = "".join(f" {name} {rows[-1][f'train/{name}']:.3g}" for name in ("loss", *TERMS)) if rows else ""
        return f"{rate:.1f} images/s{terms}"

    @contextmanager
    def _timed(self, name: str):
        start = time.perf_counter()
        yield
        self.state.seconds[name] += time.perf_counter() - start

    # Checkpoints

    def _fingerprint(self) -> dict:
        """Whatever a checkpoint must share with this run, to go on from it."""
        kept = {"seed": True, "data": True, "model": True, "loss": True}
        kept["train"] = {"batch", "validation", f"stage{self.stage}"}
        found = _leaves(self.params.model_dump(include=kept))
        found |= {"precision": self.hardware.precision, "device": self.hardware.device.type}
        found |= {"photographs": checkpoint.sha256(manifest_path())}
        if Path(self.params.loss.vgg).is_file():
            found["loss.vgg's file"] = checkpoint.sha256(Path(self.params.loss.vgg))
        for split in ("train", "val"):
            found[f"{split} masks"] = checkpoint.sha256(mask_folder(split) / "index.csv")
        if self.start is not None:
            found["stage 1's weights"] = checkpoint.sha256(self.start)
        return found

    def _save_checkpoint(self) -> None:
        about = {"fingerprint": self._fingerprint(), "threads": torch.get_num_threads(), **self.state.numbers()}
        checkpoint.save(self.state_folder, self.state.step, self.state.tensors(), about)

    def _resume(self) -> None:
        found = checkpoint.load_newest(self.state_folder)
        if found is None:
            return
        tensors, state = found
        ours = self._fingerprint()
        changed = [key for key in ours if ours[key] != state["fingerprint"].get(key)]
        if changed:
            say(f"stage {self.stage}: starting afresh, not from step {state['step']}: changed {', '.join(changed)}")
            return
        if state["threads"] != torch.get_num_threads():
            before = state["threads"]
            say(f"{torch.get_num_threads()} threads now, {before} before: the last bits of the weights will differ")
        self.state.restore(tensors, state)
        say(f"stage {self.stage}: going on from step {self.state.step} of {self.total}")

    # Results

    def _write_weights(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        steps = {"best": self.state.best_row["step"], "last": self.state.step}
        weights = {"best": self.state.best, "last": self.state.model.state_dict()}
        kept = self.params.model_dump(exclude={"train": {"workers", "checkpoint_seconds"}})  # these change no weight
        for name, tensors in weights.items():
            about = {"params": kept, "stage": self.stage, "step": steps[name]}
            save_model(self.out / f"{name}.safetensors", tensors, about)

    def _result(self) -> Result:
        state = self.state
        last = {key: value for row in state.history for key, value in row.items()}
        metrics = {
            "vgg": self.params.loss.vgg,
            "precision": self.hardware.precision,
            "device": self.hardware.device.type,
            "parameters": sum(p.numel() for p in state.model.parameters()),
            "steps": self.total,
            "best_step": state.best_row["step"],
            "best": _nested(state.best_row, "val/"),
            "last": {"train": _nested(last, "train/"), "val": _nested(last, "val/")},
        }
        spent = dict(state.seconds)
        rate = self.total * self.params.train.batch / (spent["data"] + spent["step"])
        return Result(state.history, state.samples, self._first_crops(), metrics, {"images_per_second": rate, **spent})


def _leaves(values: dict, prefix: str = "") -> dict:
    """{"train": {"batch": 8}} -> {"train.batch": 8}."""
    found = {}
    for key, value in values.items():
        found |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def _nested(row: dict, prefix: str) -> dict:
    return {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}


def _as_row(total: Tensor, terms: dict[str, Tensor]) -> Tensor:
    """The loss and its terms in order, 0 for those not computed: (1 + len(TERMS),) float32."""
    zero = torch.zeros_like(total)
    return torch.stack([total, *(terms.get(name, zero) for name in TERMS)]).detach().float()


def learning_rate(schedule, step: int) -> float:
    """On a straight line from lr, in step 0, to lr_end, in the last."""
    if schedule.lr_end is None:
        return schedule.lr
    share = step / max(1, schedule.epochs * schedule.steps - 1)
    return schedule.lr + share * (schedule.lr_end - schedule.lr)


@contextmanager
def _stop_signals():
    """A list that SIGINT and SIGTERM fill, so that training stops between two steps and saves.

    Installed here and not before: ipykernel sets its own SIGINT handler at the start of every cell.
    """
    stop, before = [], {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda received, _frame: stop.append(received))
    except ValueError:  # not in the main thread: no signal arrives here
        pass
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def train(params: Params, stage: int) -> Result:
    """Train one stage to the end and write models/stage{stage}/{best,last}.safetensors.

    A run that was stopped or killed goes on from its newest checkpoint; call finish(stage) when all is done with it.
    """
    return Trainer(params, stage).run()


def finish(stage: int) -> None:
    """Remove a finished stage's checkpoints: the next run of the stage trains from the start."""
    shutil.rmtree(project_root() / "models" / "state" / f"stage{stage}", ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one stage with the parameters of params.yaml.")
    parser.add_argument("--stage", type=int, choices=(1, 2), required=True)
    stage = parser.parse_args().stage
    try:
        result = train(load_params(), stage)
    except (ValueError, OSError, TrainingError, checkpoint.CheckpointError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt as error:
        say(str(error) or "stopped")
        sys.exit(128 + signal.SIGINT)
    finish(stage)
    print(json.dumps({**result.metrics, "timings": result.timings}, indent=2))


if __name__ == "__main__":
    main()
