"""The verbs of a session: each sends one request, or runs one long-running operation.

Error reporters show the locals of each frame that an exception leaves. A body and a header may be
secret, and a URL may be signed. So each verb deletes these arguments as soon as `Options` and
`Call` hold them, whose reprs omit them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from aiomsi._arm.call import Call
from aiomsi._arm.connection import Connection
from aiomsi._arm.protocol.request import (
    Options,
    build_url,
    check_callable,
    check_seconds,
    has_version,
)
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.sender import Sender
from aiomsi._errors import ConfigurationError
from aiomsi._util.lazy import late_import

if TYPE_CHECKING:
    from aiomsi._arm.operation import Operation
    from aiomsi._arm.protocol.operations.operation_state import FinalStateVia

    OnProgress: TypeAlias = Callable[[Operation], object]
else:
    # `typing.get_type_hints` cannot resolve a lazily imported class, so it sees this stand-in.
    OnProgress = Callable[..., object]

_UNKNOWN_VERSION = "0000-00-00"
"""The api-version of a call until `ProviderSupport` has looked it up."""

Params: TypeAlias = Mapping[str, str | int | bool]


class Verbs:
    """The methods of an `ArmSession` that concern a single path, apart from the lists."""

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
        """GET a path and return the decoded JSON; None for an empty body, such as that of a 304.

        Args:
            path: a path that begins with a slash and may have a query, or a full URL of this
                cloud's ARM.
            api_version: ``YYYY-MM-DD`` or ``YYYY-MM-DD-preview``. Without it, and without one in
                the path, the newest stable version of the resource type is looked up, once.
            params: further query parameters, not yet encoded: text, integers or booleans. Convert
                lists, dates and other types to the service's own form first.
            headers: further headers.
            timeout: seconds for the whole call, including repetitions. Without it a request may
                take 10 s to connect, and its response may pause for 150 s. With it, only the end
                of the call limits such a pause.
            if_none_match: an entity tag, sent unchanged.

        Raises:
            ConfigurationError: an argument is wrong; no request was sent.
            CredentialError: no token is available.
            ArmConnectionError: ARM did not respond.
            ArmError: ARM responded with an error; each kind has a subclass.

        """
        options = Options(
            api_version, params, headers=headers, timeout=timeout, if_none_match=if_none_match
        )
        del headers
        call = self._make_call("GET", path, options)
        # Thousands of calls may wait.
        del path, params, options
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
        """HEAD a path, to check that a resource exists; arguments as for `get`.

        Raises:
            NotFoundError: the resource does not exist.

        """
        options = Options(api_version, params, headers=headers, timeout=timeout)
        del headers
        call = self._make_call("HEAD", path, options)
        del path, params
        await self._sender.send(call, timeout)

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
        """Create or replace a resource, wait for the end, and return the resource.

        Args:
            path: as for `get`.
            api_version: as for `get`.
            params: as for `get`.
            json: a body to encode as JSON.
            content: a body to send unchanged; name its type in `headers`.
            headers: as for `get`; an ``x-ms-client-request-id`` is sent with each poll, too.
            timeout: as for `get`; for the call itself, and for each poll.
            if_match: an entity tag, sent unchanged; ``*`` matches any.
            if_none_match: an entity tag, sent unchanged; ``*`` prevents replacing a resource.
            deadline: as for `Operation.result`.
            on_progress: as for `Operation.result`.

        Raises:
            OperationFailedError: ARM accepted the call, and the operation failed later.
            OperationCanceledError: ARM accepted the call, and the operation was canceled later.
            OperationUnfinishedError: the operation did not end by the deadline.
            OperationUnreadableError: the operation's state can't be read; it may continue.

        An error after ARM has accepted the call has the operation as its `operation`, to wait for
        it again or to save its state.

        """
        options = Options(
            api_version, params, json, content, headers, timeout, if_match, if_none_match
        )
        del json, content, headers
        call = self._make_call("PUT", path, options)
        del path, params
        return await self._run(call, options, deadline, on_progress)

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
        """Change a resource, wait for the end, and return the resource.

        Arguments and errors as for `put`.
        """
        options = Options(api_version, params, json, content, headers, timeout, if_match)
        del json, content, headers
        call = self._make_call("PATCH", path, options)
        del path, params
        return await self._run(call, options, deadline, on_progress)

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
        """Run an action, wait for the end, and return its result.

        Arguments and errors as for `put`.
        """
        options = Options(api_version, params, json, content, headers, timeout)
        del json, content, headers
        call = self._make_call("POST", path, options)
        del path, params
        return await self._run(call, options, deadline, on_progress)

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
        """Delete a resource and wait for the end; arguments and errors as for `put`."""
        options = Options(api_version, params, headers=headers, timeout=timeout, if_match=if_match)
        del headers
        call = self._make_call("DELETE", path, options)
        del path, params
        return await self._run(call, options, deadline, on_progress)

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
        """Send any request and return the whole response; a long-running operation is not polled.

        `method` is an HTTP verb in capitals. The other arguments, and the errors, are those of
        `put`.
        """
        options = Options(
            api_version, params, json, content, headers, timeout, if_match, if_none_match
        )
        del json, content, headers
        call = self._make_call(method, path, options)
        del path, params
        response = await self._sender.send(call, timeout)
        if call.pending_error is not None:
            # The call's response was lost, and its resource is being changed. Only the end of that
            # change shows whether it is this call's, and `request` does not poll.
            raise call.pending_error
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
        """Send a request, and return its operation, which may already have ended.

        `final_state_via` names the place of the result, for services whose responses do not. It is
        the value of ``x-ms-long-running-operation-options`` in Azure's API definitions. The other
        arguments, and the errors, are those of `put`.
        """
        options = Options(
            api_version, params, json, content, headers, timeout, if_match, if_none_match
        )
        del json, content, headers
        call = self._make_call(method, path, options)
        del path, params
        return await self._begin(call, options, final_state_via)

    async def resume(self, state: Mapping[str, Any]) -> Operation:
        """Return the operation of a saved `state`, of this or another process; send no request.

        Raises:
            ConfigurationError: the state is malformed.
            ForeignHostError: the state belongs to another cloud.

        """
        with late_import:
            from aiomsi._arm.operation import resume_operation

        return resume_operation(self._sender, state)

    # Creating calls. Modules that a GET does not need are imported late.

    def _make_call(self, method: str, path: str, options: Options) -> Call:
        """Create a call; without an api-version, with `_UNKNOWN_VERSION`."""
        cloud = self._connection.cloud
        if options.api_version is not None or has_version(path, options):
            url = build_url(cloud, method, path, options)
            return self._connection.prepare(method, url, options)
        url = build_url(cloud, method, path, Options(_UNKNOWN_VERSION, options.params))
        with late_import:
            from aiomsi._arm.protocol.api_versions import find_resource_type

        kind = find_resource_type(url)
        if kind is None:
            msg = (
                f"no resource type can be read from {path!r}, so its api-version can't be looked up"
            )
            raise ConfigurationError(msg, help="Pass api_version=")
        call = self._connection.prepare(method, url, options)
        # `Sender.send` then has the version looked up.
        call.kind, call.lacks_version = kind, True
        return call

    async def _begin(
        self, call: Call, options: Options, via: FinalStateVia | None = None
    ) -> Operation:
        with late_import:
            from aiomsi._arm.operation import start_operation

        return await start_operation(self._sender, call, options, via)

    async def _run(
        self,
        call: Call,
        options: Options,
        deadline: float | None,
        on_progress: OnProgress | None,
    ) -> Any:
        # `result` checks these, too, but only after the call was sent.
        check_seconds("deadline", deadline)
        check_callable("on_progress", on_progress)
        operation = await self._begin(call, options)
        return await operation.result(deadline=deadline, on_progress=on_progress)
