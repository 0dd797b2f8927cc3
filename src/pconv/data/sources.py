"""Where photographs come from, apart from the packaged ones: a source is one function.

It takes data.folder and finds the photographs of each split, by their paths there. Of ImageNet and its like, the split
that they call val is the test set here, and 5 % of the photographs to train with are for validation: what chooses the
best weights must not be what they are measured by.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

from pconv.data.decoding import ImageError
from pconv.data.folders import Found, check_place, find_files, find_photographs, take_validation
from pconv.data.manifest import photograph_folder
from pconv.data.shardlists import find_shards
from pconv.errors import cut
from pconv.params import Data

IMAGENETTE = {"train": 9_469, "val": 3_925}  # photographs
IMAGENET = {"train": 1_281_167, "val": 50_000}


def imagenette(folder: Path) -> Found:
    """Ten classes of ImageNet, shorter sides of 320 px; 326 MB that are downloaded if they are not there."""
    from torchvision.datasets import Imagenette

    def names(split: str) -> list[str]:
        _made(folder, Imagenette, split=split, size="320px", download=True)
        inside = f"imagenette2-320/{split}"
        return [f"{inside}/{name}" for name in find_files(folder / inside)[0]]

    return _own_splits(folder, {split: names(split) for split in IMAGENETTE}, IMAGENETTE)


def imagenet(folder: Path) -> Found:
    """ImageNet of 2012: the archives, which image-net.org gives to registered users, or what was extracted of them."""
    from torchvision.datasets import ImageNet

    found = {split: _inside(folder, _made(folder, ImageNet, split=split).imgs) for split in IMAGENET}
    return _own_splits(folder, found, IMAGENET)


def places365(folder: Path) -> Found:
    """Places365-Standard, the paper's Places2, as large as it is: 107 GB, downloaded if they are not there."""
    return _places365(folder, small=False)


def places365_small(folder: Path) -> Found:
    """Places365-Standard, resized to 256 x 256 px: 25 GB, downloaded if they are not there."""
    return _places365(folder, small=True)


def _places365(folder: Path, small: bool) -> Found:
    from torchvision.datasets import Places365

    splits = {"train": "train-standard", "val": "val"}
    sets = {split: _made(folder, Places365, split=name, small=small, download=True) for split, name in splits.items()}
    return _own_splits(folder, {split: _inside(folder, one.imgs) for split, one in sets.items()})


SOURCES: dict[str, Callable[[Path], Found]] = {
    "folder": find_photographs,
    "imagenette": imagenette,
    "imagenet": imagenet,
    "places365": places365,
    "places365-small": places365_small,
}


def find(data: Data) -> Found:
    """Find the photographs of data.source, or the shards that they are in. Raises ImageError as the sources do."""
    if data.source == "webdataset":
        return find_shards(data.folder)  # paths and URLs, not always a folder
    return SOURCES[data.source](photograph_folder(data, "train"))


def _made(folder: Path, kind: Callable, **options):
    """Return one of torchvision's data sets, downloaded or extracted if need be; raises ImageError with its reason."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_place(folder)
        return kind(folder, **options)
    except (OSError, RuntimeError, EOFError, ValueError, tarfile.TarError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"data.folder: {cut(folder, 300)}: {kind.__name__}: {cut(error, 500)}") from None


def _inside(folder: Path, images: Iterable[tuple[str, int]]) -> list[str]:
    """Return the paths in a folder of a data set's photographs, given with their classes."""
    return sorted(path.removeprefix(f"{folder}/") for path, _ in images)


def _own_splits(folder: Path, found: dict[str, list[str]], counts: dict[str, int] | None = None) -> Found:
    """Return the photographs by split; raises ImageError if there are not as many as the data set has."""
    for split, count in (counts or {}).items():
        if len(found[split]) != count:
            raise ImageError(
                f"data.folder: {cut(folder, 300)} holds {len(found[split]):,} photographs of {split}, not {count:,}: "
                f"an extraction was cut short, or some were taken out; delete what is there of {split} to extract it "
                "again, or use data.source = folder"
            )
    splits = take_validation(found["train"]) | {"test": found["val"]}
    return Found(splits, notes=(f"test is the {len(found['val']):,} photographs that the data set calls val",))
