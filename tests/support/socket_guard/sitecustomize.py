"""Block sockets and look-ups that leave loopback, in the tests and in their child processes."""

from __future__ import annotations

import os
import sys
from ipaddress import ip_address

# Every child process imports this module, and `typing` takes longer than all of it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from typing import Any

CONNECTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
LOOK_UPS = frozenset(
    {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"}
)


class BlockedSocketError(RuntimeError):
    """A test wanted to leave this machine."""


def is_local(host: object) -> bool:
    """Return whether a host, as the socket module takes it, is loopback or unspecified."""
    if host is None or host in ("", b"", "localhost", b"localhost"):
        return True
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    try:
        return ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


def guard(event: str, arguments: tuple[object, ...]) -> None:
    """Raise for what leads elsewhere."""
    if event in CONNECTS:
        address = arguments[1]
        if isinstance(address, tuple) and not is_local(address[0]):
            raise BlockedSocketError(f"{event} to {address!r}")
    elif event in LOOK_UPS:
        host = (
            arguments[0][0]
            if event == "socket.getnameinfo" and isinstance(arguments[0], tuple)
            else arguments[0]
        )
        if not is_local(host) and not (event == "socket.getaddrinfo" and host == "0.0.0.0"):  # noqa: S104 (a listener's)
            raise BlockedSocketError(f"{event} of {host!r}")


def guard_proactor(module: Any) -> None:
    """Check the addresses that asyncio's loop on Windows takes: `ConnectEx` raises no audit event.

    Args:
        module: such as `asyncio.windows_events`.

    """
    proactor = module.IocpProactor
    connect, sendto = proactor.connect, proactor.sendto

    def guarded_connect(self: Any, conn: Any, address: Any) -> Any:
        guard("socket.connect", (conn, address))
        return connect(self, conn, address)

    def guarded_sendto(self: Any, conn: Any, buf: Any, flags: int = 0, addr: Any = None) -> Any:
        guard("socket.sendto", (conn, addr))
        return sendto(self, conn, buf, flags, addr)

    proactor.connect, proactor.sendto = guarded_connect, guarded_sendto


class PatchedImport:
    """A finder that passes a module to a function at its first import."""

    def __init__(self, name: str, patch: Callable[[Any], None]) -> None:
        self.name, self.patch = name, patch

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        import importlib.util

        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            self.patch(module)

        vars(spec.loader)["exec_module"] = exec_module
        return spec


def install(platform: str = sys.platform) -> None:
    """Guard the sockets of this process."""
    sys.addaudithook(guard)
    if platform == "win32":
        # The Azure machines on which GitHub runs workflows have an IMDS.
        sys.meta_path.insert(0, PatchedImport("asyncio.windows_events", guard_proactor))


if not os.environ.get("AIOMSI_VM"):
    install()
