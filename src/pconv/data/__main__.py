"""The stage `images`: lists the photographs. Run it with `python -m pconv.data`."""

from __future__ import annotations

import sys

import cv2

from pconv.data.selection import write_manifests
from pconv.errors import PConvError
from pconv.params import load_params
from pconv.project import image_folder


def main() -> None:
    """Write the lists of photographs, and say how many there are."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # of damaged files, which are listed
    counts = write_manifests(load_params().data)
    print("photographs:", ", ".join(f"{count:,} {what}" for what, count in counts.items()))
    if counts["rejected"]:
        print(f"those rejected are listed, with the reasons, in {image_folder() / 'rejected.csv'}")


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit("usage: python -m pconv.data; what it reads is in params.yaml")
    try:
        main()
    except (PConvError, OSError) as error:
        sys.exit(str(error))
