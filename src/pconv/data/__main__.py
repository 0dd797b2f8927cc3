"""The stage `images`: lists the photographs. Run it with `python -m pconv.data`.

`python -m pconv.data watch` is the stage `watch`: by it the pipeline notices a change in a folder of the user's.
"""

from __future__ import annotations

import sys
from itertools import chain

import cv2

from pconv.data.folders import find_files, fingerprint
from pconv.data.manifest import photograph_folder
from pconv.data.selection import write_manifests
from pconv.data.sources import SOURCES
from pconv.errors import PConvError
from pconv.files import write_file
from pconv.params import load_params
from pconv.project import image_folder, project_root, watch_folder


def list_photographs() -> None:
    """Write the lists of photographs, and say how many there are."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # of damaged files, which are listed
    counts = write_manifests(load_params().data)
    print("photographs:", ", ".join(f"{count:,} {what}" for what, count in counts.items()))
    if counts["rejected"]:
        print(f"those rejected are listed, with the reasons, in {image_folder() / 'rejected.csv'}")


def watch() -> None:
    """Write a line that changes with the files in data.folder, for the stage `images`, and one for masks.folder."""
    data, masks = (params := load_params()).data, params.masks
    photographs = drawn = "no folder"
    if data.source != "packaged":
        folder = photograph_folder(data, "train")
        photographs = fingerprint(folder, chain.from_iterable(SOURCES[data.source](folder).splits.values()))
    if masks.folder is not None:
        folder, what = project_root() / masks.folder, "masks" if masks.source == "folder" else "frames"
        drawn = fingerprint(folder, find_files(folder, "masks.folder", what)[0])
    watch_folder().mkdir(parents=True, exist_ok=True)
    for name, line in (("photographs", photographs), ("masks", drawn)):
        write_file(watch_folder() / f"{name}.txt", f"{line}\n".encode())


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["watch"]):
        sys.exit("usage: python -m pconv.data [watch]; what it reads is in params.yaml")
    try:
        watch() if sys.argv[1:] else list_photographs()
    except (PConvError, OSError) as error:
        sys.exit(str(error))
