"""What differs by platform."""

import os

import pytest

from aiomsi._compat import after_fork_in_child


def test_a_function_is_called_in_a_forked_child() -> None:
    read, write = os.pipe()

    def tell() -> None:
        os.write(write, b"called")

    after_fork_in_child(tell)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 6) == b"called"


def test_without_fork_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork")
    after_fork_in_child(lambda: None)
