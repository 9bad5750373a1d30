"""The aiohttp session of an `ArmSession`: connections, time-outs, proxy, and aiohttp's errors."""

from __future__ import annotations

import asyncio
import functools
import math
import os
import re
import ssl as ssl_module
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from aiomsi._arm.call import NoResponse
from aiomsi._arm.protocol.encoding import MAX_BODY, CutBodyError, LongBodyError
from aiomsi._clouds import is_loopback
from aiomsi._credentials.send_once import make_send_once
from aiomsi._errors import ConfigurationError
from aiomsi._util.lazy import late_import
from aiomsi._util.secret import Secret

_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_CONNECT = 10.0
_READ = 150.0
"""A resource provider may take two minutes to respond: https://github.com/Azure/azure-resource-manager-rpc/issues/35"""
_ROUNDED_FROM = 10.0
"""Seconds of a time-out from which on it is rounded, so that many requests share one object."""
_SHORTEST_WAIT = 0.1
"""In seconds; 0 would mean no limit to aiohttp."""
_FEWEST_CONNECTIONS = 128
"""While ARM responds quickly, a client with more connections is slower."""
_MOST_CONNECTIONS = 1_024
_MOST_OF_SELECT = 512
_MAX_HEADER = 65_536
"""Bytes of a header line. Some services' links exceed aiohttp's default of 8,190 bytes."""
_MAX_BUFFER = 1_048_576
CLOSED = "the session was closed"
NO_CONNECTION = "no connection in time"
MAYBE = "Whether ARM has carried it out is unknown; a GET may simply be repeated"
UNSENT = "Nothing was sent"
_UNTRUSTED = (
    "Nothing was sent. If a proxy terminates TLS with its own certificate, "
    "pass ssl= with its authority"
)
_TLS = (
    "Check which TLS versions and client certificates the server requires, "
    "and whether it is an HTTPS endpoint"
)
_REFUSED_BY_PROXY = (
    "Nothing was sent. Check the user and password in the proxy's URL, "
    "and that the proxy lets this host through"
)
_TOO_LONG = (
    "ARM has responded to the request; if it only reads, request less at once, "
    "for example with a smaller $top"
)
QUEUED = (
    "Nothing was sent. If many calls are under way at once, they wait for a free connection: "
    "begin fewer at a time"
)
_FOREIGN_BYTES = re.compile(r"\bb['\"]")
"""The start of a piece of the response in an error's text."""
_QUERIES = re.compile(r"(://[^\s?'\"]*)\?[^\s'\"]*")
"""The query of a URL in an error's text, which may be signed, with what precedes it."""
_TRANSIENT_BY_PROXY = frozenset({408, 429})
_BROKEN_HANDSHAKES = (
    ssl_module.SSLEOFError,
    ssl_module.SSLSyscallError,
    ssl_module.SSLZeroReturnError,
)
"""Connections lost during TLS. Other TLS errors recur with the next connection."""


def open_http(
    ssl: ssl_module.SSLContext | None, headers: Mapping[str, str] | None = None
) -> aiohttp.ClientSession:
    """Open an aiohttp session in the running loop.

    It has no cookies, and no `trust_env`, which would read .netrc for every request.

    Args:
        ssl: the TLS context; None for aiohttp's default.
        headers: headers of all requests, and of the CONNECT to a proxy, which is not encrypted.

    """
    # The connector has no limit, because later requests overtake those that wait in it. The
    # session's `CallQueue` limits the number of requests.
    connector = aiohttp.TCPConnector(limit=0, ssl=_choose_tls() if ssl is None else ssl)
    # A request's arguments are handed on twice, so that those of the session cost less.
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        auto_decompress=False,
        read_bufsize=_MAX_BUFFER,
        max_line_size=_MAX_HEADER,
        max_field_size=_MAX_HEADER,
    )


