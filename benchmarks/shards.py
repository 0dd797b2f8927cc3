"""Simulate two machines that train from shards behind a link of limited speed: the last table of docs/scaling.md.

    python benchmarks/shards.py

Two processes, each with a folder of its own for what it fetches, share batches as two training processes do, and take a
batch as often as a GPU of --images-per-second would; they train nothing. A web server of this machine sends shards no
faster than a link for each process. What the processes need on paper are images/s times the bytes of a photograph.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import chdir
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from queue import Empty

import cv2
import numpy as np
import torch
from PIL import Image
from webdataset import TarWriter

from pconv.data.crops import random_crop
from pconv.data.decoding import read_image
from pconv.data.manifest import read_manifest
from pconv.data.packages import unpack
from pconv.data.selection import write_manifests
from pconv.hardware import Hardware
from pconv.masks.sets import write_masks
from pconv.params import Params
from pconv.training.distributed import Group
from pconv.training.loading import Loader, TrainingCrops
from pconv.training.order import Order

PROCESSES = 2
CHUNK = 2**14  # bytes that are sent at once
SLACK = 0.2  # seconds that a server on a busy machine may be late and make up for


def write_shards(folder: Path, shards: int, photographs: int, size: int) -> float:
    """Write shards of crops of the packaged photographs as JPEG files; returns the mean bytes of one."""
    images = [read_image(folder / "packaged" / name) for name in unpack("train", folder / "packaged")]
    rng, sizes = np.random.default_rng(0), []
    for split, count in (("train", shards), ("val", 1), ("test", 1)):
        (folder / "served" / split).mkdir(parents=True)
        for shard in range(count):
            with TarWriter(str(folder / f"served/{split}/{shard:04d}.tar")) as writer:
                for n in range(photographs):
                    crop = random_crop(images[rng.integers(len(images))], size, [0.3, 0.9], rng)
                    Image.fromarray(crop).save(file := io.BytesIO(), "jpeg", quality=90)
                    writer.write({"__key__": f"{split}{shard:04d}{n:04d}", "jpg": file.getvalue()})
                    sizes.append(len(file.getvalue()))
    return float(np.mean(sizes))


class Handler(SimpleHTTPRequestHandler):
    """Serves files no faster than the server's link, which all requests share, and counts requests and bytes."""

    def copyfile(self, source, outputfile):
        self.server.counts.update(shards=1)
        while chunk := source.read(CHUNK):
            with self.server.link:  # free again when all that was sent before has gone through
                free = max(self.server.free, time.monotonic() - SLACK) + len(chunk) / self.server.speed
                self.server.free = free
            time.sleep(max(0, free - time.monotonic()))
            outputfile.write(chunk)
            self.server.counts.update(bytes=len(chunk))

    def log_message(self, *args):
        pass


def train(rank: int, params: Params, cache: Path, steps: int, rate: float, plain: bool, queue) -> None:
    """Take batches as a GPU would; reports images/s over the second half of the steps, and the wait for the first."""
    os.environ["WDS_CACHE"] = str(cache)
    cv2.setNumThreads(1), torch.set_num_threads(1)
    crops, batch = TrainingCrops(params, 1, steps * params.train.batch), params.train.batch
    if plain:
        crops.order = Order(params.seed, 1, [one._replace(shard="") for one in crops.photographs], batch)
    group = Group(rank, PROCESSES)
    shares = (group.share(range(step * batch, (step + 1) * batch)) for step in range(steps))
    batches = Loader(Hardware.choose("float32"), workers=2).load(crops, shares)
    began = time.perf_counter()
    next(batches)
    started, done = time.perf_counter(), [time.perf_counter()]
    for _ in islice(batches, steps - 1):
        time.sleep(max(0, done[-1] + batch / PROCESSES / rate - time.perf_counter()))
        done.append(time.perf_counter())
    half = steps // 2
    queue.put((batch / PROCESSES * (steps - 1 - half) / (done[-1] - done[half]), started - began))


