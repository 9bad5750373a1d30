"""`Sender`: sends a call, and repeats it where the retry rule says so.

Each request is one `Connection.send_once`. The module `recovery`, which handles a failed request,
is imported at the first failure, because most sessions never need it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

from aiomsi._arm.call import Call, ProviderSupport
from aiomsi._arm.connection import Connection
from aiomsi._arm.protocol.request import check_seconds
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.protocol.retry import TEMPORARY_STATUSES, RetryRule
from aiomsi._errors import AiomsiError, ArmConnectionError, ArmError, UsageError


class Sender:
    """The sender of a session's calls. It repeats a call until it succeeds or the rule gives up.

    Attributes:
        connection: sends the single requests.
        rule: decides whether and when a call is repeated.
        make_provider_support: creates the `ProviderSupport` when the first call needs it.

    """

    # Each import creates this class, so it is plain.
    __slots__ = ("_provider_support", "connection", "make_provider_support", "rule")

    def __init__(
        self,
        connection: Connection,
        rule: RetryRule,
        make_provider_support: Callable[[Sender], ProviderSupport],
    ) -> None:
        self.connection: Connection = connection
        self.rule: RetryRule = rule
        self.make_provider_support: Callable[[Sender], ProviderSupport] = make_provider_support
        self._provider_support: ProviderSupport | None = None

    @property
    def provider_support(self) -> ProviderSupport:
        """The session's only `ProviderSupport`."""
        if self._provider_support is None:
            self._provider_support = self.make_provider_support(self)
        return self._provider_support

    async def send(self, call: Call, timeout: float | None = None) -> ArmResponse:
        """Send a call, repeat it where the rule says so, and return a response that is no error.

        Raises:
            CredentialError: no token is available.
            ArmConnectionError: ARM did not respond.
            ArmError: ARM responded with an error.

        """
        if timeout is not None:
            return await self._send_within(call, timeout)
        if call.lacks_version and call.kind is not None:
            await self.provider_support.resolve_api_version(call, call.kind)
        while True:
            try:
                response = await self.connection.send_once(call)
            except ArmConnectionError as error:
                done = await self._recover(call, error)
            except AiomsiError as error:
                if call.uncertain_error is None:
                    raise
                self._raise_uncertain(call, call.uncertain_error, error)
            else:
                if 200 <= response.status < 300 or response.status == 304:
                    return response
                done = await self._recover(call, response)
            if done is not None:
                return done

    def _raise_uncertain(
        self, call: Call, uncertain: ArmError | ArmConnectionError, error: AiomsiError
    ) -> NoReturn:
        """Raise the error of a call that may have been carried out and can't be sent again.

        Args:
            call: the call.
            uncertain: `Call.uncertain_error`.
            error: the reason why the call can't be sent again.

        """
        if isinstance(error, UsageError):
            # The session was closed: that error is raised, and its help quotes the earlier one.
            raise call.mark_uncertain(error) from None
        uncertain.add_note(f"It could not be sent again: {error}")
        raise call.mark_uncertain(uncertain) from uncertain.__cause__

    async def _send_within(self, call: Call, timeout: float) -> ArmResponse:
        check_seconds("timeout", timeout)
        if timeout <= 0:
            # asyncio would notice that only after the request was sent.
            raise self.connection.no_response_error(
                call, f"no answer within {timeout} s", arrived=False
            )
        scope = asyncio.timeout(timeout)
        try:
            async with scope:
                call.until, call.timed = scope.when(), True
                return await self.send(call)
        except TimeoutError:
            if not scope.expired():
                raise
        if call.lacks_version:
            missing = "api-version"
        elif call.attempts:
            missing = "answer"
        else:
            missing = call.missed_turn or "token"
        late = self.connection.no_response_error(
            call, f"no {missing} within {timeout} s", arrived=call.attempts > 0
        )
        raise call.mark_uncertain(late) from TimeoutError()

    async def _recover(
        self, call: Call, failed: ArmResponse | ArmConnectionError
    ) -> ArmResponse | None:
        """Return the response that ends the call, or None to send the call again."""
        try:
            from aiomsi._arm.recovery import Recovery
        except (ImportError, OSError) as failure:
            # The module can't be read, for example because file descriptors ran out. The error of
            # the request must be raised nevertheless.
            if isinstance(failed, ArmConnectionError):
                raise call.mark_uncertain(failed) from failed.__cause__
            text = f"the module for its recovery can't be loaded: {failure}"
            error = self.connection.no_response_error(call, f"status {failed.status}, and {text}")
            # With any other status the service has refused the request.
            error.uncertain = error.uncertain and failed.status in TEMPORARY_STATUSES
            raise call.mark_uncertain(error) from None
        return await Recovery(self.connection, self.rule, self._fix).recover(call, failed)

    async def _fix(self, call: Call, error: ArmError) -> bool:
        return await self.provider_support.fix(call, error)
