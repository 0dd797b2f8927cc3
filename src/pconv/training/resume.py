"""Going on from a checkpoint: when one is due, what it holds, and whether it is one of this run."""

from __future__ import annotations

import hashlib
import time
from contextlib import nullcontext
from importlib.resources import files
from pathlib import Path

import cv2
import torch

from pconv.data.manifest import manifest_path
from pconv.errors import cut
from pconv.files import sha256
from pconv.hardware import Hardware
from pconv.masks.convention import MaskError
from pconv.masks.files import mask_paths
from pconv.params import NEUTRAL, Params, flat
from pconv.progress import say
from pconv.project import model_folder, project_root, state_folder
from pconv.training import checkpoint
from pconv.training.distributed import Group
from pconv.training.state import State
from pconv.training.timing import Timer
from pconv.vgg import weights_file

# The code that decides a weight or a logged number. tests/test_training_resume.py lists what else the trainer imports.
CODE = (
    "data/cache.py",
    "data/crops.py",
    "data/decoding.py",
    "data/manifest.py",
    "hardware.py",
    "layers.py",
    "losses.py",
    "masks/convention.py",
    "masks/files.py",
    "masks/tensors.py",
    "metrics.py",
    "tensors.py",
    "training/distributed.py",
    "training/loading.py",
    "training/order.py",
    "training/plan.py",
    "training/state.py",
    "training/step.py",
    "training/trainer.py",
    "training/validation.py",
    "unet.py",
    "vgg.py",
)


def fingerprint(params: Params, stage: int, hardware: Hardware) -> dict:
    """Return everything that a checkpoint must share with a run to be continued by it, by names for a reader.

    These are the parameters that have a say, the precision and the kind of device, the code, and the files that are
    read: the lists of photographs and masks, the weights of the loss network and those that stage 2 starts from.
    """
    kept = {"seed": True, "data": True, "model": True, "loss": {"vgg", f"stage{stage}"}}
    kept["train"] = {"batch", "recolour", "sync_norm", "validation", f"stage{stage}"}
    kept["train"] |= {"freeze_norm"} if stage == 2 else set()
    found = flat(params.model_dump(include=kept, exclude=NEUTRAL))
    found |= {"precision": hardware.precision, "device": hardware.device.type}
    found |= {name: sha256(path) for name, path in _files(params, stage).items()}
    found |= {f"{split} masks": _mask_digest(split) for split in ("train", "val")}
    return found


def _mask_digest(split: str) -> str:
    """Return a digest of what the masks of a split hold; their index alone may be the same for other masks."""
    digest = hashlib.sha256()
    for path in mask_paths(split):
        try:
            digest.update(f"{path.name} {sha256(path)}\n".encode())
        except OSError as error:
            raise MaskError(f"{path}: {error.strerror}; `dvc repro masks` draws the masks") from None
    return digest.hexdigest()


def _files(params: Params, stage: int) -> dict[str, Path]:
    found = {f"src/pconv/{name}": files("pconv") / name for name in CODE}
    for split in ("train", "val"):
        found[f"{split} photographs"] = manifest_path(split)
    if (path := weights_file(params.loss.vgg)).is_file():
        found["loss.vgg's file"] = path
    if (path := start_file(params, stage)) is not None:
        found["the weights to start from"] = path
    return found


def start_file(params: Params, stage: int) -> Path | None:
    """Return the file of weights that a stage starts from: the best of stage 1, or train.start, which may be None."""
    if stage == 2:
        return model_folder(1) / "best.safetensors"
    return params.train.start and project_root() / params.train.start


class Checkpoints:
    """The checkpoints of a stage, as one process of a group sees them: only the first process writes any."""

    def __init__(self, params: Params, stage: int, hardware: Hardware, group: Group):
        self.stage, self.group, self.device = stage, group, hardware.device
        self.folder, self.seconds = state_folder(stage), params.train.checkpoint_seconds
        self.batch, self.sync_norm = params.train.batch, params.train.sync_norm
        self.fingerprint = fingerprint(params, stage, hardware)
        self._saved_at, self._saved_step = time.monotonic(), 0

    def lock(self):
        """Return a context in which no other run can use the folder. Raises CheckpointError if one does already."""
        return checkpoint.locked(self.folder) if self.group.first else nullcontext()

    def is_due(self, step: int) -> bool:
        """Whether train.checkpoint_seconds have passed since the last one, and there is anything new to save."""
        return step > self._saved_step and time.monotonic() - self._saved_at >= self.seconds

    def save(self, state: State, timer: Timer) -> None:
        """Write a checkpoint. Raises CheckpointError if that fails."""
        if self.group.first:
            with timer.measure("checkpoints"):
                timer.collect()
                about = {"fingerprint": self.fingerprint, "bits": self._bits(), "seconds": timer.seconds}
                checkpoint.save(self.folder, state.step, state.tensors(), about | state.numbers())
        self._saved_at, self._saved_step = time.monotonic(), state.step

    def restore(self, state: State, timer: Timer, total: int) -> None:
        """Go on from the newest checkpoint that is whole, if it is one of this run; say so, or why not.

        total: the number of steps in the stage. Raises CheckpointError if the checkpoint is not one that training
        wrote, and DistributedError if not all processes found the same one.
        """
        found = checkpoint.load_newest(self.folder)
        try:
            if found is not None and self._fits(found[1], total):
                state.restore(*found)
                timer.seconds.update(found[1]["seconds"])
                self._say(f"going on from step {state.step} of {total}")
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise checkpoint.CheckpointError(
                f"{self.folder}: its newest checkpoint is whole but not one that training wrote ({cut(error)}); delete "
                "the folder, then training starts afresh"
            ) from None
        self.group.check_equal(state.step, self.device)
        self._saved_at, self._saved_step = time.monotonic(), state.step

    def _fits(self, about: dict, total: int) -> bool:
        changed = [key for key, value in self.fingerprint.items() if value != about["fingerprint"].get(key)]
        if changed:
            self._say(f"starting afresh, not from step {about['step']}: changed {', '.join(changed)}")
            return False
        if about["step"] > total:
            raise ValueError(f"step {about['step']} of {total}")
        if about["step"] < total:
            self._say_differences(about["bits"])
        return True

    def _say_differences(self, before: dict) -> None:
        """Say what is another than in the run before, although the training goes on."""
        for name, now in self._bits().items():
            if now == before[name]:
                continue
            effect = "the last bits of the weights will differ"
            if name == "processes" and not self.sync_norm:
                effect = f"batch norm sees {self.batch // now} crops at a time, not {self.batch // before[name]}"
            self._say(f"{name}: {now} now, {before[name]} before; {effect}")

    def _bits(self) -> dict:
        """Return what does not end a training if it changes: all but the processes change the last bits only."""
        return {
            "threads": torch.get_num_threads(),
            "processes": self.group.size,
            "version of PyTorch": str(torch.__version__),
            "version of OpenCV": cv2.__version__,
        }

    def _say(self, message: str) -> None:
        if self.group.first:
            say(f"stage {self.stage}: {message}")
