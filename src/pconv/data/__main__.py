"""The stage `images`: writes the manifest. Run it with `python -m pconv.data`."""

from __future__ import annotations

import sys

from pconv.data.manifest import write_manifest
from pconv.params import load_params

if __name__ == "__main__":
    try:
        counts = write_manifest(load_params().data)
    except ValueError as error:
        sys.exit(str(error))
    print("photographs:", ", ".join(f"{count} {split}" for split, count in counts.items()))
