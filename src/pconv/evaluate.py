"""Networks and the baselines over test photographs x test masks, into one table (Liu et al. 2018, section 4.3).

One crop of a held-out photograph per test mask. What is measured is always the composite, M gt + (1 - M) out clamped
to [0, 1]: valid pixels count as they are, whatever a method returned there.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from pconv import baselines, metrics
from pconv.completion import composite
from pconv.data.crops import random_crop
from pconv.data.manifest import read_manifest, read_photograph
from pconv.data.tensors import to_tensor
from pconv.errors import PConvError
from pconv.hardware import exact_convolutions
from pconv.masks.convention import thickness
from pconv.masks.files import read_hole, read_index
from pconv.masks.tensors import compose, hole_to_mask, mask_to_hole
from pconv.params import Params
from pconv.perceptual import PerceptualDistance, between
from pconv.progress import Progress
from pconv.project import mask_folder, project_root
from pconv.unet import PConvUNet, load_model

OURS = "pconv"
PUBLISHED = "published"
MEAN = "mean fill"
TITLES = {"psnr": "PSNR, dB", "ssim": "SSIM", "l1": "L1, %", "perceptual": "perceptual distance"}
MEASURES = tuple(TITLES)
BATCH = 8  # crops; bounds the memory at 512 px


class EvaluationError(PConvError, RuntimeError):
    """A result that cannot be measured; the message names the method and the crop."""


class Crop(NamedTuple):
    """A crop of a test photograph with its mask."""

    index: int
    photograph: str  # its path in the folder of photographs, in a shard after that of the shard
    bin: str
    touches_border: bool  # whether the hole may reach an edge of the image, or with masks.border = forced must
    hole_ratio: float
    gt: Tensor  # (3, H, W), float32 RGB in [0, 1]
    mask: Tensor  # (1, H, W), 1 valid, 0 hole


class Crops(Sequence):
    """The test set: row i of the test masks' index with a crop that is a function of (seed, i) alone.

    Photographs come in turn, by their checksums: that is as good as at random, so that no bin gets those of one folder,
    and different classes of holes can be compared. Crops are read when asked for, so that a test set of any length fits
    into memory.
    """

    def __init__(self, params: Params):
        self.params = params
        self.masks = read_index("test")
        self.photographs = sorted(read_manifest(params.data, "test"), key=lambda photograph: photograph.sha256)

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, i: int | slice) -> Crop | list[Crop]:
        if isinstance(i, slice):
            return [self[n] for n in range(*i.indices(len(self)))]
        row = self.masks.iloc[i]
        photograph = self.photographs[i % len(self.photographs)]
        rng = np.random.default_rng([self.params.seed, int.from_bytes(b"crop"), i])
        pixels = random_crop(read_photograph(photograph), self.params.data.size, self.params.data.crop, rng)
        gt = to_tensor(pixels)
        mask = hole_to_mask(read_hole(mask_folder("test") / row.file))
        if mask.shape[1:] != gt.shape[1:]:
            raise EvaluationError(f"masks are {len(mask[0])} px, crops {len(gt[0])} px: run `dvc repro masks` first")
        return Crop(i, photograph.label, row.bin, bool(row.border == 0), float(row.hole_ratio), gt, mask)

    def one_per_bin(self) -> list[Crop]:
        """Return the same few crops whenever pictures are shown: the first of each bin."""
        return [self[i] for i in self.masks.drop_duplicates("bin").index]


def load_published(params: Params, device: torch.device) -> PConvUNet | None:
    """Return the network in the file params.evaluate.published, in evaluation mode; None if that is null.

    A relative path starts at the project's root. Raises EvaluationError if the crops are too small for the network, and
    what load_model raises.
    """
    if params.evaluate.published is None:
        return None
    model = load_model(project_root() / params.evaluate.published)
    if params.data.size < model.smallest:
        raise EvaluationError(
            f"evaluate.published = {params.evaluate.published}: a network of depth {model.depth} takes crops of "
            f"{model.smallest} px or more, while data.size = {params.data.size}; write null, or name other weights"
        )
    return model.to(device)


def composites(
    model: nn.Module, names: Sequence[str], crops: Sequence[Crop], published: nn.Module | None = None
) -> dict[str, Tensor]:
    """Fill crops with the networks and the baselines called `names`: method -> comp (N, 3, H, W) in [0, 1].

    No method is given the pixels in the hole. Raises EvaluationError where a result is not finite.
    """
    gt, mask = torch.stack([c.gt for c in crops]), torch.stack([c.mask for c in crops])
    results = {method: _infer(network, gt * mask, mask) for method, network in _networks(model, published).items()}
    with ThreadPoolExecutor() as pool:  # OpenCV and SuperLU let go of the interpreter while they work
        for name in names:
            filled = pool.map(lambda c, name=name: baselines.fill(name, c.gt * c.mask, c.mask), crops)
            results[name] = torch.stack(list(filled))
    for method, result in results.items():
        _check_finite(method, result, crops)
    return {method: compose(gt, result.clamp(0, 1), mask) for method, result in results.items()}


def _networks(model: nn.Module, published: nn.Module | None) -> dict[str, nn.Module]:
    return {OURS: model} | ({} if published is None else {PUBLISHED: published})


def _infer(model: nn.Module, image: Tensor, mask: Tensor) -> Tensor:
    """Return the model's composite in float32, computed on the model's device, the same in every run."""
    device = _device(model)
    with exact_convolutions():
        return composite(model, image.to(device), mask.to(device)).cpu()


def _device(model: nn.Module) -> torch.device:
    return next((weights.device for weights in model.parameters()), torch.device("cpu"))


def _check_finite(method: str, result: Tensor, crops: Sequence[Crop]) -> None:
    wrong = (~result.isfinite()).flatten(1).sum(1)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        one = crops[first]
        raise EvaluationError(
            f"{method}: {wrong[first]} of {result[first].numel()} values are not finite in crop {one.index} "
            f"(photograph {one.photograph}, hole ratio {one.hole_ratio:.3f})"
        )


def evaluate(model: nn.Module, params: Params, published: nn.Module | None = None) -> pd.DataFrame:
    """Measure the model ("pconv"), a published one, if any, and each of params.evaluate.baselines on every test crop.

    Returns one row per method and crop: method, bin, touches_border (whether the hole may reach an edge of the image),
    index, photograph, hole_ratio, thickness (px, the largest width of the hole), contrast (of the photograph around the
    hole, see pconv.metrics), unreached (px of the hole that a network, for baselines the model, has nothing to predict
    from, which are grey and measured as such), psnr (dB), ssim, l1 (percent), perceptual (the distance of
    pconv.perceptual). Raises EvaluationError where a result is not finite.
    """
    crops, names, networks = Crops(params), params.evaluate.baselines, _networks(model, published)
    distance = PerceptualDistance().to(_device(model))
    rows = {method: [] for method in (*networks, *names)}
    with Progress(desc="evaluate, crop", total=len(crops)) as progress:
        for start in range(0, len(crops), BATCH):
            batch = crops[start : start + BATCH]
            gt = torch.stack([c.gt for c in batch])
            features = distance.features(gt.to(_device(model)))  # once for all methods
            about = {method: _describe(network, batch) for method, network in networks.items()}
            for method, comp in composites(model, names, batch, published).items():
                measured = zip(about.get(method, about[OURS]), _measure(comp, gt, features, distance), strict=True)
                rows[method] += [{"method": method} | crop | values for crop, values in measured]
            progress.update(len(batch))
    return pd.DataFrame([row for method in rows for row in rows[method]])


def _describe(model: nn.Module, crops: Sequence[Crop]) -> list[dict]:
    """Return what the table says of each crop that does not depend on how it was filled."""
    gt, mask = (torch.stack([getattr(one, name) for one in crops]) for name in ("gt", "mask"))
    return [
        {
            "bin": one.bin,
            "touches_border": one.touches_border,
            "index": one.index,
            "photograph": one.photograph,
            "hole_ratio": one.hole_ratio,
            "thickness": thickness(mask_to_hole(one.mask)),
            "contrast": float(contrast),
            "unreached": missed,
        }
        for one, contrast, missed in zip(crops, metrics.contrast(gt, mask), _unreached(model, mask), strict=True)
    ]


def _unreached(model: nn.Module, mask: Tensor) -> list[int]:
    """Return the number of pixels of each hole that the model has nothing to predict from."""
    reached = model.reached(mask.to(_device(model)))
    return (reached == 0).flatten(1).sum(1).tolist()


def _measure(comp: Tensor, gt: Tensor, features: list[Tensor], distance: PerceptualDistance) -> list[dict]:
    """Return each of MEASURES for each composite. features: the truth's, on the device of `distance`."""
    perceptual = between(distance.features(comp.to(features[0].device)), features).cpu()
    values = zip(metrics.psnr(comp, gt), metrics.ssim(comp, gt), metrics.l1_percent(comp, gt), perceptual, strict=True)
    return [dict(zip(MEASURES, map(float, measured), strict=True)) for measured in values]
