"""`Bearer`: the authentication of requests of httpx2 and httpx, with tokens for listed hosts.

Source: https://www.python-httpx.org/advanced/authentication/#custom-authentication-schemes
"""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from aiomsi._errors import ConfigurationError
from aiomsi._tokens.access_token import AccessToken
from aiomsi.integrations._auth.host_pins import HostPins
from aiomsi.integrations._auth.httpx_body import LIBRARIES, can_repeat
from aiomsi.integrations._auth.token_source import is_short, make_token_source, read_refusal

if TYPE_CHECKING:
    import httpx
    import httpx2

    # Without one of them, a type checker knows no type of that base, and reports it here alone.
    class _Auth(httpx2.Auth, httpx.Auth):  # type: ignore[misc]  # each names its own requests
        """The class of both libraries."""
else:
    # The class of each library at hand is added when a `Bearer` is created.
    _Auth = object

_AUTHORIZATION = "Authorization"

__all__ = ["Bearer"]


class Bearer(_Auth):
    """An `Auth` for clients of httpx2 and httpx, which sends a token to the listed hosts alone.

    Pass it as ``auth=`` of an ``AsyncClient`` or of a request. It is an instance of the `Auth` of
    each of the two libraries that the process has imported; if it has imported none, of httpx2, or
    else of httpx. It may serve any number of clients, event loops and threads.

    A request to another host, over plain http beyond loopback, or with an `Authorization` header
    of the caller is sent as it is. httpx follows a redirect to another host without the token, and
    the 401 of such a host has no effect. An `Auth` can't see a proxy: for ``http://`` hosts, create
    the client with ``trust_env=False``, so that no proxy of the environment receives the token.

    After a 401 that does not accept the token, or that demands claims, the credential fetches
    another one, once for all such requests, and the last request is sent once more. A body that was
    read from a stream can't be sent again: the caller receives the 401, and the next request has
    the other token.

    Args:
        credential, scope, hosts: as those of `aiomsi.integrations.aiohttp.bearer`.

    Raises:
        ConfigurationError: the scope or a host is malformed, the credential is synchronous or no
            credential, or neither library is installed. The requests raise the errors of
            `get_token`; those of a synchronous client raise a `ConfigurationError`.

    """

    def __new__(cls, credential: Any, scope: str, hosts: Iterable[str]) -> Self:  # noqa: ARG004 (of __init__)
        """Create an instance of a subclass with the libraries' `Auth`."""
        kind: Any = cls
        made: Self = object.__new__(_derive(kind, _find_auths()))
        return made

    def __init__(self, credential: Any, scope: str, hosts: Iterable[str]) -> None:
        self._source = make_token_source(credential, scope, hosts)
        _refuse_upgrades(self._source.pins)

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """Yield the request, with a token if its host is pinned; after a 401 once more."""
        if _AUTHORIZATION in request.headers or not self._is_pinned(request):
            yield request
            return
        token = await self._source.get_token()
        with _Authorized(request, token) as sent:
            sent.response = response = yield request
            last = response.request
            # The response may be that of another host, to which httpx has followed a redirect.
            refused = (
                response.status_code == 401
                and self._is_pinned(last)
                and last.headers.get(_AUTHORIZATION) == token.authorization
            )
        other = await self._renew(response, token) if refused else None
        if other is None:
            return
        # Only the last request of a redirect is sent again, because the others were carried out.
        with _Authorized(last, other) as sent:
            sent.response = yield last

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:  # noqa: ARG002 (the library's signature)
        """Refuse a synchronous client.

        Raises:
            ConfigurationError: always, before the request is sent.

        """
        _refuse_client()

    auth_flow = sync_auth_flow

    def _is_pinned(self, request: Any) -> bool:
        url = request.url
        return self._source.pins.allows(url.scheme, url.raw_host.decode("ascii"), url.port)

    async def _renew(self, response: Any, token: AccessToken) -> AccessToken | None:
        """Return the token for a second request; None if the caller receives the response."""
        # The response keeps its body, for a caller that receives it.
        body = await response.aread() if is_short(response.headers) else b""
        refusal = read_refusal(response.headers, body)
        if refusal is None:
            return None
        repeatable = can_repeat(response.request.stream)
        return await self._source.renew(token, refusal, repeatable=repeatable)

    def __repr__(self) -> str:
        return f"<Bearer auth of {self._source!r}>"


class _Authorized:
    """A context in which a request has a token.

    The token is then removed from every request of its redirects, because a request that is sent
    again would keep an old token.
    """

    def __init__(self, request: Any, token: AccessToken) -> None:
        self.request = request
        self.response: Any = None
        self.token = token

    def __enter__(self) -> Self:
        self.request.headers[_AUTHORIZATION] = self.token.authorization
        return self

    def __exit__(self, *_: object) -> None:
        requests = [self.request]
        if self.response is not None:
            requests += [each.request for each in (*self.response.history, self.response)]
            requests.append(self.response.next_request)
        for request in requests:
            if request is not None:
                request.headers.pop(_AUTHORIZATION, None)


def _find_auths() -> tuple[type, ...]:
    """Return the `Auth` classes of the imported libraries; import one if there is none.

    Raises:
        ConfigurationError: neither library is installed.

    """
    imported = [sys.modules[name] for name in LIBRARIES if name in sys.modules]
    modules = imported or [_import_library()]
    # httpx2 can be imported under the name of httpx.
    return tuple(dict.fromkeys(module.Auth for module in modules))


def _import_library() -> ModuleType:
    for name in LIBRARIES:
        with suppress(ImportError):
            return import_module(name)
    msg = "neither httpx2 nor httpx is installed"
    raise ConfigurationError(msg, help="Install the one that your client comes from")


@functools.lru_cache(maxsize=16)
def _derive(cls: Any, auths: tuple[type, ...]) -> Any:
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    bases = (cls, *(auth for auth in auths if not issubclass(cls, auth)))
    return type(cls.__name__, bases, names)


def _refuse_upgrades(pins: HostPins) -> None:
    """Raise an error for a host that httpx may redirect to an unlisted port, with the token."""
    for scheme, host, port in pins.origins:
        if (scheme, port) == ("http", 80) and not pins.allows("https", host, 443):
            msg = f"hosts= has http://{host}, but not https://{host}"
            raise ConfigurationError(
                msg, help="httpx keeps the token in a redirect from port 80 to 443: list both"
            )


def _refuse_client() -> NoReturn:
    msg = "this client is synchronous, and Bearer gets its tokens asynchronously"
    raise ConfigurationError(msg, help="Nothing was sent. Use an AsyncClient")
