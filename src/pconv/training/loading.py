"""Training and validation samples: a crop of a photograph and a mask, each a function of its seed and number alone.

So neither the number of loader processes nor a restart changes what the network sees. Samples are uint8: image
(3, size, size) in 0..255 and mask (1, size, size), 1 where valid.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pconv.data.crops import random_crop, recolour
from pconv.data.decoding import ImageError
from pconv.data.manifest import read_manifest, read_photograph
from pconv.data.shards import fetch_shard_ahead
from pconv.hardware import Hardware
from pconv.masks.convention import MaskError
from pconv.masks.files import mask_paths, read_hole
from pconv.masks.tensors import hole_to_mask
from pconv.params import Data, Params
from pconv.training import TrainingError
from pconv.training.order import Order
from pconv.training.state import State


class TrainingCrops(Dataset):
    """Sample n: a random crop of a photograph, flipped or not, with a random mask, turned and flipped or not.

    With train.recolour the colours of the crop are changed as well. Every photograph is used once, in the random order
    of pconv.training.order, before any is used again. Raises ImageError or MaskError, naming the file, for what cannot
    be used.
    """

    def __init__(self, params: Params, stage: int, count: int):
        self.data, self.key, self.count = params.data, (params.seed, stage), count
        self.recolour = params.train.recolour
        self.photographs = read_manifest(params.data, "train")
        self.order = Order(params.seed, stage, self.photographs, params.train.batch)
        self.holes = mask_paths("train")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, n: int) -> tuple[Tensor, Tensor]:
        photograph = self.photographs[self.order[n]]
        if self.order.ahead and n + self.order.ahead < self.count:
            fetch_shard_ahead(self.photographs[self.order[n + self.order.ahead]].shard)
        rng = np.random.default_rng((*self.key, 1, n))
        image = random_crop(read_photograph(photograph, _least_side(self.data)), self.data.size, self.data.crop, rng)
        hole = read_hole(self.holes[rng.integers(len(self.holes))])
        hole = np.rot90(hole, rng.integers(4))
        flip_image, flip_hole = rng.random(2) < 0.5
        if self.recolour:
            image = recolour(image, rng)
        return _sample(image[:, ::-1] if flip_image else image, hole[:, ::-1] if flip_hole else hole)


class ValidationCrops(Dataset):
    """Sample n: the same crop of a photograph with the same mask at every validation, photographs and masks in turn.

    Raises ImageError or MaskError, naming the file, for what cannot be used.
    """

    def __init__(self, params: Params):
        self.params = params
        self.photographs = read_manifest(params.data, "val")
        self.holes = mask_paths("val")

    def __len__(self) -> int:
        return self.params.train.validation

    def __getitem__(self, n: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.params.seed, 0, n))
        image = read_photograph(self.photographs[n % len(self.photographs)], _least_side(self.params.data))
        image = random_crop(image, self.params.data.size, self.params.data.crop, rng)
        return _sample(image, read_hole(self.holes[n % len(self.holes)]))


def _least_side(data: Data) -> float:
    """Return the least shorter side of a photograph whose crops need not be enlarged."""
    return data.size / data.crop[0]


def _sample(image: np.ndarray, hole: np.ndarray) -> tuple[Tensor, Tensor]:
    if image.shape[:2] != hole.shape:
        raise MaskError(f"masks are {hole.shape[0]} px, crops {image.shape[0]} px: run `dvc repro masks` first")
    image = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return image, hole_to_mask(np.ascontiguousarray(hole)).byte()


@dataclass(frozen=True)
class Loader:
    """Makes batches of samples, in processes of its own if there are any `workers`, and takes them to the device."""

    hardware: Hardware
    workers: int

    def load(self, crops: Dataset, batches: Iterable[Sequence[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches, given as numbers of samples: images (N, 3, H, W) in [0, 1] and masks (N, 1, H, W).

        Closing the generator ends the processes. Raises ImageError or MaskError, naming the file.
        """
        loader = DataLoader(
            crops,
            batch_sampler=batches,
            num_workers=self.workers,
            worker_init_fn=_start_worker,
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
            if self.workers:  # now, and not when the last traceback lets go of the iterator; PyTorch has no public way
                iterator._shutdown_workers()


def _start_worker(_worker: int) -> None:
    """Set up a loader process: no threads that fight over the cores, and no death by the signal that stops training.

    Ctrl-C and batch systems signal all processes of a group; training needs its loaders for the step that it ends.
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def dead_loaders_named(stage: int, state: State):
    """Turn the death of a loader process into a TrainingError that says where training was and what to do.

    It has to enclose all that goes on while there are loader processes: PyTorch raises the error from a signal handler.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            f"stage {stage}, step {state.step}: a loader process died ({str(error).strip()}); most often the memory "
            "ran out: lower train.workers or train.batch; run again to go on from the last checkpoint"
        ) from error
