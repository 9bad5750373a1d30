"""The examples of the repository as programs: their READMEs' commands, started and ended."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import attrs
from loops import PATIENCE, wait_in_thread

EXAMPLES = Path(__file__).parents[2] / "examples"
_CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


@attrs.frozen
class Commands:
    """The commands in the README of an example, from the block on that begins with its install.

    Attributes:
        install: installs its requirements in the virtual environment that is active.
        start: starts it.
        others: the commands of later blocks.

    """

    install: str
    start: str
    others: tuple[str, ...]


def read_commands(name: str) -> Commands:
    """Return the commands of an example."""
    text = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    blocks = [block.splitlines() for block in _CONSOLE.findall(text)]
    while not blocks[0][0].startswith("pip install"):
        del blocks[0]
    (install, start), *others = blocks
    return Commands(install, start, tuple(line for lines in others for line in lines))


@attrs.frozen
class Program:
    """A running program.

    Attributes:
        process: its process, which the signals reach.
        log: a file with its output.
        url: the address that it listens on, if it is a service.

    """

    process: subprocess.Popen[str]
    log: Path
    url: str

    def read_log(self) -> str:
        """Return the output up to now, without steps that the debug mode of asyncio calls slow."""
        lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
        return "".join(line for line in lines if "Executing <" not in line)

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until the output has a text; fail if the process ends before."""
        wait_in_thread(
            lambda: self.process.poll() is not None or self.read_log().count(text) >= times
        )
        assert self.read_log().count(text) >= times, self.read_log()

    def wait_until_ready(self) -> None:
        """Wait until the service responds."""
        wait_in_thread(
            lambda: self.process.poll() is not None or get(f"{self.url}/health")[0] == 200
        )
        assert self.process.poll() is None, self.read_log()

    @contextmanager
    def open_idle(self) -> Iterator[socket.socket]:
        """Open a connection that is idle after a response. It ends when the service begins to end.

        A new connection in that moment would fail in asyncio, which then reports an error
        (https://github.com/python/cpython/issues/109564).
        """
        address = urlsplit(self.url)
        assert address.hostname is not None
        with closing(HTTPConnection(address.hostname, address.port, timeout=PATIENCE)) as idle:
            idle.request("GET", "/health")
            with idle.getresponse() as response:
                response.read()
            assert idle.sock is not None
            yield idle.sock

    def count_children(self) -> int:
        """Return the number of its child processes that have not ended, on Linux."""
        processes = Path("/proc")
        listed = processes / f"{self.process.pid}/task/{self.process.pid}/children"
        count = 0
        for child in listed.read_text(encoding="utf-8").split():
            with suppress(OSError):
                stat = (processes / child / "stat").read_text(encoding="utf-8")
                count += stat.rpartition(")")[2].split()[0] != "Z"
        return count

    def count_closed_sessions(self) -> int:
        """Return the number of sessions that were closed, if `watch_sessions` is in use."""
        return len(
            re.findall(r"^witnessed <ArmSession .*, closed, ", self.read_log(), re.MULTILINE)
        )

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Return the exit code, 0 for an end by SIGTERM, and check that the output is clean."""
        code = self.process.wait(PATIENCE)
        said = self.read_log()
        for trouble in ("Traceback", "Unclosed", "never awaited", "was destroyed", "Warning:"):
            assert trouble not in said, said
        # uvicorn raises the signal again, after its end.
        return 0 if code == -signal.SIGTERM else code


Start: TypeAlias = Callable[..., AbstractContextManager[Program]]
"""The function that starts an example: its name, another command, variables."""


def get(url: str, timeout: float = PATIENCE) -> tuple[int, bytes]:
    """Return status and body of a GET over a new connection; the status is 0 without response."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:  # noqa: S310 (our own)
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""


def find_free_port() -> int:
    """Return a port that no socket is bound to, and that no system gives to a client."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def make_variables(environment: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a shell with the virtual environment active."""
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    active = {"VIRTUAL_ENV": str(environment), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    # gunicorn's socket for a control program would be a file in the home directory.
    return {**os.environ, **active, "GUNICORN_CMD_ARGS": "--no-control-socket", **variables}


DEVELOPMENT = {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error"}
"""Variables with which Python reports what is left open, and raises each warning."""


def watch_sessions() -> dict[str, str]:
    """Return the variables with which a program prints its sessions when they are closed."""
    witness = Path(__file__).parents[1] / "runnable_examples" / "witness"
    return {"PYTHONPATH": os.pathsep.join([str(witness), os.environ["PYTHONPATH"]])}


@contextmanager
def start(
    name: str, command: str, environment: Path, log: Path, **variables: str
) -> Iterator[Program]:
    """Run a command of an example in its folder, or in a copy's, and end it after the block."""
    port = find_free_port()
    options: dict[str, Any] = {
        "cwd": EXAMPLES / name,
        "env": make_variables(environment, {"PORT": str(port), **variables}),
        "stderr": subprocess.STDOUT,
        "text": True,
        "start_new_session": True,
    }
    with (
        log.open("w", encoding="utf-8") as file,
        # The shell only expands the variables; its process becomes that of the program.
        subprocess.Popen(["sh", "-c", f"exec {command}"], stdout=file, **options) as process,
    ):
        try:
            yield Program(process, log, f"http://127.0.0.1:{port}")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
