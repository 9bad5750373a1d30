"""`ArmSession`: the public interface to Azure Resource Manager."""

from __future__ import annotations

import os
import ssl as ssl_module
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

import aiohttp

from aiomsi._arm.call import AsyncCredential, OwnCredential, ProviderSupport
from aiomsi._arm.connection import Connection, build_user_agent
from aiomsi._arm.protocol.request import Options, check_headers
from aiomsi._arm.protocol.retry import ArmRetry, RetryRule, get_budget
from aiomsi._arm.sender import Sender
from aiomsi._arm.verbs import Params, Verbs
from aiomsi._clock import Clock
from aiomsi._clouds import PUBLIC, Cloud, choose_cloud
from aiomsi._errors import ConfigurationError
from aiomsi._util.argument_checks import check_type, choose_clock
from aiomsi._util.lazy import late_import
from aiomsi._util.secret import MaskedMapping

if TYPE_CHECKING:
    from aiomsi._arm.pager import Items
    from aiomsi._arm.protocol.attempts import ArmAttempt
    from aiomsi._arm.protocol.bulk.outcomes import Outcome, Request
    from aiomsi._arm.protocol.pacing.session_stats import ArmStats

_MOST_AUXILIARY = 3
_OPERATIONS = ("reads", "writes", "deletes")