def _choose_tls() -> ssl_module.SSLContext | bool:
    """Return a context with the authorities that a variable names; True for aiohttp's default.

    The latter has the authorities that were trusted when aiohttp was imported.
    """
    if not any(map(os.environ.get, _TRUST)):
        return True
    with late_import:
        from aiomsi._credentials.pinned_tls import make_context

    return make_context(None)


def count_connections(
    user_session: aiohttp.ClientSession | None, loop: asyncio.AbstractEventLoop | None = None
) -> tuple[int, int | None]:
    """Return the number of connections to use, and the number up to which it may grow.

    The latter is None if the user's session limits its connections.

    Args:
        user_session: the user's session.
        loop: the event loop of the connections.

    """
    connector = None if user_session is None else user_session.connector
    limits = () if connector is None else (connector.limit, connector.limit_per_host)
    fixed = min((limit for limit in limits if limit > 0), default=None)
    if fixed is not None:
        return fixed, None
    most = max(1, min(_MOST_CONNECTIONS, _count_files(loop) // 2))
    return min(_FEWEST_CONNECTIONS, most), most


def _count_files(loop: asyncio.AbstractEventLoop | None) -> int:
    """Return the number of files that the process may open; a large one if it is unlimited."""
    try:
        resource: Any = import_module("resource")
    except ImportError:
        # Windows has no such limit, but `select` takes 512 sockets there. The default loop does
        # not use it. Source: https://docs.python.org/3/library/asyncio-platforms.html#windows
        is_select = isinstance(loop, asyncio.SelectorEventLoop)
        return _MOST_OF_SELECT if is_select else 2 * _MOST_CONNECTIONS
    soft: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 2 * _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else soft


def make_request_options(
    http: aiohttp.ClientSession,
    proxy: str | None,
    proxy_headers: Mapping[str, str] | None,
    *,
    borrowed: bool,
) -> dict[str, Any]:
    """Return the arguments of all requests of a session that `open_http` or a user has opened.

    Args:
        http: the session.
        proxy: the URL of the proxy; None for the session's own, if it has one.
        proxy_headers: the headers for the proxy.
        borrowed: whether the session is a user's.

    """
    options: dict[str, Any] = {"allow_redirects": False}
    if proxy is not None:
        options |= {"proxy": proxy, "proxy_headers": proxy_headers}
    if borrowed:
        options |= {
            "raise_for_status": False,
            "auto_decompress": False,
            "read_bufsize": _MAX_BUFFER,
            "max_line_size": max(_MAX_HEADER, getattr(http, "_max_line_size", 0)),
            "max_field_size": max(_MAX_HEADER, getattr(http, "_max_field_size", 0)),
        }
    if borrowed or not _disable_resends(http):
        options["middlewares"] = forbid_resends(http)
    return options


def find_timeout(left: float, *, timed: bool = False) -> aiohttp.ClientTimeout:
    """Return the time-outs of a request.

    Args:
        left: seconds to wait for a connection, including the queue for one. Long ones are rounded
            up to whole seconds.
        timed: whether the caller set a time-out for the whole call, which then is the only limit
            of the wait for the response.

    """
    if left > _ROUNDED_FROM:
        left = left if left == math.inf else float(math.ceil(left))
    return _make_timeout(max(left, _SHORTEST_WAIT), timed=timed)


@functools.lru_cache(maxsize=1_024)
def _make_timeout(left: float, *, timed: bool) -> aiohttp.ClientTimeout:
    # Without a `ceil_threshold` aiohttp rounds longer limits up to whole seconds.
    return aiohttp.ClientTimeout(
        total=None,
        connect=None if left == math.inf else left,
        sock_connect=_CONNECT,
        sock_read=None if timed else _READ,
        ceil_threshold=math.inf,
    )


def find_proxy(url: str) -> tuple[str | None, Mapping[str, str] | None]:
    """Return the proxy that the environment names for this URL, and its headers; None for loopback.

    Raises:
        ConfigurationError: aiohttp can't use the proxy's URL. The error omits the URL, because it
            may hold a password.

    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None, None
    named = urllib.request.getproxies().get(parts.scheme)
    if not named:
        return None, None
    try:
        proxy = URL(named if "://" in named else f"http://{named}")
    except ValueError:
        proxy = URL()
    if (
        proxy.scheme not in ("http", "https")
        or not proxy.host
        or proxy.raw_path_qs not in ("", "/")
        or proxy.raw_fragment
    ):
        msg = f"the proxy that the environment names for {parts.scheme} is not an HTTP proxy URL"
        raise ConfigurationError(
            msg, help="Write http://host:port, or http://user:password@host:port, percent-encoded"
        )
    if proxy.user is None and proxy.password is None:
        return str(proxy), None
    # The password is not left in the URL, which aiohttp puts into its errors.
    user = b64encode(f"{proxy.user or ''}:{proxy.password or ''}".encode()).decode()
    return str(proxy.with_password(None).with_user(None)), {
        "Proxy-Authorization": Secret(f"Basic {user}")
    }


def _disable_resends(http: aiohttp.ClientSession) -> bool:
    """Turn off aiohttp's own repetitions in a session; return whether that was possible.

    After a lost connection aiohttp sends a GET, HEAD, PUT or DELETE again, although the retry rule
    of the session must decide that.
    """
    # aiohttp has no public setting for it. A middleware works too, but costs every request a call.
    if not hasattr(http, "_retry_connection"):
        return False
    http._retry_connection = False  # noqa: SLF001
    return True


def forbid_resends(http: aiohttp.ClientSession) -> tuple[aiohttp.ClientMiddlewareType, ...]:
    """Return the session's middlewares, after one that prevents aiohttp's repetitions."""
    # The middlewares of a request replace those of the session, which may be the user's; aiohttp
    # has no public access to them.
    return _send_once, *getattr(http, "_middlewares", ())


_send_once = make_send_once(
    lambda error: aiohttp.ClientConnectionError(describe(error)) if has_arrived(error) else None
)


async def read_rest(content: aiohttp.StreamReader, first: bytes) -> bytes:
    """Read the rest of a body, and return it with its first part.

    Raises:
        LongBodyError: the body is too long.

    """
    parts, size = [first], len(first)
    try:
        while size <= MAX_BODY:
            part = await content.readany()
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
        raise LongBodyError
    finally:
        # Error reporters show a frame's locals.
        part = b""
        del parts, first


def authorize_late(
    headers: Mapping[str, str], middlewares: tuple[aiohttp.ClientMiddlewareType, ...]
) -> tuple[Mapping[str, str], tuple[aiohttp.ClientMiddlewareType, ...]]:
    """Return a request's headers without `Authorization`, and middlewares that add it.

    aiohttp refuses that header if .netrc or the session's `auth` has credentials for the host too.
    The added middleware replaces those credentials, so that they are not sent.
    """
    token = headers["Authorization"]

    async def authorized(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = token
        return await handler(request)

    others = CIMultiDict(headers)
    del others["Authorization"]
    return others, (authorized, *middlewares)


_UNREADABLE = (aiohttp.ClientResponseError, aiohttp.ClientPayloadError, CutBodyError)
_PERMANENT = (ValueError, TypeError, AssertionError, aiohttp.ServerFingerprintMismatch)


def explain_failure(
    error: Exception, *, closed: bool = False, borrowed: bool = False
) -> NoResponse:
    """Return the meaning of an aiohttp error.

    Args:
        error: the error of a request.
        closed: whether the aiohttp session was closed in the meantime.
        borrowed: whether the aiohttp session is the user's.

    """
    arrived = has_arrived(error, borrowed=borrowed)
    if closed:
        return NoResponse(CLOSED, arrived, help="" if arrived else UNSENT)
    why, untrusted = describe(error), isinstance(error, aiohttp.ClientConnectorCertificateError)
    if untrusted:
        return NoResponse(why, arrived, untrusted=True, permanent=True, help=_UNTRUSTED)
    if _is_lasting_tls(error):
        return NoResponse(
            why, arrived, permanent=True, help=f"{MAYBE if arrived else UNSENT}. {_TLS}"
        )
    if isinstance(error, aiohttp.ClientHttpProxyError):
        permanent = 400 <= error.status < 500 and error.status not in _TRANSIENT_BY_PROXY
        return NoResponse(
            why, arrived, permanent=permanent, help=_REFUSED_BY_PROXY if permanent else UNSENT
        )
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return NoResponse(why, arrived, help=QUEUED)
    if isinstance(error, LongBodyError):
        return NoResponse(why, permanent=True, unreadable=True, help=_TOO_LONG)
    unreadable = isinstance(error, _UNREADABLE) or _is_cut_short(error)
    permanent = isinstance(error, _PERMANENT)
    return NoResponse(
        why, arrived, permanent=permanent, unreadable=unreadable, help="" if arrived else UNSENT
    )


def has_arrived(error: Exception, *, borrowed: bool = False) -> bool:
    """Return whether a request that got no response may have reached the server."""
    if isinstance(error, ValueError | TypeError) and not isinstance(
        error, aiohttp.ClientPayloadError | ssl_module.SSLError
    ):
        # aiohttp checks URL and headers before it sends a request. Only the hooks of a user's
        # session may raise these errors later.
        return borrowed
    return not isinstance(
        error,
        aiohttp.ClientConnectorError
        | aiohttp.ConnectionTimeoutError
        | aiohttp.ClientHttpProxyError
        | aiohttp.ServerFingerprintMismatch,
    )


def _is_lasting_tls(error: BaseException) -> bool:
    """Return whether TLS failed in a way in which it would fail again."""
    causes = (
        (error.os_error,)
        if isinstance(error, aiohttp.ClientConnectorError)
        else (error, error.__cause__)
    )
    return any(
        isinstance(one, ssl_module.SSLError) and not isinstance(one, _BROKEN_HANDSHAKES)
        for one in causes
    )


def _is_cut_short(error: BaseException | None) -> bool:
    """Return whether the connection was lost while the headers of a response were received."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return not isinstance(error.message, str)
    return type(error) is aiohttp.ClientConnectionError and _is_cut_short(error.__cause__)


def describe(error: Exception) -> str:
    """Return the text of an aiohttp error, without queries and the bytes that were not parsed."""
    text = _get_text(error)
    return (
        text
        if type(error) is aiohttp.ClientConnectionError
        else f"{type(error).__name__}: {text}".removesuffix(": ")
    )


def _get_text(error: Exception) -> str:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return NO_CONNECTION
    if isinstance(error, aiohttp.ServerDisconnectedError):
        # The error's text has the headers that were received.
        return "Server disconnected"
    if isinstance(error, aiohttp.InvalidURL):
        return "the URL is malformed"
    text = (
        f"{error.status}, {error.message}"
        if isinstance(error, aiohttp.ClientResponseError)
        else str(error)
    )
    return _strip_queries(_FOREIGN_BYTES.split(text, maxsplit=1)[0].rstrip(" :\n"))


def _strip_queries(text: str) -> str:
    """Return a text in which URLs have no query: aiohttp quotes that of a body it can't write."""
    return _QUERIES.sub(r"\1", text)


def make_cause(error: Exception) -> Exception | None:
    """Return an aiohttp error without frames, to be the cause of another error.

    Return None if the error's text has the whole URL, which may be signed.
    """
    if isinstance(
        error, aiohttp.ClientResponseError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL
    ):
        return None
    try:
        # Imported when the first request fails.
        from aiomsi._util.foreign import strip_frames
    except (ImportError, OSError):
        # File descriptors may have run out. The raised error has the text.
        return None
    if isinstance(error, aiohttp.ServerDisconnectedError):
        error = aiohttp.ServerDisconnectedError(_get_text(error))
    elif isinstance(error, aiohttp.ClientPayloadError):
        error = aiohttp.ClientPayloadError(_get_text(error))
    return strip_frames(error, _strip_queries)
