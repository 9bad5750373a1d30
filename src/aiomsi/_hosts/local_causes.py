"""Causes of failed connections on this machine's side, by `errno`, each with a remedy.

On Windows asyncio's default event loop connects by `ConnectEx`, whose errors are numbers of Windows
and no socket errors. Python gives those that it does not know the `errno` EINVAL, so these are read
from `winerror`.

Sources: https://learn.microsoft.com/windows/win32/debug/system-error-codes--1000-1299-
https://github.com/python/cpython/blob/main/PC/errmap.h
"""

import errno

EXHAUSTED, DENIED, NO_ROUTE = "exhausted", "denied", "no route"


class LocalCause:
    """A cause on this machine's side of a connection.

    Attributes:
        kind: `EXHAUSTED`, `DENIED` or `NO_ROUTE`. Only the latter two concern the route to the
            host.
        message: the cause.
        help: the remedy.

    """

    # Each import creates this class, so it is plain.
    __slots__ = ("help", "kind", "message")

    def __init__(self, kind: str, message: str, help: str) -> None:  # noqa: A002 (as in AiomsiError)
        self.kind = kind
        self.message = message
        self.help = help


_FILES = LocalCause(
    EXHAUSTED,
    "this process has no file descriptor left for a connection",
    "Raise its limit of open files ('ulimit -n'), or close unused connections: for example "
    "one ArmSession or aiohttp.ClientSession per call that is never closed",
)
_ALL_FILES = LocalCause(
    EXHAUSTED,
    "this machine has no file descriptor left",
    "Look for the process that has them, for example with 'lsof', on Windows with 'Get-Process'",
)
_BUFFERS = LocalCause(
    EXHAUSTED,
    "this machine has no memory left for a connection",
    "Free memory, or raise the limits",
)
_PORTS = LocalCause(
    EXHAUSTED,
    "this machine has no local port or address for a connection",
    "Look for very many connections with 'ss -s', on Windows 'netstat -ano', and for an interface "
    "that is up",
)
_DENIED = LocalCause(
    DENIED,
    "this machine does not permit the connection",
    "A firewall's rule for outgoing connections, a sandbox (seccomp, SELinux, systemd) "
    "or a network policy forbids it: permit it",
)
_NO_ROUTE = LocalCause(
    NO_ROUTE,
    "this machine has no route to that address",
    "In a container or network namespace make the address reachable, for example with the host's "
    "network; on a VM look at 'ip route', on Windows at 'route print'",
)

_CAUSES = {
    errno.EMFILE: _FILES,
    errno.ENFILE: _ALL_FILES,
    errno.ENOBUFS: _BUFFERS,
    errno.ENOMEM: _BUFFERS,
    errno.EADDRNOTAVAIL: _PORTS,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EAFNOSUPPORT: _DENIED,
    errno.ENETUNREACH: _NO_ROUTE,
    errno.EHOSTUNREACH: _NO_ROUTE,
    errno.ENETDOWN: _NO_ROUTE,
}

_ERRNOS: dict[object, int] = {
    1231: errno.ENETUNREACH,
    1232: errno.EHOSTUNREACH,
    1450: errno.ENOBUFS,
    1455: errno.ENOMEM,
}
"""Errors of Windows: no route to the network, none to the host, too few resources, no memory."""


def read_error_number(error: BaseException) -> int | None:
    """Return the `errno` of a connection error, or of the one that it carries; None without one."""
    inner = getattr(error, "os_error", error)
    number = _ERRNOS.get(getattr(inner, "winerror", None), getattr(inner, "errno", None))
    return number if isinstance(number, int) else None


def find_local_cause(number: int | None) -> LocalCause | None:
    """Return the local cause of a connection error by its `errno`; None if it is not local."""
    return None if number is None else _CAUSES.get(number)
