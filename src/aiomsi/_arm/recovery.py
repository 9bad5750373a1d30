"""Recovery after a failed request: another request, a GET of the resource, or an error.

In this order:

1. a 404 for a repeated DELETE is success (`is_successful_404`);
2. `ProviderSupport` fixes the cause, which may be an api-version or a registration;
3. if a write conflicts with the effect of an earlier, lost request of the same call, a GET of the
   resource shows that the call has succeeded;
4. the rule decides whether the call is repeated;
5. before a write that ARM may have carried out is repeated, a GET of the resource is compared with
   it (`write_check`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import attrs

from aiomsi._arm.protocol.attempts import (
    ArmAttempt,
    RetryDecision,
    decide_retry,
    is_successful_404,
    make_attempt,
    make_unanswered_attempt,
)
from aiomsi._arm.protocol.body import decode_body
from aiomsi._arm.protocol.errors.classify import make_error
from aiomsi._arm.protocol.links import get_path
from aiomsi._arm.protocol.retry import TEMPORARY_STATUSES, RetryRule
from aiomsi._arm.protocol.write_check import WriteStatus, compare
from aiomsi._errors import AiomsiError, ArmConnectionError, ArmError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiomsi._arm.call import Call
    from aiomsi._arm.connection import Connection
    from aiomsi._arm.protocol.response import ArmResponse

_CONFLICTING = frozenset({409, 412})
"""The statuses of a write that an earlier request of the same call may conflict with."""
_THROTTLED = 429


@attrs.frozen
class Recovery:
    """Decides and waits after the failed requests of a call.

    Args:
        connection: sends the GET of a resource.
        rule: decides whether and when the call is repeated.
        fix: `ProviderSupport.fix`.

    """

    _connection: Connection
    _rule: RetryRule
    _fix: Callable[[Call, ArmError], Awaitable[bool]]

    async def recover(
        self, call: Call, failed: ArmResponse | ArmConnectionError
    ) -> ArmResponse | None:
        """Wait until the call may be sent again, and return None.

        A response is returned instead if it ends the call without a repetition.

        Raises:
            ArmConnectionError: ARM did not respond, and the call is not repeated.
            ArmError: the response is an error, and the call is not repeated.

        """
        error = failed if isinstance(failed, ArmConnectionError) else self._make_error(call, failed)
        attempt = self._count_attempt(call, error)
        if isinstance(error, ArmError):
            if is_successful_404(
                call.method, error.status, error.code, doubtful=call.uncertain_error is not None
            ):
                return attrs.evolve(error.response, status=204, body=b"")
            began = self._connection.clock.monotonic()
            if await self._try_to_fix(call, error):
                call.excused += self._connection.clock.monotonic() - began
                return None
        error.uncertain = attempt.doubtful
        if attempt.doubtful:
            call.uncertain_error = error
        elif call.uncertain_error is not None and attempt.status in _CONFLICTING:
            resource = await self._find_own_write(call, error)
            if resource is not None:
                return resource
        decision = decide_retry(attempt, self._rule)
        if decision is None or not await self._wait(call, decision):
            if (
                isinstance(error, ArmError)
                and error.status in (429, 503)
                and error.retry_after
                and not error.help
            ):
                error.help = (
                    f"The service accepts the call again after {error.retry_after:g} s; "
                    "a larger ArmRetry(total_budget=...) or timeout= lets the call wait for that"
                )
            raise call.mark_uncertain(error)
        return await self._compare(call, error) if decision.check_first else None

    async def _wait(self, call: Call, decision: RetryDecision) -> bool:
        """Wait before the next request; return False if the call ends before that."""
        connection = self._connection
        if connection.is_closed:
            return False
        if call.refused_ticket is not None:
            # The next request waits for the limit in the queue, before all others.
            return connection.queue.may_wait(call, call.refused_ticket.lane)
        if call.until is not None and _read_loop_time() + decision.delay >= call.until:
            return False
        try:
            await connection.pause(decision.delay)
        except UsageError as error:
            raise call.mark_uncertain(error) from None
        return True

    def _make_error(self, call: Call, response: ArmResponse) -> ArmError:
        return make_error(
            response,
            wall=self._connection.clock.wall(),
            client_request_id=call.headers["x-ms-client-request-id"],
            attempts=call.attempts,
            elapsed=self._connection.clock.monotonic() - call.began,
        )

    async def _try_to_fix(self, call: Call, error: ArmError) -> bool:
        try:
            return await self._fix(call, error)
        except AiomsiError as failure:
            raise call.mark_uncertain(failure) from error

    def _count_attempt(self, call: Call, error: ArmError | ArmConnectionError) -> ArmAttempt:
        fault = (error.status, error.code) if isinstance(error, ArmError) else (None, None)
        call.throttled += fault[0] == _THROTTLED
        call.repeats = call.repeats + 1 if fault == call.fault else 1
        call.fault = fault
        return self._describe(call, error, call.method, call.repeats)

    def _describe(
        self, call: Call, error: ArmError | ArmConnectionError, method: str, repeats: int = 1
    ) -> ArmAttempt:
        """Describe a failed request of a call, or a failed GET of its resource."""
        number, elapsed = (
            call.attempts + call.failed_checks,
            self._connection.clock.monotonic() - call.began - call.excused,
        )
        left = None if call.until is None else call.until - _read_loop_time()
        if call.bulk and call.refused_ticket is not None and isinstance(error, ArmError):
            # The budget of a bulk call excludes the pause after a 429, which has not begun yet.
            elapsed -= error.retry_after or 0.0
        if isinstance(error, ArmError):
            return make_attempt(
                error, number=number, elapsed=elapsed, repeats=repeats, left=left, lists=call.lists
            )
        return make_unanswered_attempt(
            method,
            get_path(call.url),
            number=number,
            elapsed=elapsed,
            arrived=error.arrived,
            untrusted=error.untrusted,
            repeats=repeats,
            permanent=error.permanent,
            unreadable=error.unreadable,
            left=left,
            lists=call.lists,
        )

    async def _compare(
        self, call: Call, error: ArmError | ArmConnectionError
    ) -> ArmResponse | None:
        """Return the resource if the write took effect; None if the call may be repeated."""
        status, resource = await self._read_resource(call, error)
        if resource is not None and status in (WriteStatus.DONE, WriteStatus.RUNNING):
            return _convert_response(call, status, resource, error)
        if status is None or not call.is_repeatable:
            if status is not None:
                error.add_note(
                    "An earlier attempt of this call may have done it: "
                    "the resource, read afterwards, is not as it was sent"
                )
            raise call.mark_uncertain(error)
        return None

    async def _find_own_write(
        self, call: Call, error: ArmError | ArmConnectionError
    ) -> ArmResponse | None:
        """Return the resource if an earlier request of the call changed it, or is changing it."""
        status, resource = await self._read_resource(call, error)
        if resource is None or status not in (WriteStatus.DONE, WriteStatus.RUNNING):
            return None
        return _convert_response(call, status, resource, call.mark_uncertain(error))

    async def _read_resource(
        self, call: Call, error: ArmError | ArmConnectionError
    ) -> tuple[WriteStatus, ArmResponse] | tuple[None, None]:
        """GET the resource, repeated by the rule; return a pair of None if no GET succeeds."""
        while True:
            failure: ArmError | ArmConnectionError
            try:
                check = self._connection.prepare("GET", call.url)
                # The GET is a request of this call, so the same time limits apply.
                check.began, check.until, check.timed, check.excused, check.bulk = (
                    call.began,
                    call.until,
                    call.timed,
                    call.excused,
                    call.bulk,
                )
                try:
                    response = await self._connection.send_once(check)
                finally:
                    call.excused = check.excused
                    call.waited += check.waited
            except ArmConnectionError as no_answer:
                failure = no_answer
            except AiomsiError as no_token:
                error.add_note(f"Whether it was carried out could not be looked up: {no_token}")
                return None, None
            else:
                if response.status != 429 and response.status not in TEMPORARY_STATUSES:
                    return compare(
                        call.method, call.sent, response.status, decode_body(response)
                    ), response
                failure = self._make_error(check, response)
            call.failed_checks += 1
            decision = decide_retry(self._describe(call, failure, "GET"), self._rule)
            if decision is None or not await self._wait(call, decision):
                error.add_note(f"Whether it was carried out could not be looked up: {failure}")
                return None, None


def _convert_response(
    call: Call, status: WriteStatus, resource: ArmResponse, error: ArmError | ArmConnectionError
) -> ArmResponse:
    """Turn the response to a GET of the resource into the call's response."""
    call.pending_error = error if status is WriteStatus.RUNNING else None
    if call.method != "DELETE":
        return attrs.evolve(resource, method=call.method)
    # The status with which a service responds to a DELETE.
    if status is WriteStatus.DONE:
        return attrs.evolve(resource, method="DELETE", status=204, body=b"")
    return attrs.evolve(resource, method="DELETE", status=202)


def _read_loop_time() -> float:
    return asyncio.get_running_loop().time()
