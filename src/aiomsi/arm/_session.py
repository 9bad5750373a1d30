"""The session: one request path to ARM, and the public verbs on top of it."""

from __future__ import annotations

import asyncio
import functools
import os
import platform
import ssl as ssl_module
import urllib.request
import uuid
from collections.abc import Mapping, MutableMapping
from importlib.metadata import version
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, cast
from urllib.parse import urlsplit

import aiohttp
import attrs
from multidict import CIMultiDict
from yarl import URL

from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._clouds import PUBLIC, Cloud, cloud_from, is_loopback
from aiomsi._errors import ArmConnectionError, ConfigurationError, UsageError
from aiomsi._json import dumps
from aiomsi._secret import Secret
from aiomsi._token import AccessToken
from aiomsi.arm._answers import ArmResponse, error_of, refusal_of
from aiomsi.arm._requests import Options, build_url, check_headers

_CONNECT = 10.0
_READ = 60.0
"""ARM's own limit on a resource provider."""
_CONNECTIONS = 128
"""More only slow a client down; further calls queue."""


class TokenLike(Protocol):
    """What a credential's `get_token` gives."""

    @property
    def token(self) -> str:
        """The token."""


class AsyncCredential(Protocol):
    """A credential by the Azure SDK's async protocol, as far as a session uses it."""

    async def get_token(self, *scopes: str, claims: str | None = None) -> TokenLike:
        """Give a token for the scope."""


@attrs.frozen
class _ForeignToken:
    """Another library's token, with its text masked."""

    token: Secret
    authorization: Secret


_Masked: TypeAlias = AccessToken | _ForeignToken


