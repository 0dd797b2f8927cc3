"""Which files are filled, with which mask, and where the results go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pconv.data.decoding import FORMATS, ImageError
from pconv.masks.convention import MaskError
from pconv.masks.files import KINDS

SUFFIXES = {
    "JPEG": "jpg jpeg jpe jfif",
    "PNG": "png",
    "WEBP": "webp",
    "TIFF": "tif tiff",
    "BMP": "bmp",
    "PPM": "ppm pgm",
}
PHOTOS = {f".{suffix}" for name in FORMATS for suffix in SUFFIXES[name].split()}
MASKS = PHOTOS | {f".{name.lower()}" for name in KINDS}


class Task(NamedTuple):
    """A photograph to fill: its file, that of its mask (None: its transparency), and the result's."""

    photo: Path
    mask: Path | None
    output: Path


class Found(NamedTuple):
    """A file, and its path in the folder that was named, or its name."""

    path: Path
    inside: Path


def plan_batch(
    photos: list[Path], masks: list[Path], folder: Path, lossless: bool = False, overwrite: bool = False
) -> list[Task]:
    """Return a task for each photograph, files and those of folders, in the order given and by name.

    A single mask is for all photographs; as many as photographs, or folders of masks, are matched by name without
    suffix if each photograph has one of its name, else several files by their order. Results keep their photograph's
    name, and its path below a folder that was named; where two would be one file, they go to subfolders called like
    their folders. With `lossless` they are PNGs. Raises ImageError or MaskError if nothing is found or a photograph
    has no mask, or more than one, if `folder` is a file, if a result would replace any of the photographs and masks,
    and, unless `overwrite` is set, if it would replace another file.
    """
    if folder.exists() and not folder.is_dir():
        raise ImageError(f"{folder}: a file; name a folder for the results")
    found = _files(photos, PHOTOS, ImageError)
    outputs = [_output(each.inside, lossless) for each in found]
    if _repeated(outputs):
        outputs = [_output(Path(each.path.resolve().parent.name, each.inside.name), lossless) for each in found]
    if twice := _repeated(outputs):
        raise ImageError(f"{twice}: two photographs would become this file; fill them into different folders")
    matched = _matched(found, masks)
    tasks = [Task(each.path, mask, folder / output) for each, mask, output in zip(found, matched, outputs, strict=True)]
    _check_outputs(tasks, overwrite)
    return tasks


def _check_outputs(tasks: list[Task], overwrite: bool) -> None:
    """Raise ImageError if a result would replace what is filled, a mask or, unless `overwrite` is set, another file."""
    read = {path.resolve() for task in tasks for path in (task.photo, task.mask) if path}
    for task in tasks:
        if task.output.resolve() in read:
            raise ImageError(
                f"{task.output}: the result would replace what it or another result is made from; choose another folder"
            )
    existing = [task.output for task in tasks if os.path.lexists(task.output)]
    if existing and not overwrite:
        others = f", and {len(existing) - 1} other results" if len(existing) > 1 else ""
        raise ImageError(
            f"{existing[0]}: exists already{others}; choose another folder, or replace with --overwrite what is there"
        )


def _output(path: Path, lossless: bool) -> Path:
    return path.with_suffix(".png") if lossless else path


def _repeated(paths: Iterable[Path]) -> Path | None:
    return next((path for path, count in Counter(paths).items() if count > 1), None)


def _files(paths: list[Path], suffixes: set[str], error: type[Exception]) -> list[Found]:
    """Return files, and those in folders, below which only files of known suffixes count."""
    found = []
    for path in paths:
        if not path.is_dir():
            found.append(Found(path, Path(path.name)))
            continue
        below = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in suffixes and file.is_file() and file.name[0] != "."
        )
        if not below:
            raise error(f"{path}: no picture in this folder ({', '.join(sorted(suffixes))})")
        found += [Found(file, file.relative_to(path)) for file in below]
    return found


def _matched(photos: list[Found], masks: list[Path]) -> list[Path | None]:
    """Return the mask of each photograph."""
    if not masks:
        return [None] * len(photos)
    found = _files(masks, MASKS, MaskError)
    if len(found) == 1 and not masks[0].is_dir():
        return [found[0].path] * len(photos)
    named = [[mask.path for mask in found if _key(mask) == _key(photo)] for photo in photos]
    if all(len(paths) == 1 for paths in named):
        return [paths[0] for paths in named]
    if not any(mask.is_dir() for mask in masks) and len(found) == len(photos):
        return [mask.path for mask in found]
    photo, paths = next((photo, paths) for photo, paths in zip(photos, named, strict=True) if len(paths) != 1)
    count = f"{len(paths)} masks" if paths else "no mask"
    raise MaskError(f"{photo.path}: {count} of its name among {len(found)}; give one mask, or one of each name")


def _key(found: Found) -> Path:
    return found.inside.with_suffix("")