class ArmSession(Verbs):
    """Calls to Azure Resource Manager: any number at once, all with one token, fetched once.

    Use it as an asynchronous context manager, or call `close`. It may be created outside of a
    running event loop, and belongs to the loop in which it is first used. Every call may raise the
    errors that `get` lists.

    Args:
        credential: any credential with the Azure SDK's async protocol, which the session does not
            close. By default the host's default managed identity, mostly the system-assigned one.
            A credential of another library is wrapped as by `SharedCredential`: all calls share
            one token request, and its errors become `CredentialError`.
        cloud: the cloud whose ARM to call; `AIOMSI_RESOURCE_MANAGER` names another endpoint, on
            loopback only.
        http: an aiohttp session to use, which the ArmSession does not close. Its connector, limits
            and cookies apply, and it must belong to the loop in which the ArmSession is used. Its
            default headers must not frame or route a request (`Host` and the like).
        ssl: a TLS context for ARM; by default one that verifies certificates, by the authorities of
            the system and of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
        user_agent: your application's part of the `User-Agent` header, which comes first.
        retry: decides whether and when a call is repeated; any function of an `ArmAttempt`. None
            repeats no call. Calls wait for a free connection as long as its `total_budget` lasts,
            or for 180 s if it has none.
        auto_register: whether to register a subscription for a provider's namespace when ARM
            demands it, wait, and repeat the call.
        auxiliary: credentials of up to three further tenants, for calls that span tenants.
        pacing: whether calls wait for the limits of ARM and its resource providers, as far as the
            responses show them. With False they wait only for a free connection.
        rate: the most requests per second that this session sends, by class of operation:
            ``{"reads": 20}``, ``"writes"`` and ``"deletes"``. It leaves the rest of ARM's limits to
            other clients, and holds with ``pacing=False``, too.
        correlation_id: groups this session's calls in Azure's logs; by default a new GUID.
        clock: the source of time, for tests.

    Raises:
        ConfigurationError: the arguments contradict each other, one has a wrong type, or the
            environment names a foreign endpoint.

    """

    def __init__(
        self,
        credential: AsyncCredential | None = None,
        *,
        cloud: Cloud = PUBLIC,
        http: aiohttp.ClientSession | None = None,
        ssl: ssl_module.SSLContext | None = None,
        user_agent: str | None = None,
        retry: RetryRule | None = ArmRetry(),  # noqa: B008 (a frozen value)
        auto_register: bool = False,
        auxiliary: Sequence[AsyncCredential] = (),
        pacing: bool = True,
        rate: Mapping[str, float] | None = None,
        correlation_id: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        if http is not None and ssl is not None:
            msg = "ssl= has no effect on a session that is given with http="
            raise ConfigurationError(
                msg, help="Give the aiohttp session a connector with that TLS context"
            )
        for name, value, kind in (
            ("http", http, aiohttp.ClientSession),
            ("ssl", ssl, ssl_module.SSLContext),
            ("user_agent", user_agent, str),
        ):
            if value is not None:
                check_type(name, value, kind)
        check_type("cloud", cloud, Cloud)
        check_type("auto_register", auto_register, bool)
        check_type("pacing", pacing, bool)
        check_type("auxiliary", auxiliary, Sequence)
        _check_rule(retry)
        if len(auxiliary) > _MOST_AUXILIARY:
            msg = f"ARM takes tokens of at most {_MOST_AUXILIARY} further tenants"
            raise ConfigurationError(msg)
        time = choose_clock(clock)
        rule = _refuse_repetition if retry is None else retry
        self._connection = Connection(
            cloud=choose_cloud(cloud, MaskedMapping(os.environ)),
            given_credentials=(
                _make_credential(clock) if credential is None else credential,
                *auxiliary,
            ),
            wrap_credential=partial(_wrap, time),
            owns_credential=credential is None,
            budget=get_budget(rule),
            clock=time,
            user_agent=f"{user_agent} {build_user_agent()}" if user_agent else build_user_agent(),
            pacing=pacing,
            rates=_check_rate(rate),
            user_session=http,
            ssl=ssl,
        )
        self._sender = Sender(
            self._connection, rule, partial(_make_providers, auto_register=auto_register)
        )
        self.correlation_id = str(uuid.uuid4()) if correlation_id is None else correlation_id
        check_headers({"User-Agent": self._connection.user_agent})

    @property
    def cloud(self) -> Cloud:
        """The cloud, with the endpoint in use."""
        return self._connection.cloud

    @property
    def correlation_id(self) -> str:
        """The `x-ms-correlation-request-id` of every call; may be set between calls."""
        return self._connection.correlation_id

    @correlation_id.setter
    def correlation_id(self, value: str) -> None:
        check_headers({"x-ms-correlation-request-id": value})
        self._connection.correlation_id = value

    def stats(self) -> ArmStats:
        """Return the state of the session's queue, and of each limit that it knows.

        It is a value that later calls do not change.
        """
        with late_import:
            from aiomsi._arm.protocol.pacing.session_stats import ArmStats

        # Absent before the first call.
        queue = getattr(self._connection, "queue", None)
        return ArmStats() if queue is None else queue.get_stats()

    # Lists

    def list(
        self,
        path: str,
        *,
        api_version: str | None = None,
        params: Params | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        item_name: str = "value",
        next_link_name: str | None = None,
        next_method: str = "GET",
        prefetch: bool = True,
    ) -> AsyncGenerator[Any, None]:
        """Yield every item of a list, of every page; arguments and errors as for `pages`."""
        options = Options(api_version, params, json, headers=headers, timeout=timeout, lists=True)
        del params, json, headers
        with late_import:
            from aiomsi._arm.pager import iter_items
        return iter_items(
            self._pages(path, options, item_name, next_link_name, next_method, prefetch=prefetch)
        )

    def pages(
        self,
        path: str,
        *,
        api_version: str | None = None,
        params: Params | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        item_name: str = "value",
        next_link_name: str | None = None,
        next_method: str = "GET",
        prefetch: bool = True,
    ) -> AsyncGenerator[Items, None]:
        """Yield the items of a list, a page at a time; a page may be empty.

        Memory holds the current page and the next one, which is prefetched and not yet decoded.

        Args:
            path: as for `get`.
            api_version: as for `get`.
            params: as for `get`.
            json: a body, with which the first page is requested by POST.
            headers: as for `get`; for the first page.
            timeout: as for `get`; for each page.
            item_name: the response's member with the items.
            next_link_name: the response's member with the link to the next page; by default the
                usual names.
            next_method: ``"POST"`` requests further pages by POST as well, with the same body.
                Most services expect a GET for them, even if the first page needs a POST.
            prefetch: False fetches a page only when the iteration reaches it.

        Raises:
            ForeignHostError: the next page is not on the cloud's ARM; raised after the items of
                the page before.
            ServiceError: a response is not a page, not even an empty one, or links back to an
                earlier page.

        """
        options = Options(api_version, params, json, headers=headers, timeout=timeout, lists=True)
        del params, json, headers
        return self._pages(path, options, item_name, next_link_name, next_method, prefetch=prefetch)

    def query(
        self,
        kql: str,
        *,
        subscriptions: Iterable[str] | None = None,
        management_groups: Iterable[str] | None = None,
        options: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        prefetch: bool = True,
    ) -> AsyncGenerator[Any, None]:
        """Yield every row of an Azure Resource Graph query, of every page.

        Args:
            kql: the query, for example ``"Resources | project id, name, location"``. The pages of
                an unsorted query may repeat rows and miss others. Therefore a query that has only
                ``where``, ``extend`` and ``project``, and whose rows have the ``id``, is sorted by
                ``id``. Resource Graph does not page a query with ``limit``, ``take``, ``sample`` or
                ``top``: stop reading instead.
            subscriptions: the ids of any number of subscriptions to search. Without any scope, the
                query covers all subscriptions that the identity can read.
            management_groups: the names of management groups to search.
            options: further members of the request's ``options``, such as
                ``authorizationScopeFilter``.
            timeout: as for `get`; for each page, including the wait for a quota before it.
            prefetch: as for `pages`.

        Raises:
            ConfigurationError: both kinds of scope are given, or one name instead of several, or an
                argument has a wrong type.
            ThrottledError: the quota is used up for longer than a call may last; raised after the
                received rows.
            ServiceError: the service withheld rows without a way to get them; raised after the
                received rows.

        Source:
            https://learn.microsoft.com/rest/api/azureresourcegraph/resourcegraph/resources/resources

        """
        with late_import:
            from aiomsi._arm.pager import iter_items
            from aiomsi._arm.resource_graph import iter_rows, split_query

        bodies = split_query(kql, subscriptions, management_groups, options)
        return iter_items(iter_rows(self._sender, bodies, timeout, prefetch=prefetch))

    # Many requests

    def fan_out(
        self,
        requests: Iterable[Request | str] | AsyncIterable[Request | str],
        *,
        limit: int = 16_384,
        ordered: bool = False,
        on_error: Literal["collect", "raise", "skip-scope"] = "collect",
        max_bytes: int = 67_108_864,
        api_version: str | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """Send many requests at once, and yield the outcome of each one as it ends.

        The iterable is read lazily and may be endless. A request that waits for the limits of one
        subscription holds back no other subscription as long as fewer than `limit` requests are
        taken, so it is best if the requests of several subscriptions alternate. If a throttled
        subscription has more requests than it accepts, those that wait fill `limit` in the end, and
        then all others are sent at its pace: pass a larger `limit`, or send the requests of that
        subscription by another `fan_out`. The iterable is closed at the end, and all tasks end with
        the generator: use `contextlib.aclosing` if you leave the loop early.

        Args:
            requests: `aiomsi.Request` values, or paths as text for GETs; any iterable or
                asynchronous iterable.
            limit: the largest number of requests taken from `requests` and not yet yielded as
                outcomes. If the consumer is slow, as many are sent before it has their outcomes:
                pass a small number for writes.
            ordered: yield the outcomes in the order of the requests, with the same `limit`. An
                error to raise is raised after the outcomes of earlier requests.
            on_error: ``"collect"`` yields errors as outcomes. ``"raise"`` raises the first one.
                ``"skip-scope"`` yields them, too. After an error that applies to a subscription or
                management group as a whole, unsent requests of the same kind in it are not sent:
                their outcomes have that error, and `skipped` is true. The same kind means the same
                method and the same path except for names. ``AuthorizationFailed`` is such an error,
                so do not use it for an identity that has roles on single resource groups only.
            max_bytes: the budget, in bytes, for answers that are under way or not yet yielded. The
                size of an answer is estimated from earlier answers; if these are large, fewer calls
                are under way.
            api_version: the api-version of the paths that are passed as text. That of a `Request`
                without one is looked up.

        Raises:
            ConfigurationError: an argument is wrong, or the iterable yields another type; raised
                after the outcomes of earlier requests.
            UsageError: the session, or the aiohttp session in `http`, was closed; raised after the
                outcomes of earlier requests.
            Exception: the iterable raised it; raised after the outcomes of earlier requests.

        """
        with late_import:
            from aiomsi._arm.fan_out import iter_outcomes
            from aiomsi._arm.protocol.bulk.fan_out_options import FanOutOptions

        options = FanOutOptions(limit, on_error, max_bytes, api_version, ordered)
        return iter_outcomes(self._sender, self._make_call, requests, options)

    def fan_out_list(
        self,
        requests: Iterable[Request | str] | AsyncIterable[Request | str],
        *,
        limit: int = 16_384,
        on_error: Literal["collect", "raise", "skip-scope"] = "collect",
        max_bytes: int = 67_108_864,
        api_version: str | None = None,
        item_name: str = "value",
        next_link_name: str | None = None,
        next_method: str = "GET",
    ) -> AsyncGenerator[tuple[Request, Items | Outcome], None]:
        """Read many lists at once; yield each page with its request, and each list's outcome.

        The second member of a pair is a list of items, or, after the last page, an
        `aiomsi.Outcome`. Its `items` is the number of items yielded, and its `error` is not
        None if the list could not be read to its end. The pages of one list are in order. The next
        page is requested when the previous one is yielded, so memory holds one page of each list
        at most.

        Args:
            requests: as for `fan_out`; requests are GETs or POSTs. The `headers` of a request are
                sent for the first page only.
            limit: the largest number of lists under way. As for `fan_out`, those of a throttled
                subscription fill it in the end.
            on_error: as for `fan_out`.
            max_bytes: as for `fan_out`.
            api_version: as for `fan_out`.
            item_name: as for `pages`.
            next_link_name: as for `pages`.
            next_method: as for `pages`; with ``"POST"`` every request is a POST with ``json=``.

        Raises:
            ConfigurationError: as for `fan_out`.
            UsageError: as for `fan_out`.
            Exception: as for `fan_out`.

        """
        with late_import:
            from aiomsi._arm.fan_out import iter_lists
            from aiomsi._arm.protocol.bulk.fan_out_options import FanOutOptions, ListNames

        _check_names(item_name, next_link_name)
        _check_next_method(next_method)
        names = ListNames(item_name, next_link_name, next_method)
        options = FanOutOptions(limit, on_error, max_bytes, api_version, list_names=names)
        return iter_lists(self._sender, self._make_call, requests, options)

    def _pages(
        self,
        path: str,
        options: Options,
        item_name: str,
        next_link_name: str | None,
        next_method: str,
        *,
        prefetch: bool,
    ) -> AsyncGenerator[Items, None]:
        with late_import:
            from aiomsi._arm.pager import ListOptions, iter_list

        method = "GET" if options.json is None else "POST"
        _check_names(item_name, next_link_name)
        _check_next_method(next_method)
        if next_method == "POST" and options.json is None:
            msg = "next_method='POST' repeats the first request's body, but json= is missing"
            raise ConfigurationError(
                msg, help="Pass json={} for a service that takes no parameters"
            )
        list_options = ListOptions(
            item_name, next_link_name, options.timeout, prefetch, next_method
        )
        return iter_list(self._sender, lambda: self._make_call(method, path, options), list_options)

    # Opening and closing

    async def close(self) -> None:
        """Close the session's connections and its own credential; closing twice is harmless.

        A closed session can't be used any more. Calls that wait for a token, a connection, a
        repetition or a poll end at once with a `UsageError`. A write that may have been sent ends
        with an `ArmConnectionError`, because ARM may carry it out.
        """
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        connection = self._connection
        state = (
            "closed"
            if connection.closed
            else "open"
            if connection.http is not None
            else "not yet used"
        )
        credential = _show_credential(connection.given_credentials[0])
        return f"<ArmSession {connection.cloud.resource_manager}, {state}, credential={credential}>"

    def __reduce__(self) -> NoReturn:
        msg = (
            "an ArmSession has the connections of one process and can't be copied or pickled: "
            "pickle its credential, and open a session in the other process"
        )
        raise TypeError(msg)


def _show_credential(credential: object) -> str:
    # The repr of another library's credential may show its secret, and a string may be a token.
    own = type(credential).__module__.partition(".")[0] == "aiomsi"
    return repr(credential) if own else type(credential).__qualname__


def _check_names(item_name: object, next_link_name: object) -> None:
    names = {"item_name": item_name, "next_link_name": next_link_name or "nextLink"}
    for argument, name in names.items():
        if not isinstance(name, str) or not name:
            msg = f"{argument}= is the name of a member, and not {name!r}"
            raise ConfigurationError(msg)


def _check_next_method(next_method: object) -> None:
    if next_method not in ("GET", "POST"):
        msg = f"next_method= is 'GET' or 'POST', and not {next_method!r}"
        raise ConfigurationError(msg)


def _check_rule(retry: object) -> None:
    if retry is not None and not callable(retry):
        msg = f"retry= takes a function of an ArmAttempt, not {type(retry).__name__}"
        raise ConfigurationError(msg, help="Pass for example ArmRetry(total_budget=60)")


def _check_rate(rate: object) -> Mapping[str, float]:
    if rate is None:
        return {}
    if not isinstance(rate, Mapping):
        msg = f"rate= takes a mapping, and not {rate!r}"
        raise ConfigurationError(msg, help="Pass for example rate={'reads': 20}")
    for name, value in rate.items():
        if name not in _OPERATIONS:
            msg = f"rate= has the key {name!r}, which is none of {', '.join(_OPERATIONS)}"
            raise ConfigurationError(msg)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 < value <= sys.float_info.max
        ):
            msg = f"rate= takes requests per second, more than 0, and not {value!r}"
            raise ConfigurationError(msg)
    return {name: float(value) for name, value in rate.items()}


def _refuse_repetition(attempt: ArmAttempt) -> None:
    """Repeat no call."""


def _make_providers(sender: Sender, *, auto_register: bool) -> ProviderSupport:
    with late_import:
        from aiomsi._arm.providers import Providers

    return Providers(sender, auto_register=auto_register)


def _make_credential(clock: Clock | None) -> OwnCredential:
    with late_import:
        from aiomsi._credentials.managed_identity import ManagedIdentityCredential

    return ManagedIdentityCredential(clock=clock)


def _wrap(clock: Clock, credential: AsyncCredential) -> OwnCredential:
    """Return an `OwnCredential`, through which all calls share a foreign credential's tokens."""
    with late_import:
        from aiomsi._credentials.shared import SessionCredential
        from aiomsi._credentials.slot_credential import SlotCredential

    if isinstance(credential, SlotCredential) and not credential.is_overridden:
        return credential
    return SessionCredential(credential, clock)
