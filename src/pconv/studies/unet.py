"""What notebook 03 measures of the network and the loss, and an independent computation of the loss in numpy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from copy import deepcopy

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pconv.losses import InpaintingLoss
from pconv.masks.convention import BINS, bin_name
from pconv.masks.drawing import draw_hole, hole_rng
from pconv.masks.tensors import hole_to_mask
from pconv.unet import LEAK, Down, PConvUNet
from pconv.vgg import VGGFeatures

Features = Callable[[np.ndarray], list[np.ndarray]]  # an image (3, H, W) -> maps (C, H, W), one for each layer


@torch.inference_mode()
def layer_table(model: PConvUNet, size: int) -> pd.DataFrame:
    """Return a row per layer, in the order they run, as hooks see them in one forward pass at size x size px.

    The pass runs on PyTorch's meta device, which knows shapes and computes no values, so any size costs the same.

    Columns: filter, input channels (of both inputs where two are joined), joined with (the origin of the second),
    size (how height and width change), batch norm, nonlinearity, output, parameters.
    """
    rows, origin = {}, {}  # origin by identity: the network holds what it joins later

    def record(block, inputs, output):
        name = f"PConv{len(rows) + 1}"
        origin[id(output)] = name
        rows[name] = _describe(block, inputs, output, origin)

    model = deepcopy(model).to("meta").eval()
    for block in (*model.encoder, *model.decoder):
        block.register_forward_hook(record)
    with torch.device("meta"):
        model(torch.empty(1, 3, size, size), torch.empty(1, 1, size, size))
    return pd.DataFrame.from_dict(rows, orient="index")


def _describe(block, inputs, out: Tensor, origin: dict[int, str]) -> dict:
    down, maps = isinstance(block, Down), inputs[:-1]  # then the window
    before, after = maps[0].shape[-1], out.shape[-1]
    return {
        "filter": " x ".join(map(str, block.conv.kernel_size)),
        "input channels": " + ".join(str(x.shape[1]) for x in maps),
        "joined with": "" if down else origin.get(id(maps[1]), "image"),
        "size": f"/ {before / after:g}" if down else f"x {after / before:g}",
        "batch norm": "yes" if isinstance(block.norm, nn.BatchNorm2d) else "",
        "nonlinearity": "ReLU" if down else "" if block.last else f"LeakyReLU({LEAK:g})",
        "output": " x ".join(map(str, out.shape[1:])),
        "parameters": sum(p.numel() for p in block.parameters()),
    }


@torch.inference_mode()
def size_table(model: PConvUNet, image: Tensor, mask: Tensor, sizes: Sequence[tuple[int, int]]) -> pd.DataFrame:
    """Apply the model to upper left parts of an image (N, 3, H, W): a row per (height, width).

    Columns: inside (the size after padding), output, and the largest difference between that output and the output for
    the same part padded by hand, with NaN that the mask declares to be hole.
    """
    model, rows = deepcopy(model).eval(), {}
    for height, width in sizes:
        part, part_mask = image[..., :height, :width], mask[..., :height, :width]
        border = (0, -width % 2**model.depth, 0, -height % 2**model.depth)
        padded, padded_mask = F.pad(part, border, value=torch.nan), F.pad(part_mask, border)
        out, by_hand = model(part, part_mask), model(padded, padded_mask)[..., :height, :width]
        rows[f"{height} x {width}"] = {
            "inside": " x ".join(map(str, padded.shape[2:])),
            "output": " x ".join(map(str, out.shape[1:])),
            "difference from padding by hand": _largest(out - by_hand),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


@torch.inference_mode()
def mask_levels(model: PConvUNet, mask: Tensor) -> list[Tensor]:
    """Return the mask (N, 1, H, W) as given and after each layer of the encoder, which halves its size."""
    masks = [mask]
    for block in model.encoder:
        masks.append(block.conv.window(masks[-1]).mask)
    return masks


@torch.inference_mode()
def labelled_masks(model: PConvUNet, mask: Tensor) -> tuple[list[tuple[str, Tensor]], list[tuple[str, Tensor]]]:
    """Return the masks (1, H, W) of a forward pass with a label each: the input and the encoder's, then the decoder's.

    mask: (1, H, W), its sides multiples of 2^depth.
    """
    blocks = [*model.encoder, *model.decoder]
    masks = [window.mask[0] for window in model.windows(mask[None])]
    labels = [
        f"PConv{i}\n{m.shape[-1]} px\n{block.conv.out_channels} ch."
        for i, (block, m) in enumerate(zip(blocks, masks, strict=True), 1)
    ]
    labelled = list(zip(labels, masks, strict=True))
    return [(f"input\n{mask.shape[-1]} px\n3 ch.", mask), *labelled[: model.depth]], labelled[model.depth :]


def valid_shares(model: PConvUNet, size: int, seed: int, count: int = 8) -> pd.DataFrame:
    """Return the mean share of valid pixels over `count` masks: a row per hole-ratio bin, a column per level."""
    rows = {}
    for bounds in BINS:
        holes = [draw_hole(hole_rng(seed, "test", index), size, *bounds) for index in range(count)]
        levels = mask_levels(model, torch.stack([hole_to_mask(hole) for hole in holes]))
        rows[bin_name(bounds)] = [level.mean().item() for level in levels]
    names = ["input", *(f"PConv{i}" for i in range(1, len(model.encoder) + 1))]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def first_full(shares: pd.DataFrame) -> int | None:
    """Return the first level at which the masks of all bins of `valid_shares` are full, or None if there is none."""
    full = (shares == 1).all().to_numpy()
    return int(full.argmax()) if full.any() else None


@torch.inference_mode()
def content_changes(model: PConvUNet, image: Tensor, mask: Tensor, seed: int) -> pd.Series:
    """Return the largest change of the prediction for image (N, 3, H, W) when its hole is filled with other content.

    The last row changes the valid pixels instead, which shows that a change would be seen. The model is in evaluation
    mode.
    """
    model = deepcopy(model).eval()
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(seed)).to(image.device)
    contents = {"black": 0.0, "white": 1.0, "noise": noise, "1e30": 1e30, "infinity": torch.inf, "NaN": torch.nan}
    changed = {
        f"hole: {name}": torch.where(mask > 0, image, torch.as_tensor(value)) for name, value in contents.items()
    }
    changed["valid pixels: noise"] = torch.where(mask > 0, noise, image)
    out = model(image, mask)
    return pd.Series({name: _largest(model(other, mask) - out) for name, other in changed.items()})


def _largest(difference: Tensor) -> float:
    """Return the largest absolute value, or infinity if there is NaN, which pandas would skip."""
    return difference.abs().nan_to_num(nan=torch.inf, posinf=torch.inf).max().item()


PARTS = {  # of a U-Net's state, by how their names end
    "convolutions": ("conv.weight", "conv.bias"),
    "statistics of batch norm": ("norm.running_mean", "norm.running_var"),
    "affine parameters of batch norm": ("norm.weight", "norm.bias"),
}


def step_changes(model: PConvUNet, loss: InpaintingLoss, image: Tensor, mask: Tensor) -> pd.Series:
    """Return the largest change in each part of the model by one training step (Adam, lr 0.001) of a copy."""
    model = deepcopy(model).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss(model(image, mask), image, mask)[0].backward()
    optimiser.step()
    moved = {name: (value - before[name]).abs().max().item() for name, value in model.state_dict().items()}
    parts = {f"{side}, {part}": (side, kinds) for side in ("encoder", "decoder") for part, kinds in PARTS.items()}
    return pd.Series(
        {
            part: max(change for name, change in moved.items() if name.startswith(side) and name.endswith(kinds))
            for part, (side, kinds) in parts.items()
        }
    )


def overfit(
    model: PConvUNet,
    optimiser: torch.optim.Optimizer,
    loss: InpaintingLoss,
    image: Tensor,
    mask: Tensor,
    steps: int,
    moments: Collection[int] = (),
) -> tuple[pd.DataFrame, dict[int, Tensor]]:
    """Train on one batch, image (N, 3, H, W) and mask (N, 1, H, W), for a number of steps, in place.

    Returns a table with the total, the PSNR of the hole in dB and each weighted term, before each step and after the
    last (rows 0 to `steps`), and the predictions at the steps in `moments`.
    """
    model.train()
    history, predictions = [], {}
    for step in range(steps + 1):
        out = model(image, mask)
        total, terms = loss(out, image, mask)
        weighted = {name: loss.weights[name] * value.item() for name, value in terms.items()}
        history.append({"total": total.item(), "psnr": hole_psnr(out, image, mask)} | weighted)
        if step in moments:
            predictions[step] = out.detach()
        if step < steps:
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
    return pd.DataFrame(history), predictions


def hole_psnr(out: Tensor, gt: Tensor, mask: Tensor) -> float:
    """Return the peak signal-to-noise ratio over the pixels of the hole, of predictions clamped to [0, 1], in dB."""
    hole = (mask == 0).expand_as(gt)
    error = (out.detach().clamp(0, 1) - gt)[hole].double()
    return -10 * error.square().mean().log10().item()


@torch.inference_mode()
def term_table(
    loss: InpaintingLoss, outs: dict[str, Tensor], gt: Tensor, mask: Tensor, scale: float = 1.0
) -> pd.DataFrame:
    """Return the unweighted terms, a row per prediction, as if VGG's features were `scale` times as large."""
    hook = loss.vgg.register_forward_hook(lambda module, inputs, features: [scale * x for x in features])
    try:
        terms = {name: loss.terms(out, gt, mask) for name, out in outs.items()}
    finally:
        hook.remove()
    rows = {name: {term: row[term].item() for term in loss.weights} for name, row in terms.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


@torch.inference_mode()
def feature_scale(vgg: VGGFeatures, image: Tensor) -> list[float]:
    """Return the root mean square of the features of pool1, pool2 and pool3 for images (N, 3, H, W)."""
    return [x.square().mean().sqrt().item() for x in vgg(image)]


def reference_terms(out: Tensor, gt: Tensor, mask: Tensor, vgg: VGGFeatures) -> dict[str, float]:
    """Compute the terms of the loss from the paper's equations, in numpy and float64.

    Images are (N, 3, H, W) and masks (N, 1, H, W). Each term is computed per image and averaged over the batch. Only
    VGG itself is shared with pconv.losses.
    """
    vgg = deepcopy(vgg).double()

    def features(image):
        with torch.inference_mode():
            return [x[0].numpy() for x in vgg(torch.from_numpy(image)[None])]

    images = zip(out.double().numpy(), gt.double().numpy(), mask[:, 0].numpy() == 1, strict=True)
    terms = [_reference_terms(*image, features) for image in images]
    return {name: float(np.mean([t[name] for t in terms])) for name in terms[0]}


def _reference_terms(out: np.ndarray, gt: np.ndarray, valid: np.ndarray, features: Features) -> dict[str, float]:
    comp = gt.copy()
    comp[:, ~valid] = out[:, ~valid]
    error = np.abs(out - gt)
    f_out, f_comp, f_gt = features(out), features(comp), features(gt)
    grams = [[np.einsum("chw,dhw->cd", f, f) / f.size for f in maps] for maps in (f_out, f_comp, f_gt)]
    return {
        "valid": error[:, valid].sum() / gt.size,
        "hole": error[:, ~valid].sum() / gt.size,
        "perceptual": _distance(f_out, f_gt) + _distance(f_comp, f_gt),
        "style": _distance(grams[0], grams[2]) + _distance(grams[1], grams[2]),
        "tv": _reference_tv(comp, valid),
    }


def _distance(maps: list[np.ndarray], others: list[np.ndarray]) -> float:
    return sum(np.abs(a - b).sum() / a.size for a, b in zip(maps, others, strict=True))


def _reference_tv(comp: np.ndarray, valid: np.ndarray) -> float:
    """Compute the total variation pixel by pixel over R, the pixels of the hole and their eight neighbours."""
    _, height, width = comp.shape
    hole = np.argwhere(~valid)
    region = {(i + di, j + dj) for i, j in hole.tolist() for di in (-1, 0, 1) for dj in (-1, 0, 1)}
    region = {(i, j) for i, j in region if 0 <= i < height and 0 <= j < width}
    across = sum(np.abs(comp[:, i, j + 1] - comp[:, i, j]).sum() for i, j in region if (i, j + 1) in region)
    down = sum(np.abs(comp[:, i + 1, j] - comp[:, i, j]).sum() for i, j in region if (i + 1, j) in region)
    return across / (3 * height * (width - 1)) + down / (3 * (height - 1) * width)
