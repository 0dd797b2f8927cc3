"""`python -m pconv`, which is the command `pconv`."""

import sys

from pconv.filling.command import main

if __name__ == "__main__":
    sys.exit(main())
