"""Run the command `aiomsi` for `python -m aiomsi`."""

import sys

from aiomsi._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
