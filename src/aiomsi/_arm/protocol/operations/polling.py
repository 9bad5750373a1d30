"""Long-running operations: the meaning of each response, and the next GET. Pure; no I/O.

`begin` reads the response to the request itself. The operation's state is then in one of three
places, in this order:

1. the operation's own record, at the URL of ``Azure-AsyncOperation`` or ``Operation-Location``. A
   GET returns 200 with the state in ``status``. An error response means that the record can't be
   read, and not that the operation failed;
2. the URL of ``Location``. A GET returns 202 while the operation continues, then the response that
   the request would have had without an operation, which may be an error. In a response of 200 or
   201 the header usually has the URL of the resource, so it is followed only if it names an
   operation;
3. the resource itself. A PUT or PATCH ends with its ``properties.provisioningState``, a DELETE with
   a 404.

`advance` reads each further response, by the rules in `sources`. An operation continues in every
state that is not known to be final. Polling stops after `MAX_REST` if such a state sounds final, or
is that of a resource and means no change. After a record with success, the result is read from
`PollReader._result_url`. If later responses have another ``Location``, it is followed. Another
``Azure-AsyncOperation`` is not. Recorded clients do the same. A link to a host other than the
cloud's ARM is ignored.

A failed poll does not mean a failed operation. Consecutive failures are counted, some with a weight
above one; polling stops at a count of `MAX_FAILED_POLLS`, or at once if the failure is permanent
(`Progress.gave_up`). If a record is missing, is forbidden or has no state, the next GET reads the
resource instead (`Progress.fallback`). By the resource, the operations end as follows:

- a creation by the resource's state;
- an update by the resource's state, if the resource also has the members that were sent, because
  the state may be older than the request;
- a DELETE of which no poll could be read by a 404;
- a POST never, because its outcome is not in the resource.

If the record stays missing or is forbidden, a `Location` of the response is polled instead.

Source: https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/async-api-reference.md,
https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

from __future__ import annotations

import copy

import attrs

from aiomsi import _errors
from aiomsi._arm.protocol.body import (
    FINAL_STATES,
    Poll,
    find_reason,
    is_deleted,
    is_running,
    read_reason,
)
from aiomsi._arm.protocol.errors.classify import make_error
from aiomsi._arm.protocol.errors.detail import ErrorDetail
from aiomsi._arm.protocol.links import get_path, is_operation_url
from aiomsi._arm.protocol.operations.operation_state import FinalStateVia, Progress, check_via
from aiomsi._arm.protocol.operations.sources import (
    READERS,
    WRITES,
    Contains,
    PollReader,
    count_failed_poll,
    find_link,
    finish,
    get_header,
)
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.protocol.throttling import read_wait
from aiomsi._clouds import Cloud
from aiomsi._errors import AiomsiError, ForeignHostError

_FIRST_WAIT = 1.0
_GROWTH = 1.5
_MAX_WAIT = 30.0
_MAX_RETRY_AFTER = 600.0
"""The contract's own limit for `Retry-After`."""
_MAX_STEPS = 64


def begin(
    cloud: Cloud, response: ArmResponse, via: FinalStateVia | None = None, *, wall: float = 0.0
) -> Progress:
    """Return the progress of an operation after a successful response to its request.

    If the response began no operation, the progress is finished. `wall` is the current time,
    because a `Retry-After` may be a date.

    Raises:
        ForeignHostError: the operation's URL is on a host to which no token may be sent.
        ConfigurationError: `via` is unknown.

    """
    poll = Poll.of(response)
    progress = Progress(
        response.method,
        response.url,
        via=check_via(via),
        status=poll.resource_state or poll.record_state or "InProgress",
        retry_after=read_wait(response.status, response.headers, None, wall),
        polled=wall,
        created=response.method == "PUT" and response.status == 201,
        changing=poll.resource_state is not None and poll.resource_outcome is None,
    )
    record = find_link(cloud, response, "Azure-AsyncOperation") or find_link(
        cloud, response, "Operation-Location"
    )
    location = find_link(cloud, response, "Location")
    if record is not None:
        progress = attrs.evolve(progress, reads="operation", source=record, location=location)
        over = poll.is_record and poll.outcome is not None
        return PollReader(cloud, progress, poll).read_record_state() if over else progress
    if location is not None and _leads_to_operation(response, location):
        return attrs.evolve(progress, reads="location", source=location, location=location)
    if (
        response.status == 202
        and (link := get_header(response, "Location"))
        and response.method not in WRITES
    ):
        link = link.partition("?")[0]
        msg = (
            f"the service has accepted {response.method} {response.path}, "
            f"but its operation is at {link!r}"
        )
        raise ForeignHostError(
            msg,
            help="The URL is not on the cloud's ARM, and tokens are sent to that only: "
            "read the resource to see the outcome",
            from_response=True,
        )
    if _continues(poll):
        status = (
            poll.resource_state
            or poll.record_state
            or ("InProgress" if response.method in WRITES else "Accepted")
        )
        return attrs.evolve(progress, reads="resource", source=response.url, status=status)
    # After a PATCH, a failed state may be that of an earlier operation.
    outcome = poll.resource_outcome if response.method == "PUT" else None
    if response.method == "DELETE" and poll.is_record:
        outcome = poll.outcome
    state = (
        poll.resource_state
        or poll.record_state
        or ("Accepted" if response.status == 202 else "Succeeded")
    )
    return finish(attrs.evolve(progress, status=state), outcome or "succeeded", response)


