"""Measure what partial convolution costs beside plain convolution: the layer, the U-Net and its memory.

    python benchmarks/network.py
    git clone https://github.com/NVIDIA/partialconv
    python benchmarks/network.py --partialconv partialconv/models/partialconv2d.py

Three networks with the same weights run forward and backward in turns: ours, one of nn.Conv2d, and one of the authors'
layer with multi-channel masks, if its file is given (it is not part of this project). The loss network is left out. The
layer alone is measured on the shapes that it meets in this network.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from common import load_reference, machine, ratio, record, turns
from torch import nn
from torch.nn import functional as F

from pconv.hardware import keep_memory
from pconv.layers import PartialConv2d
from pconv.masks.drawing import draw_hole, hole_rng
from pconv.masks.tensors import hole_to_mask
from pconv.unet import LEAK, PConvUNet, he_init

PLAIN, AUTHORS = "nn.Conv2d", "authors"
LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


def load_authors(path: Path | None):
    """Return the authors' layer, PartialConv2d, or None without a path."""
    return load_reference(path, "PartialConv2d", "models/partialconv2d.py of a clone of NVIDIA/partialconv")


class Plain(nn.Module):
    """The network with its weights in nn.Conv2d, and no masks."""

    def __init__(self, model: PConvUNet):
        super().__init__()
        self.encoder, self.decoder = copy.deepcopy(model.encoder), copy.deepcopy(model.decoder)
        for block in (*self.encoder, *self.decoder):
            block.conv = convert(block.conv, nn.Conv2d)

    def forward(self, x, mask):
        skips = []
        for down in self.encoder:
            skips.append(x)
            x = F.relu(down.norm(down.conv(x)), inplace=True)
        for up, skip in zip(self.decoder, reversed(skips), strict=True):
            x = up.conv(torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skip], dim=1))
            x = x if up.last else F.leaky_relu(up.norm(x), LEAK, inplace=True)
        return x


class Authors(Plain):
    """The network with the authors' layer: a mask for every channel, convolved with as many kernels of ones."""

    def __init__(self, model: PConvUNet, layer):
        super().__init__(model)
        for block in (*self.encoder, *self.decoder):
            block.conv = convert(block.conv, layer, multi_channel=True, return_mask=True)

    def forward(self, x, mask):
        skips, mask = [], mask.expand_as(x)
        for down in self.encoder:
            skips.append((x, mask))
            x, mask = down.conv(x, mask)
            x = F.relu(down.norm(x), inplace=True)
        for up, (skip, skip_mask) in zip(self.decoder, reversed(skips), strict=True):
            x, mask = (F.interpolate(t, scale_factor=2, mode="nearest") for t in (x, mask))
            x, mask = up.conv(torch.cat([x, skip], dim=1), torch.cat([mask, skip_mask], dim=1))
            x = x if up.last else F.leaky_relu(up.norm(x), LEAK, inplace=True)
        return x


def convert(conv: PartialConv2d, layer, **options) -> nn.Module:
    """Return the same convolution as another class of layer."""
    size = (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)
    new = layer(*size, bias=conv.bias is not None, **options)
    new.load_state_dict(conv.state_dict())
    return new


def networks(options, layout) -> dict[str, nn.Module]:
    ours = he_init(PConvUNet(options.width, options.depth), 0)
    found = {"ours": ours, PLAIN: Plain(ours)}
    if options.authors:
        found[AUTHORS] = Authors(ours, options.authors)
    return {name: model.to(options.device, memory_format=layout) for name, model in found.items()}


def inputs(options, layout):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(options.batch, 3, options.size, options.size, generator=generator)
    holes = [draw_hole(hole_rng(0, "train", n), options.size, 0.1, 0.4) for n in range(options.batch)]
    mask = torch.stack([hole_to_mask(hole) for hole in holes])
    return image.to(options.device, memory_format=layout), mask.to(options.device)


