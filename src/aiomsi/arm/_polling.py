"""Long-running operations: what an answer says about one, and what to ask next. Pure; nothing here waits or sends.

`begin` reads the answer to the request itself. There are three places where the state may then be found, in this order:

1. the operation's own record, named by ``Azure-AsyncOperation`` or ``Operation-Location``: always 200, the state is its
   ``status``, and an error answer is a failure to read it, not one of the operation;
2. what ``Location`` names: 202 while it goes on, then what the request would have answered at once, an error included. With 200
   or 201 the header mostly names the resource, so there it counts only if it names an operation;
3. the resource that was put or patched: ``properties.provisioningState``.

`advance` reads each further answer. A state that is not known to be final goes on. Once the record says that the operation has
succeeded, the result is read where `_result_url` says. An ``Azure-AsyncOperation`` that changes on the way is not followed, a
``Location`` is: so all clients do that were recorded. A link that leads off the cloud's ARM is as good as none.

Reading may fail while the operation goes on; so failures are counted in a row, as strikes, and only too many of them, or one that
waiting doesn't cure, end the polling (`Progress.gave_up`). A record that stays missing, or is forbidden, does not yet end it if
there is a `Location` as well.

Source: https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/async-api-reference.md,
https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

from __future__ import annotations

import attrs

from aiomsi import _errors
from aiomsi._clouds import Cloud
from aiomsi._errors import ForeignHostError
from aiomsi.arm._answers import error_of
from aiomsi.arm._links import names_operation, path_of, pinned, same_but_signed_anew, same_path
from aiomsi.arm._progress import MOST_STRIKES, FinalStateVia, Outcome, Progress, checked_via
from aiomsi.arm._records import (
    FINAL,
    GOING_ON,
    decoded,
    has_error,
    is_record,
    percent_of,
    provisioning_state,
    reasons,
    text_of,
)
from aiomsi.arm._response import ArmResponse

_FIRST_WAIT = 1.0
_GROWTH = 1.5
_LONGEST_WAIT = 30.0
_LONGEST_ASKED = 600.0
"""The contract's own limit for `Retry-After`."""
_MOST_STEPS = 64
_MISSING = MOST_STRIKES // 5
"""A record may take some seconds to be seen everywhere."""

_PASSING = frozenset({401, 408, 425, 429})
_NOT_TO_BE_HAD = frozenset({403, 404, 410})
"""What says something about the place that was asked, and nothing about the operation."""


def begin(cloud: Cloud, response: ArmResponse, via: FinalStateVia | None = None) -> Progress:
    """Read the answer to a request that may have begun an operation; it is one without an error.

    Raises:
        ForeignHostError: the operation goes on where no token may be sent.
        ConfigurationError: `via` is unknown.

    """
    document = decoded(response)
    said, resource_state = text_of(document, "status"), provisioning_state(document)
    progress = Progress(response.method, response.url, via=checked_via(via), status=resource_state or said or "InProgress")
    record = _linked(cloud, response, "Azure-AsyncOperation") or _linked(cloud, response, "Operation-Location")
    location = _linked(cloud, response, "Location")
    if record is not None:
        progress = attrs.evolve(progress, reads="operation", next_url=record, location=location)
        over = said is not None and said.lower() in FINAL and is_record(document)
        return _told(cloud, progress, response, document) if over else progress
    if location is not None and _leads_to_operation(response, location):
        return attrs.evolve(progress, reads="location", next_url=location, location=location)
    if _goes_on(response, resource_state):
        return attrs.evolve(progress, reads="resource", next_url=response.url)
    if response.status == 202 and (link := _header(response, "Location")):
        link = link.partition("?")[0]
        msg = f"the service has accepted {response.method} {response.path}, but tells of it at {link!r}"
        raise ForeignHostError(msg, help="That is not the cloud's ARM, so it was not asked; read the resource to see how it ends")
    # Who patches a resource that failed earlier, has not failed.
    outcome = FINAL.get(resource_state.lower()) if response.method == "PUT" and resource_state is not None else None
    state = resource_state or said or ("Accepted" if response.status == 202 else "Succeeded")
    return _finished(attrs.evolve(progress, status=state), outcome or "succeeded", response)


def _goes_on(response: ArmResponse, resource_state: str | None) -> bool:
    """Return whether only the resource itself shows the progress of its PUT, PATCH or DELETE."""
    running = resource_state is not None and resource_state.lower() not in FINAL
    if response.method == "DELETE":
        return response.status == 202 and running
    return response.method in ("PUT", "PATCH") and (response.status == 202 or running)


