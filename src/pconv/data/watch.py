"""The stage `watch`: lines by which the pipeline notices a change in folders and files of the user's.

python -m pconv.data.watch
"""

from __future__ import annotations

import sys
from itertools import chain

from pconv.data.folders import find_files, fingerprint
from pconv.data.manifest import photograph_folder
from pconv.data.shardlists import watch_shards
from pconv.data.sources import find
from pconv.errors import PConvError
from pconv.files import sha256, write_file
from pconv.params import NAMED_VGG, Data, Masks, Params, load_params
from pconv.project import project_root, watch_folder

NONE = "no folder"  # nothing of the user's is read


def watch_photographs(data: Data) -> str:
    """Return a line that changes with the photographs in data.folder. Raises ImageError as the sources do."""
    if data.source == "packaged":
        return NONE
    found = find(data)
    state = watch_shards if found.shards else fingerprint
    return state(photograph_folder(data, "train"), chain.from_iterable(found.splits.values()))


def watch_masks(masks: Masks) -> str:
    """Return a line that changes with the files in masks.folder. Raises ImageError if it cannot be searched."""
    if masks.folder is None:
        return NONE
    folder = project_root() / masks.folder
    names, _ = find_files(folder, "masks.folder", "masks" if masks.source == "folder" else "frames")
    return fingerprint(folder, names)


def watch_weights(params: Params) -> dict[str, str]:
    """Return a line for each key that may name a file of weights, which changes with what the file holds."""
    vgg = params.loss.vgg
    return {
        "vgg": _digest(None if vgg in NAMED_VGG else vgg),
        "start": _digest(params.train.start),
        "published": _digest(params.evaluate.published),
    }


def _digest(path: str | None) -> str:
    if path is None:
        return "no file"
    try:
        return f"sha256 {sha256(project_root() / path)}"
    except OSError:  # the stages that read the file say so
        return "no such file"


def main() -> None:
    """Write the lines to data/watched/."""
    params = load_params()
    lines = {"photographs": watch_photographs(params.data), "masks": watch_masks(params.masks), **watch_weights(params)}
    watch_folder().mkdir(parents=True, exist_ok=True)
    for name, line in lines.items():
        write_file(watch_folder() / f"{name}.txt", f"{line}\n".encode())


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit("usage: python -m pconv.data.watch; what it reads is in params.yaml")
    try:
        main()
    except (PConvError, OSError) as error:
        sys.exit(str(error))
