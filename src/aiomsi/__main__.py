"""`python -m aiomsi`: the same as the command `aiomsi`."""

import sys

from aiomsi._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
