"""One stage of training, from its parameters to its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import chain

import torch
from torch import Tensor, nn

from pconv.hardware import Hardware, keep_memory
from pconv.losses import TERMS, InpaintingLoss
from pconv.params import Params
from pconv.progress import say
from pconv.training import TrainingError
from pconv.training.curves import Curves, show_progress
from pconv.training.distributed import ALONE, Group
from pconv.training.loading import Loader, TrainingCrops, dead_loaders_named
from pconv.training.plan import Plan
from pconv.training.result import Result, make_result, write_weights
from pconv.training.resume import Checkpoints, start_file
from pconv.training.signals import Stop
from pconv.training.state import State
from pconv.training.step import TrainingStep, UnreadLosses, adam, check_finite, learning_rate
from pconv.training.timing import Timer
from pconv.training.validation import Validation
from pconv.unet import PConvUNet, he_init, load_model


class Trainer:
    """One stage of training, in one process of a group.

    Raises ParamsError or TrainingError for parameters that this machine or this group cannot train with, and what
    reading photographs, masks and weights raises.
    """

    def __init__(self, params: Params, stage: int, group: Group = ALONE):
        self.plan = Plan(params.train, stage)
        params.check_batch(group.size)
        self.params, self.stage, self.group = params, stage, group
        self.hardware = Hardware.choose(params.train.precision)
        if params.train.sync_norm and self.hardware.device.type == "cpu":
            raise TrainingError("train.sync_norm = true: there is no GPU here, and PyTorch has it for GPUs only")
        where = {"device": self.hardware.device, "memory_format": torch.channels_last}
        loss = InpaintingLoss(params.loss.terms(stage), params.loss.vgg).to(**where)
        model = initial_network(params, stage).to(**where)
        self.state = State(model, adam(model, self.plan.schedule.lr))
        self.timer = Timer(self.hardware.device)
        self.train_step = TrainingStep(group.parallel(model), self.state.optimiser, loss, self.hardware, self.timer)
        self.loader = Loader(self.hardware, params.train.workers)
        self.crops = TrainingCrops(params, stage, self.plan.total * params.train.batch)
        self.validation = Validation(params, loss, self.loader, group)
        self.checkpoints = Checkpoints(params, stage, self.hardware, group)

    def run(self) -> Result | None:
        """Train to the end, from the newest checkpoint if there is one, and write the best and the last weights.

        Only the group's first process writes, and returns a result. A run that is asked to stop saves a checkpoint and
        raises KeyboardInterrupt.
        """
        keep_memory()
        state, plan, first = self.state, self.plan, self.group.first
        with ExitStack() as stack:
            stack.enter_context(self.checkpoints.lock())
            stop = stack.enter_context(Stop())
            self.checkpoints.restore(state, self.timer, plan.total)
            curves = stack.enter_context(Curves(self.stage, state.history, plan.before, shown=first))
            progress = show_progress(self.stage, state, plan.total, self.params.train.batch, shown=first)
            show = stack.enter_context(progress)
            stack.enter_context(dead_loaders_named(self.stage, state))
            batches = stack.enter_context(closing(self.batches()))
            self.loop(batches, curves, show, stop)
            if not first:
                return None
            self.checkpoints.save(state, self.timer)
            write_weights(self.params, self.stage, state)
        say(f"stage {self.stage}: {self.timer}")
        return make_result(self.params, self.hardware, state, self.validation.samples, self.timer)

    def loop(self, batches: Iterator[tuple[Tensor, Tensor]], curves: Curves, show: Callable, stop: Stop) -> None:
        """Take a step for each batch, and do in between what the plan says is due."""
        state, plan, unread = self.state, self.plan, UnreadLosses(self.group, self.hardware)
        # The first round takes no step: it does what was still due when the run stopped, or is before any step.
        for batch in chain([None], self.timer.measure_each("data", batches)):
            if batch is not None:
                unread.append(self.train_step(*batch, learning_rate(plan.schedule, state.step)))
                state.step += 1
            due = plan.logs(state.step) or plan.samples(state.step) or unread.is_time_to_read(stop)
            if due and self._read(unread, stop) and plan.logs(state.step):
                curves.add(self._training_row())
            show()
            if not due:
                continue
            if plan.ends_epoch(state.step) and not state.validated and not stop.agreed:
                self._validate(stop, curves)
            if self.group.first and plan.samples(state.step) and state.step not in state.samples:
                state.samples[state.step] = self.validation.fill_samples(state.model)
            if stop.agreed or self.checkpoints.is_due(state.step):
                self.checkpoints.save(state, self.timer)
            if stop.agreed:
                self.group.wait()  # until the first has saved: torchrun ends the others as soon as one has ended
                raise KeyboardInterrupt(f"stopped at step {state.step}; run again to go on from there")

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Return this process's share of the training batches from the current step on; close them in the end."""
        size, steps = self.params.train.batch, range(self.state.step, self.plan.total)
        shares = (self.group.share(range(step * size, (step + 1) * size)) for step in steps)
        return self.loader.load(self.crops, shares)

    def _read(self, unread: UnreadLosses, stop: Stop) -> list[list[float]]:
        """Take over the losses of the last steps and check them; stop.agreed then says whether to stop."""
        losses = unread.read(stop)
        self.timer.collect()
        for step, row in enumerate(losses, self.state.step - len(losses)):
            self._check(row, f"step {step}")
        self.state.losses += losses
        return losses

    def _training_row(self) -> dict:
        """Return the means of the losses since the last row, to be logged."""
        means = zip(("loss", *TERMS), self.state.take_mean_losses(), strict=True)
        row = {"step": self.state.step, "lr": learning_rate(self.plan.schedule, self.state.step - 1)}
        return row | {f"train/{name}": value for name, value in means}

    def _validate(self, stop: Stop, curves: Curves) -> None:
        """Log what the validation measured, and keep the weights if they are the best so far."""
        step = self.state.step
        with self.timer.measure("validation"):
            measured = self.validation.measure(self.state.model, stop)
        if measured is None:
            return
        self._check([measured[name] for name in ("loss", *TERMS)], f"validation after step {step}")
        row = {"step": step} | {f"val/{name}": value for name, value in measured.items()}
        curves.add(row)
        self.state.keep_if_best(row)

    def _check(self, losses: list[float], when: str) -> None:
        check_finite(losses, when, self.stage, self.state.model, self.train_step.loss)


def initial_network(params: Params, stage: int) -> PConvUNet:
    """Return the network that a stage starts from: He's initialisation, or the weights in start_file.

    Raises TrainingError if these are another network's, and what load_model raises.
    """
    asked, path = params.model, start_file(params, stage)
    if path is None:
        model = he_init(PConvUNet(**asked.model_dump()), params.seed)
    else:
        model = load_model(path)
        found, wanted = ((m.layer, m.scale, m.width, m.depth) for m in (model, asked))
        if found != wanted:
            describe = "{} convolutions, scale {}, width {} and depth {}".format
            raise TrainingError(
                f"{path}: a network of {describe(*found)}, while params.yaml asks for {describe(*wanted)}; "
                + ("train stage 1 first" if stage == 2 else "change model, or train.start")
            )
        model.fill = asked.fill
    if stage == 2 and params.train.freeze_norm:
        model.freeze_encoder_norm()
    return nn.SyncBatchNorm.convert_sync_batchnorm(model) if params.train.sync_norm else model
