"""The guards of all tests: sockets stay on loopback, and debug mode records no whole stacks."""

import importlib
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
import sitecustomize
from loops import PATIENCE, make_debug_loop
from watchdog import Watchdog

BLOCKED = ["203.0.113.7", "169.254.169.254", "2001:db8::1", "management.azure.com"]


@pytest.mark.parametrize("host", ["169.254.169.254", "203.0.113.7"])
def test_a_connection_that_leaves_loopback_is_blocked(host: str) -> None:
    with socket.socket() as sock, pytest.raises(sitecustomize.BlockedSocketError, match=host):
        sock.connect((host, 80))


def test_a_datagram_that_leaves_loopback_is_blocked() -> None:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as sock,
        pytest.raises(sitecustomize.BlockedSocketError),
    ):
        sock.sendto(b"", ("203.0.113.7", 53))


def test_a_name_look_up_is_blocked() -> None:
    with pytest.raises(sitecustomize.BlockedSocketError, match=r"management\.azure\.com"):
        socket.getaddrinfo("management.azure.com", 443)


def test_a_child_process_is_guarded_too() -> None:
    code = "import socket; socket.create_connection(('169.254.169.254', 80), timeout=1)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode != 0
    assert "BlockedSocketError" in done.stderr


EVENTS = """
class IocpProactor:
    def connect(self, conn, address):
        return address

    def sendto(self, conn, buf, flags=0, addr=None):
        return addr
"""


def test_connection_of_the_proactor_is_guarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made_up_events.py").write_text(EVENTS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    finder = sitecustomize.PatchedImport("made_up_events", sitecustomize.guard_proactor)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    proactor = importlib.import_module("made_up_events").IocpProactor()
    assert finder not in sys.meta_path

    assert proactor.connect(None, ("127.0.0.1", 80)) == ("127.0.0.1", 80)
    assert proactor.sendto(None, b"", 0, ("::1", 53)) == ("::1", 53)
    assert proactor.sendto(None, b"") is None
    for call in (proactor.connect, lambda *given: proactor.sendto(given[0], b"", 0, given[1])):
        with pytest.raises(sitecustomize.BlockedSocketError, match=r"169\.254\.169\.254"):
            call(None, ("169.254.169.254", 80))


def test_guard_of_the_proactor_is_installed_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "addaudithook", [].append)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    before = len(sys.meta_path)
    sitecustomize.install("linux")
    assert len(sys.meta_path) == before
    sitecustomize.install("win32")
    found = sys.meta_path[0]
    assert isinstance(found, sitecustomize.PatchedImport)
    assert (found.name, found.patch) == ("asyncio.windows_events", sitecustomize.guard_proactor)


def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = socket.getaddrinfo("localhost", server.getsockname()[1])
        socket.create_connection(server.getsockname()).close()
    assert address


def test_debug_mode_records_one_frame_of_each_stack() -> None:
    loop = make_debug_loop()
    try:
        recorded = getattr(loop.create_future(), "_source_traceback")  # noqa: B009 (no stub has it)
        assert (loop.get_debug(), len(recorded)) == (True, 1)
    finally:
        loop.close()


def test_whole_stacks_are_extracted_on_request() -> None:
    whole = traceback.extract_stack(limit=None)
    assert len(whole) > 2
    assert [frame.name for frame in traceback.extract_stack()] == [whole[-1].name]
    assert len(traceback.format_stack()) == len(whole)


def test_watchdog_expires_once_at_its_deadline() -> None:
    now = 0.0
    expired: list[str] = []
    watchdog = Watchdog(now=lambda: now)
    watchdog.watch(180.0, lambda: expired.append("first"))
    watchdog.watch(180.0, lambda: expired.append("second"))
    now = 179.0
    watchdog.check()
    assert not expired
    now = 180.0
    watchdog.check()
    watchdog.check()
    assert expired == ["second"]


def test_released_watchdog_does_not_expire() -> None:
    now = 0.0
    expired: list[str] = []
    watchdog = Watchdog(now=lambda: now)
    watchdog.watch(180.0, lambda: expired.append("test"))
    watchdog.release()
    now = 181.0
    watchdog.check()
    assert not expired


def test_watchdog_has_a_thread() -> None:
    expired = threading.Event()
    watchdog = Watchdog()
    watchdog.watch(0.0, expired.set)
    watchdog.start()
    assert expired.wait(PATIENCE)


def test_watchdog_watches_over_this_test(request: pytest.FixtureRequest) -> None:
    assert not hasattr(request.node, "cancel_timeout")  # pytest-timeout's timer
    conftest = request.config.pluginmanager.getplugin(
        str(Path(__file__).parents[1] / "conftest.py")
    )
    deadline, expire = conftest.WATCHDOG._watched
    assert deadline > time.monotonic()
    assert expire.args[0] is request.node
