"""Start origins: a separate process for each measurement."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

_SERVER = Path(__file__).parent / "server.py"
_KEPT = (
    "PATH",
    "HOME",
    "USERPROFILE",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
)
"""Workers inherit no other variable: no proxy, no other Azure host, no debug mode."""


def make_environment() -> dict[str, str]:
    """Return the environment of origins and workers."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


@dataclass(frozen=True, slots=True)
class Origin:
    """The URLs of an origin's IMDS and ARM, and the file with the CA of ARM's certificate."""

    imds: str
    arm: str
    ca: str | None = None


class Origins:
    """A starter of origins, which creates one certificate for all origins with TLS."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._certificate: tuple[str, str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def start(self, options: Sequence[str], *, tls: bool) -> Iterator[Origin]:
        """Run an origin until the block ends."""
        ca, command = None, [sys.executable, str(_SERVER), *options]
        if tls:
            ca, pem = self._certificate = self._certificate or self._issue()
            command.append(f"--tls={pem}")
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=make_environment(),
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield Origin(**json.loads(process.stdout.readline()), ca=ca)
            finally:
                process.stdin.close()

    def _issue(self) -> tuple[str, str]:
        import trustme

        folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="aiomsi-bench-")))
        authority = trustme.CA()
        ca, pem = folder / "ca.pem", folder / "origin.pem"
        authority.cert_pem.write_to_path(str(ca))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
        return str(ca), str(pem)
