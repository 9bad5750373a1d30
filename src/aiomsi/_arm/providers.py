"""Resource providers: the api-versions of a type, and the registration of a subscription.

All callers of a session share each look-up and each registration.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/management/resource-providers-and-types
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import re
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

from aiomsi import _tracing
from aiomsi._arm.call import Call
from aiomsi._arm.connection import Connection, make_closed_error
from aiomsi._arm.protocol.api_versions import ResourceType, choose_version, find_versions
from aiomsi._arm.protocol.request import Options, build_url
from aiomsi._arm.protocol.resource_ids import read_path
from aiomsi._arm.sender import Sender
from aiomsi._errors import (
    AiomsiError,
    ApiVersionError,
    ArmConnectionError,
    ArmError,
    ConfigurationError,
    RegistrationRequiredError,
)
from aiomsi._util.tasks import create_empty_context

_API_VERSION = "2021-04-01"
_VERSION = re.compile(r"(?<=[?&])api-version=([^&]*)", re.IGNORECASE)
_PAUSE, _LONGEST_PAUSE = 1.0, 10.0
"""Seconds between two requests about a registration: the first pause, and the longest."""
_MAX_REGISTRATION = 600.0
"""Seconds to wait for a registration, which mostly takes one or two minutes."""
_MAX_LAG = 60.0
"""Seconds for which ARM may deny a registration that its provider has confirmed."""
_MAX_FIXES = 3
"""Registrations and other api-versions per call."""
_MAX_LEADER_WAIT = 2.0
"""Seconds of real time for which a call waits for another subscription's look-up, which may be
throttled."""
_MAX_REGISTRATION_REQUESTS = 3

T = TypeVar("T")


class Providers:
    """The `ProviderSupport` of a session, with its cache of provider documents.

    Args:
        sender: sends the look-ups and registrations.
        auto_register: whether a subscription is registered when ARM demands it.

    """

    def __init__(self, sender: Sender, *, auto_register: bool) -> None:
        self._sender, self._connection = sender, sender.connection
        self._auto_register = auto_register
        # By namespace and path. One subscription's document is enough for all, because they list
        # the same versions, but a subscription may be unreadable.
        self._documents: dict[str, dict[str, Any]] = {}
        self._lookups: SharedCalls[Any] = SharedCalls(sender.connection, "provider")
        # By namespace: the path of the look-up under way for all subscriptions.
        self._leading: dict[str, str] = {}
        self._registrations: SharedCalls[bool] = SharedCalls(sender.connection, "registration")
        # By path: the time until which a part of ARM may not know a registration yet.
        self._lagging: dict[str, float] = {}
        # By subscription and type: listed versions that ARM refused, because they are not served
        # everywhere yet.
        self._refused: dict[tuple[str, ResourceType], set[str]] = {}

    async def resolve_api_version(self, call: Call, kind: ResourceType) -> None:
        """Set the call's api-version.

        It is the newest stable version of the type among those that were never refused. If all
        were, it is the newest one that was not refused in this subscription, or else the newest.

        Raises:
            ConfigurationError: the provider does not list the type.
            ArmError: the provider's document can't be read.

        """
        versions = await self._list_versions(call, kind)
        anywhere = set[str]().union(
            *(refused for (_, other), refused in self._refused.items() if other == kind)
        )
        here = self._refused.get(_get_scope(call, kind), set())
        version = (
            choose_version(versions, failed=anywhere)
            or choose_version(versions, failed=here)
            or choose_version(versions)
        )
        if version is None:
            msg = f"the provider {kind.namespace} has no api-version for the type {kind.type!r}"
            raise ConfigurationError(msg, help="Check the type's spelling, or pass api_version=")
        call.url, call.lacks_version = _set_version(call.url, version), False

    async def fix(self, call: Call, error: ArmError) -> bool:
        """Register the subscription, or replace the api-version that was looked up.

        Return whether either was done.
        """
        if isinstance(error, RegistrationRequiredError) and self._auto_register:
            return await self._ensure_registered(call, error)
        if isinstance(error, ApiVersionError) and call.kind is not None:
            return await self._replace_version(call, call.kind, error)
        return False

    async def _list_versions(self, call: Call, kind: ResourceType) -> tuple[str, ...]:
        """Return all versions of a type, best first, as any readable subscription lists them."""
        key = kind.namespace.casefold()
        path = f"{_find_subscription(call)}/providers/{kind.namespace}"
        known = self._documents.setdefault(key, {})
        if not known:
            await self._read_any(key, path)
        for document in known.values():
            if versions := find_versions(document, kind):
                return versions
        # Only some subscriptions list the types in preview.
        return () if path.casefold() in known else find_versions(await self._read(key, path), kind)

    async def _read_any(self, key: str, path: str) -> None:
        """Read a provider's document once for the calls of all subscriptions.

        If another subscription's look-up fails or takes long, the document is read in the call's
        subscription, because the cause may lie in the other one.
        """
        leader = self._leading.setdefault(key, path)
        if leader.casefold() != path.casefold():
            with contextlib.suppress(AiomsiError, TimeoutError):
                async with asyncio.timeout(_MAX_LEADER_WAIT):
                    await self._read(key, leader)
        if not self._documents[key]:
            await self._read(key, path)

    async def _read(self, key: str, path: str) -> Any:
        return await self._lookups.get(path.casefold(), lambda: self._look_up(key, path))

    async def _look_up(self, key: str, path: str) -> Any:
        try:
            document = await self._request("GET", path)
        finally:
            if self._leading.get(key) == path:
                del self._leading[key]
        self._documents[key][path.casefold()] = document
        return document

    async def _replace_version(
        self, call: Call, kind: ResourceType, error: ApiVersionError
    ) -> bool:
        (requested,) = _VERSION.findall(call.url)
        if requested in error.supported:
            # The service lists the version that it refuses, which happens while the service is
            # being deployed. The retry rule repeats the call.
            return False
        refused = self._refused.setdefault(_get_scope(call, kind), set())
        refused.add(requested)
        if call.fixes >= _MAX_FIXES:
            return False
        version = choose_version(
            error.supported or await self._list_versions(call, kind), failed=refused
        )
        if version is None:
            return False
        call.url, call.fixes = _set_version(call.url, version), call.fixes + 1
        return True

    async def _ensure_registered(self, call: Call, error: RegistrationRequiredError) -> bool:
        """Register the subscription, or wait until ARM knows that; return whether to repeat."""
        subscription = _find_subscription(call)
        if not subscription or error.namespace is None:
            return False
        path = f"{subscription}/providers/{error.namespace}"
        key, now = path.casefold(), self._connection.clock.monotonic()
        until = call.registered.get(key) or self._lagging.get(key, now)
        if now < until:
            call.registered = {**call.registered, key: until}
            # Each pause lasts as long as the time since the registration, so that pauses double.
            age = now - (until - _MAX_LAG)
            pause = min(max(age, _PAUSE), _LONGEST_PAUSE)
            await self._connection.pause(min(pause, until - now))
        elif key in call.registered:
            error.add_note(
                f"The subscription is registered, but ARM did not see that within {_MAX_LAG:.0f} s"
            )
            return False
        elif call.fixes >= _MAX_FIXES or not await self._registrations.get(
            key, lambda: self._register(path)
        ):
            return False
        else:
            call.fixes += 1
            call.registered = {**call.registered, key: self._lagging[key]}
        # ARM repeats its old response to a request id that it knows.
        call.renew_id()
        return True

    async def _register(self, path: str) -> bool:
        """Register, and wait for the end; return False if that takes too long."""
        clock, pause = self._connection.clock, _PAUSE
        until = clock.monotonic() + _MAX_REGISTRATION
        document = await self._begin_registration(f"{path}/register")
        while _read_registration_state(document) != "registered":
            if clock.monotonic() + pause > until:
                return False
            await self._connection.pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            document = await self._request("GET", path)
        self._lagging[path.casefold()] = clock.monotonic() + _MAX_LAG
        return True

    async def _begin_registration(self, path: str) -> Any:
        """Send the POST, and return the provider's document."""
        for _ in range(_MAX_REGISTRATION_REQUESTS - 1):
            try:
                return await self._request("POST", path)
            except (ArmConnectionError, ArmError) as error:
                # Unlike other POSTs, a registration may be carried out twice.
                if not error.uncertain:
                    raise
            await self._connection.pause(_PAUSE)
        return await self._request("POST", path)

    async def _request(self, method: str, path: str) -> Any:
        url = build_url(self._connection.cloud, method, path, Options(api_version=_API_VERSION))
        return (await self._sender.send(self._connection.prepare(method, url))).json()


