"""Where photographs come from, and how crops are cut from them.

Photographs are split by photograph: no two splits share one. The stage `images` (python -m pconv.images) writes
data/images/manifest.csv, one row per photograph with its split; everything else reads that file.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np

from pconv.params import Data, load_params, project_root

SPLITS = ("train", "val", "test")
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Origins and licences are in data/README.md.
PACKAGED = {
    "train": {
        "astronaut": ("skimage", "data/astronaut.png"),
        "flower": ("sklearn", "datasets/images/flower.jpg"),
        "hubble_deep_field": ("skimage", "data/hubble_deep_field.jpg"),
        "immunohistochemistry": ("skimage", "data/ihc.png"),
        "motorcycle": ("skimage", "data/motorcycle_left.png"),
        "retina": ("skimage", "data/retina.jpg"),
        "rocket": ("skimage", "data/rocket.jpg"),
    },
    "val": {"grace_hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")},
    "test": {
        "chelsea": ("skimage", "data/chelsea.png"),
        "china": ("sklearn", "datasets/images/china.jpg"),
        "coffee": ("skimage", "data/coffee.png"),
    },
}


class ImageError(ValueError):
    """A photograph or a folder of photographs that cannot be used; the message names it."""


def manifest_path() -> Path:
    return project_root() / "data" / "images" / "manifest.csv"


def image_root(data: Data) -> Path:
    """The folder that the manifest's paths start from."""
    return project_root() / data.folder if data.source == "folder" else manifest_path().parent


def read_manifest(data: Data, split: str) -> list[Path]:
    """Paths of the photographs of one split, in the manifest's order. Raises ImageError if there is no manifest."""
    if not manifest_path().is_file():
        raise ImageError(f"{manifest_path()}: no such file; `dvc repro images` writes it")
    with open(manifest_path(), newline="") as file:
        names = [row["path"] for row in csv.DictReader(file) if row["split"] == split]
    return [image_root(data) / name for name in names]


@lru_cache(maxsize=8)  # holds all the packaged ones that train; of thousands in random order none comes back soon
def read_image(path: Path) -> np.ndarray:
    """Decode a photograph: (H, W, 3) uint8, RGB. Raises ImageError with the path if it is not an image."""
    try:
        encoded = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}; run `dvc repro --force images` if photographs moved") from None
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    if image is None:
        raise ImageError(f"{path}: not an image that OpenCV can read")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB; the suffix chooses the format."""
    ok, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert ok
    path.write_bytes(encoded.tobytes())


def crop(image: np.ndarray, size: int, share: list[float], rng: np.random.Generator) -> np.ndarray:
    """A random square of `image` (H, W, 3), resized to (size, size, 3).

    Its side is a uniformly drawn share, between share[0] and share[1], of the image's shorter side.
    """
    height, width = image.shape[:2]
    side = max(1, round(rng.uniform(*share) * min(height, width)))
    top = int(rng.integers(height - side + 1))
    left = int(rng.integers(width - side + 1))
    square = image[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return cv2.resize(square, (size, size), interpolation=method)


def recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image (H, W, 3) uint8 in colours that no photograph had.

    Its channels come in another order, to a power between 1/2 and 2 (gamma), and from darkest to brightest over a part
    of the range that keeps at least a fifth of it: contrast and brightness.
    """
    curve = np.linspace(0, 1, 256) ** 2 ** rng.uniform(-1, 1)
    darkest, brightest = rng.uniform(0, 0.4), rng.uniform(0.6, 1)
    table = np.rint(255 * (darkest + (brightest - darkest) * curve)).astype(np.uint8)
    return table[image[..., rng.permutation(3)]]


def find_photographs(folder: Path) -> dict[str, list[Path]]:
    """Photographs in and below a folder, by split.

    Subfolders named train, val and test, if all three are there, are the splits. Otherwise each photograph goes to
    train (90 %), val or test (5 % each) by a hash of its path in the folder, so that adding some moves no other.
    """
    if not folder.is_dir():
        raise ImageError(f"data.folder: no folder {folder}")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    named = all((folder / split).is_dir() for split in SPLITS)
    splits = {split: [] for split in SPLITS}
    for path in paths:
        name = path.relative_to(folder)
        if not named:
            splits[_split(name.as_posix())].append(path)
        elif name.parts[0] in SPLITS:
            splits[name.parts[0]].append(path)
    for split, found in splits.items():
        if not found:
            raise ImageError(
                f"data.folder: none of the {len(paths)} photographs in {folder} fell to {split}; add photographs, or "
                f"sort them into the subfolders {', '.join(SPLITS)}"
            )
    return splits


def _split(name: str) -> str:
    percent = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % 100
    return "train" if percent < 90 else "val" if percent < 95 else "test"


def write_manifest(data: Data) -> dict[str, int]:
    """Unpack the packaged photographs or list a folder's; returns the number of photographs per split."""
    target = manifest_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    if data.source == "folder":
        splits = find_photographs(image_root(data))
    else:
        splits = {split: [_unpack(name, *source) for name, source in PACKAGED[split].items()] for split in SPLITS}
    with open(target, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["split", "path", "bytes"])
        for split, paths in splits.items():
            for path in paths:
                writer.writerow([split, path.relative_to(image_root(data)).as_posix(), path.stat().st_size])
    return {split: len(paths) for split, paths in splits.items()}


def _unpack(name: str, package: str, resource: str) -> Path:
    """Copy a photograph out of an installed package."""
    source = files(package) / resource
    target = manifest_path().with_name(name + Path(resource).suffix)
    if not source.is_file():
        raise ImageError(f"{package} no longer brings {resource}; install the versions in requirements.lock")
    target.write_bytes(source.read_bytes())
    return target


if __name__ == "__main__":
    try:
        counts = write_manifest(load_params().data)
    except ValueError as error:
        sys.exit(str(error))
    print("photographs:", ", ".join(f"{count} {split}" for split, count in counts.items()))
