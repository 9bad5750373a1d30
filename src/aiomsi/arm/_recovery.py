"""What a session does after a request that went wrong: another token, another try, a look, or an error.

Asked in this order: is the answer what was wanted all the same (`is_gone`); can its cause be taken away (`Mender`); does the rule
repeat the call; and has it been carried out already, as a GET of the resource may show (`look`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import attrs

from aiomsi._errors import AiomsiError, ArmConnectionError, ArmError, UsageError
from aiomsi.arm._answers import error_of, refusal_of
from aiomsi.arm._attempts import ArmAttempt, after, answered, is_gone, lost
from aiomsi.arm._http import MAYBE
from aiomsi.arm._links import path_of
from aiomsi.arm._look import Seen, seen
from aiomsi.arm._records import decoded

if TYPE_CHECKING:
    from aiomsi._token import AccessToken
    from aiomsi.arm._call import Call
    from aiomsi.arm._response import ArmResponse
    from aiomsi.arm._wire import Wire

_MOST_MENDINGS = 3


async def recover(wire: Wire, call: Call, wrong: ArmResponse | ArmConnectionError) -> ArmResponse | None:
    """Wait until the call may be sent again, if it may; give an answer if there is no need to any more.

    Raises:
        ArmConnectionError: there was no answer, and the call is not repeated.
        ArmError: the same, and the answer is an error.

    """
    error = wrong if isinstance(wrong, ArmConnectionError) else _error(wire, call, wrong)
    attempt = _attempt(wire, call, error)
    if isinstance(error, ArmError):
        if is_gone(call.method, error.status, error.code, doubtful=call.doubt is not None):
            return attrs.evolve(error.response, status=204, body=b"")
        began = wire.clock.monotonic()
        if call.mended < _MOST_MENDINGS and await _mended(wire, call, error):
            call.mended += 1
            call.excused += wire.clock.monotonic() - began
            return None
    if attempt.doubtful:
        call.doubt = error
    again = after(attempt, wire.rule)
    if again is None or wire.is_closed or (call.until is not None and _now() + again.delay >= call.until):
        if call.doubt is not None and isinstance(error, ArmConnectionError) and not error.arrived:
            # This request was not sent, but an earlier one was.
            error.arrived, error.help = True, MAYBE
        if isinstance(error, ArmError) and error.status in (429, 503) and error.retry_after and not error.help:
            error.help = (
                f"The service accepts the call again after {error.retry_after:g} s; "
                "a larger ArmRetry(budget=...) or timeout= lets the call wait for that"
            )
        raise error
    await _pause(wire, call, again.delay)
    return await _look(wire, call, error) if again.look else None


async def _pause(wire: Wire, call: Call, seconds: float) -> None:
    try:
        await wire.pause(seconds)
    except UsageError as error:
        raise call.in_doubt(error) from None


def _now() -> float:
    return asyncio.get_running_loop().time()


async def renewed(wire: Wire, tokens: list[AccessToken], response: ArmResponse) -> list[AccessToken] | None:
    """Give other tokens than those that ARM refused, or None if there are none that would help.

    A refusal does not tell which of several tenants' tokens it is about; a challenge is about the first.
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
        raise failure from error


def _attempt(wire: Wire, call: Call, error: ArmError | ArmConnectionError) -> ArmAttempt:
    elapsed = wire.clock.monotonic() - call.began
    fault = (error.status, error.code) if isinstance(error, ArmError) else (None, None)
    call.repeats = call.repeats + 1 if fault == call.fault else 1
    call.fault = fault
    left = None if call.until is None else call.until - _now()
    if isinstance(error, ArmError):
        return answered(error, number=call.attempts, elapsed=elapsed, repeats=call.repeats, left=left)
    return lost(
        call.method,
        path_of(call.url),
        number=call.attempts,
        elapsed=elapsed,
        arrived=error.arrived,
        untrusted=error.untrusted,
        repeats=call.repeats,
        permanent=error.permanent,
        unreadable=error.unreadable,
        left=left,
    )


async def _look(wire: Wire, call: Call, error: ArmError | ArmConnectionError) -> ArmResponse | None:
    """See whether a write that may have been carried out has been; None: it is to be sent (once more)."""
    try:
        get = wire.prepare("GET", call.url)
        # It is a request of this call: its limits count from the same beginning.
        get.began, get.until, get.timed, get.excused = call.began, call.until, call.timed, call.excused
        look = await wire.exchange(get)
    except AiomsiError as failure:
        error.add_note(f"Whether it was carried out could not be looked up: {failure}")
    else:
        found = seen(call.method, call.sent, look.status, decoded(look))
        if found is Seen.REPEAT and not call.unreadable:
            return None
        if found not in (Seen.REPEAT, Seen.UNKNOWN):
            call.unsettled = error if found is Seen.RUNNING else None
            return attrs.evolve(look, method=call.method)
    raise error
