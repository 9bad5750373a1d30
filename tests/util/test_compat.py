"""What differs by platform."""

import os
from pathlib import Path

import pytest

from aiomsi._util.compat import OPEN_FLAGS, after_fork_in_child, user_id


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)  # other tests' threads
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
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    after_fork_in_child(lambda: None)


def test_a_user_has_a_number_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert user_id() == getattr(os, "geteuid", lambda: None)()
    monkeypatch.delattr(os, "geteuid", raising=False)
    assert user_id() is None


def test_own_file_is_opened_neither_through_a_link_nor_as_a_pipe(
    tmp_path: Path,
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        os.open(tmp_path / "link", os.O_RDWR | os.O_CREAT | OPEN_FLAGS)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device or address"):
        os.open(tmp_path / "pipe", os.O_WRONLY | OPEN_FLAGS)
