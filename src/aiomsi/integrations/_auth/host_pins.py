"""`HostPins`: the hosts that may receive a token. No I/O.

A client sends a request to the host of its parsed URL, so the pins compare that host, and parse no
URL of a request a second time. The comparison is literal: a name with a trailing dot, or an
address in an unusual spelling, is another host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import NoReturn, TypeAlias
from urllib.parse import SplitResult

import attrs

from aiomsi._clouds import mask_url, split_endpoint
from aiomsi._errors import ConfigurationError

_SCHEMES = {"https": "https", "wss": "https", "http": "http", "ws": "http"}
"""Schemes of HTTP clients, with that of their connection: a WebSocket begins as a GET."""
_PORTS = {"https": 443, "http": 80}
_LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_EXAMPLE = "Write for example hosts=['NAME.vault.azure.net', 'https://127.0.0.1:8443']"

Origin: TypeAlias = tuple[str, str, int]
"""The scheme (https or http), host and port of a connection."""


@attrs.frozen(repr=False)
class HostPins:
    """The origins that may receive a token."""

    origins: frozenset[Origin]

    def allows(self, scheme: str, host: str | None, port: int | None) -> bool:
        """Return whether a token may be sent to a URL with these parts, as the client parsed them.

        Args:
            scheme: the URL's scheme.
            host: the host that the client connects to, in ASCII and without brackets.
            port: the port; None for the scheme's default.

        """
        kind = _SCHEMES.get(scheme)
        # Some characters beyond ASCII are ASCII in lower case.
        if kind is None or host is None or not host.isascii():
            return False
        return (kind, _normalize(host), _PORTS[kind] if port is None else port) in self.origins

    def __repr__(self) -> str:
        return ", ".join(
            f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
            for scheme, host, port in sorted(self.origins)
        )


def parse_hosts(hosts: Iterable[str]) -> HostPins:
    """Return the pins of an argument `hosts=`.

    Raises:
        ConfigurationError: it is empty or a string, or an entry is not a host. An entry is
            ``host``, ``host:port`` or ``https://host[:port]``; ``http://`` is for loopback only.

    """
    if isinstance(hosts, str | bytes) or not isinstance(hosts, Iterable):
        msg = f"hosts= takes a list of hosts, not {type(hosts).__name__}"
        raise ConfigurationError(msg, help=_EXAMPLE)
    origins = frozenset(_parse_host(host) for host in hosts)
    if not origins:
        msg = "hosts= names no host, so no request would have a token"
        raise ConfigurationError(msg, help=_EXAMPLE)
    return HostPins(origins)


def _parse_host(entry: object) -> Origin:
    if not isinstance(entry, str):
        msg = f"an entry of hosts= is a string, not {type(entry).__name__}"
        raise ConfigurationError(msg, help=_EXAMPLE)
    url = entry if "://" in entry else f"https://{entry}"
    parts = split_endpoint(url, "an entry of hosts=")
    host = _normalize(parts.hostname or "")
    if not _is_address(host):
        _check_name(host, parts)
    return parts.scheme, host, parts.port or _PORTS[parts.scheme]


def _check_name(host: str, parts: SplitResult) -> None:
    """Raise an error for a name that a client may read as another host, or that no host has."""
    if "*" in host:
        _refuse(parts, "List each host: a pattern would include hosts of other customers")
    if host.endswith("."):
        _refuse(parts, "Write the name without the dot at its end")
    last = host.rpartition(".")[2]
    if last.isdecimal() or last.startswith("0x"):
        _refuse(parts, "Write an IPv4 address as four decimal numbers")
    if _NAME.fullmatch(host) is None:
        _refuse(parts, _EXAMPLE)


def _refuse(parts: SplitResult, help: str) -> NoReturn:  # noqa: A002 (as in AiomsiError)
    msg = f"an entry of hosts= names no single host: {mask_url(parts.geturl())!r}"
    raise ConfigurationError(msg, help=help)


def _normalize(host: str) -> str:
    try:
        return ip_address(host).compressed
    except ValueError:
        return host.lower()


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
