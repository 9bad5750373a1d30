"""Azurite, Microsoft's storage emulator, as a child process on loopback."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

ACCOUNT = "devstoreaccount1"
_LISTENS = re.compile(r"successfully listen\w* (?:at|on) (https://\S+)")


@attrs.frozen
class Azurite:
    """A running Azurite.

    Attributes:
        host: its host and port.

    """

    host: str

    @property
    def account_url(self) -> str:
        """The URL of the account that every Azurite has."""
        return f"https://{self.host}/{ACCOUNT}"


@contextmanager
def start_azurite(modules: Path, folder: Path, chain: Path, key: Path) -> Iterator[Azurite]:
    """Run Azurite's blob service with https and bearer tokens, and end it after the block."""
    script = modules / "azurite" / "dist" / "src" / "blob" / "main.js"
    options = [
        "--blobHost=127.0.0.1", "--blobPort=0", "--oauth=basic", f"--cert={chain}", f"--key={key}",
        "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent",
    ]  # fmt: skip
    process = subprocess.Popen(
        ["node", str(script), *(part for each in options for part in each.split("=", 1))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
    )
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            found = _LISTENS.search(line)
            if found is not None:
                yield Azurite(found[1].removeprefix("https://").rstrip("/"))
                break
        else:
            msg = f"Azurite did not start: {said}"
            raise AssertionError(msg)
    finally:
        process.terminate()
        process.communicate()
