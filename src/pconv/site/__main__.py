"""Write the report as static pages: python -m pconv.site [FOLDER], by default into site/."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pconv.errors import PConvError
from pconv.project import project_root
from pconv.site import build


def main() -> None:
    """Build the site and say where it begins."""
    parser = argparse.ArgumentParser(description="Write the report as static pages that open from disk.")
    parser.add_argument(
        "folder", nargs="?", type=Path, help="default: site/ in the project; an earlier site there is replaced"
    )
    folder = parser.parse_args().folder
    try:
        root = project_root()
        first, *others = build(root, folder or root / "site")
    except PConvError as error:
        sys.exit(str(error))
    print(f"{1 + len(others)} pages; open {first}")


if __name__ == "__main__":
    main()
