"""Compare the whole training step (network, six-term loss, backward, Adam) with a straightforward one.

    python benchmarks/step.py                    # the step of the default; below, that of the paper on a GPU
    python benchmarks/step.py --params params/paper-places2.yaml --vgg packaged --partialconv PATH --compile

The straightforward step computes in float32 and NCHW, passes out, comp and gt through the loss network one by one, uses
PyTorch's default Adam, and the authors' layer if its file is given, otherwise ours. Our step is that of pconv.train.
Both start from the same weights and take the same batches from memory in turns. PyTorch's FlopCounterMode counts the
operations; they are related to the speed of a large matrix product in the step's precision, measured in the same run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from common import changed, machine, ratio, record, turns, wait
from network import Authors, inputs, load_authors
from torch.utils.flop_counter import FlopCounterMode

from pconv import losses
from pconv.hardware import Hardware, keep_memory
from pconv.losses import TERMS, InpaintingLoss, gram
from pconv.masks.tensors import compose
from pconv.params import Params, load_params
from pconv.training.step import TrainingStep, adam
from pconv.training.timing import Timer
from pconv.unet import PConvUNet, he_init
from pconv.vgg import VGGFeatures

LR = 1e-4


class Straightforward:
    """Takes a training step as one would write it down from the paper."""

    def __init__(self, params: Params, device: torch.device, authors):
        model = he_init(PConvUNet(params.model.width, params.model.depth), params.seed)
        self.model = (Authors(model, authors) if authors else model).to(device)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=LR)
        self.vgg = VGGFeatures(params.loss.vgg).to(device)
        self.weights = params.loss.stage2

    def __call__(self, gt, mask):
        out = self.model(gt, mask)
        comp = compose(gt, out, mask)
        features_out, features_comp, features_gt = self.vgg(out), self.vgg(comp), self.vgg(gt)
        grams_gt = [gram(f) for f in features_gt]
        terms = {
            "valid": losses.valid_loss(out, gt, mask),
            "hole": losses.hole_loss(out, gt, mask),
            "tv": losses.tv_loss(comp, mask),
            "perceptual": losses.perceptual_loss(features_out, features_gt)
            + losses.perceptual_loss(features_comp, features_gt),
            "style": sum(losses.style_loss([gram(f) for f in fs], grams_gt) for fs in (features_out, features_comp)),
        }
        total = sum(getattr(self.weights, name) * terms[name] for name in TERMS)
        self.optimiser.zero_grad()
        total.backward()
        self.optimiser.step()
        return total


def our_step(
    params: Params, hardware: Hardware, layout=torch.channels_last, optimiser=adam, mode: str | None = None
) -> TrainingStep:
    """Return the step of pconv.train, with network and loss compiled by torch.compile if a mode is given."""
    where = {"device": hardware.device, "memory_format": layout}
    model = he_init(PConvUNet(params.model.width, params.model.depth), params.seed).to(**where)
    loss = InpaintingLoss(params.loss.stage2, params.loss.vgg).to(**where)
    if mode is not None:
        model.compile(mode=mode, dynamic=False), loss.compile(mode=mode, dynamic=False)
    return TrainingStep(model, optimiser(model, LR), loss, hardware, Timer(hardware.device))


def modes(options) -> dict[str, str]:
    """Return the modes of torch.compile to measure, by name; CUDA graphs need a GPU."""
    if not options.compile:
        return {}
    graphs = {"CUDA graphs": "reduce-overhead"} if options.device.type == "cuda" else {}
    return {"torch.compile": "default"} | graphs


def ladder(params: Params, hardware: Hardware, plain_batch, fast_batch, options) -> dict:
    """Return the steps from the straightforward one to ours, by the one change that each adds; all use our layer.

    They are followed by what torch.compile makes of our step, if that is asked for.
    """
    exact, nchw = Hardware(hardware.device, "float32"), torch.contiguous_format
    slow_adam = {"optimiser": lambda model, lr: torch.optim.Adam(model.parameters(), lr=lr)}
    straightforward = Straightforward(params, hardware.device, None)
    one_batch = our_step(params, exact, nchw, **slow_adam)
    channels_last, all_but_adam = our_step(params, exact, **slow_adam), our_step(params, hardware, **slow_adam)
    ours = our_step(params, hardware)
    compiled = {name: our_step(params, hardware, mode=mode) for name, mode in modes(options).items()}
    return {
        "straightforward": lambda: straightforward(*plain_batch),
        "out and comp through VGG in one batch": lambda: one_batch(*plain_batch, LR),
        "channels_last": lambda: channels_last(*fast_batch, LR),
        hardware.precision: lambda: all_but_adam(*fast_batch, LR),
        "fused Adam": lambda: ours(*fast_batch, LR),
        **{name: lambda step=step: step(*fast_batch, LR) for name, step in compiled.items()},
    }


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return the speed of the fastest of several large matrix products, in TFLOP/s."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
    seconds = turns({"": lambda: a @ b}, 10, device)[""]
    return 2 * size**3 / seconds.min() / 1e12


def peak_bytes(call, device: torch.device) -> int | None:
    """Return the most GPU memory that a call holds at once, None on a CPU."""
    if device.type != "cuda":
        return None  # benchmarks/network.py measures it, with a process for each candidate
    torch.cuda.reset_peak_memory_stats()
    call()
    wait(device)
    return torch.cuda.max_memory_allocated()


@torch.inference_mode()
def inference(params: Params, options) -> dict[str, float]:
    """Return the milliseconds to fill one image of 512 px in the precision of training, compiled as well if asked."""
    layout = {"device": options.device, "memory_format": torch.channels_last}
    model = he_init(PConvUNet(params.model.width, params.model.depth), 0).eval().to(**layout)
    image, mask = torch.rand(1, 3, 512, 512).to(**layout), torch.ones(1, 1, 512, 512, device=options.device)
    mask[..., 100:200, 100:300] = 0
    models = {"ours": model}
    models |= {name: torch.compile(model, mode=mode, dynamic=False) for name, mode in modes(options).items()}
    with Hardware.choose(params.train.precision).autocast():
        calls = {name: lambda model=model: model(image, mask) for name, model in models.items()}
        return {name: 1000 * float(np.median(s)) for name, s in turns(calls, 20, options.device).items()}


def measure(params: Params, options) -> dict:
    """Return everything that is recorded but the time to fill an image."""
    hardware = Hardware.choose(params.train.precision)
    options.device, options.size, options.batch = hardware.device, params.data.size, params.train.batch
    plain_batch = inputs(options, torch.contiguous_format)
    ours_batch = inputs(options, torch.channels_last)
    straightforward = Straightforward(params, hardware.device, options.authors)
    ours = our_step(params, hardware)
    calls = {"ours": lambda: ours(*ours_batch, LR), "straightforward": lambda: straightforward(*plain_batch)}
    with FlopCounterMode(display=False) as counter:
        calls["ours"]()
    seconds = turns(calls, options.turns, hardware.device)
    memory = {name: peak_bytes(call, hardware.device) for name, call in calls.items()}
    dtype = torch.bfloat16 if hardware.precision == "bfloat16" else torch.float32
    peak, operations = matmul_peak(hardware.device, dtype), counter.get_total_flops()
    result = {
        "size": options.size,
        "batch": options.batch,
        "width": params.model.width,
        "depth": params.model.depth,
        "precision": hardware.precision,
        "straightforward layer": "the authors'" if options.authors else "ours",
        "times the straightforward step": 1 / ratio(seconds, "ours", "straightforward"),
        "images/s": {name: options.batch / float(np.median(s)) for name, s in seconds.items()},
        "TFLOP of a step": operations / 1e12,
        "TFLOP/s": operations / float(np.median(seconds["ours"])) / 1e12,
        "TFLOP/s of a large matrix product": peak,
    }
    result["share of that"] = result["TFLOP/s"] / peak
    steps = turns(ladder(params, hardware, plain_batch, ours_batch, options), options.turns, hardware.device)
    result["speed over the straightforward step with our layer, one lever after another"] = {
        name: 1 / ratio(steps, name, "straightforward") for name in steps
    }
    return result | ({"peak bytes, both networks and losses at hand": memory} if all(memory.values()) else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, help="a parameter set, params.yaml by default")
    parser.add_argument("--vgg", help="replaces loss.vgg, where its weights are missing")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), help="replaces train.precision")
    parser.add_argument("--size", type=int, help="replaces data.size")
    parser.add_argument("--partialconv", type=Path, metavar="PATH", help="the authors' models/partialconv2d.py")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile as well, which takes minutes")
    parser.add_argument("--turns", type=int, default=12)
    options = parser.parse_args()
    keep_memory()
    changes = {"loss.vgg": options.vgg, "train.precision": options.precision, "data.size": options.size}
    params = changed(load_params(options.params), changes)
    options.authors = load_authors(options.partialconv)
    results = measure(params, options)
    device = options.device
    results = {
        "machine": machine(device),
        **results,
        "milliseconds to fill one image of 512 px": inference(params, options),
    }
    record(f"step, {device.type}, {params.data.size} px, {results['precision']}", results)


if __name__ == "__main__":
    main()