class SharedCalls(Generic[T]):
    """Work by key, each shared by all callers that come while it is under way.

    If a caller is cancelled, the work continues. If the work fails, every caller raises its error.

    Args:
        connection: starts the tasks, and cancels them when the session is closed.
        name: the name of the tasks.

    """

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._tasks: dict[Hashable, asyncio.Task[T]] = {}

    async def get(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of the work under way for a key; start it if there was none.

        Raises:
            Exception: a copy of the work's exception, for each caller a separate one.
            UsageError: the session was closed.

        """
        task = self._tasks.get(key)
        if task is None:
            tracer, links = _tracing.tracer, list[Any]()
            if tracer is None:
                shared = work()
            else:
                tracer.add_link(links)
                shared = tracer.trace_shared(f"aiomsi.{self._name}", work, links)
            # The first caller's context variables do not apply to the other callers.
            task = self._connection.start(shared, f"{self._name} {key}", create_empty_context())
            self._tasks[key] = task
            task.add_done_callback(partial(self._on_done, key))
        await asyncio.wait([task])
        if task.cancelled():
            raise make_closed_error(ours=True)
        error = task.exception()
        if error is not None:
            raise copy.copy(error)
        return task.result()

    def _on_done(self, key: Hashable, _: asyncio.Task[T]) -> None:
        del self._tasks[key]


def _find_subscription(call: Call) -> str:
    """Return the subscription's part of the call's path; empty outside of subscriptions."""
    subscription = read_path(call.url).subscription_id
    return "" if subscription is None else f"/subscriptions/{subscription}"


def _get_scope(call: Call, kind: ResourceType) -> tuple[str, ResourceType]:
    return _find_subscription(call).casefold(), kind


def _set_version(url: str, version: str) -> str:
    return _VERSION.sub(f"api-version={version}", url)


def _read_registration_state(document: object) -> str:
    state = document.get("registrationState") if isinstance(document, dict) else None
    return state.lower() if isinstance(state, str) else ""