def advance(cloud: Cloud, progress: Progress, response: ArmResponse) -> Progress:
    """Read the answer to the GET that was asked for, whatever its status."""
    if progress.next_url is None:
        return progress
    if response.status >= 300:
        unread = _unread(progress, response)
        return _by_location(unread) if unread.gave_up and response.status in _NOT_TO_BE_HAD else unread
    read = attrs.evolve(progress, step=progress.step + 1, strikes=0)
    return _read(cloud, read, response, decoded(response)) or missed(progress)


def missed(progress: Progress, strikes: int = 1) -> Progress:
    """Note that the state could not be read; without `strikes` for a GET that got no answer at all."""
    return attrs.evolve(progress, step=progress.step + 1, strikes=progress.strikes + strikes)


def wait_before(progress: Progress, asked: float | None) -> float:
    """Give the seconds to wait before the next GET; `asked` is what the last answer asked for with `Retry-After`, if it did.

    Without it the pace begins short, since most operations are, and slows down to two polls a minute, since polls count against
    the subscription's limit of reads.
    """
    if progress.reads == "result" and progress.step == 0:
        return 0.0
    if asked is not None and asked > 0:
        return min(asked, _LONGEST_ASKED)
    return min(_FIRST_WAIT * _GROWTH ** min(progress.step, _MOST_STEPS), _LONGEST_WAIT)


def failure_of(progress: Progress) -> _errors.ArmError | None:
    """Make the exception that a failed or canceled operation is; None for any other."""
    if progress.outcome not in ("failed", "canceled") or progress.answer is None:
        return None
    answer = progress.answer
    why = reasons(answer, progress.status)
    canceled = progress.outcome == "canceled"
    kind = _errors.OperationCanceledError if canceled else _errors.OperationFailedError
    named = f"{progress.status}, {why.code}" if why.code else progress.status
    ids = f" (request id {answer.request_id})" if answer.request_id else ""
    return kind(
        f"{progress.method} {path_of(progress.url)} was accepted and ended as {named}: {why.message.rstrip('.')}{ids}",
        help="Another operation may have taken this one's place: read the resource before you repeat it" if canceled else "",
        status=answer.status,
        response=answer.portable(),
        **why.arguments(),
    )


def unreadable(progress: Progress, response: ArmResponse, *, wall: float) -> _errors.ArmError:
    """Make the exception for an operation whose state, or result, can't be read any more; `response` is the last answer."""
    told = "has succeeded, but its result" if progress.reads == "result" else "may well go on, but its state"
    hint = f"The operation {told} could not be read; save its state and resume it later"
    if response.status >= 300:
        error = error_of(response, wall=wall)
        error.help = f"{hint}. {error.help}".rstrip(". ")
        return error
    why = reasons(response)
    return _errors.ServiceError(
        f"GET {response.path} answered {response.status} with a body that tells no state: {why.message.rstrip('.')}",
        help=hint,
        status=response.status,
        response=response.portable(),
        **why.arguments(),
    )


# What the answers say; None: nothing that can be made sense of


def _read(cloud: Cloud, progress: Progress, response: ArmResponse, document: object) -> Progress | None:
    if progress.reads == "operation":
        return _record(cloud, progress, response, document)
    if progress.reads == "location":
        return _location(cloud, progress, response, document)
    if progress.reads == "resource":
        return _resource(progress, response, document)
    return progress if response.status == 202 else _finished(progress, "succeeded", response)


def _record(cloud: Cloud, progress: Progress, response: ArmResponse, document: object) -> Progress | None:
    if text_of(document, "status") is None:
        return _stateless(cloud, progress, response, document)
    return _told(cloud, progress, response, document)


def _told(cloud: Cloud, progress: Progress, response: ArmResponse, document: object) -> Progress:
    """Read an operation's own record, which has a state."""
    state = text_of(document, "status") or ""
    progress = attrs.evolve(progress, status=state, percent=percent_of(document, progress.percent))
    outcome = FINAL.get(state.lower())
    if outcome is None:
        return progress
    return _succeeded(cloud, progress, response, document) if outcome == "succeeded" else _finished(progress, outcome, response)


def _stateless(cloud: Cloud, progress: Progress, response: ArmResponse, document: object) -> Progress | None:
    """Read what came in place of a record: some services answer with the resource, or without content as a `Location` would.

    With 200 the contract wants a state, even where `Location` names the same URL: a body that was cut off is no success.
    """
    if response.status == 202:
        return progress
    if has_error(document):
        return _finished(attrs.evolve(progress, status="Failed"), "failed", response)
    if isinstance(document, dict) and document:
        return _resource(progress, response, document)
    if response.status == 204:
        return _succeeded(cloud, attrs.evolve(progress, status="Succeeded"), response, document)
    return None


