"""The aiohttp session under an `ArmSession`: its connections, its time-outs, the proxy, and what became of a request."""

from __future__ import annotations

import ssl as ssl_module
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from aiomsi._clouds import is_loopback
from aiomsi._errors import ConfigurationError
from aiomsi._secret import Secret

_CONNECT = 10.0
_READ = 60.0
"""ARM's own limit on a resource provider."""
_CONNECTIONS = 128
"""More only slow a client down; further calls queue."""
CLOSED = "the session was closed"
MAYBE = "Whether ARM has carried it out is unknown; a GET may simply be repeated"
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_READ)


def open_http(ssl: ssl_module.SSLContext | None) -> aiohttp.ClientSession:
    """Open a session in the running loop: without cookies, and without `trust_env`, which reads .netrc with every request."""
    # Not by host, of which ARM has one or a few: that would cost some percent of every call.
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=True if ssl is None else ssl)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def proxy_for(url: str) -> tuple[str | None, Mapping[str, str] | None]:
    """Find the proxy that the environment names for this URL, and the headers that it is to have; none for loopback.

    Raises:
        ConfigurationError: it is no URL of a proxy that aiohttp can use. It is not repeated in the error: it may hold a password.

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
    if proxy.scheme not in ("http", "https") or not proxy.host or proxy.raw_path_qs not in ("", "/") or proxy.raw_fragment:
        msg = f"what the environment names as the proxy for {parts.scheme} is no URL of an HTTP proxy"
        raise ConfigurationError(msg, help="Write http://host:port, or http://user:password@host:port, percent-encoded")
    if proxy.user is None and proxy.password is None:
        return str(proxy), None
    # Apart from the URL, which aiohttp puts into its errors.
    user = b64encode(f"{proxy.user or ''}:{proxy.password or ''}".encode()).decode()
    return str(proxy.with_password(None).with_user(None)), {"Proxy-Authorization": Secret(f"Basic {user}")}


REPEATED = frozenset({"PUT", "DELETE"})
"""What aiohttp by itself sends again when the connection was lost, though it may have been carried out: that is ours to decide.

It does the same with what only reads, and there it may.
"""


def sent_once(http: aiohttp.ClientSession) -> tuple[aiohttp.ClientMiddlewareType, ...]:
    """Give the middlewares with which aiohttp does not repeat a request."""
    # Those that are given with a request replace the session's, which may be the user's; there is no other way to ask for them.
    return _only_once, *getattr(http, "_middlewares", ())


async def _only_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if has_arrived(error):
            # Of this class aiohttp repeats none.
            raise aiohttp.ClientConnectionError(described(error)) from error
        raise


def has_arrived(error: Exception) -> bool:
    """Tell whether a request that got no answer may have reached the server."""
    return not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError)


def is_untrusted(error: BaseException | None) -> bool:
    """Tell whether the other side's certificate was not accepted, which the next one would not be either."""
    return isinstance(error, aiohttp.ClientConnectorCertificateError)


def described(error: Exception, http: aiohttp.ClientSession | None = None) -> str:
    """Give an error of aiohttp's as a text; its session may have been closed meanwhile."""
    if http is not None and http.closed:
        return CLOSED
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        said = "no connection in time"
    else:
        said = f"{error.status}, {error.message}" if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return said if type(error) is aiohttp.ClientConnectionError else f"{type(error).__name__}: {said}"


def shown(error: Exception) -> Exception | None:
    """Give the error to be chained; none of those whose text has the whole URL, with what ARM has signed in it."""
    return None if isinstance(error, aiohttp.ClientResponseError | aiohttp.ConnectionTimeoutError) else error