def step(model, image, mask, precision):
    """Return a function that runs forward and backward through a network."""

    def run():
        with torch.autocast(image.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            out = model(image, mask)
        model.zero_grad(set_to_none=True)
        out.float().abs().mean().backward()

    return run


def layer_calls(ours: PConvUNet, image, mask, layout, authors) -> list[dict]:
    """Return, for each layer of the network, calls that run each implementation on the input that it gets there."""
    masks, met = [], []
    window, convolve = PartialConv2d.window, PartialConv2d.convolve
    with (
        mock.patch.object(PartialConv2d, "window", lambda layer, m: masks.append(m) or window(layer, m)),
        mock.patch.object(
            PartialConv2d, "convolve", lambda layer, x, w: met.append((layer, x)) or convolve(layer, x, w)
        ),
        torch.no_grad(),
    ):
        ours(image, mask)

    def call(layer, *given):
        def run():
            x = given[0].requires_grad_(layer.in_channels > 3)  # an image needs no gradient
            out = layer(x, *given[1:])
            out = out[0] if isinstance(out, tuple) else out
            grad = torch.ones_like(out)
            layer.zero_grad(set_to_none=True)
            torch.autograd.backward(out, grad)

        return run

    found = []
    for (layer, x), m in zip(met, masks, strict=True):
        plain = convert(layer, nn.Conv2d).to(x.device, memory_format=layout)
        calls = {"ours": call(layer, x, m), PLAIN: call(plain, x)}
        if authors:
            theirs = convert(layer, authors, multi_channel=True, return_mask=True).to(x.device, memory_format=layout)
            calls[AUTHORS] = call(theirs, x, (m > 0).to(x.dtype).expand_as(x))
        found.append(calls)
    return found


def geometric_mean(values) -> float:
    return float(np.exp(np.mean(np.log(values))))


def measure(options) -> dict:
    """Measure the times of our network and of the authors' as multiples of the plain network's."""
    found = {}
    others = ["ours", *([AUTHORS] if options.authors else [])]
    for name, layout in LAYOUTS.items():
        models, given = networks(options, layout), inputs(options, layout)
        layers = [
            turns(c, options.turns, options.device)
            for c in layer_calls(models["ours"], *given, layout, options.authors)
        ]
        whole = turns({n: step(m, *given, options.precision) for n, m in models.items()}, options.turns, options.device)
        found[name] = {
            "milliseconds of the plain network": 1000 * float(np.median(whole[PLAIN])),
            "layer": {n: geometric_mean([ratio(s, n, PLAIN) for s in layers]) for n in others},
            "network": {n: ratio(whole, n, PLAIN) for n in others},
        }
    return found


def peak_memory(options, name: str) -> int:
    """Return the peak memory of a network's steps in this process, in bytes, without the network and its inputs."""
    layout = LAYOUTS["channels_last"]
    model, given = networks(options, layout)[name], inputs(options, layout)
    run = step(model, *given, options.precision)
    if options.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is counted from here
    before = resident("VmRSS")
    for _ in range(3):
        run()
    return resident("VmHWM") - before


def resident(field: str) -> int:
    """Return this process's memory in bytes: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def in_own_process(name: str) -> int:
    command = [sys.executable, *sys.argv, "--memory-of", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partialconv", type=Path, metavar="PATH", help="the authors' models/partialconv2d.py")
    parser.add_argument("--size", type=int, default=256, help="side of the images, px")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--depth", type=int, default=7)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)  # what this script calls itself with
    options = parser.parse_args()
    options.authors = load_authors(options.partialconv)
    options.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    keep_memory()
    if options.memory_of:
        print(peak_memory(options, options.memory_of))
        return
    results = {"machine": machine(options.device), "precision": options.precision}
    results |= {name: getattr(options, name) for name in ("size", "width", "depth", "batch", "turns")}
    results |= measure(options)
    memory = {name: in_own_process(name) for name in (PLAIN, *results["NCHW"]["network"])}
    results["memory"] = {name: memory[name] / memory[PLAIN] for name in memory if name != PLAIN}
    if not options.authors:
        print(
            "The authors' layer is missing from this comparison: give --partialconv PATH (see --help).", file=sys.stderr
        )
    record(f"network, {options.device.type}, {options.precision}, {options.size} px, width {options.width}", results)


if __name__ == "__main__":
    main()