def _location(cloud: Cloud, progress: Progress, response: ArmResponse, document: object) -> Progress | None:
    state = text_of(document, "status")
    progress = attrs.evolve(progress, percent=percent_of(document, progress.percent))
    if response.status == 202:
        newest = _linked(cloud, response, "Location") or progress.next_url
        return attrs.evolve(progress, status=state or progress.status, next_url=newest, location=newest)
    if progress.method in ("PUT", "PATCH") and same_path(progress.next_url or "", progress.url):
        return _resource(progress, response, document)
    if state is not None and (is_record(document) or has_error(document)):
        outcome = FINAL.get(state.lower())
        if outcome in ("failed", "canceled"):
            return _finished(attrs.evolve(progress, status=state), outcome, response)
        if is_record(document) and state.lower() in GOING_ON:
            return attrs.evolve(progress, status=state)
    return _succeeded(cloud, attrs.evolve(progress, status="Succeeded"), response, document)


def _resource(progress: Progress, response: ArmResponse, document: object) -> Progress | None:
    state = provisioning_state(document)
    if state is not None:
        progress = attrs.evolve(progress, status=state)
        outcome = None if response.status == 202 else FINAL.get(state.lower())
        return progress if outcome is None else _finished(progress, outcome, response)
    if response.status in (201, 202):
        return progress
    if response.status == 200 and not isinstance(document, dict):
        return None
    return _finished(attrs.evolve(progress, status="Succeeded"), "succeeded", response)


def _succeeded(cloud: Cloud, progress: Progress, response: ArmResponse, document: object) -> Progress:
    url = _result_url(cloud, progress, response, document)
    if url is None or url == progress.next_url:
        return _finished(progress, "succeeded", response)
    return attrs.evolve(progress, reads="result", next_url=url, step=0)


def _result_url(cloud: Cloud, progress: Progress, response: ArmResponse, document: object) -> str | None:
    """Tell where the result of an operation is that has succeeded; None: what was just read is all."""
    of_resource = progress.method in ("PUT", "PATCH")
    if progress.via == "original-uri" and of_resource:
        return progress.url
    if progress.reads == "location":
        return None
    if progress.via == "location" and progress.location is not None:
        return progress.location
    if progress.method == "DELETE" or (progress.method == "POST" and progress.via is not None and progress.via != "location"):
        return None
    if (link := text_of(document, "resourceLocation")) is not None and (url := _pinned(cloud, link, response.url)) is not None:
        return url
    if of_resource:
        return progress.url
    return None if _names_record(progress) else progress.location


def _names_record(progress: Progress) -> bool:
    """Tell whether `Location` names the record that was just read: it would be given a second time, and nothing more."""
    return same_but_signed_anew(progress.location or "", progress.next_url or "")


def _unread(progress: Progress, response: ArmResponse) -> Progress:
    """Read an answer with an error, or a redirect."""
    status = response.status
    if status in (404, 410):
        if progress.method == "DELETE":
            return attrs.evolve(progress, outcome="succeeded", next_url=None, status="Succeeded")
        # A resource that is being made may be invisible until it is there.
        return missed(progress, 1 if progress.reads == "resource" else _MISSING)
    if status in _PASSING or status >= 500:
        return missed(progress, 0 if status == 429 else 1)
    if progress.reads == "location" and status >= 400 and status != 403:
        return _finished(attrs.evolve(progress, status="Failed"), "failed", response)
    return missed(progress, MOST_STRIKES)


def _by_location(progress: Progress) -> Progress:
    """Go on by `Location`, if there is one that names the operation: where its record is not to be had, that tells of it too."""
    link = progress.location
    if progress.reads != "operation" or link in (None, progress.next_url) or not names_operation(link, progress.url):
        return progress
    return attrs.evolve(progress, reads="location", next_url=link, step=0, strikes=0)


def _finished(progress: Progress, outcome: Outcome, response: ArmResponse) -> Progress:
    return attrs.evolve(progress, outcome=outcome, next_url=None, answer=response)


# Links


def _header(response: ArmResponse, name: str) -> str:
    return (response.headers.get(name) or "").strip()


def _linked(cloud: Cloud, response: ArmResponse, name: str) -> str | None:
    link = _header(response, name)
    return _pinned(cloud, link, response.url) if link else None


def _pinned(cloud: Cloud, link: str, base: str) -> str | None:
    try:
        return pinned(cloud, link, base)
    except ForeignHostError:
        return None


def _leads_to_operation(response: ArmResponse, location: str) -> bool:
    return response.status == 202 or (response.status != 204 and names_operation(location, response.url))
