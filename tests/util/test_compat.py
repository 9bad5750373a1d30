"""What differs by platform."""

import errno
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from aiomsi._util.compat import (
    OPEN_FLAGS,
    call_after_fork,
    get_user_id,
    is_closed_pipe,
    list_end_signals,
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)  # other tests' threads
def test_a_function_is_called_in_a_forked_child() -> None:
    read, write = os.pipe()

    def tell() -> None:
        os.write(write, b"called")

    call_after_fork(tell)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 6) == b"called"


def test_without_fork_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    call_after_fork(lambda: None)


def test_a_user_has_a_number_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_user_id() == getattr(os, "geteuid", lambda: None)()
    monkeypatch.delattr(os, "geteuid", raising=False)
    assert get_user_id() is None


def test_ctrl_break_ends_a_process_on_windows() -> None:
    assert list_end_signals()[:2] == (signal.SIGINT, signal.SIGTERM)
    windows = SimpleNamespace(SIGINT=2, SIGTERM=15, SIGBREAK=21)
    assert list_end_signals(windows) == (2, 15, 21)


@pytest.mark.parametrize(
    ("error", "system", "closed"),
    [
        (BrokenPipeError(errno.EPIPE, "text"), "posix", True),
        (BrokenPipeError(errno.EPIPE, "text"), "nt", True),
        (OSError(errno.EINVAL, "text"), "nt", True),
        (OSError(errno.EINVAL, "text"), "posix", False),
        (OSError(errno.EINVAL, "text", "a:b"), "nt", False),
        (OSError(errno.ENOSPC, "text"), "nt", False),
    ],
)
def test_closed_pipe_has_another_error_on_windows(
    error: OSError, system: str, closed: bool
) -> None:
    assert is_closed_pipe(error, system) is closed


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither pipes nor links so")
def test_open_flags_follow_no_link_and_wait_for_no_pipe(
    tmp_path: Path,
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        os.open(tmp_path / "link", os.O_RDWR | os.O_CREAT | OPEN_FLAGS)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device or address"):
        os.open(tmp_path / "pipe", os.O_WRONLY | OPEN_FLAGS)
