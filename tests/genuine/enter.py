"""Run the tests of this folder at Azure's genuine addresses, in namespaces like `tests/vm`.

``python tests/genuine/enter.py [pytest's arguments]``; `nox -s genuine` installs the clients and
sets the variables that name them.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    sys.path.insert(0, str(_HERE.parent))
    from vm import enter

    sys.exit(enter.main(sys.argv[1:], _HERE))
