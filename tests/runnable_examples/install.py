"""Create a fresh virtual environment for each example, and run its README's command there.

``python tests/runnable_examples/install.py FOLDER`` takes the versions that `constraints.txt` and
the file beside this one pin. The tests start the examples from these environments; they install
nothing, because they may open no connection that leaves this machine.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "support"))

from example_program import EXAMPLES, make_variables, read_commands  # noqa: E402  # the path above


def install(folder: Path, constraints: Path, name: str) -> None:
    """Install an example."""
    environment = folder / name
    subprocess.run([sys.executable, "-m", "virtualenv", "--quiet", str(environment)], check=True)
    variables = {"PIP_CONSTRAINT": str(constraints), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run(
        ["sh", "-c", f"{read_commands(name).install} --quiet"],
        cwd=EXAMPLES / name,
        env=make_variables(environment, variables),
        check=True,
    )


def main(folder: Path) -> None:
    """Install all examples, two at once."""
    folder.mkdir(parents=True)
    constraints = folder / "constraints.txt"
    files = (ROOT / "constraints.txt", HERE / "constraints.txt")
    constraints.write_text("".join(file.read_text(encoding="utf-8") for file in files))
    names = sorted(file.parent.name for file in EXAMPLES.glob("*/README.md"))
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(lambda name: install(folder, constraints, name), names):
            pass


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
