"""`python -m hmmspec` is the command `hmmspec`."""

import sys

from hmmspec.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
