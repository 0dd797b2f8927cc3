"""One stage of training, from its parameters to its weights."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pconv.data.decoding import ImageError
from pconv.data.manifest import manifest_path
from pconv.errors import PConvError
from pconv.hardware import Hardware, keep_memory
from pconv.losses import TERMS, InpaintingLoss
from pconv.masks.convention import MaskError, compose
from pconv.metrics import l1_percent, psnr
from pconv.params import Params, flat
from pconv.progress import Progress, say
from pconv.project import mask_folder, model_folder, state_folder
from pconv.training import checkpoint
from pconv.training.curves import curves
from pconv.training.distributed import ALONE, Group
from pconv.training.loading import TrainingCrops, ValidationCrops, start_worker
from pconv.training.signals import stop_signals
from pconv.training.state import State
from pconv.training.step import TrainingStep, adam, as_row, learning_rate
from pconv.training.timing import Account
from pconv.unet import PConvUNet, he_init, load_model, save_model

MOMENTS = (0, 0.03, 0.1, 0.3, 1)  # shares of a stage after which the samples are predicted


SAMPLES = 4  # validation crops shown at these moments


READ_SECONDS, READ_AT_MOST = 1, 10  # how long, and for how many steps, losses stay unread: a signal waits for it


MEASURES = ("loss", *TERMS, "l1", "psnr")  # of a validation


class TrainingError(PConvError, RuntimeError):
    """Training that cannot go on; the message says where it stopped and what to do."""


@dataclass
class Result:
    """What a stage leaves: logged rows, samples over time, and numbers for the reports."""

    history: list[dict]  # rows {step, train/... | val/...}
    samples: dict[int, Tensor]  # by step: composites (SAMPLES, 3, H, W) uint8
    truth: tuple[Tensor, Tensor]  # the samples' images and masks, uint8
    metrics: dict
    timings: dict


class Trainer:
    """One stage of training, from its parameters to its weights, in one process of a group."""

    def __init__(self, params: Params, stage: int, group: Group = ALONE):
        if stage not in (1, 2):
            raise ValueError(f"stage = {stage}: 1 or 2")
        if params.train.batch % group.size:
            raise TrainingError(f"train.batch = {params.train.batch}: {group.size} processes cannot share it equally")
        self.params, self.stage, self.group = params, stage, group
        self.schedule = params.train.stage1 if stage == 1 else params.train.stage2
        self.total = self.schedule.epochs * self.schedule.steps
        self.hardware = Hardware.choose(params.train.precision)
        if params.train.sync_norm and self.hardware.device.type == "cpu":
            raise TrainingError("train.sync_norm = true: there is no GPU here, and PyTorch has it for GPUs only")
        self.out, self.state_folder = model_folder(stage), state_folder(stage)
        self.start = model_folder(1) / "best.safetensors" if stage == 2 else None
        self.loss = InpaintingLoss(params.loss).to(self.hardware.device, memory_format=torch.channels_last)
        self.training = TrainingCrops(params, stage, self.total * params.train.batch)
        self.validation = ValidationCrops(params)
        self.state = self._initial_state()
        self.network = group.parallel(self.state.model)
        self.fingerprint = self._fingerprint()
        self.account = Account(self.hardware.device)
        self.step = TrainingStep(self.network, self.state.optimiser, self.loss, self.hardware, self.account)
        self.unread: list[Tensor] = []  # losses that are still on the device: reading them makes a GPU wait
        self.read_every, self.last_read = 1, time.monotonic()

    def _initial_state(self) -> State:
        if self.stage == 1:
            model = he_init(PConvUNet(self.params.model.width, self.params.model.depth), self.params.seed)
        else:
            model = self._stage1_model().freeze_encoder_norm()
        if self.params.train.sync_norm:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        model = model.to(self.hardware.device, memory_format=torch.channels_last)
        return State(model, adam(model, self.schedule.lr))

    def _stage1_model(self) -> PConvUNet:
        model, asked = load_model(self.start), self.params.model
        if (model.width, model.depth) != (asked.width, asked.depth):
            raise TrainingError(
                f"{self.start}: a network of width {model.width} and depth {model.depth}, while params.yaml asks for "
                f"width {asked.width} and depth {asked.depth}; train stage 1 first"
            )
        return model

    # The loop

    def run(self) -> Result | None:
        """Train to the end, from the newest checkpoint if there is one, and write best and last weights.

        Only the group's first process writes, and returns a result.
        """
        keep_memory()
        with ExitStack() as stack:
            if self.group.first:
                stack.enter_context(checkpoint.locked(self.state_folder))
            stop = stack.enter_context(stop_signals())
            self._resume()
            if self.group.first:
                before = self.params.train.stage1.epochs * self.params.train.stage1.steps if self.stage == 2 else 0
                self.write_row = stack.enter_context(curves(self.stage, self.state.history, before))
            self._loop(stop)
            if not self.group.first:
                return None
            self._save_checkpoint()
            self._write_weights()
        say(f"stage {self.stage}: {self.account}")
        return self._result()

    def _loop(self, stop: list) -> None:
        state, first, saved = self.state, self.state.step, time.monotonic()
        with self._dead_loaders_named(), self._progress() as progress, closing(self._batches()) as batches:
            while True:
                looking = self._is_time_to_look(stop)
                stopping = looking and self._look(stop)
                if looking and self.group.first:
                    progress.set_postfix_str(self._status(progress), refresh=False)
                progress.update(state.step - progress.n)
                is_time = state.step > first and time.monotonic() - saved >= self.params.train.checkpoint_seconds
                if stopping or (looking and is_time):
                    self._save_checkpoint()
                    saved = time.monotonic()
                if stopping:
                    raise KeyboardInterrupt(f"stopped at step {state.step}; run again to go on from there")
                if state.step == self.total:
                    return
                with self.account.spent_on("data"):
                    batch = next(batches)
                self._train_step(*batch)
                state.step += 1

    def _is_time_to_look(self, stop: list) -> bool:
        """Whether to read the last losses and do what is due. All processes have to answer alike."""
        due = self._is_time_to_log() or self.state.step in self._moments()
        return due or len(self.unread) >= self.read_every or (bool(stop) and self.group.size == 1)

    def _look(self, stop: list) -> bool:
        """Do what is due after this step and was not done yet; returns whether a process was asked to stop.

        Validation is given up then, and done when training goes on.
        """
        state, stopping = self.state, False
        if self.unread:
            stopping = self._read_losses(stop)
            if self._is_time_to_log():
                self._log(self._training_row())
        if state.step and state.step % self.schedule.steps == 0 and not self._is_validated():
            with self.account.spent_on("validation"):
                stopping = self._validate(stop) or stopping
        if state.step in self._moments() and state.step not in state.samples:
            self._take_samples()
        return stopping

    def _is_validated(self) -> bool:
        last = self.state.history[-1]
        return last["step"] == self.state.step and "val/loss" in last

    def _is_time_to_log(self) -> bool:
        step, epoch = self.state.step, self.schedule.steps
        return step % max(1, epoch // 10) == 0 or step % epoch == 0

    def _moments(self) -> set[int]:
        return {round(share * self.total) for share in MOMENTS}

    def _train_step(self, gt: Tensor, mask: Tensor) -> None:
        self.network.train()
        self.unread.append(self.step(gt, mask, learning_rate(self.schedule, self.state.step)))

    def _read_losses(self, stop: list) -> bool:
        """Fetch the losses of the last steps, as means over the group, and check them.

        Returns whether any process of the group was asked to stop. The next time is about READ_SECONDS later.
        """
        rows = torch.stack(self.unread)
        here = rows.new_tensor([[time.monotonic() - self.last_read], [len(stop)]]).expand(2, rows.shape[1])
        *rows, (seconds, *_), (asked, *_) = (self.group.sum(torch.cat([rows, here])) / self.group.size).tolist()
        first = self.state.step - len(self.unread)
        if self.group.size > 1 or self.hardware.device.type == "cuda":
            self.read_every = max(1, min(READ_AT_MOST, int(READ_SECONDS / seconds * len(rows))))
        self.unread.clear()
        self.account.settle()
        for step, row in enumerate(rows, first):
            self._check_finite(f"step {step}", row)
        self.state.losses += rows
        self.last_read = time.monotonic()
        return asked > 0

    def _check_finite(self, when: str, row: list[float]) -> None:
        total, *terms = row
        if math.isfinite(total):
            return
        values = ", ".join(f"{name} {value:g}" for name, value in zip(TERMS, terms, strict=True))
        raise TrainingError(
            f"stage {self.stage}, {when}: the loss is {total:g} ({values}); lower "
            f"train.stage{self.stage}.lr, or set train.precision: float32"
        )

    # Data

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches from the current step on; closing it ends the loader processes, even where an error is kept."""
        batch, steps = self.params.train.batch, range(self.state.step, self.total)
        shares = (self.group.share(range(step * batch, (step + 1) * batch)) for step in steps)
        yield from self._load(self.training, shares)

    def _load(self, crops, batches) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of a data set, given as sample numbers, on the device."""
        loader = DataLoader(
            crops,
            batch_sampler=batches,
            num_workers=self.params.train.workers,
            worker_init_fn=start_worker,
            generator=torch.Generator(),  # its own, or making an iterator would draw from the global one
            pin_memory=self.hardware.device.type == "cuda",
        )
        iterator = iter(loader)
        try:
            for batch in iterator:
                yield self.hardware.load(batch)
        except (ImageError, MaskError) as error:  # the message of a loader process is its whole traceback
            raise type(error)(str(error).strip().rpartition(f"{type(error).__name__}: ")[2]) from None
        finally:
            if self.params.train.workers:  # now, and not when the last traceback lets go of them
                iterator._shutdown_workers()

    @contextmanager
    def _dead_loaders_named(self):
        try:
            yield
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise TrainingError(
                f"stage {self.stage}, step {self.state.step}: a loader process died ({str(error).strip()}); most often "
                "the memory ran out: lower train.workers or train.batch; run again to go on from the last checkpoint"
            ) from error

    # Seeing it

    def _training_row(self) -> dict:
        """Means of the loss and its terms over the steps since the last row."""
        losses = self.state.losses
        means = [sum(values) / len(losses) for values in zip(*losses, strict=True)]
        losses.clear()
        row = {f"train/{name}": value for name, value in zip(("loss", *TERMS), means, strict=True)}
        return {"step": self.state.step, "lr": learning_rate(self.schedule, self.state.step - 1), **row}

    @torch.inference_mode()
    def _validate(self, stop: list) -> bool:
        """Loss, its terms, L1 and PSNR of the composite over the validation crops; keeps the best weights so far.

        Returns whether it was given up, since a process was asked to stop.
        """
        state, count = self.state, len(self.validation)
        self.group.copy_buffers(state.model)
        state.model.eval()
        sums = torch.zeros(len(MEASURES), dtype=torch.float64, device=self.hardware.device)
        ours = range(self.group.rank, count, self.group.size)
        size = self.params.train.batch // self.group.size
        for gt, mask in self._load(self.validation, (ours[i : i + size] for i in range(0, len(ours), size))):
            if stop:
                break
            with self.hardware.autocast():
                out = state.model(gt, mask).float()
                total, terms = self.loss(out, gt, mask)
            comp = compose(gt, out, mask).clamp(0, 1)
            losses = as_row(total, terms).double() * len(gt)
            sums += torch.cat([losses, l1_percent(comp, gt).sum()[None], psnr(comp, gt).sum()[None]])
        *sums, asked = self.group.sum(torch.cat([sums, torch.full_like(sums[:1], len(stop))])).tolist()
        if asked:
            return True
        means = [value / count for value in sums]
        self._check_finite(f"validation after step {state.step}", means[: 1 + len(TERMS)])
        row = {"step": state.step} | {f"val/{name}": value for name, value in zip(MEASURES, means, strict=True)}
        self._log(row)
        if not state.best_row or row["val/loss"] < state.best_row["val/loss"]:
            state.best_row = row
            state.best = {name: tensor.detach().clone() for name, tensor in state.model.state_dict().items()}
        return False

    @torch.inference_mode()
    def _take_samples(self) -> None:
        """Fill the first validation crops with the weights as they are."""
        if not self.group.first:
            return
        self.state.model.eval()
        gt, mask = self.hardware.load(self._first_crops)
        with self.hardware.autocast():
            out = self.state.model(gt, mask).float()
        comp = compose(gt, out, mask).clamp(0, 1)
        self.state.samples[self.state.step] = (comp * 255).round().byte().cpu()

    @cached_property
    def _first_crops(self) -> tuple[Tensor, Tensor]:
        crops = [self.validation[n] for n in range(min(SAMPLES, len(self.validation)))]
        return tuple(torch.stack(part) for part in zip(*crops, strict=True))

    def _log(self, row: dict) -> None:
        self.state.history.append(row)
        if self.group.first:
            self.write_row(row)

    def _progress(self) -> Progress:
        return Progress(
            desc=f"stage {self.stage}, step", total=self.total, initial=self.state.step, disable=not self.group.first
        )

    def _status(self, progress: Progress) -> str:
        """Speed, learning rate and losses, once there are some."""
        row = next((row for row in reversed(self.state.history) if "train/loss" in row), None)
        if row is None:
            return ""
        shown = progress.format_dict  # its rate is None before the second line
        rate = shown["rate"] or (self.state.step - shown["initial"]) / shown["elapsed"]
        terms = " ".join(f"{name} {row[f'train/{name}']:.3g}" for name in ("loss", *TERMS))
        return f"{rate * self.params.train.batch:.1f} images/s, lr {row['lr']:.2g}, {terms}"

    # Checkpoints

    def _fingerprint(self) -> dict:
        """Whatever a checkpoint must share with this run, to go on from it."""
        kept = {"seed": True, "data": True, "model": True, "loss": True}
        kept["train"] = {"batch", "recolour", "sync_norm", "validation", f"stage{self.stage}"}
        found = flat(self.params.model_dump(include=kept))
        found |= {"precision": self.hardware.precision, "device": self.hardware.device.type}
        found |= {"photographs": checkpoint.sha256(manifest_path())}
        if Path(self.params.loss.vgg).is_file():
            found["loss.vgg's file"] = checkpoint.sha256(Path(self.params.loss.vgg))
        for split in ("train", "val"):
            found[f"{split} masks"] = checkpoint.sha256(mask_folder(split) / "index.csv")
        if self.start is not None:
            found["stage 1's weights"] = checkpoint.sha256(self.start)
        return found

    def _bits(self) -> dict:
        """What changes only the last bits of the weights."""
        return {"threads": torch.get_num_threads(), "processes": self.group.size}

    def _save_checkpoint(self) -> None:
        if not self.group.first:
            return
        with self.account.spent_on("checkpoints"):
            self.account.settle()
            about = {"fingerprint": self.fingerprint, **self._bits(), "seconds": self.account.seconds}
            about |= self.state.numbers()
            checkpoint.save(self.state_folder, self.state.step, self.state.tensors(), about)

    def _resume(self) -> None:
        """Go on from the newest checkpoint that is whole and was made with the same parameters and data."""
        found = checkpoint.load_newest(self.state_folder)
        if found is not None and self._fits(found[1]):
            self.state.restore(*found)
            self.account.seconds.update(found[1]["seconds"])
            self._say(f"going on from step {self.state.step} of {self.total}")
        self.group.check_equal(self.state.step, self.hardware.device)

    def _fits(self, about: dict) -> bool:
        """Whether a checkpoint is one of this run; says why not, and what makes its last bits differ."""
        changed = [key for key, value in self.fingerprint.items() if value != about["fingerprint"].get(key)]
        if changed:
            self._say(f"starting afresh, not from step {about['step']}: changed {', '.join(changed)}")
            return False
        for name, now in self._bits().items():
            if now != about[name]:
                self._say(f"{now} {name} now, {about[name]} before: the last bits of the weights will differ")
        return True

    def _say(self, message: str) -> None:
        if self.group.first:
            say(f"stage {self.stage}: {message}")

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
        spent = dict(self.account.seconds)
        steps = sum(spent[name] for name in ("data", "forward", "loss", "backward", "optimiser"))
        rate = self.total * self.params.train.batch / steps
        return Result(state.history, state.samples, self._first_crops, metrics, {"images_per_second": rate, **spent})


def _nested(row: dict, prefix: str) -> dict:
    return {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}
