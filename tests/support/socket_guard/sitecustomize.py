"""Block sockets and look-ups that leave loopback, in the tests and in their child processes."""

import os
import sys
from ipaddress import ip_address

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


if not os.environ.get("AIOMSI_VM"):
    sys.addaudithook(guard)
