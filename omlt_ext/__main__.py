"""`python -m omlt_ext` is the command line `omlt-ext`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
