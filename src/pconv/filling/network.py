"""The network that fills: published weights by name or by path, and what they predict for a window."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from pconv.completion import composite
from pconv.filling.blending import harmonic
from pconv.params import Data
from pconv.tensors import WeightsError, read_tensors, weights_error
from pconv.unet import HINT, PConvUNet, load_model

DEFAULT = "photos-256/partial"
TRUST = 0.5  # share of the network in what is filled; the rest is a membrane, whose errors are others
SIDE = 128  # px of a training crop, where the weights do not tell
FOLDERS = (  # of published weights: in an installed package, and in a checkout
    Path(__file__).parents[1] / "published",
    Path(__file__).parents[3] / "published",
)


def load_pretrained(name: str | Path = DEFAULT) -> PConvUNet:
    """Return a published network by its name, or one of a path to weights that training wrote; in evaluation mode.

    It is on the GPU if there is one. Raises WeightsError, which says where weights are to be found, if there are none.
    """
    path = find_weights(name)
    model = load_model(path)
    model.trained_side = _trained_side(path)
    return model.to("cuda" if torch.cuda.is_available() else "cpu", memory_format=torch.channels_last)


def find_weights(name: str | Path) -> Path:
    """Return the file of a published network, such as "photos-256/partial", or the path itself if that is a file."""
    if Path(name).suffix == ".safetensors":
        return Path(name)
    for folder in FOLDERS:
        if (folder / f"{name}.safetensors").is_file():
            return folder / f"{name}.safetensors"
    known = sorted(
        {path.relative_to(folder).with_suffix("").as_posix() for folder in FOLDERS for path in _files(folder)}
    )
    found = f"there are {', '.join(known)}" if known else "this installation has none"
    raise WeightsError(
        f"{name}: no published weights of this name ({found}); give the path of a .safetensors file that training "
        "wrote, such as models/stage2/best.safetensors, or install pconv again with the folder published/"
    )


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/*.safetensors")] if folder.is_dir() else []


def _trained_side(path: Path) -> int:
    """Return the side of the crops that a file's network was trained on, px, from its metadata.

    Raises WeightsError if it is not within the limits of params.yaml.
    """
    about = json.loads(read_tensors(path, HINT)[1]["pconv"])  # what load_model reads of it is right
    data = about["params"].get("data", {})
    side = data.get("size", SIDE) if isinstance(data, dict) else None
    limits = Data.model_json_schema()["properties"]["size"]
    least, most = limits["minimum"], limits["maximum"]
    if type(side) is not int or not least <= side <= most:
        raise weights_error(path, f"its metadata name no side of crops from {least} to {most:,} px", HINT)
    return side


def side_of(model: PConvUNet) -> int:
    """Return the side of the windows for a network, px: that of the crops on which it was trained, if it tells.

    In larger ones the innermost layers would use weights that training on such crops never reached.
    """
    return max(getattr(model, "trained_side", SIDE), model.smallest)


def predict(model: PConvUNet, low: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return a window (h, w, planes) in [0, 1] with its holes filled; `known` is (h, w) bool, h, w <= side_of(model).

    The mean of the network's predictions for the window and for its mirror image. Three planes are seen as RGB, a
    single one as grey; of four inks the last one is seen by itself. What the network does not reach is filled by a
    membrane.
    """
    height, width, planes = low.shape
    side = side_of(model)
    values, mask = np.zeros((side, side, planes), np.float32), np.zeros((side, side), np.float32)
    values[:height, :width], mask[:height, :width] = low.clip(0, 1), known
    groups = [values[..., :3]] if planes > 1 else [values.repeat(3, axis=2)]
    groups += [values[..., 3:].repeat(3, axis=2)] if planes == 4 else []
    device = next(model.parameters()).device
    images = torch.from_numpy(np.stack(groups)).permute(0, 3, 1, 2).to(device)
    masks = torch.from_numpy(mask).to(device).expand(len(groups), 1, side, side)
    out = composite(model, torch.cat([images, images.flip(3)]), torch.cat([masks, masks.flip(3)]))
    out = (out[: len(groups)] + out[len(groups) :].flip(3)) / 2
    out = out.float().permute(0, 2, 3, 1).cpu().numpy()[:, :height, :width]
    filled = [out[0] if planes > 1 else out[0].mean(2, keepdims=True)]
    filled += [out[1].mean(2, keepdims=True)] if planes == 4 else []
    reached = model.reached(masks[:1])[0, 0, :height, :width].cpu().numpy() > 0
    trust = TRUST * reached[..., None]
    return trust * np.concatenate(filled, axis=2) + (1 - trust) * harmonic(low, known)
