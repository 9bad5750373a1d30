"""Fixtures of the command line's tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from command_line import Run, Said

from aiomsi._cli import main as cli


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process."""

    def run(*arguments: str) -> Said:
        code = cli.main(arguments)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run


@pytest.fixture
def closed_port() -> Iterator[str]:
    """Reserve an address without listening on it, so that connections are refused."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"
