"""Measure whether decoding, cropping and masks keep up: training on files against training on tensors in memory.

    python benchmarks/loading.py
    python benchmarks/loading.py --params params/paper-places2.yaml --vgg packaged      # on a GPU

The same training step takes its batches in turn from the data loader, as training does, and from memory. Also measured
are the samples a second that one core makes, with decoded photographs kept as in training and with each decoded anew;
those that the loader makes with its processes; and, on one core, the speed of two decoders on the project's JPEG files,
and of decoding large ones at a fraction of their size.
The photographs and masks are those of the project: run `dvc repro images masks` with the same parameters first.
"""

from __future__ import annotations

import argparse
import time
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import torch
from common import changed, machine, ratio, record, turns, wait
from torchvision.io import ImageReadMode, decode_jpeg

from pconv.data.decoding import decode_for_crops
from pconv.data.manifest import DECODED, read_manifest, read_photograph
from pconv.hardware import keep_memory
from pconv.params import Params, load_params
from pconv.training.loading import TrainingCrops
from pconv.training.trainer import Trainer


def prefetched(params: Params) -> int:
    """Return the number of batches that may be ready before they are asked for, and one more; they are not timed."""
    return 2 * params.train.workers + 1


def images_per_second(trainer: Trainer, batches, count: int) -> float:
    """Return the speed of `count` training steps, which follow as many as loader processes may have ready."""
    device, batches = trainer.hardware.device, iter(batches)
    rate = trainer.plan.schedule.lr
    for batch in islice(batches, prefetched(trainer.params)):
        trainer.train_step(*batch, rate)
    wait(device)
    began, done = time.perf_counter(), 0
    for batch in islice(batches, count):
        trainer.train_step(*batch, rate)
        done += 1
    wait(device)
    return done * trainer.params.train.batch / (time.perf_counter() - began)


def one_core(params: Params, count: int, keep: bool) -> float:
    """Return the samples a second of the data set alone, with decoded photographs kept as in training or not at all.

    A first round is not timed: it brings the files into memory.
    """
    crops = TrainingCrops(params, 1, count)
    for _ in range(2):
        began = time.process_time()
        for n in range(count):
            if not keep:
                DECODED.clear()
            crops[n]
    return count / (time.process_time() - began)


def decoders(params: Params) -> dict:
    """Return the megapixels a second that one core decodes of at most 50 JPEG files of the training split."""
    files = [p.path for p in read_manifest(params.data, "train") if not p.shard]
    paths = [path for path in files if path.suffix.lower() in (".jpg", ".jpeg")][:50]
    encoded = [np.fromfile(path, np.uint8) for path in paths]
    tensors = [torch.from_numpy(data) for data in encoded]
    pixels = sum(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., 0].size for data in encoded)
    calls = {
        "OpenCV": lambda: [cv2.cvtColor(cv2.imdecode(d, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB) for d in encoded],
        "torchvision": lambda: [decode_jpeg(data, ImageReadMode.RGB) for data in tensors],
    }
    seconds = turns(calls, 10, torch.device("cpu"))
    return {name: pixels / 1e6 / float(np.median(s)) for name, s in seconds.items()} if encoded else {}


def large_photographs(params: Params) -> dict:
    """Return how much faster JPEG files of 12 megapixels, as cameras write them, are decoded for crops than whole.

    A crop of the least share of such a photograph's shorter side is then still no smaller than the network's.
    """
    width, height = 4000, 3000
    images = (read_photograph(photograph) for photograph in read_manifest(params.data, "train")[:5])
    enlarged = (cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in images)
    encoded = [cv2.imencode(".jpg", image)[1].tobytes() for image in enlarged]
    least = params.data.size / params.data.crop[0]
    calls = {
        "for crops": lambda: [decode_for_crops(one, "photograph", least) for one in encoded],
        "whole": lambda: [decode_for_crops(one, "photograph", np.inf) for one in encoded],
    }
    seconds = turns(calls, 5, torch.device("cpu"))
    return {
        "least side, px": least,
        "ms for crops": 1000 * float(np.median(seconds["for crops"])) / len(encoded),
        "times as fast as whole": 1 / ratio(seconds, "for crops", "whole"),
    }


@contextmanager
def one_thread():
    """Use one thread, as a loader process does."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1), torch.set_num_threads(1)
    yield
    cv2.setNumThreads(before[0]), torch.set_num_threads(before[1])


def loader_alone(params: Params, count: int) -> float:
    """Return the samples a second of the loader with its processes while nothing else runs."""
    batches = Trainer(params, 1).batches()
    for _ in islice(batches, prefetched(params)):
        pass
    began = time.perf_counter()
    done = sum(1 for _ in islice(batches, count))
    seconds = time.perf_counter() - began
    batches.close()
    return done * params.train.batch / seconds


def measure(params: Params, options) -> dict:
    """Return everything that is recorded."""
    trainer = Trainer(params, 1)
    memory = list(islice(trainer.batches(), 8))
    steps = max(options.steps, 10 * prefetched(params))
    rates = {"files": [], "memory": []}
    for _ in range(options.turns):
        rates["memory"].append(images_per_second(trainer, cycle(memory), steps))
        batches = trainer.batches()
        rates["files"].append(images_per_second(trainer, batches, steps))
        batches.close()
    shares = np.array(rates["files"]) / np.array(rates["memory"])
    with one_thread():
        alone = {
            "samples/s of one core": one_core(params, 200, keep=True),
            "samples/s of one core, each photograph decoded anew": one_core(params, 200, keep=False),
            "JPEG, megapixels/s of one core": decoders(params),
            "JPEG of 12 megapixels, one core": large_photographs(params),
        }
    return {
        "machine": machine(trainer.hardware.device),
        "size": params.data.size,
        "batch": params.train.batch,
        "workers": params.train.workers,
        "images/s": {name: float(np.median(values)) for name, values in rates.items()},
        "files to memory": float(np.median(shares)),
        "samples/s of the loader": loader_alone(params, max(50, steps)),
        **alone,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, help="a parameter set, params.yaml by default")
    parser.add_argument("--vgg", help="replaces loss.vgg, where its weights are missing")
    parser.add_argument("--workers", type=int, help="replaces train.workers")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="the least number in a turn")
    options = parser.parse_args()
    keep_memory()
    params = changed(load_params(options.params), {"loss.vgg": options.vgg, "train.workers": options.workers})
    results = measure(params, options)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    source = params.data.source
    record(f"loading, {device}, {source}, {params.data.size} px, {params.train.workers} workers", results)


if __name__ == "__main__":
    main()