def simulate(params: Params, server, link: float, options, plain: bool = False) -> dict:
    """Run the two processes behind a link of so many bytes/s for each."""
    server.speed, server.counts, server.free = PROCESSES * link, Counter(), time.monotonic()
    context = multiprocessing.get_context("fork")
    queue, steps = context.Queue(), round(options.seconds * options.images_per_second * PROCESSES / params.train.batch)
    with tempfile.TemporaryDirectory() as folder:
        caches = [Path(folder) / str(rank) for rank in range(PROCESSES)]
        rest = (steps, options.images_per_second, plain, queue)
        processes = [context.Process(target=train, args=(r, params, caches[r], *rest)) for r in range(PROCESSES)]
        began = time.perf_counter()
        for process in processes:
            process.start()
        found = []
        while len(found) < len(processes):
            try:
                found.append(queue.get(timeout=10))
            except Empty:
                if any(process.exitcode for process in processes):
                    sys.exit("one of the processes died; what it said stands above")
        for process in processes:
            process.join()
        seconds = time.perf_counter() - began
    images = steps * params.train.batch
    return {
        "images/s": np.mean([rate for rate, _ in found]),
        "wait": np.max([wait for _, wait in found]),
        "bytes/image": server.counts["bytes"] / images,
        "bytes/s": server.counts["bytes"] / seconds / PROCESSES,
        "shards/s": server.counts["shards"] / seconds / PROCESSES,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images-per-second", type=float, default=15, help="of a GPU that is played")
    parser.add_argument("--seconds", type=float, default=40, help="of each simulation, if nothing has to wait")
    parser.add_argument("--links", type=float, nargs="+", default=[0.5, 1, 1.5, 2, 4], help="times what paper says")
    parser.add_argument("--shards", type=int, default=48)
    parser.add_argument("--photographs", type=int, default=25, help="in a shard")
    parser.add_argument("--size", type=int, default=256, help="of a photograph, px")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        Path("dvc.yaml").touch()
        size = write_shards(Path(folder), options.shards, options.photographs, options.size)
        handler = partial(Handler, directory=f"{folder}/served")
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.speed, server.counts, server.free, server.link = 1e9, Counter(), 0, threading.Lock()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = (
            f"http://127.0.0.1:{server.server_port}/{{train/{{0000..{options.shards - 1:04d}}},val/0000,test/0000}}.tar"
        )
        values = {"data": {"source": "webdataset", "folder": url, "size": 128, "max_rejected": 1.0}}
        values["masks"] = {"source": "strokes", "train": 8, "val": 1, "test": 1}
        values["train"] = {"batch": 8}
        params = Params.model_validate(values)
        os.environ["WDS_CACHE"] = f"{folder}/listing"
        write_manifests(params.data)
        write_masks(params)
        rate, need = options.images_per_second, options.images_per_second * size
        count = len(read_manifest(params.data, "train"))
        print(f"{count:,} photographs of {size / 1e3:.1f} KB, {options.photographs} in a shard")
        print(f"on paper {rate:g} images/s are {need / 1e6:.2f} MB/s and {rate / options.photographs:.2f} shards/s")
        print("| link, times that | MB/s | shards/s | images/s | KB fetched for an image | first batch after |")
        print("|---|---|---|---|---|---|")
        for times, plain in [*((times, False) for times in options.links), (options.links[-1], True)]:
            found = simulate(params, server, times * need, options, plain)
            print(
                f"| {times:g}{', order of files' if plain else ''} | {found['bytes/s'] / 1e6:.2f} | "
                f"{found['shards/s']:.2f} | {found['images/s']:.1f} | {found['bytes/image'] / 1e3:.1f} | "
                f"{found['wait']:.1f} s |",
                flush=True,
            )
        server.shutdown()


if __name__ == "__main__":
    main()
