"""The verbs of a session: calls that are one request, or one long-running operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from aiomsi._arm.call import Call
from aiomsi._arm.connection import Connection
from aiomsi._arm.protocol.request import Options, build_url, check_seconds, has_version
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.sender import Sender
from aiomsi._errors import ConfigurationError
from aiomsi._util.lazy import late_import

if TYPE_CHECKING:
    from aiomsi._arm.operation import Operation
    from aiomsi._arm.protocol.operations.state import FinalStateVia

    OnProgress: TypeAlias = Callable[[Operation], object]
else:
    # Who reads annotations at run time does not get to know a class that is imported late.
    OnProgress = Callable[..., object]

_UNKNOWN_VERSION = "0000-00-00"

Params: TypeAlias = Mapping[str, str | int | bool]


class Verbs:
    """What an `ArmSession` does with a single path; a class of its own because every verb spells its arguments out."""

    _connection: Connection
    _sender: Sender

    async def get(
        self,
        path: str,
        *,
        api_version: str | None = None,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        if_none_match: str | None = None,
    ) -> Any:
        """GET a path and give the decoded JSON, or None for an empty body, as that of a 304 is.

        Args:
            path: begins with a slash and may have a query; or a full URL of this cloud's ARM.
            api_version: ``YYYY-MM-DD`` or ``YYYY-MM-DD-preview``. Without it, and without one in
                the path, the newest stable one
                of the resource type is looked up, once.
            params: further query parameters, not yet encoded: text, integers or booleans. A list, a
                date or the like is to be written in the service's own form first.
            headers: further headers.
            timeout: seconds for the whole call, repetitions included. Without it a request may take
                10 s to connect and be silent
                for 150 s; with it, it may be silent for as long as the call lasts.
            if_none_match: an entity tag, sent as it is.

        Raises:
            ConfigurationError: the call can't be sent as it is; nothing was sent.
            CredentialError: there is no token.
            ArmConnectionError: ARM gave no answer.
            ArmError: ARM answered with an error; the subclass says which.

        """
        options = Options(
            api_version, params, headers=headers, timeout=timeout, if_none_match=if_none_match
        )
        call = self._call("GET", path, options)
        # Error reporters show the locals of a frame, and a link that is read may be signed.
        del path, params
        return (await self._sender.send(call, timeout)).json()

    async def head(
        self,
        path: str,
        *,
        api_version: str | None = None,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Make sure that something is there; arguments as for `get`.

        Raises:
            NotFoundError: it is not.

        """
        await self.request(
            "HEAD", path, api_version=api_version, params=params, headers=headers, timeout=timeout
        )

    async def put(
        self,
        path: str,
        *,
        api_version: str | None = None,
        params: Params | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        deadline: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """Create or replace a resource, wait until that has been done, and give the resource.

        Args:
            path: as for `get`.
            api_version: as for `get`.
            params: as for `get`.
            json: a body to be sent as JSON.
            content: a body to be sent as it is; name its type in `headers`.
            headers: as for `get`; an ``x-ms-client-request-id`` among them goes with each question
                how it stands, too.
            timeout: as for `get`; for the call itself, and for each question how it stands.
            if_match: an entity tag, sent as it is; ``*`` is any.
            if_none_match: the same; ``*`` makes sure that nothing is replaced.
            deadline: as for `Operation.result`.
            on_progress: as for `Operation.result`.

        Raises:
            OperationFailedError: ARM accepted the call, and the operation failed later.
            OperationCanceledError: the same, and it was canceled.
            OperationUnfinishedError: it was not over by the deadline.
            OperationUnreadableError: its state can't be read; it may well go on.

        An error after ARM has accepted the call has the operation as its `operation`, to wait for
        it again or to save its state.

        """
        options = Options(
            api_version, params, json, content, headers, timeout, if_match, if_none_match
        )
        del json, content
        return await self._done("PUT", path, options, deadline, on_progress)

    async def patch(
        self,
        path: str,
        *,
        api_version: str | None = None,
        params: Params | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        if_match: str | None = None,
        deadline: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """Change a resource, wait until that has been done, and give the resource; arguments and errors as for `put`."""
        options = Options(api_version, params, json, content, headers, timeout, if_match)
        del json, content
        return await self._done("PATCH", path, options, deadline, on_progress)

    async def post(
        self,
        path: str,
        *,
        api_version: str | None = None,
        params: Params | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """Run an action, wait until that has been done, and give its result; arguments and errors as for `put`."""
        options = Options(api_version, params, json, content, headers, timeout)
        del json, content
        return await self._done("POST", path, options, deadline, on_progress)

    async def delete(
        self,
        path: str,
        *,
        api_version: str | None = None,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        if_match: str | None = None,
        deadline: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """Delete a resource and wait until it is gone; arguments and errors as for `put`."""
        options = Options(api_version, params, headers=headers, timeout=timeout, if_match=if_match)
        return await self._done("DELETE", path, options, deadline, on_progress)

    async def request(
        self,
        method: str,
        path: str,
        *,
        api_version: str | None = None,
        params: Params | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> ArmResponse:
        """Send any request and give the whole answer; a long-running operation is not followed.

        `method` is an HTTP verb in capitals; the other arguments, and the errors, are those of
        `put`.
        """
        options = Options(
            api_version, params, json, content, headers, timeout, if_match, if_none_match
        )
        del json, content
        call = self._call(method, path, options)
        del path, params
        response = await self._sender.send(call, timeout)
        if call.unsettled is not None:
            # Whose change this is can't be told before its end, and that is not waited for here.
            raise call.unsettled
        return response

    async def begin(
        self,
        method: str,
        path: str,
        *,
        api_version: str | None = None,
        params: Params | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        final_state_via: FinalStateVia | None = None,
    ) -> Operation:
        """Send a request that may take long, and give what it has begun; it may be over already.

        `final_state_via` is what Azure's API definitions call
        ``x-ms-long-running-operation-options``: where the result is, for services whose answers
        don't tell. The other arguments, and the errors, are those of `put`.
        """
        options = Options(
            api_version, params, json, content, headers, timeout, if_match, if_none_match
        )
        del json, content
        return await self._begin(method, path, options, final_state_via)

    async def resume(self, state: Mapping[str, Any]) -> Operation:
        """Go on with an operation whose `state` was saved, here or in another process. Sends nothing by itself.

        Raises:
            ConfigurationError: this is no such state.
            ForeignHostError: it is one of another cloud.

        """
        with late_import:
            from aiomsi._arm.operation import resumed

        return resumed(self._sender, state)

    # How a call is made. What a GET does not need is imported when it is needed.

    def _call(self, method: str, path: str, options: Options) -> Call:
        """Make a call. One that names no api-version goes with a placeholder, until it is sent."""
        if options.api_version is not None or has_version(path, options):
            return self._connection.prepare(
                method, build_url(self._connection.cloud, method, path, options), options
            )
        url = build_url(
            self._connection.cloud,
            method,
            path,
            attrs.evolve(options, api_version=_UNKNOWN_VERSION),
        )
        with late_import:
            from aiomsi._arm.protocol.api_versions import resource_type_of

        kind = resource_type_of(url)
        if kind is None:
            msg = (
                f"no resource type can be read from {path!r}, so its api-version can't be looked up"
            )
            raise ConfigurationError(msg, help="Pass api_version=")
        call = self._connection.prepare(method, url, options)
        call.kind, call.lacks_version = kind, True
        return call

    async def _begin(
        self, method: str, path: str, options: Options, via: FinalStateVia | None = None
    ) -> Operation:
        with late_import:
            from aiomsi._arm.operation import begun

        return await begun(self._sender, self._call(method, path, options), options, via)

    async def _done(
        self,
        method: str,
        path: str,
        options: Options,
        deadline: float | None,
        on_progress: OnProgress | None,
    ) -> Any:
        check_seconds("deadline", deadline)
        operation = await self._begin(method, path, options)
        return await operation.result(deadline=deadline, on_progress=on_progress)