class ArmSession:
    """Calls to Azure Resource Manager that share one connection pool and one token.

    It may be made outside a running event loop; the HTTP session opens with the first call, and belongs to that call's loop.
    Close it with ``async with`` or `close`.

    Args:
        credential: any credential with the Azure SDK's async protocol; by default this host's system-assigned managed
            identity. One that is given stays open when the session closes.
        cloud: which Azure. The variable ``AIOMSI_RESOURCE_MANAGER`` puts another ARM, on loopback, in its place.
        http: an `aiohttp.ClientSession` to use; it is not closed.
        ssl: a TLS context, for a private CA.
        user_agent: your application's name, put before this package's own.
        clock: where time comes from; for tests.

    Raises:
        ConfigurationError: ``http`` and ``ssl`` were both given, or the environment names an ARM that is not on loopback.

    """

    def __init__(
        self,
        credential: AsyncCredential | None = None,
        *,
        cloud: Cloud = PUBLIC,
        http: aiohttp.ClientSession | None = None,
        ssl: ssl_module.SSLContext | None = None,
        user_agent: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        if http is not None and ssl is not None:
            msg = "ssl= has no effect on a session that is given with http="
            raise ConfigurationError(msg, help="Give the aiohttp session a connector with that TLS context")
        self._cloud = cloud_from(cloud, os.environ)
        self._owns_credential = credential is None
        self._credential: AsyncCredential = _default_credential(clock) if credential is None else credential
        self._scope = f"{self._cloud.audience}/.default"
        self._borrowed = http
        self._http: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ssl = ssl
        self._agent = f"{user_agent} {_own_agent()}" if user_agent else _own_agent()
        self._clock = SYSTEM_CLOCK if clock is None else clock
        self._proxy: str | None = None
        self._closed = False

    @property
    def cloud(self) -> Cloud:
        """The cloud, with the endpoint that is really used."""
        return self._cloud

    async def get(
        self,
        path: str,
        *,
        api_version: str | None = None,
        params: Mapping[str, str | int | bool] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """GET a path and give the decoded JSON, or None for an empty body.

        Args:
            path: begins with a slash and may have a query; or a full URL of this cloud's ARM.
            api_version: ``YYYY-MM-DD`` or ``YYYY-MM-DD-preview``; needed unless the path has one.
            params: further query parameters, not yet encoded.
            headers: further headers.
            timeout: seconds for the whole call; without it 10 s to connect and 60 s between bytes.

        Raises:
            ConfigurationError: the call can't be sent as it is; nothing was sent.
            CredentialError: there is no token.
            ArmConnectionError: ARM gave no answer.
            ArmError: ARM answered with an error; the subclass says which.

        """
        options = Options(api_version, params, headers=headers, timeout=timeout)
        return (await self._send("GET", path, options)).json()

    async def request(
        self,
        method: str,
        path: str,
        *,
        api_version: str | None = None,
        params: Mapping[str, str | int | bool] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> ArmResponse:
        """Send any request and give the whole answer; arguments and errors as for `get`.

        Args:
            method: an HTTP verb in capitals.
            path: as for `get`.
            api_version: as for `get`.
            params: as for `get`.
            json: a body to be sent as JSON.
            content: a body to be sent as it is; name its type in `headers`.
            headers: as for `get`.
            timeout: as for `get`.

        """
        return await self._send(method, path, Options(api_version, params, json, content, headers, timeout))

    async def close(self) -> None:
        """Close what this session opened. It can't be used afterwards; closing twice does nothing."""
        self._closed = True
        http, self._http = self._http, None
        if http is not None and self._borrowed is None:
            await http.close()
        if self._owns_credential:
            await cast(Any, self._credential).close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._http is not None else "not yet used"
        return f"<ArmSession {self._cloud.resource_manager}, {state}, credential={self._credential!r}>"

    # The one request path

    async def _send(self, method: str, path: str, options: Options) -> ArmResponse:
        url = build_url(self._cloud, method, path, options)
        headers, data = self._headers_and_body(options)
        http = self._http if self._loop is asyncio.get_running_loop() and self._http is not None else self._open()
        began, attempts = self._clock.monotonic(), 0
        scope = asyncio.timeout(options.timeout)
        try:
            async with scope:
                token = _masked(await self._credential.get_token(self._scope))
                headers["Authorization"] = token.authorization
                attempts = 1
                response = await self._exchange(http, method, url, headers, data, attempts, began)
                if response.status == 401 and (renewed := await self._renewed(token, response)) is not None:
                    headers["Authorization"] = renewed.authorization
                    attempts = 2
                    response = await self._exchange(http, method, url, headers, data, attempts, began)
                elapsed = self._clock.monotonic() - began
        except TimeoutError as error:
            if not scope.expired():
                raise
            why = f"no {'answer' if attempts else 'token'} within {options.timeout} s"
            raise self._no_answer(method, url, headers, why, attempts, began) from error
        if response.status < 300 or response.status == 304:
            return response
        raise error_of(response, wall=self._clock.wall(), attempts=attempts, elapsed=elapsed)

    def _headers_and_body(self, options: Options) -> tuple[MutableMapping[str, str], bytes | None]:
        headers: MutableMapping[str, str] = {
            "Accept": "application/json",
            "User-Agent": self._agent,
            "x-ms-client-request-id": str(uuid.uuid4()),
        }
        data = options.content
        if options.json is not None:
            if data is not None:
                msg = "json= and content= were both given"
                raise ConfigurationError(msg)
            data, headers["Content-Type"] = dumps(options.json), "application/json"
        if options.headers is not None:
            check_headers(options.headers)
            headers = CIMultiDict(headers)
            headers.update(options.headers)
        return headers, data

    async def _exchange(
        self,
        http: aiohttp.ClientSession,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        data: bytes | None,
        attempts: int,
        began: float,
    ) -> ArmResponse:
        if http.closed:
            raise _closed(self._closed)
        try:
            answer = await http.request(
                method,
                url,
                headers=headers,
                data=data,
                allow_redirects=False,
                raise_for_status=False,
                timeout=_TIMEOUT,
                proxy=self._proxy,
            )
            body = await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            raise self._no_answer(method, url, headers, _why(http, error), attempts, began) from error
        return ArmResponse(method, str(url), answer.status, answer.headers, body)

    async def _renewed(self, token: _Masked, response: ArmResponse) -> _Masked | None:
        """Give another token than the one that ARM refused, or None if there is none that would help."""
        refusal = refusal_of(response)
        if refusal is None:
            return None
        if refusal.claims is not None:
            renewed = _masked(await self._credential.get_token(self._scope, claims=refusal.claims))
        else:
            reject = getattr(self._credential, "reject", None)
            if reject is not None:
                reject(token.token)
            renewed = _masked(await self._credential.get_token(self._scope))
        return None if renewed.token == token.token else renewed

    def _no_answer(
        self, method: str, url: URL, headers: Mapping[str, str], why: str, attempts: int, began: float
    ) -> ArmConnectionError:
        return ArmConnectionError(
            f"{method} {url.raw_path} got no answer from {url.host}: {why}",
            help="Whether ARM has carried it out is unknown; a GET may simply be repeated" if attempts else "Nothing was sent",
            method=method,
            url=str(url.with_query(None)),
            client_request_id=headers["x-ms-client-request-id"],
            attempts=attempts,
            elapsed=self._clock.monotonic() - began,
        )

    def _open(self) -> aiohttp.ClientSession:
        """Open the HTTP session in the running loop, or say why that can't be.

        Raises:
            UsageError: the session is closed, or belongs to another loop.

        """
        if self._closed:
            raise _closed(True)
        if self._loop is not None:
            msg = "this ArmSession belongs to another event loop"
            raise UsageError(msg, help="Make one per loop: they share one token all the same")
        http = self._borrowed
        if http is None:
            connector = aiohttp.TCPConnector(limit=0, limit_per_host=_CONNECTIONS, ssl=True if self._ssl is None else self._ssl)
            http = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        self._loop = asyncio.get_running_loop()
        self._proxy = _proxy_for(self._cloud.resource_manager)
        self._http = http
        return http


_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_READ)


@functools.cache
def _own_agent() -> str:
    return f"aiomsi/{version('aiomsi')} Python/{platform.python_version()} ({platform.system()})"


def _default_credential(clock: Clock | None) -> AsyncCredential:
    from aiomsi._credential import ManagedIdentityCredential

    return ManagedIdentityCredential(clock=clock)


def _masked(token: TokenLike) -> _Masked:
    """Give a token that no traceback's locals show; this package's own are so already, and carry their header with them."""
    if isinstance(token, AccessToken):
        return token
    return _ForeignToken(Secret(token.token), Secret(f"Bearer {token.token}"))


def _proxy_for(url: str) -> str | None:
    """Find the proxy that the environment names for this URL; none for loopback."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxy = urllib.request.getproxies().get(parts.scheme)
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy or None


def _why(http: aiohttp.ClientSession, error: Exception) -> str:
    return "the session was closed" if http.closed else f"{type(error).__name__}: {error}"


def _closed(own: bool) -> UsageError:
    if own:
        return UsageError("this ArmSession is closed", help="Make a new one: tokens are shared, so it costs no new token")
    return UsageError("the aiohttp session that this ArmSession was given is closed")
