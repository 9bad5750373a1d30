"""Recovery after a failed request: another token, another request, a GET of the resource, or an error.

In this order:

1. a 404 for a repeated DELETE is success (`is_gone`);
2. `Mender` takes the cause away: an api-version, a registration;
3. a write that is refused after a lost request may have met that request: a GET of the resource
shows it;
4. the rule decides whether the call is repeated;
5. a write that ARM may have carried out is compared with the resource before it is repeated
(`write_check`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import attrs

from aiomsi._arm.protocol.attempts import Again, ArmAttempt, after, answered, is_gone, lost
from aiomsi._arm.protocol.body import decoded
from aiomsi._arm.protocol.errors.classify import error_of, refusal_of
from aiomsi._arm.protocol.links import path_of
from aiomsi._arm.protocol.retry import PASSING
from aiomsi._arm.protocol.write_check import Seen, seen
from aiomsi._errors import AiomsiError, ArmConnectionError, ArmError, UsageError

if TYPE_CHECKING:
    from aiomsi._arm.call import Call
    from aiomsi._arm.connection import Wire
    from aiomsi._arm.protocol.response import ArmResponse
    from aiomsi._tokens.token import AccessToken

_REFUSING = frozenset({409, 412})
"""How a service refuses a write that meets its own earlier request."""


async def recover(
    wire: Wire, call: Call, wrong: ArmResponse | ArmConnectionError
) -> ArmResponse | None:
    """Wait until the call may be sent again, if it may; return a response if the call needs no repetition.

    Raises:
        ArmConnectionError: there was no response, and the call is not repeated.
        ArmError: the response is an error, and the call is not repeated.

    """
    error = wrong if isinstance(wrong, ArmConnectionError) else _error(wire, call, wrong)
    attempt = _attempt(wire, call, error)
    if isinstance(error, ArmError):
        if is_gone(call.method, error.status, error.code, doubtful=call.doubt is not None):
            return attrs.evolve(error.response, status=204, body=b"")
        began = wire.clock.monotonic()
        if await _mended(wire, call, error):
            call.excused += wire.clock.monotonic() - began
            return None
    error.uncertain = attempt.doubtful
    if attempt.doubtful:
        call.doubt = error
    elif call.doubt is not None and attempt.status in _REFUSING:
        found = await _refused_by_itself(wire, call, error)
        if found is not None:
            return found
    again = after(attempt, wire.rule)
    if again is None or not await _paused(wire, call, again):
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
        raise call.in_doubt(error)
    return await _compared(wire, call, error) if again.look else None


async def _paused(wire: Wire, call: Call, again: Again) -> bool:
    """Wait before the next request; return False if the call would be over by then."""
    if wire.is_closed or (call.until is not None and _now() + again.delay >= call.until):
        return False
    try:
        await wire.pause(again.delay)
    except UsageError as error:
        raise call.in_doubt(error) from None
    return True


def _now() -> float:
    return asyncio.get_running_loop().time()


async def renewed(
    wire: Wire, tokens: list[AccessToken], response: ArmResponse
) -> list[AccessToken] | None:
    """Give other tokens than those that ARM refused, or None if there are none that would help.

    A refusal does not tell which of several tenants' tokens it is about; a challenge is about the
    first.
    """
    refusal = refusal_of(response)
    if refusal is None:
        return None
    credentials, scope = wire.credentials, wire.scope
    if refusal.claims is not None:
        first = await credentials[0].get_token(scope, claims=refusal.claims)
        return None if first.token == tokens[0].token else [first, *tokens[1:]]
    for credential, token in zip(credentials, tokens, strict=True):
        credential.reject(token.token)
    new = [await credential.get_token(scope) for credential in credentials]
    return None if [one.token for one in new] == [one.token for one in tokens] else new


def _error(wire: Wire, call: Call, response: ArmResponse) -> ArmError:
    return error_of(
        response,
        wall=wire.clock.wall(),
        client_request_id=call.headers["x-ms-client-request-id"],
        attempts=call.attempts,
        elapsed=wire.clock.monotonic() - call.began,
    )


async def _mended(wire: Wire, call: Call, error: ArmError) -> bool:
    try:
        return await wire.mender.mend(call, error)
    except AiomsiError as failure:
        raise call.in_doubt(failure) from error


def _attempt(wire: Wire, call: Call, error: ArmError | ArmConnectionError) -> ArmAttempt:
    fault = (error.status, error.code) if isinstance(error, ArmError) else (None, None)
    call.repeats = call.repeats + 1 if fault == call.fault else 1
    call.fault = fault
    return _described(wire, call, error, call.method, call.repeats)


def _described(
    wire: Wire, call: Call, error: ArmError | ArmConnectionError, method: str, repeats: int = 1
) -> ArmAttempt:
    """Describe a failed request of a call: one of its own, or a GET of its resource."""
    number, elapsed = (
        call.attempts + call.failed_looks,
        wire.clock.monotonic() - call.began - call.excused,
    )
    left = None if call.until is None else call.until - _now()
    if isinstance(error, ArmError):
        return answered(
            error, number=number, elapsed=elapsed, repeats=repeats, left=left, lists=call.lists
        )
    return lost(
        method,
        path_of(call.url),
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


async def _compared(
    wire: Wire, call: Call, error: ArmError | ArmConnectionError
) -> ArmResponse | None:
    """Return the resource if it is as the call was to make it; None if the call is to be repeated."""
    found, look = await _look(wire, call, error)
    if look is not None and found in (Seen.DONE, Seen.RUNNING):
        return _taken(call, found, look, error)
    if found is None or not call.is_repeatable:
        if found is not None:
            error.add_note(
                "An earlier attempt of this call may have done it: the resource, read afterwards, is not as it was sent"
            )
        raise call.in_doubt(error)
    return None


async def _refused_by_itself(
    wire: Wire, call: Call, error: ArmError | ArmConnectionError
) -> ArmResponse | None:
    """Return the resource if an earlier request of the call has changed it, or is changing it."""
    found, look = await _look(wire, call, error)
    if look is None or found not in (Seen.DONE, Seen.RUNNING):
        return None
    return _taken(call, found, look, call.in_doubt(error))


def _taken(
    call: Call, found: Seen, look: ArmResponse, error: ArmError | ArmConnectionError
) -> ArmResponse:
    """Make the call's response of a GET of the resource."""
    call.unsettled = error if found is Seen.RUNNING else None
    if call.method != "DELETE":
        return attrs.evolve(look, method=call.method)
    # As the service would have responded to the first request.
    if found is Seen.DONE:
        return attrs.evolve(look, method="DELETE", status=204, body=b"")
    return attrs.evolve(look, method="DELETE", status=202)


async def _look(
    wire: Wire, call: Call, error: ArmError | ArmConnectionError
) -> tuple[Seen, ArmResponse] | tuple[None, None]:
    """GET the resource, again where the rule says so; None if it could not be read in time."""
    while True:
        failure: ArmError | ArmConnectionError
        try:
            look = wire.prepare("GET", call.url)
            # It is a request of this call: its limits count from the same beginning.
            look.began, look.until, look.timed, look.excused = (
                call.began,
                call.until,
                call.timed,
                call.excused,
            )
            response = await wire.exchange(look)
        except ArmConnectionError as no_answer:
            failure = no_answer
        except AiomsiError as no_token:
            error.add_note(f"Whether it was carried out could not be looked up: {no_token}")
            return None, None
        else:
            if response.status != 429 and response.status not in PASSING:
                return seen(call.method, call.sent, response.status, decoded(response)), response
            failure = _error(wire, look, response)
        call.failed_looks += 1
        again = after(_described(wire, call, failure, "GET"), wire.rule)
        if again is None or not await _paused(wire, call, again):
            error.add_note(f"Whether it was carried out could not be looked up: {failure}")
            return None, None