def _continues(poll: Poll) -> bool:
    """Return whether a PUT, PATCH or DELETE without links continues."""
    method, accepted = poll.response.method, poll.status == 202
    running = poll.resource_state is not None and poll.resource_outcome is None
    if method == "DELETE":
        over = poll.is_record and poll.outcome is not None
        running = running and not is_deleted(poll.resource_state)
        return (
            (accepted and not over) or running or (poll.is_record and is_running(poll.record_state))
        )
    return method in WRITES and (accepted or running)


def advance(
    cloud: Cloud,
    progress: Progress,
    response: ArmResponse,
    *,
    contains: Contains | None = None,
    wall: float = 0.0,
) -> Progress:
    """Return the progress after the response to the GET of `next_url`, whatever its status.

    `contains` compares the resource with the request's body; None if that is unknown. `wall` is as
    for `begin`.
    """
    if progress.next_url is None:
        return progress
    poll = Poll.of(response)
    retry_after = read_wait(response.status, response.headers, None, wall)
    # An earlier `Retry-After` still applies after a failed poll.
    noted = attrs.evolve(progress, retry_after=retry_after or progress.retry_after, polled=wall)
    reader = PollReader(cloud, noted, poll, contains, waited=get_wait(progress))
    if progress.fallback:
        return reader.read_fallback()
    if response.status >= 300:
        return reader.read_error()
    read = attrs.evolve(
        noted, retry_after=retry_after, step=progress.step + 1, failed_polls=0, answered=True
    )
    after = READERS[progress.reads](attrs.evolve(reader, progress=read))
    # A response without a meaning may have been cut, and the next one may be whole.
    return (
        count_failed_poll(
            reader.progress, read_resource=progress.failed_polls > 0 or poll.status == 204
        )
        if after is None
        else after
    )


def get_wait(progress: Progress) -> float:
    """Return the seconds from the last response to the next GET.

    Without a `Retry-After` the first waits are short, because most operations end soon. They grow
    to half a minute, because polls count against the subscription's limit of reads.
    """
    if progress.fallback == 1 or (progress.reads == "result" and progress.step == 0):
        return 0.0
    if progress.retry_after:
        return min(progress.retry_after, _MAX_RETRY_AFTER)
    return min(_FIRST_WAIT * _GROWTH ** min(progress.step, _MAX_STEPS), _MAX_WAIT)


def _leads_to_operation(response: ArmResponse, location: str) -> bool:
    # API Management's links have the path of the resource, and an "asyncId" in the query.
    named = "asyncid=" in location.partition("?")[2].lower() or is_operation_url(
        location, response.url
    )
    return response.status == 202 or (response.status != 204 and named)


# Errors


def make_failure(progress: Progress) -> _errors.ArmError | None:
    """Return the exception of a failed or canceled operation; None for any other."""
    if progress.outcome not in ("failed", "canceled") or progress.final_response is None:
        return None
    response = progress.final_response
    why = read_reason(response, progress.status)
    canceled = progress.outcome == "canceled"
    kind = _errors.OperationCanceledError if canceled else _errors.OperationFailedError
    named = f"{progress.status}, {why.code}" if why.code else progress.status
    ids = f" (request id {response.request_id})" if response.request_id else ""
    return kind(
        f"{_describe_request(progress)} and ended as {named}: {why.message.rstrip('.')}{ids}",
        help="Another operation may have replaced this one: read the resource before you repeat it"
        if canceled
        else "",
        status=response.status,
        response=response.portable(),
        **why.arguments(),
    )


