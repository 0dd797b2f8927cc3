"""Where photographs come from: installed packages or a folder. Each source assigns its photographs to the splits."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

from pconv.data.decoding import ImageError
from pconv.project import SPLITS

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


def unpack(split: str, folder: Path) -> list[Path]:
    """Copy the packaged photographs of a split into a folder. Raises ImageError if a package lacks one."""
    return [_unpack(name, *source, folder) for name, source in PACKAGED[split].items()]


def _unpack(name: str, package: str, resource: str, folder: Path) -> Path:
    source = files(package) / resource
    target = folder / (name + Path(resource).suffix)
    if not source.is_file():
        raise ImageError(f"{package} no longer brings {resource}; install the versions in requirements.lock")
    target.write_bytes(source.read_bytes())
    return target
