"""Resource providers: which api-version a type has, and registering a subscription for a namespace. Once, for all callers.

Source: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-providers-and-types
"""

from __future__ import annotations

import re
from typing import Any

from aiomsi._errors import ApiVersionError, ArmError, ConfigurationError, RegistrationRequiredError
from aiomsi.arm._call import Call
from aiomsi.arm._joined import Joined
from aiomsi.arm._links import path_of
from aiomsi.arm._requests import Options, build_url
from aiomsi.arm._versions import ResourceType, choose_version, versions_for
from aiomsi.arm._wire import Wire

_API_VERSION = "2021-04-01"
_SUBSCRIPTION = re.compile(r"/subscriptions/([^/]+)", re.IGNORECASE)
_VERSION = re.compile(r"(?<=[?&])api-version=([^&]*)", re.IGNORECASE)
_PAUSE, _LONGEST_PAUSE = 1.0, 10.0
_REGISTRATION = 600.0
"""Seconds to wait for a registration; it mostly takes one minute or two."""


class Providers:
    """What a session knows of resource providers, and does about them.

    Args:
        wire: the session's.
        auto_register: whether subscriptions are registered where ARM asks for it.

    """

    def __init__(self, wire: Wire, *, auto_register: bool) -> None:
        self._wire = wire
        self._auto_register = auto_register
        # By namespace: the versions of a type are the same in all subscriptions.
        self._documents: Joined[Any] = Joined(wire, "provider", keeps=True)
        self._registrations: Joined[bool] = Joined(wire, "registration", keeps=False)
        # By type; documents list versions that are not served everywhere yet.
        self._refused: dict[ResourceType, set[str]] = {}

    async def complete(self, call: Call, kind: ResourceType) -> None:
        """Look up the api-version that a call lacks: the newest stable one of its type that was not refused yet.

        Raises:
            ConfigurationError: the type's provider does not know it.
            ArmError: the provider's document can't be read.

        """
        version = choose_version(await self._versions(call, kind), failed=self._refused.get(kind, ()))
        if version is None:
            msg = f"the provider {kind.namespace} has no api-version for the type {kind.type!r}"
            raise ConfigurationError(msg, help="Check the type's spelling, or pass api_version=")
        call.url, call.lacks_version = _with_version(call.url, version), False

    async def mend(self, call: Call, error: ArmError) -> bool:
        """Register the subscription, or take another version than the one that was looked up; tell whether that was done."""
        if isinstance(error, RegistrationRequiredError) and self._auto_register:
            return await self._registered(call, error)
        if isinstance(error, ApiVersionError) and call.kind is not None:
            return await self._other_version(call, call.kind, error)
        return False

    async def _versions(self, call: Call, kind: ResourceType) -> tuple[str, ...]:
        """Give all versions of a type, best first, as the provider tells the call's subscription."""
        found = _SUBSCRIPTION.match(path_of(call.url))
        path = f"{found[0] if found else ''}/providers/{kind.namespace}"
        document = await self._documents.get(kind.namespace.casefold(), lambda: self._ask("GET", path))
        return versions_for(document, kind)

    async def _other_version(self, call: Call, kind: ResourceType, error: ApiVersionError) -> bool:
        (asked,) = _VERSION.findall(call.url)
        if asked in error.supported:
            # So services answer now and then, while they are changed; the same call does better later.
            return False
        refused = self._refused.setdefault(kind, set())
        refused.add(asked)
        version = choose_version(error.supported or await self._versions(call, kind), failed=refused)
        if version is None:
            return False
        call.url = _with_version(call.url, version)
        return True

    async def _registered(self, call: Call, error: RegistrationRequiredError) -> bool:
        found = _SUBSCRIPTION.match(path_of(call.url))
        if found is None or error.namespace is None:
            return False
        path = f"{found[0]}/providers/{error.namespace}"
        registered = await self._registrations.get(path.casefold(), lambda: self._register(path))
        # ARM answers a request id that it knows with the old error.
        call.renew_id()
        return registered

    async def _register(self, path: str) -> bool:
        """Register, and wait until that has been done; False if it takes too long."""
        clock, pause = self._wire.clock, _PAUSE
        until = clock.monotonic() + _REGISTRATION
        document = await self._ask("POST", f"{path}/register")
        while _state(document) != "registered":
            if clock.monotonic() + pause > until:
                return False
            await clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            document = await self._ask("GET", path)
        return True

    async def _ask(self, method: str, path: str) -> Any:
        url = build_url(self._wire.cloud, method, path, Options(api_version=_API_VERSION))
        return (await self._wire.send(self._wire.prepare(method, url))).json()


def _with_version(url: str, version: str) -> str:
    return _VERSION.sub(f"api-version={version}", url)


def _state(document: object) -> str:
    state = document.get("registrationState") if isinstance(document, dict) else None
    return state.lower() if isinstance(state, str) else ""