def make_pending_error(
    progress: Progress,
) -> _errors.ArmError | _errors.ArmConnectionError | None:
    """Return the error of a lost write, if the change that ended may be another client's.

    None for any other operation. The error is raised for an operation that was resumed from a saved
    state, which has no body to compare the resource with.
    """
    is_deleted_now = progress.method == "DELETE" and progress.outcome == "succeeded"
    if not progress.pending or progress.uncertain_error is None or is_deleted_now:
        return None
    error = copy.copy(progress.uncertain_error)
    error.help = (
        "The resource has changed since, and the saved state has no body to compare it with: "
        "read the resource before you repeat the call"
    )
    return error


def lacks_reason(progress: Progress) -> bool:
    """Return whether an operation failed without a reason, which the resource may have."""
    response = progress.final_response
    if (
        progress.outcome not in ("failed", "canceled")
        or progress.method == "POST"
        or response is None
        or response.status >= 300
    ):
        return False
    return not Poll.of(response).shows(progress.url) and find_reason(response) is None


def add_reason(progress: Progress, response: ArmResponse) -> Progress:
    """Return the progress with the reason that a failed resource has, or unchanged without one."""
    failed = Poll.of(response).resource_outcome in ("failed", "canceled")
    return (
        attrs.evolve(progress, final_response=response)
        if failed and find_reason(response) is not None
        else progress
    )


def make_unreadable_error(
    progress: Progress, response: ArmResponse, *, wall: float
) -> _errors.OperationUnreadableError:
    """Return the exception for an operation whose state, or result, can't be read.

    `response` is that of the last poll; `wall` is as for `begin`.
    """
    if response.status >= 300:
        error = make_error(response, wall=wall)
        why = ErrorDetail.of(error)
        summary, advice, retry_after = str(error.args[0]), error.help, error.retry_after
    else:
        why, advice, retry_after = read_reason(response), "", None
        text = why.message.rstrip(".")
        summary = (
            f"GET {response.path} returned {response.status} with a body that has no state: {text}"
        )
    return _errors.OperationUnreadableError(
        f"{_describe_request(progress)}, but {_describe_unread(progress)} could not be read: "
        f"{summary}",
        help=f"{_suggest_resuming(progress)}. {advice}".rstrip(". "),
        status=response.status,
        response=response.portable(),
        retry_after=retry_after,
        **why.arguments(),
    )


def explain_poll_error(progress: Progress, error: AiomsiError) -> AiomsiError:
    """Add to a poll's error that the request was accepted, and return the error."""
    subject = _describe_unread(progress)
    text = f"{_describe_request(progress)}, but a poll of {subject} failed: {error.args[0]}"
    error.args = (text,)
    # The help of a connection error is for writes, and a poll is a GET.
    own = "" if isinstance(error, _errors.ArmConnectionError) else error.help
    error.help = f"{_suggest_resuming(progress)}. {own}".rstrip(". ")
    return error


def make_unfinished_error(progress: Progress) -> _errors.OperationUnfinishedError:
    """Return the exception for an operation whose end was not seen before polling stopped."""
    if not progress.is_at_rest:
        msg = f"the operation was not over in time: {progress.status}"
        return _errors.OperationUnfinishedError(
            msg, help="It continues; wait for it again, or save its state and resume it later"
        )
    if progress.reads == "operation":
        msg = (
            f"{_describe_request(progress)}, and its operation stays in the state "
            f"{progress.status!r}, which may mean its end"
        )
        return _errors.OperationUnfinishedError(msg, help="Read the resource to see the outcome")
    if progress.method == "DELETE":
        why = f"still exists, and its state is {progress.status!r}"
    elif progress.status.lower() in FINAL_STATES:
        why = f"is in the state {progress.status!r} and does not hold the members that were sent"
    else:
        why = f"stays in the state {progress.status!r}, which means neither success nor failure"
    msg = f"{_describe_request(progress)}, but the resource {why}"
    advice = (
        "Read the resource: this may be its normal state. "
        "request() sends such a call without waiting for its end"
    )
    return _errors.OperationUnfinishedError(msg, help=advice)


def _describe_request(progress: Progress) -> str:
    return f"{progress.method} {get_path(progress.url)} was accepted"


def _describe_unread(progress: Progress) -> str:
    return "its result" if progress.reads == "result" else "the state of its operation"


def _suggest_resuming(progress: Progress) -> str:
    state = "has succeeded" if progress.reads == "result" else "may continue"
    return (
        f"The operation {state}; wait for it again, "
        "or save the state of the error's operation and resume it later"
    )
